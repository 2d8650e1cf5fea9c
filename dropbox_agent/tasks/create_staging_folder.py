"""Make the job's staging folder with its marker, or take up the one an earlier attempt of this job made."""

from __future__ import annotations

import os
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import write_json
from dropbox_agent.tasks.staging import full_or_unwritable, remove, require_ours


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when the staging folder stands and is this job's."""
    folder = RunFolder(settings.run_folder)
    if not folder.path.is_dir():
        raise TaskFailed(
            f"The job's folder {shown(folder.path)} is not there: is the work folder {shown(folder.path.parent)}"
            " mounted? An operator has to look at it; then the job can be retried."
        )
    resumed = _is_there(folder.staging)
    try:
        if resumed:
            require_ours(folder.staging, settings.job_id)
            folder.content(settings.s3_prefix).mkdir(mode=0o770, exist_ok=True)
        else:
            _make(folder, settings)
    except OSError as error:
        raise full_or_unwritable(error, folder.path, "The staging folder") from error
    facts = {"folder": str(folder.staging), "resumed": resumed}
    if resumed:
        message = "The staging folder of an earlier attempt of this job is used again."
        return TaskOutcome(state="succeeded", message=message, facts=facts)
    return TaskOutcome(state="succeeded", message="The staging folder is made.", facts=facts)


def _is_there(staging: Path) -> bool:
    """An empty folder is nobody's: it is made anew."""
    if staging.is_symlink() or not staging.is_dir():
        return os.path.lexists(staging)
    return any(staging.iterdir())


def _make(folder: RunFolder, settings: TaskSettings) -> None:
    """Make it under another name first, so that a staging folder never stands without its marker."""
    new = folder.staging.with_name(f".staging-{settings.attempt_key}")
    remove(new)
    try:
        (new / settings.s3_prefix).mkdir(mode=0o770, parents=True)
        write_json(
            new / folder.staging_marker.name,
            {"job_id": settings.job_id, "s3_prefix": settings.s3_prefix, "bucket": settings.bucket},
        )
        new.rename(folder.staging)
    except BaseException:
        remove(new)
        raise
