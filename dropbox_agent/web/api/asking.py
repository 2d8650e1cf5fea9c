"""What is asked of the service: who asks, how often, and how much they send."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import Message

from dropbox_agent.manifest import LIMITS
from dropbox_agent.web.api.access import Access, Refused, Submitter
from dropbox_agent.web.api.rates import Rates

MOST_JSON_BYTES = LIMITS.text_bytes
MOST_FORM_BYTES = LIMITS.file_bytes + 100_000
"""A manifest and what a form writes around it."""
ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
BODY_SECONDS = 30.0
"""How long sending a request may take."""


def iso(written: Any) -> Any:
    """Refuse what is no date or time as ISO 8601 writes it: a bare number would be taken for seconds since 1970."""
    if isinstance(written, str) and not ISO.match(written):
        raise ValueError("write a date or time such as 2026-01-31 or 2026-01-31T12:00:00Z")
    return written


class TooMany(Exception):
    """Too many requests; when to come back."""

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = math.ceil(wait_seconds)
        super().__init__(f"Too many requests. Come back in {self.wait_seconds} s.")


def submitter_of(request: Request, access: Access, rates: Rates) -> Submitter:
    """Return who submits or cancels, before anything of the body is looked at. Raises Refused and TooMany."""
    submitter = access.submitter(request.headers, _peer(request))
    _count(rates, f"name {submitter.name}")
    return submitter


def count_visitor(request: Request, access: Access, rates: Rates) -> None:
    """Count a request of somebody who need not say who they are. Raises TooMany."""
    _count(rates, access.visitor(request.headers, _peer(request)))


def _count(rates: Rates, who: str) -> None:
    if wait_seconds := rates.wait_seconds(who, time.monotonic()):
        raise TooMany(wait_seconds)


def _peer(request: Request) -> str | None:
    return request.client.host if request.client else None


async def json_body(request: Request) -> bytes:
    """Return the body. Raises Refused: 413 when it is too large, 415 for what says that it is no JSON."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    # A page of another site can make a browser send text/plain or a form, but not this.
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refused(415, f"Send JSON (Content-Type: application/json), not {kind[:80]}.")
    return await _whole(request, MOST_JSON_BYTES)


async def uploaded_file(request: Request) -> tuple[str, bytes]:
    """Return name and content of the form's ``file``. Raises Refused: 413 too large, 400 no such file in it."""
    body = await _whole(request, MOST_FORM_BYTES)
    try:
        async with Request(request.scope, _said_once(body)).form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Refused(400, 'Send a form (multipart/form-data) with the manifest as its field "file".')
            return file.filename or "", await file.read()
    except (HTTPException, MultiPartException, KeyError, ValueError) as error:
        raise Refused(400, f"This form cannot be read: {getattr(error, 'detail', error)}.") from error


async def _whole(request: Request, limit: int) -> bytes:
    """Return the body; never more than ``limit`` bytes of it are held."""
    try:
        return await asyncio.wait_for(_collected(request, limit), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, f"The request did not arrive within {BODY_SECONDS:.0f} s. Send it again.") from None


async def _collected(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(413, f"This is too large: at most {limit:,} bytes are read.")
    return bytes(body)


def _said_once(body: bytes) -> Callable[[], Awaitable[Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
