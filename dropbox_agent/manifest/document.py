"""Read .yaml and .json: the full request with ``upload_jobs``, or one job alone, becomes rows.

A job may be written in upstream's form (``modalities``, ``tasks``), in the short form, whose keys are the columns of
tables, or in both at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dropbox_agent import yaml_lines
from dropbox_agent.manifest import json_lines
from dropbox_agent.manifest.columns import FIELDS, MODALITIES, SHORTCUTS, looks_like_column, meaning, normal, suggestion
from dropbox_agent.manifest.draft import Cell, Draft, fill, is_usable
from dropbox_agent.manifest.header import Column
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import NOT_ENDED, did_you_mean, error, forbidden, warning
from dropbox_agent.manifest.values import TEXT_KEYS, is_typed, typed
from dropbox_agent.model import Level, Place, Problem, Row
from dropbox_agent.wording import nearest, printable, shown
from dropbox_agent.yaml_lines import Document, Finding, Path, Unreadable

JOB_KEYS = (*FIELDS, "modalities", "tasks", "s3_prefix")
REQUEST_KEYS = ("dag_id", "user_email", "email_notification_types", "upload_jobs")
HANDED_DOWN = ("user_email", "email_notification_types")
"""What a request says for all its jobs that do not say it themselves."""
WORDS_CHARACTERS = 400


def read(
    content: bytes, name: str, limits: Limits, upstream: bool = False
) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a YAML or JSON file, and every problem found in its form."""
    try:
        document = _document(content, name, limits)
    except Unreadable as reason:
        return (), (_problem(name, reason.finding),)
    wrong = list(_wrong_forms(document, name))
    if not name.lower().endswith(".json") and not content.endswith((b"\n", b"\r")):
        wrong.append(warning(Place(name, row=content.count(b"\n") + 1), NOT_ENDED))
    tree = Tree(name, document, tuple(wrong), upstream)
    rows, problems = to_rows(tree, limits)
    return rows, (*tree.problems, *problems)


def _document(content: bytes, name: str, limits: Limits) -> Document:
    """Return what is written; YAML's plain text stays text (``0012``, ``no``, ``12:30:45``), JSON keeps its types."""
    if name.lower().endswith(".json"):
        document = json_lines.read(content, depth=limits.depth, nodes=limits.nodes)
    else:
        document = yaml_lines.read(content, typed=False, depth=limits.depth, nodes=limits.nodes)
    if not document.lines:
        raise Unreadable("there is nothing in it; write one request with upload_jobs, or one job")
    return document


@dataclass(frozen=True)
class Tree:
    """A document with the name of its file, and what is wrong with its form."""

    file: str
    document: Document
    problems: tuple[Problem, ...] = ()
    upstream: bool = False

    def place(self, *path: str | int) -> Place:
        """Return where ``path`` stands, else its nearest parent."""
        return _place(self.file, path, self.document.line_of(path))

    def places(self, length: int) -> dict[Path, dict[str, Place]]:
        """Return the place of every part below the paths of a length, by that path and the rest of its own."""
        found: dict[Path, dict[str, Place]] = defaultdict(dict)
        for path, line in self.document.lines.items():
            if rest := path[length:]:
                found[path[:length]][_dotted(rest)] = _place(self.file, path, line)
        return found


def _place(file: str, path: Path, line: int) -> Place:
    return Place(file, row=line or None, column=printable(_dotted(path)) or None)


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _problem(file: str, finding: Finding) -> Problem:
    words = printable(f"{finding.words[:1].upper()}{finding.words[1:]}.", WORDS_CHARACTERS)
    return error(_place(file, finding.path, finding.line), words)


def _wrong_forms(document: Document, file: str) -> Iterator[Problem]:
    """Yield what is wrong with the form of a document, and with the characters of its texts."""
    yield from (_problem(file, finding) for finding in document.findings)
    for path, part in _parts(document.value, ()):
        for text in (path[-1], part):
            if isinstance(text, str) and (wrong := forbidden(text)):
                yield error(_place(file, path, document.line_of(path)), f"The text {wrong}", found=text)


def to_rows(tree: Tree, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return one row per job of the document."""
    document = tree.document.value
    if not isinstance(document, dict):
        message = 'Write one job as KEY: VALUE, or several jobs as a list under "upload_jobs".'
        return (), (error(tree.place(), message, found=shown(document)),)
    if "upload_jobs" not in document:
        row, problems = _row(document, (), {}, tree, tree.places(0)[()])
        return (row,), tuple(problems)
    return _request(document, tree, limits)


def _request(request: dict[str, Any], tree: Tree, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    problems = [_unknown(key, tree.place(key), REQUEST_KEYS) for key in request if key not in REQUEST_KEYS]
    jobs = request["upload_jobs"]
    if not isinstance(jobs, list) or not jobs:
        message = '"upload_jobs" must be a list of at least one job.'
        return (), (*problems, error(tree.place("upload_jobs"), message, found=shown(jobs)))
    if len(jobs) > limits.rows:
        message = f"There are {len(jobs)} jobs; at most {limits.rows} are read. Split the file."
        return (), (*problems, error(tree.place("upload_jobs"), message))
    rows, places = [], tree.places(2)
    for index, job in enumerate(jobs):
        path = ("upload_jobs", index)
        if not isinstance(job, dict):
            problems.append(error(tree.place(*path), "A job is written as KEY: VALUE.", found=shown(job)))
            continue
        row, told = _row(job, path, request, tree, places[path])
        rows.append(row)
        problems += told
    return tuple(rows), tuple(problems)


def _row(
    job: dict[str, Any], path: Path, request: Mapping[str, Any], tree: Tree, places: dict[str, Place]
) -> tuple[Row, list[Problem]]:
    """Return one job as a row, with what its request says for all."""
    entry = {key: value for key, value in job.items() if key in JOB_KEYS and value is not None}
    if "tasks" in entry:
        entry["tasks"] = _typed(entry["tasks"], (*path, "tasks"), tree.document)
    for key in HANDED_DOWN:
        if key not in entry and request.get(key) is not None:
            entry[key] = request[key]
            places[key] = tree.place(key)
    keys = (*JOB_KEYS, "dag_id")
    draft = Draft(tree.place(*path), tree.upstream, entry, places)
    for key in FIELDS:
        if isinstance(entry.get(key), str):
            is_usable(draft, _given(key, entry[key], draft.place_of(key)), draft.place)
    fill(draft, [cell for key in job if key not in keys for cell in _cells(key, job[key], (*path, key), tree, draft)])
    draft.refused |= any(_concerns(problem, path) for problem in tree.problems)
    return draft.finished(), draft.problems


def _cells(key: str, value: Any, path: Path, tree: Tree, draft: Draft) -> Iterator[Cell]:
    """Yield a key of the short form, which is a column of tables, as the cell it stands for; tell what is none.

    ``modality0.job_settings: {a: 1}`` says the same as ``modality0.job_settings.a: 1``.
    """
    place = tree.place(*path)
    column = Column(0, key, meaning(key))
    if column.meaning is None and isinstance(value, dict) and value and looks_like_column(key):
        for name, inner in value.items():
            yield from _cells(f"{key}.{name}", inner, (*path, name), tree, draft)
    elif column.meaning is None:
        draft.tell(_unknown(key, place))
    elif column.meaning.path == MODALITIES and "modalities" in draft.entry:
        draft.tell(error(place, "The modalities are named twice, here and in modalities. Keep one.", found=key))
    elif isinstance(value, dict | list) and not column.meaning.is_typed:
        draft.tell(error(place, f"{column.name} takes one value.", found=shown(value)))
    elif value is not None:
        cell = Cell(column, _as_text(value), place, (_typed(value, path, tree.document, is_setting=True),))
        if is_usable(draft, cell, draft.place):
            yield cell


def _given(key: str, value: str, place: Place) -> Cell:
    """Return a field under its own name as the cell it stands for."""
    return Cell(Column(0, key, meaning(key)), value.strip(), place, (value,))


def _as_text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _typed(value: Any, path: Path, document: Document, is_setting: bool = False) -> Any:
    """Return a value with its plain texts as what they stand for, where settings are asked for."""
    if isinstance(value, dict):
        return {key: _typed(part, (*path, key), document, is_setting) for key, part in value.items()}
    if isinstance(value, list):
        return [_typed(part, (*path, index), document, is_setting) for index, part in enumerate(value)]
    if path not in document.plain or path[-1] in TEXT_KEYS:
        return value
    return typed(value) if is_setting or is_typed(path) else value


def _parts(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield every part of a value with its path."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        here = (*path, key)
        yield here, part
        yield from _parts(part, here)


def _unknown(key: str, place: Place, known: tuple[str, ...] = (*JOB_KEYS, *SHORTCUTS, "upload_jobs")) -> Problem:
    """Clients send keys of their own: told and passed over. One like a table's column was meant to be one."""
    if normal(key) in known:
        message = f'"{printable(key, 100)}" is written {normal(key)}; otherwise what it says would be lost.'
        return error(place, message, key, normal(key))
    if looks_like_column(key):
        near = suggestion(key)
        message = f'"{printable(key, 100)}" is not known, so what it says would be lost.{did_you_mean(near)}'
        return error(place, message, key, near)
    near = nearest(key, known)
    return warning(place, f'"{printable(key, 100)}" is not known and is passed over.{did_you_mean(near)}', key, near)


def _concerns(problem: Problem, path: Path) -> bool:
    """A wrong form inside this job, or outside every job, is this job's affair too."""
    where = problem.place.column or ""
    if problem.level is not Level.ERROR:
        return False
    mine = _dotted(path)
    return not where.startswith("upload_jobs.") or where == mine or where.startswith(f"{mine}.")
