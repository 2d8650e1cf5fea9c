"""The few files a page fetches: style, script, picture. Their names are fixed; no address becomes a path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from dropbox_agent.web.parts import Parts

ASSETS: Mapping[str, tuple[str, str]] = {
    "style.css": ("style.css", "text/css"),
    "web.css": ("web/web.css", "text/css"),
    "page.js": ("web/page.js", "text/javascript"),
    "icon.svg": ("web/icon.svg", "image/svg+xml"),
}
"""Name in the address -> template (a site's own before the packaged one), media type."""


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the assets."""
    found = APIRouter(include_in_schema=False)

    @found.get("/assets/{name}")
    def asset(name: str, request: Request) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        template, media_type = ASSETS[name]
        content = parts.pages.page(template).encode()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return found
