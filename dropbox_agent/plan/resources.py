"""What a task asks of a cluster: ``image_resources`` -> options of sbatch, and what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dropbox_agent.plan.properties import BY_NAME, PROPERTIES, Property, Unfit, names, numbered, some, text, whole


@dataclass(frozen=True)
class Fault:
    """What is wrong with one property."""

    name: str
    words: str
    """The rest of a sentence that begins with the property: ``is 0; write 1 or more``."""
    suggestion: str | None = None
    passed_over: bool = False
    """It does no harm: the agent decides this itself, and goes on."""


EXCLUDE_EACH_OTHER: tuple[tuple[str, ...], ...] = (
    ("--mem", "--mem-per-cpu", "--mem-per-gpu"),
    ("--exclusive", "--oversubscribe"),
)
"""sbatch refuses more than one of these."""
NOTHING: tuple[Any, ...] = (None, {})
"""Values that set nothing."""


def options(resources: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of sbatch that ask for the resources, in the order of the map. What is unfit is left out."""
    return tuple(option for _, option in _options(resources, []))


def problems(resources: Mapping[str, Any], *, by_manifest: frozenset[str] = frozenset()) -> tuple[Fault, ...]:
    """Return what is wrong with the resources: unknown, refused and unfit properties, and those that exclude others.

    ``by_manifest`` names the properties that a manifest set; the others come from presets, which may set more.
    """
    faults = [_unknown(name) for name, value in resources.items() if name not in BY_NAME and value not in NOTHING]
    made = list(_options(resources, faults))
    faults += _of_the_operator(resources, by_manifest)
    return (*faults, *_twice(made), *_excluding(made))


def environment(resources: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that ``environment`` sets, from a list of NAME=VALUE or a group; none when it is unfit."""
    try:
        return _variables(resources.get("environment") or {})
    except Unfit:
        return {}


def copies(resources: Mapping[str, Any]) -> dict[str, str]:
    """Return where copies of the log go: "standard_output" and "standard_error" with their paths; none when unfit."""
    found = {}
    for name in ("standard_output", "standard_error"):
        if resources.get(name) is not None:
            with suppress(Unfit):
                found[name] = _path(resources[name])
    return found


def starts_in(resources: Mapping[str, Any]) -> str | None:
    """Return the folder in which a script starts; None when that is its output folder."""
    try:
        folder = _path(resources.get("current_working_directory") or ".")
    except Unfit:
        return None
    return None if folder == "." else folder


def _path(value: Any) -> str:
    path = text(value)
    if not path.startswith("/"):
        raise Unfit("is not a full path, beginning with /")
    return path


def _variables(given: Any) -> dict[str, str]:
    if isinstance(given, list):
        given = dict(str(one).partition("=")[::2] for one in given)
    if not isinstance(given, dict):
        raise Unfit("is neither a list of NAME=VALUE nor a group of names and values")
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)) or isinstance(value, (dict, list)):
            raise Unfit(f"has {str(name)[:60]!r}, which is no name of a variable with a value")
        if "\0" in str(value):
            raise Unfit(f"has a value for {name} with a character that no variable can have")
    return {str(name): str(value) for name, value in given.items() if value is not None}


# --- making options --------------------------------------------------------------------------------------------------


def _options(resources: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[str, str]]:
    """Yield (property, option), and note what is wrong with single ones."""
    for known in PROPERTIES:
        value = resources.get(known.name)
        if value in NOTHING:
            continue
        if known.decided or known.refused:
            faults.append(Fault(known.name, known.decided or known.refused or "", passed_over=known.refused is None))
            continue
        try:
            yield from ((known.name, option) for option in _of_one(known, value, resources))
        except Unfit as unfit:
            faults.append(Fault(known.name, str(unfit)))


def _of_one(known: Property, value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    if known.joint:
        yield from JOINT[known.name](value, resources)
        return
    assert known.option is not None and known.reads is not None
    written = known.reads(value)
    if written is not None:
        yield f"{known.option}={written}" if written else known.option


def _nodes(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", value if isinstance(value, str) else whole(value))
    if found is None or int(found[1]) == 0 or (found[2] and int(found[2]) < int(found[1])):
        raise Unfit("is no number of nodes; write 2, or 1-4")
    yield f"--nodes={value}"


def _fewest_nodes(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    most = resources.get("maximum_nodes")
    if most is not None and int(some(most)) < int(some(value)):
        raise Unfit("is more than maximum_nodes")
    if resources.get("nodes") is None:
        yield f"--nodes={some(value)}" if most is None else f"--nodes={value}-{most}"


def _most_nodes(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    some(value)
    if resources.get("nodes") is None and resources.get("minimum_nodes") is None:
        yield f"--nodes=1-{value}"


def _fewest_cpus(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    if (resources.get("tasks") or resources.get("ntasks") or 1) != 1:
        raise Unfit("has no option of sbatch beside tasks; write cpus_per_task")
    yield f"--cpus-per-task={some(value)}"


def _switches(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    count = numbered(some)(value)
    longest = resources.get("wait_for_switch")
    if count is not None:
        seconds = None if longest is None else int(whole(longest))
        yield f"--switches={count}" if seconds is None else f"--switches={count}@{seconds // 60}:{seconds % 60:02d}"


def _wait_for_switch(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    whole(value)
    if resources.get("required_switches") is None:
        raise Unfit("says how long to wait for required_switches; set that too")
    yield from ()


FLAGS: Mapping[str, str] = {
    "SPREAD_JOB": "--spread-job",
    "PREFER_MINIMUM_NODE_COUNT": "--use-min-nodes",
    "GRES_BINDING_ENFORCED": "--gres-flags=enforce-binding",
    "GRES_BINDING_DISABLED": "--gres-flags=disable-binding",
}
"""The flags that have an option; Slurm sets the others itself."""


def _flags(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    yield from (FLAGS[one] for one in names(value).split(",") if one in FLAGS)


SHARING: Mapping[str, str | None] = {
    "oversubscribe": "--oversubscribe",
    "none": "--exclusive",
    "true": "--exclusive",
    "user": "--exclusive=user",
    "mcs": "--exclusive=mcs",
    "false": None,
}


def _sharing(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    words = [str(value).lower()] if isinstance(value, bool) else names(value).lower().split(",")
    for word in words:
        if word not in SHARING:
            raise Unfit(f"has {word}; known are {', '.join(SHARING)}")
        if (option := SHARING[word]) is not None:
            yield option


def _no_option(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    _variables(value)
    yield from ()  # they travel in the allocation's file; sbatch is told to export nothing


def _copied_to(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    _path(value)
    yield from ()  # the job's own log is in the run folder; the wrapper copies it


def _folder(value: Any, resources: Mapping[str, Any]) -> Iterator[str]:
    if value != ".":
        _path(value)
    yield from ()  # a job works in its run folder; its script starts there


JOINT: Mapping[str, Callable[[Any, Mapping[str, Any]], Iterator[str]]] = {
    "current_working_directory": _folder,
    "environment": _no_option,
    "exclusive": _sharing,
    "flags": _flags,
    "maximum_nodes": _most_nodes,
    "minimum_cpus": _fewest_cpus,
    "minimum_nodes": _fewest_nodes,
    "nodes": _nodes,
    "required_switches": _switches,
    "shared": _sharing,
    "standard_error": _copied_to,
    "standard_output": _copied_to,
    "wait_for_switch": _wait_for_switch,
}
"""The properties whose option depends on others, or that make several."""


# --- what is wrong ---------------------------------------------------------------------------------------------------


def _unknown(name: str) -> Fault:
    near = difflib.get_close_matches(str(name)[:100].lower().replace("-", "_"), BY_NAME, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; known are the job properties of Slurm's slurmrestd, and cpus,"
    more = "" if near else " memory, time, gres, gpus, nodes, partition"
    return Fault(str(name), f"is not a property of a job{hint}{more}", near[0] if near else None)


def _of_the_operator(resources: Mapping[str, Any], by_manifest: frozenset[str]) -> Iterator[Fault]:
    for known in PROPERTIES:
        if known.operator and known.name in by_manifest and resources.get(known.name) is not None:
            yield Fault(known.name, "is for operators: only a preset may set it")


def _twice(made: list[tuple[str, str]]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for name, written in made:
        option = written.partition("=")[0]
        other = first.setdefault(option, name)
        if other != name:
            yield Fault(name, f"and {other} say the same ({option}); keep one")


def _excluding(made: list[tuple[str, str]]) -> Iterator[Fault]:
    for group in EXCLUDE_EACH_OTHER:
        names = {option: name for name, written in made if (option := written.partition("=")[0]) in group}
        if len(names) > 1:
            first, *others = names.values()
            yield Fault(others[0], f"and {first} exclude each other; keep one")
