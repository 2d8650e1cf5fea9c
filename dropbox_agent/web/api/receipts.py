"""What was submitted through the API, on the agent's own disk: the intent first, and when the file was in the inbox.

A request that is sent twice under one key is answered twice and carried out once, also when the service was killed
between writing the file and answering.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dropbox_agent.errors import LedgerUnavailable

KEPT = timedelta(days=30)
"""How long a key is remembered."""
BUSY_SECONDS = 10
TABLE = """
CREATE TABLE IF NOT EXISTS receipts (
    manifest  TEXT PRIMARY KEY,   -- the file's name in the inbox; it follows from submitter and key
    submitter TEXT NOT NULL,
    digest    TEXT NOT NULL,      -- sha256 of the request as it was sent
    content   BLOB NOT NULL,      -- the manifest
    jobs      TEXT NOT NULL,      -- JSON: [[job_id, s3_prefix], ...]
    made      TEXT NOT NULL,      -- ISO 8601, UTC
    placed    TEXT                -- when it was in the inbox; NULL: intended, it has to be looked for
)
"""


@dataclass(frozen=True)
class Receipt:
    """One request that was taken."""

    manifest: str
    submitter: str
    digest: str
    content: bytes
    jobs: tuple[tuple[str, str], ...]
    """(job_id, s3_prefix) of each job."""
    made: datetime
    placed: datetime | None = None

    @property
    def job_ids(self) -> tuple[str, ...]:
        return tuple(job_id for job_id, _ in self.jobs)


class Receipts:
    """The store. Several threads, and several processes, may use it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def find(self, manifest: str) -> Receipt | None:
        """Return the receipt of a manifest, or None."""
        with self._opened() as connection:
            row = connection.execute("SELECT * FROM receipts WHERE manifest = ?", (manifest,)).fetchone()
        return None if row is None else _receipt(row)

    def intend(self, receipt: Receipt) -> Receipt:
        """Write down what is about to be placed; return what is written down, which another one may have been first to.

        What is older than ``KEPT`` is forgotten.
        """
        with self._opened() as connection:
            connection.execute("DELETE FROM receipts WHERE made < ?", (_text(receipt.made - KEPT),))
            connection.execute(
                "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (receipt.manifest, receipt.submitter, receipt.digest, receipt.content, json.dumps(receipt.jobs),
                 _text(receipt.made)),
            )  # fmt: skip
            row = connection.execute("SELECT * FROM receipts WHERE manifest = ?", (receipt.manifest,)).fetchone()
        return _receipt(row)

    def placed(self, manifest: str, now: datetime) -> None:
        """Write down that a manifest is in the inbox, or was."""
        with self._opened() as connection:
            connection.execute("UPDATE receipts SET placed = ? WHERE manifest = ?", (_text(now), manifest))

    def announced(self, job_id: str) -> Receipt | None:
        """Return the receipt that told this job's id, or None."""
        with self._opened() as connection:
            rows = connection.execute(
                "SELECT receipts.* FROM receipts, json_each(receipts.jobs) WHERE json_extract(value, '$[0]') = ?",
                (job_id,),
            ).fetchall()
        return _receipt(rows[0]) if rows else None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, for one thread at a time and in one transaction."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _connected(self._path)
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise LedgerUnavailable(
                    f"The receipts of submissions ({self._path}) cannot be used: {error}. Nothing is taken till then."
                ) from error


def _connected(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # What people submitted is theirs: nobody else reads it.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE)
    return connection


def _receipt(row: Any) -> Receipt:
    placed = row["placed"]
    return Receipt(
        manifest=row["manifest"],
        submitter=row["submitter"],
        digest=row["digest"],
        content=row["content"],
        jobs=tuple((job_id, s3_prefix) for job_id, s3_prefix in json.loads(row["jobs"])),
        made=datetime.fromisoformat(row["made"]),
        placed=None if placed is None else datetime.fromisoformat(placed),
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
