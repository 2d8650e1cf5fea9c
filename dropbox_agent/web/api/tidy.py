"""The shapes of the tidy addresses: what is answered, and how our things become it."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict

from dropbox_agent import report
from dropbox_agent.examine import plan_as_json
from dropbox_agent.model import DropLine, JobLine, JobStanding, JobType
from dropbox_agent.states import DropState, JobState
from dropbox_agent.web.api.receipts import Receipt


class Shape(BaseModel):
    """Part of an answer; nothing is left out and nothing else is in it."""

    model_config = ConfigDict(extra="forbid")


class JobInList(Shape):
    job_id: str
    s3_prefix: str
    state: JobState
    subject_id: str
    project_name: str
    job_type: str
    platform: str | None
    modalities: list[str]
    user_email: str | None
    bucket: str
    acq_datetime: datetime
    created: datetime
    started: datetime | None
    ended: datetime | None
    manifest: str
    done: int
    """How many of its tasks ended well."""
    total: int
    """How many it has that are not skipped."""


class JobList(Shape):
    total: int
    limit: int
    offset: int
    jobs: list[JobInList]


class Job(BaseModel):
    """One job: what ``status.json`` says of it, with what it is about and its plan."""

    model_config = ConfigDict(extra="allow")

    job_id: str
    s3_prefix: str
    location: str
    state: JobState
    tasks: list[dict[str, Any]]
    plan: list[dict[str, Any]]


class Log(Shape):
    job_id: str
    key: str
    attempt: int
    element: int | None
    """Of an array task."""
    total_bytes: int
    is_whole: bool
    log: str


class ManifestInList(Shape):
    name: str
    version: int
    sha256: str
    state: DropState
    noticed: datetime
    updated: datetime
    note: str | None
    errors: int
    warnings: int
    jobs: dict[str, int]


class ManifestList(Shape):
    total: int
    limit: int
    offset: int
    manifests: list[ManifestInList]


class Manifest(BaseModel):
    """What ``status.json`` says."""

    model_config = ConfigDict(extra="allow")

    manifest: str
    state: DropState
    summary: str
    problems: list[dict[str, Any]]
    jobs: list[dict[str, Any]]


class PresetTask(Shape):
    task_id: str
    modality: str | None
    task: dict[str, Any]


class Preset(Shape):
    name: str
    description: str
    inherits: str | None
    tasks: list[PresetTask]


class PresetList(Shape):
    job_types: list[Preset]
    broken: dict[str, str]


class SubmittedJob(Shape):
    job_id: str
    s3_prefix: str


class Submitted(Shape):
    manifest: str
    jobs: list[SubmittedJob]


class Ordered(Shape):
    job_id: str
    ordered: str


class Checked(Shape):
    ok: bool
    jobs: list[dict[str, Any]]
    problems: list[dict[str, Any]]


def line(thing: JobLine | DropLine, *without: str) -> dict[str, Any]:
    """Return one line of a list."""
    return {one.name: _plain(getattr(thing, one.name)) for one in fields(thing) if one.name not in without}


def job(found: JobStanding) -> dict[str, Any]:
    """Return all of one job."""
    about = ("job_type", "project_name", "subject_id", "platform", "modalities", "bucket", "user_email", "manifest")
    times = ("acq_datetime", "created", "started", "ended")
    return {
        **report.job_status(found),
        **{name: _plain(getattr(found, name)) for name in (*about, *times)},
        "email_notification_types": sorted(found.email_types),
        "plan": plan_as_json(found.plan),
    }


def settling(receipt: Receipt) -> dict[str, Any]:
    """Return what is known of a manifest that the agent has not recorded."""
    return {
        "manifest": receipt.manifest,
        "state": DropState.SETTLING.value,
        "summary": "Submitted; the agent records it once the file has settled.",
        "problems": [],
        "jobs": [{"job_id": job_id, "s3_prefix": s3_prefix} for job_id, s3_prefix in receipt.jobs],
    }


def preset(job_type: JobType) -> dict[str, Any]:
    """Return a job type as its file has it."""
    tasks = sorted(job_type.tasks.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    return {
        "name": job_type.name,
        "description": job_type.description,
        "inherits": job_type.inherits,
        "tasks": [{"task_id": key[0], "modality": key[1], "task": dict(task)} for key, task in tasks],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).isoformat()
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
