"""File events: they shorten the wait for the next listing, and decide nothing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

logger = logging.getLogger(__name__)


def listen(folder: Path, hint: Callable[[str], bool], wake: Callable[[], None]) -> Callable[[], None]:
    """Let file events call ``wake`` when ``hint`` says of a name that it matters; return what stops it.

    A folder whose events cannot be had works as well, only later by up to the time between two listings.
    """
    observer = Observer()
    try:
        observer.schedule(_Hints(hint, wake), str(folder), recursive=False)
        observer.start()
    except OSError as error:
        logger.warning("No file events for %s (%s); it is listed at its interval.", folder, error)
        return lambda: None

    def stop() -> None:
        observer.stop()
        observer.join(timeout=5)

    return stop


def heard(folder: Path, seconds: float) -> float | None:
    """Return how long the event of a new file in a folder takes to arrive; None when none does. Raises OSError."""
    came = threading.Event()
    stop = listen(folder, lambda name: name == "heard", came.set)
    try:
        began = time.monotonic()
        (folder / "heard").touch()
        return time.monotonic() - began if came.wait(seconds) else None
    finally:
        stop()


class _Hints(FileSystemEventHandler):
    def __init__(self, hint: Callable[[str], bool], wake: Callable[[], None]) -> None:
        self._hint, self._wake = hint, wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        # Reading a file makes events too (opened, closed without writing): they would wake us for our own reading.
        if event.event_type in ("opened", "closed_no_write"):
            return
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if any(self._hint(os.path.basename(path)) for path in paths):
            self._wake()
