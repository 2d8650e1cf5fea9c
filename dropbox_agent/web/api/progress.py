"""How jobs and their tasks stand, and their logs, at upstream's addresses."""

from __future__ import annotations

import ast
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator

from dropbox_agent.model import JobLine, JobSearch
from dropbox_agent.states import JobState
from dropbox_agent.web.api import documents, logs, shapes
from dropbox_agent.web.api.answers import message, wrong_parameter
from dropbox_agent.web.api.asking import iso
from dropbox_agent.web.api.parts import ApiParts
from dropbox_agent.web.api.requests import DAG_ID

WINDOW = timedelta(days=14)
"""How far back the list goes when nobody says."""
MOST_LISTED = 10_000
"""How many jobs one answer lists; upstream sends all there are, whatever page is asked for."""
Order = Literal[
    "execution_date", "-execution_date", "start_date", "-start_date", "end_date", "-end_date", "state", "-state",
    "dag_run_id", "-dag_run_id",
]  # fmt: skip
NOTHING_YET = "(There is no log yet.)\n"
LATEST = 0
"""The try_number that means the last one."""


def router(parts: ApiParts) -> APIRouter:
    """Return what tells how things stand."""
    made = APIRouter(tags=["upstream"])
    _add_list(made, parts)
    _add_one_job(made, parts)
    return made


def _add_list(made: APIRouter, parts: ApiParts) -> None:
    @made.get("/v1/get_job_status_list", summary="List jobs", **documents.READ)
    def get_job_status_list(
        dag_ids: Annotated[list[str] | None, Query(description="Others than the one there is list nothing.")] = None,
        page_limit: Annotated[int, Query(ge=1, le=1_000_000, description="Not needed: all are listed.")] = 100,
        page_offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        states: Annotated[
            str | None, Query(max_length=500, description="A list as Python writes it: ['running', 'failed'].")
        ] = None,
        execution_date_gte: Annotated[
            datetime | None, BeforeValidator(iso), Query(description="Default: 14 days ago.")
        ] = None,
        execution_date_lte: Annotated[datetime | None, BeforeValidator(iso)] = None,
        order_by: Order = "-execution_date",
    ) -> Response:
        """List the jobs submitted in the last 14 days, or since a date, the newest first."""
        since = _in_utc(execution_date_gte or parts.now() - WINDOW, "execution_date_gte")
        until = _in_utc(execution_date_lte, "execution_date_lte") if execution_date_lte else None
        chosen = _states(states)
        search = JobSearch(states=chosen, since=since.date())
        found = [
            job
            for job in parts.lists.every_job(search, MOST_LISTED)
            if job.created >= since and (until is None or job.created <= until)
        ]
        if dag_ids and DAG_ID not in dag_ids:
            found = []
        ordered = _in_order(found, order_by)
        asked = {
            "dag_ids": dag_ids or [DAG_ID],
            "page_limit": page_limit,
            "page_offset": page_offset,
            "states": sorted({shapes.JOB_STATES[state] for state in chosen}),
            "execution_date_gte": since.isoformat(),
            **({"execution_date_lte": until.isoformat()} if until else {}),
            "order_by": order_by,
        }
        return message(
            200,
            "Retrieved job status list from airflow",
            params=asked,
            total_entries=len(ordered),
            job_status_list=[shapes.job_status(job) for job in ordered[page_offset:]],
        )


def _add_one_job(made: APIRouter, parts: ApiParts) -> None:
    @made.get("/v1/get_tasks_list", summary="List the tasks of a job", **documents.READ)
    def get_tasks_list(
        dag_run_id: Annotated[str, Query(min_length=1, max_length=300, description="The job's id.")],
        dag_id: Annotated[str, Query(min_length=1, max_length=300)] = DAG_ID,
    ) -> Response:
        """List the tasks of a job, each with its state."""
        asked = {"dag_id": dag_id, "dag_run_id": dag_run_id}
        job = parts.reader.job(dag_run_id)
        if job is None:
            return message(
                404, "Error retrieving job tasks list from airflow", params=asked, errors=[_no_job(dag_run_id)]
            )
        tasks = shapes.job_tasks(job)
        return message(
            200, "Retrieved job tasks list from airflow", params=asked, total_entries=len(tasks), job_tasks_list=tasks
        )

    @made.get("/v1/get_task_logs", summary="Read the log of a task", **documents.READ)
    def get_task_logs(
        dag_run_id: Annotated[str, Query(min_length=1, max_length=300, description="The job's id.")],
        task_id: Annotated[str, Query(min_length=1, max_length=300)],
        try_number: Annotated[int, Query(ge=0, le=1_000_000, description="From 1; 0 is the last one.")],
        map_index: Annotated[int, Query(ge=-1, le=1_000_000, description="-1 for a task that is there once.")],
        dag_id: Annotated[str, Query(min_length=1, max_length=300)] = DAG_ID,
        full_content: bool = True,
    ) -> Response:
        """Read the log of one try at a task: its end, when it is very long."""
        asked = {
            "dag_id": dag_id,
            "dag_run_id": dag_run_id,
            "task_id": task_id,
            "try_number": try_number,
            "map_index": map_index,
            "full_content": full_content,
        }
        text = _log(parts, dag_run_id, task_id, map_index, try_number)
        if text is None:
            errors = [f"Job {dag_run_id} has no task {task_id} with map_index {map_index}."]
            return message(404, "Error retrieving task logs from airflow", params=asked, errors=errors)
        return message(200, "Retrieved task logs from airflow", params=asked, logs=text)


def _log(parts: ApiParts, job_id: str, task_id: str, map_index: int, try_number: int) -> str | None:
    """Return the log of a task; None when there is no such job or task."""
    job = parts.reader.job(job_id)
    if job is None:
        return None
    indexes = shapes.map_indexes(job)
    meant = [task for task in job.tasks if task.task_id == task_id and indexes[task.key] == map_index]
    if not meant:
        return None
    attempt = meant[0].attempt if try_number == LATEST else try_number
    one = logs.of_try(parts.reader, parts.lists, parts.places, job, meant[0].key, attempt)
    if one is None:
        return NOTHING_YET
    log, of_elements = one.log(), logs.of_all_elements(one)
    if of_elements:
        return of_elements if log is None else f"{of_elements}\n==> after all elements <==\n{log.text}"
    if log is None:
        return NOTHING_YET
    return log.text if log.is_whole else f"(Only the last {log.sent_bytes:,} of {log.total_bytes:,} bytes.)\n{log.text}"


def _states(written: str | None) -> tuple[JobState, ...]:
    """Return our states for upstream's, written as a Python list. Raises RequestValidationError."""
    if written is None:
        return ()
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        value = None
    known = set(shapes.JOB_STATES.values())
    if not isinstance(value, list | tuple | set) or not all(isinstance(one, str) and one in known for one in value):
        words = f"write a list such as ['running', 'failed'] of: {', '.join(sorted(known))}"
        raise wrong_parameter("states", words, written)
    return tuple(state for state, theirs in shapes.JOB_STATES.items() if theirs in value)


def _in_order(jobs: list[JobLine], order: Order) -> list[JobLine]:
    name = order.lstrip("-")
    keys: dict[str, Any] = {
        "execution_date": lambda job: job.created,
        "start_date": lambda job: (job.started is None, job.started or job.created),
        "end_date": lambda job: (job.ended is None, job.ended or job.created),
        "state": lambda job: shapes.JOB_STATES[job.state],
        "dag_run_id": lambda job: job.job_id,
    }
    return sorted(jobs, key=keys[name], reverse=order.startswith("-"))


def _in_utc(moment: datetime, name: str) -> datetime:
    """Return a time in UTC, which one without a zone is already. Raises RequestValidationError at the ends of time."""
    try:
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except OverflowError:
        raise wrong_parameter(name, "is outside what a calendar has", str(moment)) from None


def _no_job(job_id: str) -> str:
    return f"There is no job {job_id} here. One that was submitted a moment ago is recorded once its manifest settled."
