"""Where the clusters of the tests stand: one test run at a time, each cluster in a folder and on ports of its own.

Two clusters at once disturbed each other. They took the processor from each other, until a controller that a test had
killed had saved what it was to forget, or a node seemed to have failed. And their ports were of those that the kernel
gives to any connection, also while a controller was down for a moment. So runs wait for each other, ports are none that
the kernel gives away, and what a killed run has left is cleared away by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from ending import began_at, end_until_none_is_left, environment_of, processes, words_of

GROUND = Path(f"/tmp/dropbox-agent-clusters-{os.getuid()}")
"""The path is short: names of sockets have 107 bytes."""
LONGEST_WAIT_SECONDS = 3600.0
"""How long another run is waited for."""


class Turn:
    """Whose turn it is on this machine; within one run it is taken once, however many clusters that boots."""

    def __init__(self, ground: Path, wait_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._ground = ground
        self._wait_seconds = wait_seconds
        self._clusters = 0
        self._lock: int | None = None

    @contextmanager
    def own_folder(self) -> Iterator[Path]:
        """Wait for this run's turn; a folder for one cluster, for the length of the block."""
        self._begin()
        folder = Path(tempfile.mkdtemp(prefix="c-", dir=self._ground))
        try:
            yield folder
        finally:
            clear(folder)
            self._end()

    def _begin(self) -> None:
        if self._lock is None:
            self._ground.mkdir(mode=0o711, exist_ok=True)
            self._lock = _locked(self._ground / "turn", self._wait_seconds)
            for left in self._ground.glob("c-*"):
                clear(left)
        self._clusters += 1

    def _end(self) -> None:
        self._clusters -= 1
        if not self._clusters and self._lock is not None:
            os.close(self._lock)
            self._lock = None


TURN = Turn(GROUND)


def _locked(file: Path, seconds: float) -> int:
    """Return the descriptor of a file that nobody else has locked; the kernel gives it back when its owner dies."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(descriptor)
                raise AssertionError(f"another run has had a cluster for {seconds:g} s (see fuser {file})") from None
            time.sleep(0.2)
        else:
            return descriptor


def clear(folder: Path) -> None:
    """End whatever belongs to a cluster, and remove its folder."""
    end_everything(folder)
    shutil.rmtree(folder, ignore_errors=True)


def end_everything(folder: Path) -> None:
    """End whatever belongs to a cluster: its daemons, its jobs, and whoever was told to use it."""
    # The end of a slurmd does not end the steps of its jobs, and until its end it starts new ones.
    end_until_none_is_left(lambda: processes_of(folder))


def end_jobs_on(folder: Path, node: str) -> None:
    """End the jobs of a cluster on one node, as if they had gone with it."""
    end_until_none_is_left(lambda: _jobs_on(folder, node))


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that name a cluster's folder, and what they started."""
    named = [one for one in processes() if one.pid != os.getpid() and _names(one, f"{folder}/")]
    return list({one.pid: one for process in named for one in (process, *_children(process))}.values())


def _jobs_on(folder: Path, node: str) -> list[psutil.Process]:
    jobs = [one for one in processes_of(folder) if environment_of(one).get("SLURMD_NODENAME") == node]
    # Who started another comes before it, and the step's own daemon first: they would tell how what they started ended.
    jobs.sort(key=began_at)
    return [*{step for one in jobs for step in _steps_above(one)}, *jobs]


def _names(process: psutil.Process, mark: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.name().startswith("slurmstepd"):  # It writes over its words and its environment.
            return any(mark in file.path for file in process.open_files())
        return mark in environment_of(process).get("SLURM_CONF", "") or any(mark in word for word in words_of(process))
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _steps_above(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [one for one in process.parents() if one.name().startswith("slurmstepd")]
    except psutil.Error:
        return []
