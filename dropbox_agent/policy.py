"""Judge a plan by the site's rules: who may set what, and which folders may be uploaded."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dropbox_agent.errors import NoAnswer
from dropbox_agent.model import Job, Level, Place, Plan, Problem, Row, SourceFolder, Task
from dropbox_agent.wording import printable

SYSTEM_FOLDERS = ("/boot", "/dev", "/etc", "/proc", "/sys")
"""Nothing in these is anybody's data."""
HOMES = re.compile(r"/|/home|/root|/home/[^/]+|/Users|/Users/[^/]+")
"""Folders that are too much: they hold everybody's, or somebody's, whole life."""
IN_A_HOME = re.compile(r"(/root|/home/[^/]+|/Users/[^/]+)/\.[^/]+(/.*)?")
"""Where keys and passwords lie."""
SPACING = "\t\n\r"
WHOLE = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")
WINDOWS = re.compile(r"\\\\|[A-Za-z]:([\\/]|$)")
TASK_FIELDS = frozenset(Task.model_fields)

FROM_COLUMNS = frozenset(
    {
        ("modality_transformation_settings", "job_settings.input_source"),
        ("compress_data", "job_settings.input_source"),
        ("gather_preliminary_metadata", "job_settings.metadata_dir"),
        ("copy_derivatives_folder", "job_settings.input_source"),
    }
)
"""What every manifest may set, for without it there is no upload: the folders."""


@dataclass(frozen=True)
class Rules:
    """What this site allows."""

    source_roots: tuple[str, ...] = ()
    """Data may only come from below these folders; empty: from anywhere."""
    manifests_may_set: tuple[str, ...] | Literal["all"] = (
        "job_settings",
        "skip_task",
        "image_version",
        "image_resources.array",
    )
    source_removal: bool = False
    """Whether a job may ask for its source folders to be removed."""
    protected: tuple[str, ...] = ()
    """The agent's own folders: ledger, work, inboxes, buckets."""
    path_map: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceFacts:
    """What a machine says of a path."""

    exists: bool
    is_dir: bool
    readable: bool
    real: str
    """The path with every link in it followed."""
    owner: int
    """uid; -1 when there is nothing."""
    mode: int
    siblings: tuple[str, ...] = ()
    """What lies beside it, when it is not there itself."""


Look = Callable[[str], SourceFacts]


def check(job: Job, plan: Plan, rules: Rules, look: Look) -> tuple[Problem, ...]:
    """Return everything in the job that this site does not allow, and every folder that cannot be read."""
    return (*_forbidden_fields(job, rules), *check_folders(job.row, plan.source_folders(), rules, look))


def check_folders(row: Row, folders: Iterable[SourceFolder], rules: Rules, look: Look) -> tuple[Problem, ...]:
    """Return what is wrong with the folders a row names; also for rows that no job could be made of."""
    return tuple(problem for folder in folders for problem in _folder_problems(row, folder, rules, look))


# --- what a manifest may set -----------------------------------------------------------------------------------------


def _forbidden_fields(job: Job, rules: Rules) -> Iterator[Problem]:
    if rules.manifests_may_set == "all":
        return
    for task_id, modality, fields in _groups(job):
        for path in _leaves(fields, ()):
            if (task_id, ".".join(path)) in FROM_COLUMNS or _is_allowed(path, rules.manifests_may_set):
                continue
            where = (task_id, modality) if modality else (task_id,)
            yield _forbidden(job, where, path, fields, rules.manifests_may_set)


def _groups(job: Job) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    for task_id, given in job.tasks.items():
        if set(given) <= TASK_FIELDS:
            yield task_id, None, given
        else:
            for modality, fields in given.items():
                yield task_id, modality, fields


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value that is set; null and an empty group set nothing."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, (*path, str(name)))
    elif value is not None:
        yield path


def _is_allowed(path: Sequence[str], allowed: Iterable[str]) -> bool:
    return any(list(path[: rule.count(".") + 1]) == rule.split(".") for rule in allowed)


def _forbidden(
    job: Job, where: tuple[str, ...], path: tuple[str, ...], fields: Mapping[str, Any], allowed: Iterable[str]
) -> Problem:
    value: Any = fields
    for name in path:
        value = value[name]
    of = where[0] if len(where) == 1 else f"{where[0]} for {where[1]}"
    return Problem(
        Level.ERROR,
        job.row.place_of("tasks", *where, *path),
        f"{'.'.join(path)} of {of} cannot be set in a manifest here; take it out. Manifests may set"
        f" {', '.join(allowed) or 'nothing'} (policy.manifests_may_set in agent.yaml).",
        found=printable(str(value)),
        outside=True,
    )


# --- which folders may be uploaded -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """One folder on the way through the checks."""

    what: str
    """``ecephys data folder``."""
    path: str
    written: str
    """As the manifest has it, before path_map."""
    place: Place

    def wrong(self, words: str, suggestion: str | None = None) -> Problem:
        return Problem(Level.ERROR, self.place, words, printable(self.written), suggestion, outside=True)

    @property
    def named(self) -> str:
        """The folder as messages name it: as it was written, and where that leads."""
        known_as = printable(self.written)
        return known_as if self.written == self.path else f"{known_as} (here: {printable(self.path)})"

    def leading(self, path: str, by_a_link: str) -> str:
        """Return the beginning of a sentence on where the folder is: there itself, or by a link."""
        return f"{self.what} {self.named} {'is' if path == _plain(self.path) else by_a_link}"


def _folder_problems(row: Row, folder: SourceFolder, rules: Rules, look: Look) -> Iterator[Problem]:
    """Yield what is wrong with one folder: the first thing only, for what follows depends on it."""
    source = _source(row, folder)
    words = _malformed(source, rules) or _never_uploaded(source, source.path, rules, look)
    if words is not None:
        yield source.wrong(words, _unwrapped(source) or _without_dots(source))
        return
    facts = look(source.path)
    if not facts.exists:
        # Outside the allowed folders nobody is told what is there and what is not.
        words = _outside(source, source.path, rules, look)
        yield source.wrong(words) if words else _not_there(source, facts, rules, look)
        return
    words = _never_uploaded(source, facts.real, rules, look) or _outside(source, facts.real, rules, look)
    words = words or _unusable(source, facts)
    if words is not None:
        yield source.wrong(words)


def _source(row: Row, folder: SourceFolder) -> _Source:
    task_id = folder.key.partition("[")[0]
    if folder.modality is None:
        what = "metadata folder" if folder.setting == "metadata_dir" else "derivatives folder"
        where: tuple[str, ...] = ("tasks", task_id)
    else:
        what = f"{printable(folder.modality)} data folder"
        where = ("tasks", "modality_transformation_settings", folder.modality)
    path = (*where, "job_settings", folder.setting)
    return _Source(what, folder.path, _written(row, path) or folder.path, row.place_of(*path))


def _written(row: Row, path: Sequence[str]) -> str | None:
    value: Any = row.entry
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _malformed(source: _Source, rules: Rules) -> str | None:
    if any(character in SPACING for character in source.path):
        return (
            f"The path of the {source.what} has a tab or a line break in it. Where it was typed as C:\\temp between"
            " double quotes, YAML and JSON read one: put it into single quotes, or write every \\ twice."
        )
    if WINDOWS.match(source.path):
        known = ", ".join(map(str, rules.path_map)) or "none"
        return (
            f"{source.what} {printable(source.path)} is a Windows path, and this service does not know what it is here."
            f" Write the path as Linux has it, or begin it with one that is known (path_map in agent.yaml): {known}."
        )
    if any(not character.isprintable() for character in source.path):
        return f"The path of the {source.what} has a character that cannot be seen. Write it anew."
    if not source.path.startswith("/"):
        return f"{source.what} {source.named} is not a whole path. Write it from the beginning: /..."
    if ".." in source.path.split("/"):
        return f'{source.what} {source.named} goes up with "..". Write the path without it.'
    return None


def _unwrapped(source: _Source) -> str | None:
    """Return the path without what Explorer copies around it: quotation marks, or marks that nobody sees."""
    seen = "".join(character for character in source.written if character.isprintable()).strip().strip("\"'").strip()
    has_spacing = any(character in SPACING for character in source.written)
    return seen if seen != source.written and WHOLE.match(seen) and not has_spacing else None


def _without_dots(source: _Source) -> str | None:
    goes_up = source.path.startswith("/") and ".." in source.path.split("/") and source.written == source.path
    return posixpath.normpath(source.path) if goes_up else None


def _never_uploaded(source: _Source, path: str, rules: Rules, look: Look) -> str | None:
    """Return why nothing at this path is ever uploaded, or None."""
    path = _plain(path)
    if HOMES.fullmatch(path) or IN_A_HOME.fullmatch(path) or any(_is_in(path, one) for one in SYSTEM_FOLDERS):
        return f"{source.leading(path, 'leads to')} a folder of the system, or somebody's home."
    for own in _both_ways(rules.protected, look):
        if _is_in(path, own) or _is_in(own, path):
            return f"{source.leading(path, 'leads to')} a folder of this service, or holds one."
    return None


def _outside(source: _Source, path: str, rules: Rules, look: Look) -> str | None:
    """Return why data may not come from this path, or None."""
    path = _plain(path)
    roots = _both_ways(rules.source_roots, look)
    if not roots or any(_is_in(path, root) for root in roots):
        return None
    return (
        f"{source.leading(path, 'leads')} outside the folders that may be uploaded from:"
        f" {', '.join(rules.source_roots)} (policy.source_roots in agent.yaml). Move the data there."
    )


def _plain(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _both_ways(folders: Iterable[str], look: Look) -> set[str]:
    """Return the folders as they are written and as they really are."""
    return {_plain(path) for folder in folders for path in (folder, _real(folder, look))}


def _real(folder: str, look: Look) -> str:
    """Return the folder as written while its share hangs: whatever really lies in it would hang as well."""
    try:
        return look(folder).real
    except NoAnswer:
        return folder


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _not_there(source: _Source, facts: SourceFacts, rules: Rules, look: Look) -> Problem:
    words = f"{source.what} {source.named} is not there. Check the spelling, or whether it was moved."
    parent, name = posixpath.split(source.path.rstrip("/"))
    for near in difflib.get_close_matches(name, [one for one in facts.siblings if one.isprintable()], n=3):
        there = look(posixpath.join(parent, near))
        closed = _never_uploaded(source, there.real, rules, look) or _outside(source, there.real, rules, look)
        if there.is_dir and not closed:
            return source.wrong(words, _with_last_part(source.written, name, near))
    return source.wrong(words)


def _with_last_part(written: str, name: str, near: str) -> str | None:
    """Return the path as it was written, its last part replaced."""
    stem = written.rstrip("/\\")
    return stem[: -len(name)] + near if stem.endswith(name) else None


def _unusable(source: _Source, facts: SourceFacts) -> str | None:
    if not facts.is_dir:
        return f"{source.what} {source.named} is a file. Write the folder that holds the data."
    if not facts.readable:
        return f"{source.what} {source.named} cannot be read by this service. Ask for its permissions to be changed."
    return None
