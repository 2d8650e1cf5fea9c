"""Problems in the words of the readers of this package."""

from __future__ import annotations

import re
from typing import Any

from dropbox_agent.model import Level, Place, Problem
from dropbox_agent.wording import shown

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


def forbidden(text: str) -> str | None:
    """Return what is wrong with the characters of ``text``, or None."""
    match = FORBIDDEN.search(text)
    return f"has a control character (code {ord(match.group())}) in it. Type it anew." if match else None


def did_you_mean(suggestion: str | None) -> str:
    """Return the sentence that offers ``suggestion``, with the space before it."""
    return f' Did you mean "{suggestion}"?' if suggestion else ""
