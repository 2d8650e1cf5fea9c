"""Dates and times as people and Excel write them. What could be two days has two readings, and nobody chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

MARK = "MARK"
CLOCK = r"(\d{1,2})([:.])(\d{2})(?:\MARK(\d{2})(?:[.,](\d{1,9}))?)?(?: ?([AP])\.? ?M\.?)?"
"""A time as it follows a day; MARK is the number of the group that holds what stands between its parts."""
ISO = re.compile(
    r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})"
    r"(?:[T _](\d{1,2})([:-])(\d{2})(?:\6(\d{2})(?:[.,](\d{1,9}))?)? ?(Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII | re.IGNORECASE,
)
"""Also 2024/05/27 16:07, as Excel writes it in some countries, and 2024-05-27_16-07-59, as names of assets have it."""
BASIC = re.compile(
    r"(\d{4})()(\d{2})(\d{2})T(\d{2})()(\d{2})(?:(\d{2})(?:[.,](\d{1,9}))?)?(Z|[+-]\d{2}(?:\d{2})?)?", re.ASCII
)
"""ISO 8601 without its marks: 20240527T160759."""
YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2}),? " + CLOCK.replace(MARK, "6"), re.ASCII | re.IGNORECASE)
"""2024-05-27 4:07:59 PM."""
NUMBERED = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?:,? " + CLOCK.replace(MARK, "6") + ")?", re.ASCII | re.IGNORECASE
)
"""5/27/2024 4:07:59 PM, 27.05.24 16:07: which number is the month is not written."""
WEEKDAY = re.compile(r"(?:mon|tue|tues|wed|wednes|thu|thurs|fri|sat|satur|sun)(?:day)?,? ", re.IGNORECASE)
"""What may stand before a day with the name of its month."""
DAY_FIRST = re.compile(
    r"(\d{1,2})[ -]([a-z]{3,9})\.?,?[ -](\d{4}|\d{2})(?:,? " + CLOCK.replace(MARK, "5") + ")?", re.ASCII | re.IGNORECASE
)
MONTH_FIRST = re.compile(
    r"([a-z]{3,9})\.? (\d{1,2}),? (\d{4})(?:,? " + CLOCK.replace(MARK, "5") + ")?", re.ASCII | re.IGNORECASE
)
SERIAL = re.compile(r"[1-9]\d{4}(\.\d+)?", re.ASCII)
"""A day as a workbook counts them: 45439 is 2024-05-27."""
EPOCH = re.compile(r"(\d{9,10})(\.\d+)?|\d{12,13}", re.ASCII)
"""Seconds since 1970, or milliseconds."""
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
SHORT_MONTHS = "|".join(month[:3].title() for month in MONTHS)
EXCEL_BEGINS = datetime(1899, 12, 30)  # noqa: DTZ001 - a wall clock


def readings(text: str) -> tuple[datetime, ...]:
    """Return what ``text`` can be, time zones kept as written: none, one, or several.

    Of a day in numbers alone the first reading has the month first, the second the day, the third the year.
    """
    if iso := ISO.fullmatch(text) or BASIC.fullmatch(text):
        return _only(_iso(iso))
    if first := YEAR_FIRST.fullmatch(text):
        return _year_first(first)
    if numbered := NUMBERED.fullmatch(text):
        return _numbered(numbered)
    rest = WEEKDAY.sub("", text, count=1) if WEEKDAY.match(text) else text
    if named := DAY_FIRST.fullmatch(rest):
        return _named(named.group(2), named.group(1), named)
    if named := MONTH_FIRST.fullmatch(rest):
        return _named(named.group(1), named.group(2), named)
    return ()


def counted_day(text: str) -> datetime | None:
    """Return the day and time of a number that a workbook counts days with, None when ``text`` is none."""
    return EXCEL_BEGINS + timedelta(seconds=round(float(text) * 86_400)) if SERIAL.fullmatch(text) else None


def epoch(text: str) -> datetime | None:
    """Return the moment of a number of seconds (or milliseconds) since 1970, None when ``text`` is none."""
    match = EPOCH.fullmatch(text)
    if match is None:
        return None
    return datetime.fromtimestamp(int(match.group(1) or text[:-3]), timezone.utc)


def in_utc(when: datetime) -> datetime:
    """Return when it was; a wall clock without a zone is taken as UTC, for which ``fields.AHEAD`` makes up."""
    return when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)


def _only(when: datetime | None) -> tuple[datetime, ...]:
    return () if when is None else (when,)


def _iso(match: re.Match[str]) -> datetime | None:
    year, _, month, day, hour, _, minute, second, fraction, zone = match.groups()
    parts = (int(part or 0) for part in (year, month, day, hour, minute, second))
    when = _datetime(*parts, _microsecond(fraction))
    if when is None or zone is None:
        return when
    try:
        return when.replace(tzinfo=_zone(zone))
    except ValueError:
        return None


def _year_first(match: re.Match[str]) -> tuple[datetime, ...]:
    year, _, month, day, *rest = match.groups()
    clock = _clock(rest)
    return () if clock is None else _only(_datetime(int(year), int(month), int(day), *clock))


def _numbered(match: re.Match[str]) -> tuple[datetime, ...]:
    first, _, second, year = match.groups()[:4]
    clock = _clock(match.groups()[4:])
    if clock is None:
        return ()
    orders = [(year, first, second), (year, second, first)]
    if len(year) == 2:
        orders.append((first, second, year))
    found = (_datetime(_year(year), int(month), int(day), *clock) for year, month, day in orders)
    return tuple(dict.fromkeys(when for when in found if when is not None))


def _named(month: str, day: str, match: re.Match[str]) -> tuple[datetime, ...]:
    numbers = [number for number, name in enumerate(MONTHS, 1) if name in (month.lower(), _in_full(month))]
    clock = _clock(match.groups()[3:])
    if len(numbers) != 1 or clock is None:
        return ()
    return _only(_datetime(_year(match.group(3)), numbers[0], int(day), *clock))


def _year(text: str) -> int:
    """Return the year of four digits, or of the two of this century that Excel leaves of them."""
    return int(text) if len(text) == 4 else 2000 + int(text)


def _in_full(month: str) -> str | None:
    """Return the name that a short one of three or four letters stands for."""
    short = month.lower()
    return next((name for name in MONTHS if len(short) in (3, 4) and name.startswith(short)), None)


def _clock(parts: Sequence[str | None]) -> tuple[int, int, int, int] | None:
    """Return hour, minute, second and microsecond; midnight when no time is written, None when it cannot be."""
    hour, minute, second = (int(part or 0) for part in (parts[0], parts[2], parts[3]))
    half = (parts[5] or "").upper()
    if half and not 1 <= hour <= 12:
        return None
    return (hour % 12 + 12 * (half == "P") if half else hour), minute, second, _microsecond(parts[4])


def _microsecond(fraction: str | None) -> int:
    return int((fraction or "").ljust(6, "0")[:6])


def _zone(text: str) -> timezone:
    if text in "Zz":
        return timezone.utc
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[3:].lstrip(":") or 0))
    return timezone(-ahead if text[0] == "-" else ahead)


def _datetime(*parts: int) -> datetime | None:
    try:
        return datetime(*parts)  # type: ignore[arg-type] # noqa: DTZ001 - a wall clock, as the scientist wrote it
    except ValueError:
        return None
