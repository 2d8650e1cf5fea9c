"""A workspace as ``dropbox-agent init`` makes it, and the real command to work in it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import yaml

from dropbox_agent import demonstration

COMMAND = [sys.executable, "-m", "dropbox_agent"]
PATIENCE_SECONDS = 240.0
"""How long something is waited for: it comes at once, unless the machine is very busy."""


@dataclass
class Workspace:
    """One site, in a folder with an odd name."""

    folder: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    """What the agent's environment has besides."""

    @property
    def config(self) -> Path:
        return self.folder / "agent.yaml"

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def work(self) -> Path:
        return Path(yaml.safe_load(self.config.read_text())["work_dir"])

    @property
    def bucket(self) -> Path:
        return self.folder / "buckets" / "default"

    def change(self, **settings: Any) -> None:
        """Set top-level settings; a mapping is merged into what is there."""
        stored = yaml.safe_load(self.config.read_text())
        for name, value in settings.items():
            stored[name] = {**(stored.get(name) or {}), **value} if isinstance(value, dict) else value
        self.config.write_text(yaml.safe_dump(stored, allow_unicode=True, sort_keys=False))

    def agent(self, *words: str, timeout: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return self.run([*COMMAND, *words], timeout)

    def run(self, argv: list[str], timeout: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run any command in the site's folder and environment."""
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout, check=False, cwd=self.folder, env=self.environment()
        )

    def until_idle(self) -> subprocess.CompletedProcess[str]:
        """Run the agent until everything is answered, and require that it ends with 0."""
        done = self.agent("run", "--until-idle", "--config", str(self.config))
        assert done.returncode == 0, done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that runs until it is stopped."""
        child = subprocess.Popen(
            [*COMMAND, *(words or ("run",)), "--config", str(self.config)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder, env=self.environment(),
        )  # fmt: skip
        self.children.append(child)
        return child

    def as_it_is(self) -> str:
        """Return what a failed test says of its site: what the agents have printed, and what came of the tasks."""
        printed = []
        for child in self.children:
            assert child.stdout is not None
            os.set_blocking(child.stdout.fileno(), False)
            printed.append((os.read(child.stdout.fileno(), 1 << 16) or b"").decode(errors="replace"))
        told = [json.loads(file.read_text()) for file in sorted(self.inbox.glob("*.status.json"))]
        tasks = [task for status in told for job in status["jobs"] for task in job["tasks"] if task["attempt"]]
        return "\n".join([*printed, *map(json.dumps, tasks)])

    def end(self) -> None:
        """Kill what was started and goes on."""
        while self.children:
            child = self.children.pop()
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=PATIENCE_SECONDS)

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PYTHONWARNINGS": "error::DeprecationWarning:dropbox_agent", **self.environ}

    def status(self, name: str) -> dict[str, Any]:
        """Return the status.json beside a manifest."""
        status: dict[str, Any] = json.loads((self.inbox / f"{name}.status.json").read_text())
        return status

    def mails(self, name: str) -> list[str]:
        return sorted(path.name.removeprefix(f"{name}.") for path in self.inbox.glob(f"{name}.*.eml"))


QUICK = {"tasks.gather_final_metadata.skip_task": "true", "tasks.check_metadata_files.skip_task": "true"}
"""Columns for journeys that are not about metadata: the schema takes seconds to answer."""


def a_row(sources: Mapping[str, Path], **changes: str) -> dict[str, str]:
    """Return one filled row of the table."""
    row = {**demonstration.ROW, "metadata_dir": str(sources["metadata"])}
    for number, modality in enumerate(name for name in sources if name != "metadata"):
        row[f"modality{number}"] = modality
        row[f"modality{number}.input_source"] = str(sources[modality])
    return {**row, **changes}


def an_entry(sources: Mapping[str, Path], **changes: Any) -> dict[str, Any]:
    """Return the same as one entry of ``upload_jobs``."""
    modalities = [name for name in sources if name != "metadata"]
    settings = {name: {"job_settings": {"input_source": str(sources[name])}} for name in modalities}
    return {
        **demonstration.ROW,
        "email_notification_types": ["all"],
        "modalities": [{"abbreviation": name} for name in modalities],
        "tasks": {
            "modality_transformation_settings": settings,
            "gather_preliminary_metadata": {"job_settings": {"metadata_dir": str(sources["metadata"])}},
        },
        **changes,
    }


def write_xlsx(path: Path, rows: list[dict[str, str]]) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    sheet.append(columns)
    for row in rows:
        sheet.append([row.get(name, "") for name in columns])
    workbook.save(path)
    workbook.close()


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def drop(workspace: Workspace, name: str, write: Callable[[Path], Any]) -> None:
    """Write a manifest elsewhere and move it into the inbox, whole."""
    outside = workspace.folder / f"outside {name}"
    write(outside)
    shutil.move(outside, workspace.inbox / name)


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first true value of a condition that another process makes true.

    One about a file, a job or a task that is not there yet is not true yet.
    """
    until = time.monotonic() + seconds
    while True:
        with suppress(FileNotFoundError, LookupError):
            if value := condition():
                return value
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
