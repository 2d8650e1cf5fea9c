"""Tell of files that are waited for: the state ``settling`` in the status beside them.

What settles within moments is not told of. What is known of an earlier version of the file comes first, as long as
that version's jobs run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent import deliver
from dropbox_agent.errors import AgentError
from dropbox_agent.inbox import Inbox, Waiting
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Standing
from dropbox_agent.states import DropState

TOLD_AFTER = timedelta(seconds=10)
"""A file that is waited for longer is told of."""
LIVE = frozenset({DropState.ACCEPTED, DropState.RUNNING})

Write = Callable[[Standing, datetime], None]


def tell(inbox: Inbox, ledger: Ledger, write: Write, now: datetime) -> None:
    """Write a status for each file that is waited for, and take it back when it no longer is.

    A status that cannot be written is tried again at the next look: it only says what the next one says as well.
    """
    waiting = {one.name: one for one in inbox.waiting()}
    told = ledger.settling(inbox.path)
    for name in sorted(told - waiting.keys()):
        _end(inbox, ledger, name)
    for name in sorted(waiting.keys() - told):
        if _is_worth_telling(inbox, ledger, waiting[name], now):
            ledger.settles(inbox.path, name)
            with suppress(AgentError):
                write(_standing(inbox.path, waiting[name], now), now)


def _is_worth_telling(inbox: Inbox, ledger: Ledger, waiting: Waiting, now: datetime) -> bool:
    if not waiting.may_wait_long and now - waiting.since < TOLD_AFTER:
        return False
    before = ledger.latest(inbox.path, waiting.name)
    return before is None or before.state not in LIVE


def _standing(inbox: Path, waiting: Waiting, now: datetime) -> Standing:
    return Standing(
        drop_id=0,
        name=waiting.name,
        inbox=inbox,
        sha256="",
        state=DropState.SETTLING,
        noticed=waiting.since,
        updated=now,
        problems=(),
        jobs=(),
        note=waiting.reason,
    )


def _end(inbox: Inbox, ledger: Ledger, name: str) -> None:
    """What was taken is told by what it is; of what was taken away nothing stays."""
    if ledger.latest(inbox.path, name) is None:
        if not inbox.is_gone(name):
            return
        names = deliver.Names(name)
        for file in (names.status_json, names.status_html):
            with suppress(OSError):
                (inbox.path / file).unlink()
    ledger.settles_no_more(inbox.path, name)
