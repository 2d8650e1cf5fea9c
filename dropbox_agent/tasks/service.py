"""Talk JSON with a service over HTTP: bounded in time, tried again where that can help, and told in one sentence."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.names import shown

TRIES = 6
"""How often one question is asked: with the waits between, for about a minute."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""How long one whole answer is waited for."""
LARGEST_BYTES = 64 * 1024 * 1024
SHOWN_CHARACTERS = 300
BUSY = 429
WORTH_ANOTHER_TRY = (408, BUSY, 500, 502, 503, 504)
PROOFS = ("Authorization", "X-Amz-Security-Token")
"""Headers that prove who asks. There are services that repeat them in a refusal."""
T = TypeVar("T")


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
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What is cut out of everything the service says."""
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
        words, at_least = "", 0.0
        for number in range(self.tries):
            if number:
                self.sleep(max(self._wait(number), at_least))
            try:
                return self._answer(_within(self.answer_seconds, lambda: self._sent(method, path, value, params)), good)
            except _Busy as busy:
                words, at_least = str(busy), busy.seconds
            except httpx.ConnectError as error:
                words = f"cannot be reached ({error})"
            except (_Hiccup, httpx.HTTPError) as error:
                words = self._words(error)
                if not repeatable:
                    raise Unsure(words) from error
        raise TaskFailed(f"{self.name} {words}, {self.tries} times. {self._advice()}", passes=True)

    def _sent(self, method: str, path: str, value: Any, params: Mapping[str, str] | None) -> _Answered:
        content = None if value is None else json.dumps(value).encode()
        headers = {**self.headers, **({} if content is None else {"Content-Type": "application/json"})}
        with httpx.Client(timeout=self.answer_seconds) as client:
            request = client.build_request(method, self.base + path, content=content, params=params, headers=headers)
            if self.sign is not None:
                self.sign(request)
            response = client.send(request, stream=True)
            try:
                content = _whole(response)
            finally:
                response.close()
        proofs = [request.headers[name] for name in PROOFS if name in request.headers]
        return _Answered(response, content, (*proofs, *self.secrets))

    def _answer(self, answered: _Answered, good: tuple[int, ...]) -> Any:
        response, status = answered.response, answered.response.status_code
        if status == BUSY:
            raise _Busy(f"asks to be asked less often ({status})", _asked_to_wait(response))
        if status in WORTH_ANOTHER_TRY:
            raise _Hiccup(f"answered {status} ({answered.words()})")
        if not response.is_success and status not in good:
            advice = self._refusal_advice(status)
            raise Refused(f"{self.name} refused: {status} ({answered.words()}). {advice}", status)
        if not answered.content:
            return None
        try:
            return json.loads(answered.content)
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


@dataclass(frozen=True)
class _Answered:
    """What came back, whole."""

    response: httpx.Response
    content: bytes
    secrets: tuple[str, ...]

    def words(self) -> str:
        """Return what was said with a refusal: one line, cut, with nothing secret in it."""
        try:
            told = json.loads(self.content)
            words = told.get("message") or told.get("detail") or told if isinstance(told, dict) else told
        except (ValueError, RecursionError):
            words = self.content.decode("utf-8", "replace")
        text = str(words)
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "...")
        return shown(" ".join(text.split()))[:SHOWN_CHARACTERS] or self.response.reason_phrase


class _Busy(Exception):
    """It was not carried out."""

    def __init__(self, words: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(words)


class _Hiccup(Exception):
    """It may pass."""


def _within(seconds: float, act: Callable[[], T]) -> T:
    """Return what ``act`` returns. Raises what it raises, and ReadTimeout when it takes longer, whatever it is doing.

    A limit for each read alone would wait for ever for a server that sends a byte now and then.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(act())
        except BaseException as error:
            answer.set_exception(error)

    # What is not waited for any more must not keep the process from ending.
    threading.Thread(target=run, name="service", daemon=True).start()
    if not wait([answer], timeout=seconds).done:
        raise httpx.ReadTimeout(f"no whole answer in {seconds:g} s")
    return answer.result()


def _whole(response: httpx.Response) -> bytes:
    """Return the content. Raises _Hiccup when it has no end."""
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > LARGEST_BYTES:
            raise _Hiccup(f"answered more than {LARGEST_BYTES // 2**20} MiB")
    return bytes(content)


def _asked_to_wait(response: httpx.Response) -> float:
    """Return for how many seconds a busy service wants to be left alone, within reason."""
    try:
        seconds = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0  # a date; our own waits do as well
    return min(seconds, LONGEST_WAIT_SECONDS) if seconds > 0 else 0.0


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
    sentence = f"{name} {words}, {tries} times. Retry the job when it is back; nothing is done twice."
    raise TaskFailed(sentence, passes=True)
