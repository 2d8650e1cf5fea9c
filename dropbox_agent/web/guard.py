"""What every answer forbids the browser, which requests are not taken because another site's page sent them, and HEAD:
the same answer as GET without its content, for whoever only asks whether something is there."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Sent with every answer that does not say otherwise itself. What scientists wrote stands on these pages, so nothing
written on them may run: scripts and styles come from files of their own."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN = (
    "This was sent by a page of another site, so nothing was done. Open the page of this service and send it again."
)


class Guard:
    """Wraps the application: refuses what a foreign page sends, adds the headers to every answer, and answers HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._app if is_own(scope["method"], Headers(scope=scope)) else PlainTextResponse(FOREIGN + "\n", 403)
        if scope["method"] == "HEAD":
            # RFC 9110, 9.3.2: whatever can be got can be asked for so.
            await app({**scope, "method": "GET"}, receive, _without_content(send_with_headers))
        else:
            await app(scope, receive, send_with_headers)


def _without_content(send: Send) -> Send:
    """Return what sends an answer's head, and ends it where its content would begin."""
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            if ended:
                return
            message, ended = {"type": "http.response.body", "body": b"", "more_body": False}, True
        await send(message)

    return send_head


def is_own(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request that may change something does not come from another site's page.

    Browsers say where a request comes from (Sec-Fetch-Site, Origin); programs say neither and are no browsers, so no
    foreign page can make them send anything.
    """
    if method in SAFE_METHODS:
        return True
    fetched = headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")
