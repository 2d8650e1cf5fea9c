"""A manifest that is written anew while the jobs of its earlier version run: what becomes of the new version.

That it waits is written down as a note of the version before, so that it is known after a crash, and told beside the
file. What runs keeps what it was given, whatever the file says now.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from dropbox_agent.deliver import Names
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Drop, Standing
from dropbox_agent.states import DropState

Policy = Literal["refuse", "queue", "hold"]
"""refuse: what names an asset that is being uploaded is refused, all else is taken at once; queue: the new version is
taken when the earlier one has ended; hold: and only when somebody says so."""
CHANGED = "The file was changed while this version ran."
QUEUED = f"{CHANGED} The new version is taken once this one has ended."
HELD = f"{CHANGED} The new version waits: "
LIVE = frozenset({DropState.ACCEPTED, DropState.RUNNING})


def holds_back(policy: Policy, drop: Drop, ledger: Ledger, now: datetime) -> tuple[str, bool] | None:
    """Return why a new version is not taken now, and whether it waits for somebody; None: it is taken."""
    if policy == "refuse":
        return None
    before = ledger.latest(drop.inbox, drop.name)
    if before is None or not (before.state in LIVE or is_held(before)):
        return None
    note = QUEUED if policy == "queue" else f"{HELD}{_how_to_run(drop.name)}"
    if note not in (before.note or ""):
        ledger.note(before.drop_id, note, now)
    return note, policy == "hold"


def is_held(standing: Standing) -> bool:
    """Return whether a newer version of a manifest waits until somebody lets it run."""
    return HELD in (standing.note or "")


def still(standing: Standing, text: str) -> str:
    """Return a new note for a manifest that still says so if a newer version waits."""
    return f"{text} {HELD}{_how_to_run(standing.name)}" if is_held(standing) else text


def release(standing: Standing, ledger: Ledger, now: datetime) -> None:
    """Let the newer version be taken, or forget it when the file says again what this one said."""
    if CHANGED in (standing.note or ""):
        ledger.note(standing.drop_id, "", now)


def forget_what_is_gone(inbox: Inbox, ledger: Ledger, now: datetime) -> None:
    """A newer version that was taken away before it was taken is waited for no more."""
    for drop_id, name in ledger.noted(inbox.path, CHANGED):
        if inbox.is_gone(name):
            ledger.note(drop_id, "", now)


def _how_to_run(name: str) -> str:
    return f"to run it, put an empty file {Names(name).retry} beside it."
