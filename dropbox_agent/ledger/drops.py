"""Write down what was taken in: drops with their jobs, tasks and needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from dropbox_agent import plan as plans
from dropbox_agent.ledger import names
from dropbox_agent.ledger.database import as_text
from dropbox_agent.ledger.jobs import Jobs
from dropbox_agent.model import Drop, Job, Plan, Problem
from dropbox_agent.states import DropState, TaskState


class Drops(Jobs):
    """What comes from an inbox."""

    def is_news(self, drop: Drop) -> bool:
        """Return whether this drop says something its manifest's latest version did not.

        The same bytes again are no news, except after a refusal: whoever touches or brings back a refused manifest,
        or orders it, wants it looked at again, because what was wrong may have been outside it.
        """
        where = (str(drop.inbox), drop.name, drop.sha256)
        latest = self._one(
            "SELECT sha256, state, modified, retries FROM drops WHERE inbox = ? AND name = ?"
            " ORDER BY version DESC LIMIT 1",
            where[:2],
        )
        if latest is None:
            return self._one("SELECT 1 FROM seen WHERE inbox = ? AND name = ? AND sha256 = ?", where) is None
        if latest["sha256"] != drop.sha256:
            return True
        asked_for = drop.again or latest["retries"] > 0 or latest["modified"] != drop.modified
        return latest["state"] == DropState.REFUSED.value and asked_for

    def ask_again(self, drop_id: int) -> None:
        """Have the file of a refused drop looked at again, as somebody ordered."""
        with self._transaction():
            self._do("UPDATE drops SET retries = retries + 1 WHERE drop_id = ? AND state = 'refused'", (drop_id,))

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

    def _job_id(self, drop_id: int, job: Job) -> str:
        drop = self._one("SELECT inbox, name, sha256 FROM drops WHERE drop_id = ?", (drop_id,))
        assert drop is not None
        version = self._version(Path(drop["inbox"]), drop["name"], drop["sha256"], before=drop_id)
        return names.job_id(version, job.bucket, job.s3_prefix)


def _first_state(task_id: str, skip: str | None) -> tuple[TaskState, str | None]:
    if skip is not None:
        return TaskState.SKIPPED, skip
    if task_id in plans.DONE_IN_THE_PLAN:
        return TaskState.SUCCEEDED, "Resolved in the plan."
    return TaskState.WAITING, None
