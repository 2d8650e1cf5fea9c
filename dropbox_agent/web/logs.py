"""The logs of a job's tasks: a page that follows a log while it grows, what was added since, and the whole file.

A log is found by what the ledger knows (job, task, attempt); nothing of an address becomes a path. What lies in a run
folder was written by whoever's script ran: only plain files are read, and only as text.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response, StreamingResponse

from dropbox_agent.errors import NoAnswer
from dropbox_agent.model import JobStanding, TaskStanding
from dropbox_agent.patience import Place
from dropbox_agent.states import TaskState
from dropbox_agent.web import answers, elements
from dropbox_agent.web.asked import LIVE_SECONDS
from dropbox_agent.web.one_job import known_job
from dropbox_agent.web.parts import Parts

TAIL_BYTES = 64 * 1024
"""How much of the end of a log is shown; the whole of it can be downloaded."""
BLOCK = 256 * 1024
FOLLOWED = (TaskState.SUBMITTED, TaskState.RUNNING)
INVISIBLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
"""Colours of terminals and other control characters; tabs and line ends stay."""


@dataclass(frozen=True)
class Log:
    """One log file, and what it is the log of."""

    job: JobStanding
    task: TaskStanding
    attempt: int
    element: int | None
    """Of an array task."""
    elements: Mapping[int, TaskState]
    """How each element of an array task stands."""
    path: Path

    @property
    def state(self) -> TaskState:
        """How that stands whose log it is: the element, else the task."""
        return self.task.state if self.element is None else self.elements.get(self.element, self.task.state)

    @property
    def grows(self) -> bool:
        """Whether something may still be added to it."""
        is_last = self.attempt == self.task.attempt and self.task.state in FOLLOWED
        return is_last and self.state in (TaskState.WAITING, *FOLLOWED)


@dataclass(frozen=True)
class Tail:
    """The end of a log, or what was added since."""

    text: str
    start: int
    """Where the text begins in the file, in bytes."""
    end: int
    size: int
    anew: bool = False
    """The file is shorter than it was: what was shown before is not in it any more."""


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the logs."""
    found = APIRouter(include_in_schema=False)

    @found.get("/jobs/{job_id}/log")
    def page(job_id: str, task: str, attempt: int = 0, element: int | None = None) -> Response:
        log = _log(parts, job_id, task, attempt, element, chosen=True)
        tail, trouble = _tail_or_trouble(parts, log, None)
        facts: dict[str, Any] = {"job": log.job, "task": log.task, "log": log, "tail": tail, "trouble": trouble}
        live = LIVE_SECONDS if log.task.state in FOLLOWED else 0
        return answers.page(parts.pages, "web/log.html.j2", **facts, live_seconds=live)

    @found.get("/jobs/{job_id}/log/tail")
    def tail(
        job_id: str, task: str, attempt: int = 0, element: int | None = None, since: int | None = None
    ) -> Response:
        log = _log(parts, job_id, task, attempt, element)
        found, trouble = _tail_or_trouble(parts, log, since)
        facts = {"text": found.text, "start": found.start, "end": found.end, "size": found.size, "anew": found.anew}
        return JSONResponse({**facts, "grows": log.grows, "trouble": trouble, "state": log.state.value})

    @found.get("/jobs/{job_id}/log/whole")
    def whole(job_id: str, task: str, attempt: int = 0, element: int | None = None) -> Response:
        log = _log(parts, job_id, task, attempt, element)
        try:
            file = parts.work.ask(lambda: open_plain(log.path))
        except OSError:
            raise HTTPException(404) from None
        headers = {"Content-Disposition": 'inline; filename="log.txt"'}
        return StreamingResponse(_blocks(file, parts.work), media_type="text/plain; charset=utf-8", headers=headers)

    return found


def _log(parts: Parts, job_id: str, key: str, number: int, element: int | None, chosen: bool = False) -> Log:
    """Return the log that is asked for. Raises the answer that there is none.

    ``chosen``: of an array task, of which no element is named, it is that of the element most worth reading.
    """
    job = known_job(parts, job_id)
    task = next((task for task in job.tasks if task.key == key), None)
    number = number or (task.attempt if task else 0)
    attempt = parts.lists.attempt_key(job_id, key, number) if task and 0 < number < 10_000 else None
    if task is None or attempt is None:
        raise HTTPException(404)
    folder = parts.read.run_folder(job_id).attempt(attempt)
    standing = elements.standing(parts.work.ask, job, key, folder)
    if chosen and element is None:
        element = elements.worth_reading(standing)
    path = folder.log(key) if element is None else folder.element(element, "log")
    return Log(job, task, number, element, standing, path)


def _tail_or_trouble(parts: Parts, log: Log, since: int | None) -> tuple[Tail, str]:
    try:
        return parts.work.ask(lambda: read_tail(log.path, since)), ""
    except FileNotFoundError:
        return Tail("", 0, 0, 0), "There is no log yet." if log.grows else "This task left no log, or it was cleared."
    except OSError as error:
        return Tail("", 0, 0, 0), f"The log cannot be read: {error.strerror or error}."
    except NoAnswer as error:
        return Tail("", 0, 0, 0), str(error)


def read_tail(path: Path, since: int | None = None) -> Tail:
    """Return the end of a log, or what was added since the given place. Raises OSError."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        anew = since is not None and since > size
        start = since if since is not None and 0 <= since <= size else 0
        start = max(start, size - TAIL_BYTES)
        file.seek(start)
        content = _whole_characters(file.read(min(size - start, TAIL_BYTES)))
    return Tail(readable(content), start, start + len(content), size, anew)


def open_plain(path: Path) -> BinaryIO:
    """Open a file that is neither a link nor a device. Raises OSError."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(0, "it is not a plain file")
    return os.fdopen(number, "rb")


def readable(content: bytes) -> str:
    """Return what a log says, without the control characters of a terminal; a line that was drawn over is its last."""
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = (line.rsplit("\r", 1)[-1] if not line.endswith("\r") else line for line in text.split("\n"))
    return INVISIBLE.sub("", "\n".join(lines))


def _whole_characters(content: bytes) -> bytes:
    """Leave a character that is not whole yet at the end for the next time."""
    for length in range(1, min(4, len(content)) + 1):
        byte = content[-length]
        if byte & 0xC0 != 0x80:
            needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return content[:-length] if needed > length else content
    return content


def _blocks(file: BinaryIO, work: Place) -> Iterator[bytes]:
    with file:
        while block := work.ask(lambda: file.read(BLOCK)):
            yield block
