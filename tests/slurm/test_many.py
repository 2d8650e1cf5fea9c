"""Many plans at once: every one is handed over, each attempt once, and all of them end."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster
from cluster_site import many_plans
from workspace import Workspace

PLANS = 20


def test_twenty_plans_go_through_side_by_side(workspace: Workspace, cluster: Cluster, tmp_path: Path) -> None:
    site = many_plans(workspace, cluster, tmp_path, PLANS)
    workspace.until_idle()
    status = site.status()
    assert status["state"] == "succeeded", status["summary"]
    assert len(status["jobs"]) == PLANS
    ran = [task for job in status["jobs"] for task in job["tasks"] if task["attempt"]]
    assert [(task["state"], task["attempt"]) for task in ran] == [("succeeded", 1)] * 2 * PLANS
    assert len({task["slurm_job_id"] for task in ran}) == 2 * PLANS
    assert len(site.runs()) == PLANS
    assert len({node for _, _, node in site.runs()}) > 1
    assert set(site.job_count().values()) == {1}
    site.each_attempt_started_once()
