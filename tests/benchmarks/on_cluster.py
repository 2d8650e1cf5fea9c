"""What the agent costs on a cluster, against bare sbatch calls: figures to look at (make benchmark).

The same number of Slurm jobs is handed over three times, in the same shape: for each plan one job, and when it has
ended another. First bare sbatch calls for ``true``; then the agent, whose jobs run the wrapper, a built-in task and a
script; then bare sbatch calls for these very allocations, in a copy of the work folder. The last two do the same on the
nodes, so what they differ in is the agent.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import Cluster, running_cluster
from cluster_site import many_plans
from workspace import Workspace

PLANS = int(os.environ.get("PLANS", "500"))
PER_PLAN = 2


@dataclass
class Took:
    """How long something took, on the clock and of the processor."""

    seconds: float = 0
    cpu_seconds: float = 0
    """Of the commands that were run, and of what they ran."""


@contextmanager
def measured() -> Iterator[Took]:
    took, begun, before = Took(), time.monotonic(), _cpu_of_children()
    yield took
    took.seconds = time.monotonic() - begun
    took.cpu_seconds = _cpu_of_children() - before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One that remembers every job until the figures are taken."""
    with running_cluster(Cluster) as patient:
        patient.configure(MinJobAge=7200)
        yield patient


@pytest.mark.timeout(3600)
def test_many_plans_against_bare_sbatch(
    workspace: Workspace, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with measured() as bare:
        submits = bare_jobs(cluster)
    site = many_plans(workspace, cluster, tmp_path, PLANS)
    with measured() as ours:
        done = workspace.agent("run", "--until-idle", "--config", str(workspace.config), timeout=3000)
    assert done.returncode == 0, done.stderr
    assert [job["state"] for job in site.status()["jobs"]] == ["succeeded"] * PLANS, site.status()["summary"]
    assert len(site.runs()) == PLANS
    assert set(site.job_count().values()) == {1}
    again = allocations_anew(workspace.work, tmp_path / "again")
    with measured() as same:
        bare_allocations(cluster, again)
    assert len(list((tmp_path / "again").glob("*/attempts/*/end.json"))) == PLANS * PER_PLAN
    handed_over = span_of_submissions(cluster, {attempt.name for attempt in workspace.work.glob("*/attempts/*")})
    with capsys.disabled():
        print(f"\n{PLANS} plans, {PLANS * PER_PLAN} Slurm jobs, 2 after another in each plan:")
        print(f"  sbatch alone: {PLANS * PER_PLAN / submits:.1f} submits/s while nothing else happens")
        print(f"  bare, end to end:  {bare.seconds:7.1f} s, {bare.cpu_seconds / PLANS * 1000:5.0f} ms of sbatch a plan")
        print(f"  bare, the agent's allocations, end to end: {same.seconds:7.1f} s")
        print(f"  agent, end to end: {ours.seconds:7.1f} s, {ours.cpu_seconds / PLANS * 1000:5.0f} ms of agent a plan")
        print(f"  agent: {PLANS * PER_PLAN / handed_over:.1f} submits/s while its jobs run on the same cores")
        print(f"  end to end, agent to bare sbatch of the same allocations: {ours.seconds / same.seconds:.2f} times")
        print(f"  end to end, agent to bare sbatch of true: {ours.seconds / bare.seconds:.2f} times")


def bare_jobs(cluster: Cluster) -> float:
    """Run the same number of jobs in the same shape; return how long sbatch alone took to hand them over."""
    begun = time.monotonic()
    for _ in range(PLANS):
        first = cluster.submit("true", "--export=NONE", "--job-name=bare")
        cluster.submit("true", "--export=NONE", "--job-name=bare", f"--dependency=afterok:{first}")
    spent = time.monotonic() - begun
    cluster.wait_for(lambda: not cluster.live_jobs(), "end of the bare jobs", seconds=1200)
    return spent


def allocations_anew(work: Path, copy: Path) -> list[tuple[Path, Path]]:
    """Copy a work folder as it was before anything ran; return the allocations of each plan, in their order."""
    for file in [*work.glob("*/attempts/*/*.settings.json"), *work.glob("*/attempts/*/allocation.json")]:
        there = copy / file.relative_to(work)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(file.read_text().replace(str(work), str(copy)))
        (there.parent / "wrapper.py").write_bytes((file.parent / "wrapper.py").read_bytes())
    plans = [sorted(job.glob("attempts/*/allocation.json"), key=_makes_no_staging_folder) for job in copy.iterdir()]
    return [(first, second) for first, second in plans]


def _makes_no_staging_folder(allocation: Path) -> bool:
    return "create_staging_folder" not in allocation.read_text()


def bare_allocations(cluster: Cluster, plans: list[tuple[Path, Path]]) -> None:
    """Run the same allocations without the agent, the second of each plan when the first has ended well."""
    for first, second in plans:
        job_id = cluster.submit(_wrapper(first), "--export=NONE", "--job-name=bare")
        cluster.submit(_wrapper(second), "--export=NONE", "--job-name=bare", f"--dependency=afterok:{job_id}")
    cluster.wait_for(lambda: not cluster.live_jobs(), "end of the bare jobs", seconds=3000)


def _wrapper(allocation: Path) -> str:
    return f"exec {sys.executable} -I {allocation.parent}/wrapper.py {allocation}"


def span_of_submissions(cluster: Cluster, names: set[str]) -> float:
    """Return the seconds between the first and the last submission, as Slurm has them."""
    rows = cluster.run("squeue", "-h", "-t", "all", "-o", "%V|%j").stdout.splitlines()
    times = sorted(row.partition("|")[0] for row in rows if row.partition("|")[2] in names)
    first, last = (time.mktime(time.strptime(one, "%Y-%m-%dT%H:%M:%S")) for one in (times[0], times[-1]))
    return max(last - first, 1)
