"""Read the job types: a folder with one YAML file for each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dropbox_agent import plan
from dropbox_agent.errors import AgentError
from dropbox_agent.model import JobType, Presets, Task

SUFFIXES = (".yaml", ".yml")
JOB_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KEYS = ("description", "inherits", "tasks")
MAX_BYTES = 1_000_000
"""A larger file is no preset."""
MAX_DEPTH = 50
"""Groups within groups; nobody means more."""


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

    def __init__(self, file: str, findings: Sequence[str]) -> None:
        super().__init__(f"{file}, {'; '.join(dict.fromkeys(findings))}.")


@dataclass(frozen=True)
class _Stored:
    """One readable file."""

    job_type: JobType
    file: str
    lines: Mapping[tuple[str, ...], int]

    def wrong(self, path: tuple[str, ...], words: str) -> str:
        """Return a sentence about the value at a path."""
        return str(_Broken(self.file, [f"line {_line(self.lines, path)}: {words}"]))


def _job_types(stored: Mapping[str, _Stored]) -> dict[str, JobType]:
    return {name: one.job_type for name, one in stored.items()}


def _line(lines: Mapping[tuple[str, ...], int], path: tuple[str, ...]) -> int:
    """Return the line of a path, or of its nearest parent."""
    return next((lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines), 1)


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
    if len(files) > 1:
        raise _Broken(file, [f"line 1: there is {_as_text(files[1].name)} too; keep one of them"])
    if not JOB_TYPE.fullmatch(name):
        raise _Broken(file, ["line 1: a job type's name has letters, digits, dots, dashes and underscores only"])
    document = _parse(file, _text_of(files[0]))
    reading = _Reading(document, task_ids, modalities)
    job_type = reading.job_type(name)
    if document.findings:
        raise _Broken(file, document.findings)
    return _Stored(job_type, file, document.lines)


def _text_of(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise _Broken(path.name, ["line 1: it is not a plain file"])  # a pipe would be waited for without end
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Broken(path.name, [f"line 1: the file cannot be read ({error.strerror})"]) from error
    if len(content) > MAX_BYTES:
        raise _Broken(path.name, [f"line 1: the file is larger than {MAX_BYTES} bytes"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _Broken(path.name, [f"line {line}: not UTF-8 text"]) from error


# --- YAML, without what it would pass over in silence ----------------------------------------------------------------


@dataclass
class _Document:
    """The plain values of a file, the line of each, and what is wrong with it."""

    value: Any
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def wrong(self, path: tuple[str, ...], words: str) -> None:
        """Note what is wrong with the value at a path, with its line or its nearest parent's."""
        self.findings.append(f"line {_line(self.lines, path)}: {words}")


class _Resolver(yaml.SafeLoader):
    """YAML's plain values, but for times: ``12:00:00`` and ``2024-05-27`` stay the text they are, as in JSON."""


_Resolver.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
REFUSED_TOKENS: tuple[tuple[type[yaml.Token], str], ...] = (
    (yaml.AliasToken, "an alias (*name) repeats what stands elsewhere; write it out"),
    (yaml.AnchorToken, "an anchor (&name) is of no use here; take it out"),
    (yaml.TagToken, "a tag (!name) is of no use here; take it out"),
    (yaml.DirectiveToken, "a directive (%NAME) is of no use here; take it out"),
)


def _parse(file: str, text: str) -> _Document:
    try:
        _refuse_tokens(file, text)
        loader = _Resolver(text)
        node = loader.get_single_node()
        document = _Document(None, {(): 1})
        document.value = None if node is None else _plain(node, (), loader, document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _Broken(file, [f"line {line}: not YAML ({error.problem or error.context})"]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _Broken(file, [f"line 1: not YAML ({' '.join(str(error).split())})"]) from error
    except RecursionError as error:
        raise _Broken(file, [f"line 1: groups stand more than {MAX_DEPTH} deep in one another"]) from error
    return document


def _refuse_tokens(file: str, text: str) -> None:
    found = [
        f"line {token.start_mark.line + 1}: {words}"
        for token in yaml.scan(text, Loader=yaml.SafeLoader)
        for kind, words in REFUSED_TOKENS
        if isinstance(token, kind)
    ]
    if found:
        raise _Broken(file, found)


def _plain(node: yaml.Node, path: tuple[str, ...], loader: yaml.SafeLoader, document: _Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > MAX_DEPTH:
        document.wrong(path, f"groups stand more than {MAX_DEPTH} deep in one another")
        return None
    if isinstance(node, yaml.MappingNode):
        return _group(node, path, loader, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(part, (*path, str(number)), loader, document) for number, part in enumerate(node.value)]
    if node.tag != "tag:yaml.org,2002:str" and SEXAGESIMAL.fullmatch(node.value):
        return node.value
    return loader.construct_object(node)


def _group(
    node: yaml.MappingNode, path: tuple[str, ...], loader: yaml.SafeLoader, document: _Document
) -> dict[str, Any]:
    group: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            document.findings.append(f"line {line}: a name is a group or a list; names are plain words")
        elif key.value in group:
            document.findings.append(f"line {line}: {key.value} stands here twice")
        else:
            here = (*path, key.value)
            document.lines[here] = line
            group[key.value] = _plain(value, here, loader, document)
    return group


# --- what the values mean --------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """One file on its way to a job type; what is wrong is noted in the document."""

    document: _Document
    task_ids: Mapping[str, str]
    modalities: Collection[str]

    def job_type(self, name: str) -> JobType:
        """Return the job type; only good when the document has no findings."""
        top = self.group((), self.document.value)
        for key in top:
            if key not in KEYS:
                self.document.wrong((key,), f"{key} is not known here{_nearest(key, KEYS)}")
        tasks = dict(self.tasks(self.group(("tasks",), top.get("tasks"))))
        return JobType(name, self.text("description", top) or "", self.text("inherits", top), tasks)

    def text(self, key: str, top: Mapping[str, Any]) -> str | None:
        """Return the text at a key of the file, or None."""
        value = top.get(key)
        if value is None or isinstance(value, str):
            return value
        self.document.wrong((key,), f"{key} is {plan.kind(value)}; write text, in quotes if need be")
        return None

    def group(self, path: tuple[str, ...], value: Any) -> Mapping[str, Any]:
        """Return the group at a path; an empty one when it is none."""
        if isinstance(value, dict):
            return value
        if value is not None:
            what = ".".join(path) or "the file"
            self.document.wrong(path, f"{what} is {plan.kind(value)}; a group of names and values is needed")
        return {}

    def tasks(self, given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
        """Yield (task_id, modality) and fields of every task."""
        seen: dict[str, str] = {}
        for name, value in given.items():
            path = ("tasks", name)
            task_id = self.task_ids.get(name)
            if task_id is None:
                self.document.wrong(path, f"{name} is not a task{_nearest(name, self.task_ids)}")
            elif task_id in seen:
                self.document.wrong(path, f"{name} and {seen[task_id]} are the same task; keep one")
            else:
                seen[task_id] = name
                yield from self.one_task(path, task_id, self.group(path, value))

    def one_task(
        self, path: tuple[str, ...], task_id: str, given: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
        """Yield the fields of one task, or those it has for each modality."""
        if task_id not in plan.BY_MODALITY or plan.is_task(given):
            yield (task_id, None), self.fields(path, task_id, given)
            return
        for modality, value in given.items():
            here = (*path, modality)
            if modality not in self.modalities:
                known = [*self.modalities, *plan.TASK_FIELDS]
                words = f"{modality} is neither a modality nor a field of a task{_nearest(modality, known)}"
                self.document.wrong(here, words)
            else:
                yield (task_id, modality), self.fields(here, task_id, self.group(here, value))

    def fields(self, path: tuple[str, ...], task_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields a task sets, checked."""
        for name in set(given) - plan.TASK_FIELDS:
            words = f"{name} is not a field of a task{_nearest(name, plan.TASK_FIELDS)}"
            self.document.wrong((*path, name), words)
        try:
            task = Task.model_validate({name: value for name, value in given.items() if name in plan.TASK_FIELDS})
        except ValidationError as error:
            for one in error.errors():
                self.document.wrong((*path, *map(str, one["loc"])), _field_in_words(one))
            return {}
        for fault in plan.preset_script_faults(task_id, task.command_script):
            self.document.wrong((*path, "command_script"), f"the command_script of {task_id}: {fault}")
        for asked in plan.resource_problems(task.image_resources or {}):
            if not asked.passed_over:
                self.document.wrong((*path, "image_resources", asked.name), f"{asked.name} {asked.words}")
        return task.model_dump(exclude_unset=True)


def _field_in_words(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    wanted = {"string_type": "text, in quotes if need be", "dict_type": "a group of names and values"}
    if error["type"] in ("bool_parsing", "bool_type"):
        return f"{name} is {error['input']!r}; write true or false"
    what = wanted.get(error["type"])
    return f"{name} is {plan.kind(error['input'])}; write {what}" if what else f"{name}: {error['msg']}"


def _nearest(word: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {found[0]}?" if found else f"; known are {', '.join(sorted(known))}"


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
        words = f"{name} inherits {parent}, which is not there{_nearest(parent, set(stored) - {name})}"
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
