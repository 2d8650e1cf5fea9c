"""Array tasks: a script that runs once for each element, as ``image_resources.array`` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_ELEMENTS = 1000
"""Slurm's own limit where nobody changed it (MaxArraySize 1001)."""
RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6})(?::(\d{1,6}))?)?")
FORMS = "write 0-3, 0-9:3, 1,4,7 or 0-7%2"


class NoArray(ValueError):
    """What is written is no list of elements; the text is the rest of a sentence."""


@dataclass(frozen=True)
class Array:
    """The elements of an array task."""

    numbers: tuple[int, ...]
    at_once: int | None = None
    """How many may run at the same time; None: as many as there is room for."""

    def __str__(self) -> str:
        return in_ranges(self.numbers) + (f"%{self.at_once}" if self.at_once else "")


def read(value: Any) -> Array:
    """Return what ``0-3``, ``0-9:3``, ``1,4-6`` or ``0-7%2`` lists, each number once. Raises NoArray."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise NoArray(f"is no list of elements; {FORMS}")
    text, percent, limit = str(value).replace(" ", "").partition("%")
    if percent and (not limit.isascii() or not limit.isdigit() or int(limit[:6]) == 0):
        raise NoArray(f"has no number after %; {FORMS}")
    numbers: set[int] = set()
    for part in text.split(","):
        numbers |= _range(part)
    if len(numbers) > MOST_ELEMENTS:
        raise NoArray(f"has {len(numbers)} elements; at most {MOST_ELEMENTS} are possible")
    return Array(tuple(sorted(numbers)), int(limit[:6]) if limit else None)


def _range(part: str) -> set[int]:
    found = RANGE.fullmatch(part)
    if found is None or (found[3] is not None and int(found[3]) == 0):
        raise NoArray(f"is no list of elements; {FORMS}")
    first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
    if last < first:
        raise NoArray(f"goes from {first} down to {last}; {FORMS}")
    if (last - first) // step >= MOST_ELEMENTS:
        raise NoArray(f"has more than {MOST_ELEMENTS} elements; no more are possible")
    return set(range(first, last + 1, step))


def array_of(resources: Mapping[str, Any]) -> Array | None:
    """Return the array that resources ask for; None when they ask for none, or for something that is none."""
    try:
        return None if resources.get("array") is None else read(resources["array"])
    except NoArray:
        return None


def in_ranges(numbers: Iterable[int]) -> str:
    """Return numbers as Slurm and people write them: ``0-3,7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
