"""An array task on a real cluster: one job of four elements, each with its own start token, record and log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from arrayed import ArraySite
from cluster import NODES, Cluster
from cluster_site import on_cluster
from ending import processes
from ways import commands, rest
from workspace import Workspace

from dropbox_agent.executors.slurm import JobRequest
from dropbox_agent.executors.slurm.jobs import Cluster as Way


@pytest.fixture(params=["cli", "rest"])
def way_there(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(workspace: Workspace, cluster: Cluster, tmp_path: Path, way_there: str) -> ArraySite:
    return a_site(workspace, cluster, tmp_path, way_there)


def a_site(workspace: Workspace, cluster: Cluster, folder: Path, way: str, array: str = "0-3") -> ArraySite:
    made = ArraySite.made(workspace, folder, array)
    on_cluster(workspace, cluster, way)
    return made


@pytest.mark.parametrize("way", [commands, rest])
def test_the_elements_of_an_array_are_jobs_of_one_id(cluster: Cluster, way: Any, tmp_path: Path) -> None:
    slurm: Way = way(cluster)
    job_id = slurm.submit(
        JobRequest("dbx-a", "", "#!/bin/sh\nsleep 600\n", Path("/dev/null"), {"array": "0-3%2", "partition": "main"})
    )

    def states() -> list[str]:
        return sorted(job.state for job in slurm.jobs() if (job.job_id, job.name) == (job_id, "dbx-a"))

    cluster.wait_for(lambda: states() == ["PENDING", "RUNNING", "RUNNING"], "two of four elements that run")
    slurm.cancel("dbx-a", hard=False)
    cluster.wait_for(lambda: set(states()) == {"CANCELLED"}, "four cancelled elements")


def test_four_elements_run_on_the_nodes_once_each_though_the_agent_is_killed(site: ArraySite, cluster: Cluster) -> None:
    child = site.workspace.start()
    site.drop()
    site.wait_for_elements(running="0-3")
    site.wait_for_runs(4)
    assert {node for _, _, node in site.runs()} == set(NODES)
    (name,) = {name for name, state in cluster.jobs().values() if state == "RUNNING"}
    assert name == site.runs()[0][0]
    child.kill()
    site.open(1, 2)
    site.workspace.start()
    site.wait_for_elements(running="0,3", succeeded="1-2")
    site.open()
    site.wait_for_state("succeeded")
    assert site.elements() == {"succeeded": "0-3"}
    assert site.uploaded() == {f"part.{number}": "of 4\n" for number in range(4)}
    site.each_element_ran_once()
    (folder,) = site.workspace.work.glob("*/attempts/*/elements")
    assert {path.name for path in folder.iterdir()} >= {f"{number}.log" for number in range(4)}
    assert sorted(site.records()) == [f"{number}.succeeded.json" for number in range(4)]


def test_one_element_that_fails_ends_the_running_and_the_waiting_ones(
    workspace: Workspace, cluster: Cluster, tmp_path: Path, way_there: str
) -> None:
    site = a_site(workspace, cluster, tmp_path, way_there, "0-5%4")
    workspace.start()
    site.drop()
    site.wait_for_elements(running="0-3", waiting="4-5")
    site.break_(1)
    site.open(0)
    site.wait_for_elements(running="1-4", succeeded="0", waiting="5")
    site.open(1)
    site.wait_for_state("failed")
    assert site.task()["message"].startswith("Element 1 of 6 failed: The script of arrayed for ecephys failed with")
    assert site.elements() == {"succeeded": "0", "failed": "1", "cancelled": "2-5"}
    cluster.wait_for(lambda: not cluster.live_jobs(), "an empty queue")
    site.mend(1)
    site.open()
    assert workspace.agent("retry", site.job_id(), "--config", str(workspace.config)).returncode == 0
    site.wait_for_state("succeeded")
    assert (site.task()["attempt"], site.elements()) == (2, {"succeeded": "0-5"})
    site.each_element_ran_once()


def test_an_element_that_is_killed_without_a_word_ends_the_others(site: ArraySite, cluster: Cluster) -> None:
    site.workspace.start()
    site.drop()
    site.wait_for_elements(running="0-3")
    site.wait_for_runs(4)
    _wrapper_of(site, element=2).kill()
    site.wait_for_state("failed")
    assert (site.task()["state"], site.elements()) == ("failed", {"cancelled": "0-3"})
    cluster.wait_for(lambda: not cluster.live_jobs(), "an empty queue")


def _wrapper_of(site: ArraySite, element: int) -> psutil.Process:
    (found,) = (one for one in processes() if _is_wrapper_of(one, str(site.folder), str(element)))
    return found


def _is_wrapper_of(process: psutil.Process, folder: str, element: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return words[-1:] == [element] and any(folder in word and word.endswith("wrapper.py") for word in words)
