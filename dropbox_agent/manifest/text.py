"""Read .csv: the good form is UTF-8 with commas; semicolons and tabs are taken too, anything else is told."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import error
from dropbox_agent.manifest.table import Sheet, to_rows
from dropbox_agent.model import Place, Problem, Row

DELIMITERS = ",;\t"


def read(content: bytes, name: str, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a csv file, and every problem found in it."""
    try:
        found = dict(lines(content, limits))
    except _Unreadable as reason:
        return (), (error(Place(name, row=reason.row), str(reason)),)
    return to_rows(Sheet(None, found), name)


def lines(content: bytes, limits: Limits) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and cells of a csv file."""
    yield from _lines(_decoded(content), limits)


class _Unreadable(Exception):
    """The file cannot be read as a table; the message says what would be right."""

    def __init__(self, message: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(message)


def _decoded(content: bytes) -> str:
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise _Unreadable(
            "This is an Excel workbook with a name ending in .csv. Name it .xlsx, or save it as CSV UTF-8."
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise _Unreadable('This is not text in UTF-8. In Excel, save it as "CSV UTF-8 (comma delimited)".')
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        row = content.count(b"\n", 0, wrong.start) + 1
        message = f'Line {row} has a letter that is not in UTF-8. In Excel, save it as "CSV UTF-8 (comma delimited)".'
        raise _Unreadable(message, row) from wrong


def _lines(text: str, limits: Limits) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and stripped cells; a row may be several lines of text, and counts once, as in Excel."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            _check_size(number, cells, limits)
            yield number, [cell.strip() for cell in cells]
    except csv.Error as wrong:
        raise _Unreadable(
            f"Row {number + 1} cannot be read: {wrong}. Look for a lone quotation mark.", number + 1
        ) from wrong


def _check_size(row: int, cells: list[str], limits: Limits) -> None:
    if row > limits.rows:
        raise _Unreadable(f"There are more than {limits.rows} rows. Split the file.", row)
    if len(cells) > limits.columns:
        raise _Unreadable(f"Row {row} has {len(cells)} cells; at most {limits.columns} are read.", row)
    if any(len(cell) > limits.cell_characters for cell in cells):
        raise _Unreadable(f"Row {row} has a cell of more than {limits.cell_characters} characters.", row)
