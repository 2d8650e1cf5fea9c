"""What a file system does, measured by doing it: its clock, its latency, its events, and what it does in one step.

All happens in a folder of its own that is removed in the end. What another machine sees of it cannot be told from here
alone: either another machine writes meanwhile (``beacon``), or the kernel's words on what the mount keeps are read.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dropbox_agent.doctor import beacon, mounts
from dropbox_agent.doctor.findings import Finding, Site, Verdict
from dropbox_agent.errors import NoAnswer
from dropbox_agent.inbox import heard
from dropbox_agent.patience import Places

PREFIX = ".dropbox-agent-doctor-"
PATIENCE_SECONDS = 60.0
"""How long one folder may take to be measured."""
TIMES = 5
"""How many files are written to tell how long one takes."""
RACERS, RACES = 8, 20
"""So many at once try to make the same folder, so often."""
REPLACED = 200
"""So often a file is replaced while it is read."""
EVENT_SECONDS = 10.0
"""How long a file event is waited for."""
SKEW_SECONDS = 5.0
"""A server's clock that is further off is worth a word."""
SLOW_SECONDS = 5.0
"""A file that takes longer to be written is worth a word."""


@dataclass(frozen=True)
class Measured:
    """What was found of one folder."""

    seconds: float
    """What it takes to write a small file, onto the disk, and to read it back: the median."""
    ahead: float
    """How many seconds the file system's clock is ahead of ours; negative: behind."""
    event_seconds: float | None
    """How long a file event takes to arrive; None: none came."""
    exclusive: bool
    """Whether of many that make the same folder one succeeds."""
    whole: bool
    """Whether who reads a file that is replaced sees the old or the new, whole, and never none."""
    elsewhere: beacon.Elsewhere | None
    """What was seen of what another machine wrote meanwhile; None: none did."""


def folders(at: Site) -> Iterator[Finding]:
    """Each inbox and the work folder: how long a file takes, whose clock it has, what it does in one step."""
    shares = Places(max(PATIENCE_SECONDS, at.settings.share_seconds or 0))
    places = {f"inbox {one.path}": one.path for one in at.settings.inboxes} | {"work_dir": at.settings.work_dir}
    for name, folder in places.items():
        with suppress(OSError):  # whether it is there and can be written is said by another check
            yield _measured(f"{name}, measured", folder, shares)


def _measured(name: str, folder: Path, shares: Places) -> Finding:
    try:
        return _said_of(name, folder, shares.ask(folder, lambda: measured(folder)))
    except NoAnswer as error:
        return Finding(name, Verdict.FAILED, str(error))


def measured(folder: Path) -> Measured:
    """Measure one folder. Raises OSError when it does not take a file."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        seconds, ahead = _of_files(place)
        event, elsewhere = heard(place, EVENT_SECONDS), beacon.watch(folder)
        return Measured(seconds, ahead, event, _is_exclusive(place), _is_whole(place), elsewhere)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _of_files(place: Path) -> tuple[float, float]:
    """Return how long a file takes, and how far the clock that stamps it is ahead."""
    took, ahead = [], []
    for number in range(TIMES):
        file = place / f"timed {number}"
        before, began = time.time(), time.monotonic()
        with file.open("wb") as written:
            written.write(b"written by dropbox-agent doctor\n")
            written.flush()
            os.fsync(written.fileno())
        stamped = file.stat().st_mtime
        file.read_bytes()
        took.append(time.monotonic() - began)
        # It was stamped between the two moments; a stamp of whole seconds, up to one before.
        after = time.time()
        ahead.append(stamped - after if stamped > after else min(0.0, stamped + 1 - before))
    return statistics.median(took), min(ahead, key=abs)


def _is_exclusive(place: Path) -> bool:
    """Return whether of many that make one folder, and of many that make one file, one succeeds, each time."""

    def folder(path: Path) -> None:
        path.mkdir()

    def file(path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    acts: list[Callable[[Path], None]] = [folder, file]
    return all(_winners(act, place / f"{act.__name__} {n}") == 1 for n in range(RACES) for act in acts)


def _winners(act: Callable[[Path], None], path: Path) -> int:
    start, won = threading.Barrier(RACERS), []

    def race() -> None:
        start.wait()
        try:
            act(path)
        except FileExistsError:
            return
        won.append(True)

    racers = [threading.Thread(target=race) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    return len(won)


def _is_whole(place: Path) -> bool:
    """Return whether a file that is replaced over and over is read whole, each time."""
    file, contents = place / "replaced", [b"a" * 5000, b"b" * 7000]
    file.write_bytes(contents[0])
    over, torn = threading.Event(), []

    def read() -> None:
        while not over.is_set():
            try:
                if file.read_bytes() not in contents:
                    torn.append(True)
            except FileNotFoundError:
                torn.append(True)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(REPLACED):
            new = place / f"new {number}"
            new.write_bytes(contents[number % 2])
            os.replace(new, file)
    finally:
        over.set()
        reader.join()
    return not torn


# --- words -----------------------------------------------------------------------------------------------------------


def _said_of(name: str, folder: Path, found: Measured) -> Finding:
    mount = mounts.mount_of(folder, mounts.here())
    words = [
        f"A file is written and read back in {_short(found.seconds)}.",
        _clock(found.ahead),
        *(_said_here(found, mount) if found.elsewhere is None else _said_elsewhere(found.elsewhere)),
    ]
    if not found.exclusive:
        words.append("Of several that make the same folder or file at once, not just one is told that it succeeded.")
    if not found.whole:
        words.append("A file that is replaced is not there for a moment, or is read in parts.")
    if not found.exclusive:
        advice = "Do not use this file system: that nothing runs twice rests on it."
        return Finding(name, Verdict.FAILED, " ".join(words), advice)
    if not found.whole:
        advice = "Whoever reads an answer just then finds none, or half of it, and has to look again."
        return Finding(name, Verdict.WARNING, " ".join(words), advice)
    words.append("Folders and files are made, and files replaced, in one step.")
    if found.seconds > SLOW_SECONDS:
        advice = "Look at the share's server or its network: every manifest takes a few dozen such files."
        return Finding(name, Verdict.WARNING, " ".join(words), advice)
    if abs(found.ahead) > SKEW_SECONDS:
        advice = "Nothing rests on it, but people compare the times they see. Let both ask the same time server."
        return Finding(name, Verdict.WARNING, " ".join(words), advice)
    return Finding(name, Verdict.OK, " ".join(words))


def _clock(ahead: float) -> str:
    if abs(ahead) <= SKEW_SECONDS:
        return "Its clock is ours."
    return f"Its clock is {_short(abs(ahead))} {_ahead_or_behind(ahead)} ours."


def _said_here(found: Measured, mount: mounts.Mount | None) -> list[str]:
    """Of events and of the age of what is seen, as far as this machine can tell alone."""
    of_others = mount is not None and mount.is_network
    if found.event_seconds is None:
        events = "File events do not arrive: files are seen at the next listing, every scan_seconds"
    else:
        only = ", but only of what this machine writes: what others drop is seen at the next listing" * of_others
        events = f"File events arrive in {_short(found.event_seconds)}{only}"
    return [f"{events}.", *([_kept(mount)] if mount is not None and of_others else [])]


def _kept(mount: mounts.Mount) -> str:
    longest = mount.cache_seconds
    if longest is None:
        how = "with 'dropbox-agent doctor --write-into FOLDER' at work on another machine it can be measured"
        return f"How long names and sizes are kept before they are asked for again, the mount does not say; {how}."
    return f"Names and sizes may be {longest:g} s old; contents are asked for at every opening."


def _said_elsewhere(seen: beacon.Elsewhere) -> list[str]:
    ages = f"names up to {_short(seen.names_seconds)}, sizes up to {_short(seen.facts_seconds)} late"
    events = "arrive" if seen.heard else "do not arrive: it is seen at the next listing, every scan_seconds"
    words = [f"What another machine wrote meanwhile was seen here, {ages}; file events of it {events}."]
    if abs(seen.ahead) > SKEW_SECONDS:
        words.append(f"Its clock is {_short(abs(seen.ahead))} {_ahead_or_behind(seen.ahead)} ours.")
    return words


def _ahead_or_behind(seconds: float) -> str:
    return "ahead of" if seconds > 0 else "behind"


def _short(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "less than 1 ms"
