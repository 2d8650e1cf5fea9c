"""All job types of a site together: who inherits from whom, and which of them cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dropbox_agent import plan
from dropbox_agent.model import JobType, Presets
from dropbox_agent.presets.meaning import instead
from dropbox_agent.yaml_lines import Path as KeyPath


@dataclass(frozen=True)
class Stored:
    """One job type that could be read."""

    job_type: JobType
    wrong: Callable[[KeyPath, str], str]
    """Makes a sentence about the value at a path of it: it names the file and line, or the parameter."""


def together(stored: Mapping[str, Stored], broken: Mapping[str, str]) -> Presets:
    """Return the job types without those that clash with what they inherit, or inherit from what cannot be used."""
    usable, unusable = dict(stored), dict(broken)
    _break_clashing(usable, unusable)
    _break_inheritors(usable, unusable)
    return Presets(_job_types(usable), unusable)


def _job_types(stored: Mapping[str, Stored]) -> dict[str, JobType]:
    return {name: one.job_type for name, one in stored.items()}


def _break_inheritors(stored: dict[str, Stored], broken: dict[str, str]) -> None:
    """Move the job types that inherit from what is missing, broken, or themselves."""
    while True:
        wrong = {name: why for name, one in stored.items() if (why := _why_not_inherited(one, stored, broken))}
        if not wrong:
            return
        for name, why in wrong.items():
            broken[name] = why
            del stored[name]


def _why_not_inherited(one: Stored, stored: Mapping[str, Stored], broken: Mapping[str, str]) -> str | None:
    name, parent = one.job_type.name, one.job_type.inherits
    if parent is None or (parent in stored and not _goes_in_a_circle(name, stored)):
        return None
    if parent in broken:
        words = f"{name} inherits {parent}, which cannot be used ({broken[parent].rstrip('.')})"
    elif parent in stored:
        words = f"{name} inherits {parent}, which leads back to {name}"
    else:
        words = f"{name} inherits {parent}, which is not there{instead(parent, set(stored) - {name})}"
    return one.wrong(("inherits",), words)


def _goes_in_a_circle(name: str, stored: Mapping[str, Stored]) -> bool:
    """Return whether following ``inherits`` leads back to where it began."""
    seen = {name}
    following = stored[name].job_type.inherits
    while following is not None and following in stored and following not in seen:
        seen.add(following)
        following = stored[following].job_type.inherits
    return following == name


def _break_clashing(stored: dict[str, Stored], broken: dict[str, str]) -> None:
    """Move the job types that set a group where they inherit a plain value, or the reverse."""
    presets = Presets(_job_types(stored), {})
    clashing: dict[str, str] = {}
    for name, one in stored.items():
        for task_id, modality in one.job_type.tasks:
            for clash in plan.merged(plan.preset_layers(name, presets, task_id, modality)).clashes:
                path = ("tasks", task_id, *([modality] if modality else []), *clash.path)
                words = f"{clash.path[-1]} is {clash.above}, where {clash.below_origin} has {clash.below}"
                clashing.setdefault(name, one.wrong(path, words))
    for name, why in clashing.items():
        broken[name] = why
        del stored[name]
