"""Watch one folder: list it, wait until a file has settled, and copy it once into the spool."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from dropbox_agent import lasting
from dropbox_agent.errors import InboxUnavailable, NoAnswer
from dropbox_agent.inbox import hints
from dropbox_agent.inbox.files import (
    Signature,
    SourceUnreadable,
    copy_and_hash,
    digest_of,
    looks_unfinished,
    open_regular,
    signature,
)
from dropbox_agent.inbox.lease import Lease
from dropbox_agent.inbox.listing import NameRules, listing, says_nothing
from dropbox_agent.inbox.marker import guard
from dropbox_agent.inbox.sightings import Sighting, Waiting
from dropbox_agent.model import Drop
from dropbox_agent.patience import Places

T = TypeVar("T")

LEFT_OVER_AFTER = timedelta(seconds=60)
"""Nobody takes so long to write one small file: what lies there longer was left behind."""
ABSENT_SCANS = 2
"""How many complete scans in a row must miss a name before it counts as gone."""


@dataclass
class Inbox:
    """One watched folder."""

    path: Path
    spool: Path
    suffixes: Collection[str]
    is_ours: Callable[[str], bool]
    """Says of a name whether the agent itself writes files of that name."""
    is_temporary: Callable[[str], bool] = lambda name: False
    """Says of a name whether it is one under which the agent begins to write a file."""
    order_beside: Callable[[str, str], str] = lambda manifest, act: f"{manifest}.{act}"
    """Says what the file of an order beside a manifest is called."""
    settle_seconds: float = 2.0
    settle_max_seconds: float = 60.0
    scan_seconds: float = 10.0
    max_bytes: int = 50_000_000
    """Of a larger file only one byte more is copied, so that reading it can say so."""
    last_complete_scan: datetime | None = None
    trouble: str | None = None
    """Why the inbox is unavailable, for the operator; None while all is well."""
    is_unchanged: Callable[[Path, str], bool] = lambda folder, sha256: False
    """Says of a content whether the agent itself wrote it into this inbox (a template that nobody filled in)."""
    may_be_unchanged: Callable[[str], bool] = lambda name: True
    """Says of a name whether the agent writes files of that name; a copy under another name is somebody's."""
    places: Places = field(default_factory=lambda: Places(None))
    """How long the share is waited for."""
    lease: Lease | None = None
    """Keeps agents apart that share a ledger; None: there is only one."""
    elsewhere: str | None = None
    """Which other agent works here, a sentence; None while this one does."""
    _orders: dict[str, tuple[str, str]] = field(default_factory=dict)
    _sightings: dict[str, Sighting] = field(default_factory=dict)
    _refused_names: dict[str, str] = field(default_factory=dict)
    _unread: dict[str, Waiting] = field(default_factory=dict)
    """Files that are listed, and of which no more is known."""
    _temporary: dict[str, datetime] = field(default_factory=dict)
    """Files that the agent began to write -> when they were first listed."""
    _hint: threading.Event = field(default_factory=threading.Event)

    # --- the path ----------------------------------------------------------------------------------------------------

    def settled(
        self,
        now: datetime,
        ledger_id: str,
        bind: Callable[[str], None] = lambda inbox_id: None,
        is_news: Callable[[Drop], bool] = lambda drop: True,
    ) -> Iterator[Drop]:
        """Yield each file that has settled and was not ``taken`` as it is; what ``is_news`` is copied into the spool.

        ``bind`` is told which inbox it is, and may refuse it. Raises InboxUnavailable when the folder cannot be
        listed or is not bound to this ledger.
        """
        if self._list_is_due(now):
            self._hint.clear()
            names = self._names_listed(ledger_id, bind, now)
            if self._clock_went_back(now):
                self.settle_anew(now)
            self._notice(names, now)
        else:
            names = self._facts_of(self._to_look_at(now), ledger_id, bind, now)
        for name in sorted(names, key=self._turn):
            drop = self._settle(name, now, is_news)
            if drop is not None:
                yield drop

    def leave(self) -> None:
        """Let another agent work here at once. Raises OSError, and InboxUnavailable when the share hangs."""
        if self.lease is not None and self.trouble is None:
            self._ask(self.lease.release)

    def orders(self) -> list[tuple[str, str, str]]:
        """Return (file name, manifest, ``retry`` or ``cancel``) of the empty files beside manifests, as last listed."""
        return [(name, manifest, act) for name, (manifest, act) in sorted(self._orders.items())]

    def still_ordered(self, names: Collection[str], ledger_id: str) -> list[str]:
        """Return those files of orders that are there as they were listed; others are forgotten, they were withdrawn.

        Raises InboxUnavailable.
        """

        def there() -> list[str]:
            return [name for name in names if _orders_something(self.path / name)]

        found = self._if_ours(there, ledger_id)
        for name in set(names).difference(found):
            self._orders.pop(name, None)
        return found

    def obeyed(self, name: str, ledger_id: str) -> bool:
        """Remove the file of an order, so that it is carried out once; return False when it says something by now.

        Raises InboxUnavailable, and then the file may be gone or not: a share that hangs does it later.
        """

        def removed() -> bool:
            path = self.path / name
            try:
                if not says_nothing(path):
                    return False
                path.unlink()
            except FileNotFoundError:
                guard(self.path, ledger_id)  # What is left in the place of a share that went away has no file either.
            with contextlib.suppress(OSError):  # Some shares cannot, and it is gone all the same.
                lasting.sync_folder(self.path)
            return True

        try:
            is_removed = self._if_ours(removed, ledger_id)
        except OSError as error:
            raise InboxUnavailable(
                f"{self.path / name} could not be removed: {error.strerror}. It is obeyed when it is gone."
            ) from error
        self._orders.pop(name, None)
        return is_removed

    def read_again(self, name: str) -> None:
        """Let a file that was taken settle and be yielded once more, although it has not changed."""
        sighting = self._sightings.get(name)
        if sighting is not None:
            sighting.taken, sighting.again, sighting.look_at = None, True, None

    def settle_anew(self, now: datetime) -> None:
        """Begin anew with what has not settled: the clock was set, and times from before it tell nothing."""
        for sighting in self._sightings.values():
            sighting.first_seen, sighting.digest, sighting.look_at = now, None, None

    def taken(self, drop: Drop) -> None:
        """Note that a drop is recorded: its file is left alone while it stays as it is."""
        sighting = self._sightings[drop.name]
        sighting.taken, sighting.again = sighting.signature, False

    def not_taken(self, drop: Drop, reason: str, now: datetime, needs_somebody: bool) -> None:
        """Note why a drop could not be recorded; it is yielded again after a while."""
        self._wait(self._sightings[drop.name], now, self.scan_seconds, reason, needs_somebody)

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to list: the interval is over, an event came, or a settling file is to be read."""
        return self._list_is_due(now) or bool(self._to_look_at(now))

    def _list_is_due(self, now: datetime) -> bool:
        if self.last_complete_scan is None or self._hint.is_set() or self._clock_went_back(now):
            return True
        return now - self.last_complete_scan >= timedelta(seconds=self.scan_seconds)

    def _to_look_at(self, now: datetime) -> list[str]:
        """Return the files that have not settled and are to be read now: for them the folder is not listed anew."""
        return [name for name, sighting in self._unsettled() if sighting.look_at is None or sighting.look_at <= now]

    def _clock_went_back(self, now: datetime) -> bool:
        return self.last_complete_scan is not None and now < self.last_complete_scan

    def waiting(self) -> list[Waiting]:
        """Return the files that are seen but have not settled, with the reason."""
        seen = [
            Waiting(name, sighting.waits, sighting.first_seen, sighting.may_wait_long)
            for name, sighting in self._unsettled()
        ]
        return sorted([*seen, *self._unread.values()], key=lambda one: one.name)

    def rests(self, name: str) -> bool:
        """Return whether a file lies there as it was taken."""
        sighting = self._sightings.get(name)
        return sighting is not None and sighting.missed == 0 and sighting.taken == sighting.signature

    def is_gone(self, name: str) -> bool:
        """Return whether a file is not there, and has been missing for long enough to be believed."""
        if name not in self._sightings:
            return self.last_complete_scan is not None
        return self._sightings[name].missed >= ABSENT_SCANS

    def left_alone(self) -> list[tuple[str, str]]:
        """Return (name, reason) of the files named like manifests or orders that are never taken as they are."""
        return sorted(self._refused_names.items())

    def left_over(self, now: datetime) -> list[str]:
        """Return the files that the agent began to write so long ago that nobody writes them any more."""
        return sorted(name for name, since in self._temporary.items() if now - since >= LEFT_OVER_AFTER)

    def _unsettled(self) -> list[tuple[str, Sighting]]:
        return [
            (name, sighting)
            for name, sighting in self._sightings.items()
            if sighting.taken != sighting.signature and sighting.missed == 0
        ]

    # --- listing -----------------------------------------------------------------------------------------------------

    def _names_listed(self, ledger_id: str, bind: Callable[[str], None], now: datetime) -> dict[str, Signature]:
        found = self._if_ours(lambda: listing(self.path, self._rules), ledger_id, bind)
        self._refused_names, self._orders = found.refused, found.orders
        self._temporary = {name: min(now, self._temporary.get(name, now)) for name in found.temporary}
        # On a share a name may be listed before its facts arrive: it is waited for, not taken as gone.
        late = {name: self._sightings[name].signature for name in found.unread if name in self._sightings}
        self._unread = {name: self._late(name, why, now) for name, why in found.unread.items() if name not in late}
        return {**found.files, **late}

    def _late(self, name: str, why: str, now: datetime) -> Waiting:
        since = min(now, self._unread[name].since) if name in self._unread else now
        for_long = now - since > timedelta(seconds=self.settle_max_seconds)
        return Waiting(name, f"It is listed, but cannot be looked at ({why}).", since, for_long)

    def _facts_of(
        self, names: list[str], ledger_id: str, bind: Callable[[str], None], now: datetime
    ) -> dict[str, Signature]:
        """Return the facts of files that are known; of one that is not there now, the next listing decides."""

        def look() -> dict[str, Signature]:
            found = {}
            for name in names:
                with contextlib.suppress(OSError):
                    facts = os.lstat(self.path / name)
                    if stat.S_ISREG(facts.st_mode):
                        found[name] = signature(facts)
            return found

        found = self._if_ours(look, ledger_id, bind)
        for name in names:
            sighting = self._sightings[name]
            if name in found:
                sighting.signature = found[name]
            else:
                sighting.look_at = now + timedelta(seconds=self.scan_seconds)
        return found

    def _if_ours(self, look: Callable[[], T], ledger_id: str, bind: Callable[[str], None] = lambda inbox_id: None) -> T:
        """Look at the folder if it is ours: by its marker, and by its lease. Raises InboxUnavailable."""

        def guarded() -> tuple[str | None, str | None, list[T]]:
            inbox_id = guard(self.path, ledger_id)
            elsewhere = self.lease.hold() if self.lease is not None else None
            return inbox_id, elsewhere, [] if elsewhere else [look()]

        try:
            inbox_id, self.elsewhere, found = self._ask(guarded)
            if self.elsewhere is not None:
                self._orders = {}
                raise InboxUnavailable(self.elsewhere)
            if inbox_id is not None:
                bind(inbox_id)
        except InboxUnavailable as error:
            self.trouble = str(error)
            raise
        self.trouble = None
        return found[0]

    def is_candidate(self, name: str) -> bool:
        """Return whether a file of that name is looked at: a manifest's suffix, no lock or temporary name, not ours."""
        return self._rules.is_candidate(name)

    @property
    def _rules(self) -> NameRules:
        return NameRules(self.suffixes, self.is_ours, self.is_temporary, self.order_beside)

    def _notice(self, names: dict[str, Signature], now: datetime) -> None:
        for name, seen in names.items():
            sighting = self._sightings.get(name)
            if sighting is None:
                self._sightings[name] = Sighting(now, seen)
            elif sighting.missed >= ABSENT_SCANS:
                self._sightings[name] = Sighting(now, seen, again=True)
            else:
                sighting.missed = 0
                sighting.signature = seen
        for name, sighting in self._sightings.items():
            if name not in names:
                sighting.missed += 1
        self.last_complete_scan = now

    # --- settling ----------------------------------------------------------------------------------------------------

    def _turn(self, name: str) -> tuple[datetime, str]:
        """What has been due for longest comes first: of many that wait, none keeps another from its turn."""
        sighting = self._sightings[name]
        return sighting.look_at or sighting.first_seen, name

    def _settle(self, name: str, now: datetime, is_news: Callable[[Drop], bool]) -> Drop | None:
        sighting = self._sightings[name]
        if sighting.taken == sighting.signature:
            return None
        if sighting.taken is not None:
            self._sightings[name] = sighting = Sighting(now, sighting.signature, again=sighting.again)
        if sighting.look_at is not None and now < sighting.look_at:
            return None
        if not self._is_quiet(name, sighting, now):
            return None
        (unfinished, needs_somebody), facts = self._ask(lambda: self._looked_at(name))
        if unfinished and now - sighting.first_seen < timedelta(seconds=self.settle_max_seconds):
            self._wait(sighting, now, self.settle_seconds, unfinished, needs_somebody)
            return None
        if facts is not None and signature(facts) == sighting.signature:
            known = self._drop(name, sighting, facts, facts.st_size, now)
            if not is_news(known):  # At each start there are many of these: their content is not copied again.
                return known
        return self._copy(name, sighting, now)

    def _looked_at(self, name: str) -> tuple[tuple[str | None, bool], os.stat_result | None]:
        path = self.path / name
        try:
            return looks_unfinished(path), path.lstat()
        except OSError:
            return looks_unfinished(path), None

    def _drop(self, name: str, sighting: Sighting, facts: os.stat_result, size: int, now: datetime) -> Drop:
        assert sighting.digest is not None
        return Drop(
            inbox=self.path,
            name=name,
            sha256=sighting.digest,
            size=size,
            spooled=self.spool / sighting.digest,
            owner=facts.st_uid,
            modified=facts.st_mtime,
            settled_at=now,
            again=sighting.again,
        )

    def _wait(self, sighting: Sighting, now: datetime, seconds: float, reason: str, needs_somebody: bool) -> None:
        sighting.look_at = now + timedelta(seconds=seconds)
        sighting.waits, sighting.may_wait_long = reason, needs_somebody

    def _is_quiet(self, name: str, sighting: Sighting, now: datetime) -> bool:
        """Return whether two readings at least ``settle_seconds`` apart gave the same content."""
        try:
            digest, ours = self._ask(lambda: self._read(name))
        except OSError as error:
            self._cannot_be_read(sighting, error, now)
            return False
        if ours:
            sighting.taken, sighting.again = sighting.signature, False
            return False
        if digest != sighting.digest:
            sighting.digest, sighting.same_since = digest, now
        assert sighting.same_since is not None
        for_long = now - sighting.first_seen > timedelta(seconds=self.settle_max_seconds)
        self._wait(sighting, now, self.settle_seconds, "Waiting until it no longer changes.", for_long)
        return now - sighting.same_since >= timedelta(seconds=self.settle_seconds)

    def _read(self, name: str) -> tuple[str, bool]:
        digest = digest_of(self.path / name, self.max_bytes + 1)
        return digest, self.may_be_unchanged(name) and self.is_unchanged(self.path, digest)

    def _cannot_be_read(self, sighting: Sighting, error: OSError, now: datetime) -> None:
        reason = f"It cannot be read ({error.strerror}). Make it readable for the agent, or copy it here again."
        sighting.digest = None
        self._wait(sighting, now, self.scan_seconds, reason, True)

    def _copy(self, name: str, sighting: Sighting, now: datetime) -> Drop | None:
        """Copy the settled bytes to ``spool/<sha256>``; None when they were no longer the settled ones."""
        wanted = sighting.digest
        try:
            copied = self._ask(lambda: self._spooled(name, wanted))
        except SourceUnreadable as error:
            self._cannot_be_read(sighting, error, now)
            return None
        if copied is None or wanted is None:
            sighting.digest = None
            return None
        facts, size = copied
        sighting.signature = signature(facts)
        return self._drop(name, sighting, facts, size, now)

    def _spooled(self, name: str, wanted: str | None) -> tuple[os.stat_result, int] | None:
        """Copy a file into the spool; return its facts and size, or None when it is not (or no longer) the wanted one.

        Raises SourceUnreadable, and InboxUnavailable when it is the spool that does not take it.
        """
        try:
            source = open_regular(self.path / name)
        except OSError:  # It was taken away or replaced just now: the next listing says what is there.
            return None
        with source:
            before = os.fstat(source.fileno())
            digest, size = self._kept(source, wanted)
            if digest != wanted or signature(before) != signature(os.fstat(source.fileno())):
                return None
        return before, size

    def _kept(self, source: BufferedReader, wanted: str | None) -> tuple[str, int]:
        """Copy the bytes, keep them if they are the wanted ones; return their sha256 and size."""
        temporary = self.spool / f".{uuid.uuid4().hex}.tmp"
        try:
            lasting.make_folder(self.spool, 0o700)
            digest, size = copy_and_hash(source, temporary, self.max_bytes + 1)
            if digest == wanted:
                temporary.replace(self.spool / digest)
                lasting.sync_folder(self.spool)
            return digest, size
        except SourceUnreadable:
            raise
        except OSError as error:
            raise InboxUnavailable(
                f"{source.name} could not be copied to the spool {self.spool}: {error.strerror}. "
                "Nothing is taken in until it can be; what runs goes on."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _ask(self, act: Callable[[], T]) -> T:
        """Do what touches the share. Raises what it raises, and InboxUnavailable when the share hangs."""
        try:
            return self.places.ask(self.path, act)
        except NoAnswer as error:
            self.trouble = str(error)
            raise InboxUnavailable(str(error)) from error

    # --- hints -------------------------------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Let file events call ``wake`` and shorten the wait for the next scan; return what stops it.

        An inbox whose events cannot be had works as well, only later by up to ``scan_seconds``.
        """
        with contextlib.suppress(InboxUnavailable):
            return self._ask(lambda: hints.listen(self.path, self.hint, wake))
        return lambda: None

    def hint(self, name: str) -> bool:
        """Note that something may have happened to ``name``; return whether it can matter."""
        if not self.is_candidate(name) and self._rules.order_in(name) is None:
            return False
        self._hint.set()
        return True


def _orders_something(path: Path) -> bool:
    try:
        return says_nothing(path)
    except OSError:
        return False
