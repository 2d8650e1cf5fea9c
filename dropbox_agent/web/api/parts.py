"""What the API is made of. Assembly fills it in from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from dropbox_agent.examine import Examiner
from dropbox_agent.ledger import Lists, Reader
from dropbox_agent.model import Presets
from dropbox_agent.patience import Places
from dropbox_agent.web.api.access import Access
from dropbox_agent.web.api.rates import Rates
from dropbox_agent.web.api.submitting import Desk


@dataclass(frozen=True)
class ApiParts:
    """Everything the API works with. All of it is used from several threads."""

    reader: Reader
    lists: Lists
    examiner: Examiner
    presets: Callable[[], Presets]
    template: Callable[[], bytes]
    """Makes the empty workbook."""
    changed: Callable[[str], datetime | None]
    """When a job type was last changed, where that is known."""
    now: Callable[[], datetime]
    rates: Rates
    places: Places
    """How the share with the logs is asked."""
    access: Access = field(default_factory=Access)
    desk: Desk | None = None
    """Where requests are handed in; None while submitting is closed."""
