"""Look once at all that may run, and write down what was seen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dropbox_agent import obey
from dropbox_agent.errors import AgentError, LedgerUnavailable
from dropbox_agent.executors import Executor
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Observation, RunFolder
from dropbox_agent.patience import Places
from dropbox_agent.states import AttemptState, JobState
from dropbox_agent.troubles import Troubles

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
        observations = [obey.as_ordered(one) for one in executor.observe(self.ledger.live_attempts(), now)]
        self.troubles.say("executor", executor.trouble)
        for one in observations:
            self._keep_inventory(one, now)
        self._record(observations, now)
        for one in observations:
            self._say_of(one)
        self._say_what_ended(observations)

    def _keep_inventory(self, seen: Observation, now: datetime) -> None:
        """Keep what an upload left, before its end is recorded: what has ended is not looked at again."""
        job_id = seen.attempt.job_id
        said = next((one.inventory_sha256 for one in seen.tasks if one.inventory_sha256), None)
        if said is None or self.ledger.has_inventory(job_id, said):
            return
        file = RunFolder(seen.attempt.folder.parent.parent).inventory
        with self.troubles.alone(f"keeping the inventory of {job_id}"):
            content = self.places.ask(file, file.read_bytes)
            if hashlib.sha256(content).hexdigest() != said:
                raise AgentError(f"{file} is not the inventory that the upload left; the one beside the data stays.")
            self.ledger.keep_inventory(job_id, content, now)

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
