"""How all jobs stand at a glance: counts, chart, names to choose from. A long ledger is not counted for every look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from dropbox_agent.ledger import Lists
from dropbox_agent.model import Choices, JobSearch
from dropbox_agent.states import JobState
from dropbox_agent.web.charts import DAYS, DaysChart, days_chart

TIMES_AS_LONG = 20
"""What was counted is told again for so many times as long as counting took: a short ledger is always counted anew."""
LONGEST_SECONDS = 10.0
KEPT = 100
"""How many different questions are remembered."""


@dataclass(frozen=True)
class Glance:
    """What stands above the list of jobs."""

    counts: Mapping[JobState, int]
    """Of the jobs that are searched for, whatever states are asked for."""
    chart: DaysChart
    choices: Choices


class Glances:
    """Counts, and remembers for a while what it counted."""

    def __init__(self, lists: Lists, clock: Callable[[], float] = time.monotonic) -> None:
        self._lists = lists
        self._clock = clock
        self._known: dict[tuple[JobSearch, date], tuple[Glance, float]] = {}
        self._one_at_a_time = threading.Lock()

    def of(self, search: JobSearch, today: date) -> Glance:
        """Return how the jobs that are searched for stand. Raises LedgerUnavailable."""
        key = (replace(search, order="submitted", ascending=False), today)
        with self._one_at_a_time:
            known, until = self._known.get(key, (None, 0.0))
            if known is not None and self._clock() < until:
                return known
            begun = self._clock()
            counted = self._counted(search, today)
            took = self._clock() - begun
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = (counted, begun + took + min(took * TIMES_AS_LONG, LONGEST_SECONDS))
            return counted

    def _counted(self, search: JobSearch, today: date) -> Glance:
        days = self._lists.days(search, today - timedelta(days=DAYS - 1))
        return Glance(self._lists.count_jobs(search), days_chart(days, today), self._lists.choices())
