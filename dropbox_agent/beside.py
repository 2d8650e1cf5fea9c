"""What is written into an inbox: only where it is ours, and for as long as its share answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dropbox_agent import inbox as watched
from dropbox_agent.errors import InboxUnavailable
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger
from dropbox_agent.patience import Places

T = TypeVar("T")


@dataclass(frozen=True)
class Beside:
    """Does something in an inbox, if it is ours and answers."""

    inboxes: Sequence[Inbox]
    places: Places
    """How long the shares are waited for."""
    ledger: Ledger

    def __call__(self, inbox: Path, write: Callable[[], T]) -> T:
        """Write something into an inbox. Raises what that raises, InboxUnavailable, and NoAnswer."""
        if trouble := self.elsewhere(inbox):
            raise InboxUnavailable(trouble)
        return watched.beside(self.places, inbox, self.ledger.ledger_id, write)

    def elsewhere(self, inbox: Path) -> str | None:
        """Return which other agent answers in an inbox; None: this one does."""
        return next((one.elsewhere for one in self.inboxes if one.path == inbox), None)
