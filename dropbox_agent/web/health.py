"""Whether the service works: /health for people, /healthz for programs that watch over it.

Neither looks at a share: they tell what the agent said last, and that it has said nothing for too long.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from dropbox_agent.errors import AgentError
from dropbox_agent.pulse import Pulse
from dropbox_agent.web import answers
from dropbox_agent.web.asked import LIST_SECONDS
from dropbox_agent.web.parts import Parts


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the health."""
    found = APIRouter(include_in_schema=False)

    @found.get("/health")
    def health() -> Response:
        now, pulse = parts.now(), parts.pulse()
        facts: dict[str, Any] = {
            "pulse": pulse,
            "agent": agent_in_words(pulse, now),
            "now": now,
            "counts": parts.lists.count_jobs(),
            "not_taken": parts.read.not_taken(),
            "undelivered": parts.read.undelivered(),
            "broken": parts.examiner.load_presets().broken,
            "live_seconds": LIST_SECONDS,
        }
        return answers.page(parts.pages, "web/health.html.j2", **facts)

    @found.get("/healthz")
    def healthz() -> Response:
        try:
            facts = _for_programs(parts)
        except AgentError as error:
            return JSONResponse({"status": "unavailable", "reason": str(error)}, 503)
        return JSONResponse(facts, 200 if facts["status"] == "ok" else 503)

    return found


def agent_in_words(pulse: Pulse | None, now: datetime) -> str:
    """Return ``running``, ``stopped``, ``silent`` or ``never started``."""
    if pulse is None:
        return "never started"
    if pulse.stopped:
        return "stopped"
    return "running" if pulse.is_alive(now) else "silent"


def _for_programs(parts: Parts) -> dict[str, Any]:
    pulse, now = parts.pulse(), parts.now()
    agent = agent_in_words(pulse, now)
    counts = {state.value: number for state, number in parts.lists.count_jobs().items()}
    facts: dict[str, Any] = {"status": "ok" if agent == "running" else "no agent", "jobs": counts, "agent": agent}
    if pulse is not None:
        facts["heard"] = pulse.at.isoformat()
        facts["troubles"] = list(pulse.troubles)
        facts["inboxes"] = [
            {"path": one.path, "last_complete_scan": _iso(one.last_complete_scan), "trouble": one.trouble}
            for one in pulse.inboxes
        ]
    return facts


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
