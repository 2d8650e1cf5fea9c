"""A few threads that share the work of one upload."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

LOOK_SECONDS = 1.0
"""How often somebody who waits for the crew looks whether it is time to give up."""
IDLE_SECONDS = 0.05
"""How often a hand without an act looks whether it is needed any longer."""
TIDY_SECONDS = 5.0
"""How long the acts under way are waited for when the work is given up."""

_Given = tuple["Future[Any]", Callable[[], Any]]


class Crew:
    """Acts are done in the order given, several at a time. The first failure is raised where work is given or awaited.

    Its threads never keep the process alive: one that hangs is left behind when the work is given up.
    """

    def __init__(self, hands: int, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._acts: queue.Queue[_Given] = queue.Queue(hands)
        self._failure: BaseException | None = None
        self._closing = False
        self._unfinished = 0
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(hands)]
        for thread in self._threads:
            thread.start()

    @property
    def gave_up(self) -> bool:
        """Whether something went wrong, so that what is under way may as well stop."""
        return self._failure is not None

    def give(self, act: Callable[[], Any]) -> Future[Any]:
        """Have an act done, as soon as a hand is free. Raises what an earlier act raised."""
        future: Future[Any] = Future()
        with self._changed:
            self._unfinished += 1
        while True:
            self._look()
            try:
                self._acts.put((future, act), timeout=LOOK_SECONDS)
                return future
            except queue.Full:
                continue

    def finish(self) -> None:
        """Return once every act is done. Raises what the first of them raised that failed."""
        while True:
            self._look()
            with self._changed:
                if not self._unfinished:
                    return
                self._changed.wait(LOOK_SECONDS)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the crew go: at once when all is done; else wait a little for what is under way."""
        if kind is not None:
            self._failure = self._failure or error
        until = time.monotonic() + TIDY_SECONDS
        self._closing = True
        for thread in self._threads:
            thread.join(None if kind is None else max(0.0, until - time.monotonic()))

    def _look(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._check()

    def _work(self) -> None:
        while (given := self._next()) is not None:
            future, act = given
            try:
                # After a failure what still waits is not begun; whoever waits for it is told the same.
                if self._failure is not None:
                    raise self._failure
                future.set_result(act())
            except BaseException as error:
                self._failure = self._failure or error
                future.set_exception(error)
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()

    def _next(self) -> _Given | None:
        """Return the next act; None once there will be no more."""
        while True:
            try:
                return self._acts.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._closing:
                    return None
