"""The lease: of several agents that think an inbox is theirs, one works in it and the others wait.

The marker and the lock on the ledger keep agents apart that were set up as they should be. The lease is for those that
were not: a ``state_dir`` that was copied, or that lies on a share whose locks reach one host only. Nothing rests on it
(a holder that slept may wake up at any time): that nothing runs twice rests on keys and start tokens.

It is a file beside the marker, made with ``O_EXCL``. Its holder adds to a counter in it. Whoever waits compares that
counter with what it was, by a clock of its own that only goes forward, and never looks at the times of files. A lease
that has not moved for long enough is taken over by renaming it: of several that try, one succeeds.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dropbox_agent.inbox.files import open_regular
from dropbox_agent.inbox.marker import MARKER

LEASE = f"{Path(MARKER).parent}/lease.json"
RENEWED_EVERY_SECONDS = 5.0
"""At most this often; an inbox that is listed less often is renewed less often."""
PATIENCE_SECONDS = 60.0
"""How long a lease may stand still before it is taken over, at the least."""
LEASE_BYTES = 4096
"""More of a lease is never read."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lease, for the one who waits for it."""

    token: str
    host: str
    boot: str
    pid: int
    ledger: str
    """Device and inode of its ledger: whoever has the lock on that file, on this host, knows that nobody else works."""
    ledger_id: str


def myself(ledger: Path, ledger_id: str) -> Owner:
    """Return who this process is, as the agent of a ledger that it has the lock on."""
    try:
        facts = ledger.stat()
        which = f"{facts.st_dev}:{facts.st_ino}"
    except OSError:
        which = ""
    return Owner(uuid.uuid4().hex, os.uname().nodename, _boot_id(), os.getpid(), which, ledger_id)


@dataclass
class Lease:
    """One inbox's lease, as one agent sees it."""

    inbox: Path
    owner: Owner
    scan_seconds: float = 10.0
    """How often the inbox is listed, and so how often the lease can be renewed."""
    clock: Callable[[], float] = time.monotonic
    """A clock that only goes forward."""
    _count: int = 0
    _held: bool = False
    _renewed: float | None = None
    _seen: tuple[Any, Any] | None = None
    """Token and counter of somebody else's lease, as last read."""
    _since: float = field(default=0.0)
    """Since when they have been the same."""
    _moved: bool = False
    """Whether they were seen to change."""

    def hold(self) -> str | None:
        """Take or renew the lease; return None when it is ours, else who works here, a sentence for the operator.

        Where no lease can be kept (a read-only share, an error), the agent works without.
        """
        try:
            if self._held and self._renewed is not None and self.clock() - self._renewed < RENEWED_EVERY_SECONDS:
                return None
            return self._renew() if self._held else self._take()
        except OSError:
            return None

    @property
    def may_be_over(self) -> bool:
        """Whether somebody else's lease is there that has not moved so far: to wait tells whether it is over."""
        return self._seen is not None and not self._moved

    def release(self) -> None:
        """Give the lease back, so that the next agent need not wait. Raises OSError."""
        if self._held and (_read(self._path) or {}).get("token") == self.owner.token:
            self._path.unlink(missing_ok=True)
        self._held = False

    @property
    def _path(self) -> Path:
        return self.inbox / LEASE

    # --- ours --------------------------------------------------------------------------------------------------------

    def _renew(self) -> str | None:
        """Add to the counter in the file that was ours; one that was renamed away is no longer found by its name."""
        found = _read(self._path)
        if found is None or found.get("token") != self.owner.token:
            self._held = False
            return self._take()
        return self._write(self.owner.token)

    def _write(self, token: str | None) -> str | None:
        """Write into a lease that has this token, none when its writer came no further; by its name, so not a dead one.

        Between the look and the write it may be taken over: then a dead file is written.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a plain file", str(self._path))
            if _parsed(os.pread(descriptor, LEASE_BYTES, 0)).get("token") == token:
                self._count += 1
                os.ftruncate(descriptor, os.pwrite(descriptor, self._text(), 0))
                self._held, self._renewed, self._seen, self._moved = True, self.clock(), None, False
                return None
        finally:
            os.close(descriptor)
        self._held = False
        return self._sentence({}, PATIENCE_SECONDS)

    def _take(self) -> str | None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o644)
        except FileExistsError:
            return self._others()
        os.close(descriptor)
        return self._write(None)

    def _text(self) -> bytes:
        """Return what the file says, always of one length: it is written over in place."""
        said = {
            "counter": f"{self._count:012d}",
            "token": self.owner.token,
            "host": self.owner.host[:100],
            "boot": self.owner.boot,
            "pid": self.owner.pid,
            "ledger": self.owner.ledger,
            "ledger_id": self.owner.ledger_id,
            "patience_seconds": max(PATIENCE_SECONDS, 3 * self.scan_seconds),
        }
        return json.dumps(said).encode() + b"\n"

    # --- somebody else's ---------------------------------------------------------------------------------------------

    def _others(self) -> str | None:
        """Look at the lease that is there: ours after a reply that was lost, one that is over, or one that lives."""
        found = _read(self._path)
        if found is None:
            return self._sentence({}, PATIENCE_SECONDS)  # taken away between two calls: the next look says
        if found.get("token") in (None, self.owner.token):
            return self._write(found.get("token"))
        patience = self._patience_with(found)
        state = (found.get("token"), found.get("counter"))
        if state != self._seen:
            self._moved = self._seen is not None
            self._seen, self._since = state, self.clock()
        if not self._is_over(found) and self.clock() - self._since < patience:
            return self._sentence(found, patience)
        return self._take_over(found)

    def _is_over(self, found: dict[str, Any]) -> bool:
        """Return whether its holder is known to work here no more.

        The marker no longer names its ledger. Or we have the lock on its ledger, which the same kernel keeps.
        """
        if found.get("ledger_id") != self.owner.ledger_id:
            return True
        mine = (self.owner.host, self.owner.boot, self.owner.ledger)
        return bool(self.owner.ledger) and (found.get("host"), found.get("boot"), found.get("ledger")) == mine

    def _take_over(self, found: dict[str, Any]) -> str | None:
        dead = self._path.with_name(f"lease.dead.{uuid.uuid4().hex}")
        try:
            os.rename(self._path, dead)
        except FileNotFoundError:
            return self._sentence(found, self._patience_with(found))  # another one was faster
        if (_read(dead) or {}).get("token") != found.get("token"):
            # Another one had taken it over before us, and this is its lease: it gets it back.
            with suppress(OSError):
                os.link(dead, self._path)
            with suppress(OSError):
                dead.unlink()
            return self._sentence(found, self._patience_with(found))
        for left in self._path.parent.glob("lease.dead.*"):
            with suppress(OSError):
                left.unlink()
        return self._take()

    @staticmethod
    def _patience_with(found: dict[str, Any]) -> float:
        named = found.get("patience_seconds")
        longest = 86_400.0
        return min(max(float(named), PATIENCE_SECONDS), longest) if isinstance(named, int | float) else PATIENCE_SECONDS

    def _sentence(self, found: dict[str, Any], patience: float) -> str:
        who = f"on {found.get('host')!s:.100} (process {found.get('pid')!s:.20}) " if found else ""
        return (
            f"Another agent {who}works in the inbox {self.inbox}. This one leaves it alone until that one has been "
            f"silent for {patience:g} s. Let only one agent work with this ledger: a state_dir must not be copied, "
            "nor be used from two machines."
        )


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a lease says; {} for what says nothing, None when it is not there. Raises OSError."""
    try:
        with open_regular(path) as file:
            return _parsed(file.read(LEASE_BYTES))
    except FileNotFoundError:
        return None


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@cache
def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""
