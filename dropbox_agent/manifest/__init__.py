"""Read a manifest into rows: .xlsx, .csv, .yaml/.yml and .json, each in a child process with limits.

Parsers meet whatever anybody drops. One that dies, hangs or swells takes only its file with it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dropbox_agent.manifest.limits import LIMITS, Limits
from dropbox_agent.manifest.parse import MODULES, Found, suffix_of
from dropbox_agent.manifest.problems import error
from dropbox_agent.model import Level, Place, Problem, Row

__all__ = ["LIMITS", "SUFFIXES", "Limits", "is_manifest", "read"]

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(MODULES)
"""What a manifest's name ends in, in lower case; any case is read."""


def is_manifest(name: str) -> bool:
    """Return whether files of this name are read."""
    return suffix_of(name) in SUFFIXES


def read(path: Path, name: str, limits: Limits = LIMITS) -> Found:
    """Return the rows of the manifest at ``path``, and every problem found while reading it.

    ``name`` is what the scientist called it: its suffix says the type, and problems are placed in it.
    """
    size = path.stat().st_size
    if refusal := _not_read(size, name, limits):
        return (), (error(Place(name), refusal),)
    answer = _Child(path, name, limits).answer()
    if "died" in answer:
        logger.error("Reading %s ended badly: %s", name, answer["died"], extra={"action": "read", "drop": name})
        return (), (error(Place(name), _in_words(answer["died"], limits)),)
    return tuple(_row(row) for row in answer["rows"]), tuple(_problem(problem) for problem in answer["problems"])


def _not_read(size: int, name: str, limits: Limits) -> str | None:
    if not is_manifest(name):
        return f"This type of file is not read. A manifest ends in one of: {', '.join(sorted(SUFFIXES))}."
    if size == 0:
        return "The file is empty. Fill in the template, or write one job."
    if size > limits.file_bytes:
        return f"The file has {size:,} bytes; at most {limits.file_bytes:,} are read. Split it."
    return None


def _in_words(died: str, limits: Limits) -> str:
    """Return what a scientist is told of a reader that did not come back."""
    again = "Make the table anew from TEMPLATE.xlsx, with the same values."
    if died == "memory":
        return f"Reading this file needs more memory than a manifest ever should. {again}"
    if died == "time":
        return f"Reading this file takes longer than {limits.wall_seconds:.0f} seconds. {again}"
    return f"This file stops its reader, so it is damaged in a way that has no name. {again}"


# --- the child -------------------------------------------------------------------------------------------------------


class _Child:
    """One process that reads one file."""

    def __init__(self, path: Path, name: str, limits: Limits) -> None:
        self._argv = [
            *(sys.executable, "-m", __name__),
            *(os.path.abspath(path), name.replace("\0", "?"), json.dumps(asdict(limits))),
        ]
        self._limits = limits
        self._too_long = False

    def answer(self) -> dict[str, Any]:
        """Return what the child says, or ``{"died": reason}``."""
        process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        deadline = threading.Timer(self._limits.wall_seconds, self._end, [process])
        deadline.daemon = True
        deadline.start()
        try:
            with process:
                assert process.stdout is not None
                said = process.stdout.read(self._limits.output_bytes + 1)
                if len(said) > self._limits.output_bytes:
                    process.kill()
        finally:
            deadline.cancel()
        return self._understood(said, process.returncode)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._too_long = True
        process.kill()

    def _understood(self, said: bytes, code: int) -> dict[str, Any]:
        if self._too_long or code == -signal.SIGXCPU:
            return {"died": "time"}
        if len(said) > self._limits.output_bytes:
            return {"died": "memory"}
        if code != 0:
            return {"died": f"the reader ended with {code}"}
        try:
            answer: dict[str, Any] = json.loads(said)
        except ValueError as wrong:
            return {"died": f"the reader said what cannot be understood: {wrong}"}
        return answer


def _environment() -> Mapping[str, str]:
    """Return what the child needs to find this package, and nothing of what the agent knows."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(part for part in map(os.path.abspath, sys.path) if os.path.exists(part)),
        "PYTHONUTF8": "1",
        "PYTHONSAFEPATH": "1",
        "OPENPYXL_LXML": "False",  # defusedxml reads the parts of a workbook, lxml would not ask it.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _row(data: dict[str, Any]) -> Row:
    places = {path: Place(**place) for path, place in data["places"].items()}
    return Row(Place(**data["place"]), data["entry"], places, data["refused"])


def _problem(data: dict[str, Any]) -> Problem:
    return Problem(**{**data, "level": Level(data["level"]), "place": Place(**data["place"])})
