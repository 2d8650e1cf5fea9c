"""Ask the metadata service for what a lab knows of a subject and a project: version 2 of its API, no login."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.service import Refused, Service

FILES = {"subject.json": "subject", "procedures.json": "procedures"}
"""The files it knows, by the name of what it is asked for."""
PROJECT = {"funding_source": "funding", "investigators": "investigators"}
"""What a data_description needs of a project, by the name of what it is asked for."""
ANSWER_SECONDS = 150.0
"""It collects procedures from other services, and gives itself two minutes."""
BREAKS_THE_SCHEMA = 400
"""Its code for an answer that can be used, and that its own schema objects to; check_metadata_files tells to what."""
NOT_KNOWN = (404, 406)


def service(address: str) -> Service:
    """Return the service at an address."""
    return Service(
        f"The metadata service ({address})", f"{address.rstrip('/')}/api/v2/", "metadata", answer_seconds=ANSWER_SECONDS
    )


def of_subject(asked: Service, what: str, subject_id: str) -> dict[str, Any] | None:
    """Return its subject or procedures of a subject; None when it knows none. Raises TaskFailed."""
    found = _asked(asked, f"{what}/{quote(subject_id, safe='')}")
    if found is None:
        return None
    if not isinstance(found, dict) or found.get("subject_id") != subject_id:
        said = shown(str(found))[:200]
        raise TaskFailed(f"{asked.name} answered something else than the {what} of {shown(subject_id)}: {said}")
    return found


def of_project(asked: Service, what: str, project: str) -> list[Any]:
    """Return its funding or investigators of a project; empty when it knows none. Raises TaskFailed."""
    found = _asked(asked, f"{what}/{quote(project, safe='')}")
    return found if isinstance(found, list) else []


def _asked(asked: Service, path: str) -> Any:
    try:
        return asked.ask("GET", path, good=(BREAKS_THE_SCHEMA,))
    except Refused as refused:
        if refused.status in NOT_KNOWN:
            return None
        raise
