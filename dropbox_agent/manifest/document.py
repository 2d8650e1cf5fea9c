"""Read .yaml and .json: the full request with ``upload_jobs``, or one job alone, becomes rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dropbox_agent.manifest import tree as trees
from dropbox_agent.manifest.columns import FIELDS, meaning
from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import did_you_mean, error, nearest, shown, warning
from dropbox_agent.manifest.tree import Tree, Unreadable
from dropbox_agent.model import Level, Place, Problem, Row

JOB_KEYS = (*FIELDS, "modalities", "tasks", "s3_prefix")
REQUEST_KEYS = ("dag_id", "user_email", "email_notification_types", "upload_jobs")
HANDED_DOWN = ("user_email", "email_notification_types")
"""What a request says for all its jobs that do not say it themselves."""


def read(content: bytes, name: str, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return the rows of a YAML or JSON file, and every problem found in its form."""
    parse = trees.from_json if name.lower().endswith(".json") else trees.from_yaml
    try:
        tree = parse(trees.decoded(content), name, limits)
    except Unreadable as reason:
        return (), (error(Place(name, row=reason.line), str(reason)),)
    rows, problems = to_rows(tree, limits)
    return rows, (*tree.problems, *problems)


def to_rows(tree: Tree, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    """Return one row per job of the document."""
    document = tree.value
    if not isinstance(document, dict):
        message = 'Write one job as KEY: VALUE, or several jobs as a list under "upload_jobs".'
        return (), (error(tree.place(), message, found=shown(document)),)
    if "upload_jobs" not in document:
        row, problems = _row(document, (), {}, tree)
        return (row,), tuple(problems)
    return _request(document, tree, limits)


def _request(request: dict[str, Any], tree: Tree, limits: Limits) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    problems = [_unknown(key, (), REQUEST_KEYS, tree) for key in request if key not in REQUEST_KEYS]
    jobs = request["upload_jobs"]
    if not isinstance(jobs, list) or not jobs:
        message = '"upload_jobs" must be a list of at least one job.'
        return (), (*problems, error(tree.place("upload_jobs"), message, found=shown(jobs)))
    if len(jobs) > limits.rows:
        message = f"There are {len(jobs)} jobs; at most {limits.rows} are read. Split the file."
        return (), (*problems, error(tree.place("upload_jobs"), message))
    rows = []
    for index, job in enumerate(jobs):
        path = ("upload_jobs", str(index))
        if not isinstance(job, dict):
            problems.append(error(tree.place(*path), "A job is written as KEY: VALUE.", found=shown(job)))
            continue
        row, told = _row(job, path, request, tree)
        rows.append(row)
        problems += told
    return tuple(rows), tuple(problems)


def _row(job: dict[str, Any], path: trees.Path, request: Mapping[str, Any], tree: Tree) -> tuple[Row, list[Problem]]:
    """Return one job as a row, with what its request says for all."""
    entry = {key: value for key, value in job.items() if key in JOB_KEYS and value is not None}
    places = {".".join(inner): _place(tree, path, inner) for inner in _paths(entry, ())}
    for key in HANDED_DOWN:
        if key not in entry and request.get(key) is not None:
            entry[key] = request[key]
            places[key] = tree.place(key)
    keys = (*JOB_KEYS, "dag_id")
    problems = [_unknown(key, path, keys, tree) for key in job if key not in keys]
    refused = _has_errors(problems) or any(_concerns(problem, path) for problem in tree.problems)
    return Row(_place(tree, path, ()), entry, places, refused), problems


def _place(tree: Tree, path: trees.Path, inner: trees.Path) -> Place:
    return tree.place(*path, *inner)


def _paths(value: Any, path: trees.Path) -> Iterator[trees.Path]:
    """Yield the path of every part of a value, its own not."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        here = (*path, str(key))
        yield here
        yield from _paths(inner, here)


def _unknown(key: str, path: trees.Path, known: tuple[str, ...], tree: Tree) -> Problem:
    """Clients send keys of their own: told and passed over. A table's column in a document is an error."""
    place = tree.place(*path, key)
    if column := meaning(key):
        where = ".".join(column.path)
        return error(place, f'"{key[:100]}" is a column of tables. Here it is written as {where}.', found=key)
    near = nearest(key, known)
    return warning(place, f'"{key[:100]}" is not known and is passed over.{did_you_mean(near)}', key, near)


def _has_errors(problems: list[Problem]) -> bool:
    return any(problem.level is Level.ERROR for problem in problems)


def _concerns(problem: Problem, path: trees.Path) -> bool:
    """A wrong form inside this job, or outside every job, is this job's affair too."""
    where = problem.place.column or ""
    mine = ".".join(path)
    return not where.startswith("upload_jobs.") or where == mine or where.startswith(f"{mine}.")
