"""Open the SQLite file, make or migrate its tables, and turn times into text and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from dropbox_agent.errors import LedgerUnavailable

SCHEMA_VERSION = 7
"""``PRAGMA user_version`` of the ledgers this code writes; ``migrations/to_N.sql`` leads from N - 1 to N."""
Values = Sequence[Any] | Mapping[str, Any]
BUSY_SECONDS = 30
BACKOFF_SECONDS = (2.0, 5.0, 15.0, 60.0, 300.0)
"""How long to wait after the first, second, ... failure of the same act."""
LONGEST_WAIT = timedelta(seconds=300)
"""No act is put off for longer. A time further ahead was written before the clock went back."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Return a connection to the ledger at ``path``, made if it is not there and migrated if it is older."""
    with _opening(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _bring_up_to_date(connection, path)
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write. Raises LedgerUnavailable when there is no ledger, or a newer one."""
    if not path.is_file():
        raise LedgerUnavailable(
            f"There is no ledger at {path}. 'dropbox-agent init' or 'dropbox-agent adopt' makes one."
        )
    with _opening(path) as connection:
        connection.execute("PRAGMA query_only = ON")
        version = _version(connection)
        if version != SCHEMA_VERSION:
            raise LedgerUnavailable(_version_sentence(path, version))
    return connection


@contextmanager
def _opening(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that stays open, unless what is done with it first goes wrong."""
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise LedgerUnavailable(
                f"The ledger {path} cannot be opened: {error}. Nothing is taken in until it can."
            ) from error
        raise


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise LedgerUnavailable(_version_sentence(path, version))
    if version == 0:
        _run(connection, _script("schema.sql"), SCHEMA_VERSION)
        return
    for step in range(version + 1, SCHEMA_VERSION + 1):
        _run(connection, _script("migrations", f"to_{step}.sql"), step)


def _script(*path: str) -> str:
    return resources.files(__package__).joinpath(*path).read_text("utf-8")


def _run(connection: sqlite3.Connection, script: str, version: int) -> None:
    connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {version};\nCOMMIT;")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _version_sentence(path: Path, version: int) -> str:
    return (
        f"The ledger {path} has schema {version}, this program knows schema {SCHEMA_VERSION}. "
        "Start the agent of the newer version; nothing was changed."
    )


def fetch(connection: sqlite3.Connection, sql: str, values: Values = ()) -> list[sqlite3.Row]:
    """Return the rows a query finds. Raises LedgerUnavailable."""
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"The ledger could not be read: {error}. It is tried again.") from error


def as_text(moment: datetime) -> str:
    """Return ``2026-01-31T12:00:00.000000Z``; texts of this form sort as the times do."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_due(column: str) -> str:
    """Return the SQL that says whether the time in a column has come; its values are those of ``until``."""
    return f"({column} IS NULL OR {column} <= :now OR {column} > :horizon)"


def until(now: datetime) -> dict[str, str]:
    """Return the values of ``is_due``."""
    return {"now": as_text(now), "horizon": as_text(now + LONGEST_WAIT)}


def as_time(text: str) -> datetime:
    """Return the time of a text that ``as_text`` made."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def as_time_or_none(text: str | None) -> datetime | None:
    """Return the time, or None for None."""
    return None if text is None else as_time(text)


def backoff(tries: int) -> timedelta:
    """Return how long to wait after ``tries`` earlier failures."""
    return timedelta(seconds=BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)])
