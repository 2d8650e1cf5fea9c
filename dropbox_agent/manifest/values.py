"""Text becomes a number, a truth or a list where a setting is asked for, and only where it can mean nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
TRUTHS = {"true": True, "false": False}
TEXT_KEYS = frozenset({"input_source", "metadata_dir", "capsule_id", "pipeline_id", "image", "image_version"})
"""Settings that are text, whatever they look like."""
SETTINGS = frozenset({"job_settings", "image_resources"})
"""The fields of a task that hold settings."""


def typed(text: str) -> Any:
    """Return what ``text`` stands for: 4, 0.5, true, [1, 2]; what is not exactly that stays text (0012, 1.10, no)."""
    if NUMBER.fullmatch(text):
        return _number(text)
    if text.casefold() in TRUTHS:
        return TRUTHS[text.casefold()]
    return _list(text) if text.startswith("[") and text.endswith("]") else text


def is_typed(path: tuple[str | int, ...]) -> bool:
    """Return whether the value at a path of a job is a setting that may be more than text."""
    return any(part in SETTINGS for part in path[:-1]) and path[-1] not in TEXT_KEYS


def _number(text: str) -> Any:
    """1.10 may be a version: only a number that is written back in the same way is one."""
    number = float(text) if "." in text else int(text)
    return number if str(number) == text else text


def _list(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if all(isinstance(part, str | int | float | bool) for part in found) else text
