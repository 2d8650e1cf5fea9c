"""What a row asks for, and what it is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dropbox_agent.model.plans import Retry
from dropbox_agent.model.rows import Row


@dataclass(frozen=True)
class Job:
    """One valid data acquisition session to upload. Its identity is ``(bucket, s3_prefix)``, the asset."""

    row: Row
    job_type: str
    project_name: str
    subject_id: str
    acq_datetime: datetime
    platform: str | None
    modalities: tuple[str, ...]
    bucket: str
    """The bucket's name in the settings (default, private, open, ...), not its address."""
    s3_prefix: str
    user_email: str | None
    email_types: frozenset[str]
    tasks: Mapping[str, Any]
    """What the manifest set: canonical task_id -> fields set, or task_id -> modality -> fields set."""


@dataclass(frozen=True)
class JobType:
    """The stored tasks of one job_type, as its file has them (before inheritance and fallback)."""

    name: str
    description: str
    inherits: str | None
    tasks: Mapping[tuple[str, str | None], Mapping[str, Any]]
    """(canonical task_id, modality or None) -> the fields the preset sets."""
    retries: Mapping[str, Retry] = field(default_factory=dict)
    """Cause -> how often a task is run again by itself."""


@dataclass(frozen=True)
class Presets:
    """Every job_type a site has, and those whose file is wrong."""

    job_types: Mapping[str, JobType]
    broken: Mapping[str, str]
    """Name of a job_type that cannot be used -> why, in one sentence that names file and line."""
    trouble: str | None = None
    """Why these may not be the newest: their store did not answer. Else None."""


@dataclass(frozen=True)
class Known:
    """What a manifest is checked against."""

    job_types: tuple[str, ...]
    broken_job_types: Mapping[str, str]
    projects: tuple[str, ...]
    """Empty: any project name that is well formed."""
    platforms: tuple[str, ...]
    modalities: tuple[str, ...]
    buckets: tuple[str, ...]
    task_ids: Mapping[str, str]
    """Every accepted task name -> its canonical task_id."""
    default_email: str | None
    now: datetime
    upstream: bool = False
    """compat: upstream. What upstream takes without a word is a warning, not an error."""
