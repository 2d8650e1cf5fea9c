"""Put away what is over: manifests into an archive beside them, run folders and spooled copies for good.

What the ledger knows is kept for ever: that nothing runs twice rests on it. Every step looks at what is there before
it acts, so a crash in between leaves nothing but work for the next time.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent import deliver
from dropbox_agent.errors import AgentError
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger, Over

ARCHIVE = "archive"
"""In the inbox: YEAR-MONTH folders of what is done."""
EVERY = timedelta(hours=1)
logger = logging.getLogger(__name__)

Beside = Callable[[Path, Callable[[], None]], None]
"""Does something in an inbox, if it is ours and answers."""


@dataclass
class Quarantine:
    """Source folders that were removed, and wait in their roots: those whose days are over go for good."""

    roots: Sequence[Path]
    days: float
    _emptying: subprocess.Popen[bytes] | None = None

    def empty(self) -> None:
        """Start a process that does so, unless the last one is still at it: a share may hang."""
        if self._emptying is not None and self._emptying.poll() is None:
            return
        argv = [sys.executable, "-I", "-m", "dropbox_agent.tasks.quarantine", str(self.days), *map(str, self.roots)]
        self._emptying = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def close(self, seconds: float) -> None:
        """Wait for it, at most this long."""
        if self._emptying is not None:
            with suppress(subprocess.TimeoutExpired):
                self._emptying.wait(seconds)


@dataclass
class Retention:
    """What is put away, and when; None: never."""

    spool: Path
    work_dir: Path
    archive_days: int | None = None
    run_folder_days: int | None = None
    spool_days: int | None = None
    quarantine: Quarantine | None = None
    looked: datetime | None = None

    def put_away(self, ledger: Ledger, inboxes: Sequence[Inbox], beside: Beside, now: datetime) -> None:
        """Put away what has been over for long enough, not more often than once an hour.

        A manifest that was just brought back is answered first.
        """
        if self.looked is not None and timedelta(0) <= now - self.looked < EVERY:
            return
        self.looked = now
        resting = {inbox.path: inbox.rests for inbox in inboxes}
        for over in self._since(self.archive_days, ledger, now):
            if over.inbox not in resting or not resting[over.inbox](over.name):
                continue
            with suppress(AgentError):
                beside(over.inbox, lambda over=over: archive(over))  # type: ignore[misc]
        for job_id in [job for over in self._since(self.run_folder_days, ledger, now) for job in over.succeeded]:
            _remove_folder(self.work_dir / job_id)
        needed = ledger.contents_needed(_before(self.spool_days, now)) if self.spool_days else frozenset()
        for path in self.spool.iterdir() if self.spool_days and self.spool.is_dir() else ():
            if path.name not in needed:
                path.unlink(missing_ok=True)
        if self.quarantine is not None:
            self.quarantine.empty()

    def close(self, seconds: float) -> None:
        """Wait for what was started beside, at most this long."""
        if self.quarantine is not None:
            self.quarantine.close(seconds)

    def _since(self, days: int | None, ledger: Ledger, now: datetime) -> Sequence[Over]:
        return () if days is None else ledger.over(_before(days, now))


def _before(days: int | None, now: datetime) -> datetime:
    return now - timedelta(days=days or 0)


def archive(over: Over) -> None:
    """Move a manifest that is still as it was, and all that stands beside it, into the archive; itself last.

    Raises OSError.
    """
    if deliver.digest_of(over.inbox / over.name) != over.sha256:
        return
    target = over.inbox / ARCHIVE / f"{over.updated:%Y-%m}"
    target.mkdir(parents=True, exist_ok=True)
    for name in [*_beside(over), over.name]:
        new = target / name
        if os.path.lexists(new):
            new = target / f"{over.drop_id}-{name}"
        os.rename(over.inbox / name, new)
    logger.info("%s: put into %s.", over.name, target, extra={"action": "archived", "drop": over.name})


def _beside(over: Over) -> Iterator[str]:
    names = deliver.Names(over.name)
    wanted = [names.status_json, names.status_html, names.errors_xlsx]
    wanted += [names.mail(number, kind) for number, kind in over.mails]
    yield from (name for name in wanted if os.path.lexists(over.inbox / name))


def _remove_folder(folder: Path) -> None:
    """Remove a run folder; what cannot be removed now is tried again the next time."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("%s: removed; its job succeeded long ago.", folder, extra={"action": "removed"})
