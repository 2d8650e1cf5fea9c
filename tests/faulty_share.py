"""A share of the test's own that lies, fails, lags and hangs: a FUSE file system over a real folder.

``python faulty_share.py BELOW MOUNTPOINT SWITCHES [CACHE_SECONDS]`` serves it; ``Share`` starts and steers one. The
switches are a JSON file, read anew at every call: ``errors`` (a list of {path, call, errno, odds}), ``delay``
(seconds), ``skew`` (seconds added to every time), ``granularity`` (seconds), ``doubts`` (calls that are done and then
said to have failed, as a lost reply on NFS is), ``seed``. Of errors with odds, the n-th call of a kind on a path (but
for the random parts of names) fails or does not by the seed alone, so what failed once can be made to fail again.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

READING = ("getattr", "readdir", "open", "read", "readlink")
WRITING = ("create", "write", "fsync", "truncate", "utimens", "symlink", "mkdir", "rmdir", "unlink", "rename", "chmod")
CALLS = frozenset({*READING, *WRITING})
PROGRAMS = ("fusermount3", "bindfs", "strace")
RANDOM_PART = re.compile(r"[0-9a-f]{16,}")
"""What differs in a name from one run to the next."""


def wait_for_mount(path: Path, served: subprocess.Popen[bytes]) -> None:
    """Wait until a file system of ours is to be seen at ``path``."""
    until = time.monotonic() + 90
    while not os.path.ismount(path):
        assert time.monotonic() < until and served.poll() is None, f"nothing was mounted at {path}"
        time.sleep(0.02)


def require_faults() -> None:
    """Skip the test where faults cannot be made; fail it in CI, which installs all that is needed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not os.access("/dev/fuse", os.W_OK):
        missing.append("/dev/fuse")
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"The tests with faulty shares need {', '.join(missing)}; .ci/install-faults installs them.")
    if missing:
        pytest.skip(f"{', '.join(missing)} are not there (.ci/install-faults installs them as root on Debian)")


class Share:
    """A mounted faulty share."""

    def __init__(self, below: Path, mountpoint: Path, switches: Path, cache_seconds: float = 0) -> None:
        self.below, self.path, self._switches, self._cache = below, mountpoint, switches, cache_seconds
        self._served: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        """Mount it; what lies below is seen at ``path``."""
        self.path.mkdir(exist_ok=True)
        self.set()
        argv = [sys.executable, __file__, str(self.below), str(self.path), str(self._switches), str(self._cache)]
        self._served = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        wait_for_mount(self.path, self._served)

    def unmount(self) -> None:
        """Let it vanish, as a share does whose server went away; an empty folder stays."""
        subprocess.run(["fusermount3", "-uz", str(self.path)], check=False, capture_output=True)
        if self._served is not None:
            self._served.kill()
            self._served.wait(20)
            self._served = None

    def die(self) -> None:
        """Let its server die while it is mounted: every call is told that nothing is connected there."""
        assert self._served is not None
        self._served.kill()
        self._served.wait(20)

    def set(self, **switches: Any) -> None:
        """Set all switches; those that are not named are off."""
        temporary = self._switches.with_suffix(".tmp")
        temporary.write_text(json.dumps(switches))
        temporary.replace(self._switches)


@contextmanager
def faulty_share(folder: Path, cache_seconds: float = 0) -> Iterator[Share]:
    """Yield a mounted share over an empty folder."""
    require_faults()
    (folder / "below").mkdir()
    share = Share(folder / "below", folder / "share", folder / "switches.json", cache_seconds)
    share.mount()
    try:
        yield share
    finally:
        share.unmount()


def serve(below: str, mountpoint: str, switches: str, cache_seconds: float) -> None:
    """Serve the file system until it is unmounted."""
    import mfusepy  # where there is no FUSE, importing it fails

    class Served(Faulty, mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

    cached = {"attr_timeout": cache_seconds, "entry_timeout": cache_seconds, "negative_timeout": cache_seconds}
    # Without hard_remove a file that is open is put aside before it is replaced, so that for a moment there is none.
    how = {"foreground": True, "fsname": "faulty", "direct_io": cache_seconds == 0, "hard_remove": True}
    mfusepy.FUSE(Served(below, switches), mountpoint, **how, **cached)


class Through:
    """The calls of the file system: each does the same below."""

    def __init__(self, below: str) -> None:
        self._below = below

    def _real(self, path: str) -> str:
        return self._below + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        facts = os.fstat(fh) if fh else os.lstat(self._real(path))
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino")
        times = {name: getattr(facts, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
        return {name: getattr(facts, name) for name in names} | times

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._real(path))]

    def open(self, path: str, flags: int) -> int:
        return os.open(self._real(path), flags & ~os.O_NOFOLLOW)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        os.fsync(fh)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._real(path), length)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._real(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._real(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._real(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._real(old), self._real(new))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._real(path), mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._real(path), ns=times) if times else os.utime(self._real(path))
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._real(target))
        return 0

    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))

    def statfs(self, path: str) -> dict[str, int]:
        facts = os.statvfs(self._real(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_ffree", "f_files", "f_frsize", "f_namemax")
        return {name: getattr(facts, name) for name in names}


class Faulty(Through):
    """Does each call, or what the switches say instead."""

    def __init__(self, below: str, switches: str) -> None:
        super().__init__(below)
        self._switches = switches

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(_called, name, found, self._switches) if name in CALLS else found


_lock = threading.Lock()
_asked: Counter[tuple[str, str, str]] = Counter()
"""How often a kind of error could have struck a call on a path."""


def _called(call: str, act: Callable[..., Any], switches: str, *words: Any) -> Any:
    """Do what was asked, or what the switches say instead."""
    now, path = _read(switches), str(words[0])
    if delay := now.get("delay"):
        time.sleep(delay)
    _fail(now, "errors", call, path)
    answer = act(*words)
    _fail(now, "doubts", call, path)
    return _aged(answer, now) if call == "getattr" else answer


def _read(switches: str) -> dict[str, Any]:
    with open(switches, encoding="utf-8") as file:
        read: dict[str, Any] = json.load(file)
    return read


def _fail(now: dict[str, Any], kind: str, call: str, path: str) -> None:
    for one in now.get(kind, ()):
        struck = re.search(one.get("path", ""), path) and call in one["call"]
        if struck and _by_lot(now.get("seed"), kind, call, path) < one.get("odds", 1):
            raise OSError(getattr(errno, one["errno"]), os.strerror(getattr(errno, one["errno"])))


def _by_lot(seed: int | None, kind: str, call: str, path: str) -> float:
    """Return a number from 0 to 1 that hangs on the seed, and on which of the calls of this kind it is."""
    which = (kind, call, RANDOM_PART.sub("*", path))
    with _lock:
        _asked[which] += 1
        turn = _asked[which]
    return random.Random(repr((seed, which, turn))).random()


def _aged(facts: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    grain = int(now.get("granularity", 0) * 1e9) or 1
    for name in ("st_atime", "st_mtime", "st_ctime"):
        facts[name] = (facts[name] + int(now.get("skew", 0) * 1e9)) // grain * grain
    return facts


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
