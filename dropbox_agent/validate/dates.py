"""Dates and times as people and Excel write them. What could be two days has two readings, and nobody chooses."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)? ?([AP]M)?"
ISO = re.compile(
    r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)? ?(Z|[+-]\d{2}:?\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)
"""Also 2024/05/27 16:07, as Excel writes it in some countries."""
NUMBERED = re.compile(rf"(\d{{1,2}})([./-])(\d{{1,2}})\2(\d{{4}})(?:,? {CLOCK})?", re.ASCII | re.IGNORECASE)
"""5/27/2024 4:07:59 PM, 27.05.2024 16:07: which number is the month is not written."""
DAY_FIRST = re.compile(rf"(\d{{1,2}})[ -]([a-z]{{3,9}})\.?,?[ -](\d{{4}})(?:,? {CLOCK})?", re.ASCII | re.IGNORECASE)
MONTH_FIRST = re.compile(rf"([a-z]{{3,9}})\.? (\d{{1,2}}),? (\d{{4}})(?:,? {CLOCK})?", re.ASCII | re.IGNORECASE)
SERIAL = re.compile(r"[1-9]\d{4}(\.\d+)?", re.ASCII)
"""A day as a workbook counts them: 45439 is 2024-05-27."""
EPOCH = re.compile(r"\d{9,10}", re.ASCII)
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
EXCEL_BEGINS = datetime(1899, 12, 30)  # noqa: DTZ001 - a wall clock


def readings(text: str) -> tuple[datetime, ...]:
    """Return what ``text`` can be, time zones kept as written: none, one, or two (month first, then day first)."""
    if iso := ISO.fullmatch(text):
        return _only(_iso(iso))
    if numbered := NUMBERED.fullmatch(text):
        return _numbered(numbered)
    if named := DAY_FIRST.fullmatch(text):
        return _named(named.group(2), named.group(1), named)
    if named := MONTH_FIRST.fullmatch(text):
        return _named(named.group(1), named.group(2), named)
    return ()


def counted_day(text: str) -> datetime | None:
    """Return the day and time of a number that a workbook counts days with, None when ``text`` is none."""
    return EXCEL_BEGINS + timedelta(seconds=round(float(text) * 86_400)) if SERIAL.fullmatch(text) else None


def epoch(text: str) -> datetime | None:
    """Return the moment of a number of seconds since 1970, None when ``text`` is none."""
    return datetime.fromtimestamp(int(text), timezone.utc) if EPOCH.fullmatch(text) else None


def in_utc(when: datetime) -> datetime:
    """Return when it was; a wall clock without a zone is taken as UTC, for which ``fields.AHEAD`` makes up."""
    return when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)


def _only(when: datetime | None) -> tuple[datetime, ...]:
    return () if when is None else (when,)


def _iso(match: re.Match[str]) -> datetime | None:
    year, _, *parts = match.groups()
    month, day, hour, minute, second = (int(part or 0) for part in parts[:5])
    when = _datetime(int(year), month, day, hour, minute, second, _microsecond(parts[5]))
    if when is None or parts[6] is None:
        return when
    try:
        return when.replace(tzinfo=_zone(parts[6]))
    except ValueError:
        return None


def _numbered(match: re.Match[str]) -> tuple[datetime, ...]:
    first, _, second, year = match.groups()[:4]
    clock = _clock(match.groups()[4:])
    if clock is None:
        return ()
    found = (_datetime(int(year), int(month), int(day), *clock) for month, day in ((first, second), (second, first)))
    return tuple(dict.fromkeys(when for when in found if when is not None))


def _named(month: str, day: str, match: re.Match[str]) -> tuple[datetime, ...]:
    numbers = [number for number, name in enumerate(MONTHS, 1) if name in (month.lower(), _in_full(month))]
    clock = _clock(match.groups()[3:])
    if len(numbers) != 1 or clock is None:
        return ()
    return _only(_datetime(int(match.group(3)), numbers[0], int(day), *clock))


def _in_full(month: str) -> str | None:
    """Return the name that a short one of three or four letters stands for."""
    short = month.lower()
    return next((name for name in MONTHS if len(short) in (3, 4) and name.startswith(short)), None)


def _clock(parts: tuple[str | None, ...]) -> tuple[int, int, int, int] | None:
    """Return hour, minute, second and microsecond; midnight when no time is written, None when it cannot be."""
    hour, minute, second = (int(part or 0) for part in parts[:3])
    half = (parts[4] or "").upper()
    if half and not 1 <= hour <= 12:
        return None
    return (hour % 12 + 12 * (half == "PM") if half else hour), minute, second, _microsecond(parts[3])


def _microsecond(fraction: str | None) -> int:
    return int((fraction or "").ljust(6, "0")[:6])


def _zone(text: str) -> timezone:
    if text in "Zz":
        return timezone.utc
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-ahead if text[0] == "-" else ahead)


def _datetime(*parts: int) -> datetime | None:
    try:
        return datetime(*parts)  # type: ignore[arg-type] # noqa: DTZ001 - a wall clock, as the scientist wrote it
    except ValueError:
        return None
