"""Test runs that boot clusters on one machine: one at a time, and nothing of a killed one disturbs the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cluster_ground
import ending
import pytest
from cluster_ground import Turn
from ports import PORTS, free_ports

ANOTHER_RUN = """
import subprocess, sys, time
sys.path.insert(0, {tests!r})
from cluster_ground import Turn
from pathlib import Path
with Turn(Path({ground!r})).own_folder() as folder:
    job = subprocess.Popen(["sleep", "600"], env={{"SLURM_CONF": f"{{folder}}/slurm.conf"}}, start_new_session=True)
    print(job.pid, folder, flush=True)
    time.sleep(600)
"""


@contextmanager
def another_run(ground: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """Another run that has a cluster of one process; yield it, the process's id, and the cluster's folder."""
    code = ANOTHER_RUN.format(tests=str(Path(__file__).parent), ground=str(ground))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid, _, folder = run.stdout.readline().strip().partition(" ")
        try:
            yield run, int(pid), Path(folder)
        finally:
            run.kill()


def test_another_run_is_waited_for(tmp_path: Path) -> None:
    with another_run(tmp_path) as (_, pid, folder):
        with pytest.raises(AssertionError, match="another run has had a cluster"), Turn(tmp_path, 0.5).own_folder():
            pass
        assert cluster_ground.processes_of(folder)[0].pid == pid
        assert folder.is_dir()
    cluster_ground.clear(folder)


def test_what_a_killed_run_has_left_is_cleared_away(tmp_path: Path) -> None:
    with another_run(tmp_path) as (run, _, folder):
        run.kill()
        run.wait(60)
        assert len(cluster_ground.processes_of(folder)) == 1
        with Turn(tmp_path, 60).own_folder() as own:
            assert cluster_ground.processes_of(folder) == []
            assert [path.name for path in tmp_path.glob("c-*")] == [own.name]
        assert list(tmp_path.glob("c-*")) == []


A_JOB_WHOSE_PROCESSES_COME_AND_GO = "while :; do (sleep 0.002); (sleep 0.005); done"


def test_a_job_whose_processes_come_and_go_is_ended_whole_and_that_of_another_node_is_left(tmp_path: Path) -> None:
    jobs = {
        node: subprocess.Popen(
            ["sh", "-c", A_JOB_WHOSE_PROCESSES_COME_AND_GO],
            env={**os.environ, "SLURM_CONF": f"{tmp_path}/slurm.conf", "SLURMD_NODENAME": node},
        )
        for node in ("n1", "n2")
    }
    try:
        cluster_ground.end_jobs_on(tmp_path, "n1")
        assert {node: job.poll() is None for node, job in jobs.items()} == {"n1": False, "n2": True}
    finally:
        cluster_ground.clear(tmp_path)
        for job in jobs.values():
            job.wait(10)


def test_a_process_whose_number_was_another_s_is_ended_at_its_turn() -> None:
    """Numbers come again after 32,768 others, which a run of all tests goes through many times."""
    before = subprocess.Popen(["sleep", "600"])
    assert before.pid in [one.pid for one in ending.processes()]
    before.kill()
    before.wait(10)
    after = _numbered(before.pid)
    try:
        (found,) = (one for one in ending.processes() if one.pid == after.pid)
        found.kill()
        assert found.wait(10) is not None
    finally:
        after.kill()
        after.wait(10)


def _numbered(pid: int) -> subprocess.Popen[bytes]:
    """Start a process that gets this number, which nobody has now."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        pytest.skip("only root chooses the numbers of processes")
    while True:
        last.write_text(str(pid - 1))
        child = subprocess.Popen(["sleep", "600"])
        if child.pid == pid:
            return child
        child.kill()
        child.wait(10)


def test_within_one_run_several_clusters_stand_side_by_side(tmp_path: Path) -> None:
    turn = Turn(tmp_path, 60)
    with turn.own_folder() as first, turn.own_folder() as second:
        assert first != second
        assert first.is_dir() and second.is_dir()
    with Turn(tmp_path, 60).own_folder():
        pass


def test_a_port_is_given_once_and_is_none_that_the_kernel_gives_to_connections() -> None:
    ports = [*free_ports(20), *free_ports(20)]
    assert len(set(ports)) == 40
    assert set(ports) <= set(PORTS)


def test_a_port_that_one_test_run_was_given_is_given_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ports.PORTS", range(PORTS[0], PORTS[0] + 50))
    mine = free_ports(20)
    draw = f"import ports; ports.PORTS = range({PORTS[0]}, {PORTS[0]} + 50); print(*ports.free_ports(20))"
    run = subprocess.run([sys.executable, "-c", draw], cwd=Path(__file__).parent, capture_output=True, text=True)
    theirs = [int(word) for word in run.stdout.split()]
    assert len(theirs) == 20, run.stderr
    assert not set(mine) & set(theirs)
