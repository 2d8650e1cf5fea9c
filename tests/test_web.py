"""The pages: what the ledger and the presets say, read-only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from dropbox_agent import report, web
from dropbox_agent.errors import LedgerUnavailable
from dropbox_agent.model import (
    JobStanding,
    JobType,
    Level,
    Place,
    Plan,
    PlannedTask,
    Presets,
    Problem,
    Standing,
    TaskStanding,
)
from dropbox_agent.states import DropState, JobState, TaskState

TEMPLATES = Path(__file__).parents[1] / "templates"
NOW = datetime(2024, 5, 27, 16, 7, 59, tzinfo=timezone.utc)
HOSTILE = '<script>alert("x")</script>{{ 7*7 }}\udcff'

PLANNED = PlannedTask(
    key="upload_data_to_s3",
    task_id="upload_data_to_s3",
    modality=None,
    needs=(),
    allocation=1,
    skip=None,
    settings={"image": None, "job_settings": {"threads": 4, "verify": True}},
    origin={"job_settings": "default", "job_settings.threads": "manifest"},
)
TASK = TaskStanding(
    key="upload_data_to_s3",
    task_id="upload_data_to_s3",
    modality=None,
    state=TaskState.FAILED,
    started=NOW,
    ended=NOW + timedelta(seconds=65),
    attempt=1,
    slurm_job_id=None,
    log="/work/run/upload.log",
    message="The bucket could not be written.",
    progress=None,
)
JOB = JobStanding(
    job_id="ecephys_1_2024-05-27_16-00-00.abc123",
    s3_prefix="ecephys_1_2024-05-27_16-00-00",
    bucket="default",
    location="file:///srv/bucket/ecephys_1_2024-05-27_16-00-00",
    job_type="ecephys",
    project_name="Ephys Platform",
    subject_id="123456",
    platform="ecephys",
    modalities=("ecephys",),
    user_email="anna@example.org",
    email_types=frozenset({"begin", "end"}),
    row=2,
    state=JobState.FAILED,
    created=NOW,
    started=NOW,
    ended=NOW + timedelta(seconds=70),
    tasks=(TASK,),
    plan=Plan("ecephys", "ecephys_1", "default", "file:///srv/bucket/ecephys_1", (PLANNED,), "0" * 64),
)
PROBLEM = Problem(
    Level.ERROR,
    Place("s.xlsx", "jobs", 7, "job_type", "C7"),
    "Not a known job type.",
    found="ephsy",
    suggestion="ephys",
)
REFUSED = Standing(
    drop_id=1,
    name="s.xlsx",
    inbox=Path("/srv/inbox"),
    sha256="f" * 64,
    state=DropState.REFUSED,
    noticed=NOW,
    updated=NOW,
    problems=(PROBLEM,),
    jobs=(),
)
TAKEN = replace(REFUSED, drop_id=2, name="t.xlsx", state=DropState.FAILED, problems=(), jobs=(JOB,))
PRESETS = Presets(
    job_types={
        "ecephys": JobType(
            "ecephys",
            "Neuropixels sessions.",
            "default",
            {("compress_data", "ecephys"): {"skip_task": False, "job_settings": {"level": 3}}},
        )
    },
    broken={"HCR": "HCR.yaml, line 3: this is not YAML."},
)


@dataclass(frozen=True)
class Shelf:
    """A reader of what a test puts on it."""

    stored_jobs: Sequence[JobStanding] = ()
    stored_drops: Sequence[Standing] = ()
    stored_presets: Presets = PRESETS

    def jobs(self, limit: int, offset: int) -> Sequence[JobStanding]:
        return self.stored_jobs[offset : offset + limit]

    def job(self, job_id: str) -> JobStanding | None:
        return next((job for job in self.stored_jobs if job.job_id == job_id), None)

    def drops(self, limit: int, offset: int) -> Sequence[Standing]:
        return self.stored_drops[offset : offset + limit]

    def count_jobs(self) -> Mapping[str, int]:
        return {state.value: sum(job.state is state for job in self.stored_jobs) for state in JobState}

    def presets(self) -> Presets:
        return self.stored_presets


class Closed(Shelf):
    """A reader whose ledger is away."""

    def jobs(self, limit: int, offset: int) -> Sequence[JobStanding]:
        raise LedgerUnavailable("There is no ledger at /state/ledger.sqlite.")

    def count_jobs(self) -> Mapping[str, int]:
        raise LedgerUnavailable("There is no ledger at /state/ledger.sqlite.")


class Faulty(Shelf):
    """A reader with a fault nobody thought of."""

    def jobs(self, limit: int, offset: int) -> Sequence[JobStanding]:
        raise RuntimeError("secret inner detail")


@dataclass(frozen=True)
class Visitor:
    """Asks the application, without a network between."""

    app: FastAPI

    def get(self, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, params)

    def request(self, method: str, path: str, params: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask(method, path, params, more))

    async def _ask(
        self, method: str, path: str, params: Mapping[str, str] | None, more: Mapping[str, Any]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent.test") as client:
            return await client.request(method, path, params=params, **more)


def visit(shelf: Shelf, templates: Sequence[Path] = (TEMPLATES,)) -> Visitor:
    pages = report.Pages(templates, {"name": "Lab 7", "contact": "data@example.org"})
    return Visitor(web.app(web.Parts(shelf, pages)))


def words_of(html: str) -> str:
    without_style = re.sub(r"<style>.*?</style>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", without_style).split())


FULL = Shelf((JOB,), (TAKEN, REFUSED))
PAGES = ("/jobs", f"/jobs/{JOB.job_id}", "/manifests", "/job_params")


def test_the_start_page_is_the_list_of_jobs() -> None:
    answer = visit(FULL).get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/jobs")


def test_the_list_tells_state_job_subject_project_type_time_and_progress() -> None:
    answer = visit(FULL).get("/jobs")
    assert answer.status_code == 200
    assert (
        "✕ failed ecephys_1_2024-05-27_16-00-00 123456 Ephys Platform ecephys 2024-05-27 16:07:59 0 of 1 tasks"
        in words_of(answer.text)
    )
    assert f'href="/jobs/{JOB.job_id}"' in answer.text


def test_a_job_page_tells_the_failure_first_then_tasks_and_where_each_setting_comes_from() -> None:
    words = words_of(visit(FULL).get(f"/jobs/{JOB.job_id}").text)
    told = [
        "upload_data_to_s3 failed The bucket could not be written. Log: /work/run/upload.log",
        "file:///srv/bucket/ecephys_1_2024-05-27_16-00-00",
        "anna@example.org (begin, end)",
        "1 min 5 s",
        "job_settings.threads 4 manifest job_settings.verify true default",
    ]
    assert [words.find(part) for part in told] == sorted(words.find(part) for part in told)
    assert all(part in words for part in told)


def test_the_manifests_page_tells_what_was_refused_and_why() -> None:
    answer = visit(FULL).get("/manifests")
    words = words_of(answer.text)
    assert "Refused: 1 problem in row 7; nothing was uploaded." in words
    assert "sheet jobs, row 7, job_type (C7) ephsy Not a known job type. ephys" in words
    assert f'href="/jobs/{JOB.job_id}"' in answer.text


def test_the_job_parameters_page_tells_the_presets_and_what_is_wrong_with_the_broken_ones() -> None:
    words = words_of(visit(FULL).get("/job_params").text)
    assert "HCR : HCR.yaml, line 3: this is not YAML." in words
    assert "ecephys inherits default Neuropixels sessions. compress_data for ecephys" in words
    assert "&#34;level&#34;: 3" in words


def test_every_section_is_marked_in_the_menu() -> None:
    client = visit(FULL)
    marked = {page: re.findall(r'href="([^"]*)" aria-current', client.get(page).text) for page in PAGES}
    assert marked == {
        "/jobs": ["/jobs"],
        f"/jobs/{JOB.job_id}": ["/jobs"],
        "/manifests": ["/manifests"],
        "/job_params": ["/job_params"],
    }


def test_pages_reload_only_while_work_goes_on() -> None:
    running = replace(JOB, state=JobState.RUNNING)
    live = Shelf((running,), (replace(TAKEN, state=DropState.RUNNING, jobs=(running,)),))
    reloads = {page: ('http-equiv="refresh"' in visit(live).get(page).text) for page in PAGES}
    assert reloads == {"/jobs": True, f"/jobs/{JOB.job_id}": True, "/manifests": True, "/job_params": False}
    assert not any('http-equiv="refresh"' in visit(FULL).get(page).text for page in PAGES)


def test_an_empty_agent_says_what_to_do() -> None:
    client = visit(Shelf(stored_presets=Presets({}, {})))
    assert "Drop a manifest into the watched folder." in client.get("/jobs").text
    assert "Drop a manifest into the watched folder." in client.get("/manifests").text
    assert "Add a file to the job_types folder." in client.get("/job_params").text


# --- many ------------------------------------------------------------------------------------------------------------


def many() -> Shelf:
    jobs = [replace(JOB, job_id=f"job{number:03d}", s3_prefix=f"job{number:03d}") for number in range(120)]
    drops = [replace(TAKEN, name=f"job{number:03d}.csv", jobs=()) for number in range(120)]
    return Shelf(jobs, drops)


@pytest.mark.parametrize("path", ["/jobs", "/manifests"])
def test_every_job_and_manifest_is_on_exactly_one_page(path: str) -> None:
    client, seen, address = visit(many()), [], f"{path}?page=1"
    while address:
        text = client.get(address).text
        seen += re.findall(r"<bdi>(job\d+)", text)
        older = re.search(r'href="(\?page=\d+)" rel="next"', text)
        address = path + older[1] if older else ""
    assert seen == [f"job{number:03d}" for number in range(120)]


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1e3", "²", "1; DROP TABLE jobs"])
def test_a_page_number_that_is_none_is_the_first_page(page: str) -> None:
    assert "job000" in visit(many()).get("/jobs", params={"page": page}).text


def test_a_page_far_behind_the_last_one_says_so() -> None:
    answer = visit(many()).get("/jobs", params={"page": "9" * 400})
    assert answer.status_code == 200
    assert "There are no jobs this far back." in answer.text


# --- strangers -------------------------------------------------------------------------------------------------------


def hostile() -> Shelf:
    task = replace(TASK, key=HOSTILE, message=HOSTILE, log=HOSTILE)
    planned = replace(PLANNED, key=HOSTILE, settings={HOSTILE: {HOSTILE: HOSTILE}}, origin={HOSTILE: HOSTILE})
    job = replace(
        JOB,
        job_id='a/../"><script>',
        s3_prefix=HOSTILE,
        location=HOSTILE,
        project_name=HOSTILE,
        subject_id=HOSTILE,
        job_type=HOSTILE,
        user_email=HOSTILE,
        platform=HOSTILE,
        modalities=(HOSTILE,),
        tasks=(task,),
        plan=replace(JOB.plan, tasks=(planned, replace(planned, skip=HOSTILE))),
    )
    problem = Problem(
        Level.ERROR, Place(HOSTILE, HOSTILE, 7, HOSTILE, HOSTILE), HOSTILE, found=HOSTILE, suggestion=HOSTILE
    )
    drop = replace(TAKEN, name=HOSTILE, jobs=(job,), problems=(problem,))
    job_type = JobType(HOSTILE, HOSTILE, HOSTILE, {(HOSTILE, HOSTILE): {HOSTILE: HOSTILE}})
    return Shelf((job, replace(job, job_id="plain")), (drop,), Presets({HOSTILE: job_type}, {HOSTILE: HOSTILE}))


@pytest.mark.parametrize("page", ["/jobs", "/jobs/plain", "/manifests", "/job_params", f"/{HOSTILE[:-1]}"])
def test_nothing_a_stranger_wrote_becomes_markup_on_a_page(page: str) -> None:
    text = visit(hostile()).get(page).text
    assert "<script" not in text.lower()
    assert "49" not in words_of(text)
    assert re.findall(r'href="(?!/|\?)[^"]*"', text) == []


@pytest.mark.parametrize(
    "path", ["/jobs", f"/jobs/{JOB.job_id}", "/manifests", "/job_params", "/", "/healthz", "/nowhere", "/jobs/unknown"]
)
def test_every_answer_forbids_scripts_frames_and_guessing(path: str) -> None:
    headers = visit(FULL).get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'; object-src 'none'; ")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fetches_nothing_from_anywhere(path: str) -> None:
    text = visit(FULL).get(path).text
    fetched = re.findall(r"(?:src=|<link[^>]*href=)\"([^\"]*)", text)
    assert set(fetched) <= {"/assets/style.css"}
    assert re.findall(r"<img|<iframe|<style|style=|@import|url\(|https?://", text) == []


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
        "/templates/style.css",
        "/assets/base.html.j2",
        "/assets/..%2fstyle.css",
        "/jobs/" + "x" * 5000,
    ],
)
def test_an_unknown_address_is_a_page_in_words(path: str) -> None:
    answer = visit(FULL).get(path)
    assert answer.status_code == 404
    assert "There is no such page, job or manifest." in answer.text
    assert "passwd" not in answer.text


def test_what_a_page_of_another_site_sends_is_not_taken() -> None:
    client = visit(FULL)
    foreign = ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"})
    own: Sequence[dict[str, str]] = ({"sec-fetch-site": "same-origin"}, {"origin": "http://agent.test"}, {})
    assert [client.request("POST", "/jobs", headers=headers).status_code for headers in foreign] == [403, 403, 403]
    assert [client.request("POST", "/jobs", headers=headers).status_code for headers in own] == [405, 405, 405]


def test_style_is_sent_again_only_when_it_changed() -> None:
    client = visit(FULL)
    first = client.request("GET", "/assets/style.css")
    again = client.request("GET", "/assets/style.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, first.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/jobs", f"/jobs/{JOB.job_id}", "/job_params", "/healthz"])
def test_nothing_can_be_changed(method: str, path: str) -> None:
    answer = visit(FULL).request(method, path)
    assert answer.status_code == 405
    assert "This page can only be looked at." in answer.text


# --- when something is wrong -----------------------------------------------------------------------------------------


def test_health_is_told_to_programs() -> None:
    answer = visit(FULL).get("/healthz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "jobs": {"accepted": 0, "running": 0, "succeeded": 0, "failed": 1, "cancelled": 0}},
    )


def test_a_ledger_that_is_away_is_said_on_the_page_and_in_health() -> None:
    client = visit(Closed())
    page, health = client.get("/jobs"), client.get("/healthz")
    assert (page.status_code, health.status_code) == (503, 503)
    assert "There is no ledger at /state/ledger.sqlite." in page.text
    assert health.json() == {"status": "unavailable", "reason": "There is no ledger at /state/ledger.sqlite."}


def test_a_broken_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "jobs.html.j2").write_text("{% broken")
    answer = visit(FULL, [tmp_path, TEMPLATES]).get("/jobs")
    assert answer.status_code == 503
    assert "jobs.html.j2, line 1 cannot be used" in answer.text


def test_a_fault_nobody_thought_of_shows_no_inner_detail() -> None:
    answer = visit(Faulty()).get("/jobs")
    assert (answer.status_code, answer.text) == (500, "Something went wrong; the log of the service says what.\n")
