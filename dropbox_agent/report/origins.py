"""Every setting of a task, and where its value comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dropbox_agent.model import PlannedTask


def effective(task: PlannedTask) -> tuple[tuple[str, Any, str], ...]:
    """Return every effective setting of a task: dotted path, value, where the value comes from."""
    return settings_with_origin(task.settings, task.origin)


def settings_with_origin(settings: Mapping[str, Any], origins: Mapping[str, str]) -> tuple[tuple[str, Any, str], ...]:
    """Return every setting that has a value: dotted path, value, origin; a number of slurmrestd's form as a number."""
    return tuple((path, value, _origin(origins, path)) for path, value in _leaves(settings, "") if value is not None)


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
