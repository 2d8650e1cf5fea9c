"""Where assets are stored. Keys are paths with ``/`` between the parts, as in S3."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.staging import full_or_unwritable
from dropbox_agent.tasks.tree import CHUNK_BYTES

RECORDS = ".dropbox-agent"
"""What the service itself writes in a bucket: ``.dropbox-agent/<asset>/job.json`` and ``inventory.json``."""
NO_OBJECT = -1
"""The size of what stands in a bucket's folder and is no file."""
ARRIVING = "arriving"
"""What a file is called until it is whole. Only one upload of an asset runs at a time."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Bucket(Protocol):
    """A place that holds assets. Every failure is a TaskFailed that says what could not be done, and where."""

    def holds_anything(self, prefix: str) -> bool:
        """Return whether there is any object, or an empty folder, below a prefix."""

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        """Store an object; it appears whole or not at all, and stays when the power goes."""

    def put_folder(self, key: str) -> None:
        """Store an empty folder."""

    def get(self, key: str) -> bytes | None:
        """Return a small object, or None when there is none."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object that is there."""

    def listing(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield each key below a prefix with its size; None for an empty folder, NO_OBJECT for a pipe or a link."""

    def settle(self) -> None:
        """Return once all that was stored would survive a power cut."""

    def close(self) -> None:
        """Give back what is open."""


def open_bucket(address: str) -> Bucket:
    """Return the bucket at an address. Raises TaskFailed: a wrong address never counts as an empty bucket."""
    folder = folder_of(address)
    if folder is None:
        if urlsplit(address).scheme == "s3":
            raise TaskFailed(
                f"The bucket {shown(address)} is in S3, which is not in this version: it uploads to file:// buckets."
                " An operator has to name one under buckets in agent.yaml."
            )
        raise TaskFailed(
            f"The bucket's address {shown(address)} is not understood; file:///an/absolute/folder would be right."
            " An operator has to correct buckets in agent.yaml."
        )
    return FolderBucket(folder)


def folder_of(address: str) -> Path | None:
    """Return the folder of a ``file://`` address, else None."""
    parts = urlsplit(address)
    folder = Path(url2pathname(parts.path))
    return folder if parts.scheme == "file" and not parts.netloc and folder.is_absolute() else None


class FolderBucket:
    """A bucket in a folder. No link in it is followed, so that nobody can lead a write or a read elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parent: tuple[str, int] | None = None
        try:
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TaskFailed(
                f"The bucket {shown(folder)} cannot be opened ({(error.strerror or '').lower()}): is it mounted?"
                " An operator has to look at it; then the job can be retried."
            ) from error

    def close(self) -> None:
        parent, self._parent = self._parent, None
        if parent is not None:
            os.close(parent[1])
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

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        with self._written(key):
            parent, name = self._parent_of(key)
            arriving = self._folder(_records_of(key), make=True)
            assert arriving is not None
            try:
                _store(chunks, arriving)
                os.rename(ARRIVING, name, src_dir_fd=arriving, dst_dir_fd=parent)
            finally:
                _forget(ARRIVING, arriving)
                os.close(arriving)

    def put_folder(self, key: str) -> None:
        with self._written(key):
            folder = self._folder(key, make=True)
            assert folder is not None
            os.close(folder)

    def get(self, key: str) -> bytes | None:
        with self._said(f"{key} could not be read"):
            try:
                return b"".join(self._read(key))
            except FileNotFoundError:
                return None

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._said(f"{key} could not be read back"):
            yield from self._read(key)

    def listing(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        with self._said(f"{prefix}/ could not be listed"):
            folder = self._folder(prefix)
            if folder is not None:
                yield from _listing(folder, prefix)

    def settle(self) -> None:
        with self._written(""):
            self._forget_parent()

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

    def _parent_of(self, key: str) -> tuple[int, str]:
        """Files come folder by folder, so the last folder is kept open."""
        path, _, name = key.rpartition("/")
        if self._parent is None or self._parent[0] != path:
            self._forget_parent()
            descriptor = self._folder(path, make=True)
            assert descriptor is not None
            self._parent = (path, descriptor)
        return self._parent[1], name

    def _forget_parent(self) -> None:
        if self._parent is None:
            return
        _, descriptor = self._parent
        self._parent = None
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TaskFailed(
                f"In the bucket {shown(self.folder)}, {shown(what)}: {_in_words(error)}."
                " An operator has to look at it; then the job can be retried."
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


def _store(chunks: Iterable[bytes], folder: int) -> None:
    _forget(ARRIVING, folder)
    with open(os.open(ARRIVING, _NEW, 0o644, dir_fd=folder), "wb") as file:
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


def _listing(folder: int, prefix: str) -> Iterator[tuple[str, int | None]]:
    """Yield what is below an open folder, which is closed at the end."""
    with ExitStack() as stack:
        stack.callback(os.close, folder)
        names = sorted(os.listdir(folder))
        if not names:
            yield prefix, None
        for name in names:
            key = f"{prefix}/{name}"
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                yield from _listing(os.open(name, FOLDER, dir_fd=folder), key)
            else:
                # A link or a pipe is no object of ours; it never equals a file that was sent.
                yield key, facts.st_size if stat.S_ISREG(facts.st_mode) else NO_OBJECT


def _in_words(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link or a file stands where a folder should be"
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return "a folder stands where the file should be"
    return (error.strerror or str(error)).lower()
