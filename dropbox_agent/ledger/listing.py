"""Read lists out of the ledger, however long it is: searched, sorted and cut by SQLite, without reading any plan."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from dropbox_agent.ledger.database import as_time, as_time_or_none, fetch, open_for_reading
from dropbox_agent.ledger.read import LATEST
from dropbox_agent.model import (
    AttemptLine,
    Choices,
    DropLine,
    DropSearch,
    JobLine,
    JobOrder,
    JobSearch,
    Level,
    Move,
    ProjectLine,
)
from dropbox_agent.states import AttemptState, DropState, JobState

LISTED = "FROM jobs INDEXED BY jobs_listed"
"""Never the table itself: see the index."""
SEARCHED = ("s3_prefix", "job_id", "subject_id", "project_name", "job_type", "user_email")
SORTED: Mapping[JobOrder, str] = {
    "submitted": "created",
    "job": "s3_prefix",
    "state": "state",
    "subject": "subject_id",
    "project": "project_name",
    "job_type": "job_type",
    "user": "user_email",
}
RECENT_JOBS = 2000
"""How many of the newest jobs are asked for the names to choose from."""
CHUNK = 500
"""How many jobs are read at a time where all are wanted."""


class Lists:
    """Lists of what stands in a ledger, as of the moment of each call."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def of(cls, path: Path) -> Lists:
        """Return the lists of the ledger at ``path``. Raises LedgerUnavailable when there is none."""
        return cls(open_for_reading(path))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # --- jobs --------------------------------------------------------------------------------------------------------

    def jobs(self, search: JobSearch, limit: int, offset: int = 0) -> list[JobLine]:
        """Return the jobs that are searched for, in the order asked for."""
        where, values = _jobs_where(search)
        found = self._rows(
            "SELECT job_id, s3_prefix, state, subject_id, project_name, job_type, platform, modalities, user_email,"
            f" bucket, acq_datetime, created, started, ended, drop_id, row {LISTED} WHERE {where}"
            f" ORDER BY {_order(search)} LIMIT :limit OFFSET :offset",
            {**values, "limit": limit, "offset": offset},
        )
        tasks = self._done([row["job_id"] for row in found])
        names = self._names({row["drop_id"] for row in found})
        return [_job_line(row, names, tasks) for row in found]

    def every_job(self, search: JobSearch, limit: int) -> Iterator[JobLine]:
        """Yield the jobs that are searched for, up to ``limit``, without holding them all."""
        for offset in range(0, limit, CHUNK):
            found = self.jobs(search, min(CHUNK, limit - offset), offset)
            yield from found
            if len(found) < CHUNK:
                return

    def count_jobs(self, search: JobSearch | None = None) -> Mapping[JobState, int]:
        """Return how many of the jobs that are searched for are in each state, whatever states are asked for."""
        where, values = _jobs_where(search or JobSearch(), states=False)
        rows = self._rows(f"SELECT state, count(*) AS n {LISTED} WHERE {where} GROUP BY state", values)
        return dict.fromkeys(JobState, 0) | {JobState(row["state"]): row["n"] for row in rows}

    def days(self, search: JobSearch, since: date) -> Mapping[date, Mapping[JobState, int]]:
        """Return for each day (UTC) since then how many jobs were submitted on it, by state; days without are left."""
        where, values = _jobs_where(search)
        rows = self._rows(
            f"SELECT substr(created, 1, 10) AS day, state, count(*) AS n {LISTED}"
            f" WHERE created >= :first_day AND {where} GROUP BY day, state",
            {**values, "first_day": since.isoformat()},
        )
        found: dict[date, dict[JobState, int]] = {}
        for row in rows:
            found.setdefault(date.fromisoformat(row["day"]), {})[JobState(row["state"])] = row["n"]
        return found

    def job_types(self, since: date) -> Mapping[str, Mapping[JobState, int]]:
        """Return for each job type how many jobs were submitted since that day (UTC), by state."""
        rows = self._rows(
            f"SELECT job_type, state, count(*) AS n {LISTED} WHERE created >= ? GROUP BY job_type, state"
            " ORDER BY job_type COLLATE NOCASE",
            (since.isoformat(),),
        )
        found: dict[str, dict[JobState, int]] = {}
        for row in rows:
            found.setdefault(row["job_type"], {})[JobState(row["state"])] = row["n"]
        return found

    def choices(self) -> Choices:
        """Return what the newest jobs name."""
        rows = self._rows(
            f"SELECT user_email, project_name, job_type, modalities {LISTED} ORDER BY created DESC LIMIT ?",
            (RECENT_JOBS,),
        )
        modalities = chain.from_iterable(json.loads(text) for text in {row["modalities"] for row in rows})
        return Choices(
            users=_each(row["user_email"] for row in rows),
            projects=_each(row["project_name"] for row in rows),
            job_types=_each(row["job_type"] for row in rows),
            modalities=_each(modalities),
        )

    def projects(self) -> list[ProjectLine]:
        """Return every project that has jobs, by name."""
        rows = self._rows(
            f"SELECT project_name, state, count(*) AS n, max(created) AS latest {LISTED}"
            " GROUP BY project_name, state ORDER BY project_name COLLATE NOCASE"
        )
        found: dict[str, list[sqlite3.Row]] = {}
        for row in rows:
            found.setdefault(row["project_name"], []).append(row)
        return [
            ProjectLine(name, {JobState(r["state"]): r["n"] for r in of_it}, as_time(max(r["latest"] for r in of_it)))
            for name, of_it in found.items()
        ]

    # --- one job -----------------------------------------------------------------------------------------------------

    def moves(self, job_id: str) -> list[Move]:
        """Return the history of a job, its tasks and its attempts, oldest first."""
        rows = self._rows(
            "SELECT * FROM history WHERE (kind = 'job' AND id = :job)"
            " OR (kind = 'task' AND id >= :job || '/' AND id < :job || '0')"
            " OR (kind = 'attempt' AND id IN (SELECT attempt_key FROM attempts WHERE job_id = :job))"
            " ORDER BY history_id",
            {"job": job_id},
        )
        return [
            Move(
                as_time(row["at"]),
                row["kind"],
                row["id"].removeprefix(f"{job_id}/") if row["kind"] == "task" else row["id"],
                row["from_state"],
                row["to_state"],
                row["message"],
            )
            for row in rows
        ]

    def attempts(self, job_id: str) -> list[AttemptLine]:
        """Return every try at running a part of a job, oldest first."""
        inside: dict[int, list[str]] = {}
        for row in self._rows(
            "SELECT allocation, key FROM tasks WHERE job_id = ? AND allocation NOT NULL ORDER BY position", (job_id,)
        ):
            inside.setdefault(row["allocation"], []).append(row["key"])
        rows = self._rows(
            "SELECT attempts.*, resources, cause, node, elapsed_seconds, max_rss_bytes FROM attempts"
            " LEFT JOIN attempt_facts USING (attempt_key) WHERE job_id = ? ORDER BY created, allocation, number",
            (job_id,),
        )
        return [_attempt_line(row, inside.get(row["allocation"], [])) for row in rows]

    def attempt_key(self, job_id: str, key: str, number: int) -> str | None:
        """Return which attempt was the ``number``-th try at a task of a job, or None."""
        rows = self._rows(
            "SELECT attempt_key FROM attempts JOIN tasks USING (job_id, allocation)"
            " WHERE job_id = ? AND key = ? AND number = ?",
            (job_id, key, number),
        )
        return str(rows[0]["attempt_key"]) if rows else None

    # --- manifests ---------------------------------------------------------------------------------------------------

    def drops(self, search: DropSearch, limit: int, offset: int = 0) -> list[DropLine]:
        """Return the latest version of each manifest that is searched for, newest first."""
        where, values = _drops_where(search)
        rows = self._rows(
            f"SELECT * FROM drops WHERE {where} AND {LATEST} ORDER BY drop_id DESC LIMIT :limit OFFSET :offset",
            {**values, "limit": limit, "offset": offset},
        )
        return self._drop_lines(rows)

    def drop(self, drop_id: int) -> DropLine | None:
        """Return one version of a manifest, or None."""
        return next(iter(self._drop_lines(self._rows("SELECT * FROM drops WHERE drop_id = ?", (drop_id,)))), None)

    def versions(self, drop_id: int) -> list[DropLine]:
        """Return every version of the manifest that a drop is one of, newest first."""
        rows = self._rows(
            "SELECT drops.* FROM drops JOIN drops AS this ON this.inbox = drops.inbox AND this.name = drops.name"
            " WHERE this.drop_id = ? ORDER BY drops.version DESC",
            (drop_id,),
        )
        return self._drop_lines(rows)

    def count_drops(self, search: DropSearch | None = None) -> Mapping[DropState, int]:
        """Return how many manifests are in each state, whatever states are asked for."""
        where, values = _drops_where(search or DropSearch(), states=False)
        rows = self._rows(f"SELECT state, count(*) AS n FROM drops WHERE {where} AND {LATEST} GROUP BY state", values)
        counts = {state: 0 for state in DropState if state is not DropState.SETTLING}
        return counts | {DropState(row["state"]): row["n"] for row in rows}

    # --- details -----------------------------------------------------------------------------------------------------

    def _done(self, job_ids: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return how many tasks of each job are done, and how many it has; skipped ones are none."""
        rows = self._rows(
            "SELECT job_id, total(state != 'skipped') AS total, total(state = 'succeeded') AS done FROM tasks"
            " WHERE job_id IN (SELECT value FROM json_each(?)) GROUP BY job_id",
            (json.dumps(job_ids),),
        )
        return {row["job_id"]: (int(row["done"]), int(row["total"])) for row in rows}

    def _names(self, drop_ids: Iterable[int]) -> Mapping[int, str]:
        rows = self._rows(
            "SELECT drop_id, name FROM drops WHERE drop_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(drop_ids)),),
        )
        return {row["drop_id"]: row["name"] for row in rows}

    def _drop_lines(self, rows: Sequence[sqlite3.Row]) -> list[DropLine]:
        counted = self._rows(
            "SELECT drop_id, state, count(*) AS n FROM jobs INDEXED BY jobs_of_drop"
            " WHERE drop_id IN (SELECT value FROM json_each(?)) GROUP BY drop_id, state",
            (json.dumps([row["drop_id"] for row in rows]),),
        )
        jobs: dict[int, dict[JobState, int]] = {}
        for row in counted:
            jobs.setdefault(row["drop_id"], {})[JobState(row["state"])] = row["n"]
        return [_drop_line(row, jobs.get(row["drop_id"], {})) for row in rows]

    def _rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        return fetch(self._connection, sql, values)


# --- what is searched for ------------------------------------------------------------------------------------------


def _jobs_where(search: JobSearch, states: bool = True) -> tuple[str, dict[str, Any]]:
    """Return the condition and its values."""
    conditions, values = ["1"], {}
    for number, word in enumerate(search.words):
        name = f"word{number}"
        conditions.append(_anywhere(name))
        values[name] = like(word)
    for column, part in (
        ("user_email", search.user),
        ("project_name", search.project),
        ("subject_id", search.subject),
    ):
        if part:
            conditions.append(f"{column} LIKE :{column} ESCAPE '\\'")
            values[column] = like(part)
    if search.modality:
        conditions.append("modalities LIKE :modality ESCAPE '\\'")
        values["modality"] = like(json.dumps(search.modality))
    more, exact = _exactly(search, states)
    return " AND ".join([*conditions, *more]), {**values, **exact}


def _anywhere(name: str) -> str:
    in_job = " OR ".join(f"{column} LIKE :{name} ESCAPE '\\'" for column in SEARCHED)
    return f"({in_job} OR drop_id IN (SELECT drop_id FROM drops WHERE name LIKE :{name} ESCAPE '\\'))"


def _exactly(search: JobSearch, states: bool) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    if search.states and states:
        conditions.append("state IN (SELECT value FROM json_each(:states))")
        values["states"] = json.dumps([state.value for state in search.states])
    if search.job_type:
        conditions.append("job_type = :job_type")
        values["job_type"] = search.job_type
    if search.drop_id is not None:
        conditions.append("drop_id = :drop_id")
        values["drop_id"] = search.drop_id
    if search.since is not None:
        conditions.append("created >= :since")
        values["since"] = search.since.isoformat()
    if search.until is not None and search.until < date.max:
        conditions.append("created < :until")
        values["until"] = (search.until + timedelta(days=1)).isoformat()
    return conditions, values


def _drops_where(search: DropSearch, states: bool = True) -> tuple[str, dict[str, Any]]:
    conditions, values = ["1"], {f"word{number}": like(word) for number, word in enumerate(search.words)}
    conditions += [f"drops.name LIKE :{name} ESCAPE '\\'" for name in values]
    if search.states and states:
        conditions.append("drops.state IN (SELECT value FROM json_each(:states))")
        values["states"] = json.dumps([state.value for state in search.states])
    return " AND ".join(conditions), values


def like(part: str) -> str:
    """Return the pattern that finds a text anywhere, taken as it is written."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _order(search: JobSearch) -> str:
    way = "ASC" if search.ascending else "DESC"
    first = f"{SORTED[search.order]} {way}"
    if search.order == "submitted":
        other_way = "DESC" if search.ascending else "ASC"
        return f"{first}, position {other_way}, job_id {other_way}"
    return f"{first}, created DESC, position, job_id"


# --- rows become lines ---------------------------------------------------------------------------------------------


def _job_line(row: sqlite3.Row, names: Mapping[int, str], tasks: Mapping[str, tuple[int, int]]) -> JobLine:
    facts = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row is no dict: it iterates over values
    done, total = tasks.get(row["job_id"], (0, 0))
    return JobLine(
        **{
            **facts,
            "state": JobState(row["state"]),
            "modalities": tuple(json.loads(row["modalities"])),
            "acq_datetime": as_time(row["acq_datetime"]),
            "created": as_time(row["created"]),
            "started": as_time_or_none(row["started"]),
            "ended": as_time_or_none(row["ended"]),
        },
        manifest=names.get(row["drop_id"], ""),
        done=done,
        total=total,
    )


def _drop_line(row: sqlite3.Row, jobs: Mapping[JobState, int]) -> DropLine:
    levels = [Level(problem["level"]) for problem in json.loads(row["problems"])]
    return DropLine(
        drop_id=row["drop_id"],
        name=row["name"],
        inbox=Path(row["inbox"]),
        version=row["version"],
        sha256=row["sha256"],
        state=DropState(row["state"]),
        noticed=as_time(row["noticed"]),
        updated=as_time(row["updated"]),
        note=row["note"],
        errors=levels.count(Level.ERROR),
        warnings=levels.count(Level.WARNING),
        jobs=jobs,
    )


def _attempt_line(row: sqlite3.Row, tasks: Sequence[str]) -> AttemptLine:
    return AttemptLine(
        key=row["attempt_key"],
        number=row["number"],
        tasks=tuple(tasks),
        state=AttemptState(row["state"]),
        handle=row["handle"],
        created=as_time(row["created"]),
        submitted=as_time_or_none(row["submitted"]),
        updated=as_time(row["updated"]),
        message=row["message"],
        asked=None if row["resources"] is None else json.loads(row["resources"]),
        cause=row["cause"],
        node=row["node"],
        elapsed=None if row["elapsed_seconds"] is None else timedelta(seconds=row["elapsed_seconds"]),
        max_rss_bytes=row["max_rss_bytes"],
    )


def _each(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}, key=str.casefold))
