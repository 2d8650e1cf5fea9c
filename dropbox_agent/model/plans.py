"""What will be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PlannedTask:
    """One task of a plan, fully merged."""

    key: str
    """``upload_data_to_s3`` or, for a mapped task, ``compress_data[ecephys]``. Unique in the plan."""
    task_id: str
    modality: str | None
    needs: tuple[str, ...]
    """Keys of the tasks that must have ended well; skipped tasks are already replaced by what they need."""
    allocation: int | None
    """Which allocation of the plan runs it; None for what the agent does itself and for skipped tasks."""
    skip: str | None
    """Why it is skipped, as a sentence; None when it runs."""
    settings: Mapping[str, Any]
    """The effective settings: image, image_version, image_resources, job_settings, command_script."""
    origin: Mapping[str, str]
    """Dotted path in settings -> where the value comes from: ``default``, ``ecephys``, ``manifest``, ``agent``."""


SOURCE_SETTINGS: Mapping[str, str] = {
    "compress_data": "input_source",
    "gather_preliminary_metadata": "metadata_dir",
    "copy_derivatives_folder": "input_source",
}
"""Task that reads a folder of the scientist's -> which of its job_settings names it."""


@dataclass(frozen=True)
class SourceFolder:
    """A folder of the scientist's that a plan reads."""

    key: str
    """The task that reads it."""
    modality: str | None
    setting: str
    """input_source or metadata_dir, in the task's job_settings."""
    path: str
    """After path_map."""


@dataclass(frozen=True)
class Retry:
    """How often a task that ended for one cause is run again by itself, and with how much more."""

    times: int
    factor: float = 2.0
    """How much more memory or time each time, or how much longer a wait."""
    at_most: str | int | None = None
    """The most it asks for in the end, as image_resources has it: ``128G``, ``2-00:00:00``."""
    wait: str | int | None = None
    """How long is waited before the first time; each time ``factor`` times as long, and never longer than at_most."""


@dataclass(frozen=True)
class Plan:
    """The ordered, fully merged tasks of one job."""

    job_type: str
    s3_prefix: str
    bucket: str
    location: str
    """Where the asset will be: ``file:///srv/bucket/prefix`` or ``s3://bucket/prefix``."""
    tasks: tuple[PlannedTask, ...]
    preset_hash: str
    """sha256 of the presets this plan was made from."""
    retries: Mapping[str, Retry] = field(default_factory=dict)
    """Cause -> how often a task is run again by itself."""

    def task(self, key: str) -> PlannedTask:
        """Return the task of that key; KeyError when there is none."""
        for task in self.tasks:
            if task.key == key:
                return task
        raise KeyError(key)

    def source_folders(self) -> tuple[SourceFolder, ...]:
        """Return every folder of the scientist's that the tasks which run will read."""
        found = []
        for task in self.tasks:
            setting = SOURCE_SETTINGS.get(task.task_id, "")
            path = (task.settings.get("job_settings") or {}).get(setting)
            if path and task.skip is None:
                found.append(SourceFolder(task.key, task.modality, setting, path))
        return tuple(found)
