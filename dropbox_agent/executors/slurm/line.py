"""Talk to a cluster in a thread of its own, so that a controller that hangs holds nobody up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

Said = TypeVar("Said")


def is_answered(answer: Future[Any], patience_seconds: float) -> bool:
    """Return whether there is an answer, of whatever kind, after waiting that long for it."""
    done, _ = wait((answer,), timeout=patience_seconds)
    return bool(done)


class Line:
    """Makes calls one after the other, in the order they were asked for; no call is ever made twice.

    The thread ends with the process, whatever it waits for: a call that was cut off like this is looked for afterwards,
    as after any crash.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[[], Said]) -> Future[Said]:
        """Have a call made; return where its answer will be."""
        answer: Future[Said] = Future()
        self._calls.put((answer, call))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="slurm", daemon=True)
            self._thread.start()
        return answer

    def _work(self) -> None:
        while True:
            answer, call = self._calls.get()
            try:
                said = call()
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(said)
