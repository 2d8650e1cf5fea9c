"""A sheet of cells becomes rows: find the header, read what each column means, and lose nothing silently."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
from openpyxl.utils import get_column_letter

from dropbox_agent.manifest.columns import (
    ABBREVIATION,
    DAY,
    MODALITIES,
    REQUIRED,
    SHORTCUTS,
    Meaning,
    Path,
    meaning,
    normal,
    suggestion,
)
from dropbox_agent.manifest.problems import did_you_mean, error, forbidden, warning
from dropbox_agent.manifest.values import typed
from dropbox_agent.model import Level, Place, Problem, Row
from dropbox_agent.wording import printable, shown

HEADER_WITHIN = 20
"""The header is looked for in this many rows that are not blank."""
TURNED = 3
"""So many names of columns below each other are no accident."""
NOTHING = frozenset({"none", "nan", "na", "n/a", "#n/a", "null", "nil", "<na>", "nat"})
"""What programs write for an empty cell; never a value."""
YES, NO = frozenset({"true", "t"}), frozenset({"false", "f"})


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


@dataclass
class Cell:
    """One cell of a row, with the column it stands under and its place."""

    column: Column
    text: str
    place: Place
    given: tuple[Any, ...] = ()
    """The one value of a document, which knows more than text."""
    trouble: Trouble | None = None
    """What was seen to be wrong with it when the sheet was read."""


@dataclass
class Draft:
    """A row in the making."""

    place: Place
    upstream: bool = False
    entry: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: bool = False
    lost: set[int] = field(default_factory=set)
    """Numbers of modalities that were told to be lost, with all that belongs to them."""

    def place_of(self, name: str) -> Place:
        """Return where a part of the row stands."""
        return self.places.get(name, self.place)

    def tell(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.refused |= problem.level is Level.ERROR

    def refuse(self, place: Place, message: str, found: Any = None, *, upstream: str) -> None:
        """Tell what would be lost: an error, or with ``compat: upstream`` a warning that says what is done instead."""
        if self.upstream:
            self.tell(warning(place, f"{message} Read as upstream does: {upstream}.", found))
        else:
            self.tell(error(place, message, found))

    def finished(self) -> Row:
        return Row(self.place, self.entry, self.places, self.refused)


def to_rows(sheet: Sheet, file: str, upstream: bool = False) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of ``sheet``, and every problem found in its cells."""
    table = shaped(sheet.lines)
    header_row = find_header(table)
    if header_row is None or _is_turned(table, header_row):
        return (), (_no_header(sheet, file, table),)
    at = Place(file, sheet.name, header_row)
    columns = read_header(sheet.lines[header_row], at, upstream)
    sheet = replace(sheet, troubles={**sheet.troubles, **_of_merged(sheet, header_row, len(columns))})
    below = [int(row) for row in table.index[table.index > header_row]]
    again = [row for row in below if _is_header(sheet.lines[row], columns)]
    drafts = [_draft(sheet, row, columns, at, upstream) for row in below if row not in again]
    problems = [*_of_header(columns, drafts, upstream), *(problem for draft in drafts for problem in draft.problems)]
    problems += [warning(replace(at, row=row), "This row is the header again, and is passed over.") for row in again]
    problems += _of_hidden(sheet, drafts, at) + _of_hidden_columns(sheet, columns, drafts, at)
    if not drafts:
        problems.append(error(at, "There is a header, but no row below it. Fill in one row per session."))
    return tuple(draft.finished() for draft in drafts), tuple(problems)


def fill(draft: Draft, cells: Sequence[Cell]) -> None:
    """Write cells into a row, each at the path its column means, and tell what is wrong with them."""
    abbreviations = _modalities(draft, cells)
    for cell in cells:
        _put(draft, cell, abbreviations)


def is_usable(draft: Draft, cell: Cell) -> bool:
    """Return whether the cell has a text that can be used; tell what is wrong with it."""
    return _is_good(draft, cell, draft.place)


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
    if _is_turned(table):
        message = "The names stand below each other. Put them into one row, the first, and each session into a row."
        message = f"{message} In Excel: copy, Paste Special, Transpose."
    elif any(meaning(name) is not None for name in re.split("[,;\t]", first)):
        message = "The whole row is one cell, so its commas separate nothing. Save it as csv again, from the program"
        message = f"{message} it comes from, or take out the quotation marks around each line."
    else:
        message = f"No row names the columns. The first row must hold headers such as {', '.join(REQUIRED)}."
    return error(Place(file, sheet.name, row), message, found=first)


def _is_turned(table: pd.DataFrame, header_row: int | None = None) -> bool:
    """Return whether the names of columns stand in a column, and at most one of them in the row of the header."""
    known = table.head(HEADER_WITHIN).map(lambda text: meaning(text) is not None)
    if header_row is not None and known.loc[header_row].sum() > 1:
        return False
    return bool((known.sum(axis=0) >= TURNED).any())


def _is_header(cells: Sequence[str], columns: Sequence[Column]) -> bool:
    """Return whether a row says what the header says, as it does where two files were put together."""
    return len(cells) == len(columns) and all(
        normal(text) == column.name for text, column in zip(cells, columns, strict=True)
    )


# --- the header ------------------------------------------------------------------------------------------------------


def read_header(cells: Sequence[str], at: Place, upstream: bool = False) -> tuple[Column, ...]:
    """Return the columns a header row names, each with what is wrong with it. Of two alike upstream reads the last."""
    columns = [Column(index, header, meaning(header) if header else None) for index, header in enumerate(cells, 1)]
    kept: dict[object, Column] = {}
    for column in reversed(columns) if upstream else columns:
        kept.setdefault(_identity(column), column)
    return tuple(replace(column, problem=_wrong_header(column, kept[_identity(column)], at)) for column in columns)


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


def _of_header(columns: Sequence[Column], drafts: Sequence[Draft], upstream: bool) -> Iterator[Problem]:
    """Yield the wrong headers: errors where a row has data below them; where none has, nothing is lost."""
    used = {path for draft in drafts for path in draft.places}
    for column in columns:
        if column.problem is None:
            continue
        lost = _tie(column) in used
        message = f"{column.problem.message} Read as upstream does: what stands in it is passed over."
        if lost and upstream:
            yield replace(column.problem, level=Level.WARNING, message=message)
        else:
            yield replace(column.problem, level=Level.ERROR if lost else Level.WARNING)


def _tie(column: Column) -> str:
    """Return the path under which a row keeps the place of a wrong header it has data below.

    Whoever judges the row finds the header's problem among the row's own lines.
    """
    return f"?{column.index}"


# --- the rows --------------------------------------------------------------------------------------------------------


def _draft(sheet: Sheet, row: int, columns: Sequence[Column], at: Place, upstream: bool) -> Draft:
    draft = Draft(replace(at, row=int(row)), upstream)
    cells = [_cell(sheet, text, index, columns, draft) for index, text in enumerate(sheet.lines[row], 1)]
    _tell_missing_cells(draft, cells, columns)
    good = [cell for cell in cells if _is_good(draft, cell, at)]
    _keep_places(draft, cells)
    fill(draft, good)
    return draft


def _cell(sheet: Sheet, text: str, index: int, columns: Sequence[Column], draft: Draft) -> Cell:
    column = columns[index - 1] if index <= len(columns) else Column(index, "", None)
    row = draft.place
    place = Place(row.file, row.sheet, row.row, column.name or None, f"{column.letter}{row.row}")
    at = (row.row or 0, index)
    trouble = sheet.troubles.get(at)
    if column.meaning is not None and (trouble is None or trouble.level is Level.WARNING):
        trouble = _of_meaning(sheet, at, column.meaning) or trouble
    if trouble is not None and trouble.text is not None and not draft.upstream:
        text = trouble.text
    return Cell(column, text, place, trouble=trouble)


def _of_meaning(sheet: Sheet, at: tuple[int, int], means: Meaning) -> Trouble | None:
    """Return what is wrong with a cell because of what its column is for."""
    if means.path == DAY:
        return sheet.of_days.get(at)
    return sheet.of_names.get(at) if at in sheet.of_names and means.is_name else None


def _tell_missing_cells(draft: Draft, cells: Sequence[Cell], columns: Sequence[Column]) -> None:
    """A line that ends early may have lost a cell anywhere: what stands where is a guess."""
    missing = [column for column in columns[len(cells) :] if column.header]
    if not missing:
        return
    place = replace(draft.place, column=missing[0].name, cell=address(draft.place.row, missing[0].index))
    message = (
        f"The row ends after {len(cells)} of {len(columns)} cells. Write the empty cells too, so that none shifts."
    )
    draft.refuse(place, message, upstream="the missing cells are empty")


def _is_good(draft: Draft, cell: Cell, at: Place) -> bool:
    """Return whether the cell has a text that can be used; tell what is wrong with it."""
    if not cell.text and cell.trouble is None:
        return False
    if cell.column.problem is not None:
        draft.places[_tie(cell.column)] = replace(at, column=cell.column.name)
        draft.refused |= not draft.upstream
        return False
    trouble = cell.trouble or _trouble(cell)
    if trouble is None:
        return True
    found = shown(cell.text or None)
    if trouble.upstream and (trouble.level is Level.ERROR or draft.upstream):
        draft.refuse(cell.place, trouble.message, found, upstream=trouble.upstream)
        return draft.upstream and bool(cell.text)
    draft.tell(Problem(trouble.level, cell.place, trouble.message, found))
    return trouble.level is Level.WARNING


def _trouble(cell: Cell) -> Trouble | None:
    if not cell.column.header:
        message = "Something stands here, but its column has no header. Name the column, or clear the cell."
        return Trouble(message, upstream="it is passed over")
    if wrong := forbidden(cell.text):
        return Trouble(f"{cell.column.name} {wrong}")
    if cell.text.casefold() in NOTHING:
        message = f'"{cell.text}" is what programs write for an empty cell. Leave it empty, or fill it in.'
        return Trouble(message, upstream="the word is taken as it stands")
    return None


def _of_merged(sheet: Sheet, header_row: int, width: int) -> dict[tuple[int, int], Trouble]:
    """Return the trouble of each row that has a part in a merged range: only its first cell has the value."""
    found = {}
    last = max(sheet.lines)
    for first_row, first_column, last_row, last_column in sheet.merged:
        if _is_blank(sheet, first_row, first_column):
            continue
        for row in range(max(first_row, header_row + 1), min(last_row, last) + 1) if first_column <= width else ():
            where = f"{address(first_row, first_column)}:{address(last_row, last_column)}"
            message = f"{where} are merged, so it cannot be told which rows and columns the value is for. Unmerge them."
            found[row, first_column] = Trouble(message, upstream="only the first cell has the value")
    return found


def _is_blank(sheet: Sheet, row: int, column: int) -> bool:
    cells = sheet.lines.get(row, ())
    return (row, column) not in sheet.troubles and (column > len(cells) or not cells[column - 1])


def _of_hidden(sheet: Sheet, drafts: Sequence[Draft], at: Place) -> list[Problem]:
    rows = [draft.place.row for draft in drafts if draft.place.row in sheet.hidden]
    if not rows:
        return []
    message = "These rows are hidden, by hand or by a filter, and are read all the same. Delete what is not meant."
    return [warning(replace(at, row=rows[0]), message, found=", ".join(map(str, rows)))]


def _of_hidden_columns(sheet: Sheet, columns: Sequence[Column], drafts: Sequence[Draft], at: Place) -> list[Problem]:
    """Warn of columns that nobody sees, where a row has something in them."""
    rows = [sheet.lines[draft.place.row or 0] for draft in drafts]
    return [
        warning(
            replace(at, column=column.name, cell=address(at.row, column.index)),
            "This column is hidden, and is read all the same. Show it, and see that it says what is meant.",
            found=column.header,
        )
        for column in columns
        if column.index in sheet.hidden_columns
        and column.meaning is not None
        and any(len(cells) >= column.index and cells[column.index - 1] for cells in rows)
    ]


def _keep_places(draft: Draft, cells: Sequence[Cell]) -> None:
    """An empty cell has a place too: that is where a missing value belongs."""
    for cell in cells:
        means = cell.column.meaning
        if means is None or cell.column.problem:
            continue
        if means.path == MODALITIES:
            draft.places.setdefault("modalities", cell.place)
        elif means.modality is None:
            draft.places.setdefault(".".join(means.path), cell.place)
    draft.places.setdefault("modalities", replace(draft.place, column="modality0"))


def _modalities(draft: Draft, cells: Sequence[Cell]) -> dict[int, str]:
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
    numbers = {number: named[number].text for number in sorted(named)}
    return _only_last(draft, numbers, named) if draft.upstream else numbers


def _only_last(draft: Draft, numbers: Mapping[int, str], named: Mapping[Any, Cell]) -> dict[int, str]:
    """Of a modality named twice upstream keeps the last, and loses the data of the others."""
    last = {text: number for number, text in numbers.items()}
    for number, text in numbers.items():
        if last[text] != number:
            other = f"modality{last[text]}"
            name = printable(text)
            message = f'"{name}" is named twice, in modality{number} and {other}; the data of modality{number} is lost.'
            draft.refuse(named[number].place, message, text, upstream=f"only {other} is kept")
            draft.lost.add(number)
    kept = sorted(last.values())
    if kept:
        draft.entry["modalities"] = [numbers[number] for number in kept]
    draft.places |= {f"modalities.{index}": named[number].place for index, number in enumerate(kept)}
    return {number: text for number, text in numbers.items() if last[text] == number}


def _put(draft: Draft, cell: Cell, abbreviations: Mapping[int, str]) -> None:
    """Write one cell into the draft at the path its column means."""
    means = cell.column.meaning
    if means is None or means.path == MODALITIES:
        return
    path = means.path
    if means.modality is not None:
        if means.modality not in abbreviations:
            _tell_without_modality(draft, cell, means.modality)
            return
        if _is_repeated(means.modality, abbreviations):
            return
        path = tuple(abbreviations[means.modality] if part == ABBREVIATION else part for part in path)
    value = _value(draft, cell, means)
    if means.path == SHORTCUTS["force_cloud_sync"] and cell.column.name == "force_cloud_sync":
        value = _yes(draft, cell)
        if value is None:
            return
    if other := _insert(draft.entry, path, value):
        where = draft.places.get(".".join(other))
        draft.tell(error(cell.place, f"{_also(cell, where)} set the same thing. Keep one of them.", found=cell.text))
        return
    draft.places[".".join(path)] = cell.place


def _also(cell: Cell, other: Place | None) -> str:
    if cell.place.cell:
        return f"This cell and {f'{other.cell} ({other.column})' if other and other.cell else 'another column'}"
    return f"This and {f'{other.column} in line {other.row}' if other else 'another line'}"


def _is_repeated(number: int, abbreviations: Mapping[int, str]) -> bool:
    """A repeated modality is refused when the row is validated; its settings must not mix with the first one's."""
    return any(abbreviations[other] == abbreviations[number] for other in abbreviations if other < number)


def _value(draft: Draft, cell: Cell, means: Meaning) -> Any:
    """Return a setting as what it stands for; to upstream everything is text."""
    if not means.is_typed:
        return cell.text
    if cell.given:
        return cell.given[0]
    value = typed(cell.text)
    if draft.upstream and value != cell.text:
        message = "This could be read as a number, as true or false, or as a list. Read as upstream does: as text."
        draft.tell(warning(cell.place, message, cell.text))
        return cell.text
    return value


def _tell_without_modality(draft: Draft, cell: Cell, number: int) -> None:
    if number in draft.lost:
        return
    message = (
        f"{cell.column.name} is filled in, but modality{number} is not, so it would be lost. "
        f"Name the modality in column modality{number}, or clear this cell."
    )
    draft.refuse(cell.place, message, cell.text, upstream="it is passed over")


def _yes(draft: Draft, cell: Cell) -> bool | None:
    """Return True for yes; no sets nothing, and anything else is told."""
    if cell.text.casefold() in YES:
        return True
    if cell.text.casefold() not in NO:
        message = "force_cloud_sync must be true or false, or empty for false."
        draft.refuse(cell.place, message, cell.text, upstream="it counts as false")
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
