"""The metadata files of an asset: which there are, which it needs, and how they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.tree import Allowed, File, Finding, Found, read_whole, walk

DATA_DESCRIPTION = "data_description.json"
PROCESSING = "processing.json"
METADATA = "metadata.nd.json"
NEEDED: Sequence[Sequence[str]] = (
    (DATA_DESCRIPTION,),
    ("subject.json",),
    ("procedures.json",),
    ("instrument.json", "rig.json"),
    ("acquisition.json", "session.json"),
)
"""Of each group exactly one file; the second name is what it was called in version 1 of the schema."""
OPTIONAL = (PROCESSING, "quality_control.json", "model.json", METADATA)
LARGEST_BYTES = 256 * 1024 * 1024
"""Larger is no metadata; it would only fill the memory."""


class Malformed(ValueError):
    """A metadata file does not hold one JSON object; the message says why, and where."""


def kept_metadata(run_folder: Path) -> Path:
    """Return where a job keeps its metadata.nd.json once its staging folder is gone."""
    return run_folder / METADATA


def known_names() -> tuple[str, ...]:
    """Return the name of every metadata file."""
    return (*(name for group in NEEDED for name in group), *OPTIONAL)


def present_files(content: Path) -> list[str]:
    """Return the metadata files an asset has."""
    return [name for name in known_names() if os.path.lexists(content / name)]


def missing_files(content: Path) -> list[str]:
    """Return what an asset lacks, a group as ``instrument.json or rig.json``."""
    return [" or ".join(group) for group in NEEDED if not any(os.path.lexists(content / name) for name in group)]


def read_objects(content: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what each metadata file of an asset holds, and for each that cannot be used, why."""
    objects, malformed = {}, {}
    known = set(known_names())
    for found in walk(content, Allowed((os.path.realpath(content),)), deep=False):
        if found.name not in known:
            continue
        try:
            objects[found.name] = _parsed(found)
        except (Malformed, OSError) as error:
            malformed[found.name] = str(error)
    return objects, malformed


def _parsed(found: Found) -> dict[str, Any]:
    if not isinstance(found, File):
        _refuse(found.reason if isinstance(found, Finding) else "it is no file")
    raw = read_whole(found, LARGEST_BYTES)
    if raw is None:
        _refuse(f"it has more than {LARGEST_BYTES} bytes")
    return parsed(raw)


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the object in a JSON text. Raises Malformed where two programs might read it differently."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise Malformed(f"it is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise Malformed(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise Malformed("it is nested too deeply") from error
    except Malformed:
        raise
    except ValueError as error:  # a number with thousands of digits
        raise Malformed(str(error)) from error
    if not isinstance(value, dict):
        raise Malformed(f"it holds {_kind(value)}, not an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f'"{shown(twice)}" stands twice in one object')
    return value


def _constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is no JSON; null would be right")


def _refuse(reason: str) -> NoReturn:
    raise Malformed(reason)


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
