"""What somebody wrote, told back to them: fit to show, and with the known word that was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

SHOWN_CHARACTERS = 200


def shown(found: Any) -> str | None:
    """Return what was found as text fit to show; None when that is nothing."""
    return None if found is None else printable(str(found))


def printable(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    r"""Return foreign text with every character that cannot be seen written as ``\n`` or ``\x07``, cut when long."""
    if len(text) <= characters and text.isprintable():
        return text
    seen = (one if one.isprintable() else _escaped(one) for one in text[: characters + 1])
    return cut("".join(seen), characters)


def cut(text: str, characters: int) -> str:
    """Return a text of no more than so many characters; one that was cut ends with dots."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 job``, ``2 jobs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that ``word`` was probably meant to be, whatever its case, dashes and blanks."""
    shape, by_shape = _shape(word[:100]), _by_shape(tuple(known))
    likely = [name for name, (_, letters) in by_shape.items() if _may_be_near(shape, name, letters, cutoff)]
    near = difflib.get_close_matches(shape, likely, n=1, cutoff=cutoff) if likely else []
    return by_shape[near[0]][0] if near else None


@lru_cache(maxsize=100)
def _by_shape(known: tuple[str, ...]) -> Mapping[str, tuple[str, frozenset[str]]]:
    return {shape: (name, frozenset(shape)) for name in known for shape in [_shape(name)]}


def _may_be_near(shape: str, name: str, letters: frozenset[str], cutoff: float) -> bool:
    """Return False where difflib, which takes a hundred times as long, would say so too: too few letters are shared."""
    return 2 * sum(map(letters.__contains__, shape)) >= cutoff * (len(shape) + len(name))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shape(word: str) -> str:
    return re.sub(r"[\s_-]+", "-", word.casefold())
