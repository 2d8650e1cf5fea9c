"""Dates and times that can be read only one way."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

ISO = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)? ?(Z|[+-]\d{2}:?\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)
AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2}):(\d{2}) ?([AP]M)", re.ASCII | re.IGNORECASE)


def moment(text: str) -> datetime | None:
    """Return the date and time of ``text``, its time zone kept as written; None when it is not one."""
    if iso := ISO.fullmatch(text):
        return _iso(iso)
    if american := AMERICAN.fullmatch(text):
        month, day, year, hour, minute, second = map(int, american.groups()[:6])
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if american.group(7).upper() == "PM" else 0)
        return _datetime(year, month, day, hour, minute, second)
    return None


def _iso(match: re.Match[str]) -> datetime | None:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    microsecond = int((match.group(7) or "").ljust(6, "0")[:6])
    when = _datetime(year, month, day, hour, minute, second, microsecond)
    if when is None or match.group(8) is None:
        return when
    try:
        return when.replace(tzinfo=_zone(match.group(8)))
    except ValueError:
        return None


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


def in_utc(when: datetime) -> datetime:
    """Return when it was; a wall clock without a zone is taken as UTC, for which ``fields.AHEAD`` makes up."""
    return when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)
