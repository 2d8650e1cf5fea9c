"""Hand over what may run: the intent is in the ledger before anything is asked of the executor.

An attempt whose answer never came is handed over again under its own key; a second copy of it does nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from dropbox_agent import plan
from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import Executor
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Attempt
from dropbox_agent.states import AttemptState
from dropbox_agent.troubles import TRIES, Troubles

logger = logging.getLogger(__name__)
MAY_BE_STUCK = 20
"""So many attempts that nobody takes keep no place from others; what more there are of them does."""


@dataclass
class Dispatcher:
    """Gives attempts to an executor, and writes down what it calls them."""

    ledger: Ledger
    task_context: plan.Context
    troubles: Troubles
    wave: int
    """How many jobs of one manifest are worked on at a time; the others wait for their turn."""
    _not_handed_over: dict[str, int] = field(default_factory=dict)
    """Key of an attempt -> how many times handing it over went wrong in a way that nobody thought of."""

    def dispatch(self, executor: Executor, now: datetime) -> None:
        """Hand over what is ready while there is room, intent first."""
        live, stuck = self.ledger.live_attempts(), self.ledger.stuck(TRIES)[:MAY_BE_STUCK]
        places = len(live) - len(stuck)
        for attempt in live:
            if not self._is_to_be_handed_over(attempt, executor, now):
                continue
            if attempt.key in stuck:
                if not executor.room(places):
                    continue
                places += 1
            self._hand_over(attempt, executor, now)
        room = executor.room(places)
        ready = self.ledger.ready(now, self.wave) if room else []
        for number, (job_id, allocation) in enumerate(ready[:room]):
            if not executor.room(places + number):
                break  # it is busy with what it was given, or does not answer
            with self.troubles.alone(f"starting {job_id}"):
                self._hand_over(self.ledger.submitting(job_id, allocation, now), executor, now)

    def hear(self, executor: Executor, now: datetime) -> None:
        """Write down what the executor answered late."""
        for attempt, answer in executor.answered():
            with self.troubles.alone(f"handing over {attempt.key}"):
                found = attempt.handle is None and self.ledger.attempt(attempt.key).handle is not None
                if not (found and isinstance(answer, SubmitFailed)):
                    self._handed_over(attempt, answer, executor, now)

    def _is_to_be_handed_over(self, attempt: Attempt, executor: Executor, now: datetime) -> bool:
        """An intent without an answer, or an attempt that was taken and never came to run (a restart in between)."""
        if attempt.stop_at is not None:
            return False
        if attempt.state is AttemptState.SUBMITTING:
            return self.ledger.may_try(attempt, now) and executor.may_repeat(attempt, now)
        return attempt.first_missing_at is not None and executor.may_repeat(attempt, now)

    def _hand_over(self, attempt: Attempt, executor: Executor, now: datetime) -> None:
        job = self.ledger.job(attempt.job_id)
        assert job is not None
        try:
            settings = {
                task.key: plan.task_settings(job, task, attempt.key, self.task_context) for task in attempt.tasks
            }
            handle = executor.submit(attempt, settings)
        except Exception as error:
            self._handed_over(attempt, error, executor, now)
            return
        if handle is not None:
            self._handed_over(attempt, handle, executor, now)

    def _handed_over(self, attempt: Attempt, answer: str | Exception, executor: Executor, now: datetime) -> None:
        if isinstance(answer, SubmitFailed):
            self._not_taken(attempt, answer, now)
        elif isinstance(answer, Exception):
            self._not_taken(attempt, self._after_a_fault(attempt, answer, executor, now), now)
        else:
            self._not_handed_over.pop(attempt.key, None)
            self.ledger.submitted(attempt, answer, now)
            logger.info(
                "%s: %s handed over as %s.", attempt.job_id, ", ".join(task.key for task in attempt.tasks), answer,
                extra={"action": "submitted", "job": attempt.job_id, "attempt": attempt.key},
            )  # fmt: skip

    def _after_a_fault(self, attempt: Attempt, error: Exception, executor: Executor, now: datetime) -> SubmitFailed:
        """Return what to make of a fault that nobody thought of: the attempt may have been taken all the same.

        It is tried again under the same key. Only one that can be kept from ever starting is given up in the end.
        """
        tries = self._not_handed_over[attempt.key] = self._not_handed_over.get(attempt.key, 0) + 1
        is_over = tries >= TRIES and executor.may_repeat(attempt, now) and executor.stop(attempt, hard=False)
        return SubmitFailed(self.troubles.in_words(error), retry=not is_over, unsure=True)

    def _not_taken(self, attempt: Attempt, error: SubmitFailed, now: datetime) -> None:
        if error.retry:
            self.ledger.not_submitted(attempt, str(error), now, unsure=error.unsure)
        else:
            self.ledger.gave_up(attempt, str(error), now)
        logger.error("%s: %s", attempt.job_id, error, extra={"action": "not_submitted", "attempt": attempt.key})
