"""Where removed folders wait before they are gone: ``.dropbox-agent-quarantine`` in the root they lay below.

    ROOT/.dropbox-agent-quarantine/JOB/ecephys          the folder, moved whole
    ROOT/.dropbox-agent-quarantine/JOB/ecephys.json     where it lay, when it came, and each file that is proven

To bring one back, move it to where it lay. Only what its list has is removed when its time is over: what somebody put
there meanwhile stays. ``python -m dropbox_agent.tasks.quarantine DAYS ROOT...`` does so; the agent runs it hourly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dropbox_agent.tasks import removing
from dropbox_agent.tasks.names import counted, shown
from dropbox_agent.tasks.records import read_json, write_json
from dropbox_agent.tasks.removing import Contents, NotSafe

NAME = ".dropbox-agent-quarantine"


@dataclass(frozen=True)
class Place:
    """Where in quarantine a source folder goes."""

    root: Path
    job_id: str
    modality: str


def take_in(to: Place, folder: Path, descriptor: int, contents: Contents, now: datetime) -> None:
    """Move a proven folder into quarantine. Raises NotSafe when another one stands in its place by then."""
    place = _ours(to.root) / to.job_id
    place.mkdir(mode=0o700, exist_ok=True)
    target = place / to.modality
    if os.path.lexists(target):
        raise NotSafe(f"{shown(target)} is there already")
    # What will be removed is written down before anything moves.
    write_json(
        place / f"{to.modality}.json",
        {"schema": 1, "folder": str(folder), "quarantined": now.isoformat(), **contents.as_json()},
    )
    with ExitStack() as stack:
        parent, _, name = removing.open_below(to.root, folder, stack)
        os.rename(name, target, src_dir_fd=parent)
        if _identity(os.stat(target, follow_symlinks=False)) != _identity(os.fstat(descriptor)):
            os.rename(target, name, dst_dir_fd=parent)
            raise NotSafe(f"another folder stood at {shown(folder)} when it was to be moved; it was put back")


def _ours(root: Path) -> Path:
    """Return the quarantine of a root. Raises NotSafe unless it is a folder that only this account can write."""
    folder = root / NAME
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = os.stat(folder, follow_symlinks=False)
    if folder.is_symlink() or not folder.is_dir() or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise NotSafe(f"{shown(folder)} is not a folder of this service alone")
    return folder


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def sweep(root: Path, days: float, now: datetime) -> int:
    """Remove for good what has been in a root's quarantine for so many days; return how many folders are gone."""
    if not os.path.lexists(root / NAME):
        return 0
    try:
        place = _ours(root)
    except NotSafe as reason:
        print(f"The quarantine was left alone: {reason}.")
        return 0
    return sum(_sweep_one(record, days, now) for record in sorted(place.glob("*/*.json")))


def _sweep_one(record: Path, days: float, now: datetime) -> bool:
    value = read_json(record)
    try:
        since = datetime.fromisoformat((value or {})["quarantined"])
        verified = Contents.from_json(value or {})
    except (KeyError, TypeError, ValueError):
        return False
    if now - since < timedelta(days=days):
        return False
    left = _remove(record.with_suffix(""), verified)
    if left:
        print(
            f"Left in {shown(record.with_suffix(''))}, for it was not there before: {', '.join(map(shown, left[:10]))}"
        )
        return False
    record.unlink()
    with suppress(OSError):
        record.parent.rmdir()
    return True


def _remove(folder: Path, verified: Contents) -> list[str]:
    with ExitStack() as stack:
        try:
            _, descriptor, _ = removing.open_below(folder.parent, folder, stack)
        except FileNotFoundError:
            return []
        except NotSafe as reason:
            return [str(reason)]
        left = removing.remove_verified(descriptor, verified)
    try:
        folder.rmdir()
    except OSError:
        return left or [folder.name]
    return left


def main(argv: Sequence[str]) -> int:
    """Remove for good what has been in the quarantine of these roots for so many days."""
    for root in argv[1:]:
        if gone := sweep(Path(root), float(argv[0]), datetime.now(timezone.utc)):
            print(f"{root}: removed {counted(gone, 'folder')} whose time in quarantine was over.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
