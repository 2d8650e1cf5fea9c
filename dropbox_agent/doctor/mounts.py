"""On which file system a folder lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|lustre|beegfs|gpfs|ceph|glusterfs|afs|9p|ncpfs|pvfs2|fuse\.(?!.*(overlay|ntfs|portal)).*"
)
"""File systems on which locks and syncs depend on another machine."""


@dataclass(frozen=True)
class Mount:
    """One mounted file system."""

    point: str
    kind: str
    """``ext4``, ``nfs4``."""
    options: tuple[str, ...] = field(default=(), compare=False)
    """What it is mounted with, as the kernel says it: ``acregmax=60``."""

    @property
    def is_network(self) -> bool:
        """Whether another machine has a say in it."""
        return NETWORK.fullmatch(self.kind) is not None

    @property
    def cache_seconds(self) -> float | None:
        """How old names and sizes may be that this machine keeps; None where the mount does not say."""
        if self.kind.startswith("nfs"):
            return 0.0 if "noac" in self.options else max(self._seconds("acregmax", 60), self._seconds("acdirmax", 60))
        if self.kind in ("cifs", "smb3"):
            return max(self._seconds("actimeo", 1), self._seconds("acregmax", 1), self._seconds("acdirmax", 1))
        return None

    def _seconds(self, option: str, default: float) -> float:
        """Return what an option says; the kernel does not name those that have their default."""
        said = next((one.partition("=")[2] for one in self.options if one.startswith(f"{option}=")), "")
        return float(said) if said.isdigit() else default


def mount_of(folder: Path, table: str) -> Mount | None:
    """Return where a folder lies, from the text of ``/proc/self/mountinfo``; None where that does not say."""
    real = os.path.realpath(folder)
    found = [mount for line in table.splitlines() if (mount := _read(line)) and _holds(mount.point, real)]
    # Of two on one point the later hides the earlier.
    return max(reversed(found), key=lambda mount: len(mount.point), default=None)


def here() -> str:
    """Return this machine's table of mounts; empty where there is none."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _read(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    words, (kind, *more) = before.split(" "), after.split(" ")
    if len(words) < 5 or not kind:
        return None
    point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
    return Mount(point, kind, tuple(more[-1].split(",")) if more else ())


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
