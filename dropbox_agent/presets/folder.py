"""Read the job types of a folder with one YAML file for each."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dropbox_agent import yaml_lines
from dropbox_agent.errors import AgentError
from dropbox_agent.model import Presets
from dropbox_agent.presets.meaning import Reading
from dropbox_agent.presets.together import Stored, together
from dropbox_agent.yaml_lines import Finding, Unreadable
from dropbox_agent.yaml_lines import Path as KeyPath

SUFFIXES = (".yaml", ".yml")
JOB_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_BYTES = 1_000_000
"""A larger file is no preset."""


def load_folder(folder: Path, task_ids: Mapping[str, str], modalities: Collection[str]) -> Presets:
    """Return the job types of a folder. A wrong file stops its own job type only, and those that inherit from it.

    Raises AgentError when the folder cannot be read.
    """
    stored: dict[str, Stored] = {}
    broken: dict[str, str] = {}
    for name, files in _files(folder).items():
        try:
            stored[name] = _read(name, files, task_ids, modalities)
        except _Broken as error:
            broken[name] = str(error)
    return together(stored, broken)


def _files(folder: Path) -> dict[str, list[Path]]:
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        raise AgentError(
            f"The folder of the job types {folder} (presets.folder in agent.yaml) cannot be read: {error.strerror}."
            " Until it can, no manifest is taken in."
        ) from error
    by_name: dict[str, list[Path]] = {}
    for path in found:
        by_name.setdefault(_as_text(path.stem), []).append(path)
    return by_name


def _as_text(name: str) -> str:
    """Return a file's name as text that can be written anywhere, whatever bytes it is made of."""
    return name.encode("utf-8", "replace").decode()


def _read(name: str, files: Sequence[Path], task_ids: Mapping[str, str], modalities: Collection[str]) -> Stored:
    file = _as_text(files[0].name)
    try:
        if len(files) > 1:
            raise Unreadable(f"there is {_as_text(files[1].name)} too; keep one of them")
        if not JOB_TYPE.fullmatch(name):
            raise Unreadable("a job type's name has letters, digits, dots, dashes and underscores only")
        document = yaml_lines.read(_content(files[0]), typed=True)
    except Unreadable as error:
        raise _Broken(file, error.finding) from error
    job_type = Reading(document, task_ids, modalities).job_type(name)
    if document.findings:
        raise _Broken(file, *document.findings)

    def wrong(path: KeyPath, words: str) -> str:
        return str(_Broken(file, Finding(path, document.line_of(path), words)))

    return Stored(job_type, wrong)


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise Unreadable("it is not a plain file")  # a pipe would be waited for without end
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"the file cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise Unreadable(f"the file is larger than {MAX_BYTES} bytes")
    return content


class _Broken(Exception):
    """Why a file cannot be used, as a sentence that names file and line."""

    def __init__(self, file: str, *findings: Finding) -> None:
        in_words = dict.fromkeys(f"line {finding.line or 1}: {finding.words}" for finding in findings)
        super().__init__(f"{file}, {'; '.join(in_words)}.")
