"""What arrived, and what came of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from dropbox_agent.report import LIVE, summary
from dropbox_agent.web import answers
from dropbox_agent.web.asked import PAGE_ROWS, page_number, paging, reloading
from dropbox_agent.web.parts import Parts, Reader


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the manifests."""
    found = APIRouter(include_in_schema=False)

    @found.get("/manifests")
    def manifests(page: str = "1") -> Response:
        return answers.page(parts.pages, "web/manifests.html.j2", **_manifests(parts.read, page_number(page)))

    return found


def _manifests(read: Reader, page: int) -> dict[str, Any]:
    found = read.drops(PAGE_ROWS + 1, (page - 1) * PAGE_ROWS)
    told = [(standing, summary(standing)) for standing in found[:PAGE_ROWS]]
    return {"manifests": told, **paging(found, page), **reloading(any(drop.state in LIVE for drop in found))}
