"""Whether the service works: /healthz for programs that watch over it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from dropbox_agent.errors import AgentError
from dropbox_agent.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the health."""
    found = APIRouter(include_in_schema=False)

    @found.get("/healthz")
    def healthz() -> Response:
        try:
            return JSONResponse({"status": "ok", "jobs": dict(parts.read.count_jobs())})
        except AgentError as error:
            return JSONResponse({"status": "unavailable", "reason": str(error)}, 503)

    return found
