"""Ask the accounting of a cluster about jobs that the controller cannot explain, where there is one."""

from __future__ import annotations

import logging
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta

from dropbox_agent.executors.slurm.jobs import Cluster, JobRecord, NoAccounting, SlurmJob, Unanswered
from dropbox_agent.executors.slurm.line import Line, is_answered
from dropbox_agent.executors.slurm.states import Stand, state_of
from dropbox_agent.model import Attempt, AttemptFacts, Observation
from dropbox_agent.states import AttemptState

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=10)
"""How long a record is waited for: the accounting lags the controller by seconds."""
ASK_AGAIN = timedelta(seconds=1)
LONGEST_MEMORY = timedelta(days=30)
"""How far back it is asked about a job of which nobody knows when it was submitted."""


class Witness:
    """What the accounting says of attempts. It is asked for those that somebody wants to know about, all at once."""

    def __init__(self, cluster: Cluster, line: Line, patience_seconds: float) -> None:
        self._cluster = cluster
        self._line = line
        self._patience = patience_seconds
        self._wanted: dict[str, tuple[datetime, datetime]] = {}
        """Attempt -> since when it is wanted, and when it was submitted at the earliest."""
        self._records: dict[str, JobRecord] = {}
        self._answer: Future[list[JobRecord]] | None = None
        self._asked: datetime | None = None
        self._keeps_accounts = True

    def about(self, attempt: Attempt, now: datetime) -> tuple[JobRecord | None, bool]:
        """Return how the accounting says an attempt ended, and whether an answer is still to be waited for."""
        if attempt.key not in self._records and self._keeps_accounts:
            early = (attempt.submitted_at or now - LONGEST_MEMORY) - timedelta(hours=1)
            since, _ = self._wanted.setdefault(attempt.key, (now, early))
            if not timedelta(0) <= now - since < PATIENCE:
                return None, False
            self._ask(now)
        record = self._records.get(attempt.key)
        return record, record is None and self._keeps_accounts

    def forget(self, key: str) -> None:
        """Begin anew with an attempt: it is handed over again."""
        self._wanted.pop(key, None)
        self._records.pop(key, None)

    def forget_all_but(self, keys: Collection[str]) -> None:
        """Forget the attempts nobody asks about any more."""
        for key in set(self._wanted) - set(keys):
            self.forget(key)

    def _ask(self, now: datetime) -> None:
        patience = 0.0
        if self._answer is None and (self._asked is None or not timedelta(0) <= now - self._asked < ASK_AGAIN):
            open_ = {key: early for key, (_, early) in self._wanted.items() if key not in self._records}
            self._answer = self._line.ask(lambda: self._cluster.records(tuple(open_), min(open_.values())))
            self._asked = now
            patience = self._patience
        if self._answer is None or not is_answered(self._answer, patience):
            return
        answer, self._answer = self._answer, None
        try:
            self._learn(answer.result())
        except NoAccounting:
            self._keeps_accounts = False
        except Unanswered as unanswered:
            logger.warning("The accounting of Slurm does not answer: %s.", unanswered, extra={"action": "slurm"})

    def _learn(self, records: Collection[JobRecord]) -> None:
        for record in records:
            if record.name in self._wanted and state_of(as_job(record)).stand is Stand.OVER:
                self._records[record.name] = record


def as_job(record: JobRecord) -> SlurmJob:
    """Return what the controller would have said of a job."""
    return SlurmJob(
        record.job_id, record.name, record.state, nodes=record.nodes, by=record.cancelled_by, ended=record.ended
    )


def explained(job: SlurmJob | None, record: JobRecord | None) -> SlurmJob | None:
    """Return what is known of a job from the controller and, where that says nothing, from the accounting."""
    if record is None:
        return job
    if job is None:
        return as_job(record)
    return replace(job, by=record.cancelled_by, ended=record.ended) if job.job_id == record.job_id else job


def with_facts(seen: Observation | None, record: JobRecord | None) -> Observation | None:
    """Return the observation of an end with what the accounting measured."""
    if seen is None or record is None or seen.state not in (AttemptState.ENDED, AttemptState.LOST):
        return seen
    facts = seen.facts or AttemptFacts()
    most = max(facts.max_rss_bytes or 0, record.max_rss_bytes or 0)
    took = facts.elapsed_seconds if facts.elapsed_seconds is not None else record.elapsed_seconds
    return replace(
        seen,
        facts=replace(facts, node=facts.node or record.nodes or None, elapsed_seconds=took, max_rss_bytes=most or None),
    )
