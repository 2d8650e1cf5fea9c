"""Read a manifest into rows: .xlsx, .csv, .yaml/.yml and .json, each in a child process with limits.

Parsers meet whatever anybody drops. One that dies, hangs or swells takes only its file with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dropbox_agent.manifest.limits import LIMITS, Limits
from dropbox_agent.manifest.parse import Found, suffix_of
from dropbox_agent.manifest.room import SUFFIXES, Room
from dropbox_agent.model import Problem

__all__ = ["LIMITS", "SUFFIXES", "Found", "Limits", "Room", "annotated", "is_manifest", "read"]


def is_manifest(name: str) -> bool:
    """Return whether files of this name are read."""
    return suffix_of(name) in SUFFIXES


def read(path: Path, name: str, limits: Limits = LIMITS, *, upstream: bool = False) -> Found:
    """Return the rows of one manifest, and every problem found while reading it; see ``Room.read``."""
    with Room(limits, upstream=upstream, warm=False) as room:
        return room.read(path, name)


def annotated(path: Path, name: str, problems: Sequence[Problem], limits: Limits = LIMITS) -> bytes | None:
    """Return the annotated workbook of one table, or None; see ``Room.annotated``."""
    with Room(limits, warm=False) as room:
        return room.annotated(path, name, problems)
