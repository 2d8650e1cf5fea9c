"""Lists out of the ledger: searched, sorted and cut; and a ledger of the first version, migrated step by step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from filled_ledger import INBOX, NOW, a_job, accepted, at, refused, run_to_its_end, see

from dropbox_agent.ledger import Ledger, Lists
from dropbox_agent.model import (
    Choices,
    DropLine,
    DropSearch,
    JobLine,
    JobOrder,
    JobSearch,
    Level,
    Place,
    Problem,
    ProjectLine,
)
from dropbox_agent.states import AttemptState, DropState, JobState, TaskState

FIRST_LEDGER = Path(__file__).parent / "first_ledger.sql"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "state" / "ledger.sqlite", tmp_path / "work", NOW)
    yield opened
    opened.close()


@pytest.fixture
def lists(ledger: Ledger) -> Iterator[Lists]:
    opened = Lists.of(ledger.path)
    yield opened
    opened.close()


def fill(ledger: Ledger) -> None:
    """Two manifests: one with a job that succeeded and one that failed, a day later one that waits."""
    first = a_job("ecephys_1", subject_id="1", user_email="anna@example.org")
    second = a_job("100%_sure", row=3, subject_id="22", project_name="SmartSPIM", user_email=None)
    accepted(ledger, "monday.csv", [first, second], NOW)
    ids = {job.s3_prefix: job.job_id for job in ledger.jobs()}
    run_to_its_end(ledger, ids["ecephys_1"], at(1))
    run_to_its_end(ledger, ids["100%_sure"], at(2), TaskState.FAILED)
    third = a_job("behavior_3", job_type="behavior", modalities=("behavior-videos",), user_email="Bob@example.org")
    accepted(ledger, "tuesday.xlsx", [third], NOW + timedelta(days=1))


def names(lists: Lists, search: JobSearch | None = None, limit: int = 10, offset: int = 0) -> list[str]:
    return [job.s3_prefix for job in lists.jobs(search or JobSearch(), limit, offset)]


def test_a_line_tells_all_of_a_job_but_its_plan(ledger: Ledger, lists: Lists) -> None:
    fill(ledger)
    (line,) = lists.jobs(JobSearch(words=("ecephys_1",)), 10)
    job = ledger.job(line.job_id)
    assert job is not None
    assert line == JobLine(
        job_id=job.job_id, s3_prefix="ecephys_1", state=JobState.SUCCEEDED, subject_id="1",
        project_name="Ephys Platform", job_type="ecephys", platform=None, modalities=("behavior", "ecephys"),
        user_email="anna@example.org", bucket="default", acq_datetime=NOW - timedelta(days=1), created=NOW,
        started=job.started, ended=job.ended, drop_id=1, manifest="monday.csv", row=2, done=6, total=6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (JobSearch(), ["behavior_3", "ecephys_1", "100%_sure"]),
        (JobSearch(words=("ECEPHYS", "anna")), ["ecephys_1"]),
        (JobSearch(words=("tuesday",)), ["behavior_3"]),
        (JobSearch(words=("0%_s",)), ["100%_sure"]),
        (JobSearch(words=("%",)), ["100%_sure"]),
        (JobSearch(words=("'; DROP TABLE jobs; --",)), []),
        (JobSearch(states=(JobState.FAILED, JobState.ACCEPTED)), ["behavior_3", "100%_sure"]),
        (JobSearch(user="bob@"), ["behavior_3"]),
        (JobSearch(project="spim"), ["100%_sure"]),
        (JobSearch(subject="22"), ["100%_sure"]),
        (JobSearch(job_type="behavior"), ["behavior_3"]),
        (JobSearch(modality="behavior"), ["ecephys_1", "100%_sure"]),
        (JobSearch(since=date(2026, 2, 1)), ["behavior_3"]),
        (JobSearch(until=date(2026, 1, 31)), ["ecephys_1", "100%_sure"]),
        (JobSearch(until=date.max), ["behavior_3", "ecephys_1", "100%_sure"]),
        (JobSearch(drop_id=1, states=(JobState.SUCCEEDED,)), ["ecephys_1"]),
    ],
    ids=str,
)
def test_a_search_finds_these_jobs(ledger: Ledger, lists: Lists, search: JobSearch, found: list[str]) -> None:
    fill(ledger)
    assert names(lists, search) == found
    assert sum(lists.count_jobs(search)[state] for state in search.states or JobState) == len(found)


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("submitted", ["ecephys_1", "100%_sure", "behavior_3"]),
        ("job", ["100%_sure", "behavior_3", "ecephys_1"]),
        ("state", ["behavior_3", "100%_sure", "ecephys_1"]),
        ("subject", ["behavior_3", "ecephys_1", "100%_sure"]),
        ("project", ["behavior_3", "ecephys_1", "100%_sure"]),
        ("job_type", ["behavior_3", "ecephys_1", "100%_sure"]),
        ("user", ["100%_sure", "behavior_3", "ecephys_1"]),
    ],
)
def test_jobs_are_sorted_by(ledger: Ledger, lists: Lists, order: JobOrder, found: list[str]) -> None:
    fill(ledger)
    ascending = names(lists, JobSearch(order=order, ascending=True))
    assert ascending == (["100%_sure", "ecephys_1", "behavior_3"] if order == "submitted" else found)
    assert sorted(names(lists, JobSearch(order=order))) == sorted(found)


def test_every_job_is_on_exactly_one_page_and_all_can_be_read_in_turn(ledger: Ledger, lists: Lists) -> None:
    accepted(ledger, "many.csv", [a_job(f"job_{number:03d}", row=number + 2) for number in range(120)])
    pages = [names(lists, limit=50, offset=offset) for offset in (0, 50, 100, 150)]
    assert [len(page) for page in pages] == [50, 50, 20, 0]
    assert [name for page in pages for name in page] == [f"job_{number:03d}" for number in range(120)]
    assert [job.s3_prefix for job in lists.every_job(JobSearch(), 70)] == [f"job_{number:03d}" for number in range(70)]


def test_days_and_choices_and_projects(ledger: Ledger, lists: Lists) -> None:
    fill(ledger)
    assert lists.days(JobSearch(), date(2026, 1, 1)) == {
        date(2026, 1, 31): {JobState.SUCCEEDED: 1, JobState.FAILED: 1},
        date(2026, 2, 1): {JobState.ACCEPTED: 1},
    }
    assert lists.days(JobSearch(job_type="ecephys"), date(2026, 2, 1)) == {}
    assert lists.choices() == Choices(
        users=("anna@example.org", "Bob@example.org"),
        projects=("Ephys Platform", "SmartSPIM"),
        job_types=("behavior", "ecephys"),
        modalities=("behavior", "behavior-videos", "ecephys"),
    )
    assert lists.projects() == [
        ProjectLine("Ephys Platform", {JobState.ACCEPTED: 1, JobState.SUCCEEDED: 1}, NOW + timedelta(days=1)),
        ProjectLine("SmartSPIM", {JobState.FAILED: 1}, NOW),
    ]


def test_manifests_are_counted_and_listed_with_how_many_jobs_are_where(ledger: Ledger, lists: Lists) -> None:
    fill(ledger)
    problem = Problem(Level.ERROR, Place("monday.csv", None, 2, "job_type", "C2"), "Not known.")
    refused(ledger, "monday.csv", [problem, replace(problem, level=Level.WARNING)], at(60))
    assert [(line.name, line.version) for line in lists.drops(DropSearch(), 10)] == [
        ("monday.csv", 2), ("tuesday.xlsx", 1),
    ]  # fmt: skip
    refusal, first = lists.versions(1)
    assert first == DropLine(
        1, "monday.csv", INBOX, 1, first.sha256, DropState.FAILED, NOW, first.updated, None, 0, 0,
        {JobState.SUCCEEDED: 1, JobState.FAILED: 1},
    )  # fmt: skip
    assert (refusal.state, refusal.errors, refusal.warnings, refusal.jobs) == (DropState.REFUSED, 1, 1, {})
    counts = {state: n for state, n in lists.count_drops(DropSearch(states=(DropState.FAILED,))).items() if n}
    assert counts == {DropState.REFUSED: 1, DropState.ACCEPTED: 1}
    assert lists.drops(DropSearch(("TUES",), (DropState.ACCEPTED,)), 10)[0].name == "tuesday.xlsx"


def test_history_and_attempts_of_one_job(ledger: Ledger, lists: Lists) -> None:
    fill(ledger)
    (job,) = lists.jobs(JobSearch(words=("ecephys_1",)), 1)
    moves = [(move.kind, move.name, move.before, move.after) for move in lists.moves(job.job_id)]
    assert moves[0] == ("job", job.job_id, None, "accepted")
    assert ("job", job.job_id, "running", "succeeded") in moves
    assert ("task", "upload_data_to_s3", "submitted", "succeeded") in moves
    tries = lists.attempts(job.job_id)
    assert [(one.number, one.tasks, one.state) for one in tries][:1] == [
        (1, ("check_s3_folder_exists", "create_staging_folder"), AttemptState.ENDED)
    ]
    assert lists.attempt_key(job.job_id, "upload_data_to_s3", 1) == tries[-1].key
    assert lists.attempt_key(job.job_id, "upload_data_to_s3", 2) is None
    assert lists.attempt_key(job.job_id, "../../etc/passwd", 1) is None


def test_no_list_reads_the_table_with_the_plans(ledger: Ledger, lists: Lists) -> None:
    fill(ledger)
    asked: list[str] = []
    lists._connection.set_trace_callback(asked.append)
    search = JobSearch(words=("e",), user="a", modality="ecephys", since=date(2026, 1, 1))
    lists.jobs(search, 10)
    for order in ("job", "state", "user"):
        lists.jobs(JobSearch(order=order), 10)
    lists.count_jobs(search)
    lists.days(search, date(2026, 1, 1))
    lists.choices()
    lists.projects()
    lists.drops(DropSearch(), 10)
    lists._connection.set_trace_callback(None)
    steps = [
        row["detail"] for sql in asked for row in lists._connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
    ]
    assert [step for step in steps if " jobs" in step and "COVERING INDEX" not in step] == []


# --- a ledger of the first version -----------------------------------------------------------------------------------


def restored(folder: Path) -> Path:
    """Return a ledger as the program wrote it when its schema was the first: jobs run, wait, are handed over."""
    path = folder / "state" / "ledger.sqlite"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_LEDGER.read_text())
    connection.close()
    return path


def test_the_oldest_ledger_is_migrated_and_its_live_jobs_go_on(tmp_path: Path) -> None:
    path = restored(tmp_path)
    with closing(Ledger.open(path, tmp_path / "work", NOW)) as ledger:
        states = [attempt.state for attempt in ledger.live_attempts()]
        assert states == [AttemptState.SUBMITTED, AttemptState.SUBMITTING]
        ids = {job.s3_prefix: job.job_id for job in ledger.jobs()}
        for attempt in ledger.live_attempts():
            see(ledger, attempt, TaskState.SUCCEEDED, at(1), at(2))
        for job_id in ids.values():
            run_to_its_end(ledger, job_id, at(3))
        assert {name: state for name, state in ledger.count_jobs().items() if state} == {"succeeded": 3}
    lists = Lists.of(path)
    assert len(lists.jobs(JobSearch(states=(JobState.SUCCEEDED,)), 10)) == 3
    lists.close()


def test_a_migrated_ledger_is_built_as_a_new_one_is(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    paths = (restored(tmp_path), tmp_path / "new" / "ledger.sqlite")
    for path in paths:
        Ledger.open(path, tmp_path / "work", NOW).close()
    old, new = (schema_of(path) for path in paths)
    assert old == new


def schema_of(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
    connection.close()
    return {name: "".join(line.partition("--")[0] for line in sql.splitlines()).replace(" ", "") for name, sql in rows}
