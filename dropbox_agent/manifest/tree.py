"""Read YAML and JSON into plain values, knowing the line of each; what could mean two things is an error.

YAML scalars stay text (``0012``, ``no``, ``12:30:45``); only an empty one, ``~`` and ``null`` are nothing. JSON keeps
its types. Duplicate keys, tags, anchors, aliases and merge keys are told with their line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.problems import error, forbidden
from dropbox_agent.model import Place, Problem

Path = tuple[str, ...]
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
TOKEN = re.compile(r'[\s:,]*("(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s:,\[\]{}"]+)', re.DOTALL)


class Unreadable(Exception):
    """The text cannot be read at all; the message says what would be right."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(message)


@dataclass
class Tree:
    """A document: its value, the line of each part, and what is wrong with its form."""

    file: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, *path: str) -> Place:
        """Return where ``path`` stands, else its nearest parent."""
        line = next((found for n in range(len(path), -1, -1) if (found := self.lines.get(path[:n]))), None)
        return Place(self.file, row=line, column=".".join(path) or None)

    def tell(self, path: Path, message: str, found: str | None = None, line: int | None = None) -> None:
        where = Place(self.file, row=line or self.place(*path).row, column=".".join(path) or None)
        self.problems.append(error(where, message, found))

    def keep(self, path: Path, line: int, limits: Limits) -> None:
        """Remember the line of ``path``; refuse a document too deep or too large."""
        if len(path) > limits.depth:
            raise Unreadable(f"Line {line} is nested more than {limits.depth} deep. Nothing in a manifest is.", line)
        if len(self.lines) >= limits.nodes:
            raise Unreadable(f"There are more than {limits.nodes} values. Split the file.", line)
        self.lines[path] = line


def decoded(content: bytes) -> str:
    """Return the text of a document, which is in UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        raise Unreadable(f"Line {line} has a letter that is not in UTF-8. Save the file as UTF-8.", line) from wrong


# --- YAML ------------------------------------------------------------------------------------------------------------


def from_yaml(text: str, file: str, limits: Limits) -> Tree:
    """Return the one document of a YAML text."""
    tree = Tree(file)
    try:
        events = _Events(yaml.parse(text, Loader=LOADER))
        tree.value = events.document(tree, limits)
    except yaml.reader.ReaderError as wrong:
        line = text.count("\n", 0, wrong.position) + 1
        raise Unreadable(f"Line {line} has a character that YAML does not allow. Type it anew.", line) from wrong
    except yaml.MarkedYAMLError as wrong:
        mark: Any = wrong.problem_mark or wrong.context_mark
        line = mark.line + 1 if mark else 1
        raise Unreadable(f"Line {line} is not YAML: {wrong.problem or wrong.context}.", line) from wrong
    return tree


class _Events:
    """The events of a YAML text, turned into values as they come: nothing is built that was not written."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events

    def document(self, tree: Tree, limits: Limits) -> Any:
        next(self._events)  # the stream begins
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise Unreadable("There is nothing in it. Write one request with upload_jobs, or one job.")
        value = self.value(next(self._events), (), tree, limits)
        next(self._events)  # the document ends
        more = next(self._events)
        if isinstance(more, yaml.DocumentStartEvent):
            line = _line(more)
            raise Unreadable(f"A second document begins in line {line}. Write one document only.", line)
        return value

    def value(self, event: Any, path: Path, tree: Tree, limits: Limits) -> Any:
        line = _line(event)
        tree.keep(path, line, limits)
        if isinstance(event, yaml.AliasEvent):
            tree.tell(path, f"*{event.anchor} is an alias. Write the value out here.", line=line)
            return None
        if event.anchor is not None:
            tree.tell(path, f"&{event.anchor} is an anchor. Leave it out and write each value where it is used.")
        if event.tag is not None:
            tree.tell(path, f"{event.tag} is a tag. Leave it out: values need none.", found=event.tag)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path, tree)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path, tree, limits)
        return self.mapping(path, tree, limits)

    def scalar(self, event: Any, path: Path, tree: Tree) -> str | None:
        text = str(event.value)
        if not event.style and text in NULLS:  # not quoted
            return None
        _check_text(text, path, tree)
        return text

    def sequence(self, path: Path, tree: Tree, limits: Limits) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self.value(event, (*path, str(len(items))), tree, limits))
        return items

    def mapping(self, path: Path, tree: Tree, limits: Limits) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self.key(event, path, tree, limits)
            inner = (*path, key)
            line = _line(event)
            if key in entries:
                message = f'"{key}" is there twice, also in line {tree.lines[inner]}. Keep one of them.'
                tree.tell(inner, message, line=line)
            value = self.value(next(self._events), inner, tree, limits)
            tree.lines[inner] = line
            entries.setdefault(key, value)
        return entries

    def key(self, event: Any, path: Path, tree: Tree, limits: Limits) -> str:
        line = _line(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise Unreadable(f"Line {line} has a key that is not plain text. Write KEY: VALUE.", line)
        key = str(event.value)
        if key == "<<" and not event.style:
            tree.tell(path, "<< merges another mapping. Write the values out here.", line=line)
        if event.anchor is not None or event.tag is not None:
            tree.tell((*path, key), "This key has an anchor or a tag. Leave it out.", line=line)
        _check_text(key, (*path, "?"), tree)
        return key


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _check_text(text: str, path: Path, tree: Tree) -> None:
    if wrong := forbidden(text):
        tree.tell(path, f"The text {wrong}", found=text)


# --- JSON ------------------------------------------------------------------------------------------------------------


def from_json(text: str, file: str, limits: Limits) -> Tree:
    """Return the value of a JSON text."""
    if not text.strip():
        raise Unreadable("There is nothing in it. Write one request with upload_jobs, or one job.")
    tree = Tree(file)
    try:
        tree.value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as wrong:
        raise Unreadable(f"Line {wrong.lineno} is not JSON: {wrong.msg}.", wrong.lineno) from wrong
    except RecursionError as wrong:
        raise Unreadable(f"It is nested more than {limits.depth} deep. Nothing in a manifest is.") from wrong
    except ValueError as wrong:
        raise Unreadable(f"It is not JSON: {wrong}.") from wrong
    _Tokens(text).value((), tree, limits)
    return tree


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


class _Tokens:
    """The tokens of a text that is known to be JSON, for the line of each value and keys written twice."""

    def __init__(self, text: str) -> None:
        self._tokens = self._read(text)

    def _read(self, text: str) -> Iterator[tuple[str, int]]:
        line, seen = 1, 0
        for match in TOKEN.finditer(text):
            line += text.count("\n", seen, match.start(1))
            seen = match.start(1)
            yield match.group(1), line

    def value(self, path: Path, tree: Tree, limits: Limits) -> None:
        token, line = next(self._tokens)
        self._value(token, line, path, tree, limits)

    def _value(self, token: str, line: int, path: Path, tree: Tree, limits: Limits) -> None:
        tree.keep(path, line, limits)
        if token == "[":
            self._items(path, tree, limits)
        elif token == "{":
            self._members(path, tree, limits)
        elif token.startswith('"'):
            _check_text(json.loads(token), path, tree)

    def _items(self, path: Path, tree: Tree, limits: Limits) -> None:
        count = 0
        while (following := next(self._tokens))[0] != "]":
            self._value(*following, (*path, str(count)), tree, limits)
            count += 1

    def _members(self, path: Path, tree: Tree, limits: Limits) -> None:
        seen: dict[str, int] = {}
        while (following := next(self._tokens))[0] != "}":
            key, line = json.loads(following[0]), following[1]
            inner = (*path, key)
            if key in seen:
                message = f'"{key}" is there twice, also in line {seen[key]}. Keep one of them.'
                tree.tell(inner, message, line=line)
            seen.setdefault(key, line)
            _check_text(key, (*path, "?"), tree)
            self.value(inner, tree, limits)
            tree.lines[inner] = seen[key]
