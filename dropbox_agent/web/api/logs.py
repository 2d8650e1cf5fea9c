"""The log of a task, found through the ledger: nothing that is asked for becomes a path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dropbox_agent.inbox import open_regular
from dropbox_agent.ledger import Lists, Reader
from dropbox_agent.model import AttemptFolder, JobStanding
from dropbox_agent.patience import Places
from dropbox_agent.states import TaskState
from dropbox_agent.web import elements

MOST_BYTES = 4_000_000
"""How much of a log is sent at once: its end."""


@dataclass(frozen=True)
class Log:
    """The end of a log."""

    text: str
    total_bytes: int
    sent_bytes: int
    element: int | None = None
    """Of an array task."""

    @property
    def is_whole(self) -> bool:
        return self.sent_bytes == self.total_bytes


@dataclass(frozen=True)
class Try:
    """One try at a task, and where what it left lies."""

    job: JobStanding
    key: str
    folder: AttemptFolder
    places: Places
    """How the share is asked."""

    @property
    def elements(self) -> Mapping[int, TaskState]:
        """How each element of an array task stands; empty for what is no array."""
        return elements.standing(partial(self.places.ask, self.folder.path), self.job, self.key, self.folder)

    def log(self, element: int | None = None, most_bytes: int = MOST_BYTES) -> Log | None:
        """Return the log of the task or of one element; None when there is none (yet). Raises NoAnswer."""
        path = self.folder.log(self.key) if element is None else self.folder.element(element, "log")
        found = self.places.ask(path.parent, partial(end_of, path, most_bytes))
        return None if found is None else replace(found, element=element)


def of_try(reader: Reader, lists: Lists, places: Places, job: JobStanding, key: str, attempt: int) -> Try | None:
    """Return one try at a task; None when it was never made."""
    attempt_key = lists.attempt_key(job.job_id, key, attempt)
    return None if attempt_key is None else Try(job, key, reader.run_folder(job.job_id).attempt(attempt_key), places)


def most_worth_reading(one: Try) -> Log | None:
    """Return the log of a task; of an array task that of the element that failed, or else runs. Raises NoAnswer."""
    return one.log(elements.worth_reading(one.elements))


def of_all_elements(one: Try) -> str:
    """Return the logs of all elements of an array task, one after the other, each under its name. Raises NoAnswer."""
    stand = one.elements
    share = MOST_BYTES // max(len(stand), 1)
    found = ((number, state, one.log(number, share)) for number, state in stand.items())
    return "\n".join(
        f"==> element {number} ({state.value}){told_of_size(log)} <==\n{log.text}"
        for number, state, log in found
        if log
    )


def told_of_size(log: Log) -> str:
    """Return how much of a long log is sent, to stand behind its name; empty for a whole one."""
    return "" if log.is_whole else f", only the last {log.sent_bytes:,} of {log.total_bytes:,} bytes"


def end_of(path: Path, most_bytes: int = MOST_BYTES) -> Log | None:
    """Return the end of a plain file; None when there is none. It may grow while it is read."""
    try:
        with open_regular(path) as file:
            total = os.fstat(file.fileno()).st_size
            file.seek(max(0, total - most_bytes))
            content = file.read(most_bytes)
    except OSError:
        return None
    return Log(content.decode("utf-8", "replace"), max(total, len(content)), len(content))
