"""One job: its pipeline and time, its attempts, its logs, what it was asked for, and its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response, StreamingResponse

from dropbox_agent import report
from dropbox_agent.model import AttemptLine, EarlierAttempt, JobStanding, Move, TaskStanding, read_inventory
from dropbox_agent.report import fraction
from dropbox_agent.states import FINAL_JOB_STATES, TaskState
from dropbox_agent.web import answers, charts, elements, exports
from dropbox_agent.web.asked import LIVE_SECONDS
from dropbox_agent.web.parts import Parts
from dropbox_agent.web.written import WrittenRow

SHOWN_LOGS = 3
"""Of how many tasks that run or failed the end of the log is shown at once."""


@dataclass(frozen=True)
class ShownLog:
    """A log whose end is shown."""

    task: TaskStanding
    element: int | None
    """Of an array task."""


def router(parts: Parts) -> APIRouter:
    """Return the address of one job."""
    found = APIRouter(include_in_schema=False)

    @found.get("/jobs/{job_id}")
    def job(job_id: str) -> Response:
        return answers.page(parts.pages, "web/job.html.j2", **_facts(parts, known_job(parts, job_id)))

    @found.get("/jobs/{job_id}/inventory.csv")
    def inventory(job_id: str) -> Response:
        job = known_job(parts, job_id)
        content = parts.read.inventory(job_id)
        if content is None:
            raise HTTPException(
                404, "This job has uploaded nothing so far, or its inventory lies only beside its data."
            )
        lines = exports.inventory_lines(read_inventory(content))
        headers = {"Content-Disposition": f'attachment; filename="{job.s3_prefix}.inventory.csv"'}
        return StreamingResponse(lines, media_type=exports.MEDIA_TYPES["csv"], headers=headers)

    return found


def known_job(parts: Parts, job_id: str) -> JobStanding:
    """Return a job. Raises the answer that there is none."""
    one = parts.read.job(job_id)
    if one is None:
        raise HTTPException(404)
    return one


def _facts(parts: Parts, job: JobStanding) -> dict[str, Any]:
    now, moves = parts.now(), parts.lists.moves(job.job_id)
    live = job.state not in FINAL_JOB_STATES
    return {
        "job": job,
        "inventory_kept": parts.read.inventory_kept(job.job_id),
        "now": now,
        "graph": charts.graph(job),
        "spans": charts.spans(job, now),
        "remaining": {task.key: charts.remaining(task, fraction(task.progress), now) for task in job.tasks},
        "attempts": parts.lists.attempts(job.job_id),
        "asked_for": partial(_asked_for, job),
        "moves": moves,
        "why": partial(_why, moves),
        "logs": _logs(parts, job),
        "row": _row(parts, job),
        "live_seconds": LIVE_SECONDS if live else 0,
    }


def _asked_for(job: JobStanding, attempt: AttemptLine) -> tuple[tuple[str, Any, str], ...]:
    """Return what an attempt asked for: what it was given instead, else what its first task does, as all do alike."""
    planned = next((task for task in job.plan.tasks if task.key in attempt.tasks), None)
    asked = attempt.asked or (planned.settings.get("image_resources") if planned else None) or {}
    found = report.settings_with_origin({"image_resources": asked}, {})
    return tuple((path.removeprefix("image_resources."), value, origin) for path, value, origin in found if value != {})


def _why(moves: Sequence[Move], key: str, earlier: EarlierAttempt) -> str | None:
    """Return why an earlier try at a task ended: what is noted of it, else what the task said then."""
    said = [move.message for move in moves if move.name == key and move.message and move.at <= earlier.ended]
    return earlier.message or next(reversed(said), None)


def _row(parts: Parts, job: JobStanding) -> WrittenRow:
    drop = parts.lists.drop(job.drop_id)
    return parts.written.row(drop, job.row) if drop is not None else WrittenRow(trouble="Its manifest is not known.")


def _logs(parts: Parts, job: JobStanding) -> list[ShownLog]:
    return [ShownLog(task, _element(parts, job, task)) for task in worth_reading(job)]


def _element(parts: Parts, job: JobStanding, task: TaskStanding) -> int | None:
    attempt = parts.lists.attempt_key(job.job_id, task.key, task.attempt)
    if attempt is None:
        return None
    folder = parts.read.run_folder(job.job_id).attempt(attempt)
    return elements.worth_reading(elements.standing(parts.work.ask, job, task.key, folder))


def worth_reading(job: JobStanding) -> list[TaskStanding]:
    """Return the tasks whose log is shown at once: those that failed, else those that run, else the last one before."""
    with_log = [task for task in job.tasks if task.log]
    for state in (TaskState.FAILED, TaskState.RUNNING):
        found = [task for task in with_log if task.state is state]
        if found:
            return found[:SHOWN_LOGS]
    # Between two tasks what was read stays.
    ended = [task for task in with_log if task.ended is not None] if job.state not in FINAL_JOB_STATES else []
    return [max(ended, key=lambda task: task.ended or job.created)] if ended else []
