"""What another machine writes into a folder, and how late it is seen here.

One writes (``dropbox-agent doctor --write-into FOLDER`` on another machine, or through another mount of the share), the
other looks. With every step a file grows by a line, which says when by the writer's clock, and another file gets the
next name. The step that is seen soonest tells how far the clocks are apart, the one that is seen latest how old the
names, or the sizes and times, may be that this machine keeps.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dropbox_agent.inbox import listen

FOLDER = ".dropbox-agent-doctor-beacon"
STEP_SECONDS = 0.2
WATCHED_SECONDS = 20.0
"""How long it is looked at."""
WRITTEN_SECONDS = 300.0
"""How long it is written, unless it is stopped."""
LOOK_SECONDS = 0.01
LINE = 24
"""The bytes of a line: a moment in seconds since 1970, and its end."""


@dataclass(frozen=True)
class Elsewhere:
    """What was seen of what another machine wrote meanwhile."""

    names_seconds: float
    """How late a new name was seen, at the latest."""
    facts_seconds: float
    """How late a size was seen, at the latest."""
    heard: bool
    """Whether a file event told of it."""
    ahead: float
    """How many seconds the other machine's clock is ahead of ours; negative: behind."""


def write(folder: Path, stop: threading.Event, seconds: float = WRITTEN_SECONDS) -> None:
    """Write for so long or until ``stop`` is set, then remove what was written. Raises OSError."""
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)  # of one that was killed
    place.mkdir()
    try:
        (place / "0").touch()
        until = time.monotonic() + seconds
        step = 0
        while time.monotonic() < until and not stop.is_set():
            with (place / "steps").open("ab") as file:
                file.write(f"{time.time():0{LINE - 1}.6f}\n".encode())
            os.rename(place / str(step), place / str(step + 1))
            step += 1
            stop.wait(STEP_SECONDS)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def watch(folder: Path, seconds: float | None = None) -> Elsewhere | None:
    """Look for so long (20 s) at what another machine writes; None where none does. Raises OSError."""
    place = folder / FOLDER
    if not place.is_dir():
        return None
    came = threading.Event()
    stop = listen(place, lambda name: True, came.set)
    try:
        names, facts = _seen(place, WATCHED_SECONDS if seconds is None else seconds)
        written = _written(place)
    except FileNotFoundError:
        return None  # the other one has ended
    finally:
        stop()
    return told(names, facts, written, came.is_set())


def told(
    names: Mapping[int, float], facts: Mapping[int, float], written: Sequence[float], heard: bool
) -> Elsewhere | None:
    """Return what follows from when each step was first seen, by name and by size, and when each was written.

    Both by the clocks of those who saw and wrote, in seconds; step 1 is ``written[0]``. None if nothing moved.
    """
    late_names, late_facts = _late(names, written), _late(facts, written)
    if not late_names and not late_facts:
        return None
    apart = min(*late_names, *late_facts, float("inf"))
    longest = [max(late, default=apart) - apart for late in (late_names, late_facts)]
    return Elsewhere(longest[0], longest[1], heard, -apart)


def _late(seen: Mapping[int, float], written: Sequence[float]) -> list[float]:
    """Return how long after it was written each step was seen that came after the first one seen."""
    steps = sorted(seen)
    return [
        seen[after] - written[step - 1]
        for before, after in pairwise(steps)
        for step in range(before + 1, after + 1)
        if step <= len(written)
    ]


def _seen(place: Path, seconds: float) -> tuple[dict[int, float], dict[int, float]]:
    """Return when each step was first seen by its name, and by the size of the file."""
    names: dict[int, float] = {}
    facts: dict[int, float] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        listed = [int(name) for name in os.listdir(place) if name.isdecimal()]
        names.setdefault(max(listed, default=0), time.time())
        with suppress(FileNotFoundError):  # before the first step
            facts.setdefault((place / "steps").stat().st_size // LINE, time.time())
        time.sleep(LOOK_SECONDS)
    return names, facts


def _written(place: Path) -> list[float]:
    return [float(line) for line in (place / "steps").read_bytes().split(b"\n")[:-1]]
