"""What the doctor says of a real cluster: it answers, has what is asked of it, and its nodes see the work folder."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from workspace import COMMAND, Workspace


@pytest.fixture
def site(workspace: Workspace, cluster: Cluster, tmp_path: Path) -> Workspace:
    (tmp_path / "work").mkdir()
    workspace.environ = cluster.environment
    workspace.change(work_dir=str(tmp_path / "work"), policy={"source_roots": ["/data"]}, executor={"kind": "slurm"})
    return workspace


def asked(site: Workspace, *before: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the findings by name; ``before`` is what runs the command."""
    command = [*COMMAND, "doctor", "--json", "--config", str(site.config)]
    done = site.run([*before, *command])
    found = json.loads(done.stdout)
    return done.returncode, {one["name"]: one for one in found["checks"]}


def test_of_a_cluster_in_order_all_is_well(site: Workspace, cluster: Cluster) -> None:
    code, found = asked(site)
    assert code == 0, found
    assert found["cluster"]["sentence"].startswith("The cluster answers. Its partitions: main (default), short")
    assert found["qos"]["verdict"] == "not configured"
    node = found["work_dir on a node"]["sentence"]
    assert node.endswith(f" sees {site.work} and runs Python {sys.version.split()[0]} with this program.")
    assert node.split()[0] in ("n1", "n2", "n3", "n4")
    assert list(site.work.iterdir()) == []
    cluster.wait_for(lambda: not cluster.live_jobs(), "an empty queue")


def test_what_the_cluster_does_not_have_is_named_with_who_asks_for_it(site: Workspace) -> None:
    (site.folder / "job_types/big.yaml").write_text(
        "tasks: {compress_data: {image_resources: {partition: 'main,huge,down'}}}\n"
    )
    site.change(containers={"kind": "charliecloud", "program": "/opt/away/ch-run", "images": "/images"})
    code, found = asked(site)
    assert (code, found["partition huge"]["verdict"], found["partition down"]["verdict"]) == (3, "warning", "warning")
    assert found["partition huge"]["sentence"].startswith("The job type big asks for huge: the cluster has no such")
    assert "partition main" not in found
    assert found["containers"]["sentence"].endswith(" does not find /opt/away/ch-run.")


def test_a_node_without_the_python_that_is_set_is_told_by_its_own_words(site: Workspace) -> None:
    site.change(executor={"python": "/opt/away/python3"})
    code, found = asked(site)
    assert code == 3
    assert "/opt/away/python3: not found" in found["work_dir on a node"]["sentence"]
    assert "executor.python" in found["work_dir on a node"]["advice"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a folder that nobody else sees")
def test_a_work_folder_that_no_node_sees_is_a_failure(site: Workspace) -> None:
    mounted = f'mount -t tmpfs tmpfs {shlex.quote(str(site.work))} && exec "$@"'
    code, found = asked(site, "unshare", "--mount", "sh", "-c", mounted, "sh")
    assert (code, found["work_dir"]["verdict"]) == (3, "ok")
    assert f"wrote nothing into {site.work}" in found["work_dir on a node"]["sentence"]
    assert "Every node has to see work_dir" in found["work_dir on a node"]["advice"]
