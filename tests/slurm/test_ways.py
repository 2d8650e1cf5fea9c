"""Both ways to a cluster as they are: what they take, what they refuse, what they say without an answer.

A test that takes ``slurm`` is run by each way, sbatch and slurmrestd, and expects the same of both.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from ways import commands, rest

from dropbox_agent.executors.slurm import JobRequest, SlurmCommands, SlurmJob, Unanswered
from dropbox_agent.executors.slurm.jobs import Cluster as Way
from dropbox_agent.executors.slurm.jobs import NoAccounting, Partition, Refused, Why
from dropbox_agent.executors.slurm.states import sentence


@pytest.fixture(params=["cli", "rest"])
def slurm(request: pytest.FixtureRequest, cluster: Cluster) -> Way:
    return commands(cluster) if request.param == "cli" else rest(cluster)


def a_job(tmp_path: Path, name: str = "dbx-a", script: str = "sleep 600", **resources: Any) -> JobRequest:
    return JobRequest(name, "a comment", f"#!/bin/sh\n{script}\n", tmp_path / "wrapper.log", resources)


def the_job(cluster: Cluster, slurm: Way, job_id: str, *states: str) -> SlurmJob:
    """Return a job once it is in one of these states."""

    def found() -> SlurmJob | None:
        return next((job for job in slurm.jobs() if job.job_id == job_id and job.state in states), None)

    job = cluster.wait_for(found, f"job {job_id} in {states}")
    assert isinstance(job, SlurmJob)
    return job


def test_a_job_is_taken_seen_with_its_node_and_ended_by_its_name(cluster: Cluster, slurm: Way, tmp_path: Path) -> None:
    first = slurm.submit(a_job(tmp_path))
    second = slurm.submit(a_job(tmp_path, name="dbx-b"))
    job = the_job(cluster, slurm, first, "RUNNING")
    assert (job.name, job.nodes in ("n1", "n2", "n3", "n4")) == ("dbx-a", True)
    slurm.cancel("dbx-a", hard=False)
    assert sentence(the_job(cluster, slurm, first, "CANCELLED")) == "It was cancelled in Slurm."
    assert the_job(cluster, slurm, second, "PENDING", "RUNNING").name == "dbx-b"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"partition": "nope"}, "Invalid partition name specified"),
        ({"minimum_cpus_per_node": 99}, "Requested node configuration is not available"),
        ({"memory": 99999999}, "Requested node configuration is not available"),
        ({"constraint": "purple"}, "Invalid feature specification"),
        ({"gres": "tape:1"}, "Invalid generic resource (gres) specification|Failure during parsing"),
        ({"licenses": "matlab:1"}, "Invalid license specification"),
        ({"reservation": "mine"}, "Requested reservation is invalid"),
        ({"nice": 99999999999}, "Invalid --nice value|Nice too large"),
    ],
)
def test_what_can_never_be_taken_is_refused_in_slurms_own_words(
    slurm: Way, tmp_path: Path, resources: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused) as refused:
        slurm.submit(a_job(tmp_path, **resources))
    assert refused.value.why is Why.NEVER
    assert any(each in refused.value.words for each in words.split("|")), refused.value.words


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"partition": "down"}, "its partition is down"),
        ({"time": "99-0"}, "it asks for more time than its partition gives"),
        ({"cpus": 99}, "it asks for more than any node of its partition has"),
        ({"nodes": 9}, "it asks for more nodes than its partition gives one job"),
        ({"begin_time": 4102444800}, "It waits until its begin time"),
    ],
)
def test_what_is_taken_and_cannot_start_is_said(
    cluster: Cluster, slurm: Way, tmp_path: Path, resources: dict[str, Any], words: str
) -> None:
    job_id = slurm.submit(a_job(tmp_path, **resources))
    cluster.wait_for(
        lambda: words in (sentence(the_job(cluster, slurm, job_id, "PENDING")) or ""), f"sentence {words!r}"
    )


def test_a_job_that_is_held_says_how_to_release_it(cluster: Cluster, slurm: Way, tmp_path: Path) -> None:
    job_id = slurm.submit(a_job(tmp_path, partition="down"))
    cluster.run("scontrol", "uhold", job_id)
    words = f"It is held; release it with scontrol release {job_id}."
    cluster.wait_for(lambda: sentence(the_job(cluster, slurm, job_id, "PENDING")) == words, f"sentence {words!r}")


def test_a_log_that_cannot_be_written_is_told_from_a_task_that_failed(
    cluster: Cluster, slurm: Way, tmp_path: Path
) -> None:
    job_id = slurm.submit(a_job(tmp_path / "not there"))
    assert "its log could not be opened" in (sentence(the_job(cluster, slurm, job_id, "FAILED")) or "")


@pytest.mark.parametrize("name", ["100% sure", "back\\slash 5%j", "it's", "Größe"])
def test_a_log_is_where_it_should_be_whatever_its_folder_is_called(
    cluster: Cluster, slurm: Way, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    slurm.submit(a_job(tmp_path / name, script="echo written"))
    log = tmp_path / name / "wrapper.log"
    cluster.wait_for(lambda: log.exists() and log.read_text() == "written\n", f"log in {name!r}")


def test_nothing_of_the_agents_environment_reaches_a_job_or_changes_what_is_asked(
    cluster: Cluster, tmp_path: Path
) -> None:
    slurm = commands(cluster, SECRET="x", SBATCH_PARTITION="nope", SQUEUE_STATES="TIMEOUT")
    job_id = slurm.submit(a_job(tmp_path, script="env"))
    the_job(cluster, slurm, job_id, "COMPLETED")
    environment = (tmp_path / "wrapper.log").read_text().splitlines()
    assert [line for line in environment if "SECRET" in line or "nope" in line] == []
    assert f"SLURM_JOB_ID={job_id}" in environment


def test_a_job_finds_the_same_surroundings_by_both_ways(cluster: Cluster, tmp_path: Path) -> None:
    """Its account's own environment, as after a log-in, and the root folder; what Slurm tells of the submitter is not
    there without one."""
    found = []
    ways: dict[str, Way] = {"cli": commands(cluster), "rest": rest(cluster)}
    for name, slurm in ways.items():
        (tmp_path / name).mkdir()
        job_id = slurm.submit(a_job(tmp_path / name, script="pwd; umask; env"))
        the_job(cluster, slurm, job_id, "COMPLETED")
        lines = (tmp_path / name / "wrapper.log").read_text().splitlines()
        found.append({line for line in lines if not line.startswith("SLURM") and "n1" not in line[-2:]})
    own = {line for line in found[0] if not line.startswith("HOSTNAME=")}
    assert own == {line for line in found[1] if not line.startswith("HOSTNAME=")}
    assert {"/", "0022"} < own


def test_the_partitions_are_listed_and_without_accounting_that_is_said(slurm: Way) -> None:
    assert Partition("main", up=True, is_default=True) in slurm.partitions()
    assert Partition("down", up=False) in slurm.partitions()
    with pytest.raises(NoAccounting):
        slurm.records({"dbx-a"}, datetime.now(timezone.utc))
    with pytest.raises(NoAccounting):
        slurm.qualities()


def test_without_a_controller_nothing_is_taken_and_nothing_is_known(
    cluster: Cluster, slurm: Way, tmp_path: Path
) -> None:
    cluster.stop_controller()
    with pytest.raises(Refused) as refused:
        slurm.submit(a_job(tmp_path))
    assert refused.value.why is Why.UNREACHABLE
    with pytest.raises(Unanswered, match=r"Unable to contact slurm controller|Failed while looking for jobs"):
        slurm.jobs()


def test_a_job_given_to_a_controller_that_hangs_may_turn_up_later(cluster: Cluster, tmp_path: Path) -> None:
    impatient = commands(cluster, seconds=1)
    with cluster.controller_stopped():
        with pytest.raises(Refused) as refused:
            impatient.submit(a_job(tmp_path))
        assert (refused.value.why, refused.value.words) == (Why.UNSURE, "sbatch did not answer within 1 s")
        with pytest.raises(Unanswered, match="squeue did not answer within 1 s"):
            impatient.jobs()


def test_without_munge_nobody_was_asked(cluster: Cluster, tmp_path: Path) -> None:
    text = cluster.config.read_text().replace("munge.socket", "other.socket")
    (tmp_path / "slurm.conf").write_text(text)
    slurm = commands(cluster, SLURM_CONF=str(tmp_path / "slurm.conf"))
    with pytest.raises(Refused) as refused:
        slurm.submit(a_job(tmp_path))
    assert refused.value.why is Why.UNREACHABLE


def test_a_machine_without_slurm_says_so(tmp_path: Path) -> None:
    slurm = SlurmCommands({"PATH": str(tmp_path)})
    with pytest.raises(Refused, match="sbatch could not be started: No such file or directory") as refused:
        slurm.submit(a_job(tmp_path))
    assert refused.value.why is Why.UNREACHABLE
    with pytest.raises(Unanswered, match="squeue could not be started"):
        slurm.jobs()
