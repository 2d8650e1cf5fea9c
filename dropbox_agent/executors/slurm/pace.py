"""How often Slurm is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

SLOWEST_POLL = timedelta(seconds=30)
JITTER = 0.25
"""By which part a wait may be longer, so that the agents of a site do not all ask at once after an outage."""


@dataclass
class Pace:
    """How often Slurm is asked: soon after something happened, then ever less often."""

    quickest: timedelta
    chance: Callable[[], float] = random.random
    """Returns 0 to 1."""
    _wait: timedelta | None = None
    _last: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to ask; a clock that was set back counts as time."""
        return self._last is None or self._wait is None or not timedelta(0) <= now - self._last < self._wait

    def asked(self, now: datetime, calm: bool) -> None:
        """Slurm answered."""
        self._last = now
        self._wait = min(self._wait * 1.5, SLOWEST_POLL) if calm and self._wait else self.quickest

    def unanswered(self, now: datetime) -> None:
        """Slurm did not answer, which may have taken long."""
        self._last = now
        self._wait = min((self._wait or self.quickest) * 2, SLOWEST_POLL) * (1 + JITTER * self.chance())

    def hurry(self) -> None:
        """Something happened."""
        self._wait = self.quickest
