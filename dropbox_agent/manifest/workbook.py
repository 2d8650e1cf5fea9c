"""Read .xlsx cell by cell, exactly: numbers as they are, dates as ISO text, formulas by their last result."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import openpyxl
import openpyxl.utils.datetime
from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.workbook import Workbook
from openpyxl.worksheet._reader import WorkSheetParser

from dropbox_agent.manifest import cells
from dropbox_agent.manifest.header import HEADER_WITHIN, find_header, shaped
from dropbox_agent.manifest.kinds import mislabelled, no_workbook
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import Unreadable, error, warning
from dropbox_agent.manifest.sheet import Sheet, Trouble, address
from dropbox_agent.manifest.table import to_rows
from dropbox_agent.manifest.template import LIST_SHEET, OWN_SHEETS
from dropbox_agent.model import Place, Problem, Row

NAME = "jobs"
"""The sheet that is read when there is one of this name, in any case."""
LAST_COLUMN = 16_384
WORKBOOK = "xl/workbook.xml"
MAIN_BYTES = 1 << 20
"""So much of the main part is looked at; it names the sheets, and needs a few kilobytes."""
STALE = re.compile(rb'<calcPr[^>]*\sfullCalcOnLoad="(?:1|true)"')
"""Whoever opens the workbook is to calculate its formulas: the program that wrote it did not."""
TRUE = ("1", "true")
EMPTY_RESULT = "str"
"""The type of what a formula gave that has no text in it; of one that was never calculated there is no type."""


def read(
    content: bytes, name: str, limits: Limits, upstream: bool = False
) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a workbook, and every problem found in it."""
    try:
        is_stale = STALE.search(check_archive(content, limits)) is not None
        sheets = _all_sheets(content, limits, is_stale)
    except Unreadable as reason:
        return (), (error(Place(name), str(reason)),)
    visible = [sheet for sheet in sheets if not sheet.is_hidden]
    hidden = [_hidden(sheet, name) for sheet in sheets if sheet.is_hidden and _is_table(sheet)]
    if not visible:
        message = "This workbook has no visible sheet. Show the one to be read, or make it anew."
        return (), (error(Place(name), message), *hidden)
    chosen, others = _choose(visible)
    if chosen.unreadable is not None:
        return (), (error(Place(name), chosen.unreadable), *hidden)
    rows, problems = to_rows(chosen, name, upstream)
    return rows, (*problems, *hidden, *(_not_read(other, chosen, name) for other in others))


def check_archive(content: bytes, limits: Limits) -> bytes:
    """Return the main part of a workbook; refuse what is none, or would unpack to too much, before anything is."""
    if message := mislabelled(content, ".xlsx"):
        raise Unreadable(message)
    if _is_cut_off(content):
        raise Unreadable("This workbook is only a part of one: its end is missing. Save it again as .xlsx.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            size = sum(part.file_size for part in parts)
            if len(parts) > limits.zip_entries or size > limits.unpacked_bytes:
                raise Unreadable("This workbook unpacks to far more than a table of sessions needs. Make a new one.")
            names = {part.filename for part in parts}
            main = _main_part(archive) if WORKBOOK in names else b""
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, RuntimeError) as wrong:
        raise Unreadable("This is not an .xlsx workbook, or only a part of one. Save it again as .xlsx.") from wrong
    if any(name.lower().endswith("vbaproject.bin") for name in names):
        raise Unreadable("This workbook has macros in it. Save it as .xlsx without macros.")
    if message := no_workbook(names, main):
        raise Unreadable(message)
    return main


def _main_part(archive: zipfile.ZipFile) -> bytes:
    with archive.open(WORKBOOK) as part:
        return part.read(MAIN_BYTES)


def _is_cut_off(content: bytes) -> bool:
    """The directory's last record says how long the comment behind it is; zipfile is content with less."""
    end = content.rfind(b"PK\x05\x06")
    return end >= 0 and end + 22 + int.from_bytes(content[end + 20 : end + 22], "little") > len(content)


def _all_sheets(content: bytes, limits: Limits, is_stale: bool) -> list[Sheet]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of parts it leaves out; none of them holds cells.
            return list(_sheets(content, limits, is_stale))
    except Unreadable:
        raise
    except MemoryError:
        raise
    except Exception as wrong:  # openpyxl raises nearly anything on a damaged workbook, defusedxml on entities.
        raise Unreadable("This workbook is damaged. Open it in Excel and save it again as .xlsx.") from wrong


def _sheets(content: bytes, limits: Limits, is_stale: bool) -> Iterator[Sheet]:
    with closing(_opened(content, data_only=False)) as book:
        for sheet in book.worksheets:
            try:
                yield _sheet(sheet, content, limits, is_stale)
            except Unreadable as reason:
                yield Sheet(sheet.title, {}, is_hidden=sheet.sheet_state != "visible", unreadable=str(reason))


def _opened(content: bytes, *, data_only: bool) -> Workbook:
    return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=data_only, keep_links=False)


def _sheet(sheet: Any, content: bytes, limits: Limits, is_stale: bool) -> Sheet:
    """Return the cells of one sheet as text; formulas cost a second look at the file, for their results."""
    seen = _seen(sheet, limits)
    formulas = {place for place, cell in seen.cells.items() if cell["data_type"] == "f"}
    results = _results(content, sheet.title, formulas, limits) if formulas else {}
    said = _Said(sheet, is_stale)
    for place, cell in seen.cells.items():
        if place in formulas:
            said.formula(place, cells.formula_text(cell["value"]), results.get(place))
        elif cell["data_type"] == "s":  # nearly all there is
            said.texts[place] = cell["value"].strip()
        else:
            said.value(place, ReadOnlyCell(sheet, **cell))
    for place, text in said.texts.items():
        if len(text) > limits.cell_characters:
            raise Unreadable(f"Cell {address(*place)} holds more than {limits.cell_characters} characters.")
        if text in cells.ERRORS and place not in formulas:
            said.troubles[place] = cells.AN_ERROR
    return Sheet(
        sheet.title,
        _as_lines(said.texts),
        said.troubles,
        said.of_names,
        said.of_days,
        seen.hidden,
        seen.hidden_columns,
        seen.merged,
        is_hidden=sheet.sheet_state != "visible",
    )


class _Said:
    """What the cells of a sheet say, and what is wrong with them."""

    def __init__(self, sheet: Any, is_stale: bool) -> None:
        self._sheet = sheet
        self._is_stale = is_stale
        self._from_1904 = sheet.parent.epoch == openpyxl.utils.datetime.MAC_EPOCH
        self.texts: dict[tuple[int, int], str] = {}
        self.troubles: dict[tuple[int, int], Trouble] = {}
        self.of_names: dict[tuple[int, int], Trouble] = {}
        self.of_days: dict[tuple[int, int], Trouble] = {}

    def value(self, place: tuple[int, int], cell: Any) -> None:
        """Keep a day, a truth or a number."""
        text = self.texts[place] = cells.as_text(cell)
        if cell.data_type == "e":
            self.troubles[place] = cells.AN_ERROR
        self._in_its_column(place, cell, text)

    def formula(self, place: tuple[int, int], formula: str, result: Any) -> None:
        """Keep the last saved result of a formula, else the formula."""
        cell = None if result is None else ReadOnlyCell(self._sheet, **result)
        if cell is not None and formula in cells.TRUTHS:
            self.value(place, cell)
            return
        self.texts[place] = "" if cell is None else cells.as_text(cell)
        if (trouble := cells.of_formula(cell, self._is_stale)) is not None:
            self.texts[place] = self.texts[place] or formula
            self.troubles[place] = trouble
        if cell is not None and cell.data_type != "s":
            self._in_its_column(place, cell, self.texts[place])

    def _in_its_column(self, place: tuple[int, int], cell: Any, text: str) -> None:
        if (trouble := cells.of_name(cell, text)) is not None:
            self.of_names[place] = trouble
        if self._from_1904 and (trouble := cells.of_day(cell, text)) is not None:
            self.of_days[place] = trouble


@dataclass(frozen=True)
class _Seen:
    """What stands in a sheet."""

    cells: Mapping[tuple[int, int], dict[str, Any]]
    """(row, column) -> cell as openpyxl's parser gives it, of those that are not empty."""
    hidden: frozenset[int]
    hidden_columns: frozenset[int]
    merged: tuple[tuple[int, int, int, int], ...]


def _seen(sheet: Any, limits: Limits) -> _Seen:
    """Return what stands in a sheet, read by openpyxl's own parser.

    ``iter_rows`` makes up the cells between far ones, and tells neither hidden rows nor merged cells.
    """
    book = sheet.parent
    found: dict[tuple[int, int], dict[str, Any]] = {}
    with sheet._get_source() as source:
        parser: Any = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=book.data_only,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        rows: set[int] = set()
        for number, row in parser.parse():
            for cell in row:
                value = cell["value"]
                if value is None and cell["data_type"] == EMPTY_RESULT:
                    cell["value"] = ""
                elif value is None or (isinstance(value, str) and not value.strip()):
                    continue
                rows.add(number)
                _check_place(cell["row"], cell["column"], len(rows), sheet.title, limits)
                found[cell["row"], cell["column"]] = cell
    hidden = frozenset(int(row) for row, told in parser.row_dimensions.items() if told.get("hidden") in TRUE)
    ranges = parser.merged_cells.mergeCell if parser.merged_cells is not None else ()
    merged = tuple((one.min_row, one.min_col, one.max_row, one.max_col) for one in ranges)
    return _Seen(found, hidden, frozenset(_hidden_columns(parser, limits)), merged)


def _hidden_columns(parser: Any, limits: Limits) -> Iterator[int]:
    for told in parser.column_dimensions.values():
        if told.get("hidden") in TRUE:
            yield from range(int(told["min"]), min(int(told["max"]), limits.columns) + 1)


def _check_place(row: int, column: int, rows: int, title: str, limits: Limits) -> None:
    if rows > limits.lines:
        raise Unreadable(f"There are more than {limits.rows} rows in sheet {title}. Split the table.")
    if column > limits.columns:
        where = f"{address(row, column)} of sheet {title}" if column <= LAST_COLUMN else f"sheet {title}"
        raise Unreadable(
            f"Something stands in {where}, beyond the {limits.columns} columns that are read. Tidy the table."
        )


def _results(content: bytes, title: str, places: set[tuple[int, int]], limits: Limits) -> Mapping[tuple[int, int], Any]:
    with closing(_opened(content, data_only=True)) as book:
        return {place: cell for place, cell in _seen(book[title], limits).cells.items() if place in places}


def _as_lines(texts: Mapping[tuple[int, int], str]) -> dict[int, Sequence[str]]:
    width = max((column for _, column in texts), default=0)
    lines: dict[int, list[str]] = {}
    for (row, column), text in texts.items():
        if row not in lines:
            lines[row] = [""] * width
        lines[row][column - 1] = text
    return {row: lines[row] for row in sorted(lines)}


# --- which sheet -----------------------------------------------------------------------------------------------------


def _choose(sheets: Sequence[Sheet]) -> tuple[Sheet, list[Sheet]]:
    """Return the sheet to read, and those that look like tables too but are not read."""
    by_name = [sheet for sheet in sheets if (sheet.name or "").strip().casefold() == NAME]
    tables = [sheet for sheet in sheets if _is_table(sheet)]
    filled = [sheet for sheet in sheets if sheet.lines or sheet.unreadable]
    chosen = (by_name or tables or filled or list(sheets))[0]
    return chosen, [sheet for sheet in tables if sheet is not chosen and len(sheet.lines) > 1]


def _is_table(sheet: Sheet) -> bool:
    """Return whether somebody may have meant a sheet to be read; those that are written here name columns too."""
    if sheet.name in OWN_SHEETS or (sheet.name or "").startswith(LIST_SHEET):
        return False
    beginning = {row: sheet.lines[row] for row in list(sheet.lines)[:HEADER_WITHIN]}
    return find_header(shaped(beginning)) is not None


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
