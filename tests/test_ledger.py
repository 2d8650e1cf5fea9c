"""The durable record: what is accepted, what may move, what is ready, what is left after a crash. Real SQLite files."""

from __future__ import annotations

import gc
import hashlib
import re
import resource
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dropbox_agent import states
from dropbox_agent.errors import LedgerInUse, LedgerUnavailable, MoveRefused, OrderRefused
from dropbox_agent.ledger import Ledger, Reader
from dropbox_agent.ledger.database import SCHEMA_VERSION
from dropbox_agent.model import (
    Attempt,
    Drop,
    Job,
    Level,
    Observation,
    Place,
    Plan,
    PlannedTask,
    Problem,
    Row,
    TaskObservation,
    TaskStanding,
)
from dropbox_agent.states import AttemptState, DropState, JobState, TaskState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
INBOX = Path("/inbox")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path)
    yield opened
    opened.close()


def open_ledger(folder: Path) -> Ledger:
    return Ledger.open(folder / "state" / "ledger.sqlite", folder / "work", NOW)


def a_drop(name: str = "a.csv", sha256: str = "1" * 64, modified: float = 1.0, again: bool = False) -> Drop:
    return Drop(INBOX, name, sha256, 3, Path("/spool") / sha256, 1000, modified, NOW, again)


def task(key: str, needs: tuple[str, ...] = (), allocation: int | None = 1, skip: str | None = None) -> PlannedTask:
    task_id, _, modality = key.rstrip("]").partition("[")
    return PlannedTask(key, task_id, modality or None, needs, allocation, skip, {"job_settings": {"a": 1}}, {"a": "x"})


TASKS = (
    task("send_job_start_email", allocation=None),
    task("check_s3_folder_exists"),
    task("create_staging_folder", ("check_s3_folder_exists",)),
    task("modality_transformation_settings", allocation=None),
    task("compress_data[behavior]", ("create_staging_folder",), 2),
    task("compress_data[ecephys]", ("create_staging_folder",), 3),
    task("upload_data_to_s3", ("compress_data[behavior]", "compress_data[ecephys]"), 4),
    task("remove_source_folders", ("upload_data_to_s3",), None, "Not asked for."),
    task("send_job_end_email", allocation=None),
)


def a_plan(prefix: str = "0012_2026-01-31_12-00-00", tasks: tuple[PlannedTask, ...] = TASKS) -> Plan:
    return Plan("ecephys", prefix, "default", f"file:///bucket/{prefix}", tasks, "f" * 64)


def a_job(
    prefix: str = "0012_2026-01-31_12-00-00", email: str | None = "a@b.org", types: str = "all", row: int = 2
) -> Job:
    return Job(
        row=Row(Place("a.csv", None, row), {}),
        job_type="ecephys",
        project_name="Ephys Platform",
        subject_id="0012",
        acq_datetime=datetime.fromisoformat("2026-01-31T12:00:00-08:00"),
        platform=None,
        modalities=("behavior", "ecephys"),
        bucket="default",
        s3_prefix=prefix,
        user_email=email,
        email_types=frozenset({types} if types else ()),
        tasks={},
    )


def accept(ledger: Ledger, *prefixes: str, drop: Drop | None = None) -> int:
    names = prefixes or ("0012_2026-01-31_12-00-00",)
    made = ledger.accept(
        drop or a_drop(), [(a_job(name, row=n), a_plan(name)) for n, name in enumerate(names, 2)], [], NOW
    )
    assert made is not None
    return made


def seen(attempt: Attempt, state: TaskState, ended: AttemptState = AttemptState.ENDED) -> Observation:
    tasks = tuple(
        TaskObservation(t.key, state, started=NOW, ended=NOW, message=f"It {state.value}.") for t in attempt.tasks
    )
    return Observation(attempt, True, ended, tasks)


def run_next(ledger: Ledger, state: TaskState = TaskState.SUCCEEDED) -> list[str]:
    """Run everything that is ready to its end; return the keys of the tasks."""
    attempts = [ledger.submitting(job_id, allocation, NOW) for job_id, allocation in ledger.ready(NOW)]
    for attempt in attempts:
        ledger.submitted(attempt, "handle", NOW)
    ledger.observed([seen(attempt, state) for attempt in attempts], NOW)
    return [t.key for attempt in attempts for t in attempt.tasks]


def states_of(ledger: Ledger, drop_id: int) -> dict[str, str]:
    (job, *_) = ledger.standing(drop_id).jobs
    return {task.key: task.state.value for task in job.tasks}


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_ids_of_jobs_are_known_before_their_manifest_is_recorded(ledger: Ledger) -> None:
    told = ledger.job_ids(INBOX, "a.csv", a_drop().sha256, [a_job("one"), a_job("two")])
    assert [job.job_id for job in ledger.standing(accept(ledger, "one", "two")).jobs] == list(told)
    assert re.fullmatch(r"one\.[a-z2-7]{6}", told[0])


def test_a_refused_version_changes_no_id_that_was_told(ledger: Ledger) -> None:
    told = ledger.job_ids(INBOX, "a.csv", a_drop().sha256, [a_job()])
    ledger.refuse(a_drop(), [], [], NOW)
    assert [job.job_id for job in ledger.standing(accept(ledger, drop=a_drop(again=True))).jobs] == list(told)


def test_each_accepted_version_of_a_manifest_has_ids_of_its_own(ledger: Ledger) -> None:
    first = accept(ledger)
    ledger.cancel(ledger.standing(first).jobs[0].job_id, "Cancelled.", NOW)
    told = ledger.job_ids(INBOX, "a.csv", "2" * 64, [a_job()])
    second = accept(ledger, drop=a_drop(sha256="2" * 64))
    assert [job.job_id for job in ledger.standing(second).jobs] == list(told)
    assert told != tuple(job.job_id for job in ledger.standing(first).jobs)
    assert told != ledger.job_ids(INBOX, "b.csv", "2" * 64, [a_job()])


def test_a_content_that_comes_back_after_another_has_ids_of_its_own(ledger: Ledger) -> None:
    ids = []
    for sha256 in ("1" * 64, "2" * 64, "1" * 64):
        (job,) = ledger.standing(accept(ledger, drop=a_drop(sha256=sha256))).jobs
        ledger.cancel(job.job_id, "Cancelled.", NOW)
        ids.append(job.job_id)
    assert len(set(ids)) == 3


def test_copies_of_a_ledger_call_a_version_the_same_wherever_the_inbox_is_mounted_and_whatever_they_missed(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.bind("the marker's id", INBOX, ())
    shutil.copytree(tmp_path / "state", tmp_path / "copied")
    copy = Ledger.open(tmp_path / "copied" / "ledger.sqlite", tmp_path / "work", NOW)
    elsewhere = Path("/mnt/elsewhere")
    copy.bind("the marker's id", elsewhere, ())
    first = accept(ledger, drop=a_drop(sha256="1" * 64))
    ledger.cancel(ledger.standing(first).jobs[0].job_id, "Cancelled.", NOW)
    ours = ledger.standing(accept(ledger, drop=a_drop(sha256="2" * 64))).jobs
    theirs = copy.standing(accept(copy, drop=replace(a_drop(sha256="2" * 64), inbox=elsewhere))).jobs
    assert [job.job_id for job in theirs] == [job.job_id for job in ours]
    copy.close()


# --- drops -----------------------------------------------------------------------------------------------------------


def test_an_accepted_drop_stands_with_its_jobs_and_plans(ledger: Ledger) -> None:
    problem = Problem(Level.WARNING, Place("a.csv", None, 2, "user_email", "B2"), "Nobody is told.", "x", "y")
    drop_id = ledger.accept(a_drop(), [(a_job(), a_plan())], [problem], NOW)
    assert drop_id is not None
    standing = ledger.standing(drop_id)
    assert (standing.state, standing.name, standing.noticed) == (DropState.ACCEPTED, "a.csv", NOW)
    assert standing.problems == (problem,)
    (job,) = standing.jobs
    assert job.plan == a_plan()
    assert (job.manifest, job.row, job.acq_datetime) == ("a.csv", 2, a_job().acq_datetime)
    assert job.job_id.startswith("0012_2026-01-31_12-00-00.")


def test_what_the_agent_does_itself_has_a_state_from_the_start(ledger: Ledger) -> None:
    assert states_of(ledger, accept(ledger)) == {
        "send_job_start_email": "succeeded",
        "check_s3_folder_exists": "waiting",
        "create_staging_folder": "waiting",
        "modality_transformation_settings": "succeeded",
        "compress_data[behavior]": "waiting",
        "compress_data[ecephys]": "waiting",
        "upload_data_to_s3": "waiting",
        "remove_source_folders": "skipped",
        "send_job_end_email": "waiting",
    }


def test_the_same_bytes_under_the_same_name_are_no_news(ledger: Ledger) -> None:
    accept(ledger)
    assert not ledger.is_news(a_drop(modified=2.0, again=True))
    assert ledger.accept(a_drop(), [(a_job("other"), a_plan("other"))], [], NOW) is None
    assert len(ledger.jobs()) == 1


@pytest.mark.parametrize(
    ("drop", "is_news"),
    [
        (a_drop(), False),
        (a_drop(modified=2.0), True),
        (a_drop(again=True), True),
        (a_drop(sha256="2" * 64), True),
        (a_drop(name="b.csv"), True),
    ],
)
def test_a_refused_manifest_is_looked_at_again_when_it_is_touched_or_comes_back(
    ledger: Ledger, drop: Drop, is_news: bool
) -> None:
    ledger.refuse(a_drop(), [], [], NOW)
    assert ledger.is_news(drop) is is_news


def test_a_drop_is_recorded_whole_or_not_at_all(ledger: Ledger) -> None:
    twice = [(a_job("one"), a_plan("one")), (a_job("one"), a_plan("one"))]
    with pytest.raises(MoveRefused):
        ledger.accept(a_drop(), twice, [], NOW)
    assert (ledger.drops(), ledger.jobs()) == ([], [])
    assert ledger.is_news(a_drop())


def test_two_live_jobs_for_one_asset_are_impossible(ledger: Ledger) -> None:
    accept(ledger, "one")
    with pytest.raises(MoveRefused, match="location"):
        accept(ledger, "one", drop=a_drop("b.csv", "2" * 64))
    live = ledger.live_job_at("file:///bucket/one")
    assert live is not None
    assert live[0] == "a.csv"


def test_a_refused_drop_mails_who_is_to_be_told(ledger: Ledger) -> None:
    ledger.refuse(a_drop(), [], ["a@b.org", "a@b.org", "c@d.org"], NOW)
    assert [(due.mail.kind, due.mail.to, due.mail.number) for due in ledger.due_mails(NOW)] == [
        ("refused", "a@b.org", 1),
        ("refused", "c@d.org", 2),
    ]


def test_mails_are_numbered_over_all_versions_of_a_manifest(ledger: Ledger) -> None:
    ledger.refuse(a_drop(), [], ["a@b.org"], NOW)
    accept(ledger, drop=a_drop(sha256="2" * 64))
    assert [(due.mail.number, due.mail.kind) for due in ledger.due_mails(NOW)] == [(1, "refused"), (2, "begin")]


def test_a_job_that_has_nothing_to_run_is_done_at_once(ledger: Ledger) -> None:
    nothing = tuple(replace(one, skip="Switched off.", allocation=None) for one in TASKS)
    drop_id = ledger.accept(
        a_drop(), [(a_job("one"), a_plan("one", nothing)), (a_job("two", row=3), a_plan("two"))], [], NOW
    )
    assert drop_id is not None
    standing = ledger.standing(drop_id)
    assert [job.state for job in standing.jobs] == [JobState.SUCCEEDED, JobState.ACCEPTED]
    assert standing.state is DropState.ACCEPTED
    while run_next(ledger):
        pass
    assert ledger.standing(drop_id).state is DropState.SUCCEEDED


# --- the path of a job -----------------------------------------------------------------------------------------------


def test_a_job_runs_its_allocations_in_the_order_of_their_needs(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    assert run_next(ledger) == ["check_s3_folder_exists", "create_staging_folder"]
    assert run_next(ledger) == ["compress_data[behavior]", "compress_data[ecephys]"]
    assert run_next(ledger) == ["upload_data_to_s3"]
    assert ledger.ready(NOW) == []
    standing = ledger.standing(drop_id)
    assert (standing.state, standing.jobs[0].state) == (DropState.SUCCEEDED, JobState.SUCCEEDED)
    assert states_of(ledger, drop_id)["send_job_end_email"] == "succeeded"
    assert [(due.mail.kind, due.mail.number) for due in ledger.due_mails(NOW)] == [("begin", 1), ("end", 2)]


def test_what_needs_a_failed_task_is_not_run_and_says_why(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    run_next(ledger, TaskState.FAILED)
    assert ledger.ready(NOW) == []
    standing = ledger.standing(drop_id)
    assert standing.state is DropState.FAILED
    upload = next(task for task in standing.jobs[0].tasks if task.key == "upload_data_to_s3")
    assert (upload.state, upload.message) == (
        TaskState.CANCELLED,
        "Not run, because compress_data[behavior] did not end well.",
    )
    assert [due.mail.kind for due in ledger.due_mails(NOW)] == ["begin", "fail"]


def test_a_job_ends_only_when_everything_that_runs_has_ended(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    run_next(ledger)
    behavior, ecephys = (ledger.submitting(job_id, allocation, NOW) for job_id, allocation in ledger.ready(NOW))
    ledger.observed([seen(behavior, TaskState.FAILED), seen(ecephys, TaskState.RUNNING, AttemptState.RUNNING)], NOW)
    assert ledger.standing(drop_id).state is DropState.RUNNING
    ledger.observed([seen(ecephys, TaskState.SUCCEEDED)], NOW)
    assert ledger.standing(drop_id).state is DropState.FAILED


def test_a_manifest_has_failed_when_one_of_its_jobs_has(ledger: Ledger) -> None:
    drop_id = accept(ledger, "one", "two")
    first, second = (ledger.submitting(job_id, allocation, NOW) for job_id, allocation in ledger.ready(NOW))
    ledger.observed([seen(first, TaskState.FAILED)], NOW)
    assert ledger.standing(drop_id).state is DropState.RUNNING
    ledger.observed([seen(second, TaskState.SUCCEEDED)], NOW)
    while run_next(ledger):
        pass
    assert [job.state for job in ledger.standing(drop_id).jobs] == [JobState.FAILED, JobState.SUCCEEDED]
    assert ledger.standing(drop_id).state is DropState.FAILED


@pytest.mark.parametrize(
    ("types", "end", "mails"),
    [
        ("", TaskState.FAILED, []),
        ("fail", TaskState.SUCCEEDED, []),
        ("fail", TaskState.FAILED, ["fail"]),
        ("end", TaskState.SUCCEEDED, ["end"]),
        ("end", TaskState.FAILED, ["fail"]),
        ("begin", TaskState.FAILED, ["begin"]),
        ("all", TaskState.SUCCEEDED, ["begin", "end"]),
        ("all", TaskState.FAILED, ["begin", "fail"]),
    ],
)
def test_mails_go_to_who_asked_for_them(ledger: Ledger, types: str, end: TaskState, mails: list[str]) -> None:
    ledger.accept(a_drop(), [(a_job(types=types), a_plan())], [], NOW)
    while run_next(ledger, end):
        pass
    assert [due.mail.kind for due in ledger.due_mails(NOW)] == mails


def test_a_mail_whose_task_is_switched_off_is_not_written(ledger: Ledger) -> None:
    off = tuple(replace(one, skip="Switched off.") if "email" in one.key else one for one in TASKS)
    ledger.accept(a_drop(), [(a_job(), a_plan(tasks=off))], [], NOW)
    while run_next(ledger):
        pass
    assert ledger.due_mails(NOW) == []
    assert ledger.drops()[0].state is DropState.SUCCEEDED
    ledger.retry(ledger.jobs()[0].job_id, "upload_data_to_s3", NOW)
    while run_next(ledger):
        pass
    assert [due.mail.kind for due in ledger.due_mails(NOW)] == ["retry"]


def test_an_attempt_that_was_stopped_leaves_no_task_without_an_end(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.observed([Observation(attempt, True, AttemptState.ENDED)], NOW)
    assert ledger.standing(drop_id).state is DropState.CANCELLED


# --- attempts --------------------------------------------------------------------------------------------------------


def test_the_key_of_an_attempt_is_deterministic_and_fits_a_slurm_name(ledger: Ledger) -> None:
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    assert attempt.key[:4] == "dbx-"
    assert len(attempt.key) == 24
    assert attempt.key == attempt.key.lower()
    assert ledger.live_attempts() == [attempt]
    assert ledger.ready(NOW) == []


def test_an_allocation_never_has_two_live_attempts(ledger: Ledger) -> None:
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    ledger.submitting(job_id, allocation, NOW)
    with pytest.raises(MoveRefused):
        ledger.submitting(job_id, allocation, NOW)


def test_an_attempt_that_was_not_taken_waits_longer_each_time(ledger: Ledger) -> None:
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.not_submitted(attempt, "The work folder is not there.", NOW)
    assert not ledger.may_try(attempt, later(1))
    assert ledger.may_try(attempt, later(2))
    ledger.not_submitted(attempt, "The work folder is not there.", later(2))
    assert not ledger.may_try(attempt, later(6))
    assert ledger.may_try(attempt, later(7))
    task = ledger.jobs()[0].tasks[1]
    assert (task.state, task.message) == (TaskState.SUBMITTED, "The work folder is not there.")


def first_task(ledger: Ledger) -> TaskStanding:
    return next(task for job in ledger.jobs() for task in job.tasks if task.attempt)


def test_what_an_attempt_waits_for_is_told_until_it_runs(ledger: Ledger) -> None:
    accept(ledger)
    attempt = ledger.submitting(*ledger.ready(NOW)[0], NOW)
    ledger.not_submitted(attempt, "Slurm does not answer.", NOW)
    assert first_task(ledger).message == "Slurm does not answer."
    ledger.submitted(attempt, f"slurm:4711:{attempt.key}", NOW)
    waiting = Observation(attempt, True, AttemptState.SUBMITTED, text="It waits for a free node.")
    ledger.observed([waiting], NOW)
    assert (first_task(ledger).message, first_task(ledger).slurm_job_id) == ("It waits for a free node.", "4711")
    runs = TaskObservation(attempt.tasks[0].key, TaskState.RUNNING, started=NOW)
    for text in ("It is suspended.", None):
        ledger.observed([Observation(attempt, True, AttemptState.RUNNING, (runs,), text)], NOW)
        assert (first_task(ledger).state, first_task(ledger).message) == (TaskState.RUNNING, text)
    ledger.observed([Observation(attempt, False, AttemptState.RUNNING, (), "Its node failed.")], NOW)
    assert first_task(ledger).message == "Its node failed."


def test_what_the_executor_calls_an_attempt_may_be_found_out_later(ledger: Ledger) -> None:
    accept(ledger)
    attempt = ledger.submitting(*ledger.ready(NOW)[0], NOW)
    for handle in ("slurm:7:x", "slurm:9:x", None):
        ledger.observed([Observation(attempt, True, AttemptState.SUBMITTED, handle=handle)], later(1))
    found = ledger.attempt(attempt.key)
    assert (found.state, found.handle, found.submitted_at) == (AttemptState.SUBMITTED, "slurm:9:x", later(1))


def test_a_handle_of_another_kind_is_no_slurm_job(ledger: Ledger) -> None:
    accept(ledger)
    ledger.submitted(ledger.submitting(*ledger.ready(NOW)[0], NOW), "boot:4711:1", NOW)
    assert first_task(ledger).slurm_job_id is None


def test_after_a_try_that_may_have_worked_since_when_it_is_missing_begins_anew(ledger: Ledger) -> None:
    accept(ledger)
    attempt = ledger.submitting(*ledger.ready(NOW)[0], NOW)
    ledger.observed([Observation(attempt, False, attempt.state)], later(5))
    ledger.not_submitted(attempt, "Refused.", later(6))
    assert ledger.attempt(attempt.key).first_missing_at == later(5)
    ledger.not_submitted(attempt, "Timed out.", later(7), unsure=True)
    assert ledger.attempt(attempt.key).first_missing_at is None


def test_since_when_an_attempt_is_missing_is_remembered(ledger: Ledger, tmp_path: Path) -> None:
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.submitted(attempt, "handle", NOW)
    ledger.observed([Observation(attempt, False, attempt.state)], later(5))
    ledger.observed([Observation(attempt, False, attempt.state)], later(9))
    ledger.close()
    reopened = open_ledger(tmp_path)
    assert [one.first_missing_at for one in reopened.live_attempts()] == [later(5)]
    reopened.close()


def test_a_late_look_at_an_ended_attempt_changes_nothing(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.observed([seen(attempt, TaskState.SUCCEEDED)], NOW)
    before = states_of(ledger, drop_id)
    ledger.observed([seen(attempt, TaskState.FAILED, AttemptState.LOST)], NOW)
    assert states_of(ledger, drop_id) == before


def test_a_look_that_knows_less_than_the_ledger_moves_nothing_back(ledger: Ledger) -> None:
    """A share that is away for a moment hides the start token of a process that still runs."""
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.observed([seen(attempt, TaskState.RUNNING, AttemptState.RUNNING)], NOW)
    ledger.observed([Observation(attempt, True, AttemptState.SUBMITTED)], NOW)
    assert ledger.attempt(attempt.key).state is AttemptState.RUNNING


def test_a_message_with_a_name_that_is_not_utf8_can_be_recorded(ledger: Ledger) -> None:
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    failed = TaskObservation(attempt.tasks[0].key, TaskState.FAILED, message="bad\udcff.dat cannot be read.")
    ledger.observed([Observation(attempt, True, AttemptState.ENDED, (failed,))], NOW)
    assert ledger.jobs()[0].tasks[1].message == "bad\\udcff.dat cannot be read."


def test_of_attempts_made_at_one_time_the_first_made_comes_first(ledger: Ledger) -> None:
    accept(ledger, *"abcdefgh")
    made = [ledger.submitting(job_id, allocation, NOW) for job_id, allocation in ledger.ready(NOW)]
    assert [one.key for one in ledger.live_attempts()] == [one.key for one in made]


# --- orders ----------------------------------------------------------------------------------------------------------


def failed_job(ledger: Ledger) -> str:
    accept(ledger)
    run_next(ledger)
    run_next(ledger, TaskState.FAILED)
    return ledger.jobs()[0].job_id


def test_a_job_that_is_run_again_keeps_what_succeeded(ledger: Ledger) -> None:
    job_id = failed_job(ledger)
    assert ledger.retry(job_id, None, NOW) == 4
    assert run_next(ledger) == ["compress_data[behavior]", "compress_data[ecephys]"]
    assert run_next(ledger) == ["upload_data_to_s3"]
    (job,) = ledger.jobs()
    assert (job.state, ledger.drops()[0].state) == (JobState.SUCCEEDED, DropState.SUCCEEDED)
    assert {task.key: task.attempt for task in job.tasks if task.attempt} == {
        "check_s3_folder_exists": 1,
        "create_staging_folder": 1,
        "compress_data[behavior]": 2,
        "compress_data[ecephys]": 2,
        "upload_data_to_s3": 1,
    }
    assert [due.mail.kind for due in ledger.due_mails(NOW)] == ["begin", "fail", "retry", "end"]
    assert ledger.history("job", job_id) == [
        (None, "accepted"),
        ("accepted", "running"),
        ("running", "failed"),
        ("failed", "running"),
        ("running", "succeeded"),
    ]


def test_a_job_that_fails_again_mails_again(ledger: Ledger) -> None:
    job_id = failed_job(ledger)
    ledger.retry(job_id, None, NOW)
    run_next(ledger, TaskState.FAILED)
    assert [due.mail.kind for due in ledger.due_mails(NOW)] == ["begin", "fail", "retry", "fail"]


def test_from_a_task_on_also_what_succeeded_runs_again(ledger: Ledger) -> None:
    accept(ledger)
    while run_next(ledger):
        pass
    (job,) = ledger.jobs()
    assert ledger.retry(job.job_id, "compress_data[behavior]", NOW) == 3
    assert run_next(ledger) == ["compress_data[behavior]"]
    assert run_next(ledger) == ["upload_data_to_s3"]
    assert ledger.jobs()[0].state is JobState.SUCCEEDED


def test_from_what_the_agent_did_itself_on_runs_again_what_needs_it(ledger: Ledger) -> None:
    tasks = tuple(replace(one, needs=("send_job_start_email",)) if "s3_folder" in one.key else one for one in TASKS)
    ledger.accept(a_drop(), [(a_job(), a_plan(tasks=tasks))], [], NOW)
    while run_next(ledger):
        pass
    (job,) = ledger.jobs()
    ledger.retry(job.job_id, "send_job_start_email", NOW)
    assert run_next(ledger) == ["check_s3_folder_exists", "create_staging_folder"]
    while run_next(ledger):
        pass
    assert ledger.jobs()[0].state is JobState.SUCCEEDED
    with pytest.raises(OrderRefused, match="has no task to run again"):
        ledger.retry(job.job_id, "send_job_end_email", NOW)


def test_an_order_that_makes_no_sense_changes_nothing(ledger: Ledger) -> None:
    accept(ledger, "one")
    (job,) = ledger.jobs()
    with pytest.raises(OrderRefused, match="is accepted; only what failed or was cancelled"):
        ledger.retry(job.job_id, None, NOW)
    with pytest.raises(OrderRefused, match="There is no job nobody"):
        ledger.cancel("nobody", "why", NOW)
    while run_next(ledger):
        pass
    with pytest.raises(OrderRefused, match="has ended already: succeeded"):
        ledger.cancel(job.job_id, "why", NOW)
    with pytest.raises(OrderRefused, match="has no task nonsense"):
        ledger.retry(job.job_id, "nonsense", NOW)
    assert ledger.jobs()[0].state is JobState.SUCCEEDED


def test_a_job_is_not_run_again_while_another_uploads_to_its_place(ledger: Ledger) -> None:
    job_id = failed_job(ledger)
    accept(ledger, drop=a_drop("b.csv", "2" * 64))
    with pytest.raises(OrderRefused, match="uploads to the same place now"):
        ledger.retry(job_id, None, NOW)


def test_a_job_is_not_run_again_over_what_a_later_one_has_uploaded_to_its_place(ledger: Ledger) -> None:
    job_id = failed_job(ledger)
    accept(ledger, drop=a_drop("b.csv", "2" * 64))
    while run_next(ledger):
        pass
    (other,) = (job.job_id for job in ledger.jobs() if job.state is JobState.SUCCEEDED)
    with pytest.raises(OrderRefused, match=f"Job {other} has uploaded to the same place since: this one would write"):
        ledger.retry(job_id, None, later(2))
    ledger.retry(other, "upload_data_to_s3", later(2))


def test_a_cancelled_job_starts_nothing_and_asks_what_runs_to_end(ledger: Ledger) -> None:
    accept(ledger)
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.cancel(job_id, "Cancelled by somebody.", later(1))
    assert ledger.ready(NOW) == []
    assert [one.stop_at for one in ledger.live_attempts()] == [later(1)]
    ledger.observed([Observation(attempt, True, AttemptState.ENDED)], later(2))
    (job,) = ledger.jobs()
    assert job.state is JobState.CANCELLED
    assert {task.state for task in job.tasks} == {TaskState.SUCCEEDED, TaskState.CANCELLED, TaskState.SKIPPED}
    ledger.retry(job_id, None, later(3))
    while run_next(ledger):
        pass
    assert ledger.jobs()[0].state is JobState.SUCCEEDED


def test_a_final_state_is_left_only_by_an_order(ledger: Ledger) -> None:
    failed_job(ledger)
    connection = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match="may not make this move"):
        connection.execute("UPDATE jobs SET state = 'running'")
    connection.close()


# --- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        ("drop", states.DROP_MOVES),
        ("job", states.JOB_MOVES),
        ("task", states.TASK_MOVES),
        ("attempt", states.ATTEMPT_MOVES),
        ("drop retry", states.DROP_RETRY_MOVES),
        ("job retry", states.JOB_RETRY_MOVES),
        ("task retry", states.TASK_RETRY_MOVES),
    ],
)
def test_the_moves_of_the_schema_are_those_of_states(
    ledger: Ledger, kind: str, moves: Mapping[Enum, frozenset[Enum]]
) -> None:
    with sqlite3.connect(ledger.path) as connection:
        stored = set(connection.execute("SELECT from_state, to_state FROM moves WHERE kind = ?", (kind,)))
    connection.close()
    assert stored == {(a.value, b.value) for a, following in moves.items() for b in following}


@pytest.mark.parametrize("moves", [states.DROP_MOVES, states.JOB_MOVES, states.TASK_MOVES, states.ATTEMPT_MOVES])
def test_no_path_leads_back(moves: Mapping[Enum, frozenset[Enum]]) -> None:
    def reachable(state: Enum) -> set[Enum]:
        return {end for following in moves[state] for end in (following, *reachable(following))}

    assert all(state not in reachable(state) for state in moves)


@pytest.mark.parametrize(
    ("table", "key", "end"),
    [("jobs", "job_id", "running"), ("drops", "drop_id", "accepted"), ("tasks", "key", "waiting")],
)
def test_the_database_refuses_a_move_that_is_not_allowed(ledger: Ledger, table: str, key: str, end: str) -> None:
    accept(ledger)
    while run_next(ledger):
        pass
    connection = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match="may not make this move"):
        connection.execute(f"UPDATE {table} SET state = ?", (end,))
    with pytest.raises(sqlite3.IntegrityError, match="history is never changed"):
        connection.execute("UPDATE history SET to_state = 'x'")
    connection.close()


def test_every_move_is_in_the_history(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    while run_next(ledger):
        pass
    (job,) = ledger.standing(drop_id).jobs
    assert ledger.history("drop", str(drop_id)) == [
        (None, "accepted"),
        ("accepted", "running"),
        ("running", "succeeded"),
    ]
    assert ledger.history("task", f"{job.job_id}/upload_data_to_s3") == [
        ("waiting", "submitted"),
        ("submitted", "succeeded"),
    ]


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_status_is_due_when_something_changed_and_not_more_than_once_a_second(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    (untold,) = ledger.untold(NOW)
    ledger.told(untold, NOW)
    assert ledger.untold(NOW) == []
    ((job_id, allocation),) = ledger.ready(NOW)
    ledger.submitting(job_id, allocation, NOW)
    assert ledger.untold(later(0.5)) == []
    assert [one.drop_id for one in ledger.untold(later(1))] == [drop_id]


def test_the_status_of_a_large_manifest_is_due_less_often_and_its_end_at_once(ledger: Ledger) -> None:
    accept(ledger, *(f"{number:02}" for number in range(40)))
    (untold,) = ledger.untold(NOW)
    ledger.told(untold, NOW)
    first, *others = [ledger.submitting(job_id, allocation, NOW) for job_id, allocation in ledger.ready(NOW)]
    ledger.observed([seen(first, TaskState.FAILED)], NOW)
    assert (len(ledger.untold(later(1.9))), len(ledger.untold(later(2)))) == (0, 1)
    ledger.observed([seen(one, TaskState.FAILED) for one in others], NOW)
    assert len(ledger.untold(NOW)) == 1


def test_a_mail_about_one_job_reads_no_other(ledger: Ledger) -> None:
    drop_id = accept(ledger, "one", "two")
    assert [job.s3_prefix for job in ledger.standing(drop_id, ledger.jobs()[1].job_id).jobs] == ["two"]


def test_mails_go_out_some_at_a_time(ledger: Ledger) -> None:
    accept(ledger, *(f"{number:02}" for number in range(30)))
    first = ledger.due_mails(NOW)
    for due in first:
        ledger.mailed(due.mail, NOW)
    assert (len(first), len(ledger.due_mails(NOW))) == (20, 10)


def test_what_changed_while_a_status_was_written_is_still_due(ledger: Ledger) -> None:
    accept(ledger)
    (untold,) = ledger.untold(NOW)
    ((job_id, allocation),) = ledger.ready(NOW)
    ledger.submitting(job_id, allocation, NOW)
    ledger.told(untold, NOW)
    assert len(ledger.untold(later(1))) == 1


def test_an_answer_that_could_not_be_written_is_tried_again_and_said(ledger: Ledger) -> None:
    ledger.refuse(a_drop(), [], ["a@b.org"], NOW)
    (untold,) = ledger.untold(NOW)
    ledger.not_told(untold, "the disk is full", NOW)
    (due,) = ledger.due_mails(NOW)
    ledger.not_mailed(due.mail, "the disk is full", NOW)
    assert ledger.untold(later(1)) == []
    assert ledger.due_mails(later(1)) == []
    assert len(ledger.untold(later(2))) == 1
    assert len(ledger.due_mails(later(2))) == 1
    assert ledger.undelivered() == [("a.csv", "the disk is full"), ("a.csv", "the disk is full")]
    assert not ledger.is_idle(3)
    assert ledger.is_idle(1)


def test_a_new_start_waits_for_nothing_that_failed_before(ledger: Ledger, tmp_path: Path) -> None:
    ledger.refuse(a_drop(), [], ["a@b.org"], NOW)
    accept(ledger, drop=a_drop("b.csv"))
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ledger.not_submitted(attempt, "Not now.", NOW)
    for untold in ledger.untold(NOW):
        ledger.not_told(untold, "the disk is full", NOW)
    for due in ledger.due_mails(NOW):
        ledger.not_mailed(due.mail, "the disk is full", NOW)
    ledger.close()
    reopened = open_ledger(tmp_path)
    assert (len(reopened.untold(NOW)), len(reopened.due_mails(NOW))) == (2, 2)
    assert reopened.may_try(attempt, NOW)
    assert len(reopened.undelivered()) == 4
    assert not reopened.is_idle(1)
    reopened.close()


def test_a_mail_that_is_out_is_never_due_again(ledger: Ledger) -> None:
    ledger.refuse(a_drop(), [], ["a@b.org"], NOW)
    (due,) = ledger.due_mails(NOW)
    ledger.mailed(due.mail, NOW)
    assert ledger.due_mails(later(1000)) == []


def test_what_was_put_off_before_the_clock_went_back_is_due_now(ledger: Ledger) -> None:
    ledger.refuse(a_drop(), [], ["a@b.org"], NOW)
    accept(ledger, drop=a_drop("b.csv"))
    ((job_id, allocation),) = ledger.ready(NOW)
    attempt = ledger.submitting(job_id, allocation, NOW)
    ahead = later(24 * 3600)
    ledger.not_submitted(attempt, "Not now.", ahead)
    for untold in ledger.untold(ahead):
        ledger.not_told(untold, "the disk is full", ahead)
    for due in ledger.due_mails(ahead):
        ledger.not_mailed(due.mail, "the disk is full", ahead)
    assert (len(ledger.untold(NOW)), len(ledger.due_mails(NOW))) == (2, 2)
    assert ledger.may_try(attempt, NOW)


# --- the file --------------------------------------------------------------------------------------------------------


def test_one_agent_at_a_time(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerInUse, match="Another agent works on"):
        open_ledger(tmp_path)


def test_a_reader_sees_what_the_agent_writes_and_cannot_write(ledger: Ledger, tmp_path: Path) -> None:
    reader = Reader.of(ledger.path, tmp_path / "work")
    accept(ledger)
    assert len(reader.jobs()) == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM jobs")
    reader.close()


def test_there_is_no_reading_where_no_ledger_is(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="There is no ledger at"):
        Reader.of(tmp_path / "ledger.sqlite", tmp_path)


def test_a_ledger_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    path = tmp_path / "state" / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(LedgerUnavailable, match="Start the agent of the newer version"):
        open_ledger(tmp_path)


def test_a_file_that_is_no_ledger_is_said(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger.sqlite"
    path.parent.mkdir()
    path.write_text("this is not a database, and it is long enough to be looked at as one " * 50)
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        open_ledger(tmp_path)


def test_a_ledger_that_cannot_be_opened_is_let_go_of(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    path = tmp_path / "state" / "ledger.sqlite"
    whole = path.read_bytes()
    path.write_bytes(b"this is not a database" * 500)
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            open_ledger(tmp_path)
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            Reader.of(path, tmp_path)
    gc.collect()  # A connection that was left open would warn here, and warnings are errors.
    path.write_bytes(whole)
    open_ledger(tmp_path).close()


# --- transactions within transactions ---------------------------------------------------------------------------------


def test_what_is_undone_within_a_transaction_is_undone_whole_however_deep(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    with ledger._transaction():
        ledger.note(drop_id, "kept", NOW)
        with suppress(OrderRefused), ledger._transaction():
            ledger.note(drop_id, "undone", NOW)
            with suppress(OrderRefused):
                ledger.cancel("no such job", "for a test", NOW)
            raise OrderRefused("for a test")
    assert ledger.standing(drop_id).note == "kept"


def test_nothing_is_recorded_within_a_transaction_that_a_failure_left_open(ledger: Ledger) -> None:
    drop_id = accept(ledger)
    ledger._connection.execute("BEGIN")
    with pytest.raises(LedgerUnavailable, match="could not be written"):
        ledger.note(drop_id, "would never be committed", NOW)


@pytest.mark.parametrize("room", [0, 1000, 5000, 20_000])
def test_on_a_full_disk_nothing_of_an_order_is_recorded(ledger: Ledger, tmp_path: Path, room: int) -> None:
    accept(ledger, *(str(number) for number in range(100)))
    full = (tmp_path / "state" / "ledger.sqlite-wal").stat().st_size + room
    with no_file_may_grow_beyond(full), pytest.raises(LedgerUnavailable), ledger.carrying_out("order", NOW):
        for job in ledger.jobs():
            ledger.cancel(job.job_id, "x" * 10_000, NOW)
    assert [task.message for job in ledger.jobs() for task in job.tasks if task.state is TaskState.CANCELLED] == []
    with ledger.carrying_out("order", NOW) as is_new:
        assert is_new


@contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    """What a full disk does, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1000, 5000, 20_000, 40_000])
def test_on_a_full_disk_nothing_half_is_recorded_and_the_ledger_goes_on_afterwards(
    ledger: Ledger, tmp_path: Path, room: int
) -> None:
    accept(ledger, drop=a_drop("before.csv"))
    full = (tmp_path / "state" / "ledger.sqlite-wal").stat().st_size + room
    with no_file_may_grow_beyond(full), pytest.raises(LedgerUnavailable, match="could not be written"):
        for number in range(100):
            accept(ledger, *(f"{number}-{n}" for n in range(5)), drop=a_drop(f"{number}.csv"))
    assert all(len(standing.jobs) == 5 for standing in ledger.drops()[:-1])
    assert accept(ledger, "after", drop=a_drop("after.csv"))
    assert run_next(ledger)


def test_a_ledger_that_cannot_be_read_is_unavailable(ledger: Ledger, tmp_path: Path) -> None:
    reader = Reader.of(ledger.path, tmp_path / "work")
    accept(ledger)
    connection = sqlite3.connect(ledger.path, isolation_level=None)
    connection.execute("ALTER TABLE drops RENAME TO torn")
    connection.close()
    with pytest.raises(LedgerUnavailable, match="could not be read: no such table"):
        reader.drops()
    reader.close()


def scans(ledger: Ledger, sql: str, **values: object) -> list[str]:
    """Return the tables that a query reads from end to end."""
    plan = ledger._all(f"EXPLAIN QUERY PLAN {sql}", values)
    tables = ("SCAN tasks", "SCAN jobs", "SCAN drops", "SCAN outbox", "SCAN attempts", "SCAN needs")
    return [row["detail"] for row in plan if row["detail"] in tables]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT job_id, allocation FROM ready",
        "SELECT drop_id, changes FROM drops WHERE changes > told ORDER BY drop_id",
        "SELECT * FROM outbox WHERE sent IS NULL ORDER BY mail_id",
        "SELECT count(*) FROM jobs WHERE state IN ('accepted', 'running')",
        "SELECT * FROM attempts WHERE state IN ('submitting', 'submitted', 'running') ORDER BY +rowid",
    ],
)
def test_what_every_tick_asks_does_not_read_the_whole_past(ledger: Ledger, sql: str) -> None:
    assert scans(ledger, sql) == []


class Crashes(RuleBasedStateMachine):
    """Accept, run, crash and reopen in any order: nothing is lost, nothing is doubled, no end is left again."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: set[str] = set()
        self.ends: dict[tuple[str, str], TaskState] = {}
        self.started: list[str] = []

    @initialize(folder=st.just(None))
    def make(self, folder: None) -> None:
        import tempfile

        self.keep = tempfile.TemporaryDirectory()
        self.folder = Path(self.keep.name)
        self.ledger = open_ledger(self.folder)

    def teardown(self) -> None:
        self.ledger.close()
        self.keep.cleanup()

    @rule(n=st.integers(0, 5))
    def accept(self, n: int) -> None:
        drop = a_drop(f"{n}.csv", str(n) * 64)
        if self.ledger.accept(drop, [(a_job(f"p{n}"), a_plan(f"p{n}"))], [], NOW) is not None:
            assert f"p{n}" not in self.accepted, "the same drop was accepted twice"
            self.accepted.add(f"p{n}")

    @precondition(lambda self: self.ledger.ready(NOW))
    @rule(data=st.data())
    def intend(self, data: st.DataObject) -> None:
        job_id, allocation = data.draw(st.sampled_from(self.ledger.ready(NOW)))
        attempt = self.ledger.submitting(job_id, allocation, NOW)
        assert attempt.key not in self.started
        self.started.append(attempt.key)

    @precondition(lambda self: self.ledger.live_attempts())
    @rule(data=st.data(), state=st.sampled_from([TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED]))
    def observe(self, data: st.DataObject, state: TaskState) -> None:
        # Attempts of one moment are listed by their keys, which hash the ledger's random name: the same choice has to
        # mean the same attempt each time, or hypothesis sees a machine that is not reproducible.
        live = sorted(self.ledger.live_attempts(), key=lambda one: (one.job_id.partition(".")[0], one.allocation))
        attempt = data.draw(st.sampled_from(live))
        ended = AttemptState.RUNNING if state is TaskState.RUNNING else AttemptState.ENDED
        tasks = seen(attempt, state).tasks[: 1 if state is not TaskState.SUCCEEDED else None]
        self.ledger.observed([replace(seen(attempt, state, ended), tasks=tasks)], NOW)

    @rule()
    def crash(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.folder)

    @invariant()
    def nothing_is_lost_and_no_end_is_left_again(self) -> None:
        if not hasattr(self, "ledger"):
            return
        jobs = self.ledger.jobs()
        assert {job.s3_prefix for job in jobs} == self.accepted
        for job in jobs:
            for one in job.tasks:
                before = self.ends.get((job.job_id, one.key))
                assert before in (None, one.state)
                if one.state in states.FINAL_TASK_STATES:
                    self.ends[job.job_id, one.key] = one.state
            if job.state in states.FINAL_JOB_STATES:
                assert all(one.state in states.FINAL_TASK_STATES for one in job.tasks)


Crashes.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=25, deadline=None)
test_accept_run_crash_and_reopen_in_any_order = Crashes.TestCase


def test_of_one_manifest_only_a_wave_of_jobs_is_ready_and_the_rest_waits_its_turn(ledger: Ledger) -> None:
    accept(ledger, "one", "two", "three")
    accept(ledger, "four", drop=a_drop("b.csv", "2" * 64))
    names = {job.job_id: job.s3_prefix for job in ledger.jobs()}
    assert [names[job_id] for job_id, _ in ledger.ready(NOW, 2)] == ["one", "two", "four"]


def test_the_inventory_of_the_last_upload_of_a_job_is_kept_as_it_is(ledger: Ledger) -> None:
    accept(ledger)
    (job,) = ledger.jobs()
    assert ledger.inventory(job.job_id) is None
    for content in (b'{"files": [1]}', b'{"files": [1, 2]}'):
        digest = hashlib.sha256(content).hexdigest()
        assert not ledger.has_inventory(job.job_id, digest)
        ledger.keep_inventory(job.job_id, content, NOW)
        assert ledger.has_inventory(job.job_id, digest)
        assert ledger.inventory(job.job_id) == content
