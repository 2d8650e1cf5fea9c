"""The pages: what the ledger, the presets and the agent say. A real ledger, the parts as a site has them."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest
from fastapi import APIRouter, FastAPI
from filled_ledger import (
    INVENTORY,
    NOW,
    TASKS,
    a_drop,
    a_job,
    accepted,
    at,
    hand_over,
    planned,
    refused,
    run_to_its_end,
    see,
)

from dropbox_agent import assembly, founding, patience, pulse, serving, web
from dropbox_agent import settings as sites
from dropbox_agent.errors import LedgerUnavailable, NoAnswer, PagesNotServed
from dropbox_agent.ledger import Ledger, Lists
from dropbox_agent.manifest import LIMITS
from dropbox_agent.model import (
    Choices,
    EarlierAttempt,
    JobSearch,
    JobStanding,
    Level,
    Move,
    Names,
    Place,
    Presets,
    Problem,
)
from dropbox_agent.plan.retries import WHY
from dropbox_agent.remembered import Answer
from dropbox_agent.settings import Settings
from dropbox_agent.states import Cause, JobState, TaskState
from dropbox_agent.web import charts, check, exports, health, logs, one_job
from dropbox_agent.web.glance import Glances

HOSTILE = '<script>alert("x")</script>{{ 7*7 }}'
PROBLEM = Problem(
    Level.ERROR,
    Place("s.csv", "jobs", 7, "job_type", "C7"),
    "Not a known job type.",
    found="ephsy",
    suggestion="ephys",
)


@dataclass
class Visited:
    """A site, its ledger, and a browser without a network between."""

    settings: Settings
    ledger: Ledger
    app: FastAPI

    def get(self, path: str, **params: str) -> httpx.Response:
        return self.request("GET", path, params=params or None)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask(method, path, more))

    def words(self, path: str, **params: str) -> str:
        return words_of(self.get(path, **params).text)

    async def _ask(self, method: str, path: str, more: Mapping[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent.test") as client:
            return await client.request(method, path, **more)

    def job(self, name: str) -> JobStanding:
        return next(job for job in self.ledger.jobs(1000) if job.s3_prefix == name)

    def address(self, name: str) -> str:
        return f"/jobs/{self.job(name).job_id}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Visited]:
    with visited(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    """One job that failed, one that runs, one that waits, and a refused manifest. Nobody changes them."""
    with visited(tmp_path_factory.mktemp("full")) as made:
        yield filled(made)


@contextmanager
def visited(folder: Path) -> Iterator[Visited]:
    settings = sites.load(founding.initialise(folder / "a site", NOW), {})
    ledger = assembly.open_ledger(settings, NOW)
    with serving.opened_app(settings) as app:
        yield Visited(settings, ledger, app)
    ledger.close()


def filled(site: Visited) -> Visited:
    failed, runs = a_job("failed_1", subject_id="11"), a_job("runs_2", row=3, subject_id="22", user_email=None)
    accepted(site.ledger, "s.csv", [failed, runs], NOW)
    run_to_its_end(site.ledger, site.job("failed_1").job_id, at(1), TaskState.FAILED)
    for attempt in hand_over(site.ledger, site.job("runs_2").job_id, at(2)):
        log = attempt.folder / f"{attempt.tasks[0].key}.log"
        see(site.ledger, attempt, TaskState.RUNNING, at(2), at(3), log=str(log),
            progress={"done_bytes": 10, "total_bytes": 40, "text": "Copies"})  # fmt: skip
    accepted(site.ledger, "t.xlsx", [a_job("waits_3", job_type="behavior")], at(60))
    refused(site.ledger, "wrong.csv", [PROBLEM], at(61))
    return site


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def found(page: str) -> list[str]:
    return re.findall(r'<td class="name"><a href="/jobs/[^"]*"><bdi>([^<]*)', page)


# --- the list of jobs ------------------------------------------------------------------------------------------------


def test_the_start_page_is_the_list_of_jobs(site: Visited) -> None:
    answer = site.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/jobs")


def test_the_list_counts_the_states_and_tells_each_job_in_a_line(full: Visited) -> None:
    words = full.words("/jobs")
    assert "3 jobs 1 ○ accepted 1 ▸ running 1 ✕ failed" in words
    assert "✕ failed failed_1 11 Ephys Platform ecephys anna 2026-01-31 12:00 5/6" in words
    assert f'href="{full.address("failed_1")}"' in full.get("/jobs").text


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, ["waits_3", "failed_1", "runs_2"]),
        ({"q": "runs"}, ["runs_2"]),
        ({"q": " s.csv  11 "}, ["failed_1"]),
        ({"state": "failed"}, ["failed_1"]),
        ({"user": "anna"}, ["waits_3", "failed_1"]),
        ({"subject": "22"}, ["runs_2"]),
        ({"job_type": "behavior"}, ["waits_3"]),
        ({"modality": "ecephys", "project": "ephys"}, ["waits_3", "failed_1", "runs_2"]),
        ({"since": "2026-02-01"}, []),
        ({"until": "2026-01-31", "sort": "job", "way": "up"}, ["failed_1", "runs_2", "waits_3"]),
        ({"sort": "job", "way": "down"}, ["waits_3", "runs_2", "failed_1"]),
        ({"manifest": "2"}, ["waits_3"]),
        ({"since": "yesterday", "state": "?", "manifest": "x", "sort": "plan", "nonsense": "1"},
         ["waits_3", "failed_1", "runs_2"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_list_is_searched_filtered_and_sorted_by_its_address(
    full: Visited, asked: dict[str, str], names: list[str]
) -> None:
    assert found(full.get("/jobs", **asked).text) == names


def test_every_link_of_the_list_keeps_what_was_asked_for(full: Visited) -> None:
    text = full.get("/jobs", q="s.csv 1", state="failed", page="1").text.replace("&amp;", "&")
    assert 'href="/jobs?q=s.csv+1&state=failed&sort=job&way=up" id="sort-job"' in text
    assert 'href="/jobs?q=s.csv+1" aria-current="true"' in text  # Once more on the state takes it out again.
    assert 'href="/jobs.csv?q=s.csv+1&state=failed"' in text


def test_what_is_asked_for_many_times_is_asked_for_once(full: Visited) -> None:
    once, often = full.get("/jobs?state=failed").text, full.get("/jobs?" + "&".join(["state=failed"] * 500)).text
    assert often == once


def test_every_job_is_on_exactly_one_page(site: Visited) -> None:
    names = [f"job_{number:03d}" for number in range(120)]
    accepted(site.ledger, "many.csv", [a_job(name, row=number) for number, name in enumerate(names, 2)])
    seen, address = [], "/jobs"
    while address:
        text = site.get(address).text
        seen += found(text)
        following = re.search(r'href="([^"]*)" rel="next"', text)
        address = following[1].replace("&amp;", "&") if following else ""
    assert seen == names
    assert "51–100 of 120" in site.words("/jobs", page="2")
    assert "There are no jobs this far back." in site.words("/jobs", page="9" * 400)


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1e3", "²", "1; DROP TABLE jobs"])
def test_a_page_number_that_is_none_is_the_first_page(full: Visited, page: str) -> None:
    assert len(found(full.get("/jobs", page=page).text)) == 3


def test_the_list_can_be_saved_as_csv_and_xlsx_and_no_text_becomes_a_formula(site: Visited) -> None:
    full = filled(site)
    accepted(full.ledger, "=1+1.csv", [a_job("odd_4", project_name="=HYPERLINK(1)", subject_id="-1")], at(90))
    answer = full.get("/jobs.csv", sort="job", way="up")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["job"] for row in rows] == ["failed_1", "odd_4", "runs_2", "waits_3"]
    assert [rows[1][name] for name in ("project_name", "subject_id", "manifest", "row", "tasks")] == [
        "'=HYPERLINK(1)", "'-1", "'=1+1.csv", "2", "6",
    ]  # fmt: skip
    sheet = openpyxl.load_workbook(io.BytesIO(full.get("/jobs.xlsx", q="odd").content)).worksheets[0]
    head, line = sheet.iter_rows()
    cells = {str(name.value): cell for name, cell in zip(head, line, strict=True)}
    assert (cells["project_name"].value, cells["project_name"].data_type) == ("=HYPERLINK(1)", "s")
    assert (cells["subject_id"].value, cells["row"].value) == ("-1", 2)
    assert (sheet.freeze_panes, sheet.auto_filter.ref, sheet["A1"].font.bold) == ("A2", "A1:R20001", True)


@pytest.mark.parametrize(
    ("written", "in_csv", "in_xlsx"),
    [
        (" =1+1", "' =1+1", " =1+1"),
        ("\n=1+1", "'\n=1+1", "\n=1+1"),
        ("\uff1d1+1", "'\uff1d1+1", "\uff1d1+1"),
        ("a\x07b", "a\x07b", "a\ufffdb"),
        ("#N/A", "#N/A", "#N/A"),
        ("x" * 40_000, "x" * 40_000, "x" * 32_767),
    ],
    ids=["space", "line end", "full width", "control character", "error value", "long"],
)
def test_whatever_text_a_ledger_holds_can_be_saved(site: Visited, written: str, in_csv: str, in_xlsx: str) -> None:
    accepted(site.ledger, "odd.csv", [a_job("odd", project_name=written)])
    (row,) = csv.DictReader(io.StringIO(site.get("/jobs.csv").text.removeprefix("\ufeff"), newline=""))
    sheet = openpyxl.load_workbook(io.BytesIO(site.get("/jobs.xlsx").content)).worksheets[0]
    cell = sheet.cell(2, list(exports.COLUMNS).index("project_name") + 1)
    assert (row["project_name"], cell.value, cell.data_type) == (in_csv, in_xlsx, "s")


def test_an_empty_agent_says_what_to_do(site: Visited) -> None:
    assert "Drop a manifest into the watched folder" in site.words("/jobs")
    assert "Drop a manifest into the watched folder" in site.words("/manifests")
    assert "No job is like that." in site.words("/jobs", q="x")


def test_the_chart_stacks_the_states_of_each_day_and_shows_what_is_rare() -> None:
    today = date(2026, 1, 31)
    chart = charts.days_chart({today: {JobState.SUCCEEDED: 999, JobState.FAILED: 1}}, today)
    assert (len(chart.days), chart.most, chart.days[-2].parts) == (charts.DAYS, 1000, ())
    last = chart.days[-1]
    assert last.words == "2026-01-31: 1000 jobs, 1 failed, 999 succeeded"
    assert [(part.state, part.height) for part in last.parts] == [
        (JobState.SUCCEEDED, round(0.999 * (charts.DAYS_HEIGHT - 15), 1)), (JobState.FAILED, charts.SMALLEST),
    ]  # fmt: skip
    assert all(part.y >= 0 for part in last.parts)


class Counting:
    """A ledger in which counting takes as long as a test says."""

    def __init__(self) -> None:
        self.seconds, self.now, self.counted = 0.0, 100.0, 0

    def count_jobs(self, search: JobSearch) -> dict[JobState, int]:
        self.now += self.seconds
        self.counted += 1
        return {}

    def days(self, search: JobSearch, since: date) -> dict[date, dict[JobState, int]]:
        return {}

    def choices(self) -> Choices:
        return Choices()


@pytest.mark.parametrize(("took", "after", "counted"), [(0.0, 0.0, 2), (0.3, 5.9, 1), (0.3, 6.1, 2), (9.0, 10.1, 2)])
def test_what_took_long_to_count_is_told_again_for_a_while(took: float, after: float, counted: int) -> None:
    ledger = Counting()
    glances = Glances(ledger, lambda: ledger.now)  # type: ignore[arg-type]
    ledger.seconds = took
    glances.of(JobSearch(), NOW.date())
    ledger.now += after
    glances.of(JobSearch(order="job"), NOW.date())
    assert ledger.counted == counted


# --- one job ---------------------------------------------------------------------------------------------------------


def test_a_job_page_tells_the_failure_first_and_then_everything_else(full: Visited) -> None:
    words = full.words(full.address("failed_1"))
    told = [
        "upload_data_to_s3 failed It failed.",
        "To run it again, once what went wrong is corrected: an empty file s.csv.retry beside the manifest",
        f"dropbox-agent retry {full.job('failed_1').job_id}",
        "file:///bucket/failed_1",
        "s.csv , row 2",
        "anna@example.org (end)",
        "Pipeline",
        "Tasks",
        "Attempts",
        "memory 4G",
        "As written in row 2",
        "Effective settings",
        "image_resources.memory 4G ecephys",
        "History",
        "accepted running",
    ]
    assert [part for part in told if part not in words] == []
    assert [words.find(part) for part in told] == sorted(words.find(part) for part in told)


def test_the_order_that_a_job_s_page_suggests_for_a_long_name_can_be_given(site: Visited) -> None:
    name = "x" * 250 + ".csv"
    accepted(site.ledger, name, [a_job("runs_1")])
    assert f"an empty file {Names(name).cancel} beside the manifest" in site.words(site.address("runs_1"))
    site.ledger.cancel(site.job("runs_1").job_id, "Cancelled.", NOW)
    assert f"an empty file {Names(name).retry} beside the manifest" in site.words(site.address("runs_1"))


def test_what_an_upload_stored_is_a_link_on_its_job_s_page_and_a_file_for_spreadsheets(site: Visited) -> None:
    accepted(site.ledger, "s.csv", [a_job("stored_1"), a_job("not_yet_2", row=3, subject_id="22")])
    job_id = site.job("stored_1").job_id
    site.ledger.keep_inventory(job_id, json.dumps(INVENTORY).encode(), NOW)
    assert f'href="/jobs/{job_id}/inventory.csv"' in site.get(f"/jobs/{job_id}").text
    saved = site.get(f"/jobs/{job_id}/inventory.csv")
    assert saved.headers["Content-Disposition"] == 'attachment; filename="stored_1.inventory.csv"'
    assert list(csv.reader(io.StringIO(saved.text.removeprefix("\ufeff")))) == [
        ["path", "size", "modified", "crc64nvme", "etag", "version_id"],
        ["ecephys/=a.dat", "2500000", "2026-01-31 12:00:00", "Zg18frZsEn4=", "4a80", "v1"],
        ["subject.json", "0", "2026-01-31 12:00:00", "AAAAAAAAAAA=", "", ""],
        ["ecephys/empty/", "", "", "", "", ""],
    ]


def test_a_job_that_stored_nothing_so_far_has_no_list_of_files(full: Visited) -> None:
    assert "inventory.csv" not in full.get(full.address("runs_2")).text
    missing = full.get(f"{full.address('runs_2')}/inventory.csv")
    assert (missing.status_code, "has uploaded nothing so far" in missing.text) == (404, True)
    assert full.get("/jobs/nothing.like/inventory.csv").status_code == 404


def test_a_running_task_tells_how_far_it_is_and_how_long_it_will_take(full: Visited) -> None:
    words = full.words(full.address("runs_2"))
    assert "Copies: 10 bytes of 40 bytes ; about " in words
    assert "To end it: an empty file s.csv.cancel beside the manifest" in words
    task = next(task for task in full.job("runs_2").tasks if task.state is TaskState.RUNNING)
    assert charts.remaining(task, 0.25, at(12)) == timedelta(minutes=30)
    assert charts.remaining(task, None, at(12)) is None
    assert charts.remaining(task, 1.0, at(12)) is None


def test_the_graph_puts_what_waits_below_and_draws_only_needs_that_do_not_follow_from_others(full: Visited) -> None:
    graph = charts.graph(full.job("failed_1"))
    rows = sorted({node.y for node in graph.nodes})
    assert [sorted(node.key for node in graph.nodes if node.y == y) for y in rows] == [
        ["check_s3_folder_exists"],
        ["create_staging_folder"],
        ["compress_data[behavior]", "compress_data[ecephys]"],
        ["upload_data_to_s3"],
        ["send_job_end_email", "send_job_start_email"],
    ]
    assert len(graph.edges) == 5
    assert all(0 <= node.x <= graph.width - graph.node_width for node in graph.nodes)
    more = planned("last", "upload_data_to_s3", "create_staging_folder")
    assert charts._needed([*TASKS, more])[-1] == ("upload_data_to_s3", "last")


def test_the_time_of_each_task_is_a_part_of_the_time_of_the_job(full: Visited) -> None:
    spans = charts.spans(full.job("failed_1"), at(600))
    assert {key: (span.start, span.length) for key, span in spans.items() if "mail" not in key} == {
        "check_s3_folder_exists": (0.0, 294.1),
        "create_staging_folder": (0.0, 294.1),
        "compress_data[behavior]": (352.9, 294.1),
        "compress_data[ecephys]": (352.9, 294.1),
        "upload_data_to_s3": (705.9, 294.1),
    }


def test_a_job_shows_its_row_as_it_was_written(site: Visited) -> None:
    content = b"job_type,subject_id,modality0,modality0.input_source\necephys,0012,ecephys,/data/<b>\n"
    drop = a_drop("written.csv")
    (site.settings.state_dir / "spool").mkdir(exist_ok=True)
    (site.settings.state_dir / "spool" / drop.sha256).write_bytes(content)
    accepted(site.ledger, "written.csv", [a_job("written_1")])
    words = site.words(site.address("written_1"))
    assert "Column Value Cell job_type ecephys A2 subject_id 0012 B2 " in words
    assert "modality0.input_source /data/&lt;b&gt; D2" in words
    (drop_id,) = [drop.drop_id for drop in site.ledger.drops()]
    answer = site.get(f"/manifests/{drop_id}/file")
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''written.csv"


# --- logs ------------------------------------------------------------------------------------------------------------


def log_of(site: Visited, name: str, key: str) -> Path:
    """Return where the log of a task lies, in a folder that is there."""
    job = site.job(name)
    task = next(task for task in job.tasks if task.key == key)
    (attempt,) = [one for one in site.ledger.live_attempts() if one.job_id == job.job_id and task.attempt]
    attempt.folder.mkdir(parents=True, exist_ok=True)
    return site.ledger.run_folder(job.job_id).attempt(attempt.key).log(key)


def test_a_log_is_shown_followed_and_sent_whole(full: Visited) -> None:
    log = log_of(full, "runs_2", "check_s3_folder_exists")
    log.write_bytes(b"first \x1b[31mred\x1b[0m\n10%\r20%\r100%\n\xc3")
    address = full.address("runs_2") + "/log"
    task = {"task": "check_s3_folder_exists"}
    assert "first red\n100%\n</pre>" in full.get(address, **task).text
    first = full.get(f"{address}/tail", **task).json()
    assert (first["text"], first["grows"], first["state"]) == ("first red\n100%\n", True, "running")
    with log.open("ab") as file:
        file.write(b"\xa9 more\n")
    more = full.get(f"{address}/tail", **task, since=str(first["end"])).json()
    assert (more["text"], more["start"], more["anew"]) == ("é more\n", first["end"], False)
    again = full.get(f"{address}/tail", **task, since=str(more["end"])).json()
    assert (again["text"], again["end"]) == ("", more["end"])
    log.write_bytes(b"anew\n")
    assert full.get(f"{address}/tail", **task, since=str(more["end"])).json()["anew"] is True
    whole = full.get(f"{address}/whole", **task)
    assert (whole.content, whole.headers["content-type"]) == (b"anew\n", "text/plain; charset=utf-8")


def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 100_000 + b"end")
    tail = logs.read_tail(log)
    assert (len(tail.text), tail.text[-3:], tail.start, tail.size) == (logs.TAIL_BYTES, "end", 100_003 - 65536, 100_003)
    assert logs.read_tail(log, 5).start == 100_003 - 65536
    assert logs.read_tail(log, 100_000).text == "end"


def test_a_link_or_a_device_in_a_run_folder_is_no_log(site: Visited, tmp_path: Path) -> None:
    full = filled(site)
    log = log_of(full, "runs_2", "check_s3_folder_exists")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    address = full.address("runs_2") + "/log"
    made: tuple[Callable[[], None], ...] = (lambda: log.symlink_to(secret), lambda: os.mkfifo(log))
    for make in made:
        make()
        answers = [full.get(f"{address}{part}", task="check_s3_folder_exists") for part in ("", "/tail", "/whole")]
        assert [answer.status_code for answer in answers] == [200, 200, 404]
        assert not any("secret" in answer.text for answer in answers)
        log.unlink()
    assert "There is no log yet." in full.words(address, task="check_s3_folder_exists")


@pytest.mark.parametrize(
    "asked",
    [
        {"task": "../../etc/passwd"},
        {"task": "check_s3_folder_exists", "attempt": "7"},
        {"task": "check_s3_folder_exists", "attempt": "-1"},
        {"task": "check_s3_folder_exists", "attempt": "x"},
        {"task": "check_s3_folder_exists", "element": "../1"},
        {"task": "check_s3_folder_exists", "attempt": "9" * 40},
        {"task": "send_job_start_email"},
        {},
    ],
    ids=str,
)
def test_no_part_of_an_address_becomes_a_path(full: Visited, asked: dict[str, str]) -> None:
    for part in ("", "/tail", "/whole"):
        answer = full.get(full.address("runs_2") + "/log" + part, **asked)
        assert (answer.status_code, "There is no such page" in answer.text) == (404, True)
    assert full.get("/jobs/..%2f..%2f/log", task="x").status_code == 404


@pytest.fixture
def arrayed(site: Visited) -> Visited:
    """A job whose task runs in four elements: one ended well, one failed, one runs, one waits."""
    resources = {"image_resources": {"array": "0-3"}}
    task = replace(planned("compress_data[ecephys]"), settings=resources)
    accepted(site.ledger, "v.csv", [a_job("volume")], tasks=(task,))
    (attempt,) = hand_over(site.ledger, site.job("volume").job_id, at(1))
    elements = attempt.folder / "elements"
    elements.mkdir(parents=True)
    for number, record in ((0, "succeeded"), (1, "failed"), (2, None)):
        (elements / f"{number}.started").mkdir()
        (elements / f"{number}.log").write_text(f"element {number}\n")
        if record:
            (elements / f"{number}.{record}.json").write_text("{}")
    see(site.ledger, attempt, TaskState.RUNNING, at(1), at(2), log=str(elements / "2.log"))
    return site


def test_each_element_of_an_array_has_its_log_and_the_one_that_failed_is_shown_first(arrayed: Visited) -> None:
    address = arrayed.address("volume")
    task = {"task": "compress_data[ecephys]"}
    words = arrayed.words(f"{address}/log", **task)
    assert "Log of compress_data[ecephys] , element 1 ✕ failed" in words
    assert "✓ 0 succeeded ✕ 1 failed ▸ 2 running ○ 3 waiting element 1" in words
    assert "element 2" in arrayed.words(f"{address}/log", **task, element="2")
    shown = re.findall(r'data-follow="([^"]*)"', arrayed.get(address).text)
    assert [arrayed.get(one.replace("&amp;", "&")).json()["text"] for one in shown] == ["element 1\n"]


@pytest.mark.parametrize(
    ("element", "text", "grows"),
    [("0", "element 0\n", False), ("1", "element 1\n", False), ("2", "element 2\n", True), ("3", "", True)],
)
def test_the_log_of_an_element_grows_until_the_element_has_ended(
    arrayed: Visited, element: str, text: str, grows: bool
) -> None:
    told = arrayed.get(f"{arrayed.address('volume')}/log/tail", task="compress_data[ecephys]", element=element).json()
    assert (told["text"], told["grows"]) == (text, grows)


def test_why_an_earlier_try_ended_is_told_by_what_the_task_said_then() -> None:
    def said(minutes: float, key: str, message: str | None) -> Move:
        return Move(at(minutes), "task", key, "running", "failed", message)

    moves = [said(1, "a", "The disk is full."), said(1, "b", "Another."), said(9, "a", "Later."), said(2, "a", None)]
    earlier = EarlierAttempt(1, at(3), None, None)
    assert one_job._why(moves, "a", earlier) == "The disk is full."
    assert one_job._why(moves, "a", replace(earlier, message="It was killed.")) == "It was killed."
    assert one_job._why(moves, "c", earlier) is None


def test_between_two_tasks_the_last_log_stays_on_the_page_of_a_job(site: Visited) -> None:
    accepted(site.ledger, "s.csv", [a_job("between")])
    (attempt,) = hand_over(site.ledger, site.job("between").job_id, at(1))
    see(site.ledger, attempt, TaskState.SUCCEEDED, at(1), at(2), log="x.log")
    assert [task.key for task in one_job.worth_reading(site.job("between"))] == ["check_s3_folder_exists"]


def test_a_share_that_hangs_holds_no_page_up(full: Visited, monkeypatch: pytest.MonkeyPatch) -> None:
    over, place = threading.Event(), patience.Place("/srv/work", 0.05)
    app = web.app(web.Parts(**{**_parts_of(full), "work": place, "lists": Lists.of(full.ledger.path)}))
    monkeypatch.setattr(logs, "read_tail", lambda *_: over.wait())
    hanging = Visited(full.settings, full.ledger, app)
    for _ in range(2):
        told = hanging.get(full.address("runs_2") + "/log/tail", task="check_s3_folder_exists").json()
        assert "/srv/work does not answer (0.05 s and more)." in told["trouble"]
    over.set()


def test_a_share_that_hangs_while_a_log_is_sent_ends_the_sending() -> None:
    over = threading.Event()

    class Hanging(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            over.wait()
            return b""

    with pytest.raises(NoAnswer):
        next(logs._blocks(Hanging(), patience.Place("/srv/work", 0.05)))
    over.set()


# --- manifests -------------------------------------------------------------------------------------------------------


def test_manifests_are_listed_with_what_came_of_them(full: Visited) -> None:
    words = full.words("/manifests")
    assert "3 manifests 1 ✕ refused 1 ○ accepted 1 ▸ running" in words
    assert "✕ refused wrong.csv 1 problem; nothing was uploaded. 2026-01-31 13:01:00" in words
    assert "▸ running s.csv 2 jobs: 1 failed, 1 running." in words
    assert "wrong.csv" not in full.words("/manifests", state="running")
    assert "wrong.csv" in full.words("/manifests", q="WRONG")


def test_a_refused_manifest_tells_why_and_gives_its_annotated_copy(site: Visited) -> None:
    drop = a_drop("wrong.csv")
    (site.settings.state_dir / "spool").mkdir(exist_ok=True)
    (site.settings.state_dir / "spool" / drop.sha256).write_bytes(b"job_type\nephsy\n")
    drop_id = refused(site.ledger, "wrong.csv", [PROBLEM])
    words = site.words(f"/manifests/{drop_id}")
    assert "Correct it in the file, and save the file again in its folder under the same name." in words
    assert "sheet jobs, row 7, job_type (C7) ephsy Not a known job type. ephys" in words
    copy = openpyxl.load_workbook(io.BytesIO(site.get(f"/manifests/{drop_id}/errors.xlsx").content))
    assert "What to fix" in copy.sheetnames


def test_a_manifest_tells_its_versions_and_its_jobs(site: Visited) -> None:
    full = filled(site)
    words = full.words("/manifests/1")
    assert "✕ failed 2 failed_1 5/6 ▸ running 3 runs_2 0/6" in words
    refused(full.ledger, "s.csv", [PROBLEM], at(90))
    assert "Versions 2 refused , 1 running" in full.words("/manifests/1")


@pytest.mark.parametrize("drop_id", ["0", "99", "x", "-1", "1.5", "9" * 30, "..%2f1", "²"])
def test_there_is_no_such_manifest(full: Visited, drop_id: str) -> None:
    for part in ("", "/file", "/errors.xlsx"):
        assert full.get(f"/manifests/{drop_id}{part}").status_code == 404


# --- job parameters, projects, help ----------------------------------------------------------------------------------


def preset(site: Visited, name: str, text: str) -> None:
    (site.settings.presets.folder / f"{name}.yaml").write_text(text)


def test_a_job_type_says_what_is_run_again_by_itself(site: Visited) -> None:
    preset(site, "default", "description: D.\nretries: {node_failed: 2, preempted: 0, timeout: {at_most: '600'}}\n")
    preset(site, "ephys", """
description: E.
retries: {out_of_memory: {times: 2, factor: 1.5, at_most: 64G}, service_away: 5}
tasks: {upload_data_to_s3: {job_settings: {names: [a, b], fast: true}}}
""")  # fmt: skip
    words = site.words("/job_params", job_type="ephys")
    assert words.partition("When How often ")[2].startswith(
        "The machine it ran on failed, or Slurm lost sight of it. 2 times, as it was"
        " It was stopped to make room for another job, or put back into the queue. never"
        " It reached its time limit. 1 time, with 2 times as much time each time, 600 min at most"
        " It used more memory than it had asked for. 2 times, with 1.5 times as much memory each time, 64G at most"
        f" {WHY[Cause.SERVICE_AWAY]} 5 times: after 15 min, then 2 times as long each time, 240 min at most"
    )
    assert 'job_settings.names ["a", "b"] ephys job_settings.fast true ephys' in html.unescape(words)
    assert "Run again by itself Nothing: no retries are set for it." in site.words("/job_params", job_type="custom")


def test_job_types_are_listed_merged_and_compared_with_the_origin_of_each_value(site: Visited) -> None:
    preset(site, "base", "description: Base.\ntasks: {compress_data: {ecephys: {job_settings: {level: 3, a: 1}}}}\n")
    preset(site, "fast", "description: Fast.\ninherits: base\n"
           "tasks: {compress_data: {ecephys: {job_settings: {level: 9}}}}\n")  # fmt: skip
    preset(site, "broken", "tasks: [")
    words = site.words("/job_params")
    assert "fast Fast. base 1 task" in words
    assert "Job types that cannot be used broken : " in words
    merged = site.words("/job_params", job_type="fast")
    assert "compress_data for ecephys Setting Value From job_settings.level 9 fast job_settings.a 1 base" in merged
    compared = site.words("/job_params", **{"job_type": "fast", "with": "base"})
    # Where a value comes from is said where it is not the column's own job type.
    assert "compress_data for ecephys Values of compress_data that are not the same Setting fast base" in compared
    assert "job_settings.level 9 3 As a job gets them" in compared
    inherited = site.words("/job_params", **{"job_type": "fast", "with": "custom"})
    assert "job_settings.level 9 not set job_settings.a 1 from base not set" in inherited
    unknown = site.get("/job_params", job_type="../../etc/passwd")
    assert (unknown.status_code, "There is no such job type" in unknown.text) == (404, True)


def test_projects_are_listed_with_how_their_jobs_stand(full: Visited) -> None:
    assert "Ephys Platform ○ accepted 1 ✕ failed 1 ▸ running 1 2026-01-31 13:00:00" in full.words("/projects")


def test_help_links_only_to_what_the_site_has_set(tmp_path: Path) -> None:
    file = founding.initialise(tmp_path / "site", NOW)
    file.write_text(
        file.read_text().replace("job_type_url: null", "job_type_url: https://example.org/new?a=1&b=2")
        .replace("contact: null", "contact: '<b>data</b>'")
    )  # fmt: skip
    with serving.opened_app(sites.load(file, {})) as app:
        text = Visited(sites.load(file, {}), None, app).get("/help").text  # type: ignore[arg-type]
    assert 'href="https://example.org/new?a=1&amp;b=2" rel="noreferrer">Ask for a new job type' in text
    assert "&lt;b&gt;data&lt;/b&gt;" in text
    assert "Report that something" not in text


# --- checking a file -------------------------------------------------------------------------------------------------


def send(site: Visited, name: str, content: bytes, **headers: str) -> httpx.Response:
    return site.request("POST", "/check", files={"file": (name, content)}, headers=headers)


def test_a_file_is_checked_with_all_its_problems_and_nothing_is_kept(site: Visited) -> None:
    answer = send(site, r"C:\data\session.csv", b"job_type,subject_id\nephsy,0012\n")
    words = words_of(answer.text)
    assert answer.status_code == 200
    assert "session.csv ✕ refused It would be refused: " in words
    assert "row 2, job_type (A2) ephsy" in words
    assert r"C:\data" not in words
    assert site.ledger.drops() == []
    assert list((site.settings.state_dir / "spool").glob("*")) == []


def test_a_good_file_shows_its_plan_with_the_origin_of_each_value(site: Visited, sources: dict[str, Path]) -> None:
    entry = {
        "job_type": "ecephys", "project_name": "P", "subject_id": "0012", "acq_datetime": "2026-01-30T14:05:09",
        "user_email": "a@b.org", "modality0": "ecephys", "modality0.input_source": str(sources["ecephys"]),
    }  # fmt: skip
    content = "\n".join([",".join(entry), ",".join(entry.values())]).encode()
    words = words_of(send(site, "good.csv", content).text)
    assert "all right It would be accepted: 1 job" in words
    assert "It would go to file://" in words
    assert f"job_settings.input_source {sources['ecephys']} manifest" in words


def test_what_is_no_file_or_too_large_or_from_another_site_is_refused_in_words(site: Visited) -> None:
    assert site.request("POST", "/check", data={"x": "1"}).status_code == 400
    assert site.request("POST", "/check", content=b"x" * 10).status_code == 400
    assert send(site, "", b"x").status_code == 400
    large = send(site, "a.csv", b"x" * (LIMITS.file_bytes + 100_000))
    assert (large.status_code, "a manifest never is. Split it." in large.text) == (413, True)
    assert send(site, "a.csv", b"x", **{"sec-fetch-site": "cross-site"}).status_code == 403

    async def endless() -> Any:
        yield b"x"

    assert site.request("POST", "/check", content=endless()).status_code == 411


def test_who_sends_slowly_takes_nobodys_place(site: Visited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "FORM_SECONDS", 3.0)

    async def slow() -> Any:
        yield b"--x"
        await asyncio.sleep(3600)

    async def asked() -> list[int]:
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent.test") as client:
            headers = {"Content-Length": "1000", "Content-Type": "multipart/form-data; boundary=x"}
            slowly = [client.post("/check", content=slow(), headers=headers) for _ in range(2 * check.AT_ONCE)]
            quickly = client.post("/check", files={"file": ("a.csv", b"job_type\nephsy\n")})
            return [answer.status_code for answer in await asyncio.gather(*slowly, quickly)]

    assert asyncio.run(asked()) == [*[408] * 2 * check.AT_ONCE, 200]


def test_a_hostile_file_takes_only_itself_down(site: Visited) -> None:
    words = words_of(send(site, f"{HOSTILE}.exe", b"MZ").text)
    assert "This type of file is not read." in words
    assert "<script>" not in words
    assert "It would be refused" in words_of(send(site, "a.xlsx", b"PK\x03\x04 torn").text)


# --- strangers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(site: Visited) -> Visited:
    task = planned("compress_data[x]", job=HOSTILE)
    job = a_job(
        "plain", job_type=HOSTILE, project_name=HOSTILE, subject_id=HOSTILE, platform=HOSTILE, modalities=(HOSTILE,),
        user_email=HOSTILE,
    )  # fmt: skip
    accepted(site.ledger, HOSTILE + ".csv", [job], tasks=(task, planned("b", skip=HOSTILE)))
    run_to_its_end(site.ledger, site.job("plain").job_id, at(1))
    place = Place(HOSTILE, HOSTILE, 7, HOSTILE, HOSTILE)
    refused(site.ledger, f"{HOSTILE}2.csv", [Problem(Level.ERROR, place, HOSTILE, found=HOSTILE, suggestion=HOSTILE)])
    preset(site, "x", f"description: '{HOSTILE}'\ntasks: {{upload_data_to_s3: {{job_settings: {{a: '{HOSTILE}'}}}}}}\n")
    return site


def test_nothing_a_stranger_wrote_becomes_markup_on_a_page(hostile: Visited) -> None:
    pages = ["/jobs", hostile.address("plain"), "/manifests", "/manifests/1", "/manifests/2", "/job_params",
             "/projects",
             "/job_params?job_type=x&with=default", "/health", f"/{HOSTILE}"]  # fmt: skip
    for page in pages:
        text = hostile.get(page).text
        assert re.findall(r"<script(?! src=\"/assets/page.js\" defer>)", text.lower()) == [], page
        assert "{{ 7*7 }}" in text or page in ("/health", f"/{HOSTILE}"), page
        assert re.findall(r'(?:href|src|action)="(?!/|#main)[^"]*"', text) == [], page
        assert "style=" not in text, page


def test_every_answer_forbids_foreign_scripts_frames_and_guessing(full: Visited) -> None:
    for path in ("/jobs", full.address("runs_2"), "/manifests", "/", "/healthz", "/nowhere", "/assets/page.js",
                 "/jobs.csv", "/check"):  # fmt: skip
        headers = full.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; object-src 'none'; "), path
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy, path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path


def test_a_page_fetches_nothing_from_elsewhere(full: Visited) -> None:
    for path in ("/jobs", full.address("runs_2"), "/manifests", "/check", "/health"):
        text = full.get(path).text
        assert set(re.findall(r'(?:src=|<link[^>]*href=)"([^"]*)', text)) == {
            "/assets/icon.svg", "/assets/style.css", "/assets/web.css", "/assets/page.js",
        }  # fmt: skip
        assert re.findall(r"<img|<iframe|<style|@import|url\(|https?://", text) == []


def test_an_asset_is_sent_again_only_when_it_changed(site: Visited) -> None:
    for name in ("style.css", "web.css", "page.js", "icon.svg"):
        first = site.get(f"/assets/{name}")
        again = site.request("GET", f"/assets/{name}", headers={"if-none-match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/jobs/unknown",
        "/jobs/..%2f..%2fetc%2fpasswd",
        "/jobs/%00",
        "/jobs/../../etc/passwd",
        "/jobs/",
        "/docs",
        "/openapi.json",
        "/api/nowhere",
        "/templates/style.css",
        "/assets/base.html.j2",
        "/assets/..%2fstyle.css",
        "/jobs/" + "x" * 5000,
        "/jobs.pdf",
    ],
)
def test_an_unknown_address_is_told_in_words(full: Visited, path: str) -> None:
    answer = full.get(path)
    assert answer.status_code == 404
    assert ("There is no such page, job or manifest." in answer.text) is not path.startswith("/api/")
    assert "passwd" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(full: Visited, method: str) -> None:
    for path in ("/jobs", full.address("runs_2"), "/job_params", "/healthz"):
        answer = full.request(method, path)
        assert answer.status_code == 405
        assert "This page can only be looked at." in answer.text


@pytest.mark.parametrize("path", ["/jobs", "/jobs.csv", "/healthz", "/nowhere", "/api/jobs", "/api/nowhere"])
def test_who_asks_only_whether_something_is_there_gets_the_same_answer_without_its_content(
    full: Visited, path: str
) -> None:
    told, asked = full.get(path), full.request("HEAD", path)
    assert (asked.status_code, asked.content) == (told.status_code, b"")
    varying = ("content-length", "date")  # a page says how long ago something was
    assert [one for one in asked.headers.items() if one[0] not in varying] == [
        one for one in told.headers.items() if one[0] not in varying
    ]


def test_what_a_page_of_another_site_sends_is_not_taken(site: Visited) -> None:
    foreign = ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"})
    own: tuple[dict[str, str], ...] = ({"sec-fetch-site": "same-origin"}, {"origin": "http://agent.test"}, {})
    assert [site.request("POST", "/jobs", headers=headers).status_code for headers in foreign] == [403, 403, 403]
    assert [site.request("POST", "/jobs", headers=headers).status_code for headers in own] == [405, 405, 405]


# --- health ----------------------------------------------------------------------------------------------------------


def say(site: Visited, at_: datetime, **changes: Any) -> None:
    inbox = pulse.WatchedInbox(path="/srv/inbox", last_complete_scan=at_, waiting=("a.xlsx: open in Excel",))
    said = pulse.Pulse(at=at_, since=NOW, pid=7, host="rig", executor="slurm", inboxes=(inbox,))
    pulse.write(site.settings.state_dir, said.model_copy(update=changes))


def test_health_tells_what_the_agent_said_last(site: Visited) -> None:
    full = filled(site)
    assert "never started" in full.words("/health")
    now = datetime.now(timezone.utc)
    say(full, now, executor_trouble="slurmctld does not answer.", troubles=("The inbox is away.",))
    words = full.words("/health")
    told = ["running The agent runs, and somebody has to act", "The inbox is away.",
            "slurm: slurmctld does not answer.",
            "Inbox /srv/inbox", f"Last complete scan: {now:%Y-%m-%d %H:%M:%S}", "Waits: a.xlsx: open in Excel",
            "Job types ✓ all 7 can be used", "Projects ✓ any well-formed name", "Code Ocean – not set up"]  # fmt: skip
    assert [part for part in told if part not in words] == []
    say(full, now, stopped=True)
    assert "stopped The agent was stopped." in full.words("/health")
    say(full, now - timedelta(minutes=5))
    assert "silent The agent has said nothing for 5 min" in full.words("/health")


def test_health_tells_how_the_services_stand_also_those_that_are_away(site: Visited) -> None:
    stale = Answer(["a", "b"], NOW, "The list is not answered. What it said on 2026-01-31 is used.")
    asked = {"more_projects": lambda: stale, "projects": ("c",), "services": ("docdb",)}
    told = standing_of(site, **asked, load_presets=lambda: Presets({}, {"x": "It is torn.", "y": "It is torn."}))
    assert told == {
        "Job types": ("bad", "2 cannot be used: x, y"),
        "Projects": ("warn", "The list is not answered. What it said on 2026-01-31 is used."),
        "Code Ocean": ("", health.NOT_SET_UP),
        "DocDB": ("", health.SET_UP),
    }
    fresh = {"more_projects": lambda: replace(stale, trouble=None), "projects": ("c",)}
    assert standing_of(site, **fresh)["Projects"] == ("good", "3 known, as of 2026-01-31 12:00:00")
    old = Presets({}, {}, "The store is away.")
    assert standing_of(site, load_presets=lambda: old)["Job types"] == ("warn", "The store is away.")

    def away() -> Any:
        raise LedgerUnavailable("Nothing answers.")

    told = standing_of(site, more_projects=away, load_presets=away)
    assert [told[name] for name in ("Job types", "Projects")] == [("bad", "Nothing answers.")] * 2


def standing_of(site: Visited, **changes: Any) -> dict[str, tuple[str, str]]:
    examiner = replace(assembly.examiner(site.settings), **changes)
    parts = web.Parts(**{**_parts_of(site), "examiner": examiner})
    return {one.name: (one.kind, one.words) for one in health.services(parts)}


def test_programs_are_told_whether_an_agent_works(site: Visited) -> None:
    full = filled(site)
    answer = full.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {
        "status": "no agent", "agent": "never started",
        "jobs": {"accepted": 1, "running": 1, "succeeded": 0, "failed": 1, "cancelled": 0},
    })  # fmt: skip
    say(full, datetime.now(timezone.utc))
    answer = full.get("/healthz")
    assert (answer.status_code, answer.json()["status"], answer.json()["inboxes"][0]["trouble"]) == (200, "ok", None)
    assert answer.json()["executor"] == {"kind": "slurm", "trouble": None}
    (full.settings.state_dir / pulse.FILE).write_text("{torn")
    assert full.get("/healthz").json()["agent"] == "never started"


# --- when something is wrong -----------------------------------------------------------------------------------------


def test_a_ledger_that_is_away_is_said_on_the_page_and_in_health(
    site: Visited, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise LedgerUnavailable("The ledger could not be read: disk I/O error.")

    monkeypatch.setattr("dropbox_agent.ledger.Lists.count_jobs", away)
    page, health = site.get("/jobs"), site.get("/healthz")
    assert (page.status_code, health.status_code) == (503, 503)
    assert "The ledger could not be read: disk I/O error." in page.text
    assert health.json() == {"status": "unavailable", "reason": "The ledger could not be read: disk I/O error."}


def test_a_broken_template_is_named(tmp_path: Path) -> None:
    file = founding.initialise(tmp_path / "site", NOW)
    (tmp_path / "own" / "web").mkdir(parents=True)
    (tmp_path / "own" / "web" / "jobs.html.j2").write_text("{% broken")
    file.write_text(file.read_text().replace("templates: null", f"templates: {tmp_path / 'own'}"))
    with serving.opened_app(sites.load(file, {})) as app:
        answer = Visited(sites.load(file, {}), None, app).get("/jobs")  # type: ignore[arg-type]
    assert answer.status_code == 503
    assert "jobs.html.j2, line 1 cannot be used" in answer.text


@pytest.mark.parametrize(("host", "place"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_pages_are_served_on_addresses_of_both_kinds(host: str, place: str) -> None:
    try:
        listening = serving.listening(host, 0)
    except PagesNotServed:
        assert not socket.has_ipv6 or host == "::1"  # a machine without an address of this kind
        return
    with listening:
        assert serving.place_of(listening).startswith(place)


def test_a_fault_nobody_thought_of_shows_no_inner_detail(site: Visited, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret inner detail")

    monkeypatch.setattr("dropbox_agent.ledger.Lists.count_jobs", faulty)
    answer = site.get("/jobs")
    assert (answer.status_code, answer.text) == (500, "Something went wrong; the log of the service says what.\n")


def test_other_routers_stand_beside_the_pages_and_are_told_of_trouble_as_programs_are(site: Visited) -> None:
    router = APIRouter()

    @router.get("/api/fault")
    def fault() -> None:
        raise LedgerUnavailable("It is away.")

    parts = web.Parts(**_parts_of(site))
    beside = Visited(site.settings, site.ledger, web.app(parts, [router]))
    answer = beside.get("/api/fault")
    assert (answer.status_code, answer.json()) == (503, {"message": "It is away.", "problems": []})
    assert list(beside.get("/api/openapi.json").json()["paths"]) == ["/api/fault"]


def _parts_of(site: Visited) -> dict[str, Any]:
    return {"read": site.ledger, "lists": None, "pages": assembly.pages(site.settings), "examiner": None,
            "written": None, "pulse": lambda: None, "work": patience.Place("/srv/work", 1)}  # fmt: skip


def test_every_section_is_marked_in_the_menu(full: Visited) -> None:
    pages = {"/jobs": "/jobs", full.address("runs_2"): "/jobs",
             "/manifests": "/manifests", "/manifests/1": "/manifests",
             "/job_params": "/job_params", "/projects": "/projects", "/check": "/check", "/health": "/health",
             "/help": "/help"}  # fmt: skip
    marked = {page: re.findall(r'href="([^"]*)" aria-current="page"', full.get(page).text) for page in pages}
    assert marked == {page: [section] for page, section in pages.items()}


def test_a_page_is_kept_new_only_while_work_goes_on(full: Visited) -> None:
    live = {page: re.findall(r'data-live="(\d+)"', full.get(page).text)
            for page in (full.address("runs_2"), full.address("failed_1"), "/jobs", "/check")}  # fmt: skip
    assert list(live.values()) == [["3"], [], ["3"], []]
