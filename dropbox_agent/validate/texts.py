"""Values as text: what a field, a platform or a modality says, and whether it is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dropbox_agent.validate.check import Check, Wrong
from dropbox_agent.wording import nearest, printable, shown

SHOWN_NAMES = 40
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def text_of(check: Check, name: str) -> str | None:
    """Return a field as text, None when it is empty. A whole number is text too: subject ids often are."""
    value = check.row.entry.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise Wrong([name], f"{name} must be text.", value)
    return _printable(value, [name]) or None


def required(check: Check, name: str) -> str:
    """Return a field as text; it must be there."""
    text = text_of(check, name)
    if text is None:
        raise Wrong([name], f"{name} is missing. Fill it in.")
    return text


def name_of(check: Check, value: Any, path: Sequence[str]) -> str | None:
    """Return a platform or modality: its abbreviation, also as the object that upstream's clients send."""
    if isinstance(value, dict):
        value = value.get("abbreviation")
        if value is None:
            raise Wrong(path, 'This must have an "abbreviation".')
    if value is not None and not isinstance(value, str):
        raise Wrong(path, "This must be a name.", value)
    return _printable(value, path) or None


def _printable(text: str | None, path: Sequence[str]) -> str:
    stripped = (text or "").strip()
    if CONTROL.search(stripped):
        raise Wrong(path, "There is a line break or a control character in it. Type it anew.", stripped)
    return stripped


def one_of(path: Sequence[str], name: str, known: Iterable[str]) -> str:
    """Return a name that is among those known."""
    names = list(known)
    if name in names:
        return name
    near = nearest(name, names)
    raise Wrong(path, f'"{shown(name)}" is not known.{hint(near, names)}', name, near)


def hint(near: str | None, known: Sequence[str] = ()) -> str:
    """Return what helps with a name that is not known, with the space before it."""
    question = f' Did you mean "{near}"?' if near else ""
    if not known:
        return question
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    return f"{question} Known: {', '.join(map(printable, known[:SHOWN_NAMES]))}{more}."
