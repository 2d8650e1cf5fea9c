"""Our words in upstream's shapes: jobs as its clients send them, problems as its errors, states as its pipeline's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from itertools import groupby
from typing import Any

from dropbox_agent.model import Job, JobLine, JobStanding, Problem, TaskStanding
from dropbox_agent.states import JobState, TaskState
from dropbox_agent.web.api.requests import DAG_ID

JOB_STATES: Mapping[JobState, str] = {
    JobState.ACCEPTED: "queued",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "success",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
"""Upstream has no word for a cancelled job: it marks it as failed, and so does this, with a comment."""
TASK_STATES: Mapping[TaskState, str | None] = {
    TaskState.WAITING: None,
    TaskState.SUBMITTED: "queued",
    TaskState.RUNNING: "running",
    TaskState.SUCCEEDED: "success",
    TaskState.FAILED: "failed",
    TaskState.SKIPPED: "skipped",
    TaskState.CANCELLED: "failed",
}
PLATFORM_NAMES: Mapping[str, str] = {
    "behavior": "Behavior platform",
    "confocal": "Confocal microscopy platform",
    "ecephys": "Electrophysiology platform",
    "exaSPIM": "ExaSPIM platform",
    "FIP": "Frame-projected independent-fiber photometry platform",
    "HCR": "Hybridization chain reaction platform",
    "HSFP": "Hyperspectral fiber photometry platform",
    "ISI": "Intrinsic signal imaging platform",
    "MERFISH": "MERFISH platform",
    "MRI": "Magnetic resonance imaging platform",
    "mesoSPIM": "MesoSPIM platform",
    "motor-observatory": "Motor observatory platform",
    "multiplane-ophys": "Multiplane optical physiology platform",
    "SLAP2": "SLAP2 platform",
    "single-plane-ophys": "Single-plane optical physiology platform",
    "SmartSPIM": "SmartSPIM platform",
}
"""By abbreviation. Upstream's models tell the platforms apart by their names, and refuse one without."""
NUMBER = re.compile(r"[0-9]{1,9}")
NOT_MAPPED = -1
"""The map_index of a task that is there once."""


def job_as_sent(job: Job) -> dict[str, Any]:
    """Return a job as a client may send it again, every value as it was understood."""
    return {
        "job_type": job.job_type,
        "user_email": job.user_email,
        "email_notification_types": sorted(job.email_types),
        "s3_bucket": job.bucket,
        "project_name": job.project_name,
        "platform": None if job.platform is None else _platform(job.platform),
        "modalities": [{"name": modality_name(one), "abbreviation": one} for one in job.modalities],
        "subject_id": job.subject_id,
        "acq_datetime": job.acq_datetime.isoformat(),
        "tasks": dict(job.tasks),
        "s3_prefix": job.s3_prefix,
    }


def _platform(abbreviation: str) -> dict[str, str]:
    return {"name": PLATFORM_NAMES.get(abbreviation, abbreviation), "abbreviation": abbreviation}


@lru_cache
def modality_name(abbreviation: str) -> str:
    """Return the full name of a modality."""
    from aind_data_schema_models.modalities import Modality  # takes its time, so not before it is needed

    return str(Modality.from_abbreviation(abbreviation).name)


def errors(problems: Sequence[Problem]) -> str:
    """Return problems as upstream's ``errors``: a text that is a JSON list, as pydantic writes its errors."""
    return json.dumps([_error(problem) for problem in problems])


def errors_of_rows(problems: Sequence[Problem]) -> list[str]:
    """Return one such text for each row that has problems; those of the whole file come first."""
    by_row = sorted(problems, key=lambda problem: problem.place.row or 0)
    return [errors(list(of_row)) for _, of_row in groupby(by_row, key=lambda problem: problem.place.row or 0)]


def _error(problem: Problem) -> dict[str, Any]:
    """Return one problem; ``problem`` in it is what ``dropbox-agent check --json`` prints."""
    column = problem.place.column or ""
    parts = column.split(".") if column else []
    location = [int(part) if NUMBER.fullmatch(part) else part for part in parts]
    return {
        "type": "value_error",
        "loc": location,
        "msg": problem.message,
        "input": problem.found,
        "problem": problem.as_json(),
    }


def job_status(job: JobLine) -> dict[str, Any]:
    """Return one entry of upstream's job_status_list."""
    return {
        "dag_id": DAG_ID,
        "end_time": _iso(job.ended),
        "job_id": job.job_id,
        "job_state": JOB_STATES[job.state],
        "name": job.s3_prefix,
        "job_type": job.job_type,
        "comment": "Cancelled." if job.state is JobState.CANCELLED else None,
        "start_time": _iso(job.started),
        "submit_time": _iso(job.created),
    }


def job_tasks(job: JobStanding) -> list[dict[str, Any]]:
    """Return upstream's job_tasks_list: the tasks in the order it sorts them, the last of the pipeline first."""
    indexes = map_indexes(job)
    weights = {task.task_id: len(job.tasks) - place for place, task in reversed(list(enumerate(job.tasks)))}
    entries = [_task(job, task, weights[task.task_id], indexes[task.key]) for task in job.tasks]
    return sorted(entries, key=lambda entry: (entry["priority_weight"], entry["map_index"]))


def map_indexes(job: JobStanding) -> Mapping[str, int]:
    """Return for each task's key which one of its kind it is: 0, 1, ... by modality; -1 where there is but one."""
    found: dict[str, int] = {}
    for task in job.tasks:
        alike = [one.key for one in job.tasks if one.task_id == task.task_id]
        found[task.key] = NOT_MAPPED if task.modality is None else alike.index(task.key)
    return found


def _task(job: JobStanding, task: TaskStanding, weight: int, index: int) -> dict[str, Any]:
    return {
        "dag_id": DAG_ID,
        "job_id": job.job_id,
        "task_id": task.task_id,
        "try_number": task.attempt,
        "task_state": TASK_STATES[task.state],
        "priority_weight": weight,
        "map_index": index,
        "submit_time": _iso(job.created),
        "start_time": _iso(task.started),
        "end_time": _iso(task.ended),
        "duration": (task.ended - task.started).total_seconds() if task.started and task.ended else None,
        "comment": task.message,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
