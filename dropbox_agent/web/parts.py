"""What the pages work with. Assembly fills it in from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from dropbox_agent.examine import Examiner
from dropbox_agent.ledger import Lists, Reader
from dropbox_agent.patience import Place
from dropbox_agent.pulse import Pulse
from dropbox_agent.report import Pages
from dropbox_agent.web.written import Written


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Parts:
    """Everything the pages work with. What is in it is used from several threads."""

    read: Reader
    """One thing of the ledger, whole."""
    lists: Lists
    """Many things of the ledger, a line each."""
    pages: Pages
    examiner: Examiner
    """Judges manifests and knows the presets, as ``dropbox-agent check`` does."""
    written: Written
    """The manifests as they were written."""
    pulse: Callable[[], Pulse | None]
    """What the agent last said of itself; None when it never ran."""
    work: Place
    """The share with the run folders, which may not answer."""
    now: Callable[[], datetime] = utc_now
