"""What goes wrong is said once when it begins, and once when it is over; it harms nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dropbox_agent.errors import AgentError, LedgerUnavailable

TRIES = 3
"""After how many failures of one act ``run --until-idle`` no longer waits for it, and a fault of ours is told."""

logger = logging.getLogger(__name__)


class Troubles:
    """What was said to be wrong, and is not yet over."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._faults: set[str] = set()
        """What nobody thought of, as it was logged."""

    def say(self, what: str, trouble: str | None, level: int = logging.ERROR) -> None:
        """Log a trouble once when it begins, and once when it is over."""
        before = self._said.get(what)
        if trouble is None and before is not None:
            del self._said[what]
            logger.info("%s: all right again.", what)
        elif trouble is not None and trouble != before:
            self._said[what] = trouble
            logger.log(level, "%s: %s", what, trouble, extra={"action": "trouble"})

    def said(self, what: str) -> str | None:
        """Return what is wrong with something; None: nothing that was said."""
        return self._said.get(what)

    def forget(self, what: str) -> None:
        """Say no more of something that is gone."""
        self._said.pop(what, None)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """What goes wrong inside is said once, tried again at the next tick, and harms nothing else."""
        trouble = None
        try:
            yield
        except LedgerUnavailable:
            raise
        except Exception as error:
            trouble = self.in_words(error)
        self.say(what, trouble)

    def in_words(self, error: Exception) -> str:
        """Return what to say of a failure; of one that nobody thought of, the log has the details, once."""
        if isinstance(error, AgentError):
            return str(error)
        words = f"A fault of the agent itself: {type(error).__name__}: {error}"
        if words not in self._faults:
            self._faults.add(words)
            logger.error("%s", words, exc_info=error, extra={"action": "fault"})
        return words
