"""The pages in a real browser: read, filtered, followed; by keyboard, on a phone, in the dark; nothing is out of reach.

Screenshots are kept: in the folder that DROPBOX_AGENT_SCREENSHOTS names, else in test-artefacts/screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from filled_ledger import a_job, accepted, hand_over, refused, run_to_its_end, see
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright
from workspace import QUICK, Workspace, a_row, drop, wait_for, write_csv

from dropbox_agent import assembly, founding, serving
from dropbox_agent import settings as sites
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Attempt, AttemptFacts, Level, Observation, Place, Problem, TaskObservation
from dropbox_agent.states import AttemptState, TaskState

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
expect.set_options(timeout=20_000)
LAPTOP, PHONE = ViewportSize(width=1366, height=768), ViewportSize(width=390, height=844)
SCREENSHOTS = Path(os.environ.get("DROPBOX_AGENT_SCREENSHOTS") or ROOT / "test-artefacts" / "screenshots")
ENDED = 9
"""How many jobs have ended; every fourth of them failed."""
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="Chromium is not here"),
    pytest.mark.timeout(300),
]


class Seen:
    """A served site and its ledger."""

    def __init__(self, address: str, ledger: Ledger) -> None:
        self.address, self.ledger = address, ledger

    def job(self, name: str) -> str:
        return next(job.job_id for job in self.ledger.jobs(1000) if job.s3_prefix == name)

    def running(self, name: str) -> Attempt:
        return next(one for one in self.ledger.live_attempts() if one.job_id == self.job(name))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A site with jobs of two weeks, one of which runs, and a refused manifest."""
    with served(tmp_path_factory.mktemp("browser")) as seen:
        fill(seen, datetime.now(timezone.utc))
        yield seen


@contextmanager
def served(folder: Path) -> Iterator[Seen]:
    """Yield a site without jobs."""
    now = datetime.now(timezone.utc)
    settings = sites.load(founding.initialise(folder / "a site", now), {})
    settings = settings.model_copy(update={"web": settings.web.model_copy(update={"port": 0})})
    ledger = assembly.open_ledger(settings, now)
    with serving.served_beside(settings) as address:
        yield Seen(address, ledger)
    ledger.close()


def fill(site: Seen, now: datetime) -> None:
    ledger = site.ledger
    names = [f"ecephys_{700000 + number}" for number in range(54)]
    for number, name in enumerate(names[:ENDED]):
        when = now - timedelta(days=number + 3)
        accepted(ledger, f"session {number}.xlsx", [a_job(name, subject_id=str(number))], when)
        run_to_its_end(ledger, site.job(name), when, TaskState.SUCCEEDED if number % 4 else TaskState.FAILED)
    waiting = [a_job(name, row=row) for row, name in enumerate(names[ENDED:], 2)]
    accepted(ledger, "many.csv", waiting, now - timedelta(days=2))
    accepted(ledger, "today.csv", [a_job("behavior_1", job_type="behavior", user_email="bo@example.org")], now)
    (attempt,) = hand_over(ledger, site.job("behavior_1"), now)
    go_on(ledger, attempt, now, 10)
    place = Place("wrong.csv", "jobs", 7, "job_type", "C7")
    refused(ledger, "wrong.csv", [Problem(Level.ERROR, place, "Not a known job type.", "ephsy", "ephys")], now)


def go_on(ledger: Ledger, attempt: Attempt, now: datetime, done: int) -> None:
    log = attempt.folder / "check_s3_folder_exists.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"{done} done\n")
    progress = {"done_bytes": done, "total_bytes": 100, "text": "Looks"}
    see(ledger, attempt, TaskState.RUNNING, now, now, log=str(log), progress=progress)


@contextmanager
def looking(
    browser: Browser, address: str, size: ViewportSize = LAPTOP, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Page]:
    """Yield a page; at its end nothing may have been complained of, and nothing fetched from elsewhere."""
    context: BrowserContext = browser.new_context(base_url=address, viewport=size, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda asked: None if asked.url.startswith(address) else complaints.append(asked.url))
    yield page
    context.close()
    assert [one for one in complaints if "status of 404" not in one] == []


def every_page(site: Seen) -> dict[str, str]:
    running, failed = site.job("behavior_1"), site.job("ecephys_700000")
    return {
        "jobs": "/jobs",
        "jobs filtered": "/jobs?user=bo&state=running&sort=job&way=up",
        "nothing found": "/jobs?q=nothing",
        "running job": f"/jobs/{running}",
        "failed job": f"/jobs/{failed}",
        "log": f"/jobs/{running}/log?task=check_s3_folder_exists",
        "manifests": "/manifests",
        "refused manifest": "/manifests?state=refused",
        "job parameters": "/job_params",
        "job type": "/job_params?job_type=ecephys&with=behavior",
        "projects": "/projects",
        "check": "/check",
        "health": "/health",
        "help": "/help",
        "not found": "/jobs/nowhere",
    }


# --- every page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "size", "rules"),
    [("light", LAPTOP, None), ("dark", LAPTOP, ["color-contrast"]), ("light", PHONE, ["target-size"])],
    ids=["light laptop", "dark laptop", "phone"],
)
def test_every_page_is_within_everybodys_reach(
    browser: Browser,
    site: Seen,
    scheme: Literal["light", "dark"],
    size: ViewportSize,
    rules: list[str] | None,
) -> None:
    """axe finds nothing (contrast, labels, structure, keyboard), and no page is wider than the screen."""
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found: dict[str, Any] = {}
    with looking(browser, site.address, size, scheme) as page:
        for name, address in every_page(site).items():
            page.goto(address)
            if name == "refused manifest":
                page.get_by_role("link", name="wrong.csv").click()
                page.get_by_role("heading", name="What is wrong").wait_for()
            page.screenshot(path=SCREENSHOTS / f"{name} {scheme} {size['width']}.png", full_page=True)
            for violation in Axe().run(page, options=options).response["violations"]:
                found[f"{name}: {violation['id']}"] = [node["html"] for node in violation["nodes"]]
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                found[f"{name}: too wide"] = size["width"]
    assert found == {}


# --- reading and filtering -------------------------------------------------------------------------------------------


def test_jobs_are_found_by_keyboard_alone(browser: Browser, site: Seen) -> None:
    with looking(browser, site.address) as page:
        page.goto("/jobs")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="To the content")).to_be_focused()
        page.keyboard.press("Enter")
        while page.evaluate("document.activeElement.id") != "q":
            page.keyboard.press("Tab")
        page.keyboard.type("ecephys_70000 failed?")
        page.keyboard.press("Enter")
        expect(page.get_by_text("No job is like that.")).to_be_visible()
        page.locator("#q").fill("ecephys_70001")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(10)
        page.locator("#sort-job").focus()
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr td.name").first).to_have_text("ecephys_700010")
        assert page.url.endswith("/jobs?q=ecephys_70001&sort=job&way=up")
        page.locator("tbody tr td.name a").first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="ecephys_700010", exact=True)).to_be_visible()
        page.go_back()
        expect(page.locator("#q")).to_have_value("ecephys_70001")


def test_filters_states_and_days_narrow_the_list_and_pages_follow_one_another(browser: Browser, site: Seen) -> None:
    with looking(browser, site.address) as page:
        page.goto("/jobs")
        page.get_by_text("Filters").click()
        page.get_by_label("Job type").select_option("behavior")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="Show all", exact=True).click()
        page.get_by_role("link", name=re.compile("failed")).first.click()
        expect(page.locator("tbody tr")).to_have_count(3)
        page.goto("/jobs")
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_text("51–55 of 55")).to_be_visible()
        page.goto("/jobs")
        page.locator("figure.chart a").last.click()
        expect(page.locator("tbody tr td.name")).to_have_text(["behavior_1"])


def test_a_file_is_tried_and_its_problems_are_shown(browser: Browser, site: Seen) -> None:
    with looking(browser, site.address) as page:
        page.goto("/check")
        page.get_by_label("Manifest").set_input_files(
            {"name": "mine.csv", "mimeType": "text/csv", "buffer": b"job_type,subject_id\necephsy,1\n"}
        )
        page.get_by_role("button", name="Check").click()
        expect(page.get_by_text("It would be refused")).to_be_visible()
        expect(page.get_by_text("row 2, job_type (A2)")).to_be_visible()


# --- following -------------------------------------------------------------------------------------------------------


def test_a_page_becomes_new_without_losing_scroll_focus_selection_or_what_was_opened(
    browser: Browser, site: Seen
) -> None:
    attempt, now = site.running("behavior_1"), datetime.now(timezone.utc)
    with looking(browser, site.address, ViewportSize(width=1000, height=500)) as page:
        page.goto(f"/jobs/{attempt.job_id}")
        expect(page.locator("[data-follow]").first).to_contain_text("10 done")
        page.locator("#moves summary").click()
        page.locator("#moves summary").focus()
        seen_at = "document.querySelector('#moves summary').getBoundingClientRect().top"
        before = page.evaluate(seen_at)
        page.evaluate("window.kept = document.querySelector('#tasks table')")
        go_on(site.ledger, attempt, now, 55)
        expect(page.locator("#tasks")).to_contain_text("55 bytes of 100 bytes")
        expect(page.locator("[data-follow]").first).to_contain_text("55 done")
        expect(page.locator("#moves summary")).to_be_focused()
        assert page.locator("#moves").evaluate("it => it.open")
        assert page.evaluate("window.kept === document.querySelector('#tasks table')")
        # The log above has grown by a line; what is looked at stays where it was.
        assert abs(page.evaluate(seen_at) - before) < 1


def test_the_end_of_a_log_that_was_cleared_away_is_still_read(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path) as site:
        _reads_the_end_of_a_log_that_is_gone(browser, site, datetime.now(timezone.utc))


def _reads_the_end_of_a_log_that_is_gone(browser: Browser, site: Seen, now: datetime) -> None:
    accepted(site.ledger, "cleared.csv", [a_job("cleared_1")], now)
    (attempt,) = hand_over(site.ledger, site.job("cleared_1"), now)
    tasks = tuple(TaskObservation(task.key, TaskState.FAILED, now, now, log="gone.log") for task in attempt.tasks)
    facts = AttemptFacts(log_end="The disk is full.")
    site.ledger.observed([Observation(attempt, True, AttemptState.ENDED, tasks, facts=facts)], now)
    with looking(browser, site.address) as page:
        with page.expect_response(re.compile("/log/tail")):
            page.goto(f"/jobs/{site.job('cleared_1')}")
        expect(page.locator("[data-follow]").first).to_have_text("The disk is full.")


def test_what_moves_to_another_place_of_a_list_keeps_the_focus(browser: Browser, site: Seen) -> None:
    with looking(browser, site.address) as page:
        page.goto("/jobs?q=ecephys_70002&sort=state&way=down")
        names = page.locator("tbody tr td.name")
        name = names.last.inner_text()
        names.last.locator("a").focus()
        hand_over(site.ledger, site.job(name), datetime.now(timezone.utc))
        expect(names.first).to_have_text(name)
        expect(names.first.locator("a")).to_be_focused()


def test_what_is_selected_in_a_log_stays_selected_while_it_grows(browser: Browser, site: Seen) -> None:
    attempt, now = site.running("behavior_1"), datetime.now(timezone.utc)
    with looking(browser, site.address) as page:
        page.goto(f"/jobs/{attempt.job_id}/log?task=check_s3_folder_exists")
        page.get_by_role("region", name="The log").evaluate("it => getSelection().selectAllChildren(it)")
        selected = page.evaluate("String(getSelection())")
        go_on(site.ledger, attempt, now, 77)
        expect(page.get_by_role("region", name="The log")).to_contain_text("77 done")
        assert page.evaluate("String(getSelection())").startswith(selected)


def test_a_page_that_is_paused_stays_as_it_is(browser: Browser, site: Seen) -> None:
    with looking(browser, site.address) as page:
        page.goto("/jobs")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("This page stays as it is.")).to_be_visible()
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("This page keeps itself up to date.")).to_be_visible()


SLOW = """
description: Compresses as slowly as a gate says.
tasks:
  modality_transformation_settings:
    behavior:
      command_script: |
        #!/bin/bash
        echo 'the first line'
        while [ ! -e {folder}/more ]; do sleep 0.05; done
        echo 'a line that came later'
        while [ ! -e {folder}/end ]; do sleep 0.05; done
        cp -r '%INPUT_SOURCE'/. '%OUTPUT_LOCATION'/
"""


def test_a_real_job_is_followed_to_its_end_and_its_log_while_it_grows(
    browser: Browser, workspace: Workspace, tmp_path: Path, sources: dict[str, Path]
) -> None:
    """The agent runs and serves its pages itself; nobody reloads anything."""
    (tmp_path / "work").mkdir()
    (workspace.folder / "job_types" / "slow.yaml").write_text(SLOW.format(folder=tmp_path))
    workspace.change(work_dir=str(tmp_path / "work"), web={"in_run": True, "port": 0})
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "trials.csv").write_text("1,2\n")
    row = a_row({"behavior": plain, "metadata": sources["metadata"]}, job_type="slow", **QUICK)
    agent = workspace.start()
    assert agent.stdout is not None
    said = next(line for line in agent.stdout if "The pages are at" in line)
    address = said.rpartition(" ")[2].strip()
    with looking(browser, address) as page:
        page.goto(f"{address}/jobs")
        drop(workspace, "s.csv", lambda path: write_csv(path, [row]))
        page.locator("tbody tr td.name a").click(timeout=60_000)
        page.locator("#graph .node.busy", has_text="compress_data[behavior]").wait_for(timeout=60_000)
        # The log of what runs now comes to the page that was opened before it ran.
        shown = page.get_by_role("region", name="End of the log of compress_data[behavior]")
        expect(shown).to_contain_text("the first line", timeout=60_000)
        page.screenshot(path=SCREENSHOTS / "followed, running.png", full_page=True)
        page.get_by_role("link", name="Log of compress_data[behavior]", exact=True).click(timeout=60_000)
        log = page.get_by_role("region", name="The log")
        expect(log).to_contain_text("the first line")
        (tmp_path / "more").touch()
        expect(log).to_contain_text("a line that came later")
        page.screenshot(path=SCREENSHOTS / "followed, its log.png", full_page=True)
        page.get_by_role("link", name="Back to").click()
        (tmp_path / "end").touch()
        expect(page.locator("#head .state")).to_have_text("✓ succeeded", timeout=60_000)
        expect(page.get_by_text("Everything on this page has ended.")).to_be_visible(timeout=20_000)
        expect(page.locator("#facts")).not_to_contain_text("where it will be")
        expect(page.locator("#facts")).to_contain_text("Ended")
        expect(page.get_by_role("button", name="Pause")).to_be_hidden()
        page.screenshot(path=SCREENSHOTS / "followed, ended.png", full_page=True)
        page.goto(f"{address}/health")
        expect(page.get_by_text("The agent runs.")).to_be_visible()
    workspace.children[0].terminate()
    wait_for(lambda: agent.poll() is not None)
    assert agent.returncode == 0
