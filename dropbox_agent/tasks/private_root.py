"""Give a container a root of its own, then become the container: ``python -m dropbox_agent.tasks.private_root SPEC``.

``ch-run`` shows a container everything with the rights it has outside, and only where the image has a folder for it.
Here, in a mount namespace of this process alone, a root is put together first: the image, read-only; each folder under
its own path, read-only but for those that may be written; and a /tmp. No rights are needed for it, but the kernel's
user namespaces. Exit code 125: it could not be put together.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAILED = 125
ALWAYS = ("/dev", "/proc", "/sys")
"""ch-run puts the node's own there, and needs a folder to do so."""
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1, 32, 4096, 16384, 1 << 18, 1 << 21
KEPT_FLAGS = {flag: flag for flag in (os.ST_NOSUID, os.ST_NODEV, os.ST_NOEXEC, os.ST_NOATIME, os.ST_NODIRATIME)}
KEPT_FLAGS[os.ST_RELATIME] = MS_RELATIME
"""What statvfs says of a mount -> the flag of mount(2). A namespace without rights may take none of them away."""


@dataclass(frozen=True)
class Spec:
    """What the root is made of."""

    root: str
    """An empty folder; the root is mounted there, for this process only."""
    image: str
    tmp: str
    """What the container has as /tmp."""
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    argv: tuple[str, ...]
    """The program to become; it is given the root as its image."""


def main(argv: Sequence[str]) -> int:
    """Make the root and become the program; return only when that failed."""
    spec = _spec(json.loads(Path(argv[0]).read_text("utf-8")))
    try:
        _enter_namespaces()
        _make(spec)
        # ch-run mounts what TMPDIR names at /tmp, with all that is mounted below it.
        os.environ["TMPDIR"] = f"{spec.root}/tmp"
        os.execvp(spec.argv[0], spec.argv)
    except OSError as error:
        what = f": {error.filename}" if error.filename else ""
        print(f"The container could not be made ready: {error.strerror}{what}.", flush=True)
    return FAILED


def _spec(given: dict[str, Any]) -> Spec:
    lists = {name: tuple(given[name]) for name in ("reads", "writes", "argv")}
    return Spec(root=given["root"], image=given["image"], tmp=given["tmp"], **lists)


# --- what there is to be ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One thing below the root, by its path there."""

    path: str
    source: str | None = None
    """What is seen there; None for a folder of the root itself."""
    writable: bool = False
    link: str | None = None
    """Where it leads, when it is a link of the image."""


def entries(spec: Spec) -> Iterator[Entry]:
    """Yield what the root is made of, each after the folder it is in.

    A folder on the way to one that is shown cannot be the image's own, which has no place for it: it is made anew, and
    holds what the image has there.
    """
    shown = dict.fromkeys(spec.reads, False) | dict.fromkeys(spec.writes, True)
    sources = {path: path for path in shown} | {"/tmp": spec.tmp}
    shown.setdefault("/tmp", True)
    made = {folder for path in (*shown, *ALWAYS) for folder in _above(path)}
    made = {folder for folder in made if not _is_below_one_of(folder, shown)}
    for folder in sorted(made, key=lambda path: path.count("/") if path != "/" else -1):
        yield Entry(folder)
        yield from _of_image(spec.image, folder, made | set(shown))
    for folder in ALWAYS:
        if not os.path.isdir(spec.image + folder):
            yield Entry(folder)
    for path in sorted(shown, key=lambda path: path.count("/")):
        yield Entry(path, sources[path], shown[path])


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


def _is_below_one_of(folder: str, shown: dict[str, bool]) -> bool:
    return folder in shown or any(above in shown for above in _above(folder))


def _of_image(image: str, folder: str, others: set[str]) -> Iterator[Entry]:
    try:
        found = sorted(os.scandir(image + folder), key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for one in found:
        path = os.path.join(folder, one.name)
        if path in others:
            continue
        if one.is_symlink():
            yield Entry(path, link=os.readlink(one.path))
        elif one.is_dir() or one.is_file():
            yield Entry(path, one.path)


# --- making it -------------------------------------------------------------------------------------------------------


def _enter_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    _check(_libc().unshare(CLONE_NEWUSER | CLONE_NEWNS), "user namespaces are not allowed on this machine")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    _mount(None, "/", MS_REC | MS_PRIVATE)


def _make(spec: Spec) -> None:
    _mount("tmpfs", spec.root, 0, "tmpfs", "mode=755,size=16m")
    for entry in entries(spec):
        place = spec.root + entry.path
        if entry.link is not None:
            os.symlink(entry.link, place)
        elif entry.source is None:
            os.makedirs(place, exist_ok=True)
        else:
            _show(entry.source, place, entry.writable)


def _show(source: str, place: str, writable: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    elif not os.path.exists(place):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    _mount(source, place, MS_BIND | MS_REC)
    for point in () if writable else _mounts_at(place):
        _mount(None, point, MS_REMOUNT | MS_BIND | MS_RDONLY | _flags_of(point))


def _mounts_at(place: str) -> list[str]:
    """Return a mount and those below it: each is made read-only by itself."""
    return [point for point in _points() if point == place or point.startswith(f"{place}/")]


def _points() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        # Blanks and the like are written as \040.
        yield os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4]))


def _flags_of(place: str) -> int:
    flags = os.statvfs(place).f_flag
    return sum(mount for shown, mount in KEPT_FLAGS.items() if flags & shown)


def _mount(source: str | None, target: str, flags: int, kind: str | None = None, options: str | None = None) -> None:
    given = (None if text is None else os.fsencode(text) for text in (source, target, kind))
    _check(_libc().mount(*given, ctypes.c_ulong(flags), None if options is None else options.encode()), target)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
