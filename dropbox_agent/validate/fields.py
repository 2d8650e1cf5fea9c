"""The fields of a job, one check each: the value, or Wrong with what would be right."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from dropbox_agent.model import EMAIL_TYPES
from dropbox_agent.validate.check import Check, Wrong
from dropbox_agent.validate.dates import EPOCH, SHORT_MONTHS, counted_day, epoch, in_utc, readings
from dropbox_agent.validate.texts import hint, name_of, one_of, required, text_of
from dropbox_agent.wording import nearest, shown

DEFAULT_BUCKET = "default"
DEFAULT_EMAIL_TYPES = frozenset({"fail"})
SUBJECT = re.compile(r"[A-Za-z0-9-]{1,64}")
EXCELS_DAY = re.compile(rf"\d{{1,2}}-({SHORT_MONTHS})|({SHORT_MONTHS})-\d{{2}}", re.ASCII)
"""How Excel shows a day that it made of something else."""
PROJECT = re.compile(r"[^\W_][^<>|\\`$\"]{0,127}")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
DATE_EXAMPLE = "2024-05-27T16:07:59"
FIRST_YEAR = 1970
AHEAD = timedelta(days=1)
"""Clocks differ, and so do time zones; a session further in the future is a slip."""
MOST_MODALITIES = 50


def job_type(check: Check) -> str:
    """Return the job type, which has a preset that can be used."""
    name, known = required(check, "job_type"), check.known
    if name in known.broken_job_types:
        reason = f'Job type "{name}" cannot be used now: {known.broken_job_types[name]}'
        raise Wrong(["job_type"], reason, name)
    return one_of(["job_type"], name, known.job_types)


def project(check: Check) -> str:
    """Return the project; one that is not known is an objection of the outside world only."""
    name, projects = required(check, "project_name"), check.known.projects
    if name in projects:
        return name
    if not PROJECT.fullmatch(name):
        message = 'A project name begins with a letter or digit and has at most 128 characters, none of < > | \\ ` $ ".'
        raise Wrong(["project_name"], message, name)
    if projects:
        near = nearest(name, projects)
        message = f'Project "{shown(name)}" is not known.{hint(near, projects)}'
        check.error(["project_name"], message, name, suggestion=near, outside=True)
    return name


def subject(check: Check) -> str:
    """Return the subject id, which names folders."""
    text = required(check, "subject_id")
    if EXCELS_DAY.fullmatch(text):
        message = f'"{text}" looks like what Excel makes of 5-12 or MAR1. If it did, format the cell as text, and'
        check.warning(["subject_id"], f"{message} type it anew.", text)
    if SUBJECT.fullmatch(text):
        return text
    message = "A subject id is made of letters, digits and dashes, at most 64. It names folders, so nothing else goes."
    raise Wrong(["subject_id"], message, text)


def acquired(check: Check) -> datetime:
    """Return when the session was, its time zone as written."""
    text = required(check, "acq_datetime")
    when = _moment(check, text)
    if when.year < FIRST_YEAR:
        raise Wrong(["acq_datetime"], f"A session in the year {when.year} cannot be. Correct the year.", text)
    if when.year > check.known.now.year + 1 or in_utc(when) > check.known.now + AHEAD:
        if not check.known.upstream:
            raise Wrong(["acq_datetime"], "This is in the future. Correct the date.", text)
        check.warning(["acq_datetime"], "This is in the future. Read as upstream does: it is taken as it stands.", text)
    if ":" not in text and when.time() == time() and not EPOCH.fullmatch(text):
        day = when.isoformat()
        check.warning(["acq_datetime"], f"There is no time of day, so midnight is taken: {day}.", text, suggestion=day)
    return when


def _moment(check: Check, text: str) -> datetime:
    """Return the one date and time that a text can be."""
    found = readings(text)
    if len(found) == 1:
        return found[0]
    if not found:
        return _number(check, text)
    *others, last = (f"{when:%Y-%m-%dT%H:%M:%S}" for when in found)
    message = f"This could be {', '.join(others)} or {last}."
    if not check.known.upstream or text[-1:] not in "mM":
        raise Wrong(["acq_datetime"], f"{message} Write the one that is meant in this form.", text)
    check.warning(["acq_datetime"], f"{message} Read as upstream does: the month comes first.", text)
    return found[0]


def _number(check: Check, text: str) -> datetime:
    """Refuse a number with the day it may be; upstream takes seconds since 1970."""
    if (day := counted_day(text)) is not None:
        message = "This is a number. If it is a date of Excel, it is the one to be written: format the cell as a date."
        raise Wrong(["acq_datetime"], message, text, day.isoformat())
    if (seconds := epoch(text)) is not None:
        message = f"This is a number. In seconds since 1970 it is {seconds:%Y-%m-%dT%H:%M:%SZ}."
        if not check.known.upstream:
            raise Wrong(["acq_datetime"], message, text, f"{seconds:%Y-%m-%dT%H:%M:%SZ}")
        check.warning(["acq_datetime"], f"{message} Read as upstream does: that is taken.", text)
        return seconds
    message = f"This is not a date and time that can be read only one way. Write it as {DATE_EXAMPLE}."
    raise Wrong(["acq_datetime"], message, text)


def platform(check: Check) -> str | None:
    """Return the platform, None when the row names none."""
    name = name_of(check, check.row.entry.get("platform"), ["platform"])
    if name is None:
        return None
    try:
        return one_of(["platform"], name, check.known.platforms)
    except Wrong as wrong:
        if not check.known.upstream:
            raise
        message = f"{wrong} Read as upstream does: there is no platform, and the name of the data begins without one."
        check.warning(["platform"], message, name, suggestion=wrong.suggestion)
        return None


def modalities(check: Check) -> tuple[str, ...]:
    """Return the row's modalities; each wrong one is told at its own place."""
    listed = check.row.entry.get("modalities")
    if listed in (None, []):
        raise Wrong(["modalities"], "No modality is named. Each session has at least one.")
    if not isinstance(listed, list):
        raise Wrong(["modalities"], "modalities must be a list of names.", listed)
    if len(listed) > MOST_MODALITIES:
        raise Wrong(["modalities"], f"There are {len(listed)} modalities; a session has at most {MOST_MODALITIES}.")
    seen: dict[str, int] = {}
    for index, item in enumerate(listed):
        path = ["modalities", str(index)]
        try:
            name = name_of(check, item, path)
            if name is None:
                raise Wrong(path, "A modality must have a name.", item)
            if name in seen:
                raise Wrong(path, _twice(check, name, seen[name], index), name)
            seen[name] = index
            one_of(path, name, check.known.modalities)
        except Wrong as wrong:
            check.tell(wrong)
    return tuple(seen)


def _twice(check: Check, name: str, first: int, second: int) -> str:
    columns = [check.row.place_of("modalities", str(index)).column for index in (first, second)]
    return (
        f'"{shown(name)}" is named twice, in {columns[0]} and {columns[1]}, and only one of them could be uploaded. '
        "Put the data into one folder, or drop a second manifest."
    )


def bucket(check: Check) -> str:
    """Return the name of the bucket; one that is not known is an objection of the outside world only."""
    name = text_of(check, "s3_bucket") or DEFAULT_BUCKET
    buckets = check.known.buckets
    if name in buckets:
        return name
    near = nearest(name, buckets)
    message = f'Bucket "{shown(name)}" is not known.{hint(near, buckets)}'
    if not BUCKET.fullmatch(name):
        raise Wrong(["s3_bucket"], message, name, near)
    check.error(["s3_bucket"], message, name, suggestion=near, outside=True)
    return name


def email(check: Check) -> str | None:
    """Return who is told, None when nobody is."""
    address = text_of(check, "user_email")
    if address is None:
        if check.known.default_email is None:
            check.warning(["user_email"], "There is no user_email, so nobody will be told how it went.")
        return check.known.default_email
    if len(address) > 254 or not EMAIL.fullmatch(address):
        raise Wrong(["user_email"], "This is not one e-mail address. Write it as name@example.org.", address)
    return address


def email_types(check: Check) -> frozenset[str]:
    """Return what mails are asked for."""
    path = ["email_notification_types"]
    written = check.row.entry.get(path[0])
    if written is None:
        return DEFAULT_EMAIL_TYPES
    # A program that writes a list into a cell writes it as ['begin', 'end'].
    words = re.split(r"[\s,;\[\]'\"]+", written) if isinstance(written, str) else written
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Wrong(path, f"This must be a list out of {', '.join(EMAIL_TYPES)}.", written)
    return frozenset(one_of(path, word.lower(), EMAIL_TYPES) for word in words if word)


def compare_prefix(check: Check) -> None:
    """Clients send the name they expect; where the data goes to is decided here."""
    sent = check.row.entry.get("s3_prefix")
    if sent is not None and check.has_asset() and sent != (ours := check.asset()[1]):
        message = f"The data will be in {ours}; the s3_prefix written here is not used."
        check.warning(["s3_prefix"], message, sent, suggestion=ours)
