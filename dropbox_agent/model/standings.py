"""What people are told, and what they order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dropbox_agent.model.plans import Plan
from dropbox_agent.model.rows import Problem
from dropbox_agent.states import Cause, DropState, JobState, TaskState


@dataclass(frozen=True)
class EarlierAttempt:
    """A try at a task that was followed by another."""

    number: int
    ended: datetime
    cause: Cause | None
    message: str | None
    slurm_job_id: str | None = None
    node: str | None = None
    elapsed_seconds: float | None = None
    max_rss_bytes: int | None = None


@dataclass(frozen=True)
class TaskStanding:
    """One task of a job as the ledger has it."""

    key: str
    task_id: str
    modality: str | None
    state: TaskState
    started: datetime | None
    ended: datetime | None
    attempt: int
    slurm_job_id: str | None
    log: str | None
    message: str | None
    progress: Mapping[str, Any] | None
    node: str | None = None
    """Where its attempt ran, and what that took; tasks of one allocation share it."""
    elapsed_seconds: float | None = None
    max_rss_bytes: int | None = None
    allocation: int | None = None
    log_end: str | None = None
    """The last lines of its log, when it failed."""
    earlier: tuple[EarlierAttempt, ...] = ()


@dataclass(frozen=True)
class JobStanding:
    """One job as the ledger has it."""

    job_id: str
    s3_prefix: str
    bucket: str
    location: str
    job_type: str
    project_name: str
    subject_id: str
    platform: str | None
    modalities: tuple[str, ...]
    user_email: str | None
    email_types: frozenset[str]
    row: int | None
    state: JobState
    created: datetime
    started: datetime | None
    ended: datetime | None
    tasks: tuple[TaskStanding, ...]
    plan: Plan
    acq_datetime: datetime | None = None
    drop_id: int = 0
    manifest: str = ""
    """The manifest's file name."""
    owner: int | None = None
    """uid of the account that dropped the manifest."""


@dataclass(frozen=True)
class Standing:
    """All that is known of one drop: what ``report`` turns into words."""

    drop_id: int
    name: str
    inbox: Path
    sha256: str
    state: DropState
    noticed: datetime
    updated: datetime
    problems: tuple[Problem, ...]
    jobs: tuple[JobStanding, ...]
    note: str | None = None
    """What came of the last order for it, as a sentence."""


class Order(BaseModel):
    """What somebody wants done with a job, or with all jobs of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    act: Literal["retry", "cancel"]
    job_id: str | None = None
    """None: every job of the manifest."""
    inbox: Path | None = None
    manifest: str | None = None
    from_task: str | None = None
    """Run again from this task on, also what succeeded."""
    asked: datetime
    by: str
    """How it was asked for, in words: ``dropbox-agent cancel`` or ``session.xlsx.cancel``."""


@dataclass(frozen=True)
class Mail:
    """One e-mail in the outbox."""

    mail_id: int
    drop_id: int
    number: int
    """Its number among the mails of this manifest, from 1: the NN of ``NAME.NN-kind.eml``."""
    kind: str
    """begin, end, fail, retry, or refused."""
    to: str
    job_id: str | None
    """None for a mail about the whole manifest."""
    created: datetime
