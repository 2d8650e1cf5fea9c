"""Find the row that names the columns, and read what each column means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
from openpyxl.utils import get_column_letter

from dropbox_agent.manifest.columns import REQUIRED, Meaning, meaning, normal, suggestion
from dropbox_agent.manifest.problems import did_you_mean, error
from dropbox_agent.manifest.sheet import Sheet, address
from dropbox_agent.model import Place, Problem
from dropbox_agent.wording import printable

HEADER_WITHIN = 20
"""The header is looked for in this many rows that are not blank."""
TURNED = 3
"""So many names of columns below each other are no accident."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    index: int
    """Counted from 1."""
    header: str
    meaning: Meaning | None
    problem: Problem | None = None
    """What is wrong with its header; a row with data under it is refused."""

    @cached_property
    def name(self) -> str:
        """The header in lower case with underscores."""
        return normal(self.header)

    @cached_property
    def letter(self) -> str:
        """What Excel calls the column."""
        return get_column_letter(self.index)


def shaped(lines: Mapping[int, Sequence[str]]) -> pd.DataFrame:
    """Return the cells as a table of text, by row number and column, without blank rows and columns."""
    width = max(map(len, lines.values()), default=0)
    padded = {number: [*cells, *[""] * (width - len(cells))] for number, cells in lines.items()}
    frame = pd.DataFrame.from_dict(padded, orient="index", columns=list(range(1, width + 1)), dtype=str)
    filled = frame != ""
    return frame.loc[filled.any(axis=1), filled.any(axis=0)]


def find_header(table: pd.DataFrame) -> int | None:
    """Return the number of the row that names columns: the first with two known names, else the first with one."""
    known = table.head(HEADER_WITHIN).map(lambda text: meaning(text) is not None).sum(axis=1)
    for least in (2, 1):
        rows = known.index[known >= least]
        if len(rows):
            return int(rows[0])
    return None


def read_header(cells: Sequence[str], at: Place, upstream: bool = False) -> tuple[Column, ...]:
    """Return the columns a header row names, each with what is wrong with it. Of two alike upstream reads the last."""
    columns = [Column(index, header, meaning(header) if header else None) for index, header in enumerate(cells, 1)]
    kept: dict[object, Column] = {}
    for column in reversed(columns) if upstream else columns:
        kept.setdefault(_identity(column), column)
    return tuple(replace(column, problem=_wrong_header(column, kept[_identity(column)], at)) for column in columns)


def is_header_again(cells: Sequence[str], columns: Sequence[Column]) -> bool:
    """Return whether a row is the header again, as it is where two files were put together."""
    return len(cells) == len(columns) and all(
        normal(text) == column.name for text, column in zip(cells, columns, strict=True)
    )


def tie(column: Column) -> str:
    """Return the path under which a row keeps the place of a wrong header it has data below.

    Whoever judges the row finds the header's problem among the row's own lines.
    """
    return f"?{column.index}"


def no_header(sheet: Sheet, file: str, table: pd.DataFrame) -> Problem:
    """Return what is told of a sheet in which no row names the columns: what it looks like instead."""
    if table.empty:
        message = "There is nothing in it. The first row names the columns; each row below is one session."
        return error(Place(file, sheet.name), message)
    row = int(table.index[0])
    first = next(text for text in sheet.lines[row] if text)
    if is_turned(table):
        message = "The names stand below each other. Put them into one row, the first, and each session into a row."
        message = f"{message} In Excel: copy, Paste Special, Transpose."
    elif any(meaning(name) is not None for name in re.split("[,;\t]", first)):
        message = "The whole row is one cell, so its commas separate nothing. Save it as csv again, from the program"
        message = f"{message} it comes from, or take out the quotation marks around each line."
    else:
        message = f"No row names the columns. The first row must hold headers such as {', '.join(REQUIRED)}."
    return error(Place(file, sheet.name, row), message, found=first)


def is_turned(table: pd.DataFrame, header_row: int | None = None) -> bool:
    """Return whether the names of columns stand in a column, and at most one of them in the row of the header."""
    known = table.head(HEADER_WITHIN).map(lambda text: meaning(text) is not None)
    if header_row is not None and known.loc[header_row].sum() > 1:
        return False
    return bool((known.sum(axis=0) >= TURNED).any())


def _identity(column: Column) -> object:
    """Two headers are one when they differ only in case, dashes and spaces; keys inside settings keep their case."""
    return (column.name, column.meaning)


def _wrong_header(column: Column, twin: Column, at: Place) -> Problem | None:
    if not column.header:
        return None
    place = replace(at, column=column.name, cell=address(at.row, column.index))
    header = printable(column.header, 100)
    if twin.index != column.index:
        message = f'Column "{header}" is there twice, also in {address(at.row, twin.index)}. Keep one.'
        return error(place, message, found=column.header)
    if column.meaning is not None:
        return None
    near = suggestion(column.header)
    message = f'Column "{header}" is not known, so what stands in it would be lost.{did_you_mean(near)}'
    return error(place, message, found=column.header, suggestion=near)
