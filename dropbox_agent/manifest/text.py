"""Read .csv: UTF-8 with commas is the good form; what else Excel writes is read too, and told.

Semicolons and tabs need no words. UTF-16 and the encoding of older Windows programs are told with the decoded text,
because a wrong guess would show there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from dropbox_agent.manifest.columns import meaning
from dropbox_agent.manifest.header import HEADER_WITHIN
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import NOT_ENDED, Unreadable, error, warning
from dropbox_agent.manifest.sheet import Sheet
from dropbox_agent.manifest.table import to_rows
from dropbox_agent.model import Place, Problem, Row

DELIMITERS = ",;\t"
UTF_8 = 'In Excel, save it as "CSV UTF-8 (comma delimited)".'
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF_32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
HEAD_CHARACTERS = 50_000
"""The line that names columns is looked for in so much of a text, to see what separates its cells."""
SHOWN_WORDS = 5


@dataclass(frozen=True)
class Text:
    """The text of a file, and how it was got."""

    text: str
    encoding: str

    def told(self, file: str) -> Iterator[Problem]:
        """Yield what a person should check."""
        if self.encoding == "cp1252":
            words = [word for word in self.text.split() if not word.isascii()]
            message = (
                f"This file is not in UTF-8; it was read as older Windows programs write (cp1252). {UTF_8} "
                "Or check that the letters shown are the right ones."
            )
            yield warning(_line_place(file, self.text, words[0]), message, ", ".join(words[:SHOWN_WORDS]))
        elif self.encoding.startswith("utf-16"):
            first = next((line for line in self.text.splitlines() if line.strip()), "").replace("\t", " ")
            yield warning(Place(file, row=1), "This file is in UTF-16; its first line is shown as it was read.", first)
        if not self.text.endswith(("\n", "\r")):
            last = self.text.splitlines()[-1] if self.text else ""
            yield warning(_line_place(file, self.text, last), NOT_ENDED, last)


def _line_place(file: str, text: str, part: str) -> Place:
    return Place(file, row=len((text[: text.rfind(part)] + "x").splitlines()) if part else None)


def read(
    content: bytes, name: str, limits: Limits, upstream: bool = False
) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a csv file, and every problem found in it."""
    try:
        text = decoded(content)
        found = dict(_lines(text.text, limits))
    except Unreadable as reason:
        return (), (error(Place(name, row=reason.row), str(reason)),)
    rows, problems = to_rows(Sheet(None, found), name, upstream)
    return rows, (*(text.told(name) if found else ()), *problems)


def lines(content: bytes, limits: Limits) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and cells of a csv file. Raises Unreadable."""
    yield from _lines(decoded(content).text, limits)


def decoded(content: bytes) -> Text:
    """Return the text of a csv file, whatever program wrote it. Raises Unreadable."""
    if content.startswith(UTF_32_MARKS):
        raise Unreadable(f"This file is in UTF-32. {UTF_8}")
    try:
        if content.startswith(UTF_16_MARKS):
            return Text(content.decode("utf-16"), "utf-16")
        if b"\0" in content:
            return _without_mark(content)
        return Text(content.decode("utf-8-sig"), "utf-8")
    except UnicodeDecodeError as wrong:
        return _older(content, wrong)


def _without_mark(content: bytes) -> Text:
    """UTF-16 without its mark: the zeros of plain letters stand in every second place."""
    encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    if len(content) % 2 or content[encoding == "utf-16-le" :: 2].count(0) * 2 < len(content) // 2:
        raise Unreadable(f"This is not text. {UTF_8}")
    return Text(content.decode(encoding), encoding)


def _older(content: bytes, wrong: UnicodeDecodeError) -> Text:
    if wrong.encoding.startswith("utf-16"):
        raise Unreadable(f"This file is only a part of a text in UTF-16. {UTF_8}") from wrong
    row = content.count(b"\n", 0, wrong.start) + 1
    try:
        return Text(content.decode("cp1252"), "cp1252")
    except UnicodeDecodeError:
        raise Unreadable(f"Line {row} has a letter that is not in UTF-8. {UTF_8}", row) from wrong


def _lines(text: str, limits: Limits) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and stripped cells; a row may be several lines of text, and counts once, as in Excel."""
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    number = filled = 0
    try:
        for number, written in enumerate(reader, 1):
            cells = [cell.strip() for cell in written]
            if not any(cells):
                continue
            filled += 1
            _check_size(number, filled, cells, limits)
            yield number, cells[: limits.columns]
    except csv.Error as wrong:
        raise Unreadable(
            f"Row {number + 1} cannot be read: {wrong}. Look for a lone quotation mark.", number + 1
        ) from wrong


def _delimiter(text: str) -> str:
    """Return what separates the cells of the line that names columns; a title above may have other commas."""
    lines = [line for line in text[:HEAD_CHARACTERS].splitlines() if line.strip()][:HEADER_WITHIN]
    names = {mark: max((_names_in(line, mark) for line in lines), default=0) for mark in DELIMITERS}
    if any(names.values()):
        return max(DELIMITERS, key=lambda mark: names[mark])
    return max(DELIMITERS, key=lines[0].count) if lines else DELIMITERS[0]


def _names_in(line: str, mark: str) -> int:
    return sum(meaning(cell.strip().strip('"')) is not None for cell in line.split(mark) if cell)


def _check_size(row: int, filled: int, cells: list[str], limits: Limits) -> None:
    if filled > limits.lines:
        raise Unreadable(f"There are more than {limits.rows} rows. Split the file.", row)
    if any(cells[limits.columns :]):
        raise Unreadable(f"Row {row} has {len(cells)} cells; at most {limits.columns} are read.", row)
    if any(len(cell) > limits.cell_characters for cell in cells):
        raise Unreadable(f"Row {row} has a cell of more than {limits.cell_characters} characters.", row)
