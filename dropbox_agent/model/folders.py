"""Every file and folder name of a job on the share; the only place that knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AttemptFolder:
    """Every file name of one attempt. The only place that knows them (the wrapper is told them)."""

    path: Path

    @property
    def wrapper(self) -> Path:
        return self.path / "wrapper.py"

    @property
    def allocation(self) -> Path:
        """What the wrapper runs: tasks in order, their argv, needs and file names."""
        return self.path / "allocation.json"

    @property
    def token(self) -> Path:
        """The start token: a folder, taken by ``mkdir``; who took it is in ``owner.json`` inside."""
        return self.path / "started"

    @property
    def end(self) -> Path:
        """The end record of the whole allocation."""
        return self.path / "end.json"

    @property
    def heartbeat(self) -> Path:
        """Written now and then while the wrapper lives, where somebody may lose sight of it."""
        return self.path / "heartbeat.json"

    @property
    def wrapper_log(self) -> Path:
        return self.path / "wrapper.log"

    @property
    def elements(self) -> Path:
        """What belongs to the elements of an array task: for each ``N.started``, ``N.log``, ``N.STATE.json``, ..."""
        return self.path / "elements"

    def element(self, number: int | str, what: str) -> Path:
        """Return a file of one element: ``elements/3.log``."""
        return self.elements / f"{number}.{what}"

    def settings(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.settings.json"

    def log(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.log"

    def progress(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.progress.json"

    def outcome(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.outcome.json"

    def started(self, key: str) -> Path:
        """The start record of one task."""
        return self.path / f"{file_stem(key)}.started.json"

    def ended(self, key: str) -> Path:
        """The end record of one task."""
        return self.path / f"{file_stem(key)}.end.json"


@dataclass(frozen=True)
class RunFolder:
    """Every folder name of one job on the share: ``work_dir/<job_id>/``."""

    path: Path

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    def attempt(self, key: str) -> AttemptFolder:
        return AttemptFolder(self.attempts / key)

    @property
    def staging(self) -> Path:
        """Holds the job's marker ``job.json`` and, in a folder named like the asset, what will be uploaded."""
        return self.path / "staging"

    @property
    def staging_marker(self) -> Path:
        return self.staging / "job.json"

    def content(self, s3_prefix: str) -> Path:
        """What will be uploaded."""
        return self.staging / s3_prefix

    def partial(self, s3_prefix: str, modality: str, attempt_key: str) -> Path:
        """Where one attempt's script writes; renamed to the modality's own name once it is whole."""
        return self.content(s3_prefix).parent / f"{modality}.partial-{attempt_key}"

    @property
    def inventory(self) -> Path:
        """Every uploaded file with size, mtime and CRC64NVME."""
        return self.path / "inventory.json"


def file_stem(key: str) -> str:
    """Return the file name of a task key: ``compress_data[ecephys]`` -> ``compress_data.ecephys``."""
    return key.replace("[", ".").replace("]", "")
