"""Read .xlsx cell by cell, exactly: numbers as they are, dates as ISO text, formulas by their last result."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.workbook import Workbook
from openpyxl.worksheet._reader import WorkSheetParser

from dropbox_agent.manifest.kinds import mislabelled
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import Unreadable, error, warning
from dropbox_agent.manifest.table import Sheet, Trouble, address, find_header, shaped, to_rows
from dropbox_agent.manifest.template import OWN_SHEETS
from dropbox_agent.model import Level, Place, Problem, Row

NAME = "jobs"
"""The sheet that is read when there is one of this name, in any case."""
ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#SPILL!", "#CALC!"})
LAST_COLUMN = 16_384
_HOURS = re.compile(r"h", re.IGNORECASE)


def read(
    content: bytes, name: str, limits: Limits, upstream: bool = False
) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a workbook, and every problem found in it."""
    try:
        check_archive(content, limits)
        sheets = _all_sheets(content, limits)
    except Unreadable as reason:
        return (), (error(Place(name), str(reason)),)
    visible = [sheet for sheet in sheets if not sheet.is_hidden]
    hidden = [_hidden(sheet, name) for sheet in sheets if sheet.is_hidden and _is_forgotten(sheet)]
    if not visible:
        message = "This workbook has no visible sheet. Show the one to be read, or make it anew."
        return (), (error(Place(name), message), *hidden)
    chosen, others = _choose(visible)
    if chosen.unreadable is not None:
        return (), (error(Place(name), chosen.unreadable), *hidden)
    rows, problems = to_rows(chosen, name, upstream)
    return rows, (*problems, *hidden, *(_not_read(other, chosen, name) for other in others))


def check_archive(content: bytes, limits: Limits) -> None:
    """Refuse what is no workbook, or would unpack to too much, before anything is unpacked."""
    if message := mislabelled(content, ".xlsx"):
        raise Unreadable(message)
    if _is_cut_off(content):
        raise Unreadable("This workbook is only a part of one: its end is missing. Save it again as .xlsx.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as wrong:
        raise Unreadable("This is not an .xlsx workbook, or only a part of one. Save it again as .xlsx.") from wrong
    size = sum(part.file_size for part in parts)
    if len(parts) > limits.zip_entries or size > limits.unpacked_bytes:
        raise Unreadable("This workbook unpacks to far more than a table of sessions needs. Make a new one.")
    if any(part.filename.lower().endswith("vbaproject.bin") for part in parts):
        raise Unreadable("This workbook has macros in it. Save it as .xlsx without macros.")


def _is_cut_off(content: bytes) -> bool:
    """The directory's last record says how long the comment behind it is; zipfile is content with less."""
    end = content.rfind(b"PK\x05\x06")
    return end >= 0 and end + 22 + int.from_bytes(content[end + 20 : end + 22], "little") > len(content)


def _all_sheets(content: bytes, limits: Limits) -> list[Sheet]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of parts it leaves out; none of them holds cells.
            return list(_sheets(content, limits))
    except Unreadable:
        raise
    except MemoryError:
        raise
    except Exception as wrong:  # openpyxl raises nearly anything on a damaged workbook, defusedxml on entities.
        raise Unreadable("This workbook is damaged. Open it in Excel and save it again as .xlsx.") from wrong


def _sheets(content: bytes, limits: Limits) -> Iterator[Sheet]:
    with closing(_opened(content, data_only=False)) as book:
        for sheet in book.worksheets:
            try:
                yield _sheet(sheet, content, limits)
            except Unreadable as reason:
                yield Sheet(sheet.title, {}, is_hidden=sheet.sheet_state != "visible", unreadable=str(reason))


def _opened(content: bytes, *, data_only: bool) -> Workbook:
    return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=data_only, keep_links=False)


def _sheet(sheet: Any, content: bytes, limits: Limits) -> Sheet:
    """Return the cells of one sheet as text; formulas cost a second look at the file, for their results."""
    seen = _seen(sheet, limits)
    formulas = {place for place, cell in seen.cells.items() if cell.data_type == "f"}
    results = _results(content, sheet.title, formulas, limits) if formulas else {}
    texts: dict[tuple[int, int], str] = {}
    troubles: dict[tuple[int, int], Trouble] = {}
    for place, cell in seen.cells.items():
        shown = results.get(place) if place in formulas else cell
        texts[place] = "" if shown is None else _checked(as_text(shown), place, limits)
        if place in formulas:
            texts[place] = texts[place] or _checked(str(cell.value), place, limits)
            troubles[place] = _of_formula(shown)
        elif cell.data_type == "e" or texts[place] in ERRORS:
            troubles[place] = Trouble("This cell holds an error of Excel. Put it right, or write the value itself.")
    is_hidden = sheet.sheet_state != "visible"
    return Sheet(sheet.title, _as_lines(texts), troubles, seen.hidden, seen.merged, is_hidden)


@dataclass(frozen=True)
class _Seen:
    """What stands in a sheet."""

    cells: Mapping[tuple[int, int], Any]
    """(row, column) -> cell, of those that are not empty."""
    hidden: frozenset[int]
    merged: tuple[tuple[int, int, int, int], ...]


def _seen(sheet: Any, limits: Limits) -> _Seen:
    """Return what stands in a sheet, read by openpyxl's own parser.

    ``iter_rows`` makes up the cells between far ones, and tells neither hidden rows nor merged cells.
    """
    book = sheet.parent
    cells: dict[tuple[int, int], Any] = {}
    with sheet._get_source() as source:
        parser: Any = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=book.data_only,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for _, row in parser.parse():
            for cell in row:
                if cell["value"] is not None and cell["value"] != "":
                    place = cell["row"], cell["column"]
                    _check_place(place, sheet.title, limits)
                    cells[place] = ReadOnlyCell(sheet, **cell)
    hidden = frozenset(int(row) for row, told in parser.row_dimensions.items() if told.get("hidden") in ("1", "true"))
    ranges = parser.merged_cells.mergeCell if parser.merged_cells is not None else ()
    return _Seen(cells, hidden, tuple((one.min_row, one.min_col, one.max_row, one.max_col) for one in ranges))


def _check_place(place: tuple[int, int], title: str, limits: Limits) -> None:
    row, column = place
    if row > limits.rows or column > limits.columns:
        size = f"{limits.rows} rows and {limits.columns} columns"
        where = f"{address(row, column)} of sheet {title}" if column <= LAST_COLUMN else f"sheet {title}"
        raise Unreadable(f"Something stands in {where}, beyond the {size} that are read. Split or tidy the table.")


def _results(content: bytes, title: str, places: set[tuple[int, int]], limits: Limits) -> dict[tuple[int, int], Any]:
    with closing(_opened(content, data_only=True)) as book:
        return {place: cell for place, cell in _seen(book[title], limits).cells.items() if place in places}


def _of_formula(result: Any) -> Trouble:
    if result is None:
        message = "This formula was never calculated. Open the file in Excel and save it, or write the value."
        return Trouble(message, upstream="the text of the formula is taken as the value")
    if result.data_type == "e":
        return Trouble("This formula ends in an error. Put it right, or write the value itself.")
    return Trouble("This is a formula; its last saved result is used.", Level.WARNING)


def _checked(text: str, place: tuple[int, int], limits: Limits) -> str:
    if len(text) > limits.cell_characters:
        raise Unreadable(f"Cell {address(*place)} holds more than {limits.cell_characters} characters.")
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
    filled = [sheet for sheet in sheets if sheet.lines or sheet.unreadable]
    chosen = (tables or filled or list(sheets))[0]
    return chosen, [sheet for sheet in tables if sheet is not chosen]


def _is_table(sheet: Sheet) -> bool:
    return find_header(shaped(sheet.lines)) is not None


def _is_forgotten(sheet: Sheet) -> bool:
    """Our own template has a hidden sheet of choices; another that looks like a table may have been meant."""
    return sheet.name not in OWN_SHEETS and _is_table(sheet)


def _hidden(sheet: Sheet, name: str) -> Problem:
    message = (
        f'Sheet "{sheet.name}" looks like a table of sessions, but is hidden and not read. Show it if it is meant.'
    )
    return warning(Place(name, sheet.name), message)


def _not_read(other: Sheet, chosen: Sheet, name: str) -> Problem:
    message = (
        f'Sheet "{other.name}" looks like a table of sessions too, but only "{chosen.name}" is read. '
        f'Name the sheet to be read "{NAME}", or drop the other one as a file of its own.'
    )
    return warning(Place(name, other.name), message)
