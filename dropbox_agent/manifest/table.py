"""A sheet of cells becomes rows: find the header, read what each column means, and lose nothing silently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from openpyxl.utils import get_column_letter

from dropbox_agent.manifest.columns import (
    ABBREVIATION,
    MODALITIES,
    REQUIRED,
    SHORTCUTS,
    Meaning,
    Path,
    meaning,
    normal,
    suggestion,
)
from dropbox_agent.manifest.problems import did_you_mean, error, forbidden
from dropbox_agent.model import Level, Place, Problem, Row
from dropbox_agent.wording import printable, shown

HEADER_WITHIN = 20
"""The header is looked for in this many rows that are not blank."""
NOTHING = frozenset({"none", "nan", "na", "n/a", "#n/a", "null", "nil", "<na>", "nat"})
"""What programs write for an empty cell; never a value."""
YES, NO = frozenset({"true", "t"}), frozenset({"false", "f"})


@dataclass(frozen=True)
class Sheet:
    """The cells of one sheet as text: row number -> cells from column A on."""

    name: str | None
    lines: Mapping[int, Sequence[str]]
    troubles: Mapping[tuple[int, int], tuple[Level, str]] = field(default_factory=dict)
    """(row, column) counted from 1 -> what is wrong with that cell, seen while reading it."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    index: int
    """Counted from 1."""
    header: str
    meaning: Meaning | None
    problem: Problem | None = None
    """What is wrong with its header; a row with data under it is refused."""

    @property
    def name(self) -> str:
        """The header in lower case with underscores."""
        return normal(self.header)


@dataclass(frozen=True)
class Cell:
    """One cell of a row, with the column it stands under and its place."""

    column: Column
    text: str
    place: Place


@dataclass
class _Draft:
    """A row in the making."""

    place: Place
    entry: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: bool = False

    def tell(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.refused |= problem.level is Level.ERROR

    def finished(self) -> Row:
        return Row(self.place, self.entry, self.places, self.refused)


def to_rows(sheet: Sheet, file: str) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of ``sheet``, and every problem found in its cells."""
    table = shaped(sheet.lines)
    header_row = find_header(table)
    if header_row is None:
        return (), (_no_header(sheet, file, table),)
    at = Place(file, sheet.name, header_row)
    columns = read_header(sheet.lines[header_row], at)
    drafts = [_draft(sheet, row, columns, at) for row in table.index[table.index > header_row]]
    problems = [*_of_header(columns, drafts), *(problem for draft in drafts for problem in draft.problems)]
    if not drafts:
        problems.append(error(at, "There is a header, but no row below it. Fill in one row per session."))
    return tuple(draft.finished() for draft in drafts), tuple(problems)


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


def address(row: int | None, index: int) -> str:
    """Return a cell's name as Excel writes it."""
    return f"{get_column_letter(index)}{row}"


def _no_header(sheet: Sheet, file: str, table: pd.DataFrame) -> Problem:
    if table.empty:
        message = "There is nothing in it. The first row names the columns; each row below is one session."
        return error(Place(file, sheet.name), message)
    row = int(table.index[0])
    first = next(text for text in sheet.lines[row] if text)
    message = f"No row names the columns. The first row must hold headers such as {', '.join(REQUIRED)}."
    return error(Place(file, sheet.name, row), message, found=first)


# --- the header ------------------------------------------------------------------------------------------------------


def read_header(cells: Sequence[str], at: Place) -> tuple[Column, ...]:
    """Return the columns a header row names, each with what is wrong with it."""
    columns = [Column(index, header, meaning(header) if header else None) for index, header in enumerate(cells, 1)]
    first: dict[object, Column] = {}
    for column in columns:
        first.setdefault(_identity(column), column)
    return tuple(replace(column, problem=_wrong_header(column, first[_identity(column)], at)) for column in columns)


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


def _of_header(columns: Sequence[Column], drafts: Sequence[_Draft]) -> Iterator[Problem]:
    """Yield the wrong headers: errors where a row has data below them; where none has, nothing is lost."""
    used = {path for draft in drafts for path in draft.places}
    for column in columns:
        if column.problem is not None:
            level = Level.ERROR if _tie(column) in used else Level.WARNING
            yield replace(column.problem, level=level)


def _tie(column: Column) -> str:
    """Return the path under which a row keeps the place of a wrong header it has data below.

    Whoever judges the row finds the header's problem among the row's own lines.
    """
    return f"?{column.index}"


# --- the rows --------------------------------------------------------------------------------------------------------


def _draft(sheet: Sheet, row: int, columns: Sequence[Column], at: Place) -> _Draft:
    draft = _Draft(replace(at, row=int(row)))
    cells = [_cell(text, index, columns, draft.place) for index, text in enumerate(sheet.lines[row], 1)]
    _tell_missing_cells(draft, cells, columns)
    good = [cell for cell in cells if cell.text and _is_good(draft, cell, sheet.troubles, at)]
    _keep_places(draft, cells)
    abbreviations = _modalities(draft, good)
    for cell in good:
        _put(draft, cell, abbreviations)
    return draft


def _cell(text: str, index: int, columns: Sequence[Column], row: Place) -> Cell:
    column = columns[index - 1] if index <= len(columns) else Column(index, "", None)
    return Cell(column, text, replace(row, column=column.name or None, cell=address(row.row, index)))


def _tell_missing_cells(draft: _Draft, cells: Sequence[Cell], columns: Sequence[Column]) -> None:
    """A line that ends early may have lost a cell anywhere: what stands where is a guess."""
    missing = [column for column in columns[len(cells) :] if column.header]
    if not missing:
        return
    place = replace(draft.place, column=missing[0].name, cell=address(draft.place.row, missing[0].index))
    message = (
        f"The row ends after {len(cells)} of {len(columns)} cells. Write the empty cells too, so that none shifts."
    )
    draft.tell(error(place, message))


def _is_good(draft: _Draft, cell: Cell, troubles: Mapping[tuple[int, int], tuple[Level, str]], at: Place) -> bool:
    """Return whether the cell's text can be used; tell what is wrong with it."""
    if cell.column.problem is not None:
        draft.places[_tie(cell.column)] = replace(at, column=cell.column.name)
        draft.refused = True
        return False
    level, message = troubles.get((cell.place.row or 0, cell.column.index)) or _trouble(cell)
    if message:
        draft.tell(Problem(level, cell.place, message, found=shown(cell.text)))
    return not message or level is Level.WARNING


def _trouble(cell: Cell) -> tuple[Level, str]:
    if not cell.column.header:
        return Level.ERROR, "Something stands here, but its column has no header. Name the column, or clear the cell."
    if wrong := forbidden(cell.text):
        return Level.ERROR, f"{cell.column.name} {wrong}"
    if cell.text.casefold() in NOTHING:
        return (
            Level.ERROR,
            f'"{cell.text}" is what programs write for an empty cell. Leave the cell empty, or fill it in.',
        )
    return Level.WARNING, ""


def _keep_places(draft: _Draft, cells: Sequence[Cell]) -> None:
    """An empty cell has a place too: that is where a missing value belongs."""
    for cell in cells:
        if cell.column.meaning and cell.column.meaning.path == MODALITIES and not cell.column.problem:
            draft.places.setdefault("modalities", cell.place)
        elif cell.column.meaning and cell.column.meaning.modality is None and not cell.column.problem:
            draft.places.setdefault(".".join(cell.column.meaning.path), cell.place)
    draft.places.setdefault("modalities", replace(draft.place, column="modality0"))


def _modalities(draft: _Draft, cells: Sequence[Cell]) -> dict[int, str]:
    """Write the row's modalities into the draft; return number -> abbreviation, of repeated ones the first only."""
    named = {
        cell.column.meaning.modality: cell
        for cell in cells
        if cell.column.meaning and cell.column.meaning.path == MODALITIES and cell.column.meaning.modality is not None
    }
    in_order = [named[number] for number in sorted(named)]
    if in_order:
        draft.entry["modalities"] = [cell.text for cell in in_order]
    draft.places |= {f"modalities.{index}": cell.place for index, cell in enumerate(in_order)}
    return {number: named[number].text for number in sorted(named)}


def _put(draft: _Draft, cell: Cell, abbreviations: Mapping[int, str]) -> None:
    """Write one cell into the draft at the path its column means."""
    means = cell.column.meaning
    if means is None or means.path == MODALITIES:
        return
    path = means.path
    if means.modality is not None:
        if means.modality not in abbreviations:
            draft.tell(_without_modality(cell, means.modality))
            return
        if _is_repeated(means.modality, abbreviations):
            return
        path = tuple(abbreviations[means.modality] if part == ABBREVIATION else part for part in path)
    value: Any = cell.text
    if means.path == SHORTCUTS["force_cloud_sync"] and cell.column.name == "force_cloud_sync":
        value = _yes(draft, cell)
        if value is None:
            return
    if other := _insert(draft.entry, path, value):
        where = draft.places.get(".".join(other))
        also = f"{where.cell} ({where.column})" if where and where.cell else "another column"
        draft.tell(error(cell.place, f"This cell and {also} set the same thing. Keep one of them.", found=cell.text))
        return
    draft.places[".".join(path)] = cell.place


def _is_repeated(number: int, abbreviations: Mapping[int, str]) -> bool:
    """A repeated modality is refused when the row is validated; its settings must not mix with the first one's."""
    return any(abbreviations[other] == abbreviations[number] for other in abbreviations if other < number)


def _without_modality(cell: Cell, number: int) -> Problem:
    message = (
        f"{cell.column.name} is filled in, but modality{number} is not, so it would be lost. "
        f"Name the modality in column modality{number}, or clear this cell."
    )
    return error(cell.place, message, found=cell.text)


def _yes(draft: _Draft, cell: Cell) -> bool | None:
    """Return True for yes; no sets nothing, and anything else is told."""
    if cell.text.casefold() in YES:
        return True
    if cell.text.casefold() not in NO:
        message = "force_cloud_sync must be true or false, or empty for false."
        draft.tell(error(cell.place, message, found=cell.text))
    return None


def _insert(entry: dict[str, Any], path: Path, value: Any) -> Path | None:
    """Set ``path`` of ``entry``; return the path of what stands in the way, when that is something else."""
    inner: Any = entry
    for depth, part in enumerate(path[:-1], 1):
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return path[:depth]
    present = inner.setdefault(path[-1], value)
    return None if present == value else path
