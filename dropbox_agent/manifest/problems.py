"""Problems in the words of the readers of this package."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from dropbox_agent.model import Level, Place, Problem

SHOWN_CHARACTERS = 200
NOT_ENDED = "The file does not end with a line break, so its end may be missing. Is its last line whole?"
"""Said of csv and yaml, where a part of a file looks like a file."""
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no text of a manifest needs and that files, databases and mails trip over."""


class Unreadable(Exception):
    """A file cannot be read at all; the message says what would be right."""

    def __init__(self, message: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(message)


def error(place: Place, message: str, found: Any = None, suggestion: str | None = None) -> Problem:
    """Return an error at ``place``."""
    return Problem(Level.ERROR, place, message, shown(found), suggestion)


def warning(place: Place, message: str, found: Any = None, suggestion: str | None = None) -> Problem:
    """Return a warning at ``place``."""
    return Problem(Level.WARNING, place, message, shown(found), suggestion)


def shown(found: Any) -> str | None:
    """Return what was found as text fit to show: control characters visible, cut at 200 characters."""
    if found is None:
        return None
    text = FORBIDDEN.sub(lambda match: f"\\x{ord(match.group()):02x}", str(found)[: SHOWN_CHARACTERS + 1])
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def forbidden(text: str) -> str | None:
    """Return what is wrong with the characters of ``text``, or None."""
    match = FORBIDDEN.search(text)
    return f"has a control character (code {ord(match.group())}) in it. Type it anew." if match else None


def nearest(word: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the known word that ``word`` was probably meant to be, or None."""
    by_shape = {_shape(name): name for name in known}
    matches = difflib.get_close_matches(_shape(word[:100]), by_shape, n=1, cutoff=cutoff)
    return by_shape[matches[0]] if matches else None


def did_you_mean(suggestion: str | None) -> str:
    """Return the sentence that offers ``suggestion``, with the space before it."""
    return f' Did you mean "{suggestion}"?' if suggestion else ""


def _shape(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
