"""The stored tasks of each job type: as a job gets them, with the origin of each value; and how two types differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from dropbox_agent import plan, report
from dropbox_agent.model import Presets
from dropbox_agent.plan import retries
from dropbox_agent.states import Cause
from dropbox_agent.web import answers
from dropbox_agent.web.asked import asked
from dropbox_agent.web.parts import Parts

ADDRESS = "/job_params"
Key = tuple[str, str | None]
ORDER = {step.task_id: number for number, step in enumerate(plan.PIPELINE)}


class Value(NamedTuple):
    """One effective setting."""

    path: str
    value: Any
    origin: str
    """The job type it comes from."""


@dataclass(frozen=True)
class MergedTask:
    """One task of a job type, as a job gets it before its manifest has a say."""

    task_id: str
    modality: str | None
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Difference:
    """One value that two job types do not share; None where one has none."""

    path: str
    left: Value | None
    right: Value | None


@dataclass(frozen=True)
class DifferentTask:
    """One task that two job types do not share."""

    task_id: str
    modality: str | None
    values: tuple[Difference, ...]


def router(parts: Parts) -> APIRouter:
    """Return the addresses of the job parameters."""
    found = APIRouter(include_in_schema=False)

    @found.get(ADDRESS)
    def job_params(request: Request) -> Response:
        what = asked(ADDRESS, request.query_params, ("job_type", "with"))
        return answers.page(
            parts.pages, "web/job_params.html.j2", asked=what,
            **_facts(parts.examiner.load_presets(), what.get("job_type"), what.get("with")),
        )  # fmt: skip

    return found


def _facts(presets: Presets, name: str, other: str) -> dict[str, Any]:
    unknown = [one for one in (name, other) if one and one not in presets.job_types]
    if unknown:
        raise HTTPException(404, "There is no such job type, or it cannot be used: the list says why.")
    return {
        "presets": presets,
        "name": name,
        "other": other,
        "tasks": merged_tasks(presets, name) if name else (),
        "retries": _retries(presets, name) if name else (),
        "differences": differences(presets, name, other) if name and other else (),
    }


def merged_tasks(presets: Presets, name: str) -> tuple[MergedTask, ...]:
    """Return the tasks of a job type with those it inherits and falls back to, in the order of the pipeline."""
    keys = {key for job_type in presets.job_types.values() for key in job_type.tasks}
    found = (_merged(presets, name, key) for key in sorted(keys, key=lambda key: (ORDER[key[0]], key[1] or "")))
    return tuple(task for task in found if task.values)


def _retries(presets: Presets, name: str) -> tuple[tuple[str, str], ...]:
    """Return after what a task of the job type is run again by itself, and how."""
    found = ((Cause(cause), retry) for cause, retry in retries.retries_of(name, presets).items())
    return tuple((retries.WHY[cause], retries.in_words(cause, retry)) for cause, retry in found)


def _merged(presets: Presets, name: str, key: Key) -> MergedTask:
    task_id, modality = key
    made = plan.merged(plan.preset_layers(name, presets, task_id, modality))
    values = report.settings_with_origin(made.fields, made.origin)
    return MergedTask(task_id, modality, tuple(Value(*one) for one in values))


def differences(presets: Presets, name: str, other: str) -> tuple[DifferentTask, ...]:
    """Return what two job types do not share, in the order of the pipeline."""
    left, right = _by_key(presets, name), _by_key(presets, other)
    keys = sorted({*left, *right}, key=lambda key: (ORDER[key[0]], key[1] or ""))
    found = (DifferentTask(*key, _different(left.get(key, {}), right.get(key, {}))) for key in keys)
    return tuple(task for task in found if task.values)


def _different(left: Mapping[str, Value], right: Mapping[str, Value]) -> tuple[Difference, ...]:
    pairs = [(path, left.get(path), right.get(path)) for path in {**left, **right}]
    return tuple(
        Difference(path, one, two)
        for path, one, two in pairs
        if (one.value if one else None) != (two.value if two else None)
    )


def _by_key(presets: Presets, name: str) -> Mapping[Key, Mapping[str, Value]]:
    tasks = merged_tasks(presets, name)
    return {(task.task_id, task.modality): {value.path: value for value in task.values} for task in tasks}
