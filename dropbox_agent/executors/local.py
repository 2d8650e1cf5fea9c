"""Run attempts on this machine: one process group each, as many at a time as there are places."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import wrapper
from dropbox_agent.executors.folder import (
    ATTEMPT_VARIABLE,
    CREDENTIALS,
    Node,
    before_its_end,
    close_to_late_copies,
    gone,
    has_started,
    is_gone,
    look,
    lost,
    owner_of,
    prepare,
    was_stopped,
    words_of_away,
)
from dropbox_agent.model import Attempt, AttemptFolder, Observation, TaskSettings
from dropbox_agent.states import AttemptState, Cause

OWNER_GRACE = timedelta(seconds=60)
"""How long a taken start token may be without its owner's name before the attempt counts as lost."""

WENT_DOWN = "The machine went down while it ran."
NOTHING_BEGUN = "Its wrapper ended before it had begun anything: the machine went down, or somebody killed it."
"""Who takes a start token makes its name last before it begins."""


class LocalExecutor:
    """Starts each attempt's wrapper in a session of its own, so that it outlives the agent and is found again."""

    trouble: str | None = None

    def __init__(self, slots: int, environ: Mapping[str, str]) -> None:
        self._slots = slots
        self._environ = dict(environ)
        self._children: set[int] = set()

    def room(self, live: int) -> int:
        """Return how many places are free."""
        return max(0, self._slots - live)

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        """Start the attempt's wrapper; return ``boot:pid:start``, which names this process and no later one."""
        folder = prepare(attempt, settings, Node(environ=self._environ, inherits=(CREDENTIALS,)))
        argv = [sys.executable, "-I", str(folder.wrapper), str(folder.allocation)]
        try:
            with folder.wrapper_log.open("ab") as log:
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder.path,
                    env={**self._kept(), ATTEMPT_VARIABLE: attempt.key},
                    start_new_session=True,
                )
        except OSError as error:
            raise SubmitFailed(
                f"{argv[0]} could not be started in {folder.path}: {error.strerror}. It is tried again.", retry=True
            ) from error
        # It may outlive this agent, so how it ended is read in its folder. Here it is only reaped, by its pid.
        child.returncode = 0
        self._children.add(child.pid)
        return f"{wrapper.boot_id()}:{child.pid}:{wrapper.process_start(child.pid)}"

    def answered(self) -> Sequence[tuple[Attempt, str | Exception]]:
        """Every answer is given at once."""
        return ()

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Return whether its folder is there with its start token still free: then nothing of it ever ran.

        What was never handed over may have no folder yet.
        """
        try:
            return not has_started(AttemptFolder(attempt.folder))
        except OSError:
            return attempt.handle is None

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        """Take the start token of an attempt that has not started; else send TERM to its wrapper, or KILL to all of it.

        The wrapper passes TERM on to its task and leaves an end record.
        """
        try:
            if close_to_late_copies(AttemptFolder(attempt.folder)):
                return True
        except OSError:
            return False
        pids = leftovers(attempt.key) if hard else self._wrapper_pids(attempt)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if hard else signal.SIGTERM)
        return False

    def _wrapper_pids(self, attempt: Attempt) -> list[int]:
        names = {attempt.handle or "", self._owner(attempt) or ""}
        return [int(name.split(":")[1]) for name in names if _names_a_living_process(name)]

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        """Return what the folders and the process table say of each attempt."""
        self._reap()
        return [self._look(attempt, now) for attempt in attempts]

    def _look(self, attempt: Attempt, now: datetime) -> Observation:
        try:
            return self._observation(attempt, now)
        except OSError as error:
            return self._away(attempt, error, now)

    def _away(self, attempt: Attempt, error: OSError, now: datetime) -> Observation:
        """Nothing is concluded from a run folder that is away, unless only this one stays away for long."""
        if attempt.handle is None:
            return Observation(attempt, False, attempt.state)
        away = Observation(attempt, True, attempt.state, text=words_of_away(attempt, error))
        if not is_gone(attempt, error) or _names_a_living_process(attempt.handle):
            return away
        if not _is_of_this_boot(attempt.handle):
            # A power failure may take a folder with it whose name was not on the disk yet.
            return lost(away, WENT_DOWN, cause=Cause.NODE_FAILED)
        return gone(away, now)

    def _observation(self, attempt: Attempt, now: datetime) -> Observation:
        # The process is looked at before its folder: it writes its end record before it ends, so "gone, and no end
        # record" cannot be a record that is about to come.
        alive = self._is_alive(attempt)
        seen = look(attempt)
        if seen.seen and seen.state is AttemptState.ENDED:
            return lost(before_its_end(seen), WENT_DOWN, cause=Cause.NODE_FAILED) if self._went_down(seen) else seen
        if alive:
            return replace(seen, seen=True, state=AttemptState.RUNNING if seen.seen else AttemptState.SUBMITTED)
        if not seen.seen:
            return self._never_started(attempt, seen)
        if self._owner(attempt) is None and (now - (attempt.first_missing_at or now)) < OWNER_GRACE:
            return replace(seen, seen=False)
        if leftovers(attempt.key):
            return replace(seen, text="Its wrapper is gone; waiting for the process it left behind.")
        if self._ran_before_this_boot(attempt):
            return lost(seen, WENT_DOWN, cause=Cause.NODE_FAILED)
        if self._owner(attempt) is None and not seen.tasks:
            return lost(seen, NOTHING_BEGUN, cause=Cause.NODE_FAILED)
        return lost(seen, "The process that ran it is gone and left no end record: somebody or something killed it.")

    def _ran_before_this_boot(self, attempt: Attempt) -> bool:
        """The one end whose cause can be told here; nobody says why a process was killed."""
        boot = (owner_of(attempt) or {}).get("boot")
        return bool(boot) and boot != wrapper.boot_id()

    def _went_down(self, seen: Observation) -> bool:
        """Return whether it was the machine that stopped an attempt: it asks all that runs to end, and goes down."""
        ordered = seen.attempt.stop_at is not None
        return was_stopped(seen) and not ordered and self._ran_before_this_boot(seen.attempt)

    def _never_started(self, attempt: Attempt, seen: Observation) -> Observation:
        """Without a start token nothing ran: hand it over again, unless it has just failed to start here."""
        if attempt.handle is None or not _is_of_this_boot(attempt.handle):
            return seen
        folder = AttemptFolder(attempt.folder)
        if not close_to_late_copies(folder):
            return replace(look(attempt), seen=True)
        text = f"Its wrapper ended before it started anything. See {folder.wrapper_log}."
        return lost(replace(seen, seen=True), text)

    def _is_alive(self, attempt: Attempt) -> bool:
        names = [attempt.handle or "", self._owner(attempt) or ""]
        return any(_names_a_living_process(name) for name in names)

    def _owner(self, attempt: Attempt) -> str | None:
        owner = owner_of(attempt)
        return None if owner is None else f"{owner.get('boot')}:{owner.get('pid')}:{owner.get('start')}"

    def _reap(self) -> None:
        for pid in tuple(self._children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                self._children.discard(pid)

    def _kept(self) -> dict[str, str]:
        own = {name: self._environ[name] for name in ("PATH", "HOME") if name in self._environ}
        # They go from process to process, and into no file of the run folder.
        return own | {name: value for name, value in self._environ.items() if name.startswith(CREDENTIALS)}


def _is_of_this_boot(name: str) -> bool:
    return name.startswith(f"{wrapper.boot_id()}:")


def _names_a_living_process(name: str) -> bool:
    boot, _, rest = name.partition(":")
    pid, _, start = rest.partition(":")
    if not pid.isdigit() or boot != wrapper.boot_id():
        return False
    return str(wrapper.process_start(int(pid))) == start and not _is_zombie(int(pid))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] == b"Z"
    except (OSError, IndexError):
        return True


def leftovers(key: str) -> list[int]:
    """Return the pids of living processes that belong to an attempt."""
    mark = f"{ATTEMPT_VARIABLE}={key}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and mark in _environment_of(entry.name) and not _is_zombie(int(entry.name)):
            found.append(int(entry.name))
    return found


def _environment_of(pid: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
