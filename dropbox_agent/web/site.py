"""The application: the pages, whatever routers stand beside them, and how troubles are told."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from dropbox_agent.web import assets, check, guide, health, job_params, jobs, logs, manifests, one_job, projects
from dropbox_agent.web.answers import add_answers_to_errors
from dropbox_agent.web.guard import Guard
from dropbox_agent.web.parts import Parts

PAGES = (jobs, one_job, logs, manifests, job_params, projects, check, health, guide, assets)
"""Each has ``router(parts)``."""
OPENAPI = "/api/openapi.json"


def app(parts: Parts, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """Return the web application: the pages, which read and never write, and the given routers (the API)."""
    # No interactive documentation: it loads scripts from elsewhere.
    site = FastAPI(
        title="dropbox-agent",
        openapi_url=OPENAPI if routers else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for one in (*(module.router(parts) for module in PAGES), *routers):
        site.include_router(one)
    add_answers_to_errors(site, parts.pages)
    site.add_middleware(Guard)
    return site
