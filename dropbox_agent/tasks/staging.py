"""The staging folder of a job: what will be uploaded is put together there, and only there."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskSettings
from dropbox_agent.tasks.away import is_away
from dropbox_agent.tasks.crew import Crew
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.records import read_json

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DERIVATIVES = "derivatives"
"""The folder of the asset that takes what copy_derivatives_folder copies."""
ORIGINALS = "original_metadata"
"""The folder of the asset that keeps metadata files which are replaced by our own."""

HANDS = 8
"""Each file waits for the disk; eight that wait together take a twentieth of the time."""


def content_of(settings: TaskSettings) -> Path:
    """Return the folder that will be uploaded. Raises TaskFailed unless it is there and belongs to this job."""
    folder = RunFolder(settings.run_folder)
    require_ours(folder.staging, settings.job_id)
    content = folder.content(settings.s3_prefix)
    if content.is_symlink() or not content.is_dir():
        raise TaskFailed(f"The staging folder has no folder {shown(content)}. Retry the job, so that it is made anew.")
    return content


def reserved_names(settings: TaskSettings) -> tuple[str, ...]:
    """Return what a metadata file may not be called: the asset's folders have these names."""
    return (*settings.modalities, *settings.sources, DERIVATIVES, ORIGINALS)


def require_ours(staging: Path, job_id: str) -> None:
    """Raise TaskFailed unless a staging folder holds the marker of this job."""
    if not os.path.lexists(staging):
        raise TaskFailed(f"The staging folder {shown(staging)} is not there. Retry the job, so that it is made anew.")
    marker = None if staging.is_symlink() else read_json(staging / RunFolder(staging.parent).staging_marker.name)
    if marker is None or marker.get("job_id") != job_id:
        raise TaskFailed(
            f"The staging folder {shown(staging)} does not belong to this job ({job_id}): its marker"
            f" {'is missing' if marker is None else 'names ' + shown(str(marker.get('job_id')))}. It was left alone;"
            " an operator has to look at it."
        )


def put_in_place(made: Path, target: Path) -> None:
    """Give what is whole its own name, for good; what an earlier attempt left there is removed."""
    old = made.with_name(made.name + ".old")
    remove(old)
    if os.path.lexists(target):
        target.rename(old)
    made.rename(target)
    _sync(target.parent)
    remove(old)


def sync_all(folder: Path) -> None:
    """Let all that is in a folder reach the disk: the end record of the task that says so does. Raises OSError."""
    with Crew(HANDS) as crew:
        for parent, _, names in os.walk(folder):
            for path in (parent, *(os.path.join(parent, name) for name in names)):
                if not os.path.islink(path):
                    crew.give(partial(_sync, path))
        crew.finish()


def _sync(path: str | Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def remove(path: Path) -> None:
    """Remove a file, a link (never its target) or a folder of ours; nothing there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        _remove_tree(path)


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except PermissionError:
        # A script may have left folders that nobody may write to; they are ours all the same.
        for inside, _, _ in os.walk(folder):
            os.chmod(inside, 0o700)
        shutil.rmtree(folder)


def remove_partials(settings: TaskSettings, name: str, but: Path | None = None) -> None:
    """Remove what attempts that are over left half done under this name; ``but``: what is not over yet."""
    staging = RunFolder(settings.run_folder).staging
    for left in sorted(staging.glob(f"{name}.partial-*")):
        if left != but:
            remove(left)


def full_or_unwritable(error: OSError, folder: Path, what: str) -> TaskFailed:
    """Return the failure that says which place is full or cannot be written."""
    if error.errno in FULL:
        reason = f"there is no space left in {shown(folder)}"
        advice = "An operator has to make room there; then the job can be retried."
    else:
        reason = f"{shown(folder)} cannot be written ({(error.strerror or str(error)).lower()})"
        advice = "An operator has to look at it; then the job can be retried."
    return TaskFailed(f"{what} could not be written: {reason}. {advice}", passes=is_away(error))
