"""Hold the ledger: one process at a time, one transaction for each thing that happened."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropbox_agent.errors import LedgerInUse, LedgerUnavailable, MoveRefused
from dropbox_agent.ledger.read import Reader

OUTER = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
INNER = ("SAVEPOINT inner", "RELEASE inner", ("ROLLBACK TO inner", "RELEASE inner"))
"""How a transaction begins, ends, and is undone. A savepoint that was rolled back to is still there: let go of."""


class Writer(Reader):
    """The ledger, open for writing. One process at a time may hold it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, work_dir: Path, lock: int) -> None:
        super().__init__(connection, work_dir)
        self.path = path
        self._lock: int | None = lock
        self._records = False

    def close(self) -> None:
        """Let go of the file; another agent may open it."""
        super().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Record all that is done meanwhile, or nothing; within another transaction, with what that one records."""
        # Not whether SQLite is in one: what was left open by a failure would never end, and all later be lost with it.
        within, self._records = self._records, True
        begin, end, undo = INNER if within else OUTER
        try:
            self._connection.execute(begin)
            try:
                yield
                self._connection.execute(end)
            except BaseException:
                # After some errors SQLite has rolled back by itself; after others (COMMIT on a full disk) it has not.
                for act in undo if self._connection.in_transaction else ():
                    self._connection.execute(act)
                raise
        except sqlite3.IntegrityError as error:
            raise MoveRefused(f"The ledger refused a move: {error}. Nothing of it was recorded.") from error
        except sqlite3.Error as error:
            raise LedgerUnavailable(
                f"The ledger {self.path} could not be written: {error}. Nothing is taken in until it can."
            ) from error
        finally:
            self._records = within

    def _do(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, [_storable(value) for value in values])


def _storable(value: Any) -> Any:
    """Return text without lone surrogates (they come from file names that are not UTF-8), which SQLite refuses."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def lock_or_refuse(path: Path) -> int:
    """Return the lock on a ledger. Raises LedgerInUse when another agent has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger's folder {path.parent} cannot be written: {error.strerror}. Set state_dir to one that can."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise LedgerInUse(
            f"Another agent works on {path} (it holds {path.with_suffix('.lock')}). Stop it first, or leave it to work."
        ) from error
    return lock
