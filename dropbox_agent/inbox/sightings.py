"""What is known of the names in an inbox from one listing to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dropbox_agent.inbox.files import Signature


@dataclass
class Sighting:
    """What is known of one name in the inbox."""

    first_seen: datetime
    signature: Signature
    digest: str | None = None
    """sha256 when it was last read."""
    same_since: datetime | None = None
    """Since when every reading gave this digest."""
    taken: Signature | None = None
    """Its signature when it was handed on; while it stays like this, the file is left alone."""
    missed: int = 0
    """Complete scans in a row that did not list it."""
    again: bool = False
    """It was away and is back."""
    waits: str = "Just arrived."
    """Why it has not settled, for people."""
    may_wait_long: bool = False
    """Somebody has to act before it can settle (close Excel, make it readable)."""
    look_at: datetime | None = None
    """When to read it again; None: at once."""


@dataclass(frozen=True)
class Waiting:
    """A file that has not settled, and why."""

    name: str
    reason: str
    since: datetime
    may_wait_long: bool
    """Somebody has to act before it can settle."""
