"""A site whose tasks run on the cluster of the tests, by one way or the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import Cluster
from workspace import PATIENCE_SECONDS, Workspace, a_row, drop, wait_for, write_csv

GATED = """
description: Writes down each run, and waits for a gate.
tasks:
  modality_transformation_settings:
    command_script: |
      #!/bin/bash
      echo "$DROPBOX_AGENT_ATTEMPT $SLURM_JOB_ID $SLURMD_NODENAME" >> {folder}/runs
      while [ ! -e {folder}/gate ]; do sleep 0.1; done
      cp -r '%INPUT_SOURCE'/. '%OUTPUT_LOCATION'/
"""
MODALITIES = ("behavior", "ecephys", "behavior-videos")
LIGHT = {
    f"tasks.{name}.skip_task": "true"
    for name in (
        "check_s3_folder_exists",
        "check_source_folders_exist",
        "gather_preliminary_metadata",
        "gather_final_metadata",
        "check_metadata_files",
        "upload_data_to_s3",
        "remove_staging_folder",
    )
}
"""Leaves the staging folder and the compression: one Slurm job, then one for each modality."""


@dataclass
class Site:
    """A workspace on a cluster, with a job type that waits for a gate."""

    workspace: Workspace
    cluster: Cluster
    folder: Path

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def runs(self) -> list[tuple[str, str, str]]:
        """Return attempt key, job id and node of each run of a script."""
        file = self.folder / "runs"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(words[0], words[1], words[2]) for line in lines if len(words := line.split()) == 3]

    def drop(self, *modalities: str, **changes: str) -> None:
        sources = {}
        for name in modalities or MODALITIES:
            sources[name] = self.folder / "data" / name
            sources[name].mkdir(parents=True)
            (sources[name] / "trials.csv").write_text(f"{name}\n")
        sources["metadata"] = self.folder / "data"
        row = a_row(sources, job_type="gated", **{**LIGHT, **changes})
        drop(self.workspace, "s.csv", lambda path: write_csv(path, [row]))

    def status(self) -> dict[str, Any]:
        there = (self.workspace.inbox / "s.csv.status.json").exists()
        return self.workspace.status("s.csv") if there else {"state": None, "jobs": []}

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return the tasks of the job that run somewhere, by name."""
        found = [task for job in self.status()["jobs"] for task in job["tasks"] if task["attempt"]]
        return {task["task_id"] + (f"[{task['modality']}]" if task["modality"] else ""): task for task in found}

    def wait_for_state(self, *states: str, seconds: float = PATIENCE_SECONDS) -> None:
        wait_for(lambda: self.status()["state"] in states, seconds)

    def wait_for_message(self, words: str, seconds: float = PATIENCE_SECONDS) -> None:
        wait_for(lambda: any(words in (task["message"] or "") for task in self.tasks().values()), seconds)

    def each_attempt_started_once(self) -> None:
        """Every attempt has its own start token; no script ran twice; every end record is there."""
        ran = Counter(key for key, _, _ in self.runs())
        assert set(ran.values()) <= {1}, ran
        for attempt in self.workspace.work.glob("*/attempts/*"):
            assert (attempt / "started" / "owner.json").is_file(), attempt
            assert (attempt / "end.json").is_file(), attempt

    def job_count(self) -> Counter[str]:
        """Return how many Slurm jobs there were of each name."""
        keys = {attempt.name for attempt in self.workspace.work.glob("*/attempts/*")}
        return Counter(name for name, _ in self.cluster.jobs().values() if name in keys)


def a_site(workspace: Workspace, cluster: Cluster, folder: Path, way: str = "cli") -> Site:
    (folder / "work").mkdir()
    # A script gets its folders as text: they must not mean anything to a shell.
    workspace.change(work_dir=str(folder / "work"))
    on_cluster(workspace, cluster, way)
    made = Site(workspace, cluster, folder)
    write_job_type(made, GATED)
    return made


def on_cluster(workspace: Workspace, cluster: Cluster, way: str) -> None:
    """Send a site's tasks to the cluster. By slurmrestd, the agent finds none of Slurm's commands, nor its settings."""
    workspace.change(executor={"kind": "slurm", "via": way, "poll_seconds": 0.5, "grace_seconds": 2})
    if way == "rest":
        workspace.change(executor={"url": cluster.rest.url, "token_file": str(cluster.rest.token)})
    workspace.environ = {"PATH": "/nowhere"} if way == "rest" else cluster.environment


def write_job_type(site: Site, text: str) -> None:
    (site.workspace.folder / "job_types" / "gated.yaml").write_text(text.format(folder=site.folder))


NO_OP = """
description: Writes down each run, and does nothing else.
tasks:
  modality_transformation_settings:
    command_script: |
      #!/bin/sh
      echo "$DROPBOX_AGENT_ATTEMPT $SLURM_JOB_ID $SLURMD_NODENAME" >> {folder}/runs
      echo done > '%OUTPUT_LOCATION'/done.txt
"""


def many_plans(workspace: Workspace, cluster: Cluster, folder: Path, count: int) -> Site:
    """Return a site with a manifest of many jobs in its inbox: a staging folder and a no-op, two Slurm jobs each."""
    site = a_site(workspace, cluster, folder)
    write_job_type(site, NO_OP)
    source = folder / "data"
    source.mkdir()
    (source / "trials.csv").write_text("1\n")
    one = a_row({"behavior": source, "metadata": folder}, job_type="gated", **LIGHT)
    rows = [{**one, "subject_id": f"{number:06d}"} for number in range(count)]
    drop(workspace, "s.csv", lambda path: write_csv(path, rows))
    return site
