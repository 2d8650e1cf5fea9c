"""Read .xlsx cell by cell, exactly: numbers as they are, dates as ISO text, formulas by their last result."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
from openpyxl.workbook import Workbook

from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import error, warning
from dropbox_agent.manifest.table import Sheet, address, find_header, shaped, to_rows
from dropbox_agent.model import Level, Place, Problem, Row

NAME = "jobs"
"""The sheet that is read when there is one of this name, in any case."""
ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#SPILL!", "#CALC!"})
LAST_ROW = 1_048_576
_HOURS = re.compile(r"h", re.IGNORECASE)


class _Unreadable(Exception):
    """The file cannot be read as a workbook; the message says what would be right."""


def read(content: bytes, name: str, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a workbook, and every problem found in it."""
    try:
        check_archive(content, limits)
        sheets = _visible_sheets(content, limits)
    except _Unreadable as reason:
        return (), (error(Place(name), str(reason)),)
    if not sheets:
        return (), (
            error(Place(name), "This workbook has no visible sheet. Show the one to be read, or make it anew."),
        )
    chosen, others = _choose(sheets)
    rows, problems = to_rows(chosen, name)
    return rows, (*problems, *(_not_read(other, chosen, name) for other in others))


def check_archive(content: bytes, limits: Limits) -> None:
    """Refuse what is no workbook, or would unpack to too much, before anything is unpacked."""
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise _Unreadable("This workbook is encrypted, or in the old .xls form. Save it as .xlsx without a password.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as wrong:
        raise _Unreadable("This is not an .xlsx workbook, or only a part of one. Save it again as .xlsx.") from wrong
    size = sum(part.file_size for part in parts)
    if len(parts) > limits.zip_entries or size > limits.unpacked_bytes:
        raise _Unreadable("This workbook unpacks to far more than a table of sessions needs. Make a new one.")
    if any(part.filename.lower().endswith("vbaproject.bin") for part in parts):
        raise _Unreadable("This workbook has macros in it. Save it as .xlsx without macros.")


def _visible_sheets(content: bytes, limits: Limits) -> list[Sheet]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of parts it leaves out; none of them holds cells.
            return list(_sheets(content, limits))
    except _Unreadable:
        raise
    except MemoryError:
        raise
    except Exception as wrong:  # openpyxl raises nearly anything on a damaged workbook, defusedxml on entities.
        raise _Unreadable("This workbook is damaged. Open it in Excel and save it again as .xlsx.") from wrong


def _sheets(content: bytes, limits: Limits) -> Iterator[Sheet]:
    with closing(_opened(content, data_only=False)) as book:
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                yield _sheet(sheet, content, limits)


def _opened(content: bytes, *, data_only: bool) -> Workbook:
    return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=data_only, keep_links=False)


def _sheet(sheet: Any, content: bytes, limits: Limits) -> Sheet:
    """Return the cells of one sheet as text; formulas cost a second look at the file, for their results."""
    cells = dict(_cells(sheet, limits))
    formulas = {place for place, cell in cells.items() if cell.data_type == "f"}
    results = _results(content, sheet.title, formulas, limits) if formulas else {}
    texts: dict[tuple[int, int], str] = {}
    troubles: dict[tuple[int, int], tuple[Level, str]] = {}
    for place, cell in cells.items():
        shown = results.get(place) if place in formulas else cell
        texts[place] = "" if shown is None else _checked(as_text(shown), place, limits)
        if place in formulas:
            texts[place] = texts[place] or str(cell.value)
            troubles[place] = _of_formula(shown)
        elif cell.data_type == "e" or texts[place] in ERRORS:
            troubles[place] = (
                Level.ERROR,
                "This cell holds an error of Excel. Put it right, or write the value itself.",
            )
    return Sheet(sheet.title, _as_lines(texts), troubles)


def _cells(sheet: Any, limits: Limits) -> Iterator[tuple[tuple[int, int], Any]]:
    """Yield (row, column) and cell of every cell that is not empty."""
    sheet.reset_dimensions()  # What the file says of its own size may be wrong.
    for row, cells in enumerate(sheet.iter_rows(), 1):
        if row > LAST_ROW:
            raise _Unreadable(f"Sheet {sheet.title} has rows beyond the last that Excel knows. Make the table anew.")
        for column, cell in enumerate(cells, 1):
            if cell.value is None or cell.value == "":
                continue
            if row > limits.rows or column > limits.columns:
                where = f"{address(row, column)} of sheet {sheet.title}"
                size = f"{limits.rows} rows and {limits.columns} columns"
                raise _Unreadable(
                    f"Something stands in {where}, beyond the {size} that are read. Split or tidy the table."
                )
            yield (row, column), cell


def _results(content: bytes, title: str, places: set[tuple[int, int]], limits: Limits) -> dict[tuple[int, int], Any]:
    with closing(_opened(content, data_only=True)) as book:
        return {place: cell for place, cell in _cells(book[title], limits) if place in places}


def _of_formula(result: Any) -> tuple[Level, str]:
    if result is None:
        return Level.ERROR, "This formula was never calculated. Open the file in Excel and save it, or write the value."
    if result.data_type == "e":
        return Level.ERROR, "This formula ends in an error. Put it right, or write the value itself."
    return Level.WARNING, "This is a formula; its last saved result is used."


def _checked(text: str, place: tuple[int, int], limits: Limits) -> str:
    if len(text) > limits.cell_characters:
        raise _Unreadable(f"Cell {address(*place)} holds more than {limits.cell_characters} characters.")
    return text


def _as_lines(texts: dict[tuple[int, int], str]) -> dict[int, Sequence[str]]:
    width = max((column for _, column in texts), default=0)
    rows = sorted({row for row, _ in texts})
    return {row: [texts.get((row, column), "") for column in range(1, width + 1)] for row in rows}


def as_text(cell: Any) -> str:
    """Return a cell's value as text: whole numbers without a point, dates in ISO form, booleans as true and false."""
    value = cell.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        # A format without hours shows a day only: the scientist never saw a time.
        day_only = value.time() == time() and not _HOURS.search(cell.number_format or "")
        return value.date().isoformat() if day_only else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value).strip()


# --- which sheet -----------------------------------------------------------------------------------------------------


def _choose(sheets: Sequence[Sheet]) -> tuple[Sheet, list[Sheet]]:
    """Return the sheet to read, and those that look like tables too but are not read."""
    by_name = [sheet for sheet in sheets if (sheet.name or "").strip().casefold() == NAME]
    if by_name:
        return by_name[0], []
    tables = [sheet for sheet in sheets if _is_table(sheet)]
    filled = [sheet for sheet in sheets if sheet.lines]
    chosen = (tables or filled or list(sheets))[0]
    return chosen, [sheet for sheet in tables if sheet is not chosen]


def _is_table(sheet: Sheet) -> bool:
    return find_header(shaped(sheet.lines)) is not None


def _not_read(other: Sheet, chosen: Sheet, name: str) -> Problem:
    message = (
        f'Sheet "{other.name}" looks like a table of sessions too, but only "{chosen.name}" is read. '
        f'Name the sheet to be read "{NAME}", or drop the other one as a file of its own.'
    )
    return warning(Place(name, other.name), message)
