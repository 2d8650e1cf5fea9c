"""What must always be true of a ledger, asked of it from outside: for ``dropbox-agent fsck``, and for the tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from dropbox_agent.ledger.attempts import NOT_RUN
from dropbox_agent.ledger.database import as_text, fetch, open_for_reading
from dropbox_agent.ledger.read import LATEST

LIVE = "('submitting', 'submitted', 'running')"
FINAL = "('succeeded', 'failed', 'skipped', 'cancelled')"
RULES: Mapping[str, str] = {
    "{what} was accepted, and has no job.": (
        "SELECT name AS what FROM drops WHERE state <> 'refused' AND NOT EXISTS"
        " (SELECT 1 FROM jobs WHERE jobs.drop_id = drops.drop_id)"
    ),
    "{what} was refused, and has a job.": (
        "SELECT name AS what FROM drops WHERE state = 'refused' AND EXISTS"
        " (SELECT 1 FROM jobs WHERE jobs.drop_id = drops.drop_id)"
    ),
    "{what} has no task.": (
        "SELECT job_id AS what FROM jobs WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.job_id = jobs.job_id)"
    ),
    "{what} has ended, and has a task that has not.": (
        "SELECT DISTINCT job_id AS what FROM jobs JOIN tasks USING (job_id)"
        f" WHERE jobs.state NOT IN ('accepted', 'running') AND tasks.state NOT IN {FINAL}"
    ),
    "{what} succeeded, and has a task that failed or was cancelled.": (
        "SELECT DISTINCT job_id AS what FROM jobs JOIN tasks USING (job_id)"
        " WHERE jobs.state = 'succeeded' AND tasks.state IN ('failed', 'cancelled')"
    ),
    "{what} has ended, and has an attempt that may still run.": (
        "SELECT DISTINCT job_id AS what FROM jobs JOIN attempts USING (job_id)"
        f" WHERE jobs.state NOT IN ('accepted', 'running') AND attempts.state IN {LIVE}"
    ),
    "{what} is live, and nothing of it can ever move.": (
        "SELECT job_id AS what FROM jobs WHERE state IN ('accepted', 'running') AND NOT EXISTS"
        f" (SELECT 1 FROM attempts WHERE attempts.job_id = jobs.job_id AND attempts.state IN {LIVE})"
        " AND job_id NOT IN (SELECT job_id FROM ready)"
    ),
    "{what} was not run because of a task that ended well, or has not ended.": (
        f"SELECT job_id || '/' || key AS what FROM tasks WHERE state = 'cancelled' AND message LIKE '{NOT_RUN} %'"
        " AND NOT EXISTS (SELECT 1 FROM needs JOIN tasks AS needed ON needed.job_id = needs.job_id"
        " AND needed.key = needs.needed WHERE needs.job_id = tasks.job_id AND needs.key = tasks.key"
        " AND needed.state IN ('failed', 'cancelled'))"
    ),
    "{what} moved on from a state that it was not in.": (
        "SELECT kind || ' ' || id AS what FROM (SELECT kind, id, from_state,"
        " lag(to_state) OVER (PARTITION BY kind, id ORDER BY history_id) AS before FROM history)"
        " WHERE before IS NOT NULL AND from_state IS NOT before"
    ),
    "{what} made a move that there is not.": (
        "SELECT kind || ' ' || id AS what FROM history WHERE from_state IS NOT NULL AND NOT EXISTS (SELECT 1 FROM moves"
        " WHERE moves.kind IN (history.kind, history.kind || ' retry') AND moves.from_state = history.from_state"
        " AND moves.to_state = history.to_state)"
    ),
    "{what} is not in the state that its last move led to.": (
        "WITH last AS (SELECT kind, id, to_state FROM history WHERE history_id IN"
        " (SELECT max(history_id) FROM history GROUP BY kind, id))"
        " SELECT kind || ' ' || id AS what FROM last JOIN jobs ON kind = 'job' AND id = job_id AND to_state <> state"
        " UNION SELECT kind || ' ' || id FROM last JOIN drops ON kind = 'drop' AND id = drop_id AND to_state <> state"
        " UNION SELECT kind || ' ' || id FROM last"
        " JOIN attempts ON kind = 'attempt' AND id = attempt_key AND to_state <> state"
        " UNION SELECT kind || ' ' || id FROM last"
        " JOIN tasks ON kind = 'task' AND id = job_id || '/' || key AND to_state <> state"
    ),
}
"""What is said of whatever breaks a rule -> the question that finds it."""


class Audit:
    """A ledger, looked at by somebody who does not believe it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def of(cls, path: Path) -> Audit:
        """Return the audit of the ledger at ``path``. Raises LedgerUnavailable when there is none."""
        return cls(open_for_reading(path))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @property
    def ledger_id(self) -> str:
        """The name of the ledger."""
        return str(self._rows("SELECT ledger_id FROM ledger")[0]["ledger_id"])

    def damage(self) -> list[str]:
        """Return what SQLite itself finds wrong with the file."""
        found = [str(row[0]) for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]
        return [
            *found,
            *(f"A row of {row[0]} names what is not there." for row in self._rows("PRAGMA foreign_key_check")),
        ]

    def broken_rules(self) -> Iterator[tuple[str, str]]:
        """Yield (what, sentence) for everything that is not as it must be."""
        for sentence, question in RULES.items():
            for row in self._rows(question):
                yield str(row["what"]), sentence.format(what=row["what"])

    def contents(self, since: datetime | None = None) -> dict[str, str]:
        """Return sha256 -> manifest of all that was taken, but of what was over before a time."""
        kept = "state IN ('accepted', 'running') OR updated >= ?"
        rows = self._rows(
            f"SELECT sha256, name FROM drops WHERE {kept} ORDER BY drop_id", as_text(since) if since else ""
        )
        return {row["sha256"]: row["name"] for row in rows}

    def job_ids(self) -> list[str]:
        """Return every job."""
        return [row["job_id"] for row in self._rows("SELECT job_id FROM jobs ORDER BY created, position")]

    def attempt_keys(self, job_id: str) -> frozenset[str]:
        """Return the keys of a job's attempts."""
        rows = self._rows("SELECT attempt_key FROM attempts WHERE job_id = ?", job_id)
        return frozenset(row["attempt_key"] for row in rows)

    def told_in(self, inbox: Path) -> list[tuple[int, str, str]]:
        """Return (drop, manifest, state) of those whose status beside them says all that the ledger knows."""
        rows = self._rows(
            f"SELECT drop_id, name, state FROM drops WHERE inbox = ? AND changes = told AND {LATEST} AND NOT EXISTS"
            " (SELECT 1 FROM settling WHERE settling.inbox = drops.inbox AND settling.name = drops.name)",
            str(inbox),
        )
        return [(row["drop_id"], row["name"], row["state"]) for row in rows]

    def _rows(self, question: str, *values: str) -> list[sqlite3.Row]:
        return fetch(self._connection, question, values)
