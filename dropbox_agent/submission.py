"""Put a manifest into an inbox by a command, and follow what becomes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dropbox_agent import deliver, manifest
from dropbox_agent.errors import AgentError, InboxUnavailable, WrongUse
from dropbox_agent.inbox import MARKER, is_passed_over
from dropbox_agent.ledger import Reader
from dropbox_agent.model import Standing
from dropbox_agent.states import DropState


def drop(file: Path, inbox: Path) -> Path:
    """Copy a manifest into an inbox, whole or not at all; return its new path. Raises what kept it from arriving."""
    if not manifest.is_manifest(file.name):
        kinds = ", ".join(sorted(manifest.SUFFIXES))
        raise WrongUse(f"{file.name} is not a manifest: the agent reads {kinds}.")
    if is_passed_over(file.name) or deliver.is_ours(file.name):
        raise WrongUse(
            f"{file.name} would never be looked at in an inbox: it is named like one of the agent's own files, or like "
            "a hidden or temporary one. Give it another name."
        )
    if not (inbox / MARKER).is_file():
        raise InboxUnavailable(f"The inbox {inbox} is not there, or no agent has been bound to it yet.")
    if (inbox / file.name).exists():
        raise WrongUse(f"There is a {file.name} in {inbox} already. Give yours another name, so that both are kept.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise AgentError(f"{file} cannot be read: {error.strerror}. Nothing was submitted.") from error
    deliver.write(inbox, file.name, content)
    return inbox / file.name


class Following:
    """What becomes of one manifest, from the moment before it is dropped."""

    def __init__(self, reader: Reader, file: Path, inbox: Path) -> None:
        self._reader, self._inbox, self._name = reader, inbox, file.name
        self._sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        # A refused manifest that is dropped again is looked at again: its old answer is not the one waited for.
        before = reader.latest(inbox, file.name)
        self._outdated = before.drop_id if before is not None and before.state is DropState.REFUSED else None

    def standing(self) -> Standing | None:
        """Return how it stands now; None while no agent has recorded it."""
        latest = self._reader.latest(self._inbox, self._name)
        if latest is None or latest.sha256 != self._sha256 or latest.drop_id == self._outdated:
            return None
        return latest
