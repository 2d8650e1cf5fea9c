"""Turn a path as a scientist writes it into the path it has on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from dropbox_agent.model import Row, SourceFolder

# \\server\share, //server/share, Z:\folder, z:/folder
WINDOWS = re.compile(r"[\\/]{2}[^\\/]|[A-Za-z]:(?:[\\/]|$)")
PathMap = Mapping[str, "str | os.PathLike[str]"]


def is_windows(text: str) -> bool:
    """Return whether this is a path on a share or drive as Windows writes it."""
    return WINDOWS.match(text) is not None


def map_path(text: str, path_map: PathMap) -> str:
    """Return the path with its longest known beginning replaced; as it stands when no beginning is known.

    Windows forms are compared without regard to case or kind of slash. ``..`` is kept: refusing it is policy's.
    """
    parts = _parts(text)
    best = max(
        (known for known in path_map if _begins(text, known)), key=lambda known: len(_parts(known)), default=None
    )
    if best is None:
        return text
    return "/".join([os.fspath(path_map[best]).rstrip("/"), *parts[len(_parts(best)) :]]) or "/"


def folders_of(row: Row, path_map: PathMap) -> tuple[SourceFolder, ...]:
    """Return the folders that a row itself names, mapped: what can be looked at although no plan could be made."""
    tasks = row.entry.get("tasks")
    tasks = tasks if isinstance(tasks, Mapping) else {}
    named = [
        (None, "gather_preliminary_metadata", "metadata_dir", tasks.get("gather_preliminary_metadata")),
        (None, "copy_derivatives_folder", "input_source", tasks.get("copy_derivatives_folder")),
    ]
    sources = tasks.get("modality_transformation_settings")
    for modality, task in sources.items() if isinstance(sources, Mapping) else ():
        named.append((modality, f"compress_data[{modality}]", "input_source", task))
    return tuple(
        SourceFolder(key, modality, setting, map_path(path, path_map))
        for modality, key, setting, task in named
        if isinstance(path := _job_setting(task, setting), str) and path
    )


def _job_setting(task: Any, name: str) -> Any:
    settings = task.get("job_settings") if isinstance(task, Mapping) else None
    return settings.get(name) if isinstance(settings, Mapping) else None


def _begins(text: str, known: str) -> bool:
    """Whole components only: ``/data`` is no beginning of ``/database``."""
    wanted = _parts(known)
    parts = _parts(text)[: len(wanted)]
    if is_windows(text) and is_windows(known):
        return [part.casefold() for part in parts] == [part.casefold() for part in wanted]
    both_plain = not is_windows(text) and not is_windows(known)
    return both_plain and text.startswith("/") is known.startswith("/") and parts == wanted


def _parts(text: str) -> list[str]:
    pieces = re.split(r"[\\/]", text) if is_windows(text) else text.split("/")
    return [piece for piece in pieces if piece]
