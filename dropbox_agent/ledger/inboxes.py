"""Write down which folders the inboxes are, and which of their files are waited for."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dropbox_agent.errors import InboxUnavailable, MoveRefused
from dropbox_agent.ledger.database import as_text, as_time
from dropbox_agent.ledger.read import LATEST
from dropbox_agent.ledger.write import Writer

IS_OVER = "drops.state NOT IN ('accepted', 'running') AND drops.updated < ?"


@dataclass(frozen=True)
class Over:
    """A manifest of which nothing is left to do or to tell."""

    drop_id: int
    inbox: Path
    name: str
    sha256: str
    updated: datetime
    succeeded: tuple[str, ...]
    """Its jobs that succeeded."""
    mails: tuple[tuple[int, str], ...]
    """Number and kind of each mail about any version of it."""


class Inboxes(Writer):
    """The watched folders, as their markers name them."""

    def bind(self, inbox_id: str, path: Path, watched: Collection[Path]) -> None:
        """Note where an inbox is; what is known of the files of one that moved goes with it.

        Raises InboxUnavailable for a copy of an inbox that is watched as well, or that would hide another's files.
        """
        known = self._one("SELECT path FROM inboxes WHERE inbox_id = ?", (inbox_id,))
        if known is not None and known["path"] == str(path):
            return
        if known is not None and Path(known["path"]) in watched:
            raise InboxUnavailable(
                f"The inbox {path} has the marker of {known['path']}, which is watched too: it is a copy of it. "
                f"Say what to do with the files in it: dropbox-agent adopt {path} --baseline seen|process"
            )
        try:
            with self._transaction():
                if known is not None:
                    self._move(known["path"], str(path))
                self._do("DELETE FROM inboxes WHERE path = ? OR inbox_id = ?", (str(path), inbox_id))
                self._do("INSERT INTO inboxes VALUES (?, ?)", (inbox_id, str(path)))
        except MoveRefused as error:
            raise InboxUnavailable(
                f"The inbox {path} was {known['path'] if known else 'another'} before, and the ledger knows other "
                f"files of {path} by the same names. Say what to do with the files in it: dropbox-agent adopt {path} "
                "--baseline seen|process"
            ) from error

    def _move(self, before: str, after: str) -> None:
        for table in ("drops", "seen", "settling", "asked"):
            self._do(f"UPDATE {table} SET inbox = ? WHERE inbox = ?", (after, before))

    def over(self, before: datetime) -> list[Over]:
        """Return the manifests of which nothing has been left to do or to tell since a time."""
        rows = self._all(
            f"SELECT * FROM drops WHERE {LATEST} AND {IS_OVER} AND changes = told AND NOT EXISTS"
            " (SELECT 1 FROM outbox WHERE outbox.drop_id = drops.drop_id AND sent IS NULL)",
            (as_text(before),),
        )
        return [self._over(row) for row in rows]

    def _over(self, row: sqlite3.Row) -> Over:
        jobs = self._all("SELECT job_id FROM jobs WHERE drop_id = ? AND state = 'succeeded'", (row["drop_id"],))
        mails = self._all(
            "SELECT number, kind FROM outbox JOIN drops USING (drop_id) WHERE inbox = ? AND name = ?",
            (row["inbox"], row["name"]),
        )
        return Over(
            drop_id=row["drop_id"],
            inbox=Path(row["inbox"]),
            name=row["name"],
            sha256=row["sha256"],
            updated=as_time(row["updated"]),
            succeeded=tuple(job["job_id"] for job in jobs),
            mails=tuple((mail["number"], mail["kind"]) for mail in mails),
        )

    def contents_recorded(self) -> frozenset[str]:
        """Return the sha256 of every content that was ever taken."""
        return frozenset(row["sha256"] for row in self._all("SELECT DISTINCT sha256 FROM drops", ()))

    def contents_needed(self, before: datetime) -> frozenset[str]:
        """Return the sha256 of every content that was taken, but of those that have been over since a time."""
        rows = self._all(f"SELECT sha256 FROM drops WHERE NOT ({IS_OVER})", (as_text(before),))
        return frozenset(row["sha256"] for row in rows)

    def settling(self, inbox: Path) -> frozenset[str]:
        """Return the files of which was told that they are waited for."""
        return frozenset(row["name"] for row in self._all("SELECT name FROM settling WHERE inbox = ?", (str(inbox),)))

    def settles(self, inbox: Path, name: str) -> None:
        """Write down that a file is about to be told of as waited for."""
        with self._transaction():
            self._do("INSERT OR IGNORE INTO settling VALUES (?, ?)", (str(inbox), name))

    def settles_no_more(self, inbox: Path, name: str) -> None:
        """Write down that a file is not waited for any more; what is known of it is told again."""
        with self._transaction():
            self._do("DELETE FROM settling WHERE inbox = ? AND name = ?", (str(inbox), name))
            latest = self._one(
                "SELECT drop_id FROM drops WHERE inbox = ? AND name = ? ORDER BY version DESC LIMIT 1",
                (str(inbox), name),
            )
            if latest is not None:
                self._tell_again(latest["drop_id"])

    def tell_again(self, drop_id: int, now: datetime | None = None) -> None:
        """Have the status of a drop written once more; ``now``: somebody brought it back, so it is not over yet."""
        with self._transaction():
            self._tell_again(drop_id)
            if now is not None:
                self._do("UPDATE drops SET updated = ? WHERE drop_id = ?", (as_text(now), drop_id))

    def _tell_again(self, drop_id: int) -> None:
        self._do("UPDATE drops SET changes = changes + 1, tell_at = NULL WHERE drop_id = ?", (drop_id,))
