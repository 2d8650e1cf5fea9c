"""The marker of the work folder: without it the folder is an empty place where a share was mounted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from dropbox_agent.errors import WorkFolderUnavailable

MARKER = ".dropbox-agent.json"
"""In the work folder: the ledger whose run folders are there."""


def bind(work_dir: Path, ledger_id: str) -> None:
    """Bind an existing work folder to a ledger. Raises WorkFolderUnavailable when it cannot be written."""
    temporary = work_dir / f"{MARKER}.{os.getpid()}.tmp"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"ledger_id": ledger_id}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(work_dir / MARKER)
    except OSError as error:
        raise WorkFolderUnavailable(
            f"The work folder {work_dir} could not be bound to this ledger: {error.strerror}. Nothing is started in it."
        ) from error


def bind_if_new(work_dir: Path, ledger_id: str, job_ids: Iterable[str]) -> None:
    """Bind a work folder that has no marker if it holds a job of the ledger, or the ledger has none."""
    if (work_dir / MARKER).exists():
        return
    jobs = list(job_ids)
    if not jobs or any((work_dir / job_id).is_dir() for job_id in jobs):
        bind(work_dir, ledger_id)


def guard(work_dir: Path, ledger_id: str) -> None:
    """Raise WorkFolderUnavailable when the folder is there, and is not the one that was bound.

    Of one that is not there at all, whoever needs it says so.
    """
    if not work_dir.is_dir():
        return
    try:
        found = json.loads((work_dir / MARKER).read_bytes())["ledger_id"]
    except FileNotFoundError:
        raise WorkFolderUnavailable(
            f"The work folder {work_dir} has no marker ({MARKER}): its share is not mounted, or it is new. Nothing is "
            "started in it, and nothing concluded from it. If it is new: dropbox-agent adopt "
            f"{work_dir} --baseline seen"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkFolderUnavailable(f"The marker {work_dir / MARKER} cannot be read: {error}.") from error
    if found != ledger_id:
        raise WorkFolderUnavailable(
            f"The work folder {work_dir} belongs to another ledger ({found}, ours is {ledger_id}). Give this agent a "
            "work_dir of its own."
        )
