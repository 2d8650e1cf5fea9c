"""Write down which folders the inboxes are, and which of their files are waited for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dropbox_agent.errors import InboxUnavailable, MoveRefused
from dropbox_agent.ledger.write import Writer


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
        for table in ("drops", "seen", "settling"):
            self._do(f"UPDATE {table} SET inbox = ? WHERE inbox = ?", (after, before))

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

    def tell_again(self, drop_id: int) -> None:
        """Have the status of a drop written once more, although nothing has changed."""
        with self._transaction():
            self._tell_again(drop_id)

    def _tell_again(self, drop_id: int) -> None:
        self._do("UPDATE drops SET changes = changes + 1, tell_at = NULL WHERE drop_id = ?", (drop_id,))
