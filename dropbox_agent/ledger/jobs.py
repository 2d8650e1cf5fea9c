"""Write down how jobs begin and end, and who is told by mail."""

from __future__ import annotations

import json
from datetime import datetime

from dropbox_agent.ledger.database import as_text
from dropbox_agent.ledger.write import Writer
from dropbox_agent.model import Job
from dropbox_agent.states import FINAL_TASK_STATES, JobState, TaskState


class Jobs(Writer):
    """What drops and attempts have in common: the jobs they make and end."""

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

    def _end_own_task(self, job_id: str, task_id: str, state: TaskState, message: str, now: datetime) -> None:
        at = as_text(now)
        self._do(
            "UPDATE tasks SET state = ?, message = ?, started = ?, ended = ?, updated = ?"
            " WHERE job_id = ? AND task_id = ? AND state = 'waiting'",
            (state.value, message, at, at, at, job_id, task_id),
        )

    def _is_skipped(self, job_id: str, task_id: str) -> bool:
        row = self._one("SELECT state, ended FROM tasks WHERE job_id = ? AND task_id = ?", (job_id, task_id))
        return row is None or (row["state"] == TaskState.SKIPPED.value and row["ended"] is None)

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
            # Each time a task is run again is told; of the other kinds there is one mail for each turn of the job.
            " ifnull(iif(? = 'retry', (SELECT sum(retries) FROM tasks WHERE job_id = ?),"
            " (SELECT retries FROM jobs WHERE job_id = ?)), 0) FROM drops WHERE drops.drop_id = ?",
            (kind, job_id, recipient, as_text(now), kind, job_id, job_id, drop_id),
        )


def _no_mail(address: str | None, kind: str) -> str:
    if not address:
        return "No user_email was given, and mail.default_to is not set: nobody is told by mail."
    return f"{address} did not ask for mails of type {kind} (email_notification_types)."
