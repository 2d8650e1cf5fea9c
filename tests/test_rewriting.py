"""A manifest is written anew while the jobs of its earlier version run: refused by name, queued, or held."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, settings
from dropbox_agent.agent import Agent
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.model import Attempt, Observation

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class Gated(RehearsalExecutor):
    """What it takes runs until the gate is open."""

    is_open = False

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        return super().observe(attempts, now) if self.is_open else []


class Site:
    """An agent whose jobs run until the gate is open, and a manifest that is written anew meanwhile."""

    def __init__(self, folder: Path, policy: str) -> None:
        file = founding.initialise(folder / "site", NOW)
        stored = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}, "on_rewrite": policy}
        file.write_text(yaml.safe_dump(stored))
        self.settings, self.executor, self.seconds = settings.load(file, {}), Gated(), 0
        self.row = a_row(demonstration.make_session(folder / "data"), **QUICK)
        self.agent = self.opened()

    def opened(self) -> Agent:
        agent = assembly.open_agent(self.settings, os.environ, NOW)
        agent.executor = self.executor
        return agent

    def restart(self) -> None:
        self.agent.ledger.close()
        self.agent = self.opened()

    @property
    def inbox(self) -> Path:
        return self.settings.inboxes[0].path

    def write(self, *subjects: str) -> None:
        write_csv(self.inbox / "s.csv", [{**self.row, "subject_id": subject} for subject in subjects])

    def live(self, seconds: int = 30) -> None:
        for _ in range(0, seconds, 2):
            self.seconds += 2
            self.agent.tick(NOW + timedelta(seconds=self.seconds))

    def versions(self) -> list[tuple[str, list[str]]]:
        """Return the state of each version, with the subjects of its jobs."""
        found = [self.agent.ledger.standing(number) for number in range(1, 1 + len(self._rows()))]
        return [(one.state.value, [job.subject_id for job in one.jobs]) for one in found]

    def _rows(self) -> list[Any]:
        return self.agent.ledger._all("SELECT drop_id FROM drops")  # the list of drops has the latest versions only

    def told(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self.inbox / "s.csv.status.json").read_text())
        return status


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    sites: list[Site] = []

    def make(policy: str) -> Site:
        sites.append(Site(tmp_path, policy))
        return sites[0]

    yield make
    for site in sites:
        site.agent.ledger.close()


@pytest.mark.parametrize("again", [False, True], ids=["", "and the agent starts anew in between"])
@pytest.mark.parametrize(
    ("policy", "meanwhile", "afterwards"),
    [
        ("refuse", [("running", ["1"]), ("refused", [])], [("succeeded", ["1"]), ("refused", [])]),
        ("queue", [("running", ["1"])], [("succeeded", ["1"]), ("succeeded", ["1", "2"])]),
        ("hold", [("running", ["1"])], [("succeeded", ["1"])]),
    ],
)
def test_a_manifest_that_is_rewritten_while_its_jobs_run(
    made: Callable[[str], Site],
    policy: str,
    meanwhile: list[tuple[str, list[str]]],
    afterwards: list[tuple[str, list[str]]],
    again: bool,
) -> None:
    site = made(policy)
    site.write("1")
    site.live()
    site.write("1", "2")
    site.live()
    assert site.versions() == meanwhile
    if again:
        site.restart()
    site.executor.is_open = True
    site.live(60)
    assert site.versions() == afterwards


def test_a_version_that_is_queued_is_told_of_beside_the_one_that_runs(made: Callable[[str], Site]) -> None:
    site = made("queue")
    site.write("1")
    site.live()
    site.write("2")
    site.live()
    assert site.told()["state"] == "running"
    assert "The new version is taken once this one has ended." in site.told()["summary"]
    site.executor.is_open = True
    site.live(60)
    assert site.told()["state"] == "succeeded"
    assert [job["s3_prefix"].split("_")[1] for job in site.told()["jobs"]] == ["2"]
    assert site.agent.is_idle()


def test_a_version_that_is_held_waits_until_somebody_says_so(made: Callable[[str], Site]) -> None:
    site = made("hold")
    site.write("1")
    site.live()
    site.write("2")
    site.live()
    site.executor.is_open = True
    site.live(60)
    assert site.told()["state"] == "succeeded"
    assert site.told()["summary"].endswith("The new version waits: to run it, put an empty file s.csv.retry beside it.")
    assert site.agent.is_idle()  # it waits for somebody
    site.restart()
    site.live(60)
    assert len(site.versions()) == 1
    (site.inbox / "s.csv.retry").touch()
    site.live(60)
    assert site.versions() == [("succeeded", ["1"]), ("succeeded", ["2"])]
    assert not (site.inbox / "s.csv.retry").exists()
    assert "waits" not in site.told()["summary"]


def test_an_order_for_the_version_that_runs_does_not_let_the_held_one_go(made: Callable[[str], Site]) -> None:
    site = made("hold")
    site.write("1")
    site.live()
    site.write("2")
    site.live()
    (site.inbox / "s.csv.cancel").touch()
    site.executor.is_open = True
    site.live(60)
    assert site.versions() == [("cancelled", ["1"])]
    assert "Cancelled by s.csv.cancel. The file was changed" in site.told()["summary"]


@pytest.mark.parametrize("policy", ["queue", "hold"])
def test_a_file_that_says_again_what_it_said_waits_no_more(made: Callable[[str], Site], policy: str) -> None:
    site = made(policy)
    site.write("1")
    site.live()
    site.write("2")
    site.live()
    site.write("1")
    site.executor.is_open = True
    site.live(60)
    assert site.versions() == [("succeeded", ["1"])]
    assert "changed" not in site.told()["summary"]


@pytest.mark.parametrize("policy", ["queue", "hold"])
def test_a_new_version_that_is_taken_away_is_waited_for_no_more(made: Callable[[str], Site], policy: str) -> None:
    site = made(policy)
    site.write("1")
    site.live()
    site.write("2")
    site.live()
    assert "changed" in site.told()["summary"]
    (site.inbox / "s.csv").unlink()
    site.live(60)
    assert site.told()["state"] == "running"
    assert "changed" not in site.told()["summary"]
    site.executor.is_open = True
    site.live(30)
    assert site.versions() == [("succeeded", ["1"])]
