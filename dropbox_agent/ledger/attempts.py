"""Write down what was handed over, and what was seen of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from dropbox_agent import plan as plans
from dropbox_agent.ledger import names
from dropbox_agent.ledger.database import as_text, backoff
from dropbox_agent.ledger.jobs import Jobs
from dropbox_agent.model import Attempt, AttemptFacts, Observation, TaskObservation
from dropbox_agent.states import ATTEMPT_MOVES, AttemptState, Cause, TaskState

NOT_RUN = "Not run, because"
"""How the message of a task begins that was cancelled for one it needs."""


class Attempts(Jobs):
    """What goes to an executor and comes back."""

    def ready(self, now: datetime, wave: int = 50) -> list[tuple[str, int]]:
        """Return (job_id, allocation) of all that may be handed to an executor, oldest job first.

        Of one manifest only the first ``wave`` jobs that have not ended take part; the others wait for their turn. What
        is to be run again later is not among them before its time; a time that only a wrong clock can have written is
        not waited for.
        """
        rows = self._all(
            "WITH live AS (SELECT job_id, row_number() OVER (PARTITION BY drop_id ORDER BY position) AS place"
            " FROM jobs WHERE state IN ('accepted', 'running'))"
            " SELECT job_id, allocation FROM ready JOIN live USING (job_id) JOIN jobs USING (job_id) WHERE place <= ?"
            " AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = ready.job_id"
            " AND attempts.allocation = ready.allocation AND try_at > ? AND try_at <= ?)"
            " ORDER BY jobs.created, jobs.drop_id, jobs.position, allocation",
            (wave, as_text(now), as_text(now + plans.LONGEST_WAIT)),
        )
        return [(row["job_id"], row["allocation"]) for row in rows]

    def submitting(self, job_id: str, allocation: int, now: datetime) -> Attempt:
        """Write the intent to hand an allocation over; return the attempt, whose key is the same after a crash."""
        with self._transaction():
            before = self._one(
                "SELECT max(number) AS number FROM attempts WHERE job_id = ? AND allocation = ?", (job_id, allocation)
            )
            number = ((before["number"] if before else None) or 0) + 1
            key = self._attempt_key(job_id, allocation, number)
            at = as_text(now)
            self._do(
                "INSERT INTO attempts (attempt_key, job_id, allocation, number, state, created, updated)"
                " VALUES (?, ?, ?, ?, 'submitting', ?, ?)",
                (key, job_id, allocation, number, at, at),
            )
            self._add_facts(key, job_id, allocation)
            self._do(
                "UPDATE tasks SET state = 'submitted', attempt = ?, log = NULL, updated = ?"
                " WHERE job_id = ? AND allocation = ? AND state = 'waiting'",
                (number, at, job_id, allocation),
            )
            self._start_job(job_id, at)
        return self.attempt(key)

    def submitted(self, attempt: Attempt, handle: str, now: datetime) -> None:
        """Write down that the executor took the attempt, and what it calls it."""
        at = as_text(now)
        with self._transaction():
            self._do(
                "UPDATE attempts SET state = iif(state = 'submitting', 'submitted', state), handle = ?, submitted = ?,"
                " message = NULL, first_missing = NULL, updated = ? WHERE attempt_key = ?",
                (handle, at, at, attempt.key),
            )

    def not_submitted(self, attempt: Attempt, message: str, now: datetime, *, unsure: bool = False) -> None:
        """Write down that the executor did not take the attempt; it is tried again after a wait that grows.

        ``unsure``: it may have been taken all the same; since when it is missing begins anew.
        """
        with self._transaction():
            tries = self._number("SELECT tries FROM attempts WHERE attempt_key = ?", (attempt.key,))
            self._do(
                "UPDATE attempts SET tries = tries + 1, try_at = ?, message = ?, updated = ?,"
                " first_missing = iif(?, NULL, first_missing) WHERE attempt_key = ?",
                (as_text(now + backoff(tries)), message, as_text(now), unsure, attempt.key),
            )
            self._do(
                "UPDATE tasks SET message = ?, updated = ? WHERE job_id = ? AND allocation = ? AND state = 'submitted'",
                (message, as_text(now), attempt.job_id, attempt.allocation),
            )

    def gave_up(self, attempt: Attempt, message: str, now: datetime) -> None:
        """Write down that an attempt can never run: its tasks fail with ``message``."""
        tasks = tuple(TaskObservation(t.key, TaskState.FAILED, ended=now, message=message) for t in attempt.tasks)
        self.observed([Observation(attempt, True, AttemptState.LOST, tasks[:1], message)], now)

    def observed(self, observations: Iterable[Observation], now: datetime) -> None:
        """Write down what an executor saw; end the jobs that have nothing left to run. One transaction for all."""
        with self._transaction():
            touched: dict[str, None] = {}
            for observation in observations:
                self._record(observation, now)
                touched[observation.attempt.job_id] = None
            for job_id in touched:
                self._end_job_if_done(job_id, now)

    def _record(self, observation: Observation, now: datetime) -> None:
        attempt, at = observation.attempt, as_text(now)
        self._record_handle(observation, at)
        if not observation.seen:
            self._do(
                "UPDATE attempts SET first_missing = ifnull(first_missing, ?), message = ifnull(?, message),"
                " updated = ? WHERE attempt_key = ?",
                (at, observation.text, at, attempt.key),
            )
            if observation.text is not None:
                self._record_text(attempt, observation.text, ("submitted", "running"), at)
            return
        for task in observation.tasks:
            runs = task.state is TaskState.RUNNING
            self._record_task(attempt, replace(task, message=task.message or observation.text) if runs else task, at)
        ends = observation.state in (AttemptState.ENDED, AttemptState.LOST) and self._is_live(attempt.key)
        state = self._forward(observation).value
        self._do(
            "UPDATE attempts SET state = ?, message = ?, first_missing = NULL, updated = ?"
            " WHERE attempt_key = ? AND state IN ('submitting', 'submitted', 'running')"
            " AND (state IS NOT ? OR message IS NOT ? OR first_missing NOT NULL)",
            (state, observation.text, at, attempt.key, state, observation.text),
        )
        self._record_text(attempt, observation.text, ("submitted",), at)
        if ends:
            self._record_end(observation, now)

    def _record_end(self, observation: Observation, now: datetime) -> None:
        attempt, at = observation.attempt, as_text(now)
        again = self._again(observation, now)
        self._record_facts(attempt.key, observation.facts, observation.cause, again)
        if again is None:
            self._cancel_unreachable(attempt.job_id, at)
            self._cancel_not_reached(attempt, at)
            self._cancel_unreachable(attempt.job_id, at)
            return
        self._cancel_not_reached(attempt, at)
        self._do(
            "UPDATE tasks SET state = 'waiting', retries = retries + 1, message = ?, started = NULL, ended = NULL,"
            " progress = NULL, exit_code = NULL, updated = ?"
            " WHERE job_id = ? AND allocation = ? AND attempt = ? AND state IN ('failed', 'cancelled')",
            (again.words, at, attempt.job_id, attempt.allocation, attempt.number),
        )
        self._do(
            "UPDATE attempts SET try_at = ? WHERE attempt_key = ?",
            (again.not_before and as_text(again.not_before), attempt.key),
        )
        self._add_retry_mail(attempt.job_id, now)

    def _again(self, observation: Observation, now: datetime) -> plans.Again | None:
        """Return how the attempt is followed by another, by the retries of its plan; None when it is not."""
        attempt, cause = observation.attempt, observation.cause
        job = self._one("SELECT plan, state, retries FROM jobs WHERE job_id = ?", (attempt.job_id,))
        stopped = self._number("SELECT stop_at NOT NULL FROM attempts WHERE attempt_key = ?", (attempt.key,))
        failed = any(task.state is TaskState.FAILED for task in observation.tasks)
        if cause is None or job is None or job["state"] not in ("accepted", "running") or stopped or not failed:
            return None
        rows = self._all(
            "SELECT cause FROM attempt_facts JOIN attempts USING (attempt_key)"
            " WHERE job_id = ? AND allocation = ? AND number < ? AND turn = ? AND cause NOT NULL",
            (attempt.job_id, attempt.allocation, attempt.number, job["retries"]),
        )
        before = [Cause(row["cause"]) for row in rows]
        asked = {**(attempt.tasks[0].settings.get("image_resources") or {}), **attempt.resources}
        return plans.again(plans.from_json(json.loads(job["plan"])).retries, cause, [*before, cause], asked, now)

    def _add_facts(self, key: str, job_id: str, allocation: int) -> None:
        """What the attempt before it was given more of, this one has too."""
        self._do(
            "INSERT INTO attempt_facts (attempt_key, turn, resources) SELECT ?, retries,"
            " (SELECT ifnull(again, resources) FROM attempt_facts JOIN attempts USING (attempt_key)"
            "   WHERE job_id = jobs.job_id AND allocation = ? ORDER BY number DESC LIMIT 1)"
            " FROM jobs WHERE job_id = ?",
            (key, allocation, job_id),
        )

    def _record_facts(
        self, key: str, facts: AttemptFacts | None, cause: Cause | None = None, again: plans.Again | None = None
    ) -> None:
        facts = facts or AttemptFacts()
        resources = {**self.attempt(key).resources, **again.resources} if again else None
        self._do("INSERT OR IGNORE INTO attempt_facts (attempt_key) VALUES (?)", (key,))
        self._do(
            "UPDATE attempt_facts SET node = ifnull(?, node), elapsed_seconds = ifnull(?, elapsed_seconds),"
            " max_rss_bytes = ifnull(?, max_rss_bytes), log_end = ifnull(?, log_end), cause = ifnull(?, cause),"
            " again = ifnull(?, again) WHERE attempt_key = ?",
            (facts.node, facts.elapsed_seconds, facts.max_rss_bytes, facts.log_end, cause and cause.value,
             json.dumps(resources) if resources else None, key),
        )  # fmt: skip

    def _record_handle(self, observation: Observation, at: str) -> None:
        if observation.handle is not None and observation.handle != observation.attempt.handle:
            self._do(
                "UPDATE attempts SET handle = ?, submitted = ifnull(submitted, ?), updated = ? WHERE attempt_key = ?",
                (observation.handle, at, at, observation.attempt.key),
            )

    def _record_text(self, attempt: Attempt, text: str | None, states: Sequence[str], at: str) -> None:
        """What an executor says of an attempt is said of each task of it in these states."""
        for state in states:
            self._do(
                "UPDATE tasks SET message = ?, updated = ? WHERE job_id = ? AND allocation = ? AND attempt = ?"
                " AND state = ? AND message IS NOT ?",
                (text, at, attempt.job_id, attempt.allocation, attempt.number, state, text),
            )

    def _record_task(self, attempt: Attempt, task: TaskObservation, at: str) -> None:
        progress = None if task.progress is None else json.dumps(dict(task.progress))
        self._do(
            "UPDATE tasks SET state = ?, started = ifnull(?, started), ended = ?, message = ?,"
            " exit_code = ?, progress = ifnull(?, progress), log = ifnull(?, log), updated = ?"
            # How a task ended is not changed; why, the end of its attempt may know better.
            " WHERE job_id = ? AND key = ? AND attempt = ? AND state IN ('submitted', 'running', ?)"
            # A look that shows nothing new writes nothing: it is repeated several times a second.
            " AND (state IS NOT ? OR progress IS NOT ifnull(?, progress) OR message IS NOT ?)",
            (task.state.value, task.started and as_text(task.started), task.ended and as_text(task.ended),
             task.message, task.exit_code, progress, task.log, at, attempt.job_id, task.key, attempt.number,
             task.state.value, task.state.value, progress, task.message),
        )  # fmt: skip

    def _forward(self, observation: Observation) -> AttemptState:
        """Return the state that was seen, or the recorded one: a look may know less than the ledger already does."""
        row = self._one("SELECT state FROM attempts WHERE attempt_key = ?", (observation.attempt.key,))
        before = AttemptState(row["state"]) if row else observation.state
        return observation.state if observation.state in ATTEMPT_MOVES[before] else before

    def _is_live(self, key: str) -> bool:
        states = "('submitting', 'submitted', 'running')"
        return bool(self._number(f"SELECT count(*) FROM attempts WHERE attempt_key = ? AND state IN {states}", (key,)))

    def _cancel_not_reached(self, attempt: Attempt, at: str) -> None:
        self._do(
            "UPDATE tasks SET state = 'cancelled', message = 'Not reached before its attempt was stopped.', ended = ?,"
            " updated = ? WHERE job_id = ? AND allocation = ? AND attempt = ? AND state IN ('submitted', 'running')",
            (at, at, attempt.job_id, attempt.allocation, attempt.number),
        )

    def _cancel_unreachable(self, job_id: str, at: str) -> None:
        while True:
            rows = self._all("SELECT key, because FROM unreachable WHERE job_id = ?", (job_id,))
            if not rows:
                return
            for row in rows:
                self._do(
                    "UPDATE tasks SET state = 'cancelled', message = ?, ended = ?, updated = ?"
                    " WHERE job_id = ? AND key = ?",
                    (f"{NOT_RUN} {row['because']} did not end well.", at, at, job_id, row["key"]),
                )

    def _attempt_key(self, job_id: str, allocation: int, number: int) -> str:
        return names.attempt_key(self.ledger_id, job_id, allocation, number)
