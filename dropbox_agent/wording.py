"""What somebody wrote, told back to them: fit to show, and with the known word that was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
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
    by_shape = {_shape(name): name for name in known}
    near = difflib.get_close_matches(_shape(word[:100]), by_shape, n=1, cutoff=cutoff)
    return by_shape[near[0]] if near else None


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shape(word: str) -> str:
    return re.sub(r"[\s_-]+", "-", word.casefold())
