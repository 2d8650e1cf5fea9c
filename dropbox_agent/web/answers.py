"""How pages and troubles are told: to people as a page in words, to programs (below /api) as JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from dropbox_agent.errors import AgentError
from dropbox_agent.report import Pages
from dropbox_agent.web.api.answers import trouble

logger = logging.getLogger(__name__)

API = "/api/"
"""Whatever is asked below this address is asked by a program."""
WRONG: Mapping[int, str] = {
    404: "There is no such page, job or manifest. It may be written wrongly, or belong to another agent.",
    405: "This page can only be looked at. To upload data, drop a manifest into the watched folder.",
}
UNAVAILABLE = "This page is not available just now."
UNEXPECTED = "Something went wrong; the log of the service says what."


def page(pages: Pages, template: str, status_code: int = 200, **facts: Any) -> Response:
    """Return a filled template as an answer."""
    return HTMLResponse(pages.page(template, **facts), status_code)


def add_answers_to_errors(site: FastAPI, pages: Pages) -> None:
    """Let every trouble be told in words, without inner details."""

    @site.exception_handler(HTTPException)
    def wrong(request: Request, error: HTTPException) -> Response:
        return _in_words(request, error, pages)

    @site.exception_handler(RequestValidationError)
    def no_such_thing(request: Request, error: RequestValidationError) -> Response:
        # An address of the pages that somebody wrote by hand: what it asks for is not there.
        return _in_words(request, HTTPException(404), pages)

    @site.exception_handler(AgentError)
    def unavailable(request: Request, error: AgentError) -> Response:
        if request.url.path.startswith(API):
            return _for_programs(request, 503, str(error))
        try:
            return page(pages, "web/message.html.j2", 503, code=503, words=str(error))
        except AgentError:  # The templates themselves are what is wrong.
            return PlainTextResponse(f"{UNAVAILABLE}\n\n{error}\n", 503)

    @site.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        logger.error("Answering %s: %s: %s", request.url.path, type(error).__name__, error, extra={"action": "web"})
        if request.url.path.startswith(API):
            return _for_programs(request, 500, UNEXPECTED)
        return PlainTextResponse(f"{UNEXPECTED}\n", 500)


def _in_words(request: Request, error: HTTPException, pages: Pages) -> Response:
    # What the framework raises itself has the code's own name as its detail.
    is_own = error.detail != HTTPStatus(error.status_code).phrase
    code, words = error.status_code, error.detail if is_own else WRONG.get(error.status_code, error.detail)
    if request.url.path.startswith(API):
        return _for_programs(request, code, words)
    answer = page(pages, "web/message.html.j2", code, code=code, words=words)
    answer.headers.update(error.headers or {})
    return answer


def _for_programs(request: Request, code: int, words: str) -> Response:
    return trouble(request.url.path.removeprefix(API.rstrip("/")), code, words)
