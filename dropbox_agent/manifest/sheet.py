"""The cells of one sheet as text, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from openpyxl.utils import get_column_letter

from dropbox_agent.model import Level


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a cell."""

    message: str
    level: Level = Level.ERROR
    upstream: str | None = None
    """What upstream does with it, where that is to be done instead of refusing."""
    text: str | None = None
    """What the cell shows, where that is read instead of what is stored."""


@dataclass(frozen=True)
class Sheet:
    """The cells of one sheet as text: row number -> cells from column A on."""

    name: str | None
    lines: Mapping[int, Sequence[str]]
    troubles: Mapping[tuple[int, int], Trouble] = field(default_factory=dict)
    """(row, column) counted from 1 -> what is wrong with that cell, seen while reading it."""
    of_names: Mapping[tuple[int, int], Trouble] = field(default_factory=dict)
    """The same, where it is wrong or odd only in a column of names: days, truths, numbers in a form of their own."""
    of_days: Mapping[tuple[int, int], Trouble] = field(default_factory=dict)
    """The same, where it is wrong only in the column of days."""
    hidden: frozenset[int] = frozenset()
    """Rows that are hidden, by a filter or by hand."""
    hidden_columns: frozenset[int] = frozenset()
    merged: Sequence[tuple[int, int, int, int]] = ()
    """Ranges of merged cells: first row, first column, last row, last column."""
    is_hidden: bool = False
    unreadable: str | None = None
    """Why its cells could not be read; that matters when it is the one to be read."""


def address(row: int | None, index: int) -> str:
    """Return a cell's name as Excel writes it."""
    return f"{get_column_letter(index)}{row}"
