"""Rows become jobs: every check of what a row says, and every problem at once. Pure: it looks at nothing outside."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

from pydantic import ValidationError

from dropbox_agent.model import EMAIL_TYPES, Job, Known, Level, Place, Problem, Row, Task, asset_name

PLATFORMS = (
    *("behavior", "confocal", "ecephys", "exaSPIM", "FIP", "HCR", "HSFP", "ISI", "MERFISH", "MRI", "mesoSPIM"),
    *("motor-observatory", "multiplane-ophys", "SLAP2", "single-plane-ophys", "SmartSPIM"),
)
"""The platforms of assets; aind-data-schema-models left them out in its version 6, the names of assets did not."""

DEFAULT_BUCKET = "default"
DEFAULT_EMAIL_TYPES = frozenset({"fail"})
PER_MODALITY = frozenset({"modality_transformation_settings", "codeocean_pipeline_settings"})
"""Tasks that are set per modality; as a whole they can only be switched off."""
MAPPED = PER_MODALITY | {"compress_data", "run_codeocean_pipeline"}
"""Tasks that may be set per modality."""
FOLDERS = ("input_source", "metadata_dir")
"""Job settings that name a folder, so must be text."""

SUBJECT = re.compile(r"[A-Za-z0-9-]{1,64}")
PROJECT = re.compile(r"[^\W_][^<>|\\`$\"]{0,127}")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
ISO = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)? ?(Z|[+-]\d{2}:?\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)
AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2}):(\d{2}) ?([AP]M)", re.ASCII | re.IGNORECASE)
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII)
DATE_EXAMPLE = "2024-05-27T16:07:59"
FIRST_YEAR = 1970
AHEAD = timedelta(days=1)
"""Clocks differ, and so do time zones; a session further in the future is a slip."""
BOOLEANS = {"true": True, "false": False}
SHOWN_CHARACTERS = 200
SHOWN_NAMES = 40
MOST_MODALITIES = 50
MOST_PROBLEMS_OF_ROW = 100
MOST_PROBLEMS = 500
"""Told of one file; looking for more would cost time and help nobody."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")

TASK_FIELDS: Mapping[str, str] = {
    "skip_task": "true or false",
    "image": "text",
    "image_version": "text",
    "image_resources": "a mapping of names and values",
    "job_settings": "a mapping of names and values",
    "command_script": "text",
}
"""What each field of a task must be, in words."""


def to_jobs(rows: Sequence[Row], known: Known) -> tuple[tuple[Job, ...], tuple[Problem, ...]]:
    """Return the jobs the rows ask for, and every problem found.

    A row with an error yields no job, unless only the outside world objects to it.
    """
    checks, unchecked = _checks(rows, known)
    _tell_twins(checks)
    jobs = tuple(job for check in checks if (job := check.job()) is not None)
    return jobs, (*(problem for check in checks for problem in check.problems), *unchecked)


def _checks(rows: Sequence[Row], known: Known) -> tuple[list[_Check], list[Problem]]:
    """Return the checked rows; a file so full of problems that not all rows are checked is refused for that."""
    checks: list[_Check] = []
    for row in rows:
        if sum(len(check.problems) for check in checks) >= MOST_PROBLEMS:
            message = (
                f"There are {MOST_PROBLEMS} problems or more, and {len(rows) - len(checks)} rows were not looked at."
            )
            return checks, [Problem(Level.ERROR, Place(row.place.file), f"{message} Put the first ones right.")]
        checks.append(_checked(row, known))
    return checks, []


def known_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the platforms and modalities that exist."""
    from aind_data_schema_models.modalities import Modality  # takes its time, so not before it is needed

    return PLATFORMS, tuple(sorted(Modality.abbreviation_map, key=str.casefold))


@dataclass
class _Check:
    """One row under examination."""

    row: Row
    known: Known
    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def error(self, path: Sequence[str], message: str, found: Any = None, **more: Any) -> None:
        """Tell what is wrong at ``path``."""
        self._tell(Level.ERROR, path, message, found, **more)

    def warning(self, path: Sequence[str], message: str, found: Any = None, **more: Any) -> None:
        """Tell what is odd at ``path``."""
        self._tell(Level.WARNING, path, message, found, **more)

    def tell(self, wrong: _Wrong) -> None:
        """Tell why a field cannot be used."""
        self.error(wrong.path, str(wrong), wrong.found, suggestion=wrong.suggestion)

    def _tell(self, level: Level, path: Sequence[str], message: str, found: Any, **more: Any) -> None:
        self.problems.append(Problem(level, self._place(path), message, _shown(found), **more))
        if len(self.problems) >= MOST_PROBLEMS_OF_ROW:
            raise _Enough

    def _place(self, path: Sequence[str]) -> Place:
        """Return where ``path`` stands; for what is not written, where it belongs."""
        place = self.row.place_of(*path)
        if place is not self.row.place or len(path) != 1:
            return place
        return replace(place, column=f"{place.column}.{path[0]}" if place.column else path[0])

    def job(self) -> Job | None:
        """Return the job, when nothing inside the manifest is wrong with it."""
        inside = [problem for problem in self.problems if problem.level is Level.ERROR and not problem.outside]
        if inside or self.row.refused:
            return None
        return Job(row=self.row, s3_prefix=self.asset()[1], **self.values)

    def has_asset(self) -> bool:
        """Return whether the name of the asset can be told."""
        return {"subject_id", "acq_datetime", "platform", "bucket"} <= self.values.keys()

    def asset(self) -> tuple[str, str]:
        """Return the bucket and name of the asset."""
        named = asset_name(self.values["platform"], self.values["subject_id"], self.values["acq_datetime"])
        return self.values["bucket"], named


def _checked(row: Row, known: Known) -> _Check:
    """Return the row with every field checked; a field that is wrong has no value."""
    check = _Check(row, known)
    checks: Mapping[str, Callable[[_Check], Any]] = {
        "job_type": _job_type,
        "project_name": _project,
        "subject_id": _subject,
        "acq_datetime": _acquired,
        "platform": _platform,
        "modalities": _modalities,
        "bucket": _bucket,
        "user_email": _email,
        "email_types": _email_types,
        "tasks": _tasks,
    }
    try:
        for name, of_row in checks.items():
            _keep(check, name, of_row)
        _compare_prefix(check)
    except _Enough:
        message = (
            f"There are {MOST_PROBLEMS_OF_ROW} problems or more here, and no more are looked for. Put these right."
        )
        check.problems.append(Problem(Level.ERROR, row.place, message))
    return check


def _keep(check: _Check, name: str, of_row: Callable[[_Check], Any]) -> None:
    try:
        check.values[name] = of_row(check)
    except _Wrong as wrong:
        check.tell(wrong)


class _Enough(Exception):
    """So many problems were told of one row that more would help nobody."""


class _Wrong(Exception):
    """A field cannot be used; the message says what would be right."""

    def __init__(self, path: Sequence[str], message: str, found: Any = None, suggestion: str | None = None) -> None:
        self.path, self.found, self.suggestion = path, found, suggestion
        super().__init__(message)


# --- the fields of a job ---------------------------------------------------------------------------------------------


def _job_type(check: _Check) -> str:
    name, known = _required(check, "job_type"), check.known
    if name in known.broken_job_types:
        reason = f'Job type "{name}" cannot be used now: {known.broken_job_types[name]}'
        raise _Wrong(["job_type"], reason, name)
    return _one_of(["job_type"], name, known.job_types)


def _project(check: _Check) -> str:
    name, projects = _required(check, "project_name"), check.known.projects
    if name in projects:
        return name
    if not PROJECT.fullmatch(name):
        message = 'A project name begins with a letter or digit and has at most 128 characters, none of < > | \\ ` $ ".'
        raise _Wrong(["project_name"], message, name)
    if projects:
        near = _nearest(name, projects)
        message = f'Project "{_shown(name)}" is not known.{_hint(near, projects)}'
        check.error(["project_name"], message, name, suggestion=near, outside=True)
    return name


def _subject(check: _Check) -> str:
    text = _required(check, "subject_id")
    if SUBJECT.fullmatch(text):
        return text
    message = "A subject id is made of letters, digits and dashes, at most 64. It names folders, so nothing else goes."
    raise _Wrong(["subject_id"], message, text)


def _acquired(check: _Check) -> datetime:
    text = _required(check, "acq_datetime")
    when = _moment(text)
    if when is None:
        message = f"This is not a date and time that can be read only one way. Write it as {DATE_EXAMPLE}."
        raise _Wrong(["acq_datetime"], message, text)
    if when.year < FIRST_YEAR:
        raise _Wrong(["acq_datetime"], f"A session in the year {when.year} cannot be. Correct the year.", text)
    if when.year > check.known.now.year + 1 or _in_utc(when) > check.known.now + AHEAD:
        raise _Wrong(["acq_datetime"], "This is in the future. Correct the date.", text)
    if ":" not in text:
        day = when.isoformat()
        check.warning(["acq_datetime"], f"There is no time of day, so midnight is taken: {day}.", text, suggestion=day)
    return when


def _platform(check: _Check) -> str | None:
    name = _name(check, check.row.entry.get("platform"), ["platform"])
    return None if name is None else _one_of(["platform"], name, check.known.platforms)


def _modalities(check: _Check) -> tuple[str, ...]:
    """Return the row's modalities; each wrong one is told at its own place."""
    listed = check.row.entry.get("modalities")
    if listed in (None, []):
        raise _Wrong(["modalities"], "No modality is named. Each session has at least one.")
    if not isinstance(listed, list):
        raise _Wrong(["modalities"], "modalities must be a list of names.", listed)
    if len(listed) > MOST_MODALITIES:
        raise _Wrong(["modalities"], f"There are {len(listed)} modalities; a session has at most {MOST_MODALITIES}.")
    seen: dict[str, int] = {}
    for index, item in enumerate(listed):
        path = ["modalities", str(index)]
        try:
            name = _name(check, item, path)
            if name is None:
                raise _Wrong(path, "A modality must have a name.", item)
            if name in seen:
                raise _Wrong(path, _twice(check, name, seen[name], index), name)
            seen[name] = index
            _one_of(path, name, check.known.modalities)
        except _Wrong as wrong:
            check.tell(wrong)
    return tuple(seen)


def _twice(check: _Check, name: str, first: int, second: int) -> str:
    columns = [check.row.place_of("modalities", str(index)).column for index in (first, second)]
    return (
        f'"{name}" is named twice, in {columns[0]} and {columns[1]}, and only one of them could be uploaded. '
        "Put the data into one folder, or drop a second manifest."
    )


def _bucket(check: _Check) -> str:
    name = _text(check, "s3_bucket") or DEFAULT_BUCKET
    buckets = check.known.buckets
    if name in buckets:
        return name
    near = _nearest(name, buckets)
    message = f'Bucket "{_shown(name)}" is not known.{_hint(near, buckets)}'
    if not BUCKET.fullmatch(name):
        raise _Wrong(["s3_bucket"], message, name, near)
    check.error(["s3_bucket"], message, name, suggestion=near, outside=True)
    return name


def _email(check: _Check) -> str | None:
    address = _text(check, "user_email")
    if address is None:
        if check.known.default_email is None:
            check.warning(["user_email"], "There is no user_email, so nobody will be told how it went.")
        return check.known.default_email
    if len(address) > 254 or not EMAIL.fullmatch(address):
        raise _Wrong(["user_email"], "This is not one e-mail address. Write it as name@example.org.", address)
    return address


def _email_types(check: _Check) -> frozenset[str]:
    path = ["email_notification_types"]
    written = check.row.entry.get(path[0])
    if written is None:
        return DEFAULT_EMAIL_TYPES
    words = re.split(r"[\s,;]+", written.strip()) if isinstance(written, str) else written
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _Wrong(path, f"This must be a list out of {', '.join(EMAIL_TYPES)}.", written)
    return frozenset(_one_of(path, word.lower(), EMAIL_TYPES) for word in words if word)


def _compare_prefix(check: _Check) -> None:
    """Clients send the name they expect; where the data goes to is decided here."""
    sent = check.row.entry.get("s3_prefix")
    if sent is not None and check.has_asset() and sent != (ours := check.asset()[1]):
        message = f"The data will be in {ours}; the s3_prefix written here is not used."
        check.warning(["s3_prefix"], message, sent, suggestion=ours)


def _tell_twins(checks: Sequence[_Check]) -> None:
    """Refuse all rows that name one asset, each with the place of another."""
    by_asset: dict[tuple[str, str], list[_Check]] = {}
    for check in checks:
        if check.has_asset():
            by_asset.setdefault(check.asset(), []).append(check)
    for (_, name), twins in by_asset.items():
        for check in twins if len(twins) > 1 else ():
            other = twins[1] if check is twins[0] else twins[0]
            message = f"{_where(other.row)} is the same session, {name}. Each session may stand in a manifest once."
            check.problems.append(Problem(Level.ERROR, check.row.place, message, found=name))


def _where(row: Row) -> str:
    if row.place.column:
        return f"{row.place.column} in line {row.place.row}"
    return f"Row {row.place.row}"


# --- dates -----------------------------------------------------------------------------------------------------------


def _moment(text: str) -> datetime | None:
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


def _in_utc(when: datetime) -> datetime:
    """Return when it was; a wall clock without a zone is taken as UTC, for which AHEAD makes up."""
    return when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)


# --- tasks -----------------------------------------------------------------------------------------------------------


def _tasks(check: _Check) -> Mapping[str, Any]:
    """Return what the row sets, by canonical task id; what clients send beyond that is told and passed over."""
    written = check.row.entry.get("tasks")
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise _Wrong(["tasks"], "tasks must be a mapping of task names.", written)
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in written.items():
        task_id = check.known.task_ids.get(name)
        if task_id is None:
            near = _nearest(name, check.known.task_ids)
            message = f'Task "{_shown(name)}" is not known and is passed over.{_hint(near)}'
            check.warning(["tasks", name], message, name, suggestion=near)
        elif task_id in names:
            check.error(
                ["tasks", name], f"{name} and {names[task_id]} are two names of one task. Keep one of them.", name
            )
        elif value is not None:
            names[task_id] = name
            found[task_id] = _task_or_modalities(check, task_id, value, ["tasks", name])
    return found


def _task_or_modalities(check: _Check, task_id: str, value: Any, path: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        check.error(path, f"{path[-1]} must be a mapping, such as skip_task: true.", value)
        return {}
    if not _is_by_modality(check, value):
        return _whole_task(check, task_id, value, path)
    if task_id not in MAPPED:
        check.error(path, f"{path[-1]} is one task for the whole session: it cannot be set per modality.")
        return {}
    return {
        modality: _task(check, task, [*path, modality])
        for modality, task in value.items()
        if _is_listed(check, modality, [*path, modality])
    }


def _is_by_modality(check: _Check, value: Mapping[str, Any]) -> bool:
    """Return whether the keys are meant as modalities, not as the fields of a task."""
    names = {*check.known.modalities, *_listed(check)}
    if any(key in names for key in value):
        return True
    return bool(value) and all(
        isinstance(inner, dict) and key not in TASK_FIELDS and _nearest(key, TASK_FIELDS) is None
        for key, inner in islice(value.items(), MOST_MODALITIES)
    )


def _whole_task(check: _Check, task_id: str, value: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    fields = _task(check, value, path)
    if task_id in PER_MODALITY and fields and not fields.get("skip_task"):
        message = f"{path[-1]} is set per modality: write the modality's name first, then its settings."
        check.error(path, message)
    return fields


def _listed(check: _Check) -> list[str]:
    """Return the modalities the row names, right or wrong."""
    listed = check.row.entry.get("modalities")
    items = listed[:MOST_MODALITIES] if isinstance(listed, list) else []
    names = [item.get("abbreviation") if isinstance(item, dict) else item for item in items]
    return [name.strip() for name in names if isinstance(name, str)]


def _is_listed(check: _Check, modality: str, path: list[str]) -> bool:
    """Settings of a modality that the session does not have would be lost."""
    listed = _listed(check)
    if modality in listed:
        return True
    near = _nearest(modality, listed)
    message = f'"{_shown(modality)}" is not among the modalities of this session.{_hint(near, listed)}'
    check.error(path, message, modality, suggestion=near)
    return False


def _task(check: _Check, value: Any, path: list[str]) -> dict[str, Any]:
    """Return the fields of one task that are set, each of its type."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        check.error(path, f"The settings of {path[-1]} must be a mapping, such as skip_task: true.", value)
        return {}
    fields = {}
    for name, written in value.items():
        if name not in TASK_FIELDS:
            near = _nearest(name, TASK_FIELDS)
            message = f'"{_shown(name)}" is no setting of a task and is passed over.{_hint(near)}'
            check.warning([*path, name], message, name, suggestion=near)
        elif written is not None:
            fields[name] = _typed(name, written)
    return _of_type(check, fields, path)


def _typed(name: str, written: Any) -> Any:
    """Return text as the type its field asks for; job settings are the task's own affair and stay as written."""
    if name == "skip_task" and isinstance(written, str):
        return BOOLEANS.get(written.strip().lower(), written)
    return _resources(written) if name == "image_resources" else written


def _resources(written: Any) -> Any:
    """Return resources with their numbers as numbers: text is all that tables and YAML have."""
    if isinstance(written, dict):
        return {name: _resources(value) for name, value in written.items()}
    if isinstance(written, list):
        return [_resources(value) for value in written]
    if not isinstance(written, str):
        return written
    if NUMBER.fullmatch(written):
        return float(written) if "." in written else int(written)
    return BOOLEANS.get(written.lower(), written)


def _of_type(check: _Check, fields: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    try:
        task = Task.model_validate(fields, strict=True)
    except ValidationError as wrong:
        for name in dict.fromkeys(str(error["loc"][0]) for error in wrong.errors(include_url=False)):
            check.error([*path, name], f"{name} must be {TASK_FIELDS[name]}.", fields[name])
        return {}
    for folder in FOLDERS:
        named = (task.job_settings or {}).get(folder)
        if named is not None and not isinstance(named, str):
            check.error([*path, "job_settings", folder], f"{folder} must be the path of one folder.", named)
    return task.model_dump(exclude_unset=True)


# --- text and names --------------------------------------------------------------------------------------------------


def _text(check: _Check, name: str) -> str | None:
    """Return a field as text, None when it is empty. A whole number is text too: subject ids often are."""
    value = check.row.entry.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise _Wrong([name], f"{name} must be text.", value)
    return _printable(value, [name]) or None


def _required(check: _Check, name: str) -> str:
    text = _text(check, name)
    if text is None:
        raise _Wrong([name], f"{name} is missing. Fill it in.")
    return text


def _name(check: _Check, value: Any, path: Sequence[str]) -> str | None:
    """Return a platform or modality: its abbreviation, also as the object that upstream's clients send."""
    if isinstance(value, dict):
        value = value.get("abbreviation")
        if value is None:
            raise _Wrong(path, 'This must have an "abbreviation".')
    if value is not None and not isinstance(value, str):
        raise _Wrong(path, "This must be a name.", value)
    return _printable(value, path) or None


def _printable(text: str | None, path: Sequence[str]) -> str:
    stripped = (text or "").strip()
    if CONTROL.search(stripped):
        raise _Wrong(path, "There is a line break or a control character in it. Type it anew.", stripped)
    return stripped


def _one_of(path: Sequence[str], name: str, known: Iterable[str]) -> str:
    names = list(known)
    if name in names:
        return name
    near = _nearest(name, names)
    raise _Wrong(path, f'"{_shown(name)}" is not known.{_hint(near, names)}', name, near)


def _nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``word`` was probably meant to be."""
    by_shape = {_shape(name): name for name in known}
    near = difflib.get_close_matches(_shape(word[:100]), by_shape, n=1, cutoff=0.7)
    return by_shape[near[0]] if near else None


def _shape(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.casefold())


def _hint(near: str | None, known: Sequence[str] = ()) -> str:
    question = f' Did you mean "{near}"?' if near else ""
    if not known:
        return question
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    return f"{question} Known: {', '.join(known[:SHOWN_NAMES])}{more}."


def _shown(found: Any) -> str | None:
    """Return what was found, fit to show."""
    if found is None:
        return None
    text = CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", str(found)[: SHOWN_CHARACTERS + 1])
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
