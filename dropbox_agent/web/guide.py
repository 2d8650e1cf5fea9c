"""Help: how to drop a manifest, where to ask, and the site's own links."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from dropbox_agent.web import answers
from dropbox_agent.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """Return the address of the help."""
    found = APIRouter(include_in_schema=False)

    @found.get("/help")
    def guide() -> Response:
        return answers.page(parts.pages, "web/help.html.j2")

    return found
