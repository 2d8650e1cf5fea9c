"""One row under examination: what is found in it, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dropbox_agent.model import Job, Known, Level, Place, Problem, Row, asset_name
from dropbox_agent.wording import shown

MOST_PROBLEMS_OF_ROW = 100


@dataclass
class Check:
    """One row under examination."""

    row: Row
    known: Known
    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def error(self, path: Sequence[str], message: str, found: Any = None, **more: Any) -> None:
        """Tell what is wrong at ``path``."""
        self._tell(Level.ERROR, path, message, found, **more)

    def warning(self, path: Sequence[str], message: str, found: Any = None, **more: Any) -> None:
        """Tell what is odd at ``path``."""
        self._tell(Level.WARNING, path, message, found, **more)

    def tell(self, wrong: Wrong) -> None:
        """Tell why a field cannot be used."""
        self.error(wrong.path, str(wrong), wrong.found, suggestion=wrong.suggestion)

    def _tell(self, level: Level, path: Sequence[str], message: str, found: Any, **more: Any) -> None:
        self.problems.append(Problem(level, self._place(path), message, shown(found), **more))
        if len(self.problems) >= MOST_PROBLEMS_OF_ROW:
            raise Enough

    def _place(self, path: Sequence[str]) -> Place:
        """Return where ``path`` or the first part of it stands; for what is not written, where it belongs."""
        if (part := self.part_of(path)) is not None:
            return part
        place = self.row.place_of(*path)
        if place is not self.row.place or len(path) != 1:
            return place
        return replace(place, column=f"{place.column}.{path[0]}" if place.column else path[0])

    def part_of(self, path: Sequence[str]) -> Place | None:
        """Return where the first part of a path stands that is not written as a whole: in a column of its own."""
        dotted = ".".join(path)
        if dotted in self.row.places:
            return None
        return next((place for name, place in self.row.places.items() if name.startswith(f"{dotted}.")), None)

    def job(self) -> Job | None:
        """Return the job, when nothing inside the manifest is wrong with it."""
        inside = [problem for problem in self.problems if problem.level is Level.ERROR and not problem.outside]
        if inside or self.row.refused:
            return None
        return Job(row=self.row, s3_prefix=self.asset()[1], **self.values)

    def has_asset(self) -> bool:
        """Return whether the name of the asset can be told."""
        return {"subject_id", "acq_datetime", "platform", "bucket"} <= self.values.keys()

    def asset(self) -> tuple[str, str]:
        """Return the bucket and name of the asset."""
        named = asset_name(self.values["platform"], self.values["subject_id"], self.values["acq_datetime"])
        return self.values["bucket"], named


class Enough(Exception):
    """So many problems were told of one row that more would help nobody."""


class Wrong(Exception):
    """A field cannot be used; the message says what would be right."""

    def __init__(self, path: Sequence[str], message: str, found: Any = None, suggestion: str | None = None) -> None:
        self.path, self.found, self.suggestion = path, found, suggestion
        super().__init__(message)
