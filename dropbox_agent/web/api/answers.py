"""How the API answers: JSON that every client can read, whatever somebody wrote into what it tells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

UPSTREAM = ("/v1/", "/v2/", "/job_upload_template")
"""Addresses whose answers have upstream's form."""


class Json(JSONResponse):
    """JSON in plain ASCII: half a character (a lone surrogate) in somebody's text is told as it stands."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str).encode()


def message(code: int, words: str, headers: Mapping[str, str] | None = None, /, **data: Any) -> Json:
    """Return an answer in upstream's form: a message and its data."""
    return told(code, words, data, headers)


def told(code: int, words: str, data: Any, headers: Mapping[str, str] | None = None) -> Json:
    """Return an answer in upstream's form whose data has a form of its own."""
    return Json({"message": words, "data": data}, code, headers=dict(headers or {}))


def is_upstreams(path: str) -> bool:
    """Return whether the answers of an address (below /api) have upstream's form."""
    return path.startswith(UPSTREAM)


def trouble(path: str, code: int, words: str, headers: Mapping[str, str] | None = None, problems: Any = ()) -> Json:
    """Return a trouble in the form of the address (below /api) that was asked."""
    if is_upstreams(path):
        return message(code, words, headers, errors=[words])
    return Json({"message": words, "problems": [one.as_json() for one in problems]}, code, headers=dict(headers or {}))


def wrong_parameter(name: str, words: str, found: Any) -> RequestValidationError:
    """Return what to raise for a parameter whose value does not fit, as FastAPI itself does."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", name), "msg": words, "input": found}])


def as_read(body: bytes) -> Any:
    """Return the JSON a body is; None when it is none. What JSON has no word for (NaN, 1e999) becomes text."""
    try:
        return json.loads(body, parse_constant=str, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text
