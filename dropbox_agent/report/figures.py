"""Times, sizes and how far something is, as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from dropbox_agent.model import EarlierAttempt, JobStanding, TaskStanding
from dropbox_agent.report.sentences import listed
from dropbox_agent.report.text import one_line
from dropbox_agent.states import TaskState


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


def took_text(one: TaskStanding | EarlierAttempt) -> str:
    """Return where an attempt ran and what it took: ``on n1, 2 min 5 s, 433 MB of memory``; empty when not known."""
    where_it_ran = f"on {one_line(one.node, 100)}" if one.node else ""
    time_taken = took(timedelta(seconds=one.elapsed_seconds)) if one.elapsed_seconds is not None else ""
    memory = f"{size_text(one.max_rss_bytes)} of memory" if one.max_rss_bytes else ""
    return ", ".join(filter(None, (where_it_ran, time_taken, memory)))


def ran_text(task: TaskStanding, job: JobStanding) -> str:
    """Return where a task ran and what that took; of tasks that ran together the first says it for all."""
    slurm_job = f"Slurm job {task.slurm_job_id}" if task.slurm_job_id else ""
    together = [one for one in job.tasks if one.key == task.key or (one.started and _ran_together(one, task))]
    if together[0].key != task.key:
        return slurm_job
    others = f"together with {listed([one.key for one in together[1:]])}" if together[1:] else ""
    return ", ".join(filter(None, (slurm_job, took_text(task), others)))


def _ran_together(one: TaskStanding, other: TaskStanding) -> bool:
    return one.allocation is not None and (one.allocation, one.attempt) == (other.allocation, other.attempt)


def time_text(moment: datetime | None) -> str:
    """Return a time as people read it, in UTC: ``2024-05-27 16:07:59``; empty for none."""
    return "" if moment is None else f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def iso(moment: datetime) -> str:
    """Return a time as programs read it, in UTC: ``2024-05-27T16:07:59.000Z``."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
