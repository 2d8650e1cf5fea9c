"""A scientist's folder as a removal sees it: nothing is followed, nothing is looked up by its path twice.

What is removed is found from the root folder downwards, by descriptors, and each entry is what it was when it was
looked at. So neither a link, nor a mount, nor a folder that is swapped meanwhile can lead a removal elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.tree import CHUNK_BYTES, Stamp, words

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotSafe(Exception):
    """Something is not as it has to be before anything may be removed. The message says what."""


@dataclass
class Contents:
    """What a folder holds."""

    files: dict[str, Stamp] = field(default_factory=dict)
    """Every file, by its path below the folder."""
    folders: list[str] = field(default_factory=list)
    """Every folder inside; what lies in one comes before it."""
    findings: list[str] = field(default_factory=list)
    """What keeps the folder from being removed."""

    @property
    def size(self) -> int:
        return sum(stamp.size for stamp in self.files.values())

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {"files": {name: asdict(stamp) for name, stamp in self.files.items()}, "folders": self.folders}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Contents:
        """Return what ``as_json`` wrote."""
        files = {str(name): Stamp(**stamp) for name, stamp in value["files"].items()}
        return cls(files, [str(name) for name in value["folders"]])


def open_below(root: Path, folder: Path, stack: ExitStack) -> tuple[int, int, str]:
    """Return descriptors of a folder's parent and of the folder, and its name; reached from the root without a link.

    Raises NotSafe when a part of the way is a link, is missing, or is a mount.
    """
    parent = -1
    here = _opened(None, str(root), stack)
    name = ""
    way = root
    for name in folder.relative_to(root).parts:
        way = way / name
        parent, here = here, _opened(here, name, stack)
        if mount_of(parent) != mount_of(here):
            raise NotSafe(
                f"{shown(way)} is a mount of its own; what lies in it can go when policy.source_roots names it"
            )
    return parent, here, name


def _opened(parent: int | None, name: str, stack: ExitStack) -> int:
    try:
        descriptor = os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotSafe(f"{shown(name)} on the way to it is a link, or no folder ({words(error)})") from error
    stack.callback(os.close, descriptor)
    return descriptor


def mount_of(descriptor: int) -> tuple[int, str]:
    """Return which file system a descriptor is on, and through which mount."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii").splitlines()
    mount = next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")
    return os.fstat(descriptor).st_dev, mount


def contents(folder: int, owners: frozenset[int]) -> Contents:
    """Return what an open folder holds; every link, mount, special file and file of somebody else is a finding."""
    found = Contents()
    _look(folder, "", mount_of(folder), owners, found)
    return found


def _look(folder: int, prefix: str, mount: tuple[int, str], owners: frozenset[int], found: Contents) -> None:
    for name in sorted(os.listdir(folder)):
        path = prefix + name
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(facts.st_mode):
            found.files[path] = Stamp.of(facts)
        elif stat.S_ISDIR(facts.st_mode):
            _look_into(folder, name, path, mount, owners, found)
        else:
            kind = "a link" if stat.S_ISLNK(facts.st_mode) else "neither a file nor a folder"
            found.findings.append(f"{shown(path)} is {kind}")
        if facts.st_uid not in owners:
            found.findings.append(f"{shown(path)} belongs to another account ({facts.st_uid})")


def _look_into(
    parent: int, name: str, path: str, mount: tuple[int, str], owners: frozenset[int], found: Contents
) -> None:
    with ExitStack() as stack:
        try:
            inner = _opened(parent, name, stack)
        except (NotSafe, OSError) as error:
            found.findings.append(f"{shown(path)} cannot be opened ({error})")
            return
        if mount_of(inner) != mount:
            found.findings.append(f"{shown(path)} is a mount of something else")
            return
        _look(inner, f"{path}/", mount, owners, found)
        found.folders.append(path)


def content_of(folder: int, path: str, stamp: Stamp) -> Iterator[bytes]:
    """Yield the content of a file below an open folder. Raises NotSafe when it is not the one that was looked at."""
    with ExitStack() as stack:
        *above, name = path.split("/")
        for part in above:
            folder = _opened(folder, part, stack)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise NotSafe(f"{shown(path)} cannot be read ({words(error)})") from error
        with open(file, "rb", buffering=0) as reader:
            while chunk := reader.read(CHUNK_BYTES):
                yield chunk
            if Stamp.of(os.fstat(reader.fileno())) != stamp:
                raise NotSafe(f"{shown(path)} changed while it was looked at")


def remove_verified(folder: int, verified: Contents) -> list[str]:
    """Unlink the verified files one by one, then the folders that have become empty; return what was left.

    A file that is not the one that was verified stays, and so does every folder with something in it.
    """
    left = [path for path, stamp in verified.files.items() if not _unlinked(folder, path, stamp)]
    return left + [path for path in verified.folders if not _emptied(folder, path)]


def _unlinked(folder: int, path: str, stamp: Stamp) -> bool:
    with ExitStack() as stack, suppress(FileNotFoundError):
        *above, name = path.split("/")
        try:
            for part in above:
                folder = _opened(folder, part, stack)
        except NotSafe:
            return False
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if Stamp.of(facts) != stamp or not stat.S_ISREG(facts.st_mode):
            return False
        os.unlink(name, dir_fd=folder)
    return True


def _emptied(folder: int, path: str) -> bool:
    with ExitStack() as stack, suppress(FileNotFoundError):
        *above, name = path.split("/")
        try:
            for part in above:
                folder = _opened(folder, part, stack)
            os.rmdir(name, dir_fd=folder)
        except (NotSafe, OSError):
            return not _is_there(folder, name)
    return True


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
