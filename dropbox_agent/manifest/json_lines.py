"""Read JSON into plain values, knowing the line of each; a key written twice is told with both lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from dropbox_agent.wording import printable
from dropbox_agent.yaml_lines import Document, Path, Unreadable, decoded

TOKEN = re.compile(r'[\s:,]*("(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s:,\[\]{}"]+)', re.DOTALL)
TRAILING_COMMA = re.compile(r",\s*[\]}]")
SHOWN_CHARACTERS = 20


def read(content: bytes, *, depth: int, nodes: int) -> Document:
    """Return the value of a JSON text; Unreadable when it is none."""
    text = decoded(content)
    document = Document(depth=depth, nodes=nodes)
    if text.strip():
        document.value = _value(text, depth)
        _Tokens(text, document).value(())
    return document


def _value(text: str, depth: int) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as wrong:
        raise _in_words(wrong, text) from wrong
    except RecursionError as wrong:
        raise Unreadable(f"this is nested more than {depth} deep; nothing here needs to be") from wrong
    except ValueError as wrong:  # int() takes no more than some thousand digits
        raise Unreadable("this is not JSON that can be read: a number in it is too long") from wrong


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"this is not JSON: {name} is not a number that JSON knows")


def _in_words(wrong: json.JSONDecodeError, text: str) -> Unreadable:
    """Return what is wrong in words of our own: json's, and where it sees a comma too many, change by its version."""
    comma = _last_comma(text, wrong.pos)
    line = text.count("\n", 0, wrong.pos if comma is None else comma) + 1
    rest = text[wrong.pos :].strip()
    if comma is not None:
        words = "the last comma is one too many"
    elif not rest:
        words = "it ends too early, something is not closed"
    elif wrong.msg.startswith(("Unterminated string", "Invalid control character")):
        words = "a text here has no quotation mark at its end, or a line break or tab in it"
    elif wrong.msg.startswith("Invalid \\"):
        words = r"\ has a meaning of its own in a text; write it twice"
    else:
        found = printable(rest.partition("\n")[0][:SHOWN_CHARACTERS])
        words = f"something else is needed where {found} stands"
    return Unreadable(f"this is not JSON: {words}", line)


def _last_comma(text: str, position: int) -> int | None:
    """Return where the comma is that a closing bracket follows, when that is what is wrong at a position."""
    before, rest = text[:position].rstrip(), text[position:]
    if before.endswith(",") and rest.startswith(("]", "}")):
        return len(before) - 1
    # From Python 3.13 on, the position is that of the comma; where a value is missing before it, it always was.
    is_last = TRAILING_COMMA.match(rest) and not before.endswith((":", ",", "[", "{"))
    return position if is_last else None


class _Tokens:
    """The tokens of a text that is known to be JSON, for the line of each value and keys written twice."""

    def __init__(self, text: str, document: Document) -> None:
        self._tokens = self._read(text)
        self._document = document

    def _read(self, text: str) -> Iterator[tuple[str, int]]:
        line, seen = 1, 0
        for match in TOKEN.finditer(text):
            line += text.count("\n", seen, match.start(1))
            seen = match.start(1)
            yield match.group(1), line

    def value(self, path: Path) -> None:
        """Pass over the next value, remembering its lines."""
        self._value(*next(self._tokens), path)

    def _value(self, token: str, line: int, path: Path) -> None:
        self._document.keep(path, line)
        if token == "[":
            self._items(path)
        elif token == "{":
            self._members(path)

    def _items(self, path: Path) -> None:
        count = 0
        while (following := next(self._tokens))[0] != "]":
            self._value(*following, (*path, count))
            count += 1

    def _members(self, path: Path) -> None:
        seen: set[str] = set()
        while (following := next(self._tokens))[0] != "}":
            key, line = json.loads(following[0]), following[1]
            inner = (*path, key)
            if key in seen:
                self._document.tell_twice(inner, line)
            seen.add(key)
            self._document.lines.setdefault(inner, line)
            self.value(inner)
