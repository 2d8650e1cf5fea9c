"""What this job has stored so far: one line a file, so that an interrupted upload goes on where it stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any

from dropbox_agent.tasks.bucket import Receipt
from dropbox_agent.tasks.staging import full_or_unwritable
from dropbox_agent.tasks.tree import Stamp


@dataclass(frozen=True)
class Entry:
    """A file as it was when it was stored."""

    stamp: Stamp
    receipt: Receipt


class Journal:
    """Only ever appended to; a line that was cut off by a crash is passed over, and its file is sent again."""

    def __init__(self, path: Path) -> None:
        self.entries: dict[str, Entry] = {}
        self._path = path
        self._file: TextIOWrapper | None = None
        self._one_writes = threading.Lock()

    def __enter__(self) -> Journal:
        self.entries = dict(_read(self._path))
        self._file = self._path.open("a", encoding="utf-8")
        self._file.write("\n")  # ends a line that was cut off
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._one_writes:
            file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                # What could not be written is sent again; the failure that is under way says more.
                if kind is None:
                    raise

    def add(self, name: str, stamp: Stamp, receipt: Receipt) -> None:
        """Note that a file is stored. Several threads may do so."""
        self._write({"name": name, "stamp": asdict(stamp), "receipt": asdict(receipt)})
        self.entries[name] = Entry(stamp, receipt)

    def forget(self, name: str) -> None:
        """Note that a file has to be sent again."""
        self.entries.pop(name, None)
        self._write({"name": name})

    def _write(self, line: dict[str, Any]) -> None:
        with self._one_writes:
            if self._file is None:
                return  # The upload was given up; what this thread had stored meanwhile is sent again.
            try:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            except OSError as error:
                raise full_or_unwritable(error, self._path.parent, "The upload's journal") from error


def _read(path: Path) -> Iterator[tuple[str, Entry]]:
    found: dict[str, Entry] = {}
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        try:
            value = json.loads(line)
            name, stamp = value["name"], value.get("stamp")
            found.pop(name, None)
            if stamp is not None:
                found[name] = Entry(Stamp(**stamp), Receipt(**value["receipt"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    yield from found.items()
