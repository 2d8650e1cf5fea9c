"""Try a manifest: what is wrong with it, and what would be done with it. Nothing is dispatched, and nothing is kept.

The same examiner as ``dropbox-agent check`` and the agent itself.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException

from dropbox_agent import manifest
from dropbox_agent.examine import Examination
from dropbox_agent.manifest import template
from dropbox_agent.web import answers
from dropbox_agent.web.parts import Parts

FORM_BYTES = 64 * 1024
"""What a form has besides the file: its limits and names."""
FORM_SECONDS = 60.0
"""How long sending a manifest may take."""
AT_ONCE = 2
"""How many manifests are tried at the same time; the next one is asked to wait."""
SHOWN_JOBS = 50
TOO_LARGE = "The file is larger than {:,} bytes, and a manifest never is. Split it."
LATE = "The file did not arrive within {:.0f} s. Send it again."
BUSY = "Other manifests are being tried just now. Send it again in a moment."
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the trial and of the template."""
    found = APIRouter(include_in_schema=False)
    free = threading.Semaphore(AT_ONCE)

    @found.get("/check")
    def form() -> Response:
        return answers.page(parts.pages, "web/check.html.j2", **_nothing_yet())

    @found.post("/check")
    async def tried(request: Request) -> Response:
        _refuse_large(request)
        name, content = await _arrived(request)
        # Only now: who sends slowly takes nobody's place.
        if not free.acquire(blocking=False):
            raise HTTPException(503, BUSY, {"Retry-After": "5"})
        try:
            return await run_in_threadpool(_answer, parts, name, content)
        finally:
            free.release()

    @found.get("/TEMPLATE.xlsx")
    def empty() -> Response:
        by = parts.examiner
        content = template.template_bytes(by.known(by.load_presets(), parts.now()))
        headers = {"Content-Disposition": 'attachment; filename="TEMPLATE.xlsx"'}
        return Response(content, media_type=XLSX, headers=headers)

    return found


def _refuse_large(request: Request) -> None:
    """Refuse before reading; a client that does not say how long its request is, is none of ours."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HTTPException(411, "Send the file with its length, as browsers do.")
    if int(length) > manifest.LIMITS.file_bytes + FORM_BYTES:
        raise HTTPException(413, TOO_LARGE.format(manifest.LIMITS.file_bytes))


async def _arrived(request: Request) -> tuple[str, bytes]:
    """Return the name and the content of the file that was sent, once it is here. Raises the answer that it is not."""
    try:
        return await asyncio.wait_for(_file_in(request), FORM_SECONDS)
    except asyncio.TimeoutError:
        raise HTTPException(408, LATE.format(FORM_SECONDS)) from None


async def _file_in(request: Request) -> tuple[str, bytes]:
    """Return the name and the content of the file that was sent. Raises the answer that there is none."""
    try:
        async with request.form(max_files=1, max_fields=2) as form:
            file = form.get("file")
            if isinstance(file, UploadFile) and file.filename:
                return file.filename, await file.read(manifest.LIMITS.file_bytes + 1)
    except StarletteHTTPException as error:
        raise HTTPException(400, f"The form cannot be read: {error.detail}") from None
    raise HTTPException(400, "Choose a file first.")


def _answer(parts: Parts, name: str, content: bytes) -> Response:
    # A browser may send a whole path; only the name is shown, and it never becomes a path.
    shown = name.replace("\\", "/").rpartition("/")[2]
    found = _examined(parts, shown, content)
    facts = {"name": shown, "found": found, "jobs": found.jobs[:SHOWN_JOBS], "accepted": found.acceptable()}
    return answers.page(parts.pages, "web/check.html.j2", **{**_nothing_yet(), **facts})


def _examined(parts: Parts, name: str, content: bytes) -> Examination:
    with TemporaryDirectory(prefix="dropbox-agent-check-") as folder:
        path = Path(folder) / "manifest"
        path.write_bytes(content)
        return parts.examiner.examine(path, name, parts.now())


def _nothing_yet() -> dict[str, Any]:
    return {
        "name": "",
        "found": None,
        "jobs": (),
        "accepted": (),
        "suffixes": sorted(manifest.SUFFIXES),
        "shown_jobs": SHOWN_JOBS,
        "most_bytes": manifest.LIMITS.file_bytes,
    }
