"""The projects: those that may be named, and how the uploads of each stand."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from dropbox_agent.model import Known
from dropbox_agent.web import answers
from dropbox_agent.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """Return the address of the projects."""
    found = APIRouter(include_in_schema=False)

    @found.get("/projects")
    def projects() -> Response:
        used = parts.lists.projects()
        known = _known(parts).projects
        unused = sorted(set(known) - {line.name for line in used}, key=str.casefold)
        return answers.page(parts.pages, "web/projects.html.j2", used=used, unused=unused, known=frozenset(known))

    return found


def _known(parts: Parts) -> Known:
    return parts.examiner.known(parts.examiner.load_presets(), parts.now())
