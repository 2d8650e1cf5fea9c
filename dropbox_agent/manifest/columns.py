"""What each column of a table means: its header becomes a path in the shape of one upstream job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from dropbox_agent.manifest.values import TEXT_KEYS, is_typed
from dropbox_agent.model import Task
from dropbox_agent.wording import nearest

Path = tuple[str, ...]

FIELDS = (
    "job_type",
    "project_name",
    "subject_id",
    "acq_datetime",
    "platform",
    "s3_bucket",
    "user_email",
    "email_notification_types",
)
"""Columns that are fields of a job under their own name."""

SHORTCUTS = MappingProxyType(
    {
        "metadata_dir": ("tasks", "gather_preliminary_metadata", "job_settings", "metadata_dir"),
        "derivatives_dir": ("tasks", "copy_derivatives_folder", "job_settings", "input_source"),
        "force_cloud_sync": ("tasks", "check_s3_folder_exists", "skip_task"),
    }
)
"""Columns that stand for one setting of a task."""

ABBREVIATION = "{modality}"
"""Stands in a path for the modality that the row names in the column's ``modality{n}``."""
MODALITIES: Path = ("modalities",)
"""The path of the ``modality{n}`` columns themselves."""
DAY: Path = ("acq_datetime",)
NAMES = frozenset((name,) for name in FIELDS) - {DAY}
"""The paths of the fields whose values are names, not days."""

_SETTINGS = ("tasks", "modality_transformation_settings", ABBREVIATION)
_RUN_PARAMS = (
    *("tasks", "codeocean_pipeline_settings", ABBREVIATION),
    *("job_settings", "pipeline_monitor_settings", "run_params"),
)
OF_MODALITY = MappingProxyType(
    {
        "input_source": (*_SETTINGS, "job_settings", "input_source"),
        "source": (*_SETTINGS, "job_settings", "input_source"),
        "capsule_id": (*_RUN_PARAMS, "capsule_id"),
        "process_capsule_id": (*_RUN_PARAMS, "capsule_id"),
        "pipeline_id": (*_RUN_PARAMS, "pipeline_id"),
    }
)
"""``modality{n}.NAME`` columns that have a place of their own."""

REQUIRED = ("job_type", "project_name", "subject_id", "acq_datetime", "modality0", "modality0.input_source")
"""The columns that hardly any table can do without."""

TASK_FIELDS = tuple(Task.model_fields)
_DICT_FIELDS = ("job_settings", "image_resources")
_MODALITY = re.compile(r"modality(0|[1-9][0-9]?)", re.IGNORECASE)
_DIGITS = re.compile(r"(0|[1-9][0-9]?)$")
_SEGMENTS = 40
_SURE = 0.8


@dataclass(frozen=True)
class Meaning:
    """What a header means: where its cells go."""

    path: Path
    modality: int | None = None
    """The n of ``modality{n}``."""

    @cached_property
    def is_typed(self) -> bool:
        """Whether a cell may be more than text: it is a setting."""
        return is_typed(self.path)

    @cached_property
    def is_name(self) -> bool:
        """Whether the cells name something, so that a day, a number's format or a truth is not what was typed."""
        return self.path == MODALITIES or self.path in NAMES or self.path[-1] in TEXT_KEYS


def meaning(header: str) -> Meaning | None:
    """Return what ``header`` means, or None when no column is called so."""
    first, *rest = header.split(".")
    name = normal(first)
    if not all(segment.strip() for segment in (first, *rest)) or len(rest) > _SEGMENTS:
        return None
    if name == "tasks":
        return _of_task([segment.strip() for segment in rest])
    if match := _MODALITY.fullmatch(name):
        return _of_modality(int(match.group(1)), [segment.strip() for segment in rest])
    if rest:
        return None
    if name in SHORTCUTS:
        return Meaning(SHORTCUTS[name])
    return Meaning((name,)) if name in FIELDS else None


def looks_like_column(header: str) -> bool:
    """Return whether ``header`` begins like a column of a modality or task, known or not."""
    first, *rest = header.split(".")
    return bool(_MODALITY.fullmatch(normal(first)) or (rest and normal(first) in ("tasks", "modality")))


def suggestion(header: str) -> str | None:
    """Return the header that an unknown one was probably meant to be."""
    first, *rest = header.split(".")
    name = normal(first)
    if rest and _MODALITY.fullmatch(name):
        sub = nearest(normal(rest[0]), (*OF_MODALITY, *TASK_FIELDS))
        key = ".KEY" if sub in _DICT_FIELDS else ""
        return f"{name}.{sub}{key}" if sub else None
    if rest and name == "tasks":
        field = next((near for part in rest if (near := nearest(normal(part), TASK_FIELDS))), None)
        key = ".KEY" if field in _DICT_FIELDS else ""
        return f"tasks.{normal(rest[0])}.{field}{key}" if field else None
    number = digits.group() if (digits := _DIGITS.search(name)) else "0"
    return nearest(normal(header), (f"modality{number}", f"modality{number}.input_source", *FIELDS, *SHORTCUTS))


def normal(header: str) -> str:
    """Return a header as messages and ``check --json`` name it: lower case with underscores."""
    return "_".join(header.lower().replace("-", "_").split())


def _of_task(rest: list[str]) -> Meaning | None:
    """``tasks.<task>[.<modality>].<field>[.<key>...]``; keys below a field stay as written."""
    if len(rest) < 2:
        return None
    task, *inner = normal(rest[0]), *rest[1:]
    modality = [] if normal(inner[0]) in TASK_FIELDS else [inner.pop(0)]
    if not inner or not _is_field(inner):
        return None
    return Meaning(("tasks", task, *modality, normal(inner[0]), *inner[1:]))


def _of_modality(number: int, rest: list[str]) -> Meaning | None:
    if not rest:
        return Meaning(MODALITIES, number)
    name = normal(rest[0])
    if len(rest) == 1 and name in OF_MODALITY:
        return Meaning(OF_MODALITY[name], number)
    if name in TASK_FIELDS:
        path = (*_SETTINGS, name, *rest[1:])
        return Meaning(path, number) if _is_field([name, *rest[1:]]) else None
    if len(rest) == 1 and _is_misspelt(name):
        return None
    # The legacy form: whatever follows is a job setting, its dashes underscores.
    return Meaning((*_SETTINGS, "job_settings", *(part.replace("-", "_") for part in rest)), number)


def _is_field(path: list[str]) -> bool:
    """A field that takes settings needs a key below it; the others take none."""
    return (normal(path[0]) in _DICT_FIELDS) == (len(path) > 1)


def _is_misspelt(name: str) -> bool:
    return nearest(name, (*OF_MODALITY, *TASK_FIELDS), _SURE) is not None
