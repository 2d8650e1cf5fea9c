"""Files of ours that people take for theirs: the template filled in where it lies, the marked copy corrected in place.

Each is written read-only, and the digest of what was written is noted beside the marker. A file whose content is no
longer what was noted is somebody's work: it is never replaced or removed, and it is read like any manifest.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from dropbox_agent import lasting
from dropbox_agent.deliver.files import OWN_PREFIX, is_ours, write
from dropbox_agent.errors import DeliveryFailed

WRITTEN = f"{OWN_PREFIX}/written"
"""In the inbox: one empty file for each content that was written, named by its sha256."""
FILLED_IN = re.compile(r"template\.xlsx|.+\.errors\.xlsx", re.IGNORECASE | re.DOTALL)
READ_ONLY = 0o444
CHUNK_BYTES = 1 << 20


def is_ours_whatever_it_says(name: str) -> bool:
    """Return whether a file of that name is the agent's own, with no look at its content."""
    return is_ours(name) and not may_be_filled_in(name)


def may_be_filled_in(name: str) -> bool:
    """Return whether the agent writes a file of that name for people to fill in or correct."""
    return FILLED_IN.fullmatch(name) is not None


def is_unchanged(folder: Path, sha256: str) -> bool:
    """Return whether a content is one that the agent itself wrote into this inbox. Raises OSError."""
    try:
        os.lstat(folder / WRITTEN / sha256)
    except FileNotFoundError:
        return False
    return True


def write_own(folder: Path, name: str, content: bytes) -> bool:
    """Put a read-only file of ours into an inbox; return False, and touch nothing, when somebody's work stands there.

    Raises DeliveryFailed.
    """
    try:
        there = digest_of(folder / name)
        if there is not None and not is_unchanged(folder, there):
            return False
    except OSError as error:
        raise DeliveryFailed(folder, name, error.strerror or str(error)) from error
    noted = _notes(folder)
    # Noted before it is written: after a crash in between, a note without its file does no harm.
    write(noted, hashlib.sha256(content).hexdigest(), b"", by_way_of=folder)
    write(folder, name, content, READ_ONLY)
    return True


def take_back(folder: Path, name: str) -> bool:
    """Remove a file of ours, unless its content is somebody's work; return whether it was removed. Raises OSError."""
    there = digest_of(folder / name)
    if there is None or not is_unchanged(folder, there):
        return False
    os.unlink(folder / name)
    with suppress(OSError):
        os.unlink(folder / WRITTEN / there)
    return True


def digest_of(path: Path) -> str | None:
    """Return the sha256 of a plain file; None for whatever else stands there, or nothing. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    digest = hashlib.sha256()
    with open(descriptor, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _notes(folder: Path) -> Path:
    noted = folder / WRITTEN
    try:
        if noted.parent.is_symlink() or noted.is_symlink():
            raise DeliveryFailed(folder, WRITTEN, "it lies behind a link")
        if not noted.is_dir():
            noted.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # some shares cannot
                lasting.sync_folder(noted.parent)
    except OSError as error:
        raise DeliveryFailed(folder, WRITTEN, error.strerror or str(error)) from error
    return noted
