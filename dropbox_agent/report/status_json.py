"""What programs read beside a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dropbox_agent.model import EarlierAttempt, JobStanding, Standing, TaskStanding
from dropbox_agent.report.figures import iso
from dropbox_agent.report.sentences import summary

STATUS_SCHEMA = 1
"""The version of status.json; it grows when a field changes its meaning or goes."""


def status(standing: Standing) -> dict[str, Any]:
    """Return the content of status.json."""
    return {
        "schema": STATUS_SCHEMA,
        "manifest": standing.name,
        "sha256": standing.sha256,
        "state": standing.state.value,
        "summary": summary(standing),
        "updated": iso(standing.updated),
        "problems": [problem.as_json() for problem in standing.problems],
        "jobs": [job_status(job) for job in standing.jobs],
    }


def job_status(job: JobStanding) -> dict[str, Any]:
    """Return one job as status.json has it."""
    return {
        "job_id": job.job_id,
        "s3_prefix": job.s3_prefix,
        "location": job.location,
        "state": job.state.value,
        "tasks": [_task_status(task) for task in job.tasks],
    }


def _task_status(task: TaskStanding) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "modality": task.modality,
        "state": task.state.value,
        "started": iso(task.started) if task.started else None,
        "ended": iso(task.ended) if task.ended else None,
        "attempt": task.attempt,
        "slurm_job_id": task.slurm_job_id,
        "log": task.log,
        "message": task.message,
        "progress": _finite(task.progress),
        "node": task.node,
        "elapsed_seconds": _finite(task.elapsed_seconds),
        "max_rss_bytes": task.max_rss_bytes,
        "log_end": task.log_end,
        "earlier_attempts": [_earlier_status(one) for one in task.earlier],
    }


def _earlier_status(one: EarlierAttempt) -> dict[str, Any]:
    return {
        "attempt": one.number,
        "ended": iso(one.ended),
        "cause": one.cause.value if one.cause else None,
        "message": one.message,
        "slurm_job_id": one.slurm_job_id,
        "node": one.node,
        "elapsed_seconds": _finite(one.elapsed_seconds),
        "max_rss_bytes": one.max_rss_bytes,
    }


def _finite(value: Any) -> Any:
    """Return the value without NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return value
