"""What a row sets of its tasks, for the session or per modality, each field of its type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from pydantic import ValidationError

from dropbox_agent.model import Task
from dropbox_agent.validate.check import Check, Wrong
from dropbox_agent.validate.fields import MOST_MODALITIES
from dropbox_agent.validate.texts import hint
from dropbox_agent.wording import nearest, shown

PER_MODALITY = frozenset({"modality_transformation_settings", "codeocean_pipeline_settings"})
"""Tasks that are set per modality; as a whole they can only be switched off."""
MAPPED = PER_MODALITY | {"compress_data", "run_codeocean_pipeline"}
"""Tasks that may be set per modality."""
FOLDERS = ("input_source", "metadata_dir")
"""Job settings that name a folder, so must be text."""
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII)
BOOLEANS = {"true": True, "false": False}

_LIKE_A_FIELD = 0.7
"""How like the name of a field a key must be not to be a modality."""

TASK_FIELDS: Mapping[str, str] = {
    "skip_task": "true or false",
    "image": "text",
    "image_version": "text",
    "image_resources": "a mapping of names and values",
    "job_settings": "a mapping of names and values",
    "command_script": "text",
}
"""What each field of a task must be, in words."""


def tasks(check: Check) -> Mapping[str, Any]:
    """Return what the row sets, by canonical task id; what clients send beyond that is told and passed over."""
    written = check.row.entry.get("tasks")
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise Wrong(["tasks"], "tasks must be a mapping of task names.", written)
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in written.items():
        task_id = check.known.task_ids.get(name)
        if task_id is None:
            _tell_unknown(check, name)
        elif task_id in names:
            check.error(
                ["tasks", name], f"{name} and {names[task_id]} are two names of one task. Keep one of them.", name
            )
        elif value is not None:
            names[task_id] = name
            found[task_id] = _task_or_modalities(check, task_id, value, ["tasks", name])
    return found


def _tell_unknown(check: Check, name: str) -> None:
    """Clients send tasks of their own, which are told and passed over; a column is there because somebody meant it."""
    near, path = nearest(name, check.known.task_ids), ["tasks", name]
    if check.part_of(path) is None or check.known.upstream:
        message = f'Task "{shown(name)}" is not known and is passed over.{hint(near)}'
        check.warning(path, message, name, suggestion=near)
    else:
        check.error(
            path, f'Task "{shown(name)}" is not known, so this would be lost.{hint(near)}', name, suggestion=near
        )


def _task_or_modalities(check: Check, task_id: str, value: Any, path: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        check.error(path, f"{path[-1]} must be a mapping, such as skip_task: true.", value)
        return {}
    if not _is_by_modality(check, task_id, value):
        return _whole_task(check, task_id, value, path)
    if task_id not in MAPPED:
        check.error(path, f"{path[-1]} is one task for the whole session: it cannot be set per modality.")
        return {}
    return {
        modality: _task(check, task, [*path, modality])
        for modality, task in value.items()
        if _is_listed(check, modality, [*path, modality])
    }


def _is_by_modality(check: Check, task_id: str, value: Mapping[str, Any]) -> bool:
    """Return whether the keys are meant as modalities, not as the fields of a task.

    A key that is neither is a misspelt modality where there may be one, else a field that nobody knows.
    """
    names = {*check.known.modalities, *_listed(check)}
    if any(key in names for key in value):
        return True
    return (
        task_id in MAPPED
        and bool(value)
        and all(
            isinstance(inner, dict) and key not in TASK_FIELDS and nearest(key, TASK_FIELDS, _LIKE_A_FIELD) is None
            for key, inner in islice(value.items(), MOST_MODALITIES)
        )
    )


def _whole_task(check: Check, task_id: str, value: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    fields = _task(check, value, path)
    if task_id in PER_MODALITY and fields and not fields.get("skip_task"):
        message = f"{path[-1]} is set per modality: write the modality's name first, then its settings."
        check.error(path, message)
    return fields


def _listed(check: Check) -> list[str]:
    """Return the modalities the row names, right or wrong."""
    listed = check.row.entry.get("modalities")
    items = listed[:MOST_MODALITIES] if isinstance(listed, list) else []
    names = [item.get("abbreviation") if isinstance(item, dict) else item for item in items]
    return [name.strip() for name in names if isinstance(name, str)]


def _is_listed(check: Check, modality: str, path: list[str]) -> bool:
    """Settings of a modality that the session does not have would be lost."""
    listed = _listed(check)
    if modality in listed:
        return True
    near = None if modality in check.known.modalities else nearest(modality, listed)
    message = f'"{shown(modality)}" is not among the modalities of this session.{hint(near, listed)}'
    check.error(path, message, modality, suggestion=near)
    return False


def _task(check: Check, value: Any, path: list[str]) -> dict[str, Any]:
    """Return the fields of one task that are set, each of its type."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        check.error(path, f"The settings of {path[-1]} must be a mapping, such as skip_task: true.", value)
        return {}
    fields = {}
    for name, written in value.items():
        if name not in TASK_FIELDS:
            near = nearest(name, TASK_FIELDS)
            message = f'"{shown(name)}" is no setting of a task and is passed over.{hint(near)}'
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


def _of_type(check: Check, fields: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
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
