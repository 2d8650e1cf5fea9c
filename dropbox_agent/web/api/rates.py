"""How often somebody may ask for work: a bucket of requests for each, filled steadily."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

BURST_SECONDS = 30.0
"""Somebody who was quiet may send what this many seconds allow at once."""
REMEMBERED = 10_000
"""How many askers are kept apart; the quiet ones are forgotten first, and lose nothing by it."""


@dataclass
class Rates:
    """Counts requests by who sent them. Its method may be called from several threads."""

    per_minute: int
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Who -> (requests left, when that was counted)."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_seconds(self, who: str, seconds: float) -> float:
        """Count one request at a time (monotonic seconds); return 0, or how long to wait when there are too many."""
        a_second = self.per_minute / 60
        full = max(1.0, a_second * BURST_SECONDS)
        with self._lock:
            self._forget_the_quiet(seconds, full / a_second)
            left, counted = self._left.get(who, (full, seconds))
            left = min(full, left + (seconds - counted) * a_second)
            if left < 1:
                self._left[who] = (left, seconds)
                return (1 - left) / a_second
            self._left[who] = (left - 1, seconds)
            return 0.0

    def _forget_the_quiet(self, seconds: float, quiet_seconds: float) -> None:
        if len(self._left) < REMEMBERED:
            return
        kept = {who: one for who, one in self._left.items() if seconds - one[1] < quiet_seconds}
        # All of them busy: those of many addresses are one flood, and starting anew lets each in once more.
        self._left = kept if len(kept) < REMEMBERED else {}
