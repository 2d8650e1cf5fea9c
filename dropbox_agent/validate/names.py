"""Names as they are told back: shown in full or cut, with the known one that was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN_CHARACTERS = 200
SHOWN_NAMES = 40
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``word`` was probably meant to be."""
    by_shape = {_shape(name): name for name in known}
    near = difflib.get_close_matches(_shape(word[:100]), by_shape, n=1, cutoff=0.7)
    return by_shape[near[0]] if near else None


def _shape(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.casefold())


def hint(near: str | None, known: Sequence[str] = ()) -> str:
    """Return what helps with a name that is not known, with the space before it."""
    question = f' Did you mean "{near}"?' if near else ""
    if not known:
        return question
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    return f"{question} Known: {', '.join(known[:SHOWN_NAMES])}{more}."


def shown(found: Any) -> str | None:
    """Return what was found, fit to show."""
    if found is None:
        return None
    text = CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", str(found)[: SHOWN_CHARACTERS + 1])
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
