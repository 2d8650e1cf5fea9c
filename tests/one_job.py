"""One job as a node sees it: its sources, its run folder, its bucket, and the real command to run its tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import AttemptFolder, RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks.__main__ import TASKS
from dropbox_agent.tasks.progress import Progress

PREFIX = "ecephys_0012_2026-01-30_14-05-09"
JOB = f"{PREFIX}.abc234"
ATTEMPT = "dbx-aaaaaaaaaaaaaaaaaaaa"
CONTENT = {
    "probe A/continuous.dat": b"\x00\x01" * 300_000,
    "probe A/.zattrs": b"{}\n",
    "Größe & a'; echo $(id) `id`": b"umlauts\n",
    "empty.log": b"",
}
ENDED = datetime(2026, 1, 30, 15, 0, tzinfo=timezone.utc)


@dataclass
class OneJob:
    """A job in a folder with an odd name."""

    folder: Path
    attempt: str = ATTEMPT
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def in_folder(cls, parent: Path) -> OneJob:
        """Return a job with one modality, whose run folder, bucket and sources are there."""
        job = cls(parent / "a lab's folder")
        write(job.ecephys, CONTENT)
        (job.ecephys / "empty folder").mkdir()
        job.bucket.mkdir(parents=True)
        job.attempt_folder.path.mkdir(parents=True)
        return job

    @property
    def ecephys(self) -> Path:
        return self.folder / "data" / "ecephys data"

    @property
    def metadata(self) -> Path:
        return self.folder / "data" / "metadata"

    @property
    def bucket(self) -> Path:
        return self.folder / "buckets" / "default"

    @property
    def asset(self) -> Path:
        return self.bucket / PREFIX

    @property
    def records(self) -> Path:
        return self.bucket / ".dropbox-agent" / PREFIX

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(self.folder / "work" / JOB)

    @property
    def content(self) -> Path:
        return self.run_folder.content(PREFIX)

    @property
    def attempt_folder(self) -> AttemptFolder:
        return self.run_folder.attempt(self.attempt)

    def settings(self, task_id: str, **changes: Any) -> TaskSettings:
        modality = changes.get("modality")
        facts: dict[str, Any] = {
            "task_id": task_id,
            "key": f"{task_id}[{modality}]" if modality else task_id,
            "job_id": JOB,
            "job_type": "ecephys",
            "project_name": "Ephys Platform",
            "subject_id": "0012",
            "acq_datetime": "2026-01-30T14:05:09",
            "platform": "ecephys",
            "modalities": ["ecephys"],
            "s3_prefix": PREFIX,
            "bucket": self.bucket.as_uri(),
            "run_folder": self.run_folder.path,
            "attempt_key": self.attempt,
            "sources": {"ecephys": self.ecephys},
        }
        return TaskSettings.model_validate({**facts, **self.changes, **changes})

    def run(self, task_id: str, **changes: Any) -> TaskOutcome:
        """Run a task in this process; a TaskFailed travels on."""
        settings = self.settings(task_id, **changes)
        return TASKS[task_id](settings, Progress(self.attempt_folder.progress(settings.key)))

    def failure(self, task_id: str, **changes: Any) -> str:
        """Run a task that fails, in this process; return its sentence."""
        try:
            outcome = self.run(task_id, **changes)
        except TaskFailed as failed:
            return str(failed)
        assert outcome.state == "failed", outcome
        return outcome.message

    def command(self, task_id: str, *before: str, **changes: Any) -> Ran:
        """Run a task with the real command; return what it left behind."""
        settings = self.write_settings(task_id, **changes)
        argv = [*before, *self.argv(settings)]
        done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=100, check=False)
        return Ran(done.returncode, self.outcome(settings.key), done.stdout + done.stderr)

    def start(self, task_id: str, **changes: Any) -> subprocess.Popen[str]:
        """Start the real command."""
        argv = self.argv(self.write_settings(task_id, **changes))
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)

    def argv(self, settings: TaskSettings) -> list[str]:
        file = self.attempt_folder.settings(settings.key)
        return [sys.executable, "-I", "-m", "dropbox_agent.tasks", settings.task_id, str(file)]

    def write_settings(self, task_id: str, **changes: Any) -> TaskSettings:
        settings = self.settings(task_id, **changes)
        self.attempt_folder.path.mkdir(parents=True, exist_ok=True)
        self.attempt_folder.settings(settings.key).write_text(settings.model_dump_json())
        return settings

    def outcome(self, key: str) -> TaskOutcome | None:
        file = self.attempt_folder.outcome(key)
        return TaskOutcome.model_validate_json(file.read_bytes()) if file.exists() else None

    def progress(self, key: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.attempt_folder.progress(key).read_text())
        return value

    def metadata_file(self, name: str) -> dict[str, Any]:
        """Return what a metadata file says that is to be uploaded."""
        value: dict[str, Any] = json.loads((self.content / name).read_text())
        return value

    def staged(self) -> None:
        """Make the staging folder and link every modality into it."""
        assert self.run("create_staging_folder").state == "succeeded"
        for modality in self.settings("compress_data").sources:
            assert self.run("compress_data", modality=modality).state == "succeeded"

    def ended(self, task_id: str, **changes: Any) -> None:
        """Write the settings and the end record of a task, as the wrapper leaves them."""
        state = changes.pop("state", "succeeded")
        minutes = changes.pop("minutes", 1)
        settings = self.write_settings(task_id, **changes)
        record = {
            "key": settings.key,
            "task_id": task_id,
            "state": state,
            "exit_code": 0,
            "started": ENDED.isoformat(),
            "ended": ENDED.replace(minute=minutes).isoformat(),
            "message": "It ran.",
            "facts": {},
        }
        self.attempt_folder.ended(settings.key).write_text(json.dumps(record))


@dataclass(frozen=True)
class Ran:
    """What a task's process left behind."""

    code: int
    outcome: TaskOutcome | None
    log: str

    @property
    def message(self) -> str:
        assert self.outcome is not None, self.log
        return self.outcome.message


ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder with its content, and every empty folder with None."""
    found: dict[str, bytes | None] = {}
    for inside, folders, names in os.walk(folder):
        here = Path(inside)
        found.update({str((here / name).relative_to(folder)): (here / name).read_bytes() for name in names})
        if not names and not folders:
            found[str(here.relative_to(folder))] = None
    return found


def without_override() -> Sequence[str]:
    """Return what a command is run by so that file permissions count, for root as well."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
