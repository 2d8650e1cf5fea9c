"""Write what happened. Every public method is one transaction, recorded whole or not at all, or part of one."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent.ledger import orders
from dropbox_agent.ledger.attempts import Attempts
from dropbox_agent.ledger.database import LONGEST_WAIT, as_text, backoff, is_due, open_for_writing, until
from dropbox_agent.ledger.drops import Drops
from dropbox_agent.ledger.inboxes import Inboxes
from dropbox_agent.ledger.inventories import Inventories
from dropbox_agent.ledger.write import lock_or_refuse
from dropbox_agent.model import Mail, Order

PROGRESS_SECONDS = 1.0
"""A status that only shows more progress is written at most this often."""
PROGRESS_SECONDS_PER_JOB = 0.05
"""And less often for a large manifest, whose status takes long to write: every 100 s for 2,000 jobs."""
MAILS_AT_ONCE = 20
"""How many mails go out before what runs is looked at again."""


@dataclass(frozen=True)
class Untold:
    """A drop whose status beside the manifest is older than the ledger."""

    drop_id: int
    changes: int
    """What ``told`` must be given once this has been written."""


@dataclass(frozen=True)
class DueMail:
    """A mail to be sent now."""

    mail: Mail
    tries: int


class Ledger(Drops, Attempts, Inboxes, Inventories):
    """The agent's ledger: drops, attempts, orders, and the answers that are due."""

    @classmethod
    def open(cls, path: Path, work_dir: Path, now: datetime) -> Ledger:
        """Return the ledger at ``path``, made if it is not there. Raises LedgerInUse when another agent holds it."""
        lock = lock_or_refuse(path)
        try:
            connection = open_for_writing(path)
        except BaseException:
            os.close(lock)
            raise
        ledger = cls(connection, path, work_dir, lock)
        try:
            ledger._name_it(now)
            ledger._wait_no_longer()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def ask(self, orders: Iterable[Order]) -> None:
        """Write down what was ordered by files in an inbox; carried out it is once they are gone."""
        with self._transaction():
            for order in orders:
                self._do(
                    "INSERT INTO asked VALUES (?, ?, ?, ?, ?)",
                    (str(order.inbox), order.by, order.manifest, order.act, as_text(order.asked)),
                )

    @contextmanager
    def done_with(self, asked: Order) -> Iterator[None]:
        """Forget an order that was asked; what is recorded meanwhile, and that, is one transaction."""
        with self._transaction():
            self._do("DELETE FROM asked WHERE inbox = ? AND file = ?", (str(asked.inbox), asked.by))
            yield

    @contextmanager
    def carrying_out(self, order: str, now: datetime) -> Iterator[bool]:
        """Yield whether an order is still to be carried out; what that records, and that it was, is one transaction."""
        with self._transaction():
            yield self._do("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order, as_text(now))).rowcount == 1

    def retry(self, job_id: str, from_task: str | None, now: datetime) -> int:
        """Let what did not end well run again; return how many tasks. Raises OrderRefused; then nothing changed."""
        with self._transaction():
            count = orders.retry(self._connection, job_id, from_task, as_text(now))
            self._add_retry_mail(job_id, now)
            return count

    def cancel(self, job_id: str, why: str, now: datetime) -> None:
        """End what waits and have ended what runs. Raises OrderRefused; then nothing changed."""
        with self._transaction():
            orders.cancel(self._connection, job_id, why, as_text(now))
            self._end_job_if_done(job_id, now)

    def note(self, drop_id: int, text: str, now: datetime) -> None:
        """Write down what came of an order, for the status of its manifest."""
        with self._transaction():
            self._do("UPDATE drops SET note = ?, updated = ? WHERE drop_id = ?", (text, as_text(now), drop_id))

    def untold(self, now: datetime) -> list[Untold]:
        """Return the drops whose status beside the manifest is to be written now."""
        rows = self._all(
            f"SELECT drop_id, changes FROM drops WHERE changes > told AND {is_due('tell_at')} ORDER BY drop_id",
            until(now),
        )
        return [Untold(row["drop_id"], row["changes"]) for row in rows]

    def told(self, untold: Untold, now: datetime) -> None:
        """Write down that the status beside the manifest is as of ``untold.changes``."""
        with self._transaction():
            jobs = self._number("SELECT count(*) FROM jobs WHERE drop_id = ?", (untold.drop_id,))
            pause = timedelta(seconds=max(PROGRESS_SECONDS, jobs * PROGRESS_SECONDS_PER_JOB))
            self._do(
                "UPDATE drops SET told = ?, tell_tries = 0, tell_error = NULL,"
                " tell_at = iif(state IN ('accepted', 'running'), ?, NULL) WHERE drop_id = ?",
                (untold.changes, as_text(now + min(pause, LONGEST_WAIT)), untold.drop_id),
            )

    def not_told(self, untold: Untold, error: str, now: datetime) -> None:
        """Write down that the status could not be written; it is tried again after a wait that grows."""
        with self._transaction():
            tries = self._number("SELECT tell_tries FROM drops WHERE drop_id = ?", (untold.drop_id,))
            self._do(
                "UPDATE drops SET tell_tries = tell_tries + 1, tell_error = ?, tell_at = ? WHERE drop_id = ?",
                (error, as_text(now + backoff(tries)), untold.drop_id),
            )

    def due_mails(self, now: datetime) -> list[DueMail]:
        """Return the mails to send now, oldest first, not too many at once."""
        rows = self._all(
            f"SELECT * FROM outbox WHERE sent IS NULL AND {is_due('send_at')} ORDER BY mail_id LIMIT {MAILS_AT_ONCE}",
            until(now),
        )
        return [DueMail(self._mail(row), row["tries"]) for row in rows]

    def mailing(self, mails: Sequence[Mail], now: datetime) -> None:
        """Write down that mails are about to be sent; without any word of them they are due again after a while."""
        with self._transaction():
            until = as_text(now + LONGEST_WAIT)
            for mail in mails:
                self._do("UPDATE outbox SET send_at = ? WHERE mail_id = ?", (until, mail.mail_id))

    def mailed(self, mail: Mail, now: datetime) -> None:
        """Write down that a mail is out."""
        with self._transaction():
            self._do("UPDATE outbox SET sent = ?, error = NULL WHERE mail_id = ?", (as_text(now), mail.mail_id))

    def never_mailed(self, mail: Mail, trouble: str, now: datetime) -> None:
        """Write down that nobody will ever take a mail; the job's status says it, and it is not tried again."""
        with self._transaction():
            at = as_text(now)
            self._do("UPDATE outbox SET sent = ?, error = ? WHERE mail_id = ?", (at, trouble, mail.mail_id))
            task = "send_job_start_email" if mail.kind == "begin" else "send_job_end_email"
            self._do(
                "UPDATE tasks SET message = ?, updated = ? WHERE job_id = ? AND task_id = ?",
                (trouble, at, mail.job_id, task),
            )

    def not_mailed(self, mail: Mail, error: str, now: datetime) -> None:
        """Write down that a mail could not be sent; it is tried again after a wait that grows."""
        with self._transaction():
            tries = self._number("SELECT tries FROM outbox WHERE mail_id = ?", (mail.mail_id,))
            wait = backoff(tries) * _spread(mail.mail_id, tries)
            self._do(
                "UPDATE outbox SET tries = tries + 1, error = ?, send_at = ? WHERE mail_id = ?",
                (error, as_text(now + wait), mail.mail_id),
            )

    def answers_here(self, inbox: Path) -> None:
        """Let be tried at once what failed because another agent answered in an inbox."""
        with self._transaction():
            self._do(
                "UPDATE drops SET tell_at = NULL, tell_tries = 0 WHERE tell_tries > 0 AND inbox = ?", (str(inbox),)
            )
            self._do(
                "UPDATE outbox SET send_at = NULL, tries = 0 WHERE sent IS NULL AND tries > 0"
                " AND drop_id IN (SELECT drop_id FROM drops WHERE inbox = ?)",
                (str(inbox),),
            )

    def _name_it(self, now: datetime) -> None:
        with self._transaction():
            if self._one("SELECT 1 FROM ledger") is None:
                self._do("INSERT INTO ledger VALUES (?, ?)", (uuid.uuid4().hex, as_text(now)))

    def _wait_no_longer(self) -> None:
        """Whoever starts the agent again has mended something: what failed before is tried at once."""
        with self._transaction():
            self._do("UPDATE drops SET tell_at = NULL, tell_tries = 0 WHERE changes > told AND tell_tries > 0")
            # Also the mails that were under way: they may be out, and are the same mail when they are sent again.
            self._do("UPDATE outbox SET send_at = NULL, tries = 0 WHERE sent IS NULL")
            self._do("UPDATE attempts SET try_at = NULL, tries = 0 WHERE state = 'submitting' AND tries > 0")


def _spread(*facts: int) -> float:
    """Return 0.75 to 1, by chance and always the same: what failed together is not tried again all at once."""
    return 1 - zlib.crc32(repr(facts).encode()) / 2**32 / 4
