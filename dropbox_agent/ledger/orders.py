"""What people order of a job: to run it again, or to end it. Each runs inside one transaction of the ledger."""

from __future__ import annotations

import sqlite3

from dropbox_agent.errors import OrderRefused

DOWNSTREAM = """
WITH RECURSIVE later (key) AS (
    SELECT key FROM tasks WHERE job_id = :job AND (key = :task OR task_id = :task)
    UNION SELECT needs.key FROM needs JOIN later ON needs.needed = later.key WHERE needs.job_id = :job)
SELECT key FROM later
"""
"""A task and all that need it, however far."""


def retry(connection: sqlite3.Connection, job_id: str, from_task: str | None, at: str) -> int:
    """Let the tasks that did not end well run again, and those from ``from_task`` on; return how many.

    What succeeded is kept; what waits to be run again by itself waits no longer. Raises OrderRefused for a job that is
    not there, still runs, or has nothing to run again.
    """
    state = _state(connection, job_id)
    waited = _wait_no_longer(connection, job_id, at)
    if waited and state == "running" and from_task is None:
        return waited
    if state not in ("failed", "cancelled") and (from_task is None or state != "succeeded"):
        raise OrderRefused(f"Job {job_id} is {state}; only what failed or was cancelled is run again.")
    _require_free(connection, job_id)
    again = _to_run_again(connection, job_id, from_task)
    if not again:
        raise OrderRefused(f"Job {job_id} has no task to run again.")
    for key in again:
        connection.execute(
            "UPDATE tasks SET state = 'waiting', retries = retries + 1, message = NULL, started = NULL, ended = NULL,"
            " progress = NULL, exit_code = NULL, updated = ? WHERE job_id = ? AND key = ?",
            (at, job_id, key),
        )
    connection.execute(
        "UPDATE jobs SET state = 'running', retries = retries + 1, ended = NULL, updated = ? WHERE job_id = ?",
        (at, job_id),
    )
    connection.execute(
        "UPDATE drops SET state = 'running', retries = retries + 1, updated = ?"
        " WHERE drop_id = (SELECT drop_id FROM jobs WHERE job_id = ?) AND state <> 'running'",
        (at, job_id),
    )
    return len(again)


def cancel(connection: sqlite3.Connection, job_id: str, why: str, at: str) -> None:
    """End what waits, and ask for an end of what runs. Raises OrderRefused for a job that is not there or has ended."""
    state = _state(connection, job_id)
    if state not in ("accepted", "running"):
        raise OrderRefused(f"Job {job_id} has ended already: {state}.")
    connection.execute(
        "UPDATE tasks SET state = 'cancelled', message = ?, ended = ?, updated = ?"
        " WHERE job_id = ? AND state = 'waiting' AND task_id <> 'send_job_end_email'",
        (why, at, at, job_id),
    )
    connection.execute(
        "UPDATE attempts SET stop_at = ifnull(stop_at, ?), updated = ?"
        " WHERE job_id = ? AND state IN ('submitting', 'submitted', 'running')",
        (at, at, job_id),
    )


def _wait_no_longer(connection: sqlite3.Connection, job_id: str, at: str) -> int:
    changed = connection.execute(
        "UPDATE attempts SET try_at = NULL WHERE job_id = ? AND state IN ('ended', 'lost') AND try_at > ?", (job_id, at)
    )
    return changed.rowcount


def _to_run_again(connection: sqlite3.Connection, job_id: str, from_task: str | None) -> list[str]:
    rows = connection.execute(
        "SELECT key FROM tasks WHERE job_id = ? AND state IN ('failed', 'cancelled') ORDER BY position", (job_id,)
    ).fetchall()
    keys = {row["key"]: None for row in rows}
    if from_task is not None:
        later = connection.execute(DOWNSTREAM, {"job": job_id, "task": from_task}).fetchall()
        if not later:
            raise OrderRefused(f"Job {job_id} has no task {from_task}. It has: {_names(connection, job_id)}.")
        keys |= {row["key"]: None for row in later}
    may = _run_by_an_executor(connection, job_id)
    chosen = [key for key in keys if key in may]
    return [*chosen, *_end_mail(connection, job_id)] if chosen else []


def _run_by_an_executor(connection: sqlite3.Connection, job_id: str) -> set[str]:
    """Nobody would ever do again what the agent did itself when it took the job in."""
    rows = connection.execute(
        "SELECT key FROM tasks WHERE job_id = ? AND state <> 'skipped' AND allocation NOT NULL", (job_id,)
    )
    return {row["key"] for row in rows}


def _end_mail(connection: sqlite3.Connection, job_id: str) -> list[str]:
    """It goes out once more, unless the plan skips it; what was skipped for want of a reader has an end."""
    rows = connection.execute(
        "SELECT key FROM tasks WHERE job_id = ? AND task_id = 'send_job_end_email'"
        " AND (state <> 'skipped' OR ended NOT NULL)",
        (job_id,),
    )
    return [row["key"] for row in rows]


def _require_free(connection: sqlite3.Connection, job_id: str) -> None:
    other = connection.execute(
        "SELECT other.job_id FROM jobs JOIN jobs AS other ON other.location = jobs.location"
        " WHERE jobs.job_id = ? AND other.job_id <> jobs.job_id AND other.state IN ('accepted', 'running')",
        (job_id,),
    ).fetchone()
    if other is not None:
        raise OrderRefused(f"Job {other['job_id']} uploads to the same place now. Wait until it has ended.")
    later = connection.execute(
        "SELECT other.job_id FROM jobs JOIN jobs AS other ON other.location = jobs.location"
        " JOIN tasks ON tasks.job_id = other.job_id AND task_id = 'upload_data_to_s3' AND tasks.state = 'succeeded'"
        " WHERE jobs.job_id = ? AND other.drop_id > jobs.drop_id",
        (job_id,),
    ).fetchone()
    if later is not None:
        raise OrderRefused(
            f"Job {later['job_id']} has uploaded to the same place since: this one would write over it."
            " Retry that job, or drop the manifest again."
        )


def _state(connection: sqlite3.Connection, job_id: str) -> str:
    row = connection.execute("SELECT state FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        raise OrderRefused(f"There is no job {job_id}. 'dropbox-agent status' lists the jobs.")
    return str(row["state"])


def _names(connection: sqlite3.Connection, job_id: str) -> str:
    rows = connection.execute("SELECT key FROM tasks WHERE job_id = ? ORDER BY position", (job_id,)).fetchall()
    return ", ".join(row["key"] for row in rows)
