"""Upstream's addresses, with its messages, shapes and codes, so that scripts written for it work unchanged.

Where upstream answers a plain 500, this answers the JSON it would have, with the code that fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from dropbox_agent.examine import Examination
from dropbox_agent.model import Level, Place, Problem
from dropbox_agent.web.api import asking, documents, requests, shapes
from dropbox_agent.web.api.access import Refused, Submitter
from dropbox_agent.web.api.answers import as_read, message
from dropbox_agent.web.api.parts import ApiParts
from dropbox_agent.web.api.receipts import Receipt
from dropbox_agent.web.api.submitting import Unacceptable, examined

VALID_MODEL, NOT_VALID = "Valid model", "There were validation errors"
SUBMITTED = "Submitted request to airflow"
"""Upstream's words; scripts may look for them."""
NOT_CANCELLED = "Error canceling job."
NOT_THE_TYPE = "Invalid input file type"
TABLES = (".csv", ".xlsx")
REQUEST = "request.json"
"""What a request that is no file yet is called in its problems."""


def router(parts: ApiParts) -> APIRouter:
    """Return what submits, cancels and judges."""
    made = APIRouter(tags=["upstream"])
    _add_judging(made, parts)
    _add_submitting(made, parts)
    return made


def _add_judging(made: APIRouter, parts: ApiParts) -> None:
    @made.post("/v2/validate_csv", **documents.VALIDATE_CSV)
    async def validate_csv(request: Request) -> Response:
        """Judge the form of a .csv or .xlsx manifest; nothing is started, and no folder is looked at."""
        asking.count_visitor(request, parts.access, parts.rates)
        name, content = await asking.uploaded_file(request)
        if PurePath(name).suffix.lower() not in TABLES:
            return message(406, "There were errors", jobs=[], errors=[NOT_THE_TYPE])
        found = await run_in_threadpool(
            examined, parts.examiner, content, PurePath(name).name, parts.now(), form_only=True
        )
        jobs = [shapes.job_as_sent(job) for job, _ in found.acceptable()]
        wrong = shapes.errors_of_rows(found.errors)
        return message(406 if wrong else 200, "There were errors" if wrong else "Valid Data", jobs=jobs, errors=wrong)

    @made.post("/v2/validate_json", **documents.VALIDATE_JSON)
    async def validate_json(request: Request) -> Response:
        """Judge the form of a request; nothing is started, and no folder is looked at."""
        asking.count_visitor(request, parts.access, parts.rates)
        body = await asking.json_body(request)
        return await run_in_threadpool(_judged, parts, body)


def _judged(parts: ApiParts, body: bytes) -> Response:
    told: dict[str, Any] = {"version": documents.VERSION, "model_json": as_read(body)}
    try:
        found = examined(parts.examiner, requests.as_manifest(body), REQUEST, parts.now(), form_only=True)
    except requests.NotARequest as wrong:
        return message(406, NOT_VALID, **told, errors=shapes.errors([as_problem(wrong)]))
    if found.errors:
        return message(406, NOT_VALID, **told, errors=shapes.errors(found.errors))
    return message(200, VALID_MODEL, **told, validated_model_json=_understood(body, found))


def _add_submitting(made: APIRouter, parts: ApiParts) -> None:
    @made.post("/v2/submit_jobs", **documents.SUBMIT_JOBS)
    async def submit_jobs(request: Request) -> Response:
        """Put a request into the watched folder as a manifest; the answer has the ids of its jobs."""
        try:
            submitter = asking.submitter_of(request, parts.access, parts.rates)
            body, key = await asking.json_body(request), request.headers.get("idempotency-key")
        except Refused as refused:
            return _refused(refused, str(refused), responses=[], errors=str(refused))
        return await run_in_threadpool(_submitted, parts, body, submitter, key)

    @made.post("/v2/cancel_job", **documents.CANCEL_JOB)
    async def cancel_job(request: Request) -> Response:
        """Order the end of a job: what waits is not started, what runs is ended."""
        try:
            submitter = asking.submitter_of(request, parts.access, parts.rates)
            asked = _cancellation(await asking.json_body(request))
            await run_in_threadpool(_cancel, parts, submitter, *asked)
        except Refused as refused:
            return _refused(refused, NOT_CANCELLED, error=str(refused))
        return message(200, "Success")


def _submitted(parts: ApiParts, body: bytes, submitter: Submitter, key: str | None) -> Response:
    assert parts.desk is not None  # closed was answered before
    try:
        receipt = parts.desk.submit(body, submitter, key, parts.now())
    except Refused as refused:
        return _refused(refused, str(refused), responses=[], errors=str(refused))
    except requests.NotARequest as wrong:
        return message(406, NOT_VALID, responses=[], errors=shapes.errors([as_problem(wrong)]))
    except Unacceptable as wrong:
        return message(406, NOT_VALID, responses=[], errors=shapes.errors(wrong.examination.errors))
    return message(
        200, SUBMITTED, responses=_runs(receipt), errors=[], manifest=receipt.manifest, job_ids=list(receipt.job_ids)
    )


def _runs(receipt: Receipt) -> list[dict[str, Any]]:
    """Return one entry for each job, with what ``cancel_job`` and ``get_tasks_list`` ask for."""
    return [
        {
            "dag_id": requests.DAG_ID,
            "dag_run_id": job_id,
            "state": "queued",
            "execution_date": receipt.made.isoformat(),
            "conf": {"s3_prefix": s3_prefix},
        }
        for job_id, s3_prefix in receipt.jobs
    ]


def _cancellation(body: bytes) -> tuple[str, str | None]:
    """Return the job's id and, where it was sent, its name."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "This is not JSON.") from None
    job_id = asked.get("dag_run_id") if isinstance(asked, dict) else None
    if not isinstance(job_id, str) or not job_id:
        raise Refused(400, "'dag_run_id' is missing: the id of the job, as submit_jobs told it.")
    name = asked.get("s3_prefix")
    if name is not None and not isinstance(name, str):
        raise Refused(400, "'s3_prefix' is not text.")
    return job_id, name


def _cancel(parts: ApiParts, submitter: Submitter, job_id: str, s3_prefix: str | None) -> None:
    assert parts.desk is not None
    parts.desk.cancel(job_id, s3_prefix, submitter, parts.now())


# --- answers ---------------------------------------------------------------------------------------------------------


def as_problem(wrong: requests.NotARequest) -> Problem:
    """Return what makes a body no request as a problem with its place."""
    return Problem(Level.ERROR, Place(REQUEST, column=wrong.where or None), str(wrong))


def _understood(body: bytes, found: Examination) -> dict[str, Any]:
    """Return the request as it was understood, without what is empty."""
    request: Mapping[str, Any] = json.loads(body)
    jobs = [shapes.job_as_sent(job) for job, _ in found.jobs]
    # Jobs that all say it themselves leave the request's own word unjudged.
    kinds = request.get("email_notification_types")
    whole = {
        "dag_id": requests.DAG_ID,
        "user_email": request.get("user_email"),
        "email_notification_types": sorted(map(str, kinds)) if isinstance(kinds, list) else ["fail"],
        "upload_jobs": [_without_nothing(job) for job in jobs],
    }
    return _without_nothing(whole)


def _without_nothing(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if part is not None}


def _refused(refused: Refused, words: str, **data: Any) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if refused.code == 401 else None
    return message(refused.code, words, headers, **data)
