"""Where a manifest, a job or a problem stands, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from dropbox_agent.model import JobStanding, Level, Place, Problem, Standing, TaskStanding
from dropbox_agent.report.text import one_line
from dropbox_agent.states import FINAL_TASK_STATES, DropState, JobState, TaskState
from dropbox_agent.wording import counted

SHOWN_ROWS = 5
"""How many row numbers a summary names before it only counts."""
NOTE_CHARACTERS = 400
"""Where a text that somebody else wrote is cut."""
UPLOAD = "upload_data_to_s3"
LINE_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Manifests whose places are lines, not rows of a table."""


def summary(standing: Standing) -> str:
    """Return where the manifest stands, in one sentence, and what came of the last order for it."""
    return " ".join(filter(None, (_stands(standing), standing.note and one_line(standing.note, NOTE_CHARACTERS))))


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
    """Return the tasks that run again, or are to; of those that run together, the first."""
    again = [task for task in job.tasks if task.earlier and task.state not in FINAL_TASK_STATES]
    return tuple({task.allocation: task for task in reversed(again)}.values())[::-1]


def of_level(problems: Iterable[Problem], level: Level) -> tuple[Problem, ...]:
    """Return the problems that are errors, or those that are warnings."""
    return tuple(problem for problem in problems if problem.level is level)


def _stands(standing: Standing) -> str:
    if standing.state is DropState.SETTLING:
        return "Waiting until the file has stopped changing."
    errors = of_level(standing.problems, Level.ERROR)
    if standing.state is DropState.REFUSED:
        return f"Refused: {counted(len(errors), 'problem')}{_in_rows(errors)}; nothing was uploaded."
    return "; ".join([*_job_phrases(standing.jobs), *_refused_rows(errors)]) + "."


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
    return listed(list(keys)) or "see the jobs"


def _refused_rows(errors: Sequence[Problem]) -> list[str]:
    return [f"refused: {counted(len(errors), 'problem')}{_in_rows(errors)}"] if errors else []


def _in_rows(problems: Sequence[Problem]) -> str:
    rows = sorted({problem.place.row for problem in problems if problem.place.row is not None})
    if not rows:
        return ""
    word = _row_word(problems[0].place)
    return f" in {word}{'s' if len(rows) > 1 else ''} {listed([str(row) for row in rows])}"


def _row_word(place: Place) -> str:
    return "line" if PurePath(place.file).suffix.lower() in LINE_SUFFIXES else "row"


def listed(names: Sequence[str]) -> str:
    """Return ``2``, ``2 and 5``, ``2, 5 and 7`` or, when there are many, ``2, 5, 7, 9, 11 and 4 more``."""
    if len(names) > SHOWN_ROWS + 1:
        names = [*names[:SHOWN_ROWS], f"{len(names) - SHOWN_ROWS} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
