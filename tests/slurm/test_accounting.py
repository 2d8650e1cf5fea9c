"""What a cluster with accounts does to jobs, and what is made of it: memory, room for others, who cancelled."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pytest
from accounts import AccountedCluster, missing_programs
from cluster import running_cluster
from cluster_site import Site, a_site, write_job_type
from ways import commands, rest
from workspace import Workspace, wait_for

from dropbox_agent.executors.slurm import JobRequest, SlurmCommands
from dropbox_agent.executors.slurm.jobs import Cluster as Way
from dropbox_agent.executors.slurm.jobs import JobRecord, Refused, Why

ME = pwd.getpwuid(os.getuid()).pw_name
GREEDY = """
description: One modality uses more memory than it asks for, the other runs where others go first.
retries:
  out_of_memory: {{times: 1, factor: 8, at_most: 4G}}
  preempted: 1
tasks:
  modality_transformation_settings:
    ecephys:
      image_resources: {{memory: 200M}}
      command_script: |
        #!/bin/bash
        echo "$DROPBOX_AGENT_ATTEMPT $SLURM_JOB_ID $SLURMD_NODENAME" >> {folder}/runs
        # What asked for too little is measured once a second, and ended then.
        PYTHON -c 'x = bytearray(500_000_000); import time; time.sleep(600 if '$SLURM_MEM_PER_NODE' == 200 else 0)'
        cp -r '%INPUT_SOURCE'/. '%OUTPUT_LOCATION'/
    behavior:
      image_resources: {{partition: low, memory: 1G}}
      command_script: |
        #!/bin/bash
        echo "$DROPBOX_AGENT_ATTEMPT $SLURM_JOB_ID $SLURMD_NODENAME" >> {folder}/runs
        while [ ! -e {folder}/gate ]; do sleep 0.1; done
        cp -r '%INPUT_SOURCE'/. '%OUTPUT_LOCATION'/
"""


@pytest.fixture(scope="module")
def _accounted() -> Iterator[AccountedCluster]:
    missing = missing_programs()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"The tests with accounting need {', '.join(missing)}; .ci/install-slurm installs them.")
    if missing:
        pytest.skip(f"{', '.join(missing)} are not installed (make test installs them as root on Debian)")
    with running_cluster(AccountedCluster) as cluster:
        yield cluster


@pytest.fixture
def site(workspace: Workspace, _accounted: AccountedCluster, tmp_path: Path) -> Iterator[Site]:
    made = a_site(workspace, _accounted, tmp_path)
    yield made
    made.gate.touch()
    workspace.end()
    _accounted.mend()


def test_too_little_memory_is_asked_for_again_with_more_and_what_gave_way_as_it_was(site: Site) -> None:
    write_job_type(site, GREEDY.replace("PYTHON", sys.executable))
    site.workspace.start()
    site.drop("ecephys", "behavior", email_notification_types="all")
    wait_for(lambda: len(site.runs()) >= 2)
    wait_for(lambda: site.tasks()["compress_data[behavior]"]["state"] == "running")
    urgent = site.cluster.submit("sleep 600", "--partition=urgent", "--nodes=4", "--exclusive", "--mem=0")
    wait_for(lambda: all(task["attempt"] == 2 for name, task in site.tasks().items() if "compress" in name))
    site.cluster.run("scancel", urgent)
    site.gate.touch()
    site.wait_for_state("succeeded", "failed", "cancelled")
    assert site.status()["state"] == "succeeded", site.status()
    # What was killed for its memory left no end record, so only the starts are counted.
    assert len(site.runs()) == len({key for key, _, _ in site.runs()}) == 4
    told = {name: task["earlier_attempts"] for name, task in site.tasks().items()}
    (memory,), (room,) = told["compress_data[ecephys]"], told["compress_data[behavior]"]
    assert (memory["attempt"], memory["cause"], room["cause"]) == (1, "out_of_memory", "preempted")
    assert 200e6 < memory["max_rss_bytes"] < 800e6
    job_id = site.tasks()["compress_data[ecephys]"]["slurm_job_id"]
    assert "MinMemoryNode=1600M" in site.cluster.run("scontrol", "show", "job", job_id).stdout
    assert [name for name in site.workspace.mails("s.csv") if "retry" in name] == ["02-retry.eml", "03-retry.eml"]


def test_what_was_cancelled_and_forgotten_while_the_agent_was_away_is_not_run_again(site: Site) -> None:
    site.cluster.let_start(False)
    agent = site.workspace.start()
    site.drop("ecephys")
    site.wait_for_message("It cannot start as it is: its partition is down.")
    agent.kill()
    agent.wait(20)
    site.cluster.configure(MinJobAge=2)
    (job_id,) = site.cluster.live_jobs()
    before = datetime.now(timezone.utc)
    site.cluster.run("scancel", job_id)
    days = {f"{day:%Y-%m-%d}" for day in (before, datetime.now(timezone.utc))}
    site.cluster.wait_for(lambda: job_id not in site.cluster.jobs(), "forgetting")
    site.cluster.let_start(True)
    site.workspace.until_idle()
    task = site.tasks()["create_staging_folder"]
    assert (site.status()["state"], task["state"], site.runs()) == ("cancelled", "cancelled", [])
    assert task["message"].startswith(tuple(f"It was cancelled in Slurm by {ME} at {day}" for day in days))


def test_the_accounting_knows_the_end_and_the_qos(_accounted: AccountedCluster) -> None:
    job_id = _accounted.submit("sleep 600", "--job-name=dbx-accounts")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    slurm = SlurmCommands({"PATH": path, "HOME": "/", **_accounted.environment})
    before = datetime.now(timezone.utc)
    _accounted.run("scancel", job_id)

    def ended() -> bool:
        return any(record.state == "CANCELLED" for record in slurm.records({"dbx-accounts"}, before))

    _accounted.wait_for(ended, "record")
    (record,) = slurm.records({"dbx-accounts"}, before)
    assert (record.job_id, record.cancelled_by) == (job_id, ME)
    assert record.ended is not None and abs((record.ended - before).total_seconds()) < 600
    assert slurm.records({"dbx-never"}, before) == []
    assert "normal" in slurm.qualities()


def test_the_accounting_says_the_same_by_both_ways(_accounted: AccountedCluster) -> None:
    """But for exit codes, which v0.0.38 has wrong."""
    since = datetime.now(timezone.utc)
    rest(_accounted).submit(a_job("dbx-ended", "exit 3"))
    stopped = rest(_accounted).submit(a_job("dbx-stopped", "sleep 600"))
    _accounted.wait_for(lambda: _accounted.jobs()[stopped][1] == "RUNNING", "running job")
    _accounted.run("scancel", stopped)
    names, ways = {"dbx-ended", "dbx-stopped"}, (commands(_accounted), rest(_accounted))

    def seen(way: Way) -> list[JobRecord]:
        found = [replace(one, exit_code=None, signal=None) for one in way.records(names, since)]
        return sorted(found, key=lambda one: one.name)

    _accounted.wait_for(lambda: [one.ended is not None for one in seen(ways[0])] == [True] * 2, "two ended jobs")
    assert [(one.name, one.state, one.cancelled_by) for one in seen(ways[1])] == [
        ("dbx-ended", "FAILED", None),
        ("dbx-stopped", "CANCELLED", ME),
    ]
    assert seen(ways[0]) == seen(ways[1])
    assert ways[0].qualities() == ways[1].qualities() == ["normal"]


@pytest.mark.parametrize("way", [commands, rest])
def test_a_limit_on_jobs_is_waited_for_by_both_ways(_accounted: AccountedCluster, way: Callable[..., Way]) -> None:
    """sbatch says which limit it is; slurmrestd does not, so the account's own jobs tell."""
    allow = partial(_accounted.run, "sacctmgr", "-i", "modify", "user", ME, "set")
    assert allow("MaxSubmitJobs=1").returncode == 0
    try:
        slurm = way(_accounted)
        slurm.submit(a_job("dbx-first", "sleep 600"))
        with pytest.raises(Refused, match="Job violates accounting/QOS policy") as refused:
            slurm.submit(a_job("dbx-second", "sleep 600"))
        assert refused.value.why is Why.FULL
    finally:
        allow("MaxSubmitJobs=-1")
        _accounted.mend()


def a_job(name: str, script: str) -> JobRequest:
    return JobRequest(name, "", f"#!/bin/sh\n{script}\n", Path("/dev/null"), {})
