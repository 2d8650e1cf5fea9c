"""Put away what is over: manifests into an archive beside them, run folders and spooled copies for good.

What the ledger knows is kept for ever: that nothing runs twice rests on it. Every step looks at what is there before
it acts, so a crash in between leaves nothing but work for the next time.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from dropbox_agent import deliver
from dropbox_agent.beside import Beside
from dropbox_agent.errors import AgentError
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger, Over

ARCHIVE = "archive"
"""In the inbox: YEAR-MONTH folders of what is done."""
EVERY = timedelta(hours=1)
logger = logging.getLogger(__name__)


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

        A manifest that was just brought back is answered first. What cannot be put away keeps nothing else from it.
        """
        if self.looked is not None and timedelta(0) <= now - self.looked < EVERY:
            return
        self.looked = now
        resting = {inbox.path: inbox.rests for inbox in inboxes}
        for over in self._since(self.archive_days, ledger, now):
            if over.inbox in resting and resting[over.inbox](over.name):
                with _if_it_can_be(over.inbox / over.name):
                    beside(over.inbox, partial(archive, over))
        for job_id in [job for over in self._since(self.run_folder_days, ledger, now) for job in over.succeeded]:
            folder = self.work_dir / job_id
            with _if_it_can_be(folder):
                beside.places.ask(self.work_dir, partial(_remove_folder, folder))
        needed = ledger.contents_needed(_before(self.spool_days, now)) if self.spool_days else frozenset()
        for path in self.spool.iterdir() if self.spool_days and self.spool.is_dir() else ():
            if path.name not in needed:
                with _if_it_can_be(path):
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


@contextmanager
def _if_it_can_be(what: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, AgentError) as error:
        logger.warning("%s could not be put away: %s. It is tried again in an hour.", what, error)


def archive(over: Over) -> None:
    """Move a manifest that is still as it was, and all that stands beside it, into the archive; itself last.

    No link is followed, and nothing in the archive replaced. Raises OSError.
    """
    if deliver.digest_of(over.inbox / over.name) != over.sha256:
        return
    names = [*_beside(over), over.name]
    with _opened(over.inbox) as inbox, _archive_for(over, names, inbox) as target:
        for name in names:
            os.rename(name, name, src_dir_fd=inbox, dst_dir_fd=target)
        if _digest_in(target, over.name) != over.sha256 and not _is_there(inbox, over.name):
            # It was saved anew between the look and the move: that version is still to be taken.
            os.rename(over.name, over.name, src_dir_fd=target, dst_dir_fd=inbox)
            return
    logger.info("%s: put into the archive.", over.name, extra={"action": "archived", "drop": over.name})


def _beside(over: Over) -> Iterator[str]:
    """Yield what the agent wrote; a marked copy that somebody corrected in place is a manifest of its own."""
    names = deliver.Names(over.name)
    wanted = [names.status_json, names.status_html, *(names.mail(number, kind) for number, kind in over.mails)]
    yield from (name for name in wanted if os.path.lexists(over.inbox / name))
    copy = deliver.digest_of(over.inbox / names.errors_xlsx)
    if copy is not None and deliver.is_unchanged(over.inbox, copy):
        yield names.errors_xlsx


@contextmanager
def _archive_for(over: Over, names: Sequence[str], inbox: int) -> Iterator[int]:
    """Yield the folder of the month, or one in it of its own for what has been there before."""
    with _opened(ARCHIVE, inbox, make=True) as archive, _opened(f"{over.updated:%Y-%m}", archive, make=True) as month:
        if not any(_is_there(month, name) for name in names):
            yield month
            return
        for turn in itertools.count():
            with _opened(f"{over.drop_id}.{turn}", month, make=True) as own:
                if not any(_is_there(own, name) for name in names):
                    yield own
                    return


@contextmanager
def _opened(name: str | Path, within: int | None = None, make: bool = False) -> Iterator[int]:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=within)
    followed = 0 if within is None else os.O_NOFOLLOW
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | followed, dir_fd=within)
    try:
        yield folder
    finally:
        os.close(folder)


def _is_there(folder: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _digest_in(folder: int, name: str) -> str | None:
    return deliver.digest_of(Path(f"/proc/self/fd/{folder}") / name)


def _remove_folder(folder: Path) -> None:
    """Remove a run folder; what cannot be removed now is tried again the next time."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("%s: removed; its job succeeded long ago.", folder, extra={"action": "removed"})
