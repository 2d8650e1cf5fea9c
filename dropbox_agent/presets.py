"""Read the job types: a folder with one YAML file for each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dropbox_agent import plan, yaml_lines
from dropbox_agent.errors import AgentError
from dropbox_agent.model import JobType, Presets, Task
from dropbox_agent.wording import nearest
from dropbox_agent.yaml_lines import Document, Finding, Unreadable
from dropbox_agent.yaml_lines import Path as KeyPath

SUFFIXES = (".yaml", ".yml")
JOB_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KEYS = ("description", "inherits", "tasks")
MAX_BYTES = 1_000_000
"""A larger file is no preset."""


def load_folder(folder: Path, task_ids: Mapping[str, str], modalities: Collection[str]) -> Presets:
    """Return the job types of a folder. A wrong file stops its own job type only, and those that inherit from it.

    Raises AgentError when the folder cannot be read.
    """
    stored: dict[str, _Stored] = {}
    broken: dict[str, str] = {}
    for name, files in _files(folder).items():
        try:
            stored[name] = _read(name, files, task_ids, modalities)
        except _Broken as error:
            broken[name] = str(error)
    _break_clashing(stored, broken)
    _break_inheritors(stored, broken)
    return Presets(_job_types(stored), broken)


class _Broken(Exception):
    """Why a file cannot be used, as a sentence that names file and line."""

    def __init__(self, file: str, *findings: Finding) -> None:
        in_words = dict.fromkeys(f"line {finding.line or 1}: {finding.words}" for finding in findings)
        super().__init__(f"{file}, {'; '.join(in_words)}.")


@dataclass(frozen=True)
class _Stored:
    """One readable file."""

    job_type: JobType
    file: str
    document: Document

    def wrong(self, path: KeyPath, words: str) -> str:
        """Return a sentence about the value at a path."""
        return str(_Broken(self.file, Finding(path, self.document.line_of(path), words)))


def _job_types(stored: Mapping[str, _Stored]) -> dict[str, JobType]:
    return {name: one.job_type for name, one in stored.items()}


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


def _read(name: str, files: Sequence[Path], task_ids: Mapping[str, str], modalities: Collection[str]) -> _Stored:
    file = _as_text(files[0].name)
    try:
        if len(files) > 1:
            raise Unreadable(f"there is {_as_text(files[1].name)} too; keep one of them")
        if not JOB_TYPE.fullmatch(name):
            raise Unreadable("a job type's name has letters, digits, dots, dashes and underscores only")
        document = yaml_lines.read(_content(files[0]), typed=True)
    except Unreadable as wrong:
        raise _Broken(file, wrong.finding) from wrong
    job_type = _Reading(document, task_ids, modalities).job_type(name)
    if document.findings:
        raise _Broken(file, *document.findings)
    return _Stored(job_type, file, document)


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


# --- what the values mean --------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """One file on its way to a job type; what is wrong is noted in the document."""

    document: Document
    task_ids: Mapping[str, str]
    modalities: Collection[str]

    def job_type(self, name: str) -> JobType:
        """Return the job type; only good when the document has no findings."""
        top = self.group((), self.document.value)
        for key in top:
            if key not in KEYS:
                self.document.tell((key,), f"{key} is not known here{_instead(key, KEYS)}")
        tasks = dict(self.tasks(self.group(("tasks",), top.get("tasks"))))
        return JobType(name, self.text("description", top) or "", self.text("inherits", top), tasks)

    def text(self, key: str, top: Mapping[str, Any]) -> str | None:
        """Return the text at a key of the file, or None."""
        value = top.get(key)
        if value is None or isinstance(value, str):
            return value
        self.document.tell((key,), f"{key} is {plan.kind(value)}; write text, in quotes if need be")
        return None

    def group(self, path: KeyPath, value: Any) -> Mapping[str, Any]:
        """Return the group at a path; an empty one when it is none."""
        if isinstance(value, dict):
            return value
        if value is not None:
            what = ".".join(map(str, path)) or "the file"
            self.document.tell(path, f"{what} is {plan.kind(value)}; a group of names and values is needed")
        return {}

    def tasks(self, given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
        """Yield (task_id, modality) and fields of every task."""
        seen: dict[str, str] = {}
        for name, value in given.items():
            path = ("tasks", name)
            task_id = self.task_ids.get(name)
            if task_id is None:
                self.document.tell(path, f"{name} is not a task{_instead(name, self.task_ids)}")
            elif task_id in seen:
                self.document.tell(path, f"{name} and {seen[task_id]} are the same task; keep one")
            else:
                seen[task_id] = name
                yield from self.one_task(path, task_id, self.group(path, value))

    def one_task(
        self, path: KeyPath, task_id: str, given: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
        """Yield the fields of one task, or those it has for each modality."""
        if task_id not in plan.BY_MODALITY or plan.is_task(given):
            yield (task_id, None), self.fields(path, task_id, given)
            return
        for modality, value in given.items():
            here = (*path, modality)
            if modality not in self.modalities:
                known = [*self.modalities, *plan.TASK_FIELDS]
                words = f"{modality} is neither a modality nor a field of a task{_instead(modality, known)}"
                self.document.tell(here, words)
            else:
                yield (task_id, modality), self.fields(here, task_id, self.group(here, value))

    def fields(self, path: KeyPath, task_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields a task sets, checked."""
        for name in set(given) - plan.TASK_FIELDS:
            words = f"{name} is not a field of a task{_instead(name, plan.TASK_FIELDS)}"
            self.document.tell((*path, name), words)
        try:
            task = Task.model_validate({name: value for name, value in given.items() if name in plan.TASK_FIELDS})
        except ValidationError as error:
            for one in error.errors():
                self.document.tell((*path, *one["loc"]), _field_in_words(one))
            return {}
        for fault in plan.preset_script_faults(task_id, task.command_script):
            self.document.tell((*path, "command_script"), f"the command_script of {task_id}: {fault}")
        for asked in plan.resource_problems(task.image_resources or {}):
            if not asked.passed_over:
                self.document.tell((*path, "image_resources", asked.name), f"{asked.name} {asked.words}")
        return task.model_dump(exclude_unset=True)


def _field_in_words(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    wanted = {"string_type": "text, in quotes if need be", "dict_type": "a group of names and values"}
    if error["type"] in ("bool_parsing", "bool_type"):
        return f"{name} is {error['input']!r}; write true or false"
    what = wanted.get(error["type"])
    return f"{name} is {plan.kind(error['input'])}; write {what}" if what else f"{name}: {error['msg']}"


def _instead(word: str, known: Collection[str]) -> str:
    near = nearest(word, sorted(known), cutoff=0.6)
    return f"; did you mean {near}?" if near else f"; known are {', '.join(sorted(known))}"


# --- inheritance -----------------------------------------------------------------------------------------------------


def _break_inheritors(stored: dict[str, _Stored], broken: dict[str, str]) -> None:
    """Move the job types that inherit from what is missing, broken, or themselves."""
    while True:
        wrong = {name: why for name, one in stored.items() if (why := _why_not_inherited(one, stored, broken))}
        if not wrong:
            return
        for name, why in wrong.items():
            broken[name] = why
            del stored[name]


def _why_not_inherited(one: _Stored, stored: Mapping[str, _Stored], broken: Mapping[str, str]) -> str | None:
    name, parent = one.job_type.name, one.job_type.inherits
    if parent is None or (parent in stored and not _goes_in_a_circle(name, stored)):
        return None
    if parent in broken:
        words = f"{name} inherits {parent}, which cannot be used ({broken[parent].rstrip('.')})"
    elif parent in stored:
        words = f"{name} inherits {parent}, which leads back to {name}"
    else:
        words = f"{name} inherits {parent}, which is not there{_instead(parent, set(stored) - {name})}"
    return one.wrong(("inherits",), words)


def _goes_in_a_circle(name: str, stored: Mapping[str, _Stored]) -> bool:
    """Return whether following ``inherits`` leads back to where it began."""
    seen = {name}
    following = stored[name].job_type.inherits
    while following is not None and following in stored and following not in seen:
        seen.add(following)
        following = stored[following].job_type.inherits
    return following == name


def _break_clashing(stored: dict[str, _Stored], broken: dict[str, str]) -> None:
    """Move the job types that set a group where they inherit a plain value, or the reverse."""
    presets = Presets(_job_types(stored), {})
    clashing: dict[str, str] = {}
    for name, one in stored.items():
        for task_id, modality in one.job_type.tasks:
            for clash in plan.merged(plan.preset_layers(name, presets, task_id, modality)).clashes:
                path = ("tasks", task_id, *([modality] if modality else []), *clash.path)
                words = f"{clash.path[-1]} is {clash.above}, where {clash.below_origin} has {clash.below}"
                clashing.setdefault(name, one.wrong(path, words))
    for name, why in clashing.items():
        broken[name] = why
        del stored[name]
