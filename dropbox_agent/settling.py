"""Tell of files that are waited for, or never taken as they are: the state ``settling`` in the status beside them.

What settles within moments is not told of. What is known of an earlier version of the file comes first, as long as
that version's jobs run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent import deliver, rewriting
from dropbox_agent.beside import Beside
from dropbox_agent.errors import AgentError
from dropbox_agent.inbox import Inbox, Waiting
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Standing
from dropbox_agent.states import DropState

TOLD_AFTER = timedelta(seconds=10)
"""A file that is waited for longer is told of."""
TOLD_AT_ONCE = 20
"""How many files of one inbox are told of in one tick, however many there are."""
LIVE = frozenset({DropState.ACCEPTED, DropState.RUNNING})

Write = Callable[[Standing, datetime], None]


@dataclass
class Telling:
    """What was told of the files that are waited for."""

    _said: dict[tuple[Path, str], str] = field(default_factory=dict)
    """Why they are waited for, as the status beside them says it."""
    _in_vain: Counter[tuple[Path, str]] = field(default_factory=Counter)
    """How often that could not be written."""

    def tell(self, inbox: Inbox, ledger: Ledger, write: Write, beside: Beside, now: datetime) -> None:
        """Write a status for each file that is waited for, anew when the reason changes; take it back in the end.

        What cannot be written or removed is tried again at the next look.
        """
        waiting = {one.name: one for one in [*_left_alone(inbox, now), *inbox.waiting()]}
        told = ledger.settling(inbox.path)
        for name in sorted(told - waiting.keys()):
            self._said.pop((inbox.path, name), None)
            with suppress(AgentError):
                _end(inbox, ledger, name, beside)
        for name in self._to_tell(inbox, ledger, waiting, now)[:TOLD_AT_ONCE]:
            if name not in told:
                ledger.settles(inbox.path, name)
            try:
                write(_standing(inbox.path, waiting[name], now), now)
            except AgentError:
                self._in_vain[inbox.path, name] += 1
            else:
                self._said[inbox.path, name] = waiting[name].reason

    def _to_tell(self, inbox: Inbox, ledger: Ledger, waiting: Mapping[str, Waiting], now: datetime) -> list[str]:
        news = [name for name in sorted(waiting) if self._said.get((inbox.path, name)) != waiting[name].reason]
        told = [name for name in news if _is_worth_telling(inbox, ledger, waiting[name], now)]
        # What cannot be told keeps no other from its turn.
        return sorted(told, key=lambda name: self._in_vain[inbox.path, name])


def _left_alone(inbox: Inbox, now: datetime) -> list[Waiting]:
    """Return what is never taken as it is; what is planted under a name of ours is replaced, and nobody's manifest."""
    left = [(name, reason) for name, reason in inbox.left_alone() if not deliver.may_be_filled_in(name)]
    return [Waiting(name, reason, now, may_wait_long=True) for name, reason in left]


def _is_worth_telling(inbox: Inbox, ledger: Ledger, waiting: Waiting, now: datetime) -> bool:
    if not waiting.may_wait_long and now - waiting.since < TOLD_AFTER:
        return False
    before = ledger.latest(inbox.path, waiting.name)
    return before is None or (before.state not in LIVE and not rewriting.is_held(before))


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


def _end(inbox: Inbox, ledger: Ledger, name: str, beside: Beside) -> None:
    """What was taken is told by what it is; of what was taken away, or is left as it lies, nothing stays.

    Raises AgentError when the status cannot be removed.
    """
    if ledger.latest(inbox.path, name) is None:
        if not inbox.is_gone(name) and not inbox.rests(name):
            return
        beside(inbox.path, lambda: deliver.take_status_back(inbox.path, name))
    ledger.settles_no_more(inbox.path, name)
