"""What arrived, what was refused and why, and the manifests themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from dropbox_agent.model import DropLine, JobSearch
from dropbox_agent.report import LIVE
from dropbox_agent.states import DropState, JobState
from dropbox_agent.web import answers
from dropbox_agent.web.asked import DROPS, LIST_SECONDS, LIVE_SECONDS, PAGE_ROWS, Asked, asked, drop_search, paging
from dropbox_agent.web.parts import Parts
from dropbox_agent.wording import counted

SHOWN_JOBS = 20
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TABLES = (".xlsx", ".csv")


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the manifests."""
    found = APIRouter(include_in_schema=False)

    @found.get("/manifests")
    def manifests(request: Request) -> Response:
        what = asked("/manifests", request.query_params, DROPS)
        return answers.page(parts.pages, "web/manifests.html.j2", **_all(parts, what))

    @found.get("/manifests/{drop_id}")
    def manifest(drop_id: str) -> Response:
        return answers.page(parts.pages, "web/manifest.html.j2", **_one(parts, _known(parts, drop_id)))

    @found.get("/manifests/{drop_id}/file")
    def file(drop_id: str) -> Response:
        drop = _known(parts, drop_id)
        try:
            content = parts.written.path(drop).read_bytes()
        except OSError:
            raise HTTPException(404, "The agent's copy of this manifest has been cleared away.") from None
        return _download(content, drop.name, "application/octet-stream")

    @found.get("/manifests/{drop_id}/errors.xlsx")
    def annotated(drop_id: str) -> Response:
        drop = _known(parts, drop_id)
        copy = parts.written.annotated(drop, parts.read.standing(drop.drop_id, "").problems)
        if copy is None:
            raise HTTPException(404, "There is no annotated copy of this manifest.")
        return _download(copy, f"{drop.name}.errors.xlsx", XLSX)

    return found


def _known(parts: Parts, drop_id: str) -> DropLine:
    is_id = drop_id.isascii() and drop_id.isdigit() and len(drop_id) < 19
    drop = parts.lists.drop(int(drop_id)) if is_id else None
    if drop is None:
        raise HTTPException(404)
    return drop


def _all(parts: Parts, what: Asked) -> dict[str, Any]:
    search = drop_search(what)
    counts = parts.lists.count_drops(search)
    found = parts.lists.drops(search, PAGE_ROWS, what.offset)
    return {
        "drops": [(drop, in_words(drop)) for drop in found],
        "counts": counts,
        "all": sum(counts.values()),
        "search": search,
        "live_seconds": LIVE_SECONDS if any(drop.state in LIVE for drop in found) else LIST_SECONDS,
        **paging(what, found, sum(counts[state] for state in search.states or counts)),
    }


def _one(parts: Parts, drop: DropLine) -> dict[str, Any]:
    problems = parts.read.standing(drop.drop_id, "").problems
    return {
        "drop": drop,
        "words": in_words(drop),
        "problems": problems,
        "versions": parts.lists.versions(drop.drop_id),
        "jobs": parts.lists.jobs(JobSearch(drop_id=drop.drop_id), SHOWN_JOBS),
        "shown_jobs": SHOWN_JOBS,
        "has_copy": bool(problems) and drop.name.lower().endswith(TABLES),
        "live_seconds": LIVE_SECONDS if drop.state in LIVE else 0,
    }


def in_words(drop: DropLine) -> str:
    """Return where a manifest stands, in one sentence."""
    if drop.state is DropState.REFUSED:
        return f"{counted(drop.errors, 'problem')}; nothing was uploaded."
    words = {
        JobState.FAILED: "failed",
        JobState.RUNNING: "running",
        JobState.ACCEPTED: "waiting to start",
        JobState.CANCELLED: "cancelled",
        JobState.SUCCEEDED: "succeeded",
    }
    return f"{counted(sum(drop.jobs.values()), 'job')}: {_listed(drop.jobs, words)}."


def _listed(counts: Mapping[JobState, int], words: Mapping[JobState, str]) -> str:
    return ", ".join(f"{counts[state]} {word}" for state, word in words.items() if counts.get(state)) or "none"


def _download(content: bytes, name: str, media_type: str) -> Response:
    # RFC 6266: the name in UTF-8, with everything else than letters and digits escaped.
    quoted = quote(name.encode("utf-8", "replace"), safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quoted}"}
    return Response(content, media_type=media_type, headers=headers)
