"""Read the ledger: standings, counts, attempts. Never writes."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from dropbox_agent import plan as plans
from dropbox_agent.errors import LedgerUnavailable
from dropbox_agent.ledger import names
from dropbox_agent.ledger.database import (
    Values,
    as_time,
    as_time_or_none,
    fetch,
    is_due,
    open_for_reading,
    until,
)
from dropbox_agent.model import (
    Attempt,
    EarlierAttempt,
    Job,
    JobStanding,
    Level,
    Mail,
    Order,
    Place,
    Plan,
    Problem,
    RunFolder,
    Standing,
    TaskStanding,
    slurm_job_id,
)
from dropbox_agent.states import AttemptState, Cause, DropState, JobState, TaskState

JOB_COLUMNS = "jobs.*, drops.name AS manifest, drops.owner AS owner"
JOBS = f"SELECT {JOB_COLUMNS} FROM jobs JOIN drops USING (drop_id)"
LATEST = (
    "NOT EXISTS (SELECT 1 FROM drops AS newer WHERE newer.inbox = drops.inbox AND newer.name = drops.name"
    " AND newer.version > drops.version)"
)


ATTEMPTS = "SELECT attempts.*, resources FROM attempts LEFT JOIN attempt_facts USING (attempt_key)"


class Claim(NamedTuple):
    """Who has to do with an asset: a job, and where it was written."""

    manifest: str
    row: int | None
    job_id: str
    ended: datetime | None

    def __str__(self) -> str:
        return f"{self.manifest}, {'row' if self.row else 'job'} {self.row or self.job_id}"


class Reader:
    """What stands in a ledger, as of the moment of each call."""

    def __init__(self, connection: sqlite3.Connection, work_dir: Path) -> None:
        self._connection = connection
        self._work_dir = work_dir

    @classmethod
    def of(cls, path: Path, work_dir: Path) -> Reader:
        """Return a reader of the ledger at ``path``. Raises LedgerUnavailable when there is none."""
        return Reader(open_for_reading(path), work_dir)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @property
    def ledger_id(self) -> str:
        """The name of this ledger, as the markers in its inboxes have it."""
        row = self._one("SELECT ledger_id FROM ledger")
        if row is None:
            raise LedgerUnavailable("The ledger has no name; it was never opened by an agent.")
        return str(row["ledger_id"])

    # --- standings ---------------------------------------------------------------------------------------------------

    def standing(self, drop_id: int, job_id: str | None = None) -> Standing:
        """Return all that is known of one drop, or of one job of it only; KeyError when there is none."""
        row = self._one("SELECT * FROM drops WHERE drop_id = ?", (drop_id,))
        if row is None:
            raise KeyError(drop_id)
        return self._standing(row, job_id)

    def drops(self, limit: int = 100, offset: int = 0) -> list[Standing]:
        """Return the latest version of each manifest, newest first."""
        rows = self._all(f"SELECT * FROM drops WHERE {LATEST} ORDER BY drop_id DESC LIMIT ? OFFSET ?", (limit, offset))
        return [self._standing(row) for row in rows]

    def latest(self, inbox: Path, name: str) -> Standing | None:
        """Return the latest version of one manifest, or None."""
        row = self._one(
            "SELECT * FROM drops WHERE inbox = ? AND name = ? ORDER BY version DESC LIMIT 1", (str(inbox), name)
        )
        return None if row is None else self._standing(row)

    def is_latest(self, drop_id: int) -> bool:
        """Return whether no newer version of the same manifest has been recorded."""
        return self._number(f"SELECT count(*) FROM drops WHERE drop_id = ? AND {LATEST}", (drop_id,)) == 1

    def noted(self, inbox: Path, text: str) -> list[tuple[int, str]]:
        """Return (drop, manifest) of the latest versions in an inbox whose note has this text in it."""
        rows = self._all(
            f"SELECT drop_id, name FROM drops WHERE inbox = ? AND instr(note, ?) AND {LATEST}", (str(inbox), text)
        )
        return [(row["drop_id"], row["name"]) for row in rows]

    def asked(self, inbox: Path) -> list[Order]:
        """Return what was ordered by files in an inbox and is not carried out yet, oldest first."""
        rows = self._all("SELECT * FROM asked WHERE inbox = ? ORDER BY at, file", (str(inbox),))
        return [
            Order(act=row["act"], inbox=inbox, manifest=row["manifest"], asked=as_time(row["at"]), by=row["file"])
            for row in rows
        ]

    def jobs(self, limit: int = 100, offset: int = 0) -> list[JobStanding]:
        """Return the jobs, newest first."""
        rows = self._all(f"{JOBS} ORDER BY jobs.created DESC, jobs.position LIMIT ? OFFSET ?", (limit, offset))
        return [self._job(row) for row in rows]

    def job(self, job_id: str) -> JobStanding | None:
        """Return one job, or None."""
        row = self._one(f"{JOBS} WHERE job_id = ?", (job_id,))
        return None if row is None else self._job(row)

    def live_jobs_of(self, inbox: Path, name: str) -> list[str]:
        """Return the jobs that run of the latest version of a manifest that has any."""
        rows = self._all(
            "SELECT job_id, max(version) OVER () = version AS latest FROM jobs JOIN drops USING (drop_id)"
            " WHERE inbox = ? AND name = ? AND jobs.state IN ('accepted', 'running') ORDER BY position",
            (str(inbox), name),
        )
        return [row["job_id"] for row in rows if row["latest"]]

    def job_ids(self, inbox: Path, name: str, sha256: str, jobs: Sequence[Job]) -> tuple[str, ...]:
        """Return the ids that the jobs of a manifest with this content get once it is accepted, in their order."""
        version = self._version(inbox, name, sha256)
        return tuple(names.job_id(version, job.bucket, job.s3_prefix) for job in jobs)

    def _version(self, inbox: Path, name: str, sha256: str, before: int | None = None) -> names.Version:
        turn = self._number(
            "SELECT count(*) FROM drops WHERE inbox = ? AND name = ? AND sha256 = ? AND state <> 'refused'"
            " AND drop_id < ifnull(?, drop_id + 1)",
            (str(inbox), name, sha256, before),
        )
        marked = self._one("SELECT inbox_id FROM inboxes WHERE path = ?", (str(inbox),))
        where = str(inbox) if marked is None else str(marked["inbox_id"])
        return names.Version(self.ledger_id, where, name, sha256, turn)

    def all_job_ids(self) -> list[str]:
        """Return every job there is, oldest first."""
        return [row["job_id"] for row in self._all("SELECT job_id FROM jobs ORDER BY created, position")]

    def count_jobs(self) -> Mapping[str, int]:
        """Return how many jobs are in each state; states without jobs are 0."""
        counts = {state.value: 0 for state in JobState}
        counts.update({r["state"]: r["n"] for r in self._all("SELECT state, count(*) AS n FROM jobs GROUP BY state")})
        return counts

    def count_drops(self) -> Mapping[str, int]:
        """Return how many manifests are in each state (latest versions only)."""
        rows = self._all(f"SELECT state, count(*) AS n FROM drops WHERE {LATEST} GROUP BY state")
        counts = {state.value: 0 for state in DropState if state is not DropState.SETTLING}
        return counts | {row["state"]: row["n"] for row in rows}

    def live_job_at(self, location: str) -> Claim | None:
        """Return the job that uploads to ``location`` now, or None."""
        return self._claim("jobs.state IN ('accepted', 'running')", location)

    def uploaded_by(self, location: str) -> Claim | None:
        """Return the last job that uploaded to ``location`` and ended well, or None."""
        uploaded = (
            "jobs.state = 'succeeded' AND EXISTS (SELECT 1 FROM tasks WHERE tasks.job_id = jobs.job_id"
            " AND task_id = 'upload_data_to_s3' AND tasks.state = 'succeeded')"
        )
        return self._claim(uploaded, location)

    def _claim(self, condition: str, location: str) -> Claim | None:
        row = self._one(f"{JOBS} WHERE location = ? AND {condition} ORDER BY jobs.created DESC", (location,))
        return None if row is None else Claim(row["manifest"], row["row"], row["job_id"], as_time_or_none(row["ended"]))

    def undelivered(self) -> list[tuple[str, str]]:
        """Return (manifest, reason) of each status or mail that could not be written when last tried."""
        statuses = self._all("SELECT name, tell_error AS error FROM drops WHERE changes > told AND tell_error NOT NULL")
        mails = self._all(
            "SELECT name, error FROM outbox JOIN drops USING (drop_id) WHERE sent IS NULL AND error NOT NULL"
        )
        return [(row["name"], row["error"]) for row in [*statuses, *mails]]

    def not_taken(self) -> list[tuple[str, str]]:
        """Return (job_id, reason) of each attempt that the executor has not taken so far."""
        rows = self._all("SELECT job_id, message FROM attempts WHERE state = 'submitting' AND tries > 0 ORDER BY rowid")
        return [(row["job_id"], row["message"]) for row in rows]

    def stuck(self, tries: int) -> list[str]:
        """Return the key of each attempt that the executor has not taken ``tries`` times or more, oldest first."""
        rows = self._all(
            "SELECT attempt_key FROM attempts WHERE state = 'submitting' AND tries >= ? ORDER BY rowid", (tries,)
        )
        return [row["attempt_key"] for row in rows]

    def is_idle(self, tries: int) -> bool:
        """Return whether nothing is left to do that has not failed ``tries`` times."""
        return not any(
            self._number(f"SELECT count(*) FROM {table}")
            for table in (
                f"drops WHERE changes > told AND tell_tries < {tries:d}",
                f"outbox WHERE sent IS NULL AND tries < {tries:d}",
            )
        ) and not self._work_is_left(tries)

    def _work_is_left(self, tries: int) -> bool:
        """Whether a job may still move by itself; none does when all that is live is attempts that nobody takes."""
        jobs = self._number("SELECT count(*) FROM jobs WHERE state IN ('accepted', 'running')")
        live = self._number("SELECT count(*) FROM attempts WHERE state IN ('submitting', 'submitted', 'running')")
        stuck = len(self.stuck(tries))
        return jobs > 0 and (not stuck or stuck != live or self.waits_to_run_again())

    def history(self, kind: str, id_: str) -> list[tuple[str | None, str]]:
        """Return the moves (from, to) of one thing, oldest first."""
        rows = self._all(
            "SELECT from_state, to_state FROM history WHERE kind = ? AND id = ? ORDER BY history_id", (kind, id_)
        )
        return [(row["from_state"], row["to_state"]) for row in rows]

    # --- attempts ----------------------------------------------------------------------------------------------------

    def attempt(self, key: str) -> Attempt:
        """Return one attempt; KeyError when there is none."""
        row = self._one(f"{ATTEMPTS} WHERE attempt_key = ?", (key,))
        if row is None:
            raise KeyError(key)
        return self._attempt(row)

    def live_attempts(self) -> list[Attempt]:
        """Return the attempts that may still run, oldest first."""
        rows = self._all(f"{ATTEMPTS} WHERE state IN ('submitting', 'submitted', 'running') ORDER BY +attempts.rowid")
        return [self._attempt(row) for row in rows]

    def may_try(self, attempt: Attempt, now: datetime) -> bool:
        """Return whether an attempt that was not taken may be handed over again now."""
        return bool(
            self._all(
                f"SELECT 1 FROM attempts WHERE attempt_key = :key AND {is_due('try_at')}",
                {"key": attempt.key, **until(now)},
            )
        )

    def waits_to_run_again(self, job_id: str | None = None) -> bool:
        """Return whether a task of a job, or of any, is to be run again by itself, later."""
        found = self._one(
            "SELECT 1 FROM tasks CROSS JOIN attempts ON attempts.job_id = tasks.job_id"
            " AND attempts.allocation = tasks.allocation AND attempts.number = tasks.attempt"
            " WHERE tasks.state = 'waiting' AND tasks.allocation NOT NULL"
            f" AND attempts.state IN ('ended', 'lost') AND try_at NOT NULL {'AND tasks.job_id = ?' if job_id else ''}",
            (job_id,) if job_id else (),
        )
        return found is not None

    def run_folder(self, job_id: str) -> RunFolder:
        """Return the run folder of a job."""
        return RunFolder(self._work_dir / job_id)

    # --- details -----------------------------------------------------------------------------------------------------

    def _standing(self, row: sqlite3.Row, job_id: str | None = None) -> Standing:
        jobs = self._all(
            f"{JOBS} WHERE drop_id = ? AND job_id = ifnull(?, job_id) ORDER BY position", (row["drop_id"], job_id)
        )
        return Standing(
            drop_id=row["drop_id"],
            name=row["name"],
            inbox=Path(row["inbox"]),
            sha256=row["sha256"],
            state=DropState(row["state"]),
            noticed=as_time(row["noticed"]),
            updated=as_time(row["updated"]),
            problems=tuple(_problem(problem) for problem in json.loads(row["problems"])),
            jobs=tuple(self._job(job) for job in jobs),
            note=row["note"],
        )

    def _job(self, row: sqlite3.Row) -> JobStanding:
        return JobStanding(
            job_id=row["job_id"],
            s3_prefix=row["s3_prefix"],
            bucket=row["bucket"],
            location=row["location"],
            job_type=row["job_type"],
            project_name=row["project_name"],
            subject_id=row["subject_id"],
            platform=row["platform"],
            modalities=tuple(json.loads(row["modalities"])),
            user_email=row["user_email"],
            email_types=frozenset(json.loads(row["email_types"])),
            row=row["row"],
            state=JobState(row["state"]),
            created=as_time(row["created"]),
            started=as_time_or_none(row["started"]),
            ended=as_time_or_none(row["ended"]),
            tasks=self._tasks(row["job_id"]),
            plan=_plan(row),
            acq_datetime=datetime.fromisoformat(row["acq_datetime"]),
            drop_id=row["drop_id"],
            manifest=row["manifest"],
            owner=row["owner"],
        )

    def _tasks(self, job_id: str) -> tuple[TaskStanding, ...]:
        rows = self._all(
            "SELECT tasks.*, attempts.handle, facts.node, facts.elapsed_seconds, facts.max_rss_bytes, facts.log_end"
            " FROM tasks LEFT JOIN attempts ON attempts.job_id = tasks.job_id"
            " AND attempts.allocation = tasks.allocation AND attempts.number = tasks.attempt"
            " LEFT JOIN attempt_facts AS facts USING (attempt_key) WHERE tasks.job_id = ? ORDER BY position",
            (job_id,),
        )
        ended = self._ended_attempts(job_id) if any(row["retries"] for row in rows) else []
        return tuple(_task(row, ended) for row in rows)

    def _ended_attempts(self, job_id: str) -> list[sqlite3.Row]:
        """Return the attempts of a job that have ended, in the order in which they were made."""
        return self._all(
            "SELECT allocation, number, handle, message, cause, node, attempts.updated, elapsed_seconds, max_rss_bytes"
            " FROM attempts LEFT JOIN attempt_facts USING (attempt_key)"
            " WHERE job_id = ? AND state IN ('ended', 'lost') ORDER BY number",
            (job_id,),
        )

    def _attempt(self, row: sqlite3.Row) -> Attempt:
        job = self._one("SELECT plan FROM jobs WHERE job_id = ?", (row["job_id"],))
        assert job is not None
        tasks = tuple(task for task in _plan(job).tasks if task.allocation == row["allocation"])
        ran = {t["key"] for t in self._all(
            "SELECT key FROM tasks WHERE job_id = ? AND allocation = ? AND attempt = ?",
            (row["job_id"], row["allocation"], row["number"]),
        )}  # fmt: skip
        return Attempt(
            key=row["attempt_key"],
            job_id=row["job_id"],
            allocation=row["allocation"],
            number=row["number"],
            state=AttemptState(row["state"]),
            folder=self.run_folder(row["job_id"]).attempt(row["attempt_key"]).path,
            tasks=tuple(task for task in tasks if task.key in ran),
            handle=row["handle"],
            submitted_at=as_time_or_none(row["submitted"]),
            first_missing_at=as_time_or_none(row["first_missing"]),
            stop_at=as_time_or_none(row["stop_at"]),
            resources=json.loads(row["resources"] or "{}"),
            survivors=self._survivors(row) if row["number"] > 1 else (),
        )

    def _survivors(self, row: sqlite3.Row) -> tuple[Path, ...]:
        """What was ordered since may be meant to do anew what an attempt from before the order did."""
        rows = self._all(
            "SELECT attempt_key FROM attempts JOIN attempt_facts USING (attempt_key)"
            " WHERE job_id = ? AND allocation = ? AND number < ? AND cause = ?"
            " AND turn = (SELECT turn FROM attempt_facts WHERE attempt_key = ?) ORDER BY number",
            (row["job_id"], row["allocation"], row["number"], Cause.NODE_FAILED.value, row["attempt_key"]),
        )
        return tuple(self.run_folder(row["job_id"]).attempt(one["attempt_key"]).path for one in rows)

    def _mail(self, row: sqlite3.Row) -> Mail:
        return Mail(
            mail_id=row["mail_id"],
            drop_id=row["drop_id"],
            number=row["number"],
            kind=row["kind"],
            to=row["recipient"],
            job_id=row["job_id"],
            created=as_time(row["created"]),
        )

    def inventory(self, job_id: str) -> bytes | None:
        """Return what a job's upload stored, as its inventory.json beside the data has it; None before that."""
        row = self._one("SELECT content FROM inventories WHERE job_id = ?", (job_id,))
        return None if row is None else zlib.decompress(row["content"])

    def inventory_kept(self, job_id: str) -> datetime | None:
        """Return since when the inventory of a job's upload is kept; None when there is none."""
        row = self._one("SELECT kept FROM inventories WHERE job_id = ?", (job_id,))
        return None if row is None else as_time(row["kept"])

    def _one(self, sql: str, values: Values = ()) -> sqlite3.Row | None:
        return next(iter(self._all(sql, values)), None)

    def _all(self, sql: str, values: Values = ()) -> list[sqlite3.Row]:
        return fetch(self._connection, sql, values)

    def _number(self, sql: str, values: Values = ()) -> int:
        row = self._one(sql, values)
        return int(row[0]) if row is not None and row[0] is not None else 0


def _plan(row: sqlite3.Row) -> Plan:
    return plans.from_json(json.loads(row["plan"]))


def _problem(written: Mapping[str, Any]) -> Problem:
    return Problem(
        level=Level(written["level"]),
        place=Place(written["file"], written["sheet"], written["row"], written["column"], written["cell"]),
        message=written["message"],
        found=written["found"],
        suggestion=written["suggestion"],
        line=written.get("line"),
    )


def _task(row: sqlite3.Row, ended: Sequence[sqlite3.Row]) -> TaskStanding:
    state = TaskState(row["state"])
    # A task that is to be run again still has the number of the attempt that ended.
    before = row["attempt"] + (state is TaskState.WAITING)
    return TaskStanding(
        key=row["key"],
        task_id=row["task_id"],
        modality=row["modality"],
        state=state,
        started=as_time_or_none(row["started"]),
        ended=as_time_or_none(row["ended"]),
        attempt=row["attempt"],
        slurm_job_id=slurm_job_id(row["handle"]),
        log=row["log"],
        message=row["message"],
        progress=None if row["progress"] is None else json.loads(row["progress"]),
        node=row["node"],
        elapsed_seconds=row["elapsed_seconds"],
        max_rss_bytes=row["max_rss_bytes"],
        allocation=row["allocation"],
        log_end=row["log_end"] if state is TaskState.FAILED else None,
        earlier=tuple(
            _earlier(one) for one in ended if one["allocation"] == row["allocation"] and one["number"] < before
        ),
    )


def _earlier(row: sqlite3.Row) -> EarlierAttempt:
    return EarlierAttempt(
        number=row["number"],
        ended=as_time(row["updated"]),
        cause=Cause(row["cause"]) if row["cause"] else None,
        message=row["message"],
        slurm_job_id=slurm_job_id(row["handle"]),
        node=row["node"],
        elapsed_seconds=row["elapsed_seconds"],
        max_rss_bytes=row["max_rss_bytes"],
    )
