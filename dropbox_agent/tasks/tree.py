"""Walk a folder as an upload sees it: every file behind every link that may be followed, and all that is wrong.

Whoever can write into a source folder may change it while it is walked. So nothing is looked up by path twice: each
entry is pinned by an open descriptor first, judged by what the descriptor says, and read through the same descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dropbox_agent.model import TaskSettings
from dropbox_agent.tasks.away import is_away
from dropbox_agent.tasks.names import key_fault, name_fault, shown, twins

MOST_LINKED_FOLDERS = 10_000
"""Folders of links to folders of links grow without end; nobody's data has this many."""
CHUNK_BYTES = 1 << 20
PIN = os.O_PATH | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True)
class Stamp:
    """What changes when somebody changes a file."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Stamp:
        return cls(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


@dataclass(frozen=True)
class File:
    """A regular file. It can be opened while the walk stands at it."""

    name: str
    """Below the folder that is walked, with ``/`` between the parts."""
    stamp: Stamp
    pin: int = field(compare=False)

    def open(self) -> int:
        """Return a descriptor to read this very file, whatever its path has become since."""
        return os.open(_by_descriptor(self.pin), READ)

    def kept(self) -> File:
        """Return the same file for after the walk has gone on; whoever keeps it has to ``let_go`` of it."""
        return replace(self, pin=os.dup(self.pin))

    def let_go(self) -> None:
        """Give back what ``kept`` took."""
        os.close(self.pin)


@dataclass(frozen=True)
class EmptyFolder:
    """A folder that holds nothing."""

    name: str


@dataclass(frozen=True)
class Finding:
    """An entry that cannot be uploaded, and why."""

    name: str
    reason: str
    outside: bool = False
    """A link that leads where links may not lead."""
    away: bool = False
    """The share it lies on does not answer."""

    def sentence(self, folder: Path) -> str:
        """Return the whole path and what is wrong with it."""
        return f"{shown(folder / self.name if self.name else folder)}: {self.reason}"


Found = File | EmptyFolder | Finding


@dataclass(frozen=True)
class Allowed:
    """The folders, as their real paths, in which whatever a link leads to must lie."""

    roots: tuple[str, ...]
    except_for: tuple[str, ...] = ()
    """What in them is the service's own, and nobody's data."""
    also: tuple[str, ...] = ()
    """What of that this job has made itself."""

    def holds(self, real: str) -> bool:
        """Return whether a link may lead to a real path."""
        if _in_one_of(real, self.also):
            return True
        return _in_one_of(real, self.roots) and not _in_one_of(real, self.except_for)

    def and_also(self, folder: Path) -> Allowed:
        """Return the same, and a folder this job has made itself."""
        return replace(self, also=(*self.also, os.path.realpath(folder)))


def _in_one_of(real: str, folders: Iterable[str]) -> bool:
    return any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in folders)


def allowed(settings: TaskSettings) -> Allowed:
    """Return where links of this job may lead: the site's roots; where it names none, the job's own folders."""
    roots: Sequence[Path] = settings.allowed_roots or own_folders(settings)
    # The run folder stands in work_dir, beside those of other jobs.
    service = (*settings.protected, settings.run_folder.parent)
    return Allowed(tuple(map(os.path.realpath, roots)), tuple(map(os.path.realpath, service)))


def own_folders(settings: TaskSettings) -> tuple[Path, ...]:
    """Return every folder of the scientist's that this job reads."""
    others = (settings.metadata_dir, settings.derivatives_dir)
    return (*settings.sources.values(), *(folder for folder in others if folder is not None))


def walk(folder: Path, may: Allowed, key_prefix: str = "", *, deep: bool = True) -> Iterator[Found]:
    """Yield every file, every empty folder and every finding below a folder, in order of names.

    A finding without a name is about the folder itself. ``deep=False`` leaves sub-folders alone.
    """
    with ExitStack() as stack:
        try:
            pin = os.open(folder, PIN)
        except OSError as error:
            yield Finding("", _not_there(error), away=is_away(error))
            return
        stack.callback(os.close, pin)
        if not stat.S_ISDIR(os.fstat(pin).st_mode):
            yield Finding("", "this is not a folder")
        elif not may.holds(real := _real(pin)):
            yield Finding("", f"it really is {shown(real)}, outside the folders that may be uploaded", outside=True)
        else:
            yield from _Walk(may, key_prefix, deep).below(pin, stack)


class SourceTrouble(Exception):
    """A file cannot be read, or is not the same at its end as when it was seen.

    ``away``: the share it lies on does not answer.
    """

    def __init__(self, message: str, *, away: bool = False) -> None:
        self.away = away
        super().__init__(message)


@dataclass
class _Level:
    """One folder the walk stands in."""

    descriptor: int
    identity: tuple[int, int]
    prefix: str
    names: Iterator[str]


class _Walk:
    """The folders the walk stands in, one inside the other."""

    def __init__(self, may: Allowed, key_prefix: str, deep: bool) -> None:
        self._may = may
        self._key_prefix = key_prefix
        self._deep = deep
        self._levels: list[_Level] = []
        self._linked = 0

    def below(self, pin: int, stack: ExitStack) -> Iterator[Found]:
        stack.callback(self._leave_all)
        yield from self._enter(pin, "")
        while self._levels:
            level = self._levels[-1]
            name = next(level.names, None)
            if name is None:
                self._leave()
            else:
                yield from self._entry(level, name)

    def _enter(self, pin: int, name: str) -> Iterator[Found]:
        """Step into a folder; say what is to be said of the folder itself."""
        try:
            level, names = _opened(pin, f"{name}/" if name else "")
        except OSError as error:
            yield Finding(name, f"this folder cannot be read: {words(error)}", away=is_away(error))
            return
        self._levels.append(level)
        for group in twins(names):
            spelled = " and ".join(ascii(one) for one in group)
            yield Finding(level.prefix + group[0], f"{spelled} look the same; rename all but one")
        if not names:
            yield EmptyFolder(name)

    def _entry(self, level: _Level, name: str) -> Iterator[Found]:
        path = level.prefix + name
        fault = name_fault(name)
        if fault is not None:
            yield Finding(path, fault)
        too_long = key_fault(self._key_prefix + path)
        if too_long is not None:
            yield Finding(path, too_long)
            return
        pinned = _pinned(level, name)
        if isinstance(pinned, Finding):
            yield pinned
            return
        pin, linked = pinned
        try:
            yield from self._pinned_entry(path, pin, linked)
        finally:
            os.close(pin)

    def _pinned_entry(self, path: str, pin: int, linked: bool) -> Iterator[Found]:
        facts = os.fstat(pin)
        is_folder = stat.S_ISDIR(facts.st_mode)
        if is_folder and not self._deep:
            return
        finding = self._judged(path, pin, facts, linked)
        if finding is not None:
            yield finding
        elif is_folder:
            yield from self._enter(pin, path)
        else:
            yield File(path, Stamp.of(facts), pin)

    def _judged(self, path: str, pin: int, facts: os.stat_result, linked: bool) -> Finding | None:
        if linked and not self._may.holds(real := _real(pin)):
            reason = f"this link leads to {shown(real)}, outside the folders that may be uploaded"
            return Finding(path, reason, outside=True)
        if stat.S_ISREG(facts.st_mode):
            return None
        if not stat.S_ISDIR(facts.st_mode):
            return Finding(path, f"this is {_kind(facts.st_mode)}, not a file")
        if any(level.identity == _identity(facts) for level in self._levels):
            return Finding(path, "this link leads back to a folder it lies in, without end; remove it")
        if linked:
            self._linked += 1
        if self._linked > MOST_LINKED_FOLDERS:
            return Finding(path, f"more than {MOST_LINKED_FOLDERS} links to folders are followed on the way here")
        return None

    def _leave(self) -> None:
        os.close(self._levels.pop().descriptor)

    def _leave_all(self) -> None:
        while self._levels:
            self._leave()


def _opened(pin: int, prefix: str) -> tuple[_Level, list[str]]:
    descriptor = os.open(_by_descriptor(pin), READ | os.O_DIRECTORY)
    try:
        names = sorted(os.listdir(descriptor))
        return _Level(descriptor, _identity(os.fstat(descriptor)), prefix, iter(names)), names
    except OSError:
        os.close(descriptor)
        raise


def _pinned(level: _Level, name: str) -> tuple[int, bool] | Finding:
    """Return a descriptor of what a name stands for, and whether it is a link to that; or why there is none."""
    try:
        pin = os.open(name, PIN | os.O_NOFOLLOW, dir_fd=level.descriptor)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = "it was removed while its folder was read" if gone else f"this cannot be looked at: {words(error)}"
        return Finding(level.prefix + name, reason, away=is_away(error))
    if not stat.S_ISLNK(os.fstat(pin).st_mode):
        return pin, False
    os.close(pin)
    try:
        return os.open(name, PIN, dir_fd=level.descriptor), True
    except OSError as error:
        return Finding(level.prefix + name, _not_followed(error), away=is_away(error))


def content(file: File) -> Iterator[bytes]:
    """Yield what a file holds. Raises SourceTrouble before the end when it is no longer what the walk saw."""
    left = file.stamp.size
    try:
        with open(file.open(), "rb", buffering=0) as reader:
            # One byte more than expected is asked for: a file that grows without end is noticed at once.
            while left >= 0 and (chunk := reader.read(min(CHUNK_BYTES, left + 1))):
                left -= len(chunk)
                yield chunk
            after = Stamp.of(os.fstat(reader.fileno()))
    except OSError as error:
        trouble = f"{shown(file.name)} could not be read ({words(error)})"
        raise SourceTrouble(trouble, away=is_away(error)) from error
    if left or after != file.stamp:
        raise SourceTrouble(f"{shown(file.name)} changed while it was read")


def can_be_read(file: File) -> Finding | None:
    """Return why a file cannot be read, or None."""
    try:
        os.close(file.open())
    except OSError as error:
        return Finding(file.name, f"this file cannot be read: {words(error)}", away=is_away(error))
    return None


def read_whole(file: File, most: int) -> bytes | None:
    """Return the content of a small file, or None when it has more than ``most`` bytes."""
    with open(file.open(), "rb") as reader:
        content = reader.read(most + 1)
    return None if len(content) > most else content


def _by_descriptor(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _real(pin: int) -> str:
    with suppress(OSError):
        return os.readlink(_by_descriptor(pin))
    return ""


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe (FIFO)"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _not_there(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such folder; correct the path, or copy the data there"
    if isinstance(error, NotADirectoryError):
        return "there is no such folder: a part of its path is a file"
    return f"this folder cannot be opened: {words(error)}"


def _not_followed(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "this link leads nowhere; remove it, or bring back what it leads to"
    if error.errno == errno.ELOOP:
        return "this link leads to itself; remove it"
    return f"this cannot be looked at: {words(error)}"


def words(error: OSError) -> str:
    """Return what the system said, for a scientist."""
    if isinstance(error, PermissionError):
        return "the upload service may not read it; give it read permission"
    return (error.strerror or str(error)).lower()
