"""Lay settings over one another: presets below, the manifest on top, each value knowing where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dropbox_agent.model import Job, JobType, Presets, Task

DEFAULT = "default"
"""The job type whose tasks are taken where another has none."""
MANIFEST = "manifest"
TASK_FIELDS = frozenset(Task.model_fields)


@dataclass(frozen=True)
class Layer:
    """The fields one source sets."""

    origin: str
    """The name of a job type, or ``manifest``."""
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Clash:
    """A group of settings meets something that is none."""

    path: tuple[str, ...]
    below: str
    """The kind of value that was there."""
    below_origin: str
    above: str
    above_origin: str


@dataclass
class Merged:
    """What comes of laying layers over one another."""

    fields: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    """Dotted path -> where the value comes from."""
    clashes: list[Clash] = field(default_factory=list)


def layers(job: Job, presets: Presets, task_ids: Sequence[str], modality: str | None) -> tuple[Layer, ...]:
    """Return what sets the given tasks, lowest first: the presets of each, then what the manifest says of each."""
    stored = (layer for task_id in task_ids for layer in preset_layers(job.job_type, presets, task_id, modality))
    written = (layer for task_id in task_ids for layer in _manifest_layers(job, task_id, modality))
    return (*stored, *written)


def preset_layers(job_type: str, presets: Presets, task_id: str, modality: str | None) -> tuple[Layer, ...]:
    """Return what the presets set for one task, lowest first.

    The job type's own chain of ``inherits`` decides; only where nobody in it has the task, ``default`` is taken.
    """
    for name in consulted(job_type):
        found = tuple(_chain_layers(chain(presets, name), task_id, modality))
        if found:
            return found
    return ()


def consulted(job_type: str) -> tuple[str, ...]:
    """Return whose chains are asked for a task, in order. Nobody's for the job type ``custom``."""
    if job_type.strip().lower() == "custom":
        return ()
    return (job_type, DEFAULT) if job_type != DEFAULT else (DEFAULT,)


def chain(presets: Presets, name: str) -> tuple[JobType, ...]:
    """Return a job type after those it inherits from, the farthest first."""
    found: dict[str, JobType] = {}
    next_name: str | None = name
    while next_name is not None and next_name in presets.job_types and next_name not in found:
        found[next_name] = presets.job_types[next_name]
        next_name = found[next_name].inherits
    return tuple(reversed(found.values()))


def presets_hash(job_type: str, presets: Presets) -> str:
    """Return the sha256 of all the presets a job of this type is made from."""
    used = {one.name: one for name in consulted(job_type) for one in chain(presets, name)}
    content = {
        name: {
            "inherits": one.inherits,
            "tasks": sorted([task or "", m or "", f] for (task, m), f in one.tasks.items()),
            **({"retries": {cause: asdict(retry) for cause, retry in one.retries.items()}} if one.retries else {}),
        }
        for name, one in used.items()
    }
    return canonical_hash(content)


def canonical_hash(value: Any) -> str:
    """Return the sha256 of a value as JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def is_task(given: Mapping[str, Any]) -> bool:
    """Return whether this is one task's fields, and not one such group for each modality."""
    return set(given) <= TASK_FIELDS


def merged(parts: Iterable[Layer]) -> Merged:
    """Return the layers laid over one another: groups merge, lists and plain values replace, null leaves as it is."""
    result = Merged()
    for layer in parts:
        _lay_over(result.fields, layer.fields, layer.origin, (), result)
    for name in [name for name, value in result.fields.items() if value is None]:
        del result.fields[name]
        result.origin.pop(name, None)
    return result


def _chain_layers(found: Iterable[JobType], task_id: str, modality: str | None) -> Iterator[Layer]:
    for job_type in found:
        for key in dict.fromkeys(((task_id, None), (task_id, modality))):
            if key in job_type.tasks:
                yield Layer(job_type.name, job_type.tasks[key])


def _manifest_layers(job: Job, task_id: str, modality: str | None) -> Iterator[Layer]:
    given = job.tasks.get(task_id) or {}
    if given and is_task(given):
        yield Layer(MANIFEST, given)
    elif modality in given:
        yield Layer(MANIFEST, given[modality])


def _lay_over(
    below: dict[str, Any], above: Mapping[str, Any], origin: str, path: tuple[str, ...], result: Merged
) -> None:
    for name, value in above.items():
        here = (*path, name)
        present = below.get(name)
        if value is None and name in below:
            continue
        if present is not None and isinstance(present, dict) is not isinstance(value, Mapping):
            result.clashes.append(_clash(here, present, value, origin, result.origin))
        elif isinstance(value, Mapping):
            _lay_group_over(below, name, value, origin, here, result)
        else:
            below[name] = plain(value)
            result.origin[".".join(here)] = origin


def _lay_group_over(
    below: dict[str, Any], name: str, above: Mapping[str, Any], origin: str, here: tuple[str, ...], result: Merged
) -> None:
    dotted = ".".join(here)
    if below.get(name) is None:
        below[name] = {}
        result.origin[dotted] = origin
    if above:
        # A group with something in it has no origin of its own: each of its values has.
        result.origin.pop(dotted, None)
        _lay_over(below[name], above, origin, here, result)


def _clash(path: tuple[str, ...], present: Any, value: Any, origin: str, origins: Mapping[str, str]) -> Clash:
    dotted = ".".join(path)
    before = next((one for where, one in origins.items() if where == dotted or where.startswith(dotted + ".")), origin)
    return Clash(path, kind(present), before, kind(value), origin)


def kind(value: Any) -> str:
    """Return what a value is, in words."""
    if isinstance(value, Mapping):
        return "a group of settings"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "text"


def plain(value: Any) -> Any:
    """Return a copy made of dicts and lists, which nobody else can change."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value
