"""A disk that loses what was not synced when the power goes: a FUSE file system that notes every call.

``python losing_disk.py BELOW MOUNTPOINT NOTES`` serves it. ``LosingDisk`` lets something run on one; afterwards it puts
in its place what a power failure at any of the calls may have left (``what_is_kept`` says what that is).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faulty_share import Through, require_faults, wait_for_mount
from what_is_kept import Disk, Model
from workspace import wait_for


class LosingDisk:
    """A folder on a disk whose calls are noted while something runs on it."""

    def __init__(self, path: Path, aside: Path, reads_as: tuple[str, str] = ("", "")) -> None:
        self.path, self._aside, self._reads_as = path, aside, reads_as
        """``reads_as``: a text, and what is left in its place, just as long."""
        self._calls: list[list[Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is in the folder now is on the disk for sure; let what follows run on it until the end."""
        require_faults()
        shutil.rmtree(self._aside, ignore_errors=True)
        self._aside.mkdir()
        below, notes = self._aside / "below", self._aside / "notes"
        shutil.copytree(self.path, self._aside / "before", symlinks=True)
        self.path.rename(below)
        self.path.mkdir()
        argv = [sys.executable, __file__, str(below), str(self.path), str(notes)]
        served = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        try:
            wait_for_mount(self.path, served)
            yield
        finally:
            try:
                # Not at once, for what has ended a moment ago may still be on it.
                wait_for(lambda: _unmounted(self.path) or served.poll() is not None)
                served.wait(60)
            finally:
                _unmounted(self.path, "-z")
                served.kill()
        self._calls = [json.loads(line) for line in notes.read_text().splitlines()]

    def points(self) -> list[int]:
        """Return the calls (by how many come before them) after which something else may be lost than before."""
        return [number for number, (call, *_) in enumerate(self._calls, 1) if call not in ("open", "chmod", "utimens")]

    def call(self, number: int) -> str:
        """Return the last of so many calls, in words."""
        return " ".join(str(word)[:80] for word in self._calls[number - 1])

    def last(self, call: str) -> int:
        """Return the last of the calls that are so in words."""
        return max(number for number in range(1, len(self._calls) + 1) if self.call(number) == call)

    def made(self, number: int) -> list[Path]:
        """Return the folders that so many calls had made, with what is in them made to last."""
        calls = self._calls[:number]
        synced = {words[0] for call, *words in calls if call == "fsyncdir"}
        return [Path(f"{self.path}{words[0]}") for call, *words in calls if call == "mkdir" and words[0] in synced]

    def fail(self, number: int, model: Model, seed: int, keeps: Sequence[str] = ()) -> str:
        """Put in the folder what a power failure after so many calls may have left; return a hash of it.

        The folders ``keeps`` in it lie on a server that goes on.
        """
        disk = Disk(self._aside / "before", keeps)
        for call, *words in self._calls[:number]:
            disk.happen(call, *map(self._read, words))
        shutil.rmtree(self.path)
        return disk.leave(self.path, model, seed)

    def _read(self, word: Any) -> Any:
        if not isinstance(word, dict):
            return word
        was, reads = self._reads_as
        return (
            base64.b64decode(word["data"]).replace(was.encode(), reads.encode())
            if was
            else base64.b64decode(word["data"])
        )


def _unmounted(path: Path, *options: str) -> bool:
    """Unmount what is at ``path``; return whether that could be done."""
    return subprocess.run(["fusermount3", "-u", *options, path], check=False, capture_output=True).returncode == 0


class Noting(Through):
    """Does each call, and notes those that change or sync something, in their order."""

    def __init__(self, below: str, notes: str) -> None:
        super().__init__(below)
        self._notes = open(notes, "a", encoding="utf-8")  # noqa: SIM115 - as long as the file system

    def _note(self, call: str, *words: Any) -> None:
        self._notes.write(json.dumps([call, *words]) + "\n")
        self._notes.flush()

    def open(self, path: str, flags: int) -> int:
        fh = super().open(path, flags & ~os.O_APPEND)
        self._note("open", path, fh)
        if flags & os.O_TRUNC:
            self._note("truncate", path, None, 0)
        return fh

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        fh = super().create(path, mode)
        self._note("create", path, fh, os.fstat(fh).st_mode & 0o7777)
        return fh

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        written = super().write(path, data, offset, fh)
        self._note("write", fh, offset, {"data": base64.b64encode(data[:written]).decode()})
        return written

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(fh or self._real(path), length)
        self._note("truncate", path, fh, length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._note("fsync", fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._note("fsyncdir", path)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        super().mkdir(path, mode)
        self._note("mkdir", path, os.stat(self._real(path)).st_mode & 0o7777)
        return 0

    def rmdir(self, path: str) -> int:
        super().rmdir(path)
        self._note("remove", path)
        return 0

    def unlink(self, path: str) -> int:
        super().unlink(path)
        self._note("remove", path)
        return 0

    def rename(self, old: str, new: str) -> int:
        super().rename(old, new)
        self._note("rename", old, new)
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._real(source), self._real(target))
        self._note("link", source, target)
        return 0

    def symlink(self, target: str, source: str) -> int:
        super().symlink(target, source)
        self._note("symlink", target, source)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        super().chmod(path, mode)
        self._note("chmod", path, mode & 0o7777)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        super().utimens(path, times)
        self._note("utimens", path, *(times or (time.time_ns(),) * 2))
        return 0


def serve(below: str, mountpoint: str, notes: str) -> None:
    """Serve the file system until it is unmounted: one call after the other, for their order is what is noted."""
    import mfusepy  # where there is no FUSE, importing it fails

    class Served(Noting, mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

    # SQLite maps its -shm file, so there is no direct_io; the kernel's cache is written through.
    how = {"foreground": True, "nothreads": True, "fsname": "losing", "hard_remove": True}
    mfusepy.FUSE(Served(below, notes), mountpoint, **how)


if __name__ == "__main__":
    serve(*sys.argv[1:4])
