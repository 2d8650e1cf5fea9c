"""Processes of a machine on which others come and go meanwhile: what they say, and their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil

LONGEST_SECONDS = 60.0


def processes() -> list[psutil.Process]:
    """Return those there are now. Where a number was another's, psutil would remember that one, and end neither."""
    psutil.process_iter.cache_clear()
    return list(psutil.process_iter())


def end_until_none_is_left(listed: Callable[[], Sequence[psutil.Process]]) -> None:
    """End what is listed, in its order, again and again: one may have gone since it was listed, another have come."""
    until = time.monotonic() + LONGEST_SECONDS
    while (left := listed()) and time.monotonic() < until:
        for process in left:
            _kill(process)
        psutil.wait_procs(left, timeout=5)


def words_of(process: psutil.Process) -> list[str]:
    """Return what a process was called with; nothing of one that is gone, has ended, or is somebody else's."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Return the environment a process was started with; nothing of one that is gone, or somebody else's."""
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def began_at(process: psutil.Process) -> float:
    """Return when a process began, in seconds since 1970; 0 for one that is gone. Later ones may have lower numbers."""
    try:
        return process.create_time()
    except psutil.Error:
        return 0.0


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return
