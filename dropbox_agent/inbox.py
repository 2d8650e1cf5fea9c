"""The watched folders: list them, wait until a file has settled, and copy it once into the spool.

A listing decides; file events only wake the scanner (on NFS and SMB nothing that another host writes makes an event).
Nothing is concluded from an inbox whose marker is missing or names another ledger: that is a share that went away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
import threading
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BufferedReader
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from dropbox_agent.errors import InboxUnavailable
from dropbox_agent.model import Drop

logger = logging.getLogger(__name__)

MARKER = ".dropbox-agent/inbox.json"
"""Binds an inbox to its ledger. Made by ``init`` and ``adopt`` only, never by a running agent."""
MARKER_BYTES = 4096
"""More of a marker is never read."""
SKIPPED_PREFIXES = (".", "~", "#")
"""Hidden files, Office and LibreOffice locks and temporary files, editors' autosaves."""
LOCK_NAMES = ("~${name}", ".~lock.{name}#")
"""Office and LibreOffice keep such a file beside a workbook that is open."""
ORDERS = ("retry", "cancel")
"""What an empty file beside a manifest may order by its ending: ``session.xlsx.retry``."""
ABSENT_SCANS = 2
"""How many complete scans in a row must miss a name before it counts as gone."""
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Signature:
    """What the listing says of a file: enough to notice most changes without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


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


@dataclass
class Inbox:
    """One watched folder."""

    path: Path
    spool: Path
    suffixes: Collection[str]
    is_ours: Callable[[str], bool]
    """Says of a name whether the agent itself writes files of that name."""
    settle_seconds: float = 2.0
    settle_max_seconds: float = 60.0
    scan_seconds: float = 10.0
    max_bytes: int = 50_000_000
    """Of a larger file only one byte more is copied, so that reading it can say so."""
    last_complete_scan: datetime | None = None
    trouble: str | None = None
    """Why the inbox is unavailable, for the operator; None while all is well."""
    _orders: dict[str, tuple[str, str]] = field(default_factory=dict)
    _sightings: dict[str, Sighting] = field(default_factory=dict)
    _refused_names: dict[str, str] = field(default_factory=dict)
    _hint: threading.Event = field(default_factory=threading.Event)

    # --- the path ----------------------------------------------------------------------------------------------------

    def settled(self, now: datetime, ledger_id: str) -> Iterator[Drop]:
        """Yield each file that has settled and was not ``taken`` as it is, copied into the spool.

        Raises InboxUnavailable when the folder cannot be listed or is not bound to this ledger.
        """
        if not self.is_due(now):
            return
        self._hint.clear()
        try:
            guard(self.path, ledger_id)
            names = self._list()
        except InboxUnavailable as error:
            self.trouble = str(error)
            raise
        self.trouble = None
        if self._clock_went_back(now):
            self._begin_settling_anew(now)
        self._notice(names, now)
        for name in sorted(names):
            drop = self._settle(name, now)
            if drop is not None:
                yield drop

    def orders(self) -> list[tuple[str, str, str]]:
        """Return (file name, manifest, ``retry`` or ``cancel``) of the empty files beside manifests, as last listed."""
        return [(name, manifest, act) for name, (manifest, act) in sorted(self._orders.items())]

    def obeyed(self, name: str) -> None:
        """Remove the file of an order, so that it is carried out once. Raises InboxUnavailable."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise InboxUnavailable(
                f"{self.path / name} could not be removed: {error.strerror}. It is not obeyed until it can be."
            ) from error
        self._orders.pop(name, None)

    def read_again(self, name: str) -> None:
        """Let a file that was taken settle and be yielded once more, although it has not changed."""
        sighting = self._sightings.get(name)
        if sighting is not None:
            sighting.taken, sighting.again, sighting.look_at = None, True, None

    def taken(self, drop: Drop) -> None:
        """Note that a drop is recorded: its file is left alone while it stays as it is."""
        sighting = self._sightings[drop.name]
        sighting.taken, sighting.again = sighting.signature, False

    def not_taken(self, drop: Drop, reason: str, now: datetime, needs_somebody: bool) -> None:
        """Note why a drop could not be recorded; it is yielded again after a while."""
        self._wait(self._sightings[drop.name], now, self.scan_seconds, reason, needs_somebody)

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to list: the interval is over, an event came, or a settling file is to be read."""
        if self.last_complete_scan is None or self._hint.is_set() or self._clock_went_back(now):
            return True
        if any(sighting.look_at is None or sighting.look_at <= now for _, sighting in self._unsettled()):
            return True
        return now - self.last_complete_scan >= timedelta(seconds=self.scan_seconds)

    def _clock_went_back(self, now: datetime) -> bool:
        return self.last_complete_scan is not None and now < self.last_complete_scan

    def waiting(self) -> list[Waiting]:
        """Return the files that are seen but have not settled, with the reason."""
        return [
            Waiting(name, sighting.waits, sighting.first_seen, sighting.may_wait_long)
            for name, sighting in self._unsettled()
        ]

    def left_alone(self) -> list[tuple[str, str]]:
        """Return (name, reason) of the files with a manifest's suffix that are never taken as they are."""
        return sorted(self._refused_names.items())

    def _unsettled(self) -> list[tuple[str, Sighting]]:
        return [
            (name, sighting)
            for name, sighting in sorted(self._sightings.items())
            if sighting.missed == 0 and sighting.taken != sighting.signature
        ]

    # --- listing -----------------------------------------------------------------------------------------------------

    def _list(self) -> dict[str, Signature]:
        found: dict[str, Signature] = {}
        refused: dict[str, str] = {}
        orders: dict[str, tuple[str, str]] = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    self._look_at(entry, found, refused)
                    order = self._order_in(entry.name)
                    if order is not None and entry.is_file(follow_symlinks=False):
                        orders[entry.name] = order
        except OSError as error:
            raise InboxUnavailable(
                f"The inbox {self.path} could not be listed: {error.strerror}. It is tried again at the next scan."
            ) from error
        self._refused_names, self._orders = refused, orders
        return found

    def _order_in(self, name: str) -> tuple[str, str] | None:
        """Return manifest and act of ``session.xlsx.retry`` or ``session.xlsx.cancel``, else None."""
        manifest, _, act = name.rpartition(".")
        if act not in ORDERS or Path(manifest).suffix.lower() not in self.suffixes:
            return None
        return manifest, act

    def _look_at(self, entry: os.DirEntry[str], found: dict[str, Signature], refused: dict[str, str]) -> None:
        if not self.is_candidate(entry.name):
            return
        label = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
        if label != entry.name:
            refused[label] = "Its name is not UTF-8. Rename it with plain letters."
            return
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError as error:
            # On a share a name may be listed before its facts arrive: it is waited for, not taken as gone.
            logger.debug("%s: %s", entry.path, error)
            if entry.name in self._sightings:
                found[entry.name] = self._sightings[entry.name].signature
            return
        if not stat.S_ISREG(facts.st_mode):
            refused[entry.name] = "It is not a plain file (a link, folder, pipe or device). Copy the file itself here."
            return
        found[entry.name] = signature(facts)

    def is_candidate(self, name: str) -> bool:
        """Return whether a file of that name is looked at: a manifest's suffix, no lock or temporary name, not ours."""
        if is_passed_over(name) or self.is_ours(name):
            return False
        return Path(name).suffix.lower() in self.suffixes

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

    def _begin_settling_anew(self, now: datetime) -> None:
        """Times from before the clock went back would make every file wait until it has caught up."""
        for sighting in self._sightings.values():
            sighting.first_seen, sighting.digest, sighting.look_at = min(sighting.first_seen, now), None, None

    def _settle(self, name: str, now: datetime) -> Drop | None:
        sighting = self._sightings[name]
        if sighting.taken == sighting.signature:
            return None
        if sighting.taken is not None:
            self._sightings[name] = sighting = Sighting(now, sighting.signature, again=sighting.again)
        if sighting.look_at is not None and now < sighting.look_at:
            return None
        if not self._is_quiet(name, sighting, now):
            return None
        unfinished, needs_somebody = _looks_unfinished(self.path / name)
        if unfinished and now - sighting.first_seen < timedelta(seconds=self.settle_max_seconds):
            self._wait(sighting, now, self.settle_seconds, unfinished, needs_somebody)
            return None
        return self._copy(name, sighting, now)

    def _wait(self, sighting: Sighting, now: datetime, seconds: float, reason: str, needs_somebody: bool) -> None:
        sighting.look_at = now + timedelta(seconds=seconds)
        sighting.waits, sighting.may_wait_long = reason, needs_somebody

    def _is_quiet(self, name: str, sighting: Sighting, now: datetime) -> bool:
        """Return whether two readings at least ``settle_seconds`` apart gave the same content."""
        try:
            digest = _digest(self.path / name, self.max_bytes + 1)
        except OSError as error:
            reason = f"It cannot be read ({error.strerror}). Make it readable for the agent, or copy it here again."
            sighting.digest = None
            self._wait(sighting, now, self.scan_seconds, reason, True)
            return False
        if digest != sighting.digest:
            sighting.digest, sighting.same_since = digest, now
        assert sighting.same_since is not None
        for_long = now - sighting.first_seen > timedelta(seconds=self.settle_max_seconds)
        self._wait(sighting, now, self.settle_seconds, "Waiting until it no longer changes.", for_long)
        return now - sighting.same_since >= timedelta(seconds=self.settle_seconds)

    def _copy(self, name: str, sighting: Sighting, now: datetime) -> Drop | None:
        """Copy the settled bytes to ``spool/<sha256>``; None when they were no longer the settled ones."""
        try:
            source = open_regular(self.path / name)
        except OSError:  # It was taken away or replaced just now: the next listing says what is there.
            sighting.digest = None
            return None
        with source:
            before = os.fstat(source.fileno())
            digest, size = self._spooled(source, sighting.digest)
            if digest != sighting.digest or signature(before) != signature(os.fstat(source.fileno())):
                sighting.digest = None
                return None
        sighting.signature = signature(before)
        owner, modified = before.st_uid, before.st_mtime
        return Drop(self.path, name, digest, size, self.spool / digest, owner, modified, now, again=sighting.again)

    def _spooled(self, source: BufferedReader, wanted: str | None) -> tuple[str, int]:
        """Copy the bytes, keep them if they are the wanted ones; return their sha256 and size."""
        temporary = self.spool / f".{uuid.uuid4().hex}.tmp"
        try:
            self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            digest, size = _copy_and_hash(source, temporary, self.max_bytes + 1)
            if digest == wanted:
                temporary.replace(self.spool / digest)
                _sync_folder(self.spool)
            return digest, size
        except OSError as error:
            raise InboxUnavailable(
                f"{source.name} could not be copied to the spool {self.spool}: {error.strerror}. "
                "Nothing is taken in until it can be; what runs goes on."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    # --- hints -------------------------------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Let file events call ``wake`` and shorten the wait for the next scan; return what stops it.

        An inbox whose events cannot be had works as well, only later by up to ``scan_seconds``.
        """
        observer = Observer()
        try:
            observer.schedule(_Hints(self, wake), str(self.path), recursive=False)
            observer.start()
        except OSError as error:
            logger.warning("No file events for %s (%s); it is listed every %g s.", self.path, error, self.scan_seconds)
            return lambda: None

        def stop() -> None:
            observer.stop()
            observer.join(timeout=5)

        return stop

    def hint(self, name: str) -> bool:
        """Note that something may have happened to ``name``; return whether it can matter."""
        if not self.is_candidate(name) and self._order_in(name) is None:
            return False
        self._hint.set()
        return True


class _Hints(FileSystemEventHandler):
    def __init__(self, inbox: Inbox, wake: Callable[[], None]) -> None:
        self._inbox, self._wake = inbox, wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        # Reading a file makes events too (opened, closed without writing): they would wake us for our own reading.
        if event.event_type in ("opened", "closed_no_write"):
            return
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if any(self._inbox.hint(os.path.basename(path)) for path in paths):
            self._wake()


def is_passed_over(name: str) -> bool:
    """Return whether a file of that name is never looked at, whoever put it there."""
    return name.startswith(SKIPPED_PREFIXES) or ":" in name


# --- marker ----------------------------------------------------------------------------------------------------------


def guard(path: Path, ledger_id: str) -> None:
    """Raise InboxUnavailable unless the folder is there and its marker names this ledger."""
    if not os.path.isdir(path):
        raise InboxUnavailable(
            f"The inbox {path} is not there. Nothing is made in its place: mount the share, or correct 'inboxes'."
        )
    try:
        found = _ledger_named_in(path / MARKER)
    except FileNotFoundError:
        raise InboxUnavailable(
            f"The inbox {path} has no marker ({MARKER}): either its share is not mounted, or it is new to this agent. "
            f"If it is new, say what to do with the files in it: dropbox-agent adopt {path} --baseline seen|process"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InboxUnavailable(f"The marker {path / MARKER} cannot be read: {error}.") from error
    if found != ledger_id:
        raise InboxUnavailable(
            f"The inbox {path} belongs to another ledger ({found}, ours is {ledger_id}). Use that agent's state_dir, "
            f"or take the inbox over: dropbox-agent adopt {path} --baseline seen|process"
        )


def _ledger_named_in(marker: Path) -> object:
    """Whoever can write into the inbox can put a link, a pipe or a huge file in the marker's place."""
    if marker.parent.is_symlink():
        raise OSError(errno.ELOOP, "it lies behind a link", str(marker.parent))
    with open_regular(marker) as file:
        return json.loads(file.read(MARKER_BYTES))["ledger_id"]


def mark(path: Path, ledger_id: str) -> None:
    """Bind an existing folder to a ledger. Raises InboxUnavailable when the marker cannot be written."""
    if not path.is_dir():
        raise InboxUnavailable(
            f"The inbox {path} is not there, and it is never made silently. Make it, then try again."
        )
    marker = path / MARKER
    text = json.dumps({"inbox_id": uuid.uuid4().hex, "ledger_id": ledger_id}, indent=1)
    try:
        if marker.parent.is_symlink():
            raise OSError(errno.ELOOP, "it lies behind a link", str(marker.parent))
        marker.parent.mkdir(exist_ok=True)
        temporary = marker.with_name(f".{uuid.uuid4().hex}.tmp")
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(marker)
    except OSError as error:
        raise InboxUnavailable(f"The marker {marker} could not be written: {error.strerror}.") from error


# --- files -----------------------------------------------------------------------------------------------------------


def _looks_unfinished(path: Path) -> tuple[str | None, bool]:
    """Return why a quiet file is still given time, or None; and whether somebody has to act."""
    if any(os.path.lexists(path.with_name(pattern.format(name=path.name))) for pattern in LOCK_NAMES):
        return "It is open in Excel or LibreOffice. Save it and close it there.", True
    try:
        if path.lstat().st_size == 0:
            return "It is empty so far.", False
        if path.suffix.lower() == ".xlsx" and not _ends_as_a_zip(path):
            return "Its end has not arrived yet (an .xlsx file is a zip archive).", False
    except OSError:
        return "It was taken away while it was looked at.", False
    return None, False


def _ends_as_a_zip(path: Path) -> bool:
    with open_regular(path) as file:
        try:
            return zipfile.is_zipfile(file)
        except zipfile.BadZipFile:  # An end it has, but one that names other disks. Reading it will say so.
            return True


def _digest(path: Path, limit: int) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        for chunk in _up_to(file, limit):
            digest.update(chunk)
    return digest.hexdigest()


def open_regular(path: Path) -> BufferedReader:
    """Open a plain file for reading without ever following a link or blocking on a pipe."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return file


def signature(facts: os.stat_result) -> Signature:
    """Return what is compared to notice a change."""
    return Signature(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _copy_and_hash(source: BufferedReader, target: Path, limit: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as copy:
        for chunk in _up_to(source, limit):
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest(), size


def _up_to(file: BufferedReader, limit: int) -> Iterator[bytes]:
    while limit > 0:
        chunk = file.read(min(CHUNK_BYTES, limit))
        if not chunk:
            return
        limit -= len(chunk)
        yield chunk


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
