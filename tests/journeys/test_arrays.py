"""An array task on this machine: its elements run side by side, and are one task to those who look."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from arrayed import ArraySite
from workspace import Workspace


@pytest.fixture
def site(workspace: Workspace, tmp_path: Path) -> ArraySite:
    return ArraySite.made(workspace, tmp_path, kind="local")


def test_every_element_runs_once_whatever_the_agent_meets_and_the_last_one_ends_the_task(
    workspace: Workspace, tmp_path: Path
) -> None:
    site = ArraySite.made(workspace, tmp_path, array="1,3-7:2%2", kind="local")
    child = workspace.start()
    site.drop()
    site.wait_for_elements(running="1,3", waiting="5,7")
    assert site.task()["progress"]["text"] == "4 elements: 2 waiting, 2 running"
    before_any_ended = datetime.now(timezone.utc)
    site.wait_for_runs(2)
    child.kill()
    site.open(1)
    site.wait_for_runs(3)
    workspace.start()
    site.wait_for_elements(succeeded="1", running="3,5", waiting="7")
    site.open()
    site.wait_for_state("succeeded")
    task = site.task()
    assert (task["state"], task["attempt"]) == ("succeeded", 1)
    assert datetime.fromisoformat(task["started"].replace("Z", "+00:00")) < before_any_ended
    assert task["message"] == "The script of arrayed made 4 files (20 bytes) of ecephys."
    assert site.elements() == {"succeeded": "1,3,5,7"}
    assert site.uploaded() == {f"part.{number}": "of 4\n" for number in (1, 3, 5, 7)}
    site.each_element_ran_once()


def test_one_element_that_fails_ends_the_others_and_the_task(site: ArraySite) -> None:
    site.workspace.start()
    site.drop()
    site.break_(0)
    site.wait_for_runs(2)
    site.open(0)
    site.wait_for_state("failed")
    task = site.task()
    assert task["state"] == "failed"
    assert task["message"].startswith(
        "Element 0 of 4 failed: The script of arrayed for ecephys failed with exit code 1"
    )
    assert site.elements() == {"failed": "0", "cancelled": "1-3"}
    assert task["log"].endswith("/elements/0.log")
    assert Path(task["log"]).is_file()
    assert site.uploaded() == {}
    site.mend(0)
    site.open()
    assert site.workspace.agent("retry", site.job_id(), "--config", str(site.workspace.config)).returncode == 0
    site.wait_for_state("succeeded")
    assert (site.task()["attempt"], site.elements()) == (2, {"succeeded": "0-3"})
    site.each_element_ran_once()


def test_a_cancelled_array_ends_what_runs_and_starts_nothing_more(site: ArraySite) -> None:
    site.workspace.start()
    site.drop()
    site.wait_for_runs(2)
    (site.workspace.inbox / "s.csv.cancel").touch()
    site.wait_for_state("cancelled")
    site.open()
    assert site.task()["state"] == "cancelled"
    assert site.elements() == {"cancelled": "0-3"}
    site.each_element_ran_once()
