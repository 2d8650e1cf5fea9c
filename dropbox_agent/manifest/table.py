"""A sheet of cells becomes rows: find the header, read what each column means, and lose nothing silently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dropbox_agent.manifest.columns import DAY, MODALITIES, Meaning
from dropbox_agent.manifest.draft import Cell, Draft, fill, is_usable
from dropbox_agent.manifest.header import (
    Column,
    find_header,
    is_header_again,
    is_turned,
    no_header,
    read_header,
    shaped,
    tie,
)
from dropbox_agent.manifest.problems import error, warning
from dropbox_agent.manifest.sheet import Sheet, Trouble, address
from dropbox_agent.model import Level, Place, Problem, Row


def to_rows(sheet: Sheet, file: str, upstream: bool = False) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of ``sheet``, and every problem found in its cells."""
    table = shaped(sheet.lines)
    header_row = find_header(table)
    if header_row is None or is_turned(table, header_row):
        return (), (no_header(sheet, file, table),)
    at = Place(file, sheet.name, header_row)
    columns = read_header(sheet.lines[header_row], at, upstream)
    sheet = replace(sheet, troubles={**sheet.troubles, **_of_merged(sheet, header_row, len(columns))})
    below = [int(row) for row in table.index[table.index > header_row]]
    again = [row for row in below if is_header_again(sheet.lines[row], columns)]
    drafts = [_draft(sheet, row, columns, at, upstream) for row in below if row not in again]
    problems = [*_of_header(columns, drafts, upstream), *(problem for draft in drafts for problem in draft.problems)]
    problems += [warning(replace(at, row=row), "This row is the header again, and is passed over.") for row in again]
    problems += _of_hidden(sheet, drafts, at) + _of_hidden_columns(sheet, columns, drafts, at)
    if not drafts:
        problems.append(error(at, "There is a header, but no row below it. Fill in one row per session."))
    return tuple(draft.finished() for draft in drafts), tuple(problems)


def _draft(sheet: Sheet, row: int, columns: Sequence[Column], at: Place, upstream: bool) -> Draft:
    draft = Draft(replace(at, row=int(row)), upstream)
    cells = [_cell(sheet, text, index, columns, draft) for index, text in enumerate(sheet.lines[row], 1)]
    _tell_missing_cells(draft, cells, columns)
    good = [cell for cell in cells if is_usable(draft, cell, at)]
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


def _of_header(columns: Sequence[Column], drafts: Sequence[Draft], upstream: bool) -> Iterator[Problem]:
    """Yield the wrong headers: errors where a row has data below them; where none has, nothing is lost."""
    used = {path for draft in drafts for path in draft.places}
    for column in columns:
        if column.problem is None:
            continue
        lost = tie(column) in used
        message = f"{column.problem.message} Read as upstream does: what stands in it is passed over."
        if lost and upstream:
            yield replace(column.problem, level=Level.WARNING, message=message)
        else:
            yield replace(column.problem, level=Level.ERROR if lost else Level.WARNING)


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
