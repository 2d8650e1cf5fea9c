"""The log of a task, found through the ledger: nothing that is asked for becomes a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dropbox_agent.inbox import open_regular
from dropbox_agent.ledger import Lists, Reader
from dropbox_agent.patience import Places

MOST_BYTES = 4_000_000
"""How much of a log is sent at once: its end."""


@dataclass(frozen=True)
class Log:
    """The end of a log."""

    text: str
    total_bytes: int
    sent_bytes: int

    @property
    def is_whole(self) -> bool:
        return self.sent_bytes == self.total_bytes


def of_task(reader: Reader, lists: Lists, places: Places, job_id: str, key: str, attempt: int) -> Log | None:
    """Return the log of one try at a task; None when it has none (yet). Raises NoAnswer when its share hangs."""
    attempt_key = lists.attempt_key(job_id, key, attempt)
    if attempt_key is None:
        return None
    path = reader.run_folder(job_id).attempt(attempt_key).log(key)
    return places.ask(path.parent, partial(end_of, path))


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
