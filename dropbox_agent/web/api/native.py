"""The tidy addresses: jobs, manifests and presets; problems as ``dropbox-agent check --json`` prints them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from dropbox_agent import report
from dropbox_agent.examine import as_json
from dropbox_agent.model import DropLine, DropSearch, JobLine, JobOrder, JobSearch, Presets, Standing
from dropbox_agent.states import DropState, JobState
from dropbox_agent.web.api import asking, documents, logs, requests, submitting, tidy
from dropbox_agent.web.api.answers import Json
from dropbox_agent.web.api.parts import ApiParts
from dropbox_agent.web.api.submitting import examined
from dropbox_agent.web.api.upstream import REQUEST, as_problem

MOST_ROWS = 500
"""How many one answer lists."""
Word = Annotated[str, Query(max_length=200)]
Day = Annotated[date | None, BeforeValidator(asking.iso)]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Name = Annotated[str, Path(min_length=1, max_length=300)]


def router(parts: ApiParts) -> APIRouter:
    """Return what reads and takes jobs, manifests and presets."""
    made = APIRouter()
    _add_jobs(made, parts)
    _add_one_job(made, parts)
    _add_manifests(made, parts)
    _add_taking(made, parts)
    _add_presets(made, parts)
    return made


def _add_jobs(made: APIRouter, parts: ApiParts) -> None:
    @made.get("/jobs", tags=["jobs"], responses=documents.native(), response_model=tidy.JobList)
    def jobs(
        q: Annotated[str, Query(max_length=200, description="Words that stand in its name, id, people or file.")] = "",
        state: Annotated[list[JobState] | None, Query(description="One or several.")] = None,
        user: Word = "",
        project: Word = "",
        subject: Word = "",
        job_type: Word = "",
        modality: Word = "",
        since: Annotated[
            date | None,
            BeforeValidator(asking.iso),
            Query(description="The first day (UTC) it may have been submitted on."),
        ] = None,
        until: Annotated[Day, Query(description="The last day.")] = None,
        sort: JobOrder = "submitted",
        ascending: bool = False,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> Response:
        """List jobs, searched, filtered, sorted and cut; ``total`` counts all that were found."""
        search = JobSearch(
            words=tuple(q.split()),
            states=tuple(state or ()),
            user=user,
            project=project,
            subject=subject,
            job_type=job_type,
            modality=modality,
            since=since,
            until=until,
            order=sort,
            ascending=ascending,
        )
        found = parts.lists.jobs(search, limit, offset)
        total = offset + len(found)
        if len(found) == limit or not found:  # else these are the last of them
            counts = parts.lists.count_jobs(search)
            total = sum(count for one, count in counts.items() if not state or one in state)
        return Json({"total": total, "limit": limit, "offset": offset, "jobs": [_job_line(job) for job in found]})


def _add_one_job(made: APIRouter, parts: ApiParts) -> None:
    @made.get("/jobs/{job_id}", tags=["jobs"], responses=documents.native(404), response_model=tidy.Job)
    def job(job_id: Name) -> Response:
        """Tell all of one job: its tasks with their states, and the plan with the origin of each value."""
        found = parts.reader.job(job_id)
        if found is None:
            raise HTTPException(404, f"There is no job {job_id}.")
        return Json(tidy.job(found))

    @made.get("/jobs/{job_id}/tasks/{key}/log", tags=["jobs"], responses=documents.native(404), response_model=tidy.Log)
    def log(
        job_id: Name,
        key: Name,
        attempt: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
        element: Annotated[
            int | None, Query(ge=0, le=999_999, description="Of an array task; else the one that failed, or runs.")
        ] = None,
    ) -> Response:
        """Read the log of a task (``compress_data[ecephys]``), of its last try or another one; its end, when long."""
        found = parts.reader.job(job_id)
        task = next((one for one in found.tasks if one.key == key), None) if found else None
        if found is None or task is None:
            raise HTTPException(404, f"Job {job_id} has no task {key}.")
        number = attempt or task.attempt
        one = logs.of_try(parts.reader, parts.lists, parts.places, found, key, number)
        text = None if one is None else logs.most_worth_reading(one) if element is None else one.log(element)
        if text is None:
            of_element = "" if element is None else f"element {element} of "
            raise HTTPException(404, f"Try {number} of {of_element}{key} has no log, or none yet.")
        facts = {"total_bytes": text.total_bytes, "is_whole": text.is_whole, "log": text.text}
        return Json({"job_id": job_id, "key": key, "attempt": number, "element": text.element, **facts})

    @made.post("/jobs/{job_id}/cancel", status_code=202, **documents.NATIVE_CANCEL)
    async def cancel(job_id: Name, request: Request) -> Response:
        """Order the end of a job. The agent carries it out at its next look."""
        submitter = asking.submitter_of(request, parts.access, parts.rates)
        assert parts.desk is not None  # closed was answered before
        await run_in_threadpool(parts.desk.cancel, job_id, None, submitter, parts.now())
        return Json({"job_id": job_id, "ordered": "cancel"}, 202)


def _add_manifests(made: APIRouter, parts: ApiParts) -> None:
    @made.get("/manifests", tags=["manifests"], responses=documents.native(), response_model=tidy.ManifestList)
    def manifests(
        q: Word = "",
        state: Annotated[list[DropState] | None, Query(description="One or several.")] = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> Response:
        """List what arrived in the watched folders, the newest first; ``total`` counts all that were found."""
        search = DropSearch(words=tuple(q.split()), states=tuple(state or ()))
        counts = parts.lists.count_drops(search)
        total = sum(count for one, count in counts.items() if not state or one in state)
        found = parts.lists.drops(search, limit, offset)
        lines = [_drop_line(drop) for drop in found]
        return Json({"total": total, "limit": limit, "offset": offset, "manifests": lines})

    @made.get("/manifests/{name}", tags=["manifests"], responses=documents.native(404), response_model=tidy.Manifest)
    def manifest(name: Name) -> Response:
        """Tell all of one manifest, as the status file beside it does; ``settling`` while it is not recorded."""
        found = _latest(parts, name)
        if found is not None:
            return Json(report.status(found))
        receipt = parts.desk.receipts.find(name) if parts.desk else None
        if receipt is None:
            raise HTTPException(404, f"There is no manifest {name}.")
        return Json(tidy.settling(receipt))


def _add_taking(made: APIRouter, parts: ApiParts) -> None:
    @made.post("/manifests", status_code=202, **documents.NATIVE_SUBMIT)
    async def submit(request: Request) -> Response:
        """Put a request into the watched folder as a manifest; the answer has the ids of its jobs."""
        submitter = asking.submitter_of(request, parts.access, parts.rates)
        assert parts.desk is not None  # closed was answered before
        body, key = await asking.json_body(request), request.headers.get("idempotency-key")
        receipt = await run_in_threadpool(parts.desk.submit, body, submitter, key, parts.now())
        return Json(submitting.as_json(receipt), 202)

    @made.post("/check", **documents.NATIVE_CHECK)
    async def check(request: Request) -> Response:
        """Judge the form of a request and tell its plan, as ``dropbox-agent check --json``; no folder is looked at."""
        asking.count_visitor(request, parts.access, parts.rates)
        body = await asking.json_body(request)
        try:
            content = requests.as_manifest(body)
        except requests.NotARequest as wrong:
            return Json({"ok": False, "jobs": [], "problems": [as_problem(wrong).as_json()]})
        found = await run_in_threadpool(examined, parts.examiner, content, REQUEST, parts.now(), form_only=True)
        return Json(as_json(found))


def _add_presets(made: APIRouter, parts: ApiParts) -> None:
    @made.get("/presets", tags=["presets"], responses=documents.native(), response_model=tidy.PresetList)
    def presets() -> Response:
        """List the job types, and those that cannot be used with the reason."""
        stored = parts.presets()
        kinds = [tidy.preset(stored.job_types[name]) for name in sorted(stored.job_types)]
        return Json({"job_types": kinds, "broken": dict(stored.broken)})

    @made.get("/presets/{job_type}", tags=["presets"], responses=documents.native(404), response_model=tidy.Preset)
    def one_preset(job_type: Name) -> Response:
        """Tell the stored tasks of one job type, as its file has them."""
        return Json(_preset(parts.presets(), job_type))


def _preset(stored: Presets, name: str) -> dict[str, Any]:
    if name in stored.broken:
        raise HTTPException(404, f"Job type {name} cannot be used: {stored.broken[name]}")
    if name not in stored.job_types:
        raise HTTPException(404, f"There is no job type {name}.")
    return tidy.preset(stored.job_types[name])


def _latest(parts: ApiParts, name: str) -> Standing | None:
    """Return the latest version of a manifest in any inbox, the newest of them."""
    exact = [drop for drop in parts.lists.drops(DropSearch(words=(name,)), MOST_ROWS) if drop.name == name]
    return parts.reader.standing(exact[0].drop_id) if exact else None


def _job_line(job: JobLine) -> dict[str, Any]:
    return tidy.line(job, "drop_id", "row")


def _drop_line(drop: DropLine) -> dict[str, Any]:
    return {**tidy.line(drop, "drop_id", "inbox", "jobs"), "jobs": {s.value: n for s, n in drop.jobs.items()}}
