"""What a disk holds after a power failure, by the calls that came before it: of what was not synced, a choice by lot.

``strict``
    What POSIX promises, and no more. A name that was made, replaced or removed is sure once its folder was synced (of
    what was moved, its new folder); until then each may be kept or lost, but a rename is done or not done. Content is
    sure once its file was synced; until then each sector may be kept or lost, whatever becomes of the name.
``ordered``
    ext4 as it is mounted by default. Names change in the order of the calls, and what syncs a file or folder makes the
    last change of its names and size sure, and all before it. What a file has grown by is kept as far as it came; what
    was overwritten, by sectors. A file that replaced another has the content it had then.

Modes, and times that were set, are not lost here.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Model = Literal["strict", "ordered"]
SECTOR, PAGE = 512, 4096
"""What a disk writes as a whole; what a file grows by."""
NOTHING, NAMES, CONTENT = range(3)
"""The first seeds: of what may be lost, so much is kept. Later ones choose a share, and then by lot."""
CORNERS = {NOTHING: (0.0, 0.0), NAMES: (1.0, 0.0), CONTENT: (0.0, 1.0)}
"""Seed -> the share of the names and of the content that is kept."""
SHARES = (0.2, 0.5, 0.8, 1.0)


@dataclass(eq=False)
class Node:
    """A file, a folder or a link, whatever its names are."""

    is_folder: bool
    mode: int
    kept: bool
    """Whether it lies on a server that goes on."""
    sure: bytes = b""
    """The content that cannot be lost any more."""
    loose: list[tuple[int, bytes | None]] = field(default_factory=list)
    """What was written since: (where, what); (length, None) where it was cut or made longer."""
    times: tuple[int, int] | None = None
    changed: int = 0
    """How many changes of names there were when its size or one of its names changed last."""
    leads_to: str | None = None
    """Where a link leads."""

    def content(self, loose: int) -> bytearray:
        """Return what it held after so many of its loose changes."""
        content = bytearray(self.sure)
        for where, what in self.loose[:loose]:
            write(content, where, what)
        return content

    def sync(self) -> None:
        self.sure, self.loose = bytes(self.content(len(self.loose))), []


Slot = tuple[Node, str]
"""A name in a folder."""


@dataclass(eq=False)
class Change:
    """Names that one call gave or took away."""

    slots: dict[Slot, Node | None]
    folder: Node
    """Where the new name is."""
    sure: bool
    flushed: tuple[Node, int] | None = None
    """The file that replaced another, with how many loose changes it had then."""


class Disk:
    """What a disk held, and what has happened since."""

    def __init__(self, before: Path, keeps: Sequence[str]) -> None:
        self._keeps = [f"/{name}" for name in keeps]
        self._root = Node(True, 0o755, kept=False)
        self._before: dict[Slot, Node] = {}
        self._read(before, self._root, "")
        self._names = dict(self._before)
        self._handles: dict[int, Node] = {}
        self._changes: list[Change] = []
        self._committed = 0
        """How many changes of names are sure when they are made in their order."""

    def _read(self, folder: Path, node: Node, at: str) -> None:
        for path in sorted(folder.iterdir()):
            facts, inside = path.lstat(), f"{at}/{path.name}"
            found = Node(stat.S_ISDIR(facts.st_mode), facts.st_mode & 0o7777, node.kept or inside in self._keeps)
            found.times = facts.st_atime_ns, facts.st_mtime_ns
            self._before[node, path.name] = found
            if found.is_folder:
                self._read(path, found, inside)
            elif path.is_symlink():
                found.leads_to = str(path.readlink())
            else:
                found.sure = path.read_bytes()

    # --- what happens ------------------------------------------------------------------------------------------------

    def happen(self, call: str, *words: object) -> None:
        getattr(self, f"_{call}")(*words)

    def _open(self, path: str, handle: int) -> None:
        self._handles[handle] = self._at(path)

    def _create(self, path: str, handle: int, mode: int) -> None:
        self._handles[handle] = self._made(path, is_folder=False, mode=mode)

    def _mkdir(self, path: str, mode: int) -> None:
        self._made(path, is_folder=True, mode=mode)

    def _symlink(self, path: str, leads_to: str) -> None:
        self._made(path, is_folder=False, mode=0o777).leads_to = leads_to

    def _made(self, path: str, is_folder: bool, mode: int) -> Node:
        slot = self._slot(path)
        node = Node(is_folder, mode, kept=slot[0].kept)
        self._change({slot: node}, slot[0])
        return node

    def _remove(self, path: str) -> None:
        slot = self._slot(path)
        self._change({slot: None}, slot[0])

    def _rename(self, old: str, new: str) -> None:
        gone, slot, node = self._slot(old), self._slot(new), self._at(old)
        replaces = slot in self._names and not node.is_folder
        self._change({gone: None, slot: node}, slot[0], (node, len(node.loose)) if replaces else None)

    def _link(self, old: str, new: str) -> None:
        slot = self._slot(new)
        self._change({slot: self._at(old)}, slot[0])

    def _write(self, handle: int, where: int, what: bytes) -> None:
        self._written(self._handles[handle], where, what)

    def _truncate(self, path: str, handle: int | None, length: int) -> None:
        self._written(self._handles[handle] if handle else self._at(path), length, None)

    def _written(self, node: Node, where: int, what: bytes | None) -> None:
        if what is None or where + len(what) > len(node.content(len(node.loose))):
            node.changed = len(self._changes)
        node.loose.append((where, what))
        if node.kept:
            node.sync()

    def _fsync(self, handle: int) -> None:
        node = self._handles[handle]
        self._forget_flushed(node)
        node.sync()
        self._committed = max(self._committed, node.changed)

    def _fsyncdir(self, path: str) -> None:
        folder = self._at(path)
        self._committed = max(self._committed, folder.changed)
        for change in self._changes:
            if change.folder is folder:
                self._make_sure(change)

    def _chmod(self, path: str, mode: int) -> None:
        self._at(path).mode = mode

    def _utimens(self, path: str, *times: int) -> None:
        self._at(path).times = times[0], times[1]

    def _slot(self, path: str) -> Slot:
        folder, _, name = path.rpartition("/")
        return self._at(folder), name

    def _at(self, path: str) -> Node:
        node = self._root
        for name in filter(None, path.split("/")):
            node = self._names[node, name]
        return node

    def _change(self, slots: dict[Slot, Node | None], folder: Node, flushed: tuple[Node, int] | None = None) -> None:
        self._changes.append(Change(slots, folder, folder.kept, flushed))
        for slot, node in slots.items():
            for touched in (slot[0], node, self._names.get(slot)):
                if touched is not None:
                    touched.changed = len(self._changes)
            if node is None:
                self._names.pop(slot, None)
            else:
                self._names[slot] = node

    def _make_sure(self, change: Change) -> None:
        """With a change, those that it came after: no name is taken away that was never given."""
        if change.sure:
            return
        change.sure = True
        for earlier in self._changes[: self._changes.index(change)]:
            if earlier.slots.keys() & change.slots.keys():
                self._make_sure(earlier)

    def _forget_flushed(self, node: Node) -> None:
        for change in self._changes:
            if change.flushed is not None and change.flushed[0] is node:
                change.flushed = None

    # --- what is left ------------------------------------------------------------------------------------------------

    def leave(self, target: Path, model: Model, seed: int) -> str:
        """Write what may be left into a new folder; return a hash of it."""
        lot = random.Random(repr((seed, model, len(self._changes))))
        of_names, of_content = CORNERS[seed] if seed in CORNERS else (lot.choice(SHARES), lot.choice(SHARES))
        kept = list(self._strictly(lot, of_names) if model == "strict" else self._in_order(lot, of_names))
        names = dict(self._before)
        for change in kept:
            for slot, node in change.slots.items():
                names.pop(slot, None)
                if node is not None:
                    names[slot] = node
        flushed = {} if model == "strict" else dict(change.flushed for change in kept if change.flushed is not None)
        digest, written = hashlib.sha256(), dict[Node, Path]()
        for path, node in _walk(names, self._root, target):
            digest.update(repr((str(path.relative_to(target)), node.leads_to)).encode())
            if node in written:
                os.link(written[node], path)
            elif node.leads_to is not None:
                path.symlink_to(node.leads_to)
            elif node.is_folder:
                path.mkdir(mode=node.mode)
            else:
                rule = _by_sectors if model == "strict" else _as_far_as_it_came
                content = rule(node, lot, of_content, flushed.get(node, 0))
                digest.update(repr(content).encode())
                written[node] = path
                path.write_bytes(content)
                path.chmod(node.mode)
                if node.times is not None:
                    os.utime(path, ns=node.times)
        return digest.hexdigest()

    def _strictly(self, lot: random.Random, share: float) -> Iterator[Change]:
        lost: set[Slot] = set()
        for change in self._changes:
            if change.sure or (not lost & change.slots.keys() and lot.random() < share):
                yield change
            else:
                lost |= change.slots.keys()

    def _in_order(self, lot: random.Random, share: float) -> Iterator[Change]:
        come = self._committed
        while come < len(self._changes) and lot.random() < share:
            come += 1
        yield from (change for number, change in enumerate(self._changes) if number < come or change.folder.kept)


def _walk(names: dict[Slot, Node], node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    yield path, node
    inside = sorted((name, child) for (folder, name), child in names.items() if folder is node)
    for name, child in inside:
        yield from _walk(names, child, path / name)


def write(content: bytearray, where: int, what: bytes | None) -> None:
    """Write something into a file's content, or give it a length."""
    if what is None:
        del content[where:]
        what = b""
    content.extend(bytes(max(0, where - len(content))))
    content[where : where + len(what)] = what


def _pieces(where: int, what: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Cut what was written at the borders of sectors or pages."""
    begin = 0
    while begin < len(what):
        end = min(len(what), begin + size - (where + begin) % size)
        yield where + begin, what[begin:end]
        begin = end


def _by_sectors(node: Node, lot: random.Random, share: float, flushed: int) -> bytes:
    content = node.content(flushed)
    for where, what in node.loose[flushed:]:
        for at, piece in [(where, None)] if what is None else _pieces(where, what, SECTOR):
            if lot.random() < share:
                write(content, at, piece)
    return bytes(content)


def _as_far_as_it_came(node: Node, lot: random.Random, share: float, flushed: int) -> bytes:
    content, grows = node.content(flushed), True
    for where, what in node.loose[flushed:]:
        if what is None:
            if lot.random() >= share:
                break  # What was written after it went to other places.
            write(content, where, None)
            continue
        within = max(0, len(content) - where)
        for at, piece in _pieces(where, what[:within], SECTOR):
            if lot.random() < share:
                write(content, at, piece)
        for at, piece in _pieces(where + within, what[within:], PAGE):
            grows = grows and lot.random() < share
            if grows:
                write(content, at, piece)
    return bytes(content)
