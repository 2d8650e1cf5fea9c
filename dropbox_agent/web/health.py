"""Whether the service works: /health for people, /healthz for programs that watch over it.

Neither looks at a share: they tell what the agent said last, and that it has said nothing for too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from dropbox_agent import report
from dropbox_agent.errors import AgentError
from dropbox_agent.examine import Examiner
from dropbox_agent.pulse import Pulse
from dropbox_agent.web import answers
from dropbox_agent.web.asked import LIST_SECONDS
from dropbox_agent.web.parts import Parts

SET_UP = "set up; the tasks that need it reach it themselves, and dropbox-agent doctor asks it"
NOT_SET_UP = "not set up: the tasks that need it are skipped"


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
            "services": services(parts),
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


@dataclass(frozen=True)
class ServiceLine:
    """How something that the site depends on stands."""

    name: str
    words: str
    kind: Literal["good", "warn", "bad", ""]
    """Empty: it is not here, and need not be."""
    address: str | None = None
    """The page that says more."""


def services(parts: Parts) -> list[ServiceLine]:
    """Return how the sources of job types and projects stand, and which other services this site has."""
    others = {"codeocean": "Code Ocean", "docdb": "DocDB"}
    has = {name: name in parts.examiner.services for name in others}
    return [
        _job_types(parts.examiner),
        _projects(parts.examiner),
        *(ServiceLine(others[name], SET_UP if has[name] else NOT_SET_UP, "") for name in others),
    ]


def _job_types(examiner: Examiner) -> ServiceLine:
    name, address = "Job types", "/job_params"
    try:
        stored = examiner.load_presets()
    except AgentError as error:
        return ServiceLine(name, str(error), "bad", address)
    if stored.trouble:
        return ServiceLine(name, stored.trouble, "warn", address)
    if stored.broken:
        broken = ", ".join(sorted(stored.broken))
        return ServiceLine(name, f"{len(stored.broken)} cannot be used: {broken}", "bad", address)
    return ServiceLine(name, f"all {len(stored.job_types)} can be used", "good", address)


def _projects(examiner: Examiner) -> ServiceLine:
    name, address, own = "Projects", "/projects", len(examiner.projects)
    if examiner.more_projects is None:
        return ServiceLine(name, f"{own} in the settings" if own else "any well-formed name", "good", address)
    try:
        answer = examiner.more_projects()
    except AgentError as error:
        return ServiceLine(name, str(error), "bad", address)
    known = f"{own + len(answer.value)} known, as of {report.time_text(answer.as_of)}"
    return ServiceLine(name, answer.trouble or known, "warn" if answer.trouble else "good", address)


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
        facts["executor"] = {"kind": pulse.executor, "trouble": pulse.executor_trouble}
        facts["heard"] = pulse.at.isoformat()
        facts["troubles"] = list(pulse.troubles)
        facts["inboxes"] = [
            {"path": one.path, "last_complete_scan": _iso(one.last_complete_scan), "trouble": one.trouble}
            for one in pulse.inboxes
        ]
    return facts


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
