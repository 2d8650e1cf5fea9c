"""Write what happened. Every public method is one transaction: it is recorded whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dropbox_agent import plan as plans
from dropbox_agent.errors import LedgerInUse, LedgerUnavailable, MoveRefused
from dropbox_agent.ledger import names, orders
from dropbox_agent.ledger.database import LONGEST_WAIT, as_text, is_due, open_for_writing, until
from dropbox_agent.ledger.read import Reader
from dropbox_agent.model import Attempt, Drop, Job, Mail, Observation, Plan, Problem, TaskObservation
from dropbox_agent.states import ATTEMPT_MOVES, FINAL_TASK_STATES, AttemptState, DropState, JobState, TaskState

PROGRESS_SECONDS = 1.0
"""A status that only shows more progress is written at most this often."""
PROGRESS_SECONDS_PER_JOB = 0.05
"""And less often for a large manifest, whose status takes long to write: every 100 s for 2,000 jobs."""
MAILS_AT_ONCE = 20
"""How many mails go out before what runs is looked at again."""
BACKOFF_SECONDS = (2.0, 5.0, 15.0, 60.0, 300.0)
"""How long to wait after the first, second, ... failure of the same act."""


@dataclass(frozen=True)
class Untold:
    """A drop whose status beside the manifest is older than the ledger."""

    drop_id: int
    changes: int
    """What ``told`` must be given once this has been written."""


@dataclass(frozen=True)
class DueMail:
    """A mail to be sent now."""

    mail: Mail
    tries: int


class Ledger(Reader):
    """The agent's ledger. One process at a time may hold it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, work_dir: Path, lock: int) -> None:
        super().__init__(connection, work_dir)
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path, work_dir: Path, now: datetime) -> Ledger:
        """Return the ledger at ``path``, made if it is not there. Raises LedgerInUse when another agent holds it."""
        lock = _lock_or_refuse(path)
        try:
            connection = open_for_writing(path)
        except BaseException:
            os.close(lock)
            raise
        ledger = cls(connection, path, work_dir, lock)
        try:
            ledger._name_it(now)
            ledger._wait_no_longer()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Let go of the file; another agent may open it."""
        super().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- drops -------------------------------------------------------------------------------------------------------

    def is_news(self, drop: Drop) -> bool:
        """Return whether this drop says something its manifest's latest version did not.

        The same bytes again are no news, except after a refusal: whoever touches or brings back a refused manifest
        wants it looked at again, because what was wrong may have been outside it.
        """
        where = (str(drop.inbox), drop.name, drop.sha256)
        latest = self._one(
            "SELECT sha256, state, modified FROM drops WHERE inbox = ? AND name = ? ORDER BY version DESC LIMIT 1",
            where[:2],
        )
        if latest is None:
            return self._one("SELECT 1 FROM seen WHERE inbox = ? AND name = ? AND sha256 = ?", where) is None
        if latest["sha256"] != drop.sha256:
            return True
        return latest["state"] == DropState.REFUSED.value and (drop.again or latest["modified"] != drop.modified)

    def accept(
        self, drop: Drop, jobs: Sequence[tuple[Job, Plan]], problems: Sequence[Problem], now: datetime
    ) -> int | None:
        """Record a drop with its jobs and their plans; return its id, or None when it was no news."""
        with self._transaction():
            if not self.is_news(drop):
                return None
            drop_id = self._add_drop(drop, DropState.ACCEPTED, problems, now)
            added = [
                self._add_job(drop_id, position, job, plan, now) for position, (job, plan) in enumerate(jobs, start=1)
            ]
            for job_id in added:  # A job whose tasks are all skipped is done already.
                self._end_job_if_done(job_id, now)
            return drop_id

    def refuse(self, drop: Drop, problems: Sequence[Problem], recipients: Sequence[str], now: datetime) -> int | None:
        """Record that nothing of a drop will run, and who is to be told by mail."""
        with self._transaction():
            if not self.is_news(drop):
                return None
            drop_id = self._add_drop(drop, DropState.REFUSED, problems, now)
            for recipient in recipients:
                self._add_mail(drop_id, "refused", None, recipient, now)
            return drop_id

    def leave_alone(self, inbox: Path, files: Iterable[tuple[str, str]]) -> None:
        """Record (name, sha256) of files that are never to be processed as they are."""
        with self._transaction():
            for name, sha256 in files:
                self._do("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (str(inbox), name, sha256))

    def leave_nothing_alone(self, inbox: Path) -> None:
        """Forget which files of an inbox were not to be processed."""
        with self._transaction():
            self._do("DELETE FROM seen WHERE inbox = ?", (str(inbox),))

    # --- attempts ----------------------------------------------------------------------------------------------------

    def ready(self, wave: int = 50) -> list[tuple[str, int]]:
        """Return (job_id, allocation) of all that may be handed to an executor, oldest job first.

        Of one manifest only the first ``wave`` jobs that have not ended take part; the others wait for their turn.
        """
        rows = self._all(
            "WITH live AS (SELECT job_id, row_number() OVER (PARTITION BY drop_id ORDER BY position) AS place"
            " FROM jobs WHERE state IN ('accepted', 'running'))"
            " SELECT job_id, allocation FROM ready JOIN live USING (job_id) JOIN jobs USING (job_id) WHERE place <= ?"
            " ORDER BY jobs.created, jobs.drop_id, jobs.position, allocation",
            (wave,),
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

    # --- orders ------------------------------------------------------------------------------------------------------

    def retry(self, job_id: str, from_task: str | None, now: datetime) -> int:
        """Let what did not end well run again; return how many tasks. Raises OrderRefused; then nothing changed."""
        with self._transaction():
            count = orders.retry(self._connection, job_id, from_task, as_text(now))
            self._add_retry_mail(job_id, now)
            return count

    def cancel(self, job_id: str, why: str, now: datetime) -> None:
        """End what waits and have ended what runs. Raises OrderRefused; then nothing changed."""
        with self._transaction():
            orders.cancel(self._connection, job_id, why, as_text(now))
            self._end_job_if_done(job_id, now)

    def note(self, drop_id: int, text: str, now: datetime) -> None:
        """Write down what came of an order, for the status of its manifest."""
        with self._transaction():
            self._do("UPDATE drops SET note = ?, updated = ? WHERE drop_id = ?", (text, as_text(now), drop_id))

    # --- answers -----------------------------------------------------------------------------------------------------

    def untold(self, now: datetime) -> list[Untold]:
        """Return the drops whose status beside the manifest is to be written now."""
        rows = self._all(
            f"SELECT drop_id, changes FROM drops WHERE changes > told AND {is_due('tell_at')} ORDER BY drop_id",
            until(now),
        )
        return [Untold(row["drop_id"], row["changes"]) for row in rows]

    def told(self, untold: Untold, now: datetime) -> None:
        """Write down that the status beside the manifest is as of ``untold.changes``."""
        with self._transaction():
            jobs = self._number("SELECT count(*) FROM jobs WHERE drop_id = ?", (untold.drop_id,))
            pause = timedelta(seconds=max(PROGRESS_SECONDS, jobs * PROGRESS_SECONDS_PER_JOB))
            self._do(
                "UPDATE drops SET told = ?, tell_tries = 0, tell_error = NULL,"
                " tell_at = iif(state IN ('accepted', 'running'), ?, NULL) WHERE drop_id = ?",
                (untold.changes, as_text(now + min(pause, LONGEST_WAIT)), untold.drop_id),
            )

    def not_told(self, untold: Untold, error: str, now: datetime) -> None:
        """Write down that the status could not be written; it is tried again after a wait that grows."""
        with self._transaction():
            tries = self._number("SELECT tell_tries FROM drops WHERE drop_id = ?", (untold.drop_id,))
            self._do(
                "UPDATE drops SET tell_tries = tell_tries + 1, tell_error = ?, tell_at = ? WHERE drop_id = ?",
                (error, as_text(now + backoff(tries)), untold.drop_id),
            )

    def due_mails(self, now: datetime) -> list[DueMail]:
        """Return the mails to send now, oldest first, not too many at once."""
        rows = self._all(
            f"SELECT * FROM outbox WHERE sent IS NULL AND {is_due('send_at')} ORDER BY mail_id LIMIT {MAILS_AT_ONCE}",
            until(now),
        )
        return [DueMail(self._mail(row), row["tries"]) for row in rows]

    def mailed(self, mail: Mail, now: datetime) -> None:
        """Write down that a mail is out."""
        with self._transaction():
            self._do("UPDATE outbox SET sent = ?, error = NULL WHERE mail_id = ?", (as_text(now), mail.mail_id))

    def not_mailed(self, mail: Mail, error: str, now: datetime) -> None:
        """Write down that a mail could not be sent; it is tried again after a wait that grows."""
        with self._transaction():
            tries = self._number("SELECT tries FROM outbox WHERE mail_id = ?", (mail.mail_id,))
            self._do(
                "UPDATE outbox SET tries = tries + 1, error = ?, send_at = ? WHERE mail_id = ?",
                (error, as_text(now + backoff(tries)), mail.mail_id),
            )

    # --- details -----------------------------------------------------------------------------------------------------

    def _name_it(self, now: datetime) -> None:
        with self._transaction():
            if self._one("SELECT 1 FROM ledger") is None:
                self._do("INSERT INTO ledger VALUES (?, ?)", (uuid.uuid4().hex, as_text(now)))

    def _wait_no_longer(self) -> None:
        """Whoever starts the agent again has mended something: what failed before is tried at once."""
        with self._transaction():
            self._do("UPDATE drops SET tell_at = NULL, tell_tries = 0 WHERE changes > told AND tell_tries > 0")
            self._do("UPDATE outbox SET send_at = NULL, tries = 0 WHERE sent IS NULL AND tries > 0")
            self._do("UPDATE attempts SET try_at = NULL, tries = 0 WHERE state = 'submitting' AND tries > 0")

    def _add_drop(self, drop: Drop, state: DropState, problems: Sequence[Problem], now: datetime) -> int:
        version = 1 + self._number(
            "SELECT ifnull(max(version), 0) FROM drops WHERE inbox = ? AND name = ?", (str(drop.inbox), drop.name)
        )
        cursor = self._do(
            "INSERT INTO drops (inbox, name, version, sha256, size, owner, modified, state, problems, noticed, updated)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (str(drop.inbox), drop.name, version, drop.sha256, drop.size, drop.owner, drop.modified, state.value,
             json.dumps([problem.as_json() | {"line": problem.line} for problem in problems]),
             as_text(drop.settled_at), as_text(now)),
        )  # fmt: skip
        return int(cursor.lastrowid or 0)

    def _add_job(self, drop_id: int, position: int, job: Job, plan: Plan, now: datetime) -> str:
        at = as_text(now)
        job_id = self._job_id(drop_id, job)
        self._do(
            "INSERT INTO jobs (job_id, drop_id, position, row, bucket, s3_prefix, location, job_type, project_name,"
            " subject_id, acq_datetime, platform, modalities, user_email, email_types, plan, state, created, updated)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'accepted', ?, ?)",
            (job_id, drop_id, position, job.row.place.row, job.bucket, job.s3_prefix, plan.location, job.job_type,
             job.project_name, job.subject_id, job.acq_datetime.isoformat(), job.platform,
             json.dumps(list(job.modalities)), job.user_email, json.dumps(sorted(job.email_types)),
             json.dumps(plans.to_json(plan)), at, at),
        )  # fmt: skip
        self._add_tasks(job_id, plan, at)
        self._add_begin_mail(drop_id, job_id, job, now)
        return job_id

    def _add_tasks(self, job_id: str, plan: Plan, at: str) -> None:
        for position, task in enumerate(plan.tasks, start=1):
            state, message = _first_state(task.task_id, task.skip)
            self._do(
                "INSERT INTO tasks (job_id, key, position, task_id, modality, allocation, state, message, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, task.key, position, task.task_id, task.modality, task.allocation, state.value, message, at),
            )
        for task in plan.tasks:
            for needed in task.needs:
                self._do("INSERT INTO needs VALUES (?, ?, ?)", (job_id, task.key, needed))

    def _add_begin_mail(self, drop_id: int, job_id: str, job: Job, now: datetime) -> None:
        if self._is_skipped(job_id, "send_job_start_email"):
            return
        if job.user_email and job.email_types & {"begin", "all"}:
            self._add_mail(drop_id, "begin", job_id, job.user_email, now)
            self._end_own_task(job_id, "send_job_start_email", TaskState.SUCCEEDED, f"To {job.user_email}.", now)
        else:
            self._end_own_task(
                job_id, "send_job_start_email", TaskState.SKIPPED, _no_mail(job.user_email, "begin"), now
            )

    def _is_skipped(self, job_id: str, task_id: str) -> bool:
        row = self._one("SELECT state, ended FROM tasks WHERE job_id = ? AND task_id = ?", (job_id, task_id))
        return row is None or (row["state"] == TaskState.SKIPPED.value and row["ended"] is None)

    def _add_retry_mail(self, job_id: str, now: datetime) -> None:
        row = self._one("SELECT drop_id, user_email, email_types FROM jobs WHERE job_id = ?", (job_id,))
        assert row is not None
        if row["user_email"] and {"retry", "all"} & set(json.loads(row["email_types"])):
            self._add_mail(row["drop_id"], "retry", job_id, row["user_email"], now)

    def _add_mail(self, drop_id: int, kind: str, job_id: str | None, recipient: str, now: datetime) -> None:
        self._do(
            "INSERT OR IGNORE INTO outbox (drop_id, number, kind, job_id, recipient, created, turn)"
            " SELECT drops.drop_id, (SELECT 1 + ifnull(max(number), 0) FROM outbox JOIN drops AS of USING (drop_id)"
            " WHERE of.inbox = drops.inbox AND of.name = drops.name), ?, ?, ?, ?,"
            " ifnull((SELECT retries FROM jobs WHERE job_id = ?), 0) FROM drops WHERE drops.drop_id = ?",
            (kind, job_id, recipient, as_text(now), job_id, drop_id),
        )

    def _end_own_task(self, job_id: str, task_id: str, state: TaskState, message: str, now: datetime) -> None:
        at = as_text(now)
        self._do(
            "UPDATE tasks SET state = ?, message = ?, started = ?, ended = ?, updated = ?"
            " WHERE job_id = ? AND task_id = ? AND state = 'waiting'",
            (state.value, message, at, at, at, job_id, task_id),
        )

    def _start_job(self, job_id: str, at: str) -> None:
        self._do(
            "UPDATE jobs SET state = 'running', started = ?, updated = ? WHERE job_id = ? AND state = 'accepted'",
            (at, at, job_id),
        )
        self._do(
            "UPDATE drops SET state = 'running', updated = ? WHERE state = 'accepted'"
            " AND drop_id = (SELECT drop_id FROM jobs WHERE job_id = ?)",
            (at, job_id),
        )

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
        state = self._forward(observation).value
        self._do(
            "UPDATE attempts SET state = ?, message = ?, first_missing = NULL, updated = ?"
            " WHERE attempt_key = ? AND state IN ('submitting', 'submitted', 'running')"
            " AND (state IS NOT ? OR message IS NOT ? OR first_missing NOT NULL)",
            (state, observation.text, at, attempt.key, state, observation.text),
        )
        self._record_text(attempt, observation.text, ("submitted",), at)
        self._cancel_unreachable(attempt.job_id, at)
        if observation.state in (AttemptState.ENDED, AttemptState.LOST):
            self._cancel_not_reached(attempt, at)
            self._cancel_unreachable(attempt.job_id, at)

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

    def _forward(self, observation: Observation) -> AttemptState:
        """Return the state that was seen, or the recorded one: a look may know less than the ledger already does."""
        row = self._one("SELECT state FROM attempts WHERE attempt_key = ?", (observation.attempt.key,))
        before = AttemptState(row["state"]) if row else observation.state
        return observation.state if observation.state in ATTEMPT_MOVES[before] else before

    def _cancel_not_reached(self, attempt: Attempt, at: str) -> None:
        self._do(
            "UPDATE tasks SET state = 'cancelled', message = 'Not reached before its attempt was stopped.', ended = ?,"
            " updated = ? WHERE job_id = ? AND allocation = ? AND attempt = ? AND state IN ('submitted', 'running')",
            (at, at, attempt.job_id, attempt.allocation, attempt.number),
        )

    def _record_task(self, attempt: Attempt, task: TaskObservation, at: str) -> None:
        progress = None if task.progress is None else json.dumps(dict(task.progress))
        self._do(
            "UPDATE tasks SET state = ?, started = ifnull(?, started), ended = ?, message = ?,"
            " exit_code = ?, progress = ifnull(?, progress), log = ifnull(?, log), updated = ?"
            " WHERE job_id = ? AND key = ? AND attempt = ? AND state IN ('submitted', 'running')"
            # A look that shows nothing new writes nothing: it is repeated several times a second.
            " AND (state IS NOT ? OR progress IS NOT ifnull(?, progress) OR message IS NOT ?)",
            (task.state.value, task.started and as_text(task.started), task.ended and as_text(task.ended),
             task.message, task.exit_code, progress, task.log, at, attempt.job_id, task.key, attempt.number,
             task.state.value, progress, task.message),
        )  # fmt: skip

    def _cancel_unreachable(self, job_id: str, at: str) -> None:
        while True:
            rows = self._all("SELECT key, because FROM unreachable WHERE job_id = ?", (job_id,))
            if not rows:
                return
            for row in rows:
                self._do(
                    "UPDATE tasks SET state = 'cancelled', message = ?, ended = ?, updated = ?"
                    " WHERE job_id = ? AND key = ?",
                    (f"Not run, because {row['because']} did not end well.", at, at, job_id, row["key"]),
                )

    def _end_job_if_done(self, job_id: str, now: datetime) -> None:
        rows = self._all("SELECT state FROM tasks WHERE job_id = ? AND task_id <> 'send_job_end_email'", (job_id,))
        states = {TaskState(row["state"]) for row in rows}
        if not states <= FINAL_TASK_STATES:
            return
        if self._live_attempts_of(job_id):
            return
        state = JobState.FAILED if TaskState.FAILED in states else JobState.SUCCEEDED
        if state is JobState.SUCCEEDED and TaskState.CANCELLED in states:
            state = JobState.CANCELLED
        self._end_job(job_id, state, now)

    def _live_attempts_of(self, job_id: str) -> int:
        return self._number(
            "SELECT count(*) FROM attempts WHERE job_id = ? AND state IN ('submitting', 'submitted', 'running')",
            (job_id,),
        )

    def _end_job(self, job_id: str, state: JobState, now: datetime) -> None:
        at = as_text(now)
        changed = self._do(
            "UPDATE jobs SET state = ?, ended = ?, updated = ? WHERE job_id = ? AND state IN ('accepted', 'running')",
            (state.value, at, at, job_id),
        )
        if changed.rowcount == 0:
            return
        self._add_end_mail(job_id, state, now)
        self._end_drop_if_done(job_id, at)

    def _add_end_mail(self, job_id: str, state: JobState, now: datetime) -> None:
        row = self._one("SELECT drop_id, user_email, email_types FROM jobs WHERE job_id = ?", (job_id,))
        assert row is not None
        if self._is_skipped(job_id, "send_job_end_email"):
            return
        kind = "fail" if state is JobState.FAILED else "end"
        wanted = {"end", "all"} | ({"fail"} if state is JobState.FAILED else set())
        if row["user_email"] and wanted & set(json.loads(row["email_types"])):
            self._add_mail(row["drop_id"], kind, job_id, row["user_email"], now)
            self._end_own_task(job_id, "send_job_end_email", TaskState.SUCCEEDED, f"To {row['user_email']}.", now)
        else:
            self._end_own_task(job_id, "send_job_end_email", TaskState.SKIPPED, _no_mail(row["user_email"], kind), now)

    def _end_drop_if_done(self, job_id: str, at: str) -> None:
        drop = self._one("SELECT drop_id FROM jobs WHERE job_id = ?", (job_id,))
        assert drop is not None
        rows = self._all("SELECT DISTINCT state FROM jobs WHERE drop_id = ?", (drop["drop_id"],))
        states = {JobState(row["state"]) for row in rows}
        if states & {JobState.ACCEPTED, JobState.RUNNING}:
            return
        order = (JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED)
        state = next(state for state in order if state in states)
        self._do(
            "UPDATE drops SET state = ?, updated = ?, tell_at = iif(tell_tries = 0, NULL, tell_at) WHERE drop_id = ?",
            (state.value, at, drop["drop_id"]),
        )

    def _job_id(self, drop_id: int, job: Job) -> str:
        drop = self._one("SELECT inbox, name FROM drops WHERE drop_id = ?", (drop_id,))
        assert drop is not None
        turn = self._accepted_versions(Path(drop["inbox"]), drop["name"], before=drop_id)
        return names.job_id(self.ledger_id, Path(drop["inbox"]), drop["name"], turn, job.bucket, job.s3_prefix)

    def _attempt_key(self, job_id: str, allocation: int, number: int) -> str:
        return names.attempt_key(self.ledger_id, job_id, allocation, number)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back by itself; after others (COMMIT on a full disk) it has not.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            raise MoveRefused(f"The ledger refused a move: {error}. Nothing of it was recorded.") from error
        except sqlite3.Error as error:
            raise LedgerUnavailable(
                f"The ledger {self.path} could not be written: {error}. Nothing is taken in until it can."
            ) from error

    def _do(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, [_storable(value) for value in values])


def _storable(value: Any) -> Any:
    """Return text without lone surrogates (they come from file names that are not UTF-8), which SQLite refuses."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def backoff(tries: int) -> timedelta:
    """Return how long to wait after ``tries`` earlier failures."""
    return timedelta(seconds=BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)])


def _first_state(task_id: str, skip: str | None) -> tuple[TaskState, str | None]:
    if skip is not None:
        return TaskState.SKIPPED, skip
    if task_id in plans.DONE_IN_THE_PLAN:
        return TaskState.SUCCEEDED, "Resolved in the plan."
    return TaskState.WAITING, None


def _no_mail(address: str | None, kind: str) -> str:
    if not address:
        return "No user_email was given, and mail.default_to is not set: nobody is told by mail."
    return f"{address} did not ask for mails of type {kind} (email_notification_types)."


def _lock_or_refuse(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger's folder {path.parent} cannot be written: {error.strerror}. Set state_dir to one that can."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise LedgerInUse(
            f"Another agent works on {path} (it holds {path.with_suffix('.lock')}). Stop it first, or leave it to work."
        ) from error
    return lock
