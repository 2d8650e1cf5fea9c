"""Ask a web address for the names of the projects, as the metadata service answers them: a JSON list of texts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from dropbox_agent.errors import AgentError

ANSWER_SECONDS = 10.0
LARGEST_BYTES = 5_000_000
"""A longer answer is no list of projects."""


def fetch(url: str, seconds: float = ANSWER_SECONDS) -> list[str]:
    """Return the names, sorted, each once; the whole answer has to come in so many seconds. Raises AgentError."""
    until = time.monotonic() + seconds
    with _in_words(url, seconds), httpx.stream("GET", url, timeout=seconds, follow_redirects=True) as response:
        response.raise_for_status()
        content = b""
        for part in response.iter_bytes():
            content += part
            if len(content) > LARGEST_BYTES:
                raise ValueError(f"more than {LARGEST_BYTES} bytes came back")
            if time.monotonic() > until:
                raise httpx.ReadTimeout("it drips")
        return _names(json.loads(content))


def _names(answer: object) -> list[str]:
    if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
        raise ValueError("what came back is no list of texts")
    names = {name.strip() for name in answer if name.strip() and name.isprintable()}
    if not names:
        # Nothing could be uploaded with it, and a service that lost its memory is more likely.
        raise ValueError("the list that came back is empty")
    return sorted(names)


@contextmanager
def _in_words(url: str, seconds: float) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise _not_read(url, f"it answered {error.response.status_code} {error.response.reason_phrase}") from error
    except httpx.TimeoutException as error:
        raise _not_read(url, f"it did not answer within {seconds:g} s") from error
    except httpx.HTTPError as error:
        raise _not_read(url, f"it cannot be reached, or hung up ({error})") from error
    except json.JSONDecodeError as error:
        raise _not_read(url, "what came back is not JSON") from error
    except (ValueError, RecursionError) as error:
        raise _not_read(url, str(error)) from error


def _not_read(url: str, reason: str) -> AgentError:
    return AgentError(f"The list of projects at {url} (projects_url) could not be read: {reason}.")
