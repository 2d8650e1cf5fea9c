"""A site with a job type whose script runs once for each of four elements, and what became of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workspace import Workspace, a_row, drop, wait_for, write_csv

JOB_TYPE = """
description: Notes each element, then waits for its gate, or fails.
tasks:
  modality_transformation_settings:
    image_resources:
      array: "{array}"
    command_script: |
      set -e
      echo "$DROPBOX_AGENT_ATTEMPT $SLURM_ARRAY_TASK_ID ${{SLURMD_NODENAME:-here}}" >> {folder}/runs
      while [ ! -e {folder}/gate ] && [ ! -e {folder}/gate.$SLURM_ARRAY_TASK_ID ]; do sleep 0.05; done
      [ ! -e {folder}/break.$SLURM_ARRAY_TASK_ID ]
      echo "of $SLURM_ARRAY_TASK_COUNT" > '%OUTPUT_LOCATION'/part.$SLURM_ARRAY_TASK_ID
"""
LIGHT = {
    f"tasks.{name}.skip_task": "true"
    for name in (
        "check_s3_folder_exists",
        "check_source_folders_exist",
        "gather_preliminary_metadata",
        "gather_final_metadata",
        "check_metadata_files",
        "remove_staging_folder",
    )
}


@dataclass
class ArraySite:
    """A workspace with that job type; what runs waits for files in ``folder``."""

    workspace: Workspace
    folder: Path

    @classmethod
    def made(cls, workspace: Workspace, folder: Path, array: str = "0-3", **executor: Any) -> ArraySite:
        """Set the workspace up."""
        (folder / "work").mkdir()
        # A script gets its folders as text: they must not mean anything to a shell.
        workspace.change(work_dir=str(folder / "work"), executor=executor)
        job_type = JOB_TYPE.format(array=array, folder=folder)
        (workspace.folder / "job_types" / "arrayed.yaml").write_text(job_type)
        return cls(workspace, folder)

    def open(self, *elements: int) -> None:
        """Let elements go on; all of them when none is named."""
        for name in [f"gate.{element}" for element in elements] or ["gate"]:
            (self.folder / name).touch()

    def break_(self, element: int) -> None:
        """Make an element fail once it may go on."""
        (self.folder / f"break.{element}").touch()

    def mend(self, element: int) -> None:
        (self.folder / f"break.{element}").unlink()

    def drop(self) -> None:
        """Drop a manifest with one modality."""
        source = self.folder / "data" / "ecephys"
        source.mkdir(parents=True)
        (source / "probe.dat").write_bytes(b"x")
        row = a_row({"ecephys": source, "metadata": self.folder / "data"}, job_type="arrayed", **LIGHT)
        drop(self.workspace, "s.csv", lambda path: write_csv(path, [row]))

    def runs(self) -> list[tuple[str, str, str]]:
        """Return attempt, element and node of each run of the script."""
        file = self.folder / "runs"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(words[0], words[1], words[2]) for line in lines if len(words := line.split()) == 3]

    def wait_for_runs(self, count: int) -> None:
        wait_for(lambda: len(self.runs()) >= count)

    def each_element_ran_once(self) -> None:
        """No element of an attempt ran twice."""
        assert set(Counter((attempt, element) for attempt, element, _ in self.runs()).values()) <= {1}, self.runs()

    def state(self) -> str | None:
        there = (self.workspace.inbox / "s.csv.status.json").exists()
        return str(self.workspace.status("s.csv")["state"]) if there else None

    def task(self) -> dict[str, Any]:
        """Return the array task as status.json has it."""
        (job,) = self.workspace.status("s.csv")["jobs"]
        found: dict[str, Any] = next(task for task in job["tasks"] if task["task_id"] == "compress_data")
        return found

    def elements(self) -> dict[str, str]:
        """Return how the elements stand: ``{"succeeded": "0-3"}``."""
        found: dict[str, str] = (self.task()["progress"] or {}).get("elements", {})
        return found

    def wait_for_elements(self, **stand: str) -> None:
        wait_for(lambda: self.state() and self.elements() == stand)

    def wait_for_state(self, *states: str) -> None:
        wait_for(lambda: self.state() in states)

    def job_id(self) -> str:
        return str(self.workspace.status("s.csv")["jobs"][0]["job_id"])

    def uploaded(self) -> dict[str, str]:
        """Return the parts that were uploaded, with what is in them."""
        return {path.name: path.read_text() for path in self.workspace.bucket.glob("*/ecephys/part.*")}

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the records of the elements of the newest attempt, by file name."""
        folders = sorted(self.workspace.work.glob("*/attempts/*/elements"), key=lambda path: path.stat().st_mtime)
        found = (path for path in folders[-1].glob("*.json") if path.name.split(".")[1] in ENDS)
        return {path.name: json.loads(path.read_text()) for path in found}


ENDS = ("succeeded", "failed", "cancelled")
