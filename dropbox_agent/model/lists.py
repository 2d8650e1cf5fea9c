"""What is listed of many: one line for each job, manifest or project, and what is searched for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from dropbox_agent.states import AttemptState, DropState, JobState

JobOrder = Literal["submitted", "job", "state", "subject", "project", "job_type", "user"]
"""What a list of jobs may be sorted by."""


@dataclass(frozen=True)
class JobSearch:
    """Which jobs are listed, and in which order. What is empty or None does not matter."""

    words: tuple[str, ...] = ()
    """Each must stand somewhere in the job's name, id, subject, project, job type, user or manifest."""
    states: tuple[JobState, ...] = ()
    user: str = ""
    """A part of the address, as are project and subject parts of theirs."""
    project: str = ""
    subject: str = ""
    job_type: str = ""
    modality: str = ""
    since: date | None = None
    """The first day (UTC) on which it may have been submitted."""
    until: date | None = None
    """The last day."""
    drop_id: int | None = None
    order: JobOrder = "submitted"
    ascending: bool = False


@dataclass(frozen=True)
class JobLine:
    """One job in a list; without its plan, which is long."""

    job_id: str
    s3_prefix: str
    state: JobState
    subject_id: str
    project_name: str
    job_type: str
    platform: str | None
    modalities: tuple[str, ...]
    user_email: str | None
    bucket: str
    acq_datetime: datetime
    created: datetime
    started: datetime | None
    ended: datetime | None
    drop_id: int
    manifest: str
    row: int | None
    done: int
    """How many of its tasks ended well."""
    total: int
    """How many it has that are not skipped."""


@dataclass(frozen=True)
class DropSearch:
    """Which manifests are listed: the latest version of each."""

    words: tuple[str, ...] = ()
    states: tuple[DropState, ...] = ()


@dataclass(frozen=True)
class DropLine:
    """One manifest in a list."""

    drop_id: int
    name: str
    inbox: Path
    version: int
    sha256: str
    state: DropState
    noticed: datetime
    updated: datetime
    note: str | None
    errors: int
    warnings: int
    jobs: Mapping[JobState, int]
    """How many of its jobs are in each state that has any."""


@dataclass(frozen=True)
class ProjectLine:
    """One project name, with how many of its jobs are in each state that has any."""

    name: str
    jobs: Mapping[JobState, int]
    latest: datetime


@dataclass(frozen=True)
class Move:
    """One entry of the history: what moved from where to where, and when."""

    at: datetime
    kind: str
    """job, task or attempt."""
    name: str
    """The job's id, the task's key or the attempt's."""
    before: str | None
    after: str
    message: str | None


@dataclass(frozen=True)
class AttemptLine:
    """One try at running an allocation of a job, as a page tells it."""

    key: str
    number: int
    tasks: tuple[str, ...]
    """Keys of the tasks of its allocation."""
    state: AttemptState
    handle: str | None
    created: datetime
    submitted: datetime | None
    updated: datetime
    message: str | None
    asked: Mapping[str, Any] | None = None
    """What it asked for instead of what its tasks do; None: that."""
    cause: str | None = None
    """Why it ended, where that is not its tasks' own doing."""
    node: str | None = None
    elapsed: timedelta | None = None
    max_rss_bytes: int | None = None


@dataclass(frozen=True)
class Choices:
    """What recent jobs name, to choose from."""

    users: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    job_types: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
