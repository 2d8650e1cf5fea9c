"""Talk JSON with a service over HTTP: bounded in time, tried again where that can help, and told in one sentence."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.names import shown

TRIES = 6
"""How often one question is asked: with the waits between, for about a minute."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
ANSWER_SECONDS = 60.0
LARGEST_BYTES = 64 * 1024 * 1024
SHOWN_CHARACTERS = 300
BUSY = 429
WORTH_ANOTHER_TRY = (408, BUSY, 500, 502, 503, 504)


class Unsure(Exception):
    """A request may have been carried out, and its answer did not come: look before asking again."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(words)


class Refused(TaskFailed):
    """The service said no, and would say it again."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Service:
    """One service, and how it is asked."""

    name: str
    """As people know it: ``Code Ocean (https://codeocean.example.org)``."""
    base: str
    """What every path is put after, with a slash at its end."""
    setting: str
    """The section of agent.yaml an operator would look at."""
    headers: Mapping[str, str] = field(default_factory=dict)
    sign: Callable[[httpx.Request], None] | None = None
    """Adds what proves who asks; it is never shown."""
    answer_seconds: float = ANSWER_SECONDS
    sleep: Callable[[float], None] = time.sleep
    tries: int = TRIES

    def ask(
        self,
        method: str,
        path: str,
        *,
        value: Any = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = True,
        good: tuple[int, ...] = (),
    ) -> Any:
        """Return what the service answers. Raises Refused, TaskFailed, and Unsure unless ``repeatable``.

        ``good``: codes that are an answer besides 2xx.
        """
        words = ""
        for number in range(self.tries):
            if number:
                self.sleep(self._wait(number))
            try:
                return self._answer(self._sent(method, path, value, params), good)
            except _Busy as busy:
                words = str(busy)
            except httpx.ConnectError as error:
                words = f"cannot be reached ({error})"
            except (_Hiccup, httpx.HTTPError) as error:
                words = self._words(error)
                if not repeatable:
                    raise Unsure(words) from error
        raise TaskFailed(f"{self.name} {words}, {self.tries} times. {self._advice()}")

    def _sent(self, method: str, path: str, value: Any, params: Mapping[str, str] | None) -> httpx.Response:
        content = None if value is None else json.dumps(value).encode()
        headers = {**self.headers, **({} if content is None else {"Content-Type": "application/json"})}
        with httpx.Client(timeout=self.answer_seconds) as client:
            request = client.build_request(method, self.base + path, content=content, params=params, headers=headers)
            if self.sign is not None:
                self.sign(request)
            return client.send(request)

    def _answer(self, response: httpx.Response, good: tuple[int, ...]) -> Any:
        status = response.status_code
        if status == BUSY:
            raise _Busy(f"asks to be asked less often ({status})")
        if status in WORTH_ANOTHER_TRY:
            raise _Hiccup(f"answered {status} ({_said(response)})")
        if not response.is_success and status not in good:
            raise Refused(f"{self.name} refused: {status} ({_said(response)}). {self._refusal_advice(status)}", status)
        if not response.content:
            return None
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise _Hiccup("answered something that is not JSON") from error

    def _words(self, error: Exception) -> str:
        if isinstance(error, httpx.TimeoutException):
            return f"did not answer within {self.answer_seconds:g} s"
        return str(error) if isinstance(error, _Hiccup) else f"hung up before it had answered ({error})"

    def _wait(self, number: int) -> float:
        longest: float = min(FIRST_WAIT_SECONDS * 2 ** (number - 1), LONGEST_WAIT_SECONDS)
        return longest * (0.5 + 0.5 * random.random())  # so that many jobs do not come back at once

    def _advice(self) -> str:
        return "Retry the job when it is back; what has been done is not done twice."

    def _refusal_advice(self, status: int) -> str:
        if status in (401, 403):
            return f"The token or the credentials (agent.yaml, {self.setting}) do not allow it; then retry the job."
        return "Correct what it objects to, then retry the job."


class _Busy(Exception):
    """It was not carried out."""


class _Hiccup(Exception):
    """It may pass."""


def _said(response: httpx.Response) -> str:
    """Return what a service said with its refusal, cut, on one line."""
    try:
        told = response.json()
        words = told.get("message") or told.get("detail") or told if isinstance(told, dict) else told
    except (ValueError, RecursionError):
        words = response.text
    return shown(" ".join(str(words).split()))[:SHOWN_CHARACTERS] or response.reason_phrase


def looked_for(
    name: str, look: Callable[[], Any], make: Callable[[], Any], *, look_first: bool = True, tries: int = 3
) -> Any:
    """Return what is there already, or what is made, exactly one of it, even when an answer got lost on its way.

    Raises TaskFailed.
    """
    words = ""
    for number in range(tries):
        if (number or look_first) and (found := look()) is not None:
            return found
        try:
            return make()
        except Unsure as unsure:
            words = unsure.words
    raise TaskFailed(f"{name} {words}, {tries} times. Retry the job when it is back; nothing is done twice.")
