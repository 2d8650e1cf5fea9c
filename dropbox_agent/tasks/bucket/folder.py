"""A bucket in a folder. No link in it is followed, so that nobody can lead a write or a read elsewhere."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.away import is_away
from dropbox_agent.tasks.bucket.place import NO_OBJECT, RECORDS, Receipt, Stored
from dropbox_agent.tasks.checksum import Checksum
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.staging import full_or_unwritable
from dropbox_agent.tasks.tree import CHUNK_BYTES

ARRIVING = "arriving"
"""How the name of a file begins until it is whole. Only one upload of an asset runs at a time."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderBucket:
    """Files below one folder; each is on the disk when it gets its name."""

    # Each file waits for the disk; eight that wait together take a sixth of the time (docs/uploads.md).
    hands = 8
    compared = "each was read back and compared"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written_in: set[str] = set()
        try:
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TaskFailed(
                f"The bucket {shown(folder)} cannot be opened ({(error.strerror or '').lower()}): is it mounted?"
                " An operator has to look at it; then the job can be retried.",
                passes=is_away(error),
            ) from error

    def close(self) -> None:
        os.close(self._root)

    def holds_anything(self, prefix: str) -> bool:
        with self._said(f"{prefix}/ could not be looked for"):
            folder = self._folder(prefix)
            if folder is None:
                return False
            try:
                return bool(os.listdir(folder))
            finally:
                os.close(folder)

    def put(self, key: str, chunks: Iterable[bytes], size: int) -> Receipt:
        path, _, name = key.rpartition("/")
        checksum = Checksum()
        with self._written(key), ExitStack() as stack:
            arriving = self._made(_records_of(key), stack)
            partial = f"{ARRIVING}-{threading.get_ident()}"
            _forget(partial, arriving)
            stack.callback(_forget, partial, arriving)
            _store(checksum.of(chunks), partial, arriving)
            os.rename(partial, name, src_dir_fd=arriving, dst_dir_fd=self._made(path, stack))
            self._written_in.add(path)
        return Receipt(checksum.size, checksum.text())

    def _made(self, path: str, stack: ExitStack) -> int:
        folder = self._folder(path, make=True)
        assert folder is not None
        stack.callback(os.close, folder)
        return folder

    def put_folder(self, key: str) -> None:
        with self._written(key), ExitStack() as stack:
            self._made(key, stack)

    def get(self, key: str) -> bytes | None:
        with self._said(f"{key} could not be read"):
            try:
                return b"".join(self._read(key))
            except FileNotFoundError:
                return None

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._said(f"{key} could not be read back"):
            yield from self._read(key)

    def listing(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        with self._said(f"{prefix}/ could not be listed"):
            folder = self._folder(prefix)
            if folder is not None:
                yield from _listing(folder, prefix)

    def difference(self, key: str, sent: Receipt, *, stored: Stored) -> str | None:
        """Read the whole file back."""
        checksum = Checksum()
        deque(checksum.of(self.chunks(key)), maxlen=0)
        if (checksum.size, checksum.text()) == (sent.size, sent.crc64nvme):
            return None
        return f"has CRC64NVME {checksum.text()} instead of {sent.crc64nvme}"

    def forget_cut_off(self, prefix: str) -> int:
        """Remove the files that a killed upload left without their name."""
        with self._written(prefix), ExitStack() as stack:
            arriving = self._made(_records_of(prefix), stack)
            left = [name for name in os.listdir(arriving) if name.startswith(ARRIVING)]
            for name in left:
                os.unlink(name, dir_fd=arriving)
        return len(left)

    def settle(self) -> None:
        """A file is on the disk already, its name is once its folder is."""
        with self._written(""):
            for path in sorted(self._written_in):
                with ExitStack() as stack:
                    os.fsync(self._made(path, stack))
            self._written_in.clear()

    def _read(self, key: str) -> Iterator[bytes]:
        parent, _, name = key.rpartition("/")
        folder = self._folder(parent)
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        with open(file, "rb", buffering=0) as reader:
            while chunk := reader.read(CHUNK_BYTES):
                yield chunk

    def _folder(self, path: str, make: bool = False) -> int | None:
        """Return a descriptor of a folder below the bucket, reached without following a link; None: not there."""
        current = os.dup(self._root)
        for name in filter(None, path.split("/")):
            try:
                inner = _inner(current, name, make)
            finally:
                os.close(current)
            if inner is None:
                return None
            current = inner
        return current

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TaskFailed(
                f"In the bucket {shown(self.folder)}, {shown(what)}: {_in_words(error)}."
                " An operator has to look at it; then the job can be retried.",
                passes=is_away(error),
            ) from error

    @contextmanager
    def _written(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _IN_THE_WAY:
                raise TaskFailed(
                    f"{shown(key)} could not be stored in the bucket {shown(self.folder)}: {_in_words(error)}."
                    " Nothing is deleted there by an upload; an operator has to look at it."
                ) from error
            raise full_or_unwritable(error, self.folder, shown(key)) from error


def _records_of(key: str) -> str:
    """Files arrive outside the asset, in the folder of the asset's records."""
    parts = key.split("/")
    return f"{RECORDS}/{parts[1] if parts[0] == RECORDS else parts[0]}"


def _store(chunks: Iterable[bytes], name: str, folder: int) -> None:
    with open(os.open(name, _NEW, 0o644, dir_fd=folder), "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _forget(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)


def _inner(parent: int, name: str, make: bool) -> int | None:
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            return None
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
        os.fsync(parent)
    return os.open(name, FOLDER, dir_fd=parent)


def _listing(folder: int, prefix: str) -> Iterator[tuple[str, Stored]]:
    """Yield what is below an open folder, which is closed at the end."""
    with ExitStack() as stack:
        stack.callback(os.close, folder)
        names = sorted(os.listdir(folder))
        if not names:
            yield prefix, Stored(None)
        for name in names:
            key = f"{prefix}/{name}"
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                yield from _listing(os.open(name, FOLDER, dir_fd=folder), key)
            else:
                # A link or a pipe is no object of ours; it never equals a file that was sent.
                yield key, Stored(facts.st_size if stat.S_ISREG(facts.st_mode) else NO_OBJECT)


def _in_words(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link or a file stands where a folder should be"
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return "a folder stands where the file should be"
    return (error.strerror or str(error)).lower()
