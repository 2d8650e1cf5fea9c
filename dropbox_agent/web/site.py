"""The pages: jobs, one job, manifests, job parameters; and /healthz for programs that watch over the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from dropbox_agent.errors import AgentError
from dropbox_agent.model import JobStanding, Presets, Standing
from dropbox_agent.report import LIVE, Pages, summary
from dropbox_agent.states import FINAL_JOB_STATES

PAGE_ROWS = 50
"""How many jobs or manifests one page lists."""
LAST_PAGE = 1_000_000
"""A page number beyond this is read as this."""
RELOAD_SECONDS = 10
"""How often a page with unfinished work reloads itself."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'none'; style-src 'self' 'unsafe-inline'; object-src 'none';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Sent with every answer. What scientists wrote stands on these pages, so nothing on them may run."""
WRONG_ADDRESS = {
    404: "There is no such page, job or manifest. It may be written wrongly, or belong to another agent.",
    405: "This page can only be looked at. To upload data, drop a manifest into the watched folder.",
}

Thing = TypeVar("Thing")


class Reader(Protocol):
    """What the pages read. Its methods are called from several threads."""

    def jobs(self, limit: int, offset: int) -> Sequence[JobStanding]:
        """Return the jobs, newest first."""
        ...

    def job(self, job_id: str) -> JobStanding | None:
        """Return one job, or None."""
        ...

    def drops(self, limit: int, offset: int) -> Sequence[Standing]:
        """Return what arrived, newest first."""
        ...

    def count_jobs(self) -> Mapping[str, int]:
        """Return how many jobs are in each state."""
        ...

    def presets(self) -> Presets:
        """Return every job_type, and those whose file is wrong."""
        ...


def app(read: Reader, pages: Pages) -> FastAPI:
    """Return the web application; it reads and never writes."""
    # No interactive documentation: it loads scripts from elsewhere, and there is no API here yet.
    site = FastAPI(title="dropbox-agent", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_pages(site, read, pages)
    _add_answers_to_errors(site, pages)
    return site


def _add_pages(site: FastAPI, read: Reader, pages: Pages) -> None:
    @site.get("/")
    def start() -> Response:
        return RedirectResponse("/jobs", status_code=307, headers=HEADERS)

    @site.get("/jobs")
    def jobs(page: str = "1") -> Response:
        return _answer(pages, "web/jobs.html.j2", **_jobs(read, _page_number(page)))

    @site.get("/jobs/{job_id}")
    def job(job_id: str) -> Response:
        found = read.job(job_id)
        if found is None:
            raise HTTPException(404)
        return _answer(pages, "web/job.html.j2", job=found, reload_seconds=_reload(found.state not in FINAL_JOB_STATES))

    @site.get("/manifests")
    def manifests(page: str = "1") -> Response:
        return _answer(pages, "web/manifests.html.j2", **_manifests(read, _page_number(page)))

    @site.get("/job_params")
    def job_params() -> Response:
        return _answer(pages, "web/job_params.html.j2", presets=read.presets(), reload_seconds=0)

    @site.get("/healthz")
    def healthz() -> Response:
        try:
            return JSONResponse({"status": "ok", "jobs": dict(read.count_jobs())}, headers=HEADERS)
        except AgentError as error:
            return JSONResponse({"status": "unavailable", "reason": str(error)}, 503, headers=HEADERS)


def _jobs(read: Reader, page: int) -> dict[str, Any]:
    found = read.jobs(PAGE_ROWS + 1, (page - 1) * PAGE_ROWS)
    live = any(job.state not in FINAL_JOB_STATES for job in found)
    return {"jobs": found[:PAGE_ROWS], "counts": read.count_jobs(), **_paging(found, page), **_reloading(live)}


def _manifests(read: Reader, page: int) -> dict[str, Any]:
    found = read.drops(PAGE_ROWS + 1, (page - 1) * PAGE_ROWS)
    told = [(standing, summary(standing)) for standing in found[:PAGE_ROWS]]
    return {"manifests": told, **_paging(found, page), **_reloading(any(drop.state in LIVE for drop in found))}


def _add_answers_to_errors(site: FastAPI, pages: Pages) -> None:
    @site.exception_handler(HTTPException)
    def wrong_address(_request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 400
        words = WRONG_ADDRESS.get(code, "This cannot be answered.")
        return _answer(pages, "web/message.html.j2", code, code=code, words=words, reload_seconds=0)

    @site.exception_handler(AgentError)
    def unavailable(_request: Request, error: Exception) -> Response:
        # Plain text: the templates themselves may be what is wrong.
        return Response(f"This page is not available just now.\n\n{error}\n", 503, HEADERS, "text/plain")

    @site.exception_handler(Exception)
    def unexpected(_request: Request, _error: Exception) -> Response:
        return Response("Something went wrong; the log of the service says what.\n", 500, HEADERS, "text/plain")


def _answer(pages: Pages, template: str, status_code: int = 200, **facts: Any) -> Response:
    return HTMLResponse(pages.page(template, **facts), status_code, headers=HEADERS)


def _page_number(written: str) -> int:
    """Return the page asked for; the first one when it is not a number."""
    if not (written.isascii() and written.isdigit()):
        return 1
    return min(max(int(written[:10]), 1), LAST_PAGE)


def _paging(found: Sequence[Thing], page: int) -> dict[str, Any]:
    return {"page": page, "has_next": len(found) > PAGE_ROWS}


def _reloading(live: bool) -> dict[str, int]:
    return {"reload_seconds": _reload(live)}


def _reload(live: bool) -> int:
    return RELOAD_SECONDS if live else 0
