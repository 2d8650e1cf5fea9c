"""What a scientist wrote: the row a job came from, as it stands in the agent's own copy of the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dropbox_agent.manifest import Room
from dropbox_agent.model import DropLine, Problem, Row

KEPT_MANIFESTS = 64
"""How many manifests are remembered as they were read: a spooled file never changes."""


@dataclass(frozen=True)
class Cell:
    """One value of a row."""

    column: str
    cell: str
    value: str


@dataclass(frozen=True)
class WrittenRow:
    """A row, or why it cannot be shown."""

    cells: tuple[Cell, ...] = ()
    trouble: str = ""


class Written:
    """The agent's copies of the manifests, read in a process with limits."""

    def __init__(self, room: Room, spool: Path) -> None:
        self._room = room
        self._spool = spool
        # A spooled file never changes.
        self._rows = lru_cache(KEPT_MANIFESTS)(self._read)

    def row(self, drop: DropLine, number: int | None) -> WrittenRow:
        """Return one row of a manifest."""
        if not self.path(drop).is_file():
            return WrittenRow(trouble="The agent's copy of the manifest has been cleared away.")
        found = next((row for row in self._rows(self.path(drop), drop.name) if row.place.row == number), None)
        if found is None:
            return WrittenRow(trouble="The row cannot be read from the agent's copy of the manifest.")
        return WrittenRow(tuple(_cells(found)))

    def path(self, drop: DropLine) -> Path:
        """Return where the agent's copy lies, or lay."""
        return self._spool / drop.sha256

    def annotated(self, drop: DropLine, problems: Sequence[Problem]) -> bytes | None:
        """Return the table with its wrong cells coloured; None when it is no table, or its copy is gone."""
        if not self.path(drop).is_file():
            return None
        return self._room.annotated(self.path(drop), drop.name, problems)

    def close(self) -> None:
        """End the process that reads."""
        self._room.close()

    def _read(self, path: Path, name: str) -> Sequence[Row]:
        return self._room.read(path, name)[0]


def _cells(row: Row) -> list[Cell]:
    found = []
    for path, value in _leaves(row.entry):
        place = row.place_of(*path)
        column = place.column if place is not row.place and place.column else ".".join(path)
        found.append(Cell(column, place.cell or "", _text(value)))
    return sorted(found, key=_position)


def _position(cell: Cell) -> tuple[int, str]:
    """Return where a cell stands in its row; what is no cell of a table keeps its order."""
    letters = cell.cell.rstrip("0123456789")
    return len(letters), letters


def _leaves(entry: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in entry.items():
        here = (*above, str(name))
        found += _leaves(value, here) if isinstance(value, Mapping) and value else [(here, value)]
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(part)}" for name, part in value.items())
    return "" if value is None else str(value)
