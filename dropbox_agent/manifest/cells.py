"""What a cell of a workbook says, and what is wrong with it: a spreadsheet keeps days, truths, numbers and formulas."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl.utils.datetime

from dropbox_agent.manifest.sheet import Trouble
from dropbox_agent.model import Level

ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#SPILL!", "#CALC!"})
SERIAL = re.compile(r"[1-9][0-9]{4}(\.[0-9]+)?")
"""A day as workbooks count them."""
FOR_NAMES = re.compile(r'(?:0|"[^"]*"|\\.|[-_/ ])+')
NAME_FORMAT = re.compile(r'0|"[^"]*"|\\.|.')
TRUTHS = frozenset({"=TRUE()", "=FALSE()"})
"""How LibreOffice writes a truth: a formula, but nobody typed one."""
AN_ERROR = Trouble("This cell holds an error of Excel. Put it right, or write the value itself.")
_HOURS = re.compile(r"h", re.IGNORECASE)


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


def of_formula(result: Any, is_stale: bool) -> Trouble | None:
    """Return what to say of a formula by its last saved result; nothing when that is no text.

    ``is_stale``: the program that wrote the workbook left the calculating to the next one, and wrote zeros meanwhile.
    """
    if result is None or (is_stale and result.data_type == "n" and result.value == 0):
        message = "This formula was never calculated. Open the file in Excel and save it, or write the value."
        return Trouble(message, upstream="the text of the formula is taken as the value")
    if result.value == "":
        return None
    if result.data_type == "e":
        return Trouble("This formula ends in an error. Put it right, or write the value itself.")
    return Trouble("This is a formula; its last saved result is used.", Level.WARNING)


def formula_text(value: Any) -> str:
    """Return a formula as it is written; one over several cells is an object of openpyxl's."""
    return str(getattr(value, "text", None) or (value if isinstance(value, str) else "a table of results"))


def of_name(cell: Any, text: str) -> Trouble | None:
    """Return what is wrong or odd with a cell that is no text, should it be meant as a name."""
    if cell.data_type == "d":
        message = f"This is a date, {text}. If the spreadsheet made it of something else, format the cell as text"
        return Trouble(f"{message}, and type it anew.", upstream="the date is taken as a text")
    if cell.data_type == "b":
        message = "This is the truth value TRUE or FALSE, not a text. Format the cell as text and type what is meant."
        return Trouble(message, upstream="it is taken as a text")
    shown = shown_number(cell.value, cell.number_format or "")
    if shown is None or shown == text:
        return None
    message = f"This is the number {text}, shown as {shown} by the format of its cell; {shown} is read."
    return Trouble(message, Level.WARNING, upstream=f"{text} is taken", text=shown)


def shown_number(value: Any, number_format: str) -> str | None:
    """Return a whole number as formats for names show it: with leading zeros (``0000``), text and dashes (``"M"000``).

    None for every other format: what those show is the number itself, written more nicely.
    """
    parts = NAME_FORMAT.findall(number_format) if FOR_NAMES.fullmatch(number_format) else []
    zeros = parts.count("0")
    if not zeros or not isinstance(value, int | float) or value < 0 or not float(value).is_integer():
        return None
    digits = str(int(value)).zfill(zeros)
    first, rest = digits[: len(digits) - zeros + 1], iter(digits[len(digits) - zeros + 1 :])
    seen = 0
    shown = []
    for part in parts:
        if part == "0":
            shown.append(first if not seen else next(rest))
            seen += 1
        else:
            shown.append(part[1:-1] if part.startswith('"') else part.removeprefix("\\"))
    return "".join(shown)


def of_day(cell: Any, text: str) -> Trouble | None:
    """Return what to say of a number where a date belongs, in a workbook that counts days from 1904."""
    if cell.data_type != "n" or not SERIAL.fullmatch(text):
        return None
    day = openpyxl.utils.datetime.from_excel(cell.value, openpyxl.utils.datetime.MAC_EPOCH)
    message = "This is a number. If it is a date of this workbook, which counts from 1904, format the cell as a date"
    return Trouble(f"{message}, or write {day:%Y-%m-%dT%H:%M:%S}.")
