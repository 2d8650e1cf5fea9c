"""Which reader reads which file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropbox_agent.manifest.kinds import mislabelled
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import error
from dropbox_agent.model import Level, Place, Problem, Row, readable

Found = tuple[tuple[Row, ...], tuple[Problem, ...]]
Reader = Callable[[bytes, str, Limits, bool], Found]

MODULES = MappingProxyType(
    {".xlsx": "workbook", ".csv": "text", ".yaml": "document", ".yml": "document", ".json": "document"}
)


def parse(path: Path, name: str, limits: Limits, upstream: bool = False) -> Found:
    """Return the rows and problems of a manifest, in this process; ``upstream``: read as upstream reads, and say so."""
    content = path.read_bytes()
    if message := mislabelled(content, suffix_of(name)):
        return (), (error(Place(name), message),)
    if suffix_of(name) != ".xlsx" and len(content) > limits.text_bytes:
        message = f"The file has {len(content):,} bytes; at most {limits.text_bytes:,} are read of this type. Split it."
        return (), (error(Place(name), message),)
    rows, problems = reader(name)(content, name, limits, upstream)
    return rows, readable(problems, limits.problems)


def reader(name: str) -> Reader:
    """Return what reads files of this name; only that is imported, for pandas and openpyxl take their second."""
    read: Reader = import_module(f"{__package__}.{MODULES[suffix_of(name)]}").read
    return read


def suffix_of(name: str) -> str:
    """Return what a name ends in, in lower case."""
    return Path(name).suffix.lower()


def as_row(data: dict[str, Any]) -> Row:
    """Return a row from its JSON form."""
    places = {path: Place(**place) for path, place in data["places"].items()}
    return Row(Place(**data["place"]), data["entry"], places, data["refused"])


def as_problem(data: dict[str, Any]) -> Problem:
    """Return a problem from its JSON form, of ``vars`` or of ``Problem.as_json``."""
    place = data.get("place") or {name: data[name] for name in ("file", "sheet", "row", "column", "cell")}
    words = {name: data[name] for name in ("message", "found", "suggestion", "outside")}
    return Problem(level=Level(data["level"]), place=Place(**place), **words)
