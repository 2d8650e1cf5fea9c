"""The stored tasks of each job type."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from dropbox_agent.web import answers
from dropbox_agent.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the job parameters."""
    found = APIRouter(include_in_schema=False)

    @found.get("/job_params")
    def job_params() -> Response:
        return answers.page(parts.pages, "web/job_params.html.j2", presets=parts.read.presets())

    return found
