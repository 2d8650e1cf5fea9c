"""Requests that existing scripts send, dropped as files: what they ask of the cluster is what their jobs get."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from cluster_site import on_cluster
from workspace import PATIENCE_SECONDS, QUICK, Workspace, an_entry, drop

from dropbox_agent import demonstration

PAYLOADS = Path(__file__).parents[3] / "shared" / "samples" / "payloads"
CUSTOM = {
    "memory_per_cpu": {"set": True, "number": 6000},
    "minimum_cpus_per_node": 6,
    "time_limit": {"set": True, "number": 240},
}
SHOWN = ("MinCPUsNode=6", "MinMemoryCPU=6000M", "TimeLimit=04:00:00")
NO_METADATA = {name.split(".")[1]: {"skip_task": True} for name in QUICK}


@pytest.fixture
def site(workspace: Workspace) -> Workspace:
    """One that lets requests set everything, and leaves out what is about metadata alone: it takes seconds each."""
    workspace.change(policy={"manifests_may_set": "all"})
    file = workspace.folder / "job_types" / "default.yaml"
    preset = yaml.safe_load(file.read_text())
    preset["tasks"] = {**(preset.get("tasks") or {}), **NO_METADATA}
    file.write_text(yaml.safe_dump(preset))
    return workspace


def shown(cluster: Cluster, site: Workspace, name: str) -> str:
    """Return what Slurm shows of the job that compressed the data of a manifest."""
    (job,) = site.status(name)["jobs"]
    (task,) = (task for task in job["tasks"] if task["task_id"] == "compress_data")
    return cluster.run("scontrol", "show", "job", task["slurm_job_id"]).stdout


def test_a_request_with_slurm_settings_of_its_own_gets_them_over_rest(
    site: Workspace, cluster: Cluster, tmp_path: Path
) -> None:
    on_cluster(site, cluster, "rest")
    sources = demonstration.make_session(tmp_path / "data")
    entry = an_entry({name: sources[name] for name in ("behavior", "metadata")})
    entry["tasks"]["modality_transformation_settings"]["behavior"]["image_resources"] = CUSTOM
    drop(site, "s.json", lambda path: path.write_text(json.dumps({"upload_jobs": [entry]})))
    done = site.until_idle()
    assert site.status("s.json")["state"] == "succeeded", site.status("s.json")
    assert "HTTP Request" not in done.stderr, "the log would have a line for each question"
    for words in SHOWN:
        assert words in shown(cluster, site, "s.json")


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the samples of existing users are not here")
def test_the_payloads_of_existing_scripts_go_through_the_cluster(
    site: Workspace, cluster: Cluster, tmp_path: Path
) -> None:
    """All at once: four are of one session, so each gets a subject of its own."""
    on_cluster(site, cluster, "cli")
    site.change(path_map={"/allen/aind": str(tmp_path)})
    names = sorted(path.name for path in PAYLOADS.glob("*.json"))
    for number, name in enumerate(names):
        text = (PAYLOADS / name).read_text().replace("655019", f"65501{number}")
        make_sources(tmp_path, json.loads(text))
        drop(site, name, partial(_write, text))
    done = site.agent("run", "--until-idle", "--config", str(site.config), timeout=2 * PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    ended = {name: site.status(name)["state"] for name in names}
    assert ended == dict.fromkeys(names, "succeeded")
    assert len(names) >= 5
    for words in SHOWN:
        assert words in shown(cluster, site, "upload_with_custom_slurm_settings.json")


def make_sources(root: Path, request: dict[str, Any]) -> None:
    """Make every folder of /allen/aind that a request names."""
    for path in strings(request):
        if path.startswith("/allen/aind/"):
            folder = root / path.removeprefix("/allen/aind/")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "data.bin").write_bytes(bytes(range(256)))


def _write(text: str, path: Path) -> None:
    path.write_text(text)


def strings(value: Any) -> list[str]:
    """Return every text in a document."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [text for part in parts for text in strings(part)]
    return [value] if isinstance(value, str) else []
