"""The list of jobs: counted, searched, sorted, a page at a time; and the same as a file."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from dropbox_agent.states import JobState
from dropbox_agent.web import answers, exports
from dropbox_agent.web.asked import JOBS, LIST_SECONDS, LIVE_SECONDS, PAGE_ROWS, Asked, asked, job_search, paging
from dropbox_agent.web.glance import Glances
from dropbox_agent.web.parts import Parts

LIVE = (JobState.ACCEPTED, JobState.RUNNING)
NARROWING = ("user", "project", "subject", "job_type", "modality", "since", "until")
"""The filters that are not always shown."""


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the list of jobs."""
    found = APIRouter(include_in_schema=False)
    glances = Glances(parts.lists)

    @found.get("/")
    def start() -> Response:
        return RedirectResponse("/jobs", status_code=307)

    @found.get("/jobs")
    def jobs(request: Request) -> Response:
        what = asked("/jobs", request.query_params, JOBS)
        return answers.page(parts.pages, "web/jobs.html.j2", **_facts(parts, glances, what))

    @found.get("/jobs.{kind}")
    def export(request: Request, kind: Literal["csv", "xlsx"]) -> Response:
        search = job_search(asked("/jobs", request.query_params, JOBS))
        if kind == "csv":
            content: Any = exports.csv_lines(parts.lists.every_job(search, exports.CSV_JOBS))
        else:
            content = exports.workbook(parts.lists.every_job(search, exports.XLSX_JOBS))
        headers = {"Content-Disposition": f'attachment; filename="jobs-{parts.now():%Y-%m-%d}.{kind}"'}
        return StreamingResponse(content, media_type=exports.MEDIA_TYPES[kind], headers=headers)

    return found


def _facts(parts: Parts, glances: Glances, what: Asked) -> dict[str, Any]:
    search = job_search(what)
    glance = glances.of(search, parts.now().date())
    found = parts.lists.jobs(search, PAGE_ROWS, what.offset)
    live = any(job.state in LIVE for job in found)
    return {
        "jobs": found,
        "search": search,
        "counts": glance.counts,
        "all": sum(glance.counts.values()),
        "chart": glance.chart,
        "choices": glance.choices,
        "narrowed": any(what.get(name) for name in NARROWING),
        "xlsx_jobs": exports.XLSX_JOBS,
        "live_seconds": LIVE_SECONDS if live else LIST_SECONDS,
        **paging(what, found, sum(glance.counts[state] for state in search.states or JobState)),
    }
