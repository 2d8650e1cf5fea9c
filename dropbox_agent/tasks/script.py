"""Run a preset's script: what it writes, how it is stopped, what is told when it fails."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskSettings, file_stem
from dropbox_agent.tasks.container import Start, start_of
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress

HANDED_ON = ("PATH", "HOME", "DROPBOX_AGENT_ATTEMPT")
"""What a script sees of this process's environment; by the last one, what is left of an attempt is recognised."""
OF_THE_CLUSTER = ("SLURM", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL")
"""Beginnings of what Slurm tells a job: which processors, memory and GPUs are its own."""
SET_BY_PRESET = "DROPBOX_AGENT_VARIABLES"
"""Names the variables that image_resources.environment sets."""
STARTS_IN = "DROPBOX_AGENT_STARTS_IN"
"""The folder in which a script starts on a node; without it, and in an image, that is its output folder."""
LOOK_SECONDS = 1.0
STOP_SECONDS = 5.0
"""How long a script that is told to stop has before it is killed."""
TAIL_BYTES = 4096
TAIL_LINES = 5
_SET_CHILD_SUBREAPER = 36


def run_script(settings: TaskSettings, script: str, output: Path, progress: Progress) -> None:
    """Run a script in its output folder until it ends well. Raises TaskFailed with its exit code and last lines."""
    file = script_file(settings)
    file.write_text(script, encoding="utf-8")
    where = f"the image {settings.container.image}, {output}" if settings.container else output
    print(f"Runs bash {file} in {where}.", flush=True)
    with start_of(file, output, settings.container, environment(os.environ)) as start:
        start = replace(start, folder=None if settings.container else _named_folder(os.environ))
        code, tail = run_to_its_end(start, output, progress)
    _told(settings, code, tail)


def run_to_its_end(
    start: Start, output: Path, progress: Progress, longest_seconds: float = math.inf
) -> tuple[int | None, str]:
    """Return the exit code of a program and its last lines; nothing it started is left. None: it took too long."""
    _adopt_orphans()
    until, tail = time.monotonic() + longest_seconds, None
    try:
        # Inside, for the word to stop may come as soon as there is something to be stopped.
        child = _started(start, output)
        tail = Tail(child)
        while not (ended := _has_ended(child, _pause(output, progress))) and time.monotonic() < until:
            pass
    finally:
        end_descendants()
        if tail is not None:
            tail.finish()
    with suppress(subprocess.TimeoutExpired):
        child.wait(STOP_SECONDS)
    return child.returncode if ended else None, tail.text()


def script_file(settings: TaskSettings) -> Path:
    """Return where the script is kept for those who want to see what ran."""
    attempt = RunFolder(settings.run_folder).attempt(settings.attempt_key)
    if settings.element is not None:
        return attempt.element(settings.element, "script.sh")
    return attempt.path / f"{file_stem(settings.key)}.script.sh"


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the little that a script sees."""
    wanted = {*HANDED_ON, *environ.get(SET_BY_PRESET, "").split(",")}
    seen = {name: value for name, value in environ.items() if name in wanted or name.startswith(OF_THE_CLUSTER)}
    return {"LANG": "C.UTF-8", **seen}


def _named_folder(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(STARTS_IN)
    if named is not None and not os.path.isdir(named):
        raise TaskFailed(
            f"The folder {shown(named)}, in which the script was to start, is not on {os.uname().nodename}. Correct"
            " current_working_directory in image_resources of the job type, or have an operator make the folder."
        )
    return None if named is None else Path(named)


def _started(start: Start, output: Path) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            start.argv,
            cwd=start.folder or output,
            env=start.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TaskFailed(
            f"{start.argv[0]} could not be started ({reason}); an operator has to look at the machine that ran this."
        ) from error


def _told(settings: TaskSettings, code: int | None, tail: str) -> None:
    if not code:
        return
    ended = f"exit code {code}" if code > 0 else f"signal {-code}"
    last = f" Its last lines: {tail}" if tail else " It printed nothing."
    raise TaskFailed(
        f"The script of {settings.job_type} for {settings.modality} failed with {ended}; its output was not used.{last}"
    )


# --- while it runs ---------------------------------------------------------------------------------------------------


def _pause(output: Path, progress: Progress) -> float:
    """Count what the script has written; return for how long to leave it alone, so that counting stays cheap."""
    begun = time.monotonic()
    size = files = 0
    for one in _sizes(output):
        size, files = size + one, files + 1
    progress.reached(size, files)
    return max(LOOK_SECONDS, 10 * (time.monotonic() - begun))


def _sizes(folder: Path) -> Iterator[int]:
    for inside, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield os.lstat(os.path.join(inside, name)).st_size


def _has_ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


class Tail:
    """Passes what a script prints on to the log, and remembers the end of it."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self._kept = b""
        self._thread = threading.Thread(target=self._pass_on, args=(child.stdout,), daemon=True)
        self._thread.start()

    def _pass_on(self, pipe: BinaryIO) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._kept = (self._kept + chunk)[-TAIL_BYTES:]
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    def finish(self) -> None:
        """Wait for the last words."""
        self._thread.join(STOP_SECONDS)

    def text(self) -> str:
        """Return the last lines, safe to show."""
        lines = [line.strip() for line in self._kept.decode("utf-8", "replace").splitlines() if line.strip()]
        return shown(" | ".join(lines[-TAIL_LINES:]))


# --- its end ---------------------------------------------------------------------------------------------------------


def _adopt_orphans() -> None:
    """Make the children of a script that ended ours, so that none is left behind unseen."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """End every process that came from this one: ask first, then kill."""
    until = time.monotonic() + STOP_SECONDS
    asked: set[int] = set()
    while (living := _descendants()) and time.monotonic() < until + STOP_SECONDS:
        for pid in living:
            if time.monotonic() >= until:
                _signal(pid, signal.SIGKILL)
            elif pid not in asked:
                _signal(pid, signal.SIGTERM)
                asked.add(pid)
        time.sleep(0.02)
    if asked:
        print(f"Ended {len(asked)} {'process' if len(asked) == 1 else 'processes'} that the script left.", flush=True)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _descendants() -> list[int]:
    """Return the living processes below this one; those that have ended are given back to the system."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _processes():
        if state == "Z" and parent == os.getpid():
            _reap(pid)
        elif state != "Z":
            children.setdefault(parent, []).append(pid)
    found, left = [], [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _processes() -> Iterator[tuple[int, int, str]]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, IndexError):
            state, parent = Path(f"/proc/{name}/stat").read_bytes().rsplit(b")", 1)[1].split()[:2]
            yield int(name), int(parent), state.decode("ascii")
