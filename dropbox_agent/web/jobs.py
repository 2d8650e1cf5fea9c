"""The list of jobs, and one job."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import RedirectResponse, Response

from dropbox_agent.states import FINAL_JOB_STATES
from dropbox_agent.web import answers
from dropbox_agent.web.asked import PAGE_ROWS, page_number, paging, reloading
from dropbox_agent.web.parts import Parts, Reader


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the jobs."""
    found = APIRouter(include_in_schema=False)

    @found.get("/")
    def start() -> Response:
        return RedirectResponse("/jobs", status_code=307)

    @found.get("/jobs")
    def jobs(page: str = "1") -> Response:
        return answers.page(parts.pages, "web/jobs.html.j2", **_jobs(parts.read, page_number(page)))

    @found.get("/jobs/{job_id}")
    def job(job_id: str) -> Response:
        one = parts.read.job(job_id)
        if one is None:
            raise HTTPException(404)
        live = one.state not in FINAL_JOB_STATES
        return answers.page(parts.pages, "web/job.html.j2", job=one, **reloading(live))

    return found


def _jobs(read: Reader, page: int) -> dict[str, Any]:
    found = read.jobs(PAGE_ROWS + 1, (page - 1) * PAGE_ROWS)
    live = any(job.state not in FINAL_JOB_STATES for job in found)
    return {"jobs": found[:PAGE_ROWS], "counts": read.count_jobs(), **paging(found, page), **reloading(live)}
