"""The marker that binds an inbox to its ledger: without it nothing is concluded from a folder."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dropbox_agent import lasting
from dropbox_agent.errors import InboxUnavailable
from dropbox_agent.inbox.files import open_regular
from dropbox_agent.patience import Places

T = TypeVar("T")

MARKER = ".dropbox-agent/inbox.json"
"""Binds an inbox to its ledger. Made by ``init`` and ``adopt`` only, never by a running agent."""
MARKER_BYTES = 4096
"""More of a marker is never read."""


def guard(path: Path, ledger_id: str) -> str | None:
    """Return the inbox's id. Raises InboxUnavailable unless the folder is there and its marker names this ledger."""
    if not os.path.isdir(path):
        raise InboxUnavailable(
            f"The inbox {path} is not there. Nothing is made in its place: mount the share, or correct 'inboxes'."
        )
    try:
        inbox_id, found = _named_in(path / MARKER)
    except FileNotFoundError:
        raise InboxUnavailable(
            f"The inbox {path} has no marker ({MARKER}): either its share is not mounted, or it is new to this agent. "
            f"If it is new, say what to do with the files in it: dropbox-agent adopt {path} --baseline seen|process"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InboxUnavailable(f"The marker {path / MARKER} cannot be read: {error}.") from error
    if found != ledger_id:
        raise InboxUnavailable(
            f"The inbox {path} belongs to another ledger ({found}, ours is {ledger_id}). Use that agent's state_dir, "
            f"or take the inbox over: dropbox-agent adopt {path} --baseline seen|process"
        )
    return inbox_id


def beside(places: Places, inbox: Path, ledger_id: str, write: Callable[[], T]) -> T:
    """Write something into an inbox. Raises what that raises, InboxUnavailable when it is not ours, and NoAnswer.

    A share that went away leaves an empty folder: what is written into it is seen by nobody, and hidden later.
    """

    def guarded() -> T:
        guard(inbox, ledger_id)
        return write()

    return places.ask(inbox, guarded)


def _named_in(marker: Path) -> tuple[str | None, object]:
    """Return the ids of the inbox and of its ledger.

    Whoever can write into the inbox can put a link, a pipe or a huge file in the marker's place.
    """
    if marker.parent.is_symlink():
        raise OSError(errno.ELOOP, "it lies behind a link", str(marker.parent))
    with open_regular(marker) as file:
        read = json.loads(file.read(MARKER_BYTES))
    inbox_id = read.get("inbox_id")
    return (inbox_id if isinstance(inbox_id, str) else None), read["ledger_id"]


def mark(path: Path, ledger_id: str) -> str:
    """Bind an existing folder to a ledger; return its new id. Raises InboxUnavailable when that cannot be written."""
    if not path.is_dir():
        raise InboxUnavailable(
            f"The inbox {path} is not there, and it is never made silently. Make it, then try again."
        )
    marker = path / MARKER
    inbox_id = uuid.uuid4().hex
    text = json.dumps({"inbox_id": inbox_id, "ledger_id": ledger_id}, indent=1)
    try:
        if marker.parent.is_symlink():
            raise OSError(errno.ELOOP, "it lies behind a link", str(marker.parent))
        lasting.make_folder(marker.parent)
        temporary = path / f"{marker.parent.name}-{uuid.uuid4().hex}.tmp"
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(marker)
        lasting.sync_folder(marker.parent)
    except OSError as error:
        raise InboxUnavailable(f"The marker {marker} could not be written: {error.strerror}.") from error
    return inbox_id
