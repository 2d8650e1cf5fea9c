"""Turn what the ledger knows of a manifest into words: the status files beside it, the mails, the inbox's README.

Everything a person reads is a template; a site's own folder replaces the packaged templates file by file.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateRuntimeError

from dropbox_agent.errors import TemplateUnusable
from dropbox_agent.model import (
    EarlierAttempt,
    JobStanding,
    Level,
    Mail,
    Place,
    PlannedTask,
    Problem,
    Standing,
    TaskStanding,
)
from dropbox_agent.states import FINAL_TASK_STATES, DropState, JobState, TaskState
from dropbox_agent.wording import counted

STATUS_SCHEMA = 1
"""The version of status.json; it grows when a field changes its meaning or goes."""
RELOAD_SECONDS = 5
"""How often an open status page reloads itself while work goes on."""
LIVE = frozenset({DropState.SETTLING, DropState.ACCEPTED, DropState.RUNNING})
SHOWN_ROWS = 5
"""How many row numbers a summary names before it only counts."""
SHOWN_CHARACTERS = 2000
NOTE_CHARACTERS = 400
"""Where a text that somebody else wrote is cut."""
UPLOAD = "upload_data_to_s3"
LINE_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Manifests whose places are lines, not rows of a table."""
SITE: Mapping[str, Any] = {"name": "", "help_url": "", "contact": "", "bug_report_url": "", "job_type_url": ""}
"""What a template may say of the site, when the settings say nothing."""


@dataclass(frozen=True)
class Report:
    """What is written beside a manifest."""

    status: dict[str, Any]
    """The content of status.json."""
    html: str
    """The content of status.html."""


@dataclass(frozen=True)
class MailText:
    """What one mail says."""

    subject: str
    text: str
    html: str


def render(standing: Standing, now: datetime, pages: Pages, copy: str | None = None) -> Report:
    """Return the two status files of a manifest; ``copy`` is the name of the annotated copy beside it."""
    html = pages.page(
        "status.html.j2",
        standing=standing,
        summary=summary(standing),
        errors=_of_level(standing.problems, Level.ERROR),
        warnings=_of_level(standing.problems, Level.WARNING),
        live=standing.state in LIVE,
        copy=copy,
        reload_seconds=RELOAD_SECONDS,
        now=now,
    )
    return Report(status(standing), html)


def status(standing: Standing) -> dict[str, Any]:
    """Return the content of status.json."""
    return {
        "schema": STATUS_SCHEMA,
        "manifest": standing.name,
        "sha256": standing.sha256,
        "state": standing.state.value,
        "summary": summary(standing),
        "updated": _iso(standing.updated),
        "problems": [problem.as_json() for problem in standing.problems],
        "jobs": [job_status(job) for job in standing.jobs],
    }


def summary(standing: Standing) -> str:
    """Return where the manifest stands, in one sentence, and what came of the last order for it."""
    return " ".join(filter(None, (_stands(standing), standing.note and one_line(standing.note, NOTE_CHARACTERS))))


def _stands(standing: Standing) -> str:
    if standing.state is DropState.SETTLING:
        return "Waiting until the file has stopped changing."
    errors = _of_level(standing.problems, Level.ERROR)
    if standing.state is DropState.REFUSED:
        return f"Refused: {counted(len(errors), 'problem')}{_in_rows(errors)}; nothing was uploaded."
    return "; ".join([*_job_phrases(standing.jobs), *_refused_rows(errors)]) + "."


def mail(mail: Mail, standing: Standing, pages: Pages, copy: str | None = None) -> MailText:
    """Return what one mail says, as plain text and as HTML; ``copy`` names the annotated copy of the manifest."""
    jobs = tuple(job for job in standing.jobs if mail.job_id in (None, job.job_id))
    facts = {
        "kind": mail.kind,
        "standing": standing,
        "summary": summary(standing),
        "copy": copy,
        "jobs": jobs,
        "subject_of": jobs[0].s3_prefix if mail.job_id and jobs else standing.name,
        "failed_tasks": [task for job in jobs for task in failed_tasks(job)],
        "again_tasks": [task for job in jobs for task in tried_again(job)],
        "errors": _of_level(standing.problems, Level.ERROR),
        "warnings": _of_level(standing.problems, Level.WARNING),
    }
    words = f"email/{mail.kind}.txt.j2"
    subject, happened, todo = (one_line(pages.block(words, name, **facts)) for name in ("subject", "happened", "todo"))
    return MailText(
        subject=subject,
        text=pages.page("email/frame.txt.j2", happened=happened, todo=todo, **facts),
        html=pages.page("email/frame.html.j2", subject=subject, happened=happened, todo=todo, **facts),
    )


def readme(pages: Pages, inbox: Path) -> str:
    """Return the README.txt that tells people how to use an inbox."""
    return pages.page("README.txt.j2", inbox=inbox)


# --- the templates ---------------------------------------------------------------------------------------------------


class Pages:
    """The templates of a site: the first folder that has a file wins, so the site's own folder comes first."""

    def __init__(self, folders: Sequence[Path], site: Mapping[str, Any]) -> None:
        self._folders = tuple(folders)
        self._environment = _environment(self._folders, {**SITE, **site})

    def page(self, template: str, **facts: Any) -> str:
        """Return a filled template. Raises TemplateUnusable, which names file and line."""
        try:
            return _encodable(self._template(template).render(facts))
        # A site's template can fail in any way, and none of them may stop the service.
        except Exception as error:
            raise self._unusable(template, error) from error

    def block(self, template: str, block: str, **facts: Any) -> str:
        """Return one filled ``{% block %}`` of a template."""
        try:
            found = self._template(template)
            if block not in found.blocks:
                raise TemplateRuntimeError(f'it has no block "{block}"')
            return _encodable("".join(found.blocks[block](found.new_context(facts))))
        except Exception as error:
            raise self._unusable(template, error) from error

    def _template(self, name: str) -> Template:
        return self._environment.get_template(name)

    def _unusable(self, template: str, error: Exception) -> TemplateUnusable:
        line = getattr(error, "lineno", None)
        file = getattr(error, "filename", None) or f"{template} (looked for in {', '.join(map(str, self._folders))})"
        at = f", line {line}" if line else ""
        return TemplateUnusable(
            f"The template {file}{at} cannot be used: {str(error) or type(error).__name__}."
            " Correct it, or remove it to get the packaged one; it is tried again."
        )


def _environment(folders: Iterable[Path], site: Mapping[str, Any]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        autoescape=_is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(site=site, failed_tasks=failed_tasks, effective=effective, job_progress=job_progress)
    environment.filters.update(
        as_json=json_text,
        clip=clip,
        file_link=file_link,
        fraction=fraction,
        iso=_iso,
        line=one_line,
        progress_text=progress_text,
        size=size_text,
        time=time_text,
        took=took,
        took_text=took_text,
        value=value_text,
        web_address=_is_web_address,
        where=where,
    )
    return environment


def _is_html(template: str | None) -> bool:
    # Everything is escaped but plain text, where &lt; would be shown as it stands.
    return not (template or "").endswith(".txt.j2")


def _encodable(text: str) -> str:
    """Return the text without lone surrogates (they come from file names that are not UTF-8)."""
    return text.encode("utf-8", "replace").decode()


# --- sentences -------------------------------------------------------------------------------------------------------


def where(place: Place) -> str:
    """Return a place in words: ``sheet jobs, row 7, job_type (C7)``; empty when the whole file is meant."""
    row = f"{_row_word(place)} {place.row}" if place.row is not None else None
    sheet = f"sheet {place.sheet}" if place.sheet else None
    words = ", ".join(part for part in (sheet, row, place.column) if part)
    return f"{words} ({place.cell})" if place.cell and words else words or (place.cell or "")


def failed_tasks(job: JobStanding) -> tuple[TaskStanding, ...]:
    """Return the tasks that ended badly."""
    return tuple(task for task in job.tasks if task.state is TaskState.FAILED)


def tried_again(job: JobStanding) -> tuple[TaskStanding, ...]:
    """Return the tasks that run again, or are to."""
    return tuple(task for task in job.tasks if task.earlier and task.state not in FINAL_TASK_STATES)


def job_progress(job: JobStanding) -> tuple[float, int, int]:
    """Return how far a job is (0 to 1), how many of its tasks are done, and how many it has; skipped ones are none."""
    states = [task.state for task in job.tasks if task.state is not TaskState.SKIPPED]
    done = states.count(TaskState.SUCCEEDED)
    under_way = sum(fraction(task.progress) or 0.0 for task in job.tasks if task.state is TaskState.RUNNING)
    return (done + under_way) / len(states) if states else 1.0, done, len(states)


def fraction(progress: Mapping[str, Any] | None) -> float | None:
    """Return how far a task is (0 to 1), by elements, bytes or else files; None when it does not say."""
    for unit in ("elements", "bytes", "files"):
        done, total = _number(progress, f"done_{unit}"), _number(progress, f"total_{unit}")
        if done is not None and total:
            return min(max(done / total, 0.0), 1.0)
    return None


def progress_text(progress: Mapping[str, Any] | None) -> str:
    """Return how far a task is, in words: ``Uploads: 1.2 MB of 3.4 MB, 3 of 12 files``; nothing done is not told."""
    text = (progress or {}).get("text")
    doing = one_line(text) if isinstance(text, str) else ""
    figures = (
        _of_total(progress, "bytes", size_text),
        _of_total(progress, "files", lambda n: f"{n:.0f}"),
        _time_left(_number(progress, "seconds_left")),
    )
    return ": ".join(part for part in (doing, ", ".join(filter(None, figures))) if part)


def effective(task: PlannedTask) -> tuple[tuple[str, Any, str], ...]:
    """Return every effective setting of a task: dotted path, value, where the value comes from."""
    return settings_with_origin(task.settings, task.origin)


def settings_with_origin(settings: Mapping[str, Any], origins: Mapping[str, str]) -> tuple[tuple[str, Any, str], ...]:
    """Return every setting that has a value: dotted path, value, origin; a number of slurmrestd's form as a number."""
    return tuple((path, value, _origin(origins, path)) for path, value in _leaves(settings, "") if value is not None)


def time_text(moment: datetime | None) -> str:
    """Return a time as people read it, in UTC: ``2024-05-27 16:07:59``; empty for none."""
    return "" if moment is None else f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def took(span: timedelta) -> str:
    """Return a length of time in its two largest units: ``2 min 5 s``."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def size_text(size_bytes: float) -> str:
    """Return a number of bytes as people read it: ``3.4 MB``."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"


def file_link(name: str) -> str:
    """Return the address of a file that lies beside the page."""
    return "./" + quote(name.encode("utf-8", "surrogateescape"))


def value_text(value: Any) -> str:
    """Return a setting's value as a settings file would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return clip(str(value))


def json_text(value: Any) -> str:
    """Return a value as indented JSON, in its own order."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=dict)


def clip(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    """Return the text, cut when it is longer than that."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def one_line(text: object, characters: int = SHOWN_CHARACTERS) -> str:
    """Return foreign text as one line without control, direction or other invisible characters, cut when long."""
    visible = "".join(" " if _is_invisible(character) else character for character in str(text))
    return clip(" ".join(visible.split()), characters)


# --- details ---------------------------------------------------------------------------------------------------------


def job_status(job: JobStanding) -> dict[str, Any]:
    """Return one job as status.json has it."""
    return {
        "job_id": job.job_id,
        "s3_prefix": job.s3_prefix,
        "location": job.location,
        "state": job.state.value,
        "tasks": [_task_status(task) for task in job.tasks],
    }


def _task_status(task: TaskStanding) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "modality": task.modality,
        "state": task.state.value,
        "started": _iso(task.started) if task.started else None,
        "ended": _iso(task.ended) if task.ended else None,
        "attempt": task.attempt,
        "slurm_job_id": task.slurm_job_id,
        "log": task.log,
        "message": task.message,
        "progress": _finite(task.progress),
        "node": task.node,
        "elapsed_seconds": _finite(task.elapsed_seconds),
        "max_rss_bytes": task.max_rss_bytes,
        "log_end": task.log_end,
        "earlier_attempts": [_earlier_status(one) for one in task.earlier],
    }


def _earlier_status(one: EarlierAttempt) -> dict[str, Any]:
    return {
        "attempt": one.number,
        "ended": _iso(one.ended),
        "cause": one.cause.value if one.cause else None,
        "message": one.message,
        "slurm_job_id": one.slurm_job_id,
        "node": one.node,
        "elapsed_seconds": _finite(one.elapsed_seconds),
        "max_rss_bytes": one.max_rss_bytes,
    }


def took_text(one: TaskStanding | EarlierAttempt) -> str:
    """Return where an attempt ran and what it took: ``on n1, 2 min 5 s, 433 MB of memory``; empty when not known."""
    where_it_ran = f"on {one_line(one.node, 100)}" if one.node else ""
    time_taken = took(timedelta(seconds=one.elapsed_seconds)) if one.elapsed_seconds is not None else ""
    memory = f"{size_text(one.max_rss_bytes)} of memory" if one.max_rss_bytes else ""
    return ", ".join(filter(None, (where_it_ran, time_taken, memory)))


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finite(value: Any) -> Any:
    """Return the value without NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return value


def _job_phrases(jobs: Sequence[JobStanding]) -> list[str]:
    """Return ``2 of 3 jobs uploaded``, ``1 failed (upload_data_to_s3)`` and so on, the good news last."""
    groups = [
        (f"failed ({_where_failed(jobs)})", [job for job in jobs if job.state is JobState.FAILED]),
        ("cancelled", [job for job in jobs if job.state is JobState.CANCELLED]),
        ("running", [job for job in jobs if job.state is JobState.RUNNING]),
        ("waiting to start", [job for job in jobs if job.state is JobState.ACCEPTED]),
        ("uploaded", [job for job in jobs if job.state is JobState.SUCCEEDED and _has_uploaded(job)]),
        ("done without an upload", [job for job in jobs if job.state is JobState.SUCCEEDED and not _has_uploaded(job)]),
    ]
    told = [(words, len(found)) for words, found in groups if found]
    if not told:
        return ["No job"]
    if len(told) == 1:
        return [f"{counted(len(jobs), 'job')} {told[0][0]}"]
    first, *others = told
    return [f"{first[1]} of {counted(len(jobs), 'job')} {first[0]}", *(f"{number} {words}" for words, number in others)]


def _has_uploaded(job: JobStanding) -> bool:
    return any(task.task_id == UPLOAD and task.state is TaskState.SUCCEEDED for task in job.tasks)


def _where_failed(jobs: Iterable[JobStanding]) -> str:
    keys = dict.fromkeys(task.key for job in jobs for task in failed_tasks(job))
    return _listed(list(keys)) or "see the jobs"


def _refused_rows(errors: Sequence[Problem]) -> list[str]:
    return [f"refused: {counted(len(errors), 'problem')}{_in_rows(errors)}"] if errors else []


def _in_rows(problems: Sequence[Problem]) -> str:
    rows = sorted({problem.place.row for problem in problems if problem.place.row is not None})
    if not rows:
        return ""
    word = _row_word(problems[0].place)
    return f" in {word}{'s' if len(rows) > 1 else ''} {_listed([str(row) for row in rows])}"


def _row_word(place: Place) -> str:
    return "line" if PurePath(place.file).suffix.lower() in LINE_SUFFIXES else "row"


def _listed(names: Sequence[str]) -> str:
    """Return ``2``, ``2 and 5``, ``2, 5 and 7`` or, when there are many, ``2, 5, 7, 9, 11 and 4 more``."""
    if len(names) > SHOWN_ROWS + 1:
        names = [*names[:SHOWN_ROWS], f"{len(names) - SHOWN_ROWS} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _of_level(problems: Iterable[Problem], level: Level) -> tuple[Problem, ...]:
    return tuple(problem for problem in problems if problem.level is level)


def _of_total(progress: Mapping[str, Any] | None, unit: str, words: Callable[[float], str]) -> str:
    done, total = _number(progress, f"done_{unit}"), _number(progress, f"total_{unit}")
    if done is None or (not done and total is None):
        return ""
    text = f"{words(done)} of {words(total)}" if total is not None else f"{words(done)}"
    return f"{text} files" if unit == "files" else text


def _time_left(seconds: float | None) -> str:
    """Return how long it may still take: ``about 3 minutes left``; an estimate, so in round figures."""
    for unit, length in (("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds is not None and seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}s left"
    return "" if seconds is None else "a moment left"


def _number(progress: Mapping[str, Any] | None, name: str) -> float | None:
    value = (progress or {}).get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _leaves(settings: Mapping[str, Any], above: str) -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping) and value:
            yield from [(path, _plain(value))] if _is_a_number(path, value) else _leaves(value, path)
        else:
            yield path, value


def _is_a_number(path: str, value: Mapping[str, Any]) -> bool:
    """Return whether it is a number as slurmrestd writes one: ``{set: true, number: 4000}``."""
    return path.startswith("image_resources.") and "set" in value and set(value) <= {"set", "infinite", "number"}


def _plain(value: Mapping[str, Any]) -> Any:
    if value["set"] is not True:
        return None
    return "infinite" if value.get("infinite") is True else value.get("number")


def _origin(origins: Mapping[str, str], path: str) -> str:
    """Return where a value comes from: what is noted for it, or for the nearest part it stands in."""
    if f"{path}.number" in origins:
        return origins[f"{path}.number"]
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return ""


def _is_invisible(character: str) -> bool:
    # Cc control, Cf direction marks and the like, Cs lone surrogates, Zl and Zp line ends that are no \n.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _is_web_address(text: str) -> bool:
    return text.startswith(("https://", "http://"))
