"""Read what strangers put into a folder: no link is followed, no pipe blocks, no huge file is read whole."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

CHUNK_BYTES = 1 << 20


class SourceUnreadable(OSError):
    """The file that is copied could not be read to its end; what it is copied to is all right."""


LOCK_NAMES = ("~${name}", ".~lock.{name}#")
"""Office and LibreOffice keep such a file beside a workbook that is open."""
LOCK_BYTES = 200
LONGEST_NAME = 50


@dataclass(frozen=True)
class Signature:
    """What the listing says of a file: enough to notice most changes without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def looks_unfinished(path: Path) -> tuple[str | None, bool]:
    """Return why a quiet file is still given time, or None; and whether somebody has to act."""
    for lock in (path.with_name(pattern.format(name=path.name)) for pattern in LOCK_NAMES):
        if os.path.lexists(lock):
            by = opened_by(lock)
            return f"It is open in Excel or LibreOffice{f', by {by}' if by else ''}. Save it and close it there.", True
    try:
        if path.lstat().st_size == 0:
            return "It is empty so far.", False
        if path.suffix.lower() == ".xlsx" and not _ends_as_a_zip(path):
            return "Its end has not arrived yet (an .xlsx file is a zip archive).", False
    except OSError:
        return "It was taken away while it was looked at.", False
    return None, False


def opened_by(lock: Path) -> str | None:
    """Return who has a workbook open, as the file says that Excel or LibreOffice keeps beside it; None: it does not.

    Excel writes the length of the name, then the name; LibreOffice the name, then a comma. Anybody may have written it.
    """
    try:
        with open_regular(lock) as file:
            said = file.read(LOCK_BYTES)
    except OSError:
        return None
    if lock.name.startswith("~$"):
        name = said[1 : 1 + said[0]].decode("cp1252", "replace") if said and len(said) > said[0] else ""
    else:
        name = said.decode("utf-8", "replace").partition(",")[0]
    shown = "".join(letter for letter in name if letter.isprintable()).strip()
    return shown[:LONGEST_NAME] or None


def _ends_as_a_zip(path: Path) -> bool:
    with open_regular(path) as file:
        try:
            return zipfile.is_zipfile(file)
        except zipfile.BadZipFile:  # An end it has, but one that names other disks. Reading it will say so.
            return True


def digest_of(path: Path, limit: int) -> str:
    """Return the sha256 of a plain file's first ``limit`` bytes. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        for chunk in _up_to(file, limit):
            digest.update(chunk)
    return digest.hexdigest()


def open_regular(path: Path) -> BufferedReader:
    """Open a plain file for reading without ever following a link or blocking on a pipe."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115 - the caller closes it
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
    except OSError:
        file.close()
        raise
    return file


def signature(facts: os.stat_result) -> Signature:
    """Return what is compared to notice a change."""
    return Signature(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def sweep_spool(spool: Path, recorded: Collection[str]) -> None:
    """Remove what a killed agent left: half copies, and copies of which it recorded no manifest.

    Call it before anything is copied; what was left is copied again, if it still lies in its inbox.
    """
    for path in spool.iterdir() if spool.is_dir() else ():
        if path.name not in recorded and not path.is_dir():
            path.unlink(missing_ok=True)


def copy_and_hash(source: BufferedReader, target: Path, limit: int) -> tuple[str, int]:
    """Copy up to ``limit`` bytes into a new file, onto the disk; return their sha256 and number. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as copy:
        for chunk in _up_to(source, limit):
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest(), size


def _up_to(file: BufferedReader, limit: int) -> Iterator[bytes]:
    while limit > 0:
        try:
            chunk = file.read(min(CHUNK_BYTES, limit))
        except OSError as error:
            raise SourceUnreadable(error.errno, error.strerror) from error
        if not chunk:
            return
        limit -= len(chunk)
        yield chunk
