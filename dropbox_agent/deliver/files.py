"""Write files beside a manifest: whole or not at all, and never through somebody's link."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dropbox_agent.errors import DeliveryFailed
from dropbox_agent.model import Names
from dropbox_agent.report import Report, one_line

README = "README.txt"
TEMPLATE = "TEMPLATE.xlsx"
OWN_PREFIX = ".dropbox-agent"
"""What the agent keeps in an inbox for itself: its marker, its temporary files."""
OURS = re.compile(
    r".+\.(status\.json|status\.html|errors\.xlsx|\d{2,}-[a-z]+\.eml|cancel|retry)|readme\.txt|template\.xlsx",
    re.IGNORECASE | re.DOTALL,
)
TEMPORARY = ".tmp"
FILE_MODE = 0o644
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the folder is read-only",
    errno.ENOENT: "the folder is not there",
    errno.ENOTDIR: "the folder is not a folder",
    errno.EACCES: "the agent's user may not write there",
    errno.EPERM: "the agent's user may not write there",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.ESTALE: "the share does not answer",
    errno.EIO: "the share or disk does not answer",
}
"""What came back -> what an operator understands."""


def is_ours(name: str) -> bool:
    """Return whether a file of that name in an inbox is the agent's own, and so never a manifest."""
    return name.casefold().startswith(OWN_PREFIX) or OURS.fullmatch(name) is not None


def status(folder: Path, name: str, report: Report) -> None:
    """Write the two status files of a manifest. Raises DeliveryFailed."""
    names = Names(name)
    text = json.dumps(report.status, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    # A lone surrogate (a file name that is not UTF-8) becomes \udcff, which is how JSON writes it.
    write(folder, names.status_json, text.encode("utf-8", "backslashreplace"))
    write(folder, names.status_html, report.html.encode("utf-8", "replace"))


def take_status_back(folder: Path, name: str) -> None:
    """Remove the two status files of a manifest, those that are there. Raises DeliveryFailed."""
    names = Names(name)
    for file in (names.status_json, names.status_html):
        try:
            (folder / file).unlink(missing_ok=True)
        except OSError as error:
            raise DeliveryFailed(folder, file, _reason(error)) from error


def write(folder: Path, name: str, content: bytes, mode: int = FILE_MODE, by_way_of: Path | None = None) -> None:
    """Put a file into a folder, whole or not at all; what stood under its name is replaced. Raises DeliveryFailed.

    It is written under a temporary name first: in the same folder, or in ``by_way_of``, which is looked through for
    what a failed write left behind.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise DeliveryFailed(folder, one_line(name), "this is not the name of a file")
    try:
        with _opened(folder) as place, _opened(by_way_of or folder) as way:
            _replace(place, way, name, content, mode)
    except OSError as error:
        raise DeliveryFailed(folder, name, _reason(error)) from error


def is_temporary(name: str) -> bool:
    """Return whether a file of that name is one that the agent had begun to write."""
    return name.startswith(f"{OWN_PREFIX}-") and name.endswith(TEMPORARY)


def sweep(folder: Path) -> None:
    """Remove the temporary files a killed agent left; call it before anything is written. Raises DeliveryFailed."""
    try:
        with _opened(folder) as place:
            _remove(place, filter(is_temporary, os.listdir(place)))
    except OSError as error:
        raise DeliveryFailed(folder, f"{OWN_PREFIX}-*{TEMPORARY}", _reason(error)) from error


def remove_temporary(folder: Path, names: Collection[str]) -> None:
    """Remove temporary files that nobody writes any more. Raises DeliveryFailed."""
    try:
        with _opened(folder) as place:
            _remove(place, filter(is_temporary, names))
    except OSError as error:
        raise DeliveryFailed(folder, f"{OWN_PREFIX}-*{TEMPORARY}", _reason(error)) from error


# --- files -----------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    # Everything happens relative to this descriptor, so the folder cannot be exchanged half-way.
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)


def _remove(place: int, names: Iterable[str]) -> None:
    for name in names:
        # What cannot be removed is no temporary file, or is tried again; it is in nobody's way.
        with suppress(OSError):
            os.unlink(name, dir_fd=place)


def _replace(place: int, way: int, name: str, content: bytes, mode: int) -> None:
    temporary = f"{OWN_PREFIX}-{secrets.token_hex(8)}{TEMPORARY}"
    try:
        _write_new(way, temporary, content, mode)
        # Renaming replaces a link that stands under the name; it never follows it.
        os.replace(temporary, name, src_dir_fd=way, dst_dir_fd=place)
    except BaseException:
        # A share that failed the write may fail this too, or have made a file of which it said that it had not.
        _remove(way, [temporary])
        raise
    # Some shares cannot sync a folder; the file itself is on disk already.
    with suppress(OSError):
        os.fsync(place)


def _write_new(place: int, name: str, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, FILE_MODE, dir_fd=place), "wb") as file:
        # The scientist reads it, whatever umask the service has; shares without modes refuse the call.
        with suppress(OSError):
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _reason(error: OSError) -> str:
    known = REASONS.get(error.errno or 0)
    came_back = error.strerror or str(error)
    return f"{known} ({came_back})" if known else came_back
