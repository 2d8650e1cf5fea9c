"""Small JSON files that other processes read: written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any, by_way_of: Path | None = None) -> None:
    """Replace a file with this JSON: temporary name, fsync, rename, so that a reader sees all of it or nothing.

    ``by_way_of``: the folder of the temporary name, where its own folder must never show one, not even after a crash.
    """
    temporary = (by_way_of or path.parent) / f".{path.name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(as_bytes(value))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def as_bytes(value: Any) -> bytes:
    """Return a value as these files have it."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str).encode("utf-8", "replace")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file of ours, or None when it is missing, a link, or not whole."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
