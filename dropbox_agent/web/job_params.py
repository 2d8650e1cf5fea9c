"""The stored tasks of each job type: as a job gets them, with the origin of each value; and how two types differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from dropbox_agent import plan
from dropbox_agent.model import Presets
from dropbox_agent.web import answers
from dropbox_agent.web.asked import asked
from dropbox_agent.web.parts import Parts

ADDRESS = "/job_params"
Key = tuple[str, str | None]


@dataclass(frozen=True)
class Value:
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

    task_id: str
    modality: str | None
    path: str
    left: Value | None
    right: Value | None


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
        "differences": differences(presets, name, other) if name and other else (),
    }


def merged_tasks(presets: Presets, name: str) -> tuple[MergedTask, ...]:
    """Return the tasks of a job type with those it inherits and falls back to, in the order of the pipeline."""
    order = {step.task_id: number for number, step in enumerate(plan.PIPELINE)}
    keys = {key for job_type in presets.job_types.values() for key in job_type.tasks}
    found = (_merged(presets, name, key) for key in sorted(keys, key=lambda key: (order[key[0]], key[1] or "")))
    return tuple(task for task in found if task.values)


def _merged(presets: Presets, name: str, key: Key) -> MergedTask:
    task_id, modality = key
    made = plan.merged(plan.preset_layers(name, presets, task_id, modality))
    values = tuple(
        Value(path, value, _origin(made.origin, path)) for path, value in _leaves(made.fields) if value is not None
    )
    return MergedTask(task_id, modality, values)


def differences(presets: Presets, name: str, other: str) -> tuple[Difference, ...]:
    """Return what two job types do not share, in the order of the pipeline."""
    left, right = _flat(presets, name), _flat(presets, other)
    order = {step.task_id: number for number, step in enumerate(plan.PIPELINE)}
    places = sorted({*left, *right}, key=lambda place: (order[place[0]], place[1] or "", place[2]))
    pairs = ((place, left.get(place), right.get(place)) for place in places)
    return tuple(
        Difference(*place, one, two)
        for place, one, two in pairs
        if (one.value if one else None) != (two.value if two else None)
    )


def _flat(presets: Presets, name: str) -> Mapping[tuple[str, str | None, str], Value]:
    return {
        (task.task_id, task.modality, value.path): value
        for task in merged_tasks(presets, name)
        for value in task.values
    }


def _leaves(fields: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        path = f"{above}.{name}" if above else str(name)
        found += _leaves(value, path) if isinstance(value, Mapping) and value else [(path, value)]
    return found


def _origin(origins: Mapping[str, str], path: str) -> str:
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return ""
