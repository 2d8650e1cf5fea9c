"""How far a task is, in a small file that the agent looks at while the task works."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY_SECONDS = 0.2
"""A reader sees at most five changes a second; a file for each chunk would slow the work."""
TELLING_SECONDS = 5.0
"""Before, nobody can tell how long work will take."""


class Pace:
    """How fast work goes: by its bytes, and by its files, of which small ones take as long as many bytes."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.moved_at = begun
        self._before = (0, 0)

    def before(self, done_bytes: int) -> None:
        """Leave a file out that cost no time."""
        self._before = (self._before[0] + done_bytes, self._before[1] + 1)

    def seconds_left(self, done: tuple[int, int], left: tuple[int, int], now: float) -> int | None:
        """Return how long what is left takes at this pace; None while there is none to go by."""
        gone = now - self.begun
        if gone < TELLING_SECONDS:
            return None
        worked = [now_done - before for now_done, before in zip(done, self._before, strict=True)]
        times = [gone * rest / work for work, rest in zip(worked, left, strict=True) if work > 0 and rest > 0]
        return math.ceil(max(times)) if times else None


class Progress:
    """Counts what is done and writes it down now and then; a full disk does not stop the work."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.done_bytes = 0
        self.done_files = 0
        self.total_bytes: int | None = None
        self.total_files: int | None = None
        self.text = ""
        self._path = path
        self._clock = clock
        self._due = float("-inf")
        self._told = False
        self._one_counts = threading.RLock()
        self._pace = Pace(clock())

    @property
    def moved_at(self) -> float:
        """When something was counted last, by the clock."""
        return self._pace.moved_at

    def begin(self, text: str, total_bytes: int | None = None, total_files: int | None = None) -> None:
        """Start counting from nothing."""
        self.done_bytes, self.done_files = 0, 0
        self.total_bytes, self.total_files, self.text = total_bytes, total_files, text
        self._pace = Pace(self._clock())
        self.flush()

    def add(self, done_bytes: int = 0, done_files: int = 0) -> None:
        """Count what was just done. Several threads may do so."""
        with self._one_counts:
            first = not self.done_bytes and done_bytes > 0
            self.done_bytes += done_bytes
            self.done_files += done_files
            self._pace.moved_at = self._clock()
            self._changed(at_once=first)

    def passed_over(self, done_bytes: int) -> None:
        """Count a file that was done before: it tells nothing of how fast the work goes."""
        with self._one_counts:
            self._pace.before(done_bytes)
            self.add(done_bytes, 1)

    def reached(self, done_bytes: int, done_files: int) -> None:
        """Say how much there is by now."""
        self.done_bytes, self.done_files = done_bytes, done_files
        self._changed()

    def say(self, text: str) -> None:
        """Say what is being done, in words."""
        self.text = text
        self._changed()

    def flush(self) -> None:
        """Write down what has not been written yet."""
        self._changed(at_once=True)

    def _changed(self, at_once: bool = False) -> None:
        with self._one_counts:
            if self._path is not None and (at_once or self._clock() >= self._due):
                self._write(self._path)

    def _write(self, path: Path) -> None:
        self._due = self._clock() + EVERY_SECONDS
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(self.as_json()), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            if not self._told:
                print(f"The progress could not be written to {path}: {error.strerror}. The work goes on.")
            self._told = True

    def as_json(self) -> dict[str, object]:
        """Return what a reader of the file gets."""
        return {
            "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes,
            "done_files": self.done_files,
            "total_files": self.total_files,
            "text": self.text,
            "seconds_left": self._seconds_left(),
        }

    def _seconds_left(self) -> int | None:
        left = ((self.total_bytes or 0) - self.done_bytes, (self.total_files or 0) - self.done_files)
        return self._pace.seconds_left((self.done_bytes, self.done_files), left, self._clock())
