"""What was last learned from a service, so that nothing stops while it is away: in memory, and in a file."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dropbox_agent.errors import AgentError

FIRST_SECONDS = 30.0
"""How long the very first answer is waited for, when nothing is remembered."""


@dataclass(frozen=True)
class Answer:
    """What a service said, and since when it says nothing newer."""

    value: Any
    """Plain values, as JSON has them."""
    as_of: datetime
    trouble: str | None = None
    """Why there is nothing newer; None when this is as new as it has to be."""


@dataclass
class Remembered:
    """Asks a service now and then, beside the work, and knows its last good answer."""

    what: str
    """What it is, to begin a sentence with: ``The list of projects``."""
    ask: Callable[[], Any]
    """Returns plain values. Raises AgentError."""
    file: Path
    clock: Callable[[], datetime]
    keeps: bool = False
    """Whether this process writes the file; the agent does, the other commands only read it."""
    kept: Callable[[Any], Any] = lambda value: value
    """What of an answer may be written to a file."""
    refresh_seconds: float = 60.0
    patience_seconds: float = 2.0
    """How long an answer is waited for while there is an older one."""
    _last: Answer | None = None
    _trouble: str | None = None
    _asked: float | None = None
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self) -> Answer:
        """Return the newest answer there is. Raises AgentError when there is none at all."""
        if self._last is None:
            self._last = self._from_file()
        if self.keeps or self._last is None or self._is_older(self._last, self.refresh_seconds):
            self._ask_beside(self.patience_seconds if self._last is not None else FIRST_SECONDS)
        with self._lock:
            last, trouble = self._last, self._trouble
        if last is None:
            raise AgentError(trouble or f"{self.what} is not known: it was asked for, and has not answered so far.")
        if trouble is None and not self._is_older(last, 2 * self.refresh_seconds):
            return last
        reason = trouble or f"{self.what} has not answered so far."
        return Answer(last.value, last.as_of, f"{reason} What it said on {last.as_of:%Y-%m-%d %H:%M} UTC is used.")

    def _is_older(self, last: Answer, seconds: float) -> bool:
        return self.clock() - last.as_of > timedelta(seconds=seconds)

    def _ask_beside(self, seconds: float) -> None:
        """Ask in a thread, unless it was asked not long ago; wait for it a moment."""
        now = time.monotonic()
        if self._asked is None or now - self._asked >= self.refresh_seconds:
            if self._thread is None or not self._thread.is_alive():
                self._asked = now
                self._thread = threading.Thread(target=self._ask, name="remembered", daemon=True)
                self._thread.start()
            self._thread.join(seconds)

    def _ask(self) -> None:
        try:
            answer = Answer(self.ask(), self.clock())
        except Exception as error:
            words = str(error) if isinstance(error, AgentError) else f"{self.what}: {type(error).__name__}: {error}"
            with self._lock:
                self._trouble = words
            return
        with self._lock:
            self._last, self._trouble = answer, None
        if self.keeps:
            self._to_file(answer)

    def _from_file(self) -> Answer | None:
        try:
            stored = json.loads(self.file.read_bytes())
            return Answer(stored["value"], datetime.fromisoformat(stored["as_of"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _to_file(self, answer: Answer) -> None:
        """Write it down, whole or not at all; without it only the next start is worse off."""
        content = json.dumps({"as_of": answer.as_of.isoformat(), "value": self.kept(answer.value)}).encode()
        with suppress(OSError):
            number, temporary = tempfile.mkstemp(prefix=f".{self.file.name}.", dir=self.file.parent)  # mode 0600
            try:
                with open(number, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.file)
            except OSError:
                os.unlink(temporary)
                raise
