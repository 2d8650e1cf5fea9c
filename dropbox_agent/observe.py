"""Look once at all that may run, and write down what was seen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dropbox_agent import obey
from dropbox_agent.errors import LedgerUnavailable, NoAnswer
from dropbox_agent.executors import Executor
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Observation, RunFolder
from dropbox_agent.patience import Places
from dropbox_agent.states import AttemptState, JobState
from dropbox_agent.troubles import Troubles

INVENTORY_WAITED_FOR = timedelta(minutes=15)
"""For so long after an upload ended an inventory that cannot be read is tried again; then the job goes on without."""
OVER = (AttemptState.ENDED, AttemptState.LOST)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Observer:
    """Sees what becomes of attempts, and says so."""

    ledger: Ledger
    places: Places
    """How long the shares are waited for."""
    troubles: Troubles

    def observe(self, executor: Executor, now: datetime) -> None:
        """Look once at all that may run, and write down what was seen."""
        seen = [obey.as_ordered(one) for one in executor.observe(self.ledger.live_attempts(), now)]
        self.troubles.say("executor", executor.trouble)
        observations = [one for one in seen if not self._waits_for_inventory(one, now)]
        self._record(observations, now)
        for one in observations:
            self._say_of(one)
        self._say_what_ended(observations)

    def _waits_for_inventory(self, seen: Observation, now: datetime) -> bool:
        """Keep what an upload left; return whether to try that again before the end of the attempt is recorded.

        What has ended is not looked at again, and a share may fail for a moment just then.
        """
        job_id = seen.attempt.job_id
        said = next((one.inventory_sha256 for one in seen.tasks if one.inventory_sha256), None)
        if said is None or self.ledger.has_inventory(job_id, said):
            return False
        file = RunFolder(seen.attempt.folder.parent.parent).inventory
        trouble, may_pass = None, False
        try:
            content = self.places.ask(file, file.read_bytes)
            if hashlib.sha256(content).hexdigest() == said:
                self.ledger.keep_inventory(job_id, content, now)
            else:
                trouble = f"{file} is not the inventory that the upload left; the one beside the data stays."
        except (OSError, NoAnswer) as error:
            trouble = f"{file} could not be read: {getattr(error, 'strerror', None) or error}."
            may_pass = not isinstance(error, FileNotFoundError)
        self.troubles.say(f"keeping the inventory of {job_id}", trouble)
        ended = max((one.ended for one in seen.tasks if one.ended is not None), default=None)
        is_just_over = seen.state in OVER and ended is not None and abs(now - ended) < INVENTORY_WAITED_FOR
        return may_pass and is_just_over

    def _record(self, observations: Sequence[Observation], now: datetime) -> None:
        """All at once; one by one when one of them cannot be recorded, so that it stops no other."""
        try:
            self.ledger.observed(observations, now)
        except LedgerUnavailable:
            raise
        except Exception:
            for one in observations:
                with self.troubles.alone(f"recording attempt {one.attempt.key}"):
                    self.ledger.observed([one], now)

    def _say_of(self, one: Observation) -> None:
        what = f"{one.attempt.job_id}, attempt {one.attempt.key}"
        self.troubles.say(what, None if one.waits else one.text, logging.WARNING)
        if one.state in OVER:
            self.troubles.forget(what)

    def _say_what_ended(self, observations: Sequence[Observation]) -> None:
        for job_id in dict.fromkeys(one.attempt.job_id for one in observations if one.state in OVER):
            job = self.ledger.job(job_id)
            if job is not None and job.ended is not None:
                level = logging.WARNING if job.state is JobState.FAILED else logging.INFO
                logger.log(level, "%s: %s.", job_id, job.state.value, extra={"action": "ended", "job": job_id})
