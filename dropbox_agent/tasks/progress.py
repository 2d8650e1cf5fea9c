"""How far a task is, in a small file that the agent looks at while the task works."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

EVERY_SECONDS = 0.2
"""A reader sees at most five changes a second; a file for each chunk would slow the work."""


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

    def begin(self, text: str, total_bytes: int | None = None, total_files: int | None = None) -> None:
        """Start counting from nothing."""
        self.done_bytes, self.done_files = 0, 0
        self.total_bytes, self.total_files, self.text = total_bytes, total_files, text
        self.flush()

    def add(self, done_bytes: int = 0, done_files: int = 0) -> None:
        """Count what was just done."""
        first = not self.done_bytes and done_bytes > 0
        self.done_bytes += done_bytes
        self.done_files += done_files
        self._changed(at_once=first)

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
        if self._path is None or not (at_once or self._clock() >= self._due):
            return
        self._due = self._clock() + EVERY_SECONDS
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(self.as_json()), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            if not self._told:
                print(f"The progress could not be written to {self._path}: {error.strerror}. The work goes on.")
            self._told = True

    def as_json(self) -> dict[str, object]:
        """Return what a reader of the file gets."""
        return {
            "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes,
            "done_files": self.done_files,
            "total_files": self.total_files,
            "text": self.text,
        }
