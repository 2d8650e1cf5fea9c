"""A script runs in its image on the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster
from images import MARK, an_imaged_site, drop_imaged, uploaded
from workspace import Workspace


def test_a_script_runs_in_its_image_on_a_node(
    workspace: Workspace, cluster: Cluster, images: Path, tmp_path: Path
) -> None:
    sources = an_imaged_site(workspace, tmp_path, kind="charliecloud", images=str(images))
    workspace.change(executor={"kind": "slurm", "poll_seconds": 0.5, "grace_seconds": 2})
    workspace.environ = cluster.environment
    drop_imaged(workspace, sources)
    workspace.until_idle()
    status = workspace.status("s.csv")
    assert status["state"] == "succeeded", status
    assert uploaded(workspace)["made_in.txt"] == MARK.encode()
    (ran,) = (task for job in status["jobs"] for task in job["tasks"] if task["task_id"] == "compress_data")
    assert ran["slurm_job_id"] is not None
