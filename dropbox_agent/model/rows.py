"""What was read from a manifest, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where something stands in a manifest. Rows count from 1 as in Excel; for YAML and JSON, row is the line."""

    file: str
    sheet: str | None = None
    row: int | None = None
    column: str | None = None
    """The header in lower case with underscores; for YAML and JSON the dotted key path."""
    cell: str | None = None
    """As Excel names it, e.g. ``C7``; only for tables."""


class Level(str, Enum):
    """How bad a problem is."""

    ERROR = "error"
    """The row (or the file) is refused."""
    WARNING = "warning"
    """Told, and gone on with."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row or file: where, what was found, what would be right."""

    level: Level
    place: Place
    message: str
    """One sentence for the scientist: what is wrong and what would be right."""
    found: str | None = None
    """What stands there, as text, cut at 200 characters."""
    suggestion: str | None = None
    """The value to write instead, when there is one."""
    outside: bool = False
    """The row itself is well formed; only the outside world objects (sources, projects, buckets, policy)."""
    line: str | None = None
    """The line of a YAML or JSON manifest, as it stands there; tables have their annotated copy instead."""

    def as_json(self) -> dict[str, Any]:
        """Return the problem as ``check --json`` and status.json write it."""
        return {
            "level": self.level.value,
            "file": self.place.file,
            "sheet": self.place.sheet,
            "row": self.place.row,
            "column": self.place.column,
            "cell": self.place.cell,
            "found": self.found,
            "message": self.message,
            "suggestion": self.suggestion,
        }


@dataclass(frozen=True)
class Row:
    """One line of a table or one entry of ``upload_jobs``, exactly as written, with its place.

    ``entry`` has the shape of one upstream job, made of plain values (str, int, float, bool, None, list, dict);
    ``places`` says for each dotted path of it where it was written (``tasks.x.job_settings.input_source`` ->
    column ``modality0.input_source``, cell ``H2``). A missing path has the place of its nearest parent, or the row's.
    """

    place: Place
    entry: Mapping[str, Any]
    places: Mapping[str, Place] = field(default_factory=dict)
    refused: bool = False
    """Reading it found an error: what can be checked is checked, but no job comes of it."""

    def place_of(self, *path: str) -> Place:
        """Return where ``path`` was written, else its nearest written parent, else the row."""
        for length in range(len(path), 0, -1):
            found = self.places.get(".".join(path[:length]))
            if found is not None:
                return found
        return self.place


ALIKE = 20
"""Warnings of one column that say the same, told one by one; what more there are is counted."""


def counted(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the problems, of many warnings that say the same the first ones and one that counts the others."""
    alike: dict[tuple[str, str | None, str | None], list[int]] = {}
    for index, problem in enumerate(problems):
        if problem.level is Level.WARNING and problem.place.row is not None:
            alike.setdefault((problem.message, problem.place.sheet, problem.place.column), []).append(index)
    found: dict[int, Problem] = dict(enumerate(problems))
    for told in alike.values():
        for index in told[ALIKE:] if len(told) > ALIKE + 1 else ():
            del found[index]
        if len(told) > ALIKE + 1:
            found[told[ALIKE]] = _and_more(problems[told[ALIKE]], len(told) - ALIKE - 1, problems[told[-1]].place)
    return tuple(found[index] for index in sorted(found))


def _and_more(problem: Problem, more: int, last: Place) -> Problem:
    unit = "line" if last.file.lower().endswith((".yaml", ".yml", ".json")) else "row"
    where = last.cell or f"{unit} {last.row}"
    return replace(problem, message=f"{problem.message} It is the same {more} more times, down to {where}.")


def readable(problems: Sequence[Problem], most: int) -> tuple[Problem, ...]:
    """Return no more errors and warnings than a person reads, and how many were left out.

    Too many warnings are a warning: nothing is refused for being odd in many places.
    """
    kept: list[Problem] = []
    seen = dict.fromkeys(Level, 0)
    for problem in counted(problems):
        seen[problem.level] += 1
        if seen[problem.level] <= most:
            kept.append(problem)
    for level, words in ((Level.ERROR, "problems. Put these right first"), (Level.WARNING, "warnings")):
        if seen[level] > most:
            kept.append(Problem(level, Place(problems[0].place.file), f"And {seen[level] - most} more {words}."))
    return tuple(kept)
