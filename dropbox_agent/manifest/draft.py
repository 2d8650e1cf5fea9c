"""A row in the making: each cell is judged, and written at the path its column means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dropbox_agent.manifest.columns import ABBREVIATION, MODALITIES, SHORTCUTS, Meaning, Path
from dropbox_agent.manifest.header import Column, tie
from dropbox_agent.manifest.problems import error, forbidden, warning
from dropbox_agent.manifest.sheet import Trouble
from dropbox_agent.manifest.values import typed
from dropbox_agent.model import Level, Place, Problem, Row
from dropbox_agent.wording import printable, shown

NOTHING = frozenset({"none", "nan", "na", "n/a", "#n/a", "null", "nil", "<na>", "nat"})
"""What programs write for an empty cell; never a value."""
YES, NO = frozenset({"true", "t"}), frozenset({"false", "f"})


@dataclass
class Cell:
    """One cell of a row, with the column it stands under and its place."""

    column: Column
    text: str
    place: Place
    given: tuple[Any, ...] = ()
    """The one value of a document, which knows more than text."""
    trouble: Trouble | None = None
    """What was seen to be wrong with it when the sheet was read."""


@dataclass
class Draft:
    """A row in the making."""

    place: Place
    upstream: bool = False
    entry: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: bool = False
    lost: set[int] = field(default_factory=set)
    """Numbers of modalities that were told to be lost, with all that belongs to them."""

    def place_of(self, name: str) -> Place:
        """Return where a part of the row stands."""
        return self.places.get(name, self.place)

    def tell(self, problem: Problem) -> None:
        """Keep a problem; an error refuses the row."""
        self.problems.append(problem)
        self.refused |= problem.level is Level.ERROR

    def refuse(self, place: Place, message: str, found: Any = None, *, upstream: str) -> None:
        """Tell what would be lost: an error, or with ``compat: upstream`` a warning that says what is done instead."""
        if self.upstream:
            self.tell(warning(place, f"{message} Read as upstream does: {upstream}.", found))
        else:
            self.tell(error(place, message, found))

    def finished(self) -> Row:
        """Return the row, as far as it could be read."""
        return Row(self.place, self.entry, self.places, self.refused)


def is_usable(draft: Draft, cell: Cell, at: Place) -> bool:
    """Return whether the cell has a text that can be used; tell what is wrong with it. The header stands ``at``."""
    if not cell.text and cell.trouble is None:
        return False
    if cell.column.problem is not None:
        draft.places[tie(cell.column)] = replace(at, column=cell.column.name)
        draft.refused |= not draft.upstream
        return False
    trouble = cell.trouble or _trouble(cell)
    if trouble is None:
        return True
    found = shown(cell.text or None)
    if trouble.upstream and (trouble.level is Level.ERROR or draft.upstream):
        draft.refuse(cell.place, trouble.message, found, upstream=trouble.upstream)
        return draft.upstream and bool(cell.text)
    draft.tell(Problem(trouble.level, cell.place, trouble.message, found))
    return trouble.level is Level.WARNING


def fill(draft: Draft, cells: Sequence[Cell]) -> None:
    """Write cells into a row, each at the path its column means, and tell what is wrong with them."""
    abbreviations = _modalities(draft, cells)
    for cell in cells:
        _put(draft, cell, abbreviations)


def _trouble(cell: Cell) -> Trouble | None:
    if not cell.column.header:
        message = "Something stands here, but its column has no header. Name the column, or clear the cell."
        return Trouble(message, upstream="it is passed over")
    if wrong := forbidden(cell.text):
        return Trouble(f"{cell.column.name} {wrong}")
    if cell.text.casefold() in NOTHING:
        message = f'"{cell.text}" is what programs write for an empty cell. Leave it empty, or fill it in.'
        return Trouble(message, upstream="the word is taken as it stands")
    return None


def _modalities(draft: Draft, cells: Sequence[Cell]) -> dict[int, str]:
    """Write the row's modalities into the draft; return number -> abbreviation, of repeated ones the first only."""
    named = {
        cell.column.meaning.modality: cell
        for cell in cells
        if cell.column.meaning and cell.column.meaning.path == MODALITIES and cell.column.meaning.modality is not None
    }
    in_order = [named[number] for number in sorted(named)]
    if in_order:
        draft.entry["modalities"] = [cell.text for cell in in_order]
    draft.places |= {f"modalities.{index}": cell.place for index, cell in enumerate(in_order)}
    numbers = {number: named[number].text for number in sorted(named)}
    return _only_last(draft, numbers, named) if draft.upstream else numbers


def _only_last(draft: Draft, numbers: Mapping[int, str], named: Mapping[Any, Cell]) -> dict[int, str]:
    """Of a modality named twice upstream keeps the last, and loses the data of the others."""
    last = {text: number for number, text in numbers.items()}
    for number, text in numbers.items():
        if last[text] != number:
            other = f"modality{last[text]}"
            name = printable(text)
            message = f'"{name}" is named twice, in modality{number} and {other}; the data of modality{number} is lost.'
            draft.refuse(named[number].place, message, text, upstream=f"only {other} is kept")
            draft.lost.add(number)
    kept = sorted(last.values())
    if kept:
        draft.entry["modalities"] = [numbers[number] for number in kept]
    draft.places |= {f"modalities.{index}": named[number].place for index, number in enumerate(kept)}
    return {number: text for number, text in numbers.items() if last[text] == number}


def _put(draft: Draft, cell: Cell, abbreviations: Mapping[int, str]) -> None:
    """Write one cell into the draft at the path its column means."""
    means = cell.column.meaning
    if means is None or means.path == MODALITIES:
        return
    path = means.path
    if means.modality is not None:
        if means.modality not in abbreviations:
            _tell_without_modality(draft, cell, means.modality)
            return
        if _is_repeated(means.modality, abbreviations):
            return
        path = tuple(abbreviations[means.modality] if part == ABBREVIATION else part for part in path)
    value = _value(draft, cell, means)
    if means.path == SHORTCUTS["force_cloud_sync"] and cell.column.name == "force_cloud_sync":
        value = _yes(draft, cell)
        if value is None:
            return
    if other := _insert(draft.entry, path, value):
        where = draft.places.get(".".join(other))
        draft.tell(error(cell.place, f"{_also(cell, where)} set the same thing. Keep one of them.", found=cell.text))
        return
    draft.places[".".join(path)] = cell.place


def _also(cell: Cell, other: Place | None) -> str:
    if cell.place.cell:
        return f"This cell and {f'{other.cell} ({other.column})' if other and other.cell else 'another column'}"
    return f"This and {f'{other.column} in line {other.row}' if other else 'another line'}"


def _is_repeated(number: int, abbreviations: Mapping[int, str]) -> bool:
    """A repeated modality is refused when the row is validated; its settings must not mix with the first one's."""
    return any(abbreviations[other] == abbreviations[number] for other in abbreviations if other < number)


def _value(draft: Draft, cell: Cell, means: Meaning) -> Any:
    """Return a setting as what it stands for; to upstream everything is text."""
    if not means.is_typed:
        return cell.text
    if cell.given:
        return cell.given[0]
    value = typed(cell.text)
    if draft.upstream and value != cell.text:
        message = "This could be read as a number, as true or false, or as a list. Read as upstream does: as text."
        draft.tell(warning(cell.place, message, cell.text))
        return cell.text
    return value


def _tell_without_modality(draft: Draft, cell: Cell, number: int) -> None:
    if number in draft.lost:
        return
    message = (
        f"{cell.column.name} is filled in, but modality{number} is not, so it would be lost. "
        f"Name the modality in column modality{number}, or clear this cell."
    )
    draft.refuse(cell.place, message, cell.text, upstream="it is passed over")


def _yes(draft: Draft, cell: Cell) -> bool | None:
    """Return True for yes; no sets nothing, and anything else is told."""
    if cell.text.casefold() in YES:
        return True
    if cell.text.casefold() not in NO:
        message = "force_cloud_sync must be true or false, or empty for false."
        draft.refuse(cell.place, message, cell.text, upstream="it counts as false")
    return None


def _insert(entry: dict[str, Any], path: Path, value: Any) -> Path | None:
    """Set ``path`` of ``entry``; return the path of what stands in the way, when that is something else."""
    inner: Any = entry
    for depth, part in enumerate(path[:-1], 1):
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return path[:depth]
    present = inner.setdefault(path[-1], value)
    return None if present == value else path
