"""The cluster that the other tests rely on: it runs jobs, comes back after a crash, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from cluster import NODES, Cluster, running_cluster
from ending import processes


def test_jobs_run_on_four_nodes_at_the_same_time(cluster: Cluster, tmp_path: Path) -> None:
    for _ in NODES:
        cluster.submit(f"touch {tmp_path}/$SLURMD_NODENAME; sleep 600")
    cluster.wait_for(lambda: sorted(path.name for path in tmp_path.iterdir()) == list(NODES), "job on each node")


def test_a_controller_that_is_restarted_knows_its_jobs(cluster: Cluster) -> None:
    cluster.let_start(False)
    job_id = cluster.submit("true", "--job-name=kept")
    cluster.stop_controller()
    cluster.start_controller()
    assert cluster.jobs()[job_id] == ("kept", "PENDING")


def test_nothing_is_left_of_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    with running_cluster(Cluster) as other:
        other.submit(f"trap '' TERM; touch {tmp_path}/runs; sleep 600")
        other.wait_for((tmp_path / "runs").exists, "running job")
        folder = other.folder
    assert not folder.exists()
    assert [one.pid for one in processes() if str(folder) in _words_of(one)] == []
    assert cluster.jobs() is not None


def _words_of(process: psutil.Process) -> str:
    """Return its command line, its environment, and what it has open, also when that is not there any more."""
    try:
        opened = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        return " ".join([*process.cmdline(), *process.environ().values(), *opened])
    except (psutil.Error, OSError):
        return ""
