"""The annotated copy: the scientist's own table with wrong cells coloured, a comment in each, and a list of them all.

A workbook keeps its styles, other sheets and formulas; a csv becomes a workbook of the same table. Text stays text:
what begins with = in a csv, a message or a comment never becomes a formula.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import openpyxl
from openpyxl.cell import MergedCell
from openpyxl.comments import Comment
from openpyxl.drawing.spreadsheet_drawing import SpreadsheetDrawing
from openpyxl.formatting.formatting import ConditionalFormattingList
from openpyxl.formatting.rule import Rule
from openpyxl.styles import Alignment, PatternFill
from openpyxl.styles.differential import DifferentialStyle
from openpyxl.utils import coordinate_to_tuple, get_column_letter
from openpyxl.workbook import Workbook
from openpyxl.worksheet._writer import WorksheetWriter
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.writer.excel import ExcelWriter

from dropbox_agent.manifest import text
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import FORBIDDEN
from dropbox_agent.manifest.template import LIST_SHEET, fit_to_page, make_bold
from dropbox_agent.manifest.workbook import check_archive
from dropbox_agent.model import Level, Problem

SUFFIXES = frozenset({".xlsx", ".csv"})
"""Manifests that are tables; of the others the status page shows the lines."""
LIST_TITLE = "What to fix in this file"
COLUMNS = ("Where", "Found there", "What is wrong", "What to write")
WIDTHS = (36, 32, 80, 32)
LINE_POINTS = 15
AUTHOR = "dropbox-agent"
RULE = f'"{AUTHOR}"<>""'
"""Always true; by it our rules are known again."""
COLOURS = {Level.ERROR: "FFFF9B8A", Level.WARNING: "FFFFE8A3"}
"""Fills of wrong and of odd cells; both are light enough to read on."""
COMMENT_CHARACTERS = 2000
COMMENT_WIDTH, COMMENT_LINE = 320, 18
"""Size of a comment's box, in points."""
HOW = (
    "Red cells are wrong, yellow ones are odd; the comment in each says why. "
    "Correct your own file, not this copy, and save it in the folder again under the same name."
)


def annotated(content: bytes, name: str, problems: Sequence[Problem], limits: Limits) -> bytes:
    """Return the annotated workbook of a manifest. Raises what the file makes openpyxl raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl tells of parts it leaves out: pictures, newer kinds of charts.
        book = _of_csv(content, limits) if name.lower().endswith(".csv") else _of_workbook(content, limits)
        try:
            return _marked(book, problems)
        finally:
            book.close()


def _marked(book: Workbook, problems: Sequence[Problem]) -> bytes:
    _forget_earlier_marks(book)
    marked: dict[str, dict[Level, list[str]]] = {}
    for sheet, cell, told in _by_cell(book, problems):
        level = _mark(sheet[cell], told)
        marked.setdefault(sheet.title, {}).setdefault(level, []).append(cell)
    for title, cells in marked.items():
        _colour_over_rules(book[title], cells)
    _write_list(book, problems)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        _InMemory(book, archive).save()
    return written.getvalue()


class _InMemory(ExcelWriter):
    """Writes a workbook without temporary files: the child may write none, and would leave them behind."""

    def write_worksheet(self, ws: Any) -> None:
        ws._drawing = SpreadsheetDrawing()
        ws._drawing.charts, ws._drawing.images = ws._charts, ws._images
        content = io.BytesIO()
        writer: Any = WorksheetWriter(ws, content)
        writer.write()
        ws._rels = writer._rels
        archive: zipfile.ZipFile = self._archive  # type: ignore[attr-defined] # the stubs leave it out
        archive.writestr(ws.path[1:], content.getvalue())
        self.manifest.append(ws)


# --- the table -------------------------------------------------------------------------------------------------------


def _of_workbook(content: bytes, limits: Limits) -> Workbook:
    check_archive(content, limits)
    return openpyxl.load_workbook(io.BytesIO(content))


def _of_csv(content: bytes, limits: Limits) -> Workbook:
    """Return a workbook with the cells of a csv, each of them text."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "jobs"
    for row, cells in text.lines(content, limits):
        for column, shown in enumerate(cells, 1):
            if shown:
                _write_text(sheet, row, column, shown).number_format = "@"
    for column in range(1, sheet.max_column + 1):
        sheet.column_dimensions[get_column_letter(column)].width = 22
    return book


def _write_text(sheet: Worksheet, row: int, column: int, shown: str) -> Any:
    """Write text as text, also when somebody opens the cell and presses enter."""
    cell: Any = sheet.cell(row=row, column=column)
    cell.value = FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", shown)
    cell.data_type = "s"
    cell.quotePrefix = shown[:1] in "=+-@"
    return cell


# --- the marks -------------------------------------------------------------------------------------------------------


def _forget_earlier_marks(book: Workbook) -> None:
    """A copy that was corrected and dropped again has marks of ours; only what is wrong now is to be seen."""
    for sheet in list(book.worksheets):
        if sheet.title.startswith(LIST_SHEET) and sheet["A1"].value == LIST_TITLE and len(book.worksheets) > 1:
            book.remove(sheet)
            continue
        cells: Any = sheet._cells  # what is there, however far apart
        for cell in cells.values():
            if not isinstance(cell, MergedCell) and cell.comment is not None and cell.comment.author == AUTHOR:
                cell.comment = None
                if cell.fill.start_color.rgb in COLOURS.values():
                    cell.fill = PatternFill()
        for ours in [one for one in sheet.conditional_formatting if one.rules[0].formula == [RULE]]:
            del sheet.conditional_formatting[str(ours.sqref)]


def _by_cell(book: Workbook, problems: Sequence[Problem]) -> Iterator[tuple[Worksheet, str, list[Problem]]]:
    """Yield each cell that something is wrong with, and what; problems of the whole file have none."""
    told: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        sheet = _sheet_of(book, problem)
        if sheet is not None and (cell := _cell_of(sheet, problem)) is not None:
            told.setdefault((sheet.title, cell), []).append(problem)
    for (title, cell), found in told.items():
        yield book[title], cell, found


def _sheet_of(book: Workbook, problem: Problem) -> Worksheet | None:
    if problem.place.row is None:
        return None
    if problem.place.sheet is None:
        return book.worksheets[0]
    return next((sheet for sheet in book.worksheets if sheet.title == problem.place.sheet), None)


def _cell_of(sheet: Worksheet, problem: Problem) -> str | None:
    """Return the cell to mark: the one named, the first of its merged range, or the first filled one of the row."""
    row = problem.place.row or 1
    cell = problem.place.cell or _first_filled(sheet, row)
    at_row, at_column = coordinate_to_tuple(cell)
    for merged in sheet.merged_cells.ranges:
        if merged.min_row <= at_row <= merged.max_row and merged.min_col <= at_column <= merged.max_col:
            return f"{get_column_letter(merged.min_col)}{merged.min_row}"
    return cell


def _first_filled(sheet: Worksheet, row: int) -> str:
    columns = range(1, min(sheet.max_column, 300) + 1)
    first = next((column for column in columns if sheet.cell(row=row, column=column).value is not None), 1)
    return f"{get_column_letter(first)}{row}"


def _mark(cell: Any, problems: Sequence[Problem]) -> Level:
    """Colour a cell and say in a comment what is wrong with it; return how bad that is."""
    worst = Level.ERROR if any(problem.level is Level.ERROR for problem in problems) else Level.WARNING
    cell.fill = PatternFill("solid", start_color=COLOURS[worst], end_color=COLOURS[worst])
    before = f"\n\n{cell.comment.author or 'Earlier'}: {cell.comment.text}" if cell.comment is not None else ""
    words = "\n\n".join(_sentence(problem) for problem in problems)[:COMMENT_CHARACTERS]
    height = COMMENT_LINE * (3 + sum(1 + len(line) // 45 for line in (words + before).split("\n")))
    cell.comment = Comment(_clean(words + before), AUTHOR, height=min(height, 600), width=COMMENT_WIDTH)
    return worst


def _colour_over_rules(sheet: Worksheet, marked: Mapping[Level, Sequence[str]]) -> None:
    """Rules of the scientist's that colour cells would hide our colours: ours come first."""
    theirs = sheet.conditional_formatting
    if not theirs:
        return
    rules = ConditionalFormattingList()  # Excel goes by the priority of rules, LibreOffice by their order.
    for priority, level in enumerate(Level, 1):
        if cells := marked.get(level):
            style = DifferentialStyle(fill=PatternFill(bgColor=COLOURS[level]))
            ours = Rule(type="expression", dxf=style, formula=[RULE], stopIfTrue=True, priority=priority)
            rules.add(" ".join(cells), ours)
    for one in theirs:
        for rule in one.rules:
            rule.priority += len(Level)
            rules.add(str(one.sqref), rule)
    sheet.conditional_formatting = rules


def _sentence(problem: Problem) -> str:
    write = f"\nWrite: {problem.suggestion}" if problem.suggestion else ""
    return f"{problem.message}{write}"


def _clean(words: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", words)


# --- the list --------------------------------------------------------------------------------------------------------


def _write_list(book: Workbook, problems: Sequence[Problem]) -> None:
    """Add the sheet that lists every problem, each a link to its cell."""
    sheet = book.create_sheet(LIST_SHEET)
    make_bold(_write_text(sheet, 1, 1, LIST_TITLE), size=14)
    _write_text(sheet, 2, 1, HOW)
    for column, (title, width) in enumerate(zip(COLUMNS, WIDTHS, strict=True), 1):
        make_bold(_write_text(sheet, 4, column, title))
        sheet.column_dimensions[get_column_letter(column)].width = width
    for row, problem in enumerate(problems, 5):
        _list_problem(book, sheet, row, problem)
    sheet.freeze_panes = "A5"
    fit_to_page(sheet)


def _list_problem(book: Workbook, sheet: Worksheet, row: int, problem: Problem) -> None:
    cells = (_where(problem), problem.found or "", problem.message, problem.suggestion or "")
    for column, shown in enumerate(cells, 1):
        cell = _write_text(sheet, row, column, shown)
        cell.alignment = Alignment(vertical="top", wrap_text=True)
    # Not every program makes a row as high as its text.
    sheet.row_dimensions[row].height = LINE_POINTS * max(map(_lines_in, cells, WIDTHS))
    first = sheet.cell(row=row, column=1)
    first.fill = PatternFill("solid", start_color=COLOURS[problem.level], end_color=COLOURS[problem.level])
    target = _sheet_of(book, problem)
    if target is not None and target is not sheet:
        title = target.title.replace("'", "''")
        first.hyperlink = Hyperlink(ref=first.coordinate, location=f"'{title}'!{_cell_of(target, problem)}")


def _lines_in(shown: str, width: int) -> int:
    return sum(1 + len(line) * 11 // (width * 10) for line in shown.split("\n"))


def _where(problem: Problem) -> str:
    place = problem.place
    row = f"row {place.row}" if place.row is not None and place.cell is None else None
    return ", ".join(part for part in (place.sheet, place.cell or row, place.column) if part) or "the whole file"
