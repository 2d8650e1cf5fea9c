"""The API as an application of its own: its addresses, its document, and how its troubles are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from dropbox_agent.errors import AgentError
from dropbox_agent.model import Level, Place, Problem
from dropbox_agent.web.api import documents, native, parameters, progress, requests, upstream
from dropbox_agent.web.api.access import Refused
from dropbox_agent.web.api.answers import is_upstreams, message, trouble
from dropbox_agent.web.api.asking import TooMany
from dropbox_agent.web.api.parts import ApiParts
from dropbox_agent.web.api.submitting import Unacceptable

logger = logging.getLogger(__name__)

ROUTERS = (upstream, progress, parameters, native)
"""Each has ``router(parts)``."""
UNEXPECTED = "Something went wrong; the log of the service says what."
NOT_THERE: Mapping[int, str] = {
    404: "There is no such address.",
    405: "This cannot be done at this address. Job types, for one, are changed in their folder or store.",
}


def application(parts: ApiParts) -> FastAPI:
    """Return the API; it is mounted at /api, and its document is at /api/openapi.json."""
    api = FastAPI(
        title=documents.TITLE,
        description=documents.DESCRIPTION,
        version=documents.OUR_VERSION,
        openapi_url="/openapi.json",
        docs_url=None,  # Interactive documentation loads scripts from elsewhere.
        redoc_url=None,
        redirect_slashes=False,
    )
    for module in ROUTERS:
        api.include_router(module.router(parts))
    _add_answers_to_errors(api)
    api.openapi = lambda: _document(api)  # type: ignore[method-assign]
    return api


def _document(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if api.openapi_schema is None:
        made = get_openapi(
            title=api.title, version=api.version, description=api.description, routes=api.routes,
            servers=[{"url": "/api"}],
        )  # fmt: skip
        documents.complete(made)
        api.openapi_schema = made
    return api.openapi_schema


def _add_answers_to_errors(api: FastAPI) -> None:
    @api.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return _told(request, error.code, str(error), {"WWW-Authenticate": "Bearer"} if error.code == 401 else None)

    @api.exception_handler(TooMany)
    def too_many(request: Request, error: TooMany) -> Response:
        return _told(request, 429, str(error), {"Retry-After": str(error.wait_seconds)})

    @api.exception_handler(RequestValidationError)
    def wrong_parameters(request: Request, error: RequestValidationError) -> Response:
        return _wrong_parameters(request, error)

    @api.exception_handler(Unacceptable)
    def unacceptable(request: Request, error: Unacceptable) -> Response:
        words = f"{len(error.examination.errors)} problems; nothing was done."
        return _told(request, 422, words, problems=error.examination.problems)

    @api.exception_handler(requests.NotARequest)
    def not_a_request(request: Request, error: requests.NotARequest) -> Response:
        return _told(request, 422, str(error), problems=(upstream.as_problem(error),))

    @api.exception_handler(HTTPException)
    def wrong_address(request: Request, error: HTTPException) -> Response:
        # What the framework raises itself has the code's own name as its detail.
        own = error.detail not in ("Not Found", "Method Not Allowed")
        words = error.detail if own else NOT_THERE.get(error.status_code, error.detail)
        return _told(request, error.status_code, words, error.headers)

    @api.exception_handler(AgentError)
    def unavailable(request: Request, error: AgentError) -> Response:
        return _told(request, 503, str(error))

    @api.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        logger.error("Answering %s: %s: %s", request.url.path, type(error).__name__, error, extra={"action": "api"})
        return _told(request, 500, UNEXPECTED)


def _wrong_parameters(request: Request, error: RequestValidationError) -> Response:
    if is_upstreams(_path(request)):
        told = [{key: one[key] for key in ("type", "loc", "msg", "input") if key in one} for one in error.errors()]
        return message(406, "Error validating request parameters", errors=told)
    problems = [
        Problem(Level.ERROR, Place("query", column=str(one["loc"][-1])), f"{one['loc'][-1]}: {one['msg']}")
        for one in error.errors()
    ]
    return _told(request, 422, "; ".join(problem.message for problem in problems), problems=problems)


def _told(
    request: Request, code: int, words: str, headers: Mapping[str, str] | None = None, problems: Any = ()
) -> Response:
    """Return a trouble in the form of the address that was asked."""
    return trouble(_path(request), code, words, headers, problems)


def _path(request: Request) -> str:
    # Mounted below /api or asked alone: the path of the route is what is left of the root.
    return request.url.path.removeprefix(request.scope.get("root_path", ""))
