"""What people and programs are told about a manifest."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from dropbox_agent import report
from dropbox_agent.errors import TemplateUnusable
from dropbox_agent.model import (
    EarlierAttempt,
    JobStanding,
    Level,
    Mail,
    Names,
    Place,
    Plan,
    PlannedTask,
    Problem,
    Standing,
    TaskStanding,
)
from dropbox_agent.states import Cause, DropState, JobState, TaskState

TEMPLATES = Path(__file__).parents[1] / "templates"
NOW = datetime(2024, 5, 27, 16, 7, 59, tzinfo=timezone.utc)
PREFIX = "ecephys_123456_2024-05-27_16-00-00"
SITE = {"name": "Lab 7", "help_url": "https://help.example.org/uploads", "contact": "data@example.org"}
HOSTILE = '<script>alert("x")</script>{{ 7*7 }}\u202egnp.exe\x00\x1b[31m\udcff'
KINDS = ("begin", "end", "fail", "retry", "refused")


@pytest.fixture
def pages() -> report.Pages:
    return report.Pages([TEMPLATES], SITE)


def a_task(key: str, state: TaskState, **facts: Any) -> TaskStanding:
    standing = TaskStanding(
        key=key,
        task_id=key.partition("[")[0],
        modality=key.partition("[")[2].rstrip("]") or None,
        state=state,
        started=None,
        ended=None,
        attempt=1,
        slurm_job_id=None,
        log=None,
        message=None,
        progress=None,
    )
    return replace(standing, **facts)


def a_job(state: JobState, *tasks: TaskStanding, **facts: Any) -> JobStanding:
    standing = JobStanding(
        job_id=f"{PREFIX}.abc123",
        s3_prefix=PREFIX,
        bucket="default",
        location=f"file:///srv/bucket/{PREFIX}",
        job_type="ecephys",
        project_name="Ephys Platform",
        subject_id="123456",
        platform="ecephys",
        modalities=("ecephys", "behavior"),
        user_email="anna@example.org",
        email_types=frozenset({"all"}),
        row=2,
        state=state,
        created=NOW,
        started=NOW,
        ended=None,
        tasks=tasks,
        plan=Plan("ecephys", PREFIX, "default", f"file:///srv/bucket/{PREFIX}", (), "0" * 64),
    )
    return replace(standing, **facts)


def a_standing(state: DropState, *jobs: JobStanding, problems: tuple[Problem, ...] = (), **facts: Any) -> Standing:
    standing = Standing(
        drop_id=1,
        name="session.xlsx",
        inbox=Path("/srv/inbox"),
        sha256="f" * 64,
        state=state,
        noticed=NOW - timedelta(seconds=20),
        updated=NOW,
        problems=problems,
        jobs=jobs,
    )
    return replace(standing, **facts)


def a_problem(row: int | None, column: str | None = "job_type", **facts: Any) -> Problem:
    place = Place("session.xlsx", sheet="jobs", row=row, column=column, cell="A7" if row == 7 else None)
    found = Problem(Level.ERROR, place, '"ephsy" is not a known job type.', found="ephsy", suggestion="ephys")
    return replace(found, **facts)


def a_mail(kind: str, job_id: str | None = f"{PREFIX}.abc123") -> Mail:
    return Mail(mail_id=1, drop_id=1, number=1, kind=kind, to="anna@example.org", job_id=job_id, created=NOW)


UPLOADED = a_task(
    "upload_data_to_s3",
    TaskState.SUCCEEDED,
    started=NOW,
    ended=NOW + timedelta(seconds=65),
    log="/work/run/upload.log",
    message="12 files, 3.4 MB, each compared with the bucket.",
)
FAILED = a_task(
    "compress_data[ecephys]",
    TaskState.FAILED,
    started=NOW,
    ended=NOW,
    attempt=2,
    log="/work/run/compress_data.ecephys.log",
    message="continuous.dat changed while it was read.",
)
RUNNING = a_task(
    "upload_data_to_s3",
    TaskState.RUNNING,
    started=NOW,
    slurm_job_id="4711",
    progress={"done_bytes": 1_200_000, "total_bytes": 4_800_000, "done_files": 3, "total_files": 12},
)
ALL_KINDS_OF_STANDING = [
    a_standing(DropState.SETTLING),
    a_standing(DropState.REFUSED, problems=(a_problem(7), a_problem(None, None, level=Level.WARNING))),
    a_standing(DropState.ACCEPTED, a_job(JobState.ACCEPTED, started=None)),
    a_standing(DropState.RUNNING, a_job(JobState.RUNNING, RUNNING)),
    a_standing(DropState.SUCCEEDED, a_job(JobState.SUCCEEDED, UPLOADED, ended=NOW)),
    a_standing(DropState.FAILED, a_job(JobState.FAILED, FAILED), problems=(a_problem(7),)),
    a_standing(DropState.CANCELLED, a_job(JobState.CANCELLED, a_task("upload_data_to_s3", TaskState.CANCELLED))),
]


# --- status.json -----------------------------------------------------------------------------------------------------


def test_status_json_has_every_field_of_the_contract_and_no_other(pages: report.Pages) -> None:
    standing = a_standing(DropState.RUNNING, a_job(JobState.RUNNING, UPLOADED), problems=(a_problem(7),))
    assert report.render(standing, NOW, pages).status == {
        "schema": 1,
        "manifest": "session.xlsx",
        "sha256": "f" * 64,
        "state": "running",
        "summary": "1 job running; refused: 1 problem in row 7.",
        "updated": "2024-05-27T16:07:59.000Z",
        "problems": [
            {
                "level": "error",
                "file": "session.xlsx",
                "sheet": "jobs",
                "row": 7,
                "column": "job_type",
                "cell": "A7",
                "found": "ephsy",
                "message": '"ephsy" is not a known job type.',
                "suggestion": "ephys",
            }
        ],
        "jobs": [
            {
                "job_id": f"{PREFIX}.abc123",
                "s3_prefix": PREFIX,
                "location": f"file:///srv/bucket/{PREFIX}",
                "state": "running",
                "tasks": [
                    {
                        "task_id": "upload_data_to_s3",
                        "modality": None,
                        "state": "succeeded",
                        "started": "2024-05-27T16:07:59.000Z",
                        "ended": "2024-05-27T16:09:04.000Z",
                        "attempt": 1,
                        "slurm_job_id": None,
                        "node": None,
                        "elapsed_seconds": None,
                        "max_rss_bytes": None,
                        "log_end": None,
                        "earlier_attempts": [],
                        "log": "/work/run/upload.log",
                        "message": "12 files, 3.4 MB, each compared with the bucket.",
                        "progress": None,
                    }
                ],
            }
        ],
    }


LIMITED = replace(
    FAILED,
    node="n2",
    elapsed_seconds=65.0,
    max_rss_bytes=433_000_000,
    log_end="reading <b>continuous.dat</b>\nMemoryError",
    earlier=(EarlierAttempt(1, NOW, Cause.TIMEOUT, "It reached its time limit.", "17", "n1", 3600.0, 5_000),),
)


def test_every_try_is_told_with_what_it_took_and_the_end_of_a_failed_log(pages: report.Pages) -> None:
    standing = a_standing(DropState.FAILED, a_job(JobState.FAILED, LIMITED))
    (task,) = report.status(standing)["jobs"][0]["tasks"]
    assert (task["node"], task["elapsed_seconds"], task["max_rss_bytes"]) == ("n2", 65.0, 433_000_000)
    assert task["earlier_attempts"] == [
        {
            "attempt": 1,
            "ended": "2024-05-27T16:07:59.000Z",
            "cause": "timeout",
            "message": "It reached its time limit.",
            "slurm_job_id": "17",
            "node": "n1",
            "elapsed_seconds": 3600.0,
            "max_rss_bytes": 5_000,
        }
    ]
    page = report.render(standing, NOW, pages).html
    assert "reading &lt;b&gt;continuous.dat&lt;/b&gt;\nMemoryError" in page
    assert "on n2, 1 min 5 s, 433 MB of memory" in page
    assert "It reached its time limit. (Slurm job 17, on n1, 1 h 0 min, 5.0 kB of memory)" in page


def test_where_tasks_ran_together_is_said_once_for_all_of_them(pages: report.Pages) -> None:
    facts: dict[str, Any] = {"started": NOW, "slurm_job_id": "17", "node": "n1", "elapsed_seconds": 3.9}
    tasks = [
        a_task("check_s3_folder_exists", TaskState.SUCCEEDED, allocation=1, **facts),
        a_task("create_staging_folder", TaskState.SUCCEEDED, allocation=1, **facts),
        a_task("gather_preliminary_metadata", TaskState.FAILED, allocation=1, **facts),
        a_task("check_metadata_files", TaskState.CANCELLED, allocation=1, **{**facts, "started": None}),
        a_task("compress_data[ecephys]", TaskState.SUCCEEDED, allocation=2, **facts),
        a_task("upload_data_to_s3", TaskState.SUCCEEDED, allocation=3, **{**facts, "slurm_job_id": None}),
    ]
    page = report.render(a_standing(DropState.FAILED, a_job(JobState.FAILED, *tasks)), NOW, pages).html
    assert re.findall(r'<div class="small quiet"><bdi>(.*?)</bdi>', page) == [
        "Slurm job 17, on n1, 3.9 s, together with create_staging_folder and gather_preliminary_metadata",
        "Slurm job 17",
        "Slurm job 17",
        "Slurm job 17",
        "Slurm job 17, on n1, 3.9 s",
        "on n1, 3.9 s",
    ]


def test_a_mail_about_another_try_says_why(pages: report.Pages) -> None:
    message = "It reached its time limit. It is run again with 90 minutes (1 of 3 times)."
    again = replace(LIMITED, state=TaskState.WAITING, message=message, allocation=2)
    after_it = replace(again, key="check_metadata_files")
    job = a_job(JobState.RUNNING, UPLOADED, again, after_it)
    words = report.mail(a_mail("retry"), a_standing(DropState.RUNNING, job), pages)
    assert (
        words.text.partition("\nDetails\n")[0]
        == f"""\
A task of the upload of {PREFIX} did not end well,
and is tried again. It reached its time limit. It is run again with 90
minutes (1 of 3 times).

What to do
Nothing. You are told when the upload has ended.

Before: {again.key}
  It reached its time limit.
"""
    )


def test_times_of_other_zones_are_told_in_utc() -> None:
    here = timezone(timedelta(hours=-7))
    standing = a_standing(DropState.ACCEPTED, updated=datetime(2024, 5, 27, 9, 7, 59, 250_000, tzinfo=here))
    assert report.status(standing)["updated"] == "2024-05-27T16:07:59.250Z"


def test_progress_is_told_as_it_is_except_numbers_that_json_does_not_have() -> None:
    progress = {"done_bytes": float("nan"), "text": "reading", "more": {"rate": float("inf"), "left": 3}}
    job = a_job(JobState.RUNNING, replace(RUNNING, progress=progress))
    told = report.status(a_standing(DropState.RUNNING, job))["jobs"][0]["tasks"][0]["progress"]
    assert told == {"done_bytes": None, "text": "reading", "more": {"rate": None, "left": 3}}


# --- one sentence ----------------------------------------------------------------------------------------------------

GOOD = a_job(JobState.SUCCEEDED, UPLOADED)
NOT_UPLOADED = a_job(JobState.SUCCEEDED, replace(UPLOADED, state=TaskState.SKIPPED))
BAD = a_job(JobState.FAILED, FAILED)
GOING = a_job(JobState.RUNNING, RUNNING)
NEW = a_job(JobState.ACCEPTED)
ENDED = a_job(JobState.CANCELLED)


@pytest.mark.parametrize(
    ("standing", "sentence"),
    [
        (a_standing(DropState.SETTLING), "Waiting until the file has stopped changing."),
        (
            a_standing(DropState.REFUSED, problems=(a_problem(5), a_problem(2), a_problem(5))),
            "Refused: 3 problems in rows 2 and 5; nothing was uploaded.",
        ),
        (a_standing(DropState.REFUSED, problems=(a_problem(2),)), "Refused: 1 problem in row 2; nothing was uploaded."),
        (a_standing(DropState.REFUSED, problems=(a_problem(None),)), "Refused: 1 problem; nothing was uploaded."),
        (
            a_standing(DropState.REFUSED, problems=(a_problem(2), a_problem(3, level=Level.WARNING))),
            "Refused: 1 problem in row 2; nothing was uploaded.",
        ),
        (
            a_standing(DropState.REFUSED, problems=tuple(a_problem(row) for row in range(2, 12))),
            "Refused: 10 problems in rows 2, 3, 4, 5, 6 and 5 more; nothing was uploaded.",
        ),
        (
            a_standing(DropState.REFUSED, problems=(a_problem(None, place=Place("job.yaml", row=12)),)),
            "Refused: 1 problem in line 12; nothing was uploaded.",
        ),
        (a_standing(DropState.ACCEPTED, NEW, NEW), "2 jobs waiting to start."),
        (a_standing(DropState.RUNNING, GOING), "1 job running."),
        (a_standing(DropState.RUNNING, GOING, GOOD, NEW), "1 of 3 jobs running; 1 waiting to start; 1 uploaded."),
        (a_standing(DropState.SUCCEEDED, GOOD, GOOD), "2 jobs uploaded."),
        (a_standing(DropState.SUCCEEDED, NOT_UPLOADED), "1 job done without an upload."),
        (a_standing(DropState.FAILED, BAD), "1 job failed (compress_data[ecephys])."),
        (a_standing(DropState.FAILED, GOOD, BAD), "1 of 2 jobs failed (compress_data[ecephys]); 1 uploaded."),
        (a_standing(DropState.CANCELLED, ENDED), "1 job cancelled."),
        (
            a_standing(DropState.SUCCEEDED, GOOD, problems=(a_problem(3), a_problem(3))),
            "1 job uploaded; refused: 2 problems in row 3.",
        ),
    ],
)
def test_one_sentence_says_where_a_manifest_stands(standing: Standing, sentence: str) -> None:
    assert report.summary(standing) == sentence


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place("a.xlsx", "jobs", 7, "job_type", "C7"), "sheet jobs, row 7, job_type (C7)"),
        (Place("a.csv", None, 2, "subject_id"), "row 2, subject_id"),
        (Place("a.YAML", None, 12, "upload_jobs.0.job_type"), "line 12, upload_jobs.0.job_type"),
        (Place("a.xlsx"), ""),
    ],
)
def test_a_place_is_told_as_people_find_it(place: Place, words: str) -> None:
    assert report.where(place) == words


@pytest.mark.parametrize(
    ("progress", "share", "words"),
    [
        (None, None, ""),
        ({"done_bytes": 500, "total_bytes": 2000}, 0.25, "500 bytes of 2.0 kB"),
        ({"done_files": 3, "total_files": 12, "text": "a.dat"}, 0.25, "a.dat: 3 of 12 files"),
        ({"done_bytes": 0, "done_files": 0, "text": "Copies"}, None, "Copies"),
        ({"done_bytes": 7, "total_bytes": 0, "done_files": 1}, None, "7 bytes of 0 bytes, 1 files"),
        ({"done_bytes": 9, "total_bytes": 3}, 1.0, "9 bytes of 3 bytes"),
        ({"done_bytes": "many", "total_bytes": True, "text": 3}, None, ""),
        ({"done_files": 3, "total_files": 12, "seconds_left": 1}, 0.25, "3 of 12 files, a moment left"),
        ({"done_files": 3, "total_files": 12, "seconds_left": 119}, 0.25, "3 of 12 files, about 119 seconds left"),
        ({"done_files": 3, "total_files": 12, "seconds_left": 1500}, 0.25, "3 of 12 files, about 25 minutes left"),
        ({"done_files": 3, "total_files": 12, "seconds_left": 90_000}, 0.25, "3 of 12 files, about 25 hours left"),
        ({"done_files": 3, "total_files": 12, "seconds_left": "soon"}, 0.25, "3 of 12 files"),
    ],
)
def test_progress_is_told_in_words_whatever_a_task_wrote(
    progress: dict[str, Any] | None, share: float | None, words: str
) -> None:
    assert (report.fraction(progress), report.progress_text(progress)) == (share, words)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0.0 s"), (1.25, "1.2 s"), (42, "42 s"), (125, "2 min 5 s"), (7384, "2 h 3 min"), (180_000, "2 d 2 h")],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert report.took(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_900, "1.0 MB"),
        (3_400_000_000, "3.4 GB"),
        (2e15, "2000 TB"),
    ],
)
def test_a_size_is_told_as_people_read_it(size_bytes: float, words: str) -> None:
    assert report.size_text(size_bytes) == words


def test_every_effective_setting_is_told_with_where_it_comes_from() -> None:
    task = PlannedTask(
        key="compress_data[ecephys]",
        task_id="compress_data",
        modality="ecephys",
        needs=(),
        allocation=1,
        skip=None,
        settings={
            "image": None,
            "image_resources": {"memory_gb": 4, "tags": ["a"]},
            "job_settings": {"input_source": "/data", "options": {}},
        },
        origin={"image_resources": "default", "job_settings.input_source": "manifest", "job_settings": "ecephys"},
    )
    assert report.effective(task) == (
        ("image_resources.memory_gb", 4, "default"),
        ("image_resources.tags", ["a"], "default"),
        ("job_settings.input_source", "/data", "manifest"),
        ("job_settings.options", {}, "ecephys"),
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"set": True, "number": 4000}, (("image_resources.memory_per_cpu", 4000, "ecephys"),)),
        ({"set": True, "infinite": True, "number": 0}, (("image_resources.memory_per_cpu", "infinite", "ecephys"),)),
        ({"set": False, "number": 4000}, ()),
        ({"number": 4000}, (("image_resources.memory_per_cpu.number", 4000, "ecephys"),)),
    ],
)
def test_a_number_as_slurmrestd_writes_it_is_told_as_a_number(
    written: dict[str, Any], told: tuple[tuple[str, Any, str], ...]
) -> None:
    settings = {"image_resources": {"memory_per_cpu": written}}
    origins = {"image_resources.memory_per_cpu.set": "default", "image_resources.memory_per_cpu.number": "ecephys"}
    assert report.settings_with_origin(settings, origins) == told
    # A tool's own settings are told as they are.
    assert len(report.settings_with_origin({"job_settings": settings}, {})) == len(written)


# --- the page --------------------------------------------------------------------------------------------------------


def words_of(html: str) -> str:
    """Return what a reader sees, as one line."""
    without_style = re.sub(r"<style>.*?</style>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", without_style).split())


@pytest.mark.parametrize("standing", ALL_KINDS_OF_STANDING, ids=lambda standing: standing.state.value)
def test_every_page_says_what_happened_then_what_to_do_then_details(standing: Standing, pages: report.Pages) -> None:
    words = words_of(report.render(standing, NOW, pages).html)
    order = [report.summary(standing), "What to do", "sha256 of the file"]
    assert [words.find(part) for part in order] == sorted(words.find(part) for part in order)
    assert all(part in words for part in order)


@pytest.mark.parametrize("standing", ALL_KINDS_OF_STANDING, ids=lambda standing: standing.state.value)
def test_a_page_reloads_itself_only_while_work_goes_on(standing: Standing, pages: report.Pages) -> None:
    html = report.render(standing, NOW, pages).html
    live = standing.state in (DropState.SETTLING, DropState.ACCEPTED, DropState.RUNNING)
    assert ('<meta http-equiv="refresh" content="5">' in html) is live


def test_a_page_is_one_file_without_scripts_that_fetches_nothing(pages: report.Pages) -> None:
    html = report.render(a_standing(DropState.FAILED, BAD), NOW, pages).html
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert re.findall(r"<script|<link|<img|<iframe|<object|src=|@import|url\(| on\w+=", html) == []
    assert re.findall(r'href="([^"]*)"', html) == ["https://help.example.org/uploads"]


def test_a_refusal_shows_place_finding_reason_and_what_to_write(pages: report.Pages) -> None:
    words = words_of(report.render(ALL_KINDS_OF_STANDING[1], NOW, pages).html)
    assert "sheet jobs, row 7, job_type (A7) ephsy &#34;ephsy&#34; is not a known job type. ephys" in words
    assert "Problems (1)" in words
    assert "Warnings (1)" in words


def test_a_failure_shows_task_message_and_log_before_the_list_of_tasks(pages: report.Pages) -> None:
    words = words_of(report.render(a_standing(DropState.FAILED, BAD), NOW, pages).html)
    told = (
        "compress_data[ecephys] failed continuous.dat changed while it was read. "
        "Log: /work/run/compress_data.ecephys.log"
    )
    assert -1 < words.find(told) < words.find("Started (UTC)")


def test_a_running_task_shows_its_bar_its_numbers_and_its_slurm_job(pages: report.Pages) -> None:
    html = report.render(a_standing(DropState.RUNNING, GOING), NOW, pages).html
    assert '<progress max="1" value="0.250" aria-label="Progress of the task">' in html
    assert "1.2 MB of 4.8 MB, 3 of 12 files Slurm job 4711" in words_of(html)


def test_every_state_is_a_word_with_a_shape_not_only_a_colour(pages: report.Pages) -> None:
    job = a_job(JobState.RUNNING, *(a_task(state.value, state) for state in TaskState))
    html = report.render(a_standing(DropState.RUNNING, job), NOW, pages).html
    marks = re.findall(r'<span class="state ?\w*"><span aria-hidden="true">(.)</span> (\w+)</span>', html)
    assert {word for _, word in marks} == {state.value for state in TaskState}
    assert len({mark for mark, word in marks if word in ("running", "succeeded", "failed", "skipped")}) == 4


def test_many_problems_are_counted_on_the_page_and_all_in_the_json(pages: report.Pages) -> None:
    standing = a_standing(DropState.REFUSED, problems=tuple(a_problem(row) for row in range(2, 302)))
    told = report.render(standing, NOW, pages)
    assert "And 100 more. All of them are in the .status.json file." in words_of(told.html)
    assert len(told.status["problems"]) == 300


def hostile_standing() -> Standing:
    task = replace(FAILED, message=HOSTILE, log=HOSTILE, key=HOSTILE, progress={"text": HOSTILE})
    job = replace(
        a_job(JobState.FAILED, task),
        s3_prefix=HOSTILE, location=HOSTILE, project_name=HOSTILE, subject_id=HOSTILE, job_type=HOSTILE,
        platform=HOSTILE, modalities=(HOSTILE,),
    )  # fmt: skip
    place = Place(HOSTILE, sheet=HOSTILE, row=3, column=HOSTILE, cell=HOSTILE)
    problem = Problem(Level.ERROR, place, HOSTILE, found=HOSTILE, suggestion=HOSTILE)
    return a_standing(DropState.FAILED, job, name=HOSTILE, inbox=Path("/srv/in"), problems=(problem,))


def test_nothing_a_stranger_wrote_becomes_markup_or_template(pages: report.Pages) -> None:
    html = report.render(hostile_standing(), NOW, pages).html
    assert "<script" not in html
    assert "{{ 7*7 }}" in html
    assert "49" not in words_of(html)
    html.encode("utf-8")


def test_text_that_turns_direction_cannot_turn_what_stands_around_it(pages: report.Pages) -> None:
    html = report.render(hostile_standing(), NOW, pages).html
    body = html.partition("</head>")[2]
    outside = re.sub(r"<bdi>.*?</bdi>", "", body, flags=re.DOTALL)
    assert "\u202e" not in outside


def test_a_long_message_is_cut(pages: report.Pages) -> None:
    job = a_job(JobState.FAILED, replace(FAILED, message="x" * 100_000))
    assert len(report.render(a_standing(DropState.FAILED, job), NOW, pages).html) < 30_000


# --- mails -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "standing", "subject"),
    [
        ("begin", a_standing(DropState.ACCEPTED, NEW), f"Upload started: {PREFIX}"),
        ("end", a_standing(DropState.SUCCEEDED, GOOD), f"Upload ended: {PREFIX}"),
        ("end", a_standing(DropState.CANCELLED, ENDED), f"Upload cancelled: {PREFIX}"),
        ("fail", a_standing(DropState.FAILED, BAD), f"Upload failed: {PREFIX}"),
        ("retry", a_standing(DropState.RUNNING, GOING), f"Upload tried again: {PREFIX}"),
        ("refused", a_standing(DropState.REFUSED, problems=(a_problem(7),)), "Manifest refused: session.xlsx"),
    ],
)
def test_a_subject_is_fixed_words_and_a_name(kind: str, standing: Standing, subject: str, pages: report.Pages) -> None:
    mail = a_mail(kind, None if kind == "refused" else standing.jobs[0].job_id)
    assert report.mail(mail, standing, pages).subject == subject


def test_a_mail_about_a_failure_says_what_happened_what_to_do_and_the_details(pages: report.Pages) -> None:
    text = report.mail(a_mail("fail"), a_standing(DropState.FAILED, BAD), pages).text
    assert (
        text
        == f"""\
The upload of {PREFIX} failed at
compress_data[ecephys].

What to do
Read below what went wrong and correct it. Then put an empty file named
session.xlsx.retry beside the manifest: what had succeeded is kept.

Failed: compress_data[ecephys]
  continuous.dat changed while it was read.
  Log: /work/run/compress_data.ecephys.log

Details
  Manifest: session.xlsx
  Folder: /srv/inbox
  Job: {PREFIX} (failed)
  Data: file:///srv/bucket/{PREFIX}
  Project: Ephys Platform; subject: 123456; job type: ecephys
  Help: data@example.org, https://help.example.org/uploads

Written by dropbox-agent (Lab 7). Nobody reads answers to this mail.
"""
    )


def test_the_order_that_is_suggested_for_a_long_name_can_be_given(pages: report.Pages) -> None:
    name = "x" * 245 + ".xlsx"
    order = Names(name).retry
    failed, cancelled = (
        a_standing(state, job, name=name) for state, job in ((DropState.FAILED, BAD), (DropState.CANCELLED, ENDED))
    )
    pages_said = [report.render(standing, NOW, pages).html for standing in (failed, cancelled)]
    mails_said = [
        report.mail(a_mail(kind), standing, pages).text
        for kind, standing in (("fail", failed), ("end", failed), ("end", cancelled))
    ]
    assert len(order.encode()) < 255
    assert [f"empty file named <code><bdi>{order}</bdi></code> into" in said for said in pages_said] == [True] * 2
    assert [f"empty file named {order} beside" in " ".join(said.split()) for said in mails_said] == [True] * 3


def test_long_sentences_of_a_mail_are_broken_where_the_eye_goes_on(pages: report.Pages) -> None:
    known = a_problem(7, message=f"Known: {', '.join(['behavior-videos'] * 6)}.")
    long = a_task("compress_data[ecephys]", TaskState.FAILED, message=f"It failed, {'again and ' * 12}again.")
    standing = a_standing(DropState.FAILED, a_job(JobState.FAILED, long), problems=(known,))
    text = report.mail(a_mail("fail"), standing, pages).text
    assert (
        """\
  It failed, again and again and again and again and again and again and
  again and again and again and again and again and again and again.
"""
        in text
    )
    assert (
        """\
   Known: behavior-videos, behavior-videos, behavior-videos,
   behavior-videos, behavior-videos, behavior-videos.
"""
        in text
    )


def test_the_day_is_said_once_for_all_tasks_that_began_on_it(pages: report.Pages) -> None:
    times = [NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=8)]
    tasks = [a_task(f"task_{number}", TaskState.SUCCEEDED, started=when) for number, when in enumerate(times)]
    page = report.render(a_standing(DropState.SUCCEEDED, a_job(JobState.SUCCEEDED, *tasks)), NOW, pages).html
    assert re.findall(r"<time datetime=\S+>(.*?)</time>", page) == [
        "2024-05-27 <br>16:07:59",
        "17:07:59",
        "2024-05-28 <br>00:07:59",
    ]


@pytest.mark.parametrize("name", ["", "dropbox-agent"])
def test_a_site_without_a_name_of_its_own_is_not_named_beside_the_program(name: str) -> None:
    pages = report.Pages([TEMPLATES], {"name": name})
    mail = report.mail(a_mail("end"), a_standing(DropState.SUCCEEDED, GOOD), pages)
    page = report.render(a_standing(DropState.SUCCEEDED, GOOD), NOW, pages).html
    for text in (mail.text, mail.html, page):
        assert "Written by dropbox-agent. " in text
    assert report.readme(pages, Path("/srv/inbox")).startswith("How to upload data from this folder\n")


def test_a_mail_about_a_refusal_lists_every_problem(pages: report.Pages) -> None:
    standing = a_standing(DropState.REFUSED, problems=(a_problem(7), a_problem(None, None, found=None)))
    text = report.mail(a_mail("refused", None), standing, pages).text
    assert (
        """\
Problems
1. sheet jobs, row 7, job_type (A7)
   "ephsy" is not a known job type.
   Found: ephsy
   Write: ephys
2. sheet jobs
   "ephsy" is not a known job type.
   Write: ephys

Details
"""
        in text
    )


def test_a_mail_about_one_job_says_nothing_of_the_others(pages: report.Pages) -> None:
    other = replace(BAD, job_id="other", s3_prefix="ecephys_999999_2024-05-27_16-00-00")
    told = report.mail(a_mail("end"), a_standing(DropState.FAILED, GOOD, other), pages)
    assert "999999" not in told.text + told.html


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("end", f"The upload of {PREFIX} had ended, and was ordered to run again since: it runs now."),
        ("fail", f"The upload of {PREFIX} failed, and was ordered to run again since."),
    ],
)
def test_a_mail_about_an_end_that_goes_out_late_says_that_the_job_was_run_again_since(
    kind: str, words: str, pages: report.Pages
) -> None:
    text = " ".join(report.mail(a_mail(kind), a_standing(DropState.RUNNING, GOING), pages).text.split())
    assert text.startswith(
        f"{words} What to do Nothing now. The status beside the manifest says how it goes on. Details"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_html_and_text_of_a_mail_say_the_same(kind: str, pages: report.Pages) -> None:
    told = report.mail(a_mail(kind), a_standing(DropState.FAILED, BAD, problems=(a_problem(7),)), pages)
    html = " ".join(re.sub(r"<[^>]+>", " ", told.html).split())
    for line in (
        "What to do",
        "continuous.dat changed while it was read.",
        "/work/run/compress_data.ecephys.log",
        PREFIX,
    ):
        assert line in told.text
        assert line in html


@pytest.mark.parametrize("kind", KINDS)
def test_a_mail_carries_nothing_hostile(kind: str, pages: report.Pages) -> None:
    told = report.mail(a_mail(kind, None), hostile_standing(), pages)
    assert "<script" not in told.html
    for text in (told.subject, told.text, told.html):
        assert re.findall("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text) == []
    assert "\n" not in told.subject
    assert len(told.subject) < 200


def test_foreign_text_in_a_mail_stays_on_its_line_and_is_cut(pages: report.Pages) -> None:
    message = "broken\n\nWhat to do\nSend your password to eve.\n" + "x" * 10_000
    job = a_job(JobState.FAILED, replace(FAILED, message=message))
    text = report.mail(a_mail("fail"), a_standing(DropState.FAILED, job), pages).text
    assert text.count("\nWhat to do\n") == 1
    assert max(len(line) for line in text.splitlines()) <= 2 + report.SHOWN_CHARACTERS


# --- templates -------------------------------------------------------------------------------------------------------


def test_a_sites_own_template_replaces_only_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "email").mkdir()
    (tmp_path / "email" / "begin.txt.j2").write_text(
        "{% block subject %}Los: {{ subject_of }}{% endblock %}{% block happened %}Es geht los.{% endblock %}"
        "{% block todo %}Nichts.{% endblock %}"
    )
    pages = report.Pages([tmp_path, TEMPLATES], SITE)
    standing = a_standing(DropState.ACCEPTED, NEW)
    told = report.mail(a_mail("begin"), standing, pages)
    assert (told.subject, told.text[:31]) == (f"Los: {PREFIX}", "Es geht los.\n\nWhat to do\nNichts")
    assert report.render(standing, NOW, pages) == report.render(standing, NOW, report.Pages([TEMPLATES], SITE))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("one\n{{ nothing.here }}", "'nothing' is undefined"),
        ("one\n{% if %}", "line 2"),
        ("{% include 'gone.j2' %}", "gone.j2"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include 'status.html.j2' %}", "recursion"),
    ],
)
def test_a_broken_template_is_named_to_the_operator(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "status.html.j2").write_text(content)
    with pytest.raises(TemplateUnusable) as refusal:
        report.render(a_standing(DropState.ACCEPTED), NOW, report.Pages([tmp_path, TEMPLATES], SITE))
    assert "status.html.j2" in str(refusal.value)
    assert words in str(refusal.value)


def test_a_mail_template_without_one_of_its_blocks_is_named(tmp_path: Path) -> None:
    (tmp_path / "email").mkdir()
    (tmp_path / "email" / "end.txt.j2").write_text("{% block subject %}Done{% endblock %}")
    with pytest.raises(TemplateUnusable, match='no block "happened"'):
        report.mail(a_mail("end"), a_standing(DropState.SUCCEEDED, GOOD), report.Pages([tmp_path, TEMPLATES], SITE))


def test_a_site_that_says_nothing_of_itself_still_gets_pages() -> None:
    pages = report.Pages([TEMPLATES], {})
    for standing in ALL_KINDS_OF_STANDING:
        assert "Help:" not in report.render(standing, NOW, pages).html
    assert "Help: ask whoever looks after this folder." in report.readme(pages, Path("/srv/inbox"))


def test_help_that_is_no_web_address_is_no_link() -> None:
    pages = report.Pages([TEMPLATES], {"help_url": "javascript:alert(1)"})
    assert "href" not in report.render(a_standing(DropState.FAILED, BAD), NOW, pages).html


def test_the_readme_tells_in_twelve_lines_how_to_use_the_folder(pages: report.Pages) -> None:
    text = report.readme(pages, Path("/srv/inbox"))
    lines = [line for line in text.splitlines() if re.match(r" ?\d+\. ", line)]
    assert len(lines) == 12
    assert "&" not in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.endswith("This folder: /srv/inbox\n")


def test_status_json_can_always_be_written(pages: report.Pages) -> None:
    json.dumps(report.render(hostile_standing(), NOW, pages).status, allow_nan=False)


def test_a_template_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.html.j2").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateUnusable, match=r"status\.html\.j2"):
        report.render(a_standing(DropState.ACCEPTED), NOW, report.Pages([tmp_path, TEMPLATES], SITE))


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((light(first), light(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_every_text_stands_out_from_its_ground_by_day_and_by_night() -> None:
    style = (TEMPLATES / "style.css").read_text("utf-8")
    day, night = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)\}", style)[:2]
    )
    grounds = {"ink": ("paper", "card", "soft"), "quiet": ("paper", "card", "soft"), "link": ("paper", "card")}
    grounds |= {state: (f"{state}-soft", "card") for state in ("good", "bad", "busy", "warn")}
    weak = [
        (name, text, ground)
        for name, colours in (("day", day), ("night", night))
        for text, behind in grounds.items()
        for ground in behind
        if contrast(colours[text], colours[ground]) < 4.5
    ]
    assert weak == []


def test_an_array_tells_how_its_elements_stand() -> None:
    progress = {"text": "4 elements: 1 running, 3 succeeded", "done_elements": 3, "total_elements": 4}
    assert report.fraction(progress) == 0.75
    assert report.progress_text(progress) == "4 elements: 1 running, 3 succeeded"
