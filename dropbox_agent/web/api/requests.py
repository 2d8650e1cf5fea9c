"""A request to submit becomes the manifest it is: the same jobs, written so that each stands on lines of its own."""

from __future__ import annotations

import json
from typing import Any

MOST_JOBS = 50
"""In one request, as upstream."""
DAG_ID = "transform_and_upload_v2"


class NotARequest(Exception):
    """What was sent is no request: where (``upload_jobs``), and what would be right."""

    def __init__(self, where: str, message: str) -> None:
        self.where = where
        super().__init__(message)


def as_manifest(body: bytes, user_email: str | None = None) -> bytes:
    """Return the manifest of a request; ``user_email`` is told about jobs that name nobody. Raises NotARequest."""
    request = _object(body)
    dag_id = request.get("dag_id", DAG_ID)
    if dag_id != DAG_ID:
        raise NotARequest("dag_id", f'There is one pipeline here: leave dag_id out, or write "{DAG_ID}".')
    jobs = request.get("upload_jobs")
    if not isinstance(jobs, list):
        raise NotARequest("upload_jobs", "Field required: the list of the jobs to upload.")
    if not 1 <= len(jobs) <= MOST_JOBS:
        least_or_most = "at least 1 item" if not jobs else f"at most {MOST_JOBS} items"
        raise NotARequest("upload_jobs", f"List should have {least_or_most} after validation, not {len(jobs)}")
    if user_email is not None and request.get("user_email") is None:
        request["user_email"] = user_email
    return json.dumps(request, indent=1).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        reason = str(error) if not isinstance(error, RecursionError) else "it is nested too deeply"
        raise NotARequest("", f"This is not JSON: {reason}.") from None
    if not isinstance(value, dict):
        raise NotARequest("", 'Write one request: {"upload_jobs": [...]}.')
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one key one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twin = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotARequest(twin, f'"{twin}" is written twice in one object. Keep one of them.')
    return found
