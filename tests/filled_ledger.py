"""A ledger with as many jobs as a test wants, some of them at every point of their way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Attempt, Drop, Job, Observation, Place, Plan, PlannedTask, Problem, Row, TaskObservation
from dropbox_agent.states import AttemptState, TaskState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
INBOX = Path("/srv/inbox")


def at(minutes: float) -> datetime:
    """Return a time so many minutes after NOW."""
    return NOW + timedelta(minutes=minutes)


def planned(
    key: str, *needs: str, allocation: int | None = 1, skip: str | None = None, **job_settings: Any
) -> PlannedTask:
    """Return one task of a plan."""
    task_id, _, modality = key.rstrip("]").partition("[")
    settings = {"job_settings": job_settings or {"threads": 4}, "image_resources": {"memory": "4G"}}
    origin = {"job_settings": "default", "image_resources.memory": "ecephys"}
    return PlannedTask(key, task_id, modality or None, needs, allocation, skip, settings, origin)


TASKS = (
    planned("send_job_start_email", allocation=None),
    planned("check_s3_folder_exists", allocation=1),
    planned("create_staging_folder", "check_s3_folder_exists", allocation=1),
    planned("compress_data[behavior]", "create_staging_folder", allocation=2),
    planned("compress_data[ecephys]", "create_staging_folder", allocation=3),
    planned("upload_data_to_s3", "compress_data[behavior]", "compress_data[ecephys]", allocation=4),
    planned("remove_source_folders", "upload_data_to_s3", allocation=None, skip="Nobody asked for it."),
    planned("send_job_end_email", allocation=None),
)


def a_plan(prefix: str, tasks: Sequence[PlannedTask] = TASKS) -> Plan:
    """Return the plan of a job of that name."""
    return Plan("ecephys", prefix, "default", f"file:///bucket/{prefix}", tuple(tasks), "f" * 64)


def a_job(prefix: str, row: int = 2, **changes: Any) -> Job:
    """Return a job of that name."""
    job = Job(
        row=Row(Place("a.csv", None, row), {}),
        job_type="ecephys",
        project_name="Ephys Platform",
        subject_id="0012",
        acq_datetime=NOW - timedelta(days=1),
        platform=None,
        modalities=("behavior", "ecephys"),
        bucket="default",
        s3_prefix=prefix,
        user_email="anna@example.org",
        email_types=frozenset({"end"}),
        tasks={},
    )
    return replace(job, **changes)


def a_drop(name: str, when: datetime = NOW, inbox: Path = INBOX) -> Drop:
    """Return a drop of that name."""
    return Drop(inbox, name, f"{abs(hash((name, when))):064x}"[-64:], 3, Path("/spool"), 1000, 1.0, when)


def accepted(ledger: Ledger, name: str, jobs: Sequence[Job], when: datetime = NOW, **plan: Any) -> int:
    """Accept one manifest with these jobs; return its drop_id."""
    drop_id = ledger.accept(a_drop(name, when), [(job, a_plan(job.s3_prefix, **plan)) for job in jobs], [], when)
    assert drop_id is not None
    return drop_id


def refused(ledger: Ledger, name: str, problems: Sequence[Problem], when: datetime = NOW) -> int:
    """Refuse one manifest; return its drop_id."""
    drop_id = ledger.refuse(a_drop(name, when), problems, [], when)
    assert drop_id is not None
    return drop_id


INVENTORY = {
    "schema": 1,
    "job_id": "j",
    "s3_prefix": "x",
    "location": "s3://lab-data/x",
    "written": "2026-01-31T12:00:00+00:00",
    "files": [
        {"path": "ecephys/=a.dat", "size": 2_500_000, "mtime_ns": 1_769_860_800_123_456_789,
         "crc64nvme": "Zg18frZsEn4=", "etag": "4a80", "version_id": "v1"},
        {"path": "subject.json", "size": 0, "mtime_ns": 1_769_860_800_000_000_000, "crc64nvme": "AAAAAAAAAAA="},
    ],
    "empty_folders": ["ecephys/empty"],
}  # fmt: skip
"""As upload_data_to_s3 writes it."""


def hand_over(ledger: Ledger, job_id: str, when: datetime) -> list[Attempt]:
    """Hand over all of a job that is ready; return the attempts."""
    attempts = [ledger.submitting(job, part, when) for job, part in ledger.ready(when, 10_000) if job == job_id]
    for number, attempt in enumerate(attempts, start=4711):
        ledger.submitted(attempt, f"slurm:{number}:{attempt.key}", when)
    return attempts


def see(ledger: Ledger, attempt: Attempt, state: TaskState, since: datetime, now: datetime, **more: Any) -> None:
    """Write down that every task of an attempt is in this state."""
    over = state is not TaskState.RUNNING
    tasks = tuple(
        TaskObservation(t.key, state, started=since, ended=now if over else None, **more) for t in attempt.tasks
    )
    ended = AttemptState.ENDED if over else AttemptState.RUNNING
    ledger.observed([Observation(attempt, True, ended, tasks)], now)


def run_to_its_end(ledger: Ledger, job_id: str, start: datetime, last: TaskState = TaskState.SUCCEEDED) -> None:
    """Run a job; its last allocation ends in ``last``."""
    when = start
    while attempts := hand_over(ledger, job_id, when):
        for attempt in attempts:
            is_last = any(task.key == "upload_data_to_s3" for task in attempt.tasks)
            state = last if is_last else TaskState.SUCCEEDED
            see(ledger, attempt, state, when, when + timedelta(minutes=5), message=f"It {state.value}.")
        when += timedelta(minutes=6)
