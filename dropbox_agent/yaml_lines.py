"""Read YAML into plain values, knowing the line of each, and tell what YAML itself would pass over in silence.

Keys written twice, anchors, aliases, merges, tags and directives are findings. Nothing is built that was not written:
the events of the text become values as they come, within bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]
"""Where a value stands: ``("inboxes", 0, "path")``."""

DEPTH = 50
"""Values within values; nobody means more."""
NODES = 100_000
KEY_CHARACTERS = 100
"""Of a key, as it is told."""
NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
TYPED = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
"""What plain text may stand for besides text. Dates and times stay the text they are, as in JSON."""
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Finding(NamedTuple):
    """What is wrong: at which path, in which line (0: nowhere in the file), in words without a full stop."""

    path: Path
    line: int
    words: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.words}" if self.line else self.words


class Unreadable(Exception):
    """A text cannot be read at all; says what would be right."""

    def __init__(self, words: str, line: int = 0) -> None:
        self.finding = Finding((), line, words)
        super().__init__(words)


@dataclass
class Document:
    """The value of a text, the line of each of its parts, and what is wrong with its form."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    """Empty when the text is: nothing was written."""
    findings: list[Finding] = field(default_factory=list)
    plain: set[Path] = field(default_factory=set, compare=False)
    """Where text stands without quotes, when plain text was not asked to mean more."""
    depth: int = DEPTH
    nodes: int = NODES

    def line_of(self, path: Path) -> int:
        """Return the line of a path, else of its nearest parent, else 0."""
        return next((line for n in range(len(path), -1, -1) if (line := self.lines.get(path[:n]))), 0)

    def tell(self, path: Path, words: str, line: int = 0) -> None:
        """Note what is wrong at a path."""
        self.findings.append(Finding(path, line or self.line_of(path), words))

    def keep(self, path: Path, line: int) -> None:
        """Remember the line in which a value begins; refuse a document too deep or too large."""
        if len(path) > self.depth:
            raise Unreadable(f"this is nested more than {self.depth} deep; nothing here needs to be", line)
        if len(self.lines) >= self.nodes:
            raise Unreadable(f"there are more than {self.nodes} values; split the file", line)
        self.lines.setdefault(path, line)

    def tell_twice(self, path: Path, line: int) -> None:
        """Note that the key at a path is there again; the first one counts."""
        key = str(path[-1])[:KEY_CHARACTERS]
        self.tell(path, f'"{key}" is there twice, also in line {self.lines[path]}; keep one of them', line)


def read(content: bytes, *, typed: bool, depth: int = DEPTH, nodes: int = NODES) -> Document:
    """Return the one document of a YAML text; Unreadable when it is none.

    ``typed``: plain text may stand for true, false and numbers, as usual in YAML; otherwise it stays as it is written
    (``0012``, ``no``). What is not written, ``~`` and ``null`` are None in both.
    """
    text = decoded(content)
    document = Document(depth=depth, nodes=nodes)
    try:
        _Reading(yaml.parse(text, Loader=LOADER), document, typed).one_document()
    except yaml.reader.ReaderError as wrong:
        raise Unreadable("a character here is not allowed in YAML; type it anew", _line_of_character(text)) from wrong
    except yaml.MarkedYAMLError as wrong:
        raise _not_yaml(wrong, text) from wrong
    return document


def decoded(content: bytes) -> str:
    """Return the text of a file, which is in UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = wrong.object.count(b"\n", 0, wrong.start) + 1
        raise Unreadable("this is not UTF-8 text; save the file as UTF-8", line) from wrong


def _not_yaml(wrong: yaml.MarkedYAMLError, text: str) -> Unreadable:
    reason = ", ".join(words for words in (wrong.context, wrong.problem) if words)
    if "escape character" in reason:
        reason += r"; in double quotes \ has a meaning of its own: use single quotes, or none"
    mark: Any = wrong.problem_mark or wrong.context_mark
    # The end of a text may be said to be in a line after its last one.
    line = min(mark.line, text.count("\n")) + 1 if mark else 0
    return Unreadable(f"this is not YAML: {reason}", line)


def _line_of_character(text: str) -> int:
    # The parser in C counts bytes, the one in Python counts characters, so neither is asked.
    match = yaml.reader.Reader.NON_PRINTABLE.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 0


class _Reading:
    """The events of one text on their way into a document."""

    def __init__(self, events: Iterator[Any], document: Document, typed: bool) -> None:
        self._events, self._document = events, document
        self._types: Any = yaml.SafeLoader("") if typed else None

    def one_document(self) -> None:
        """Read the value of the text, which has one document or none."""
        next(self._events)  # the stream begins
        start = next(self._events)
        if not isinstance(start, yaml.DocumentStartEvent):
            return
        if start.version or start.tags:
            self._document.tell((), "a directive (%NAME) is of no use here; leave it out", _line(start))
        self._document.value = self._value(next(self._events), ())
        next(self._events)  # the document ends
        more = next(self._events)
        if isinstance(more, yaml.DocumentStartEvent):
            raise Unreadable("a second document begins here; write one only", _line(more))

    def _value(self, event: Any, path: Path) -> Any:
        self._document.keep(path, _line(event))
        self._refuse(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else None

    def _refuse(self, event: Any, path: Path) -> None:
        """Tell what makes a value or key mean more than is written there."""
        if isinstance(event, yaml.AliasEvent):
            self._document.tell(path, f"*{event.anchor} is an alias; write the value out here", _line(event))
            return
        if event.anchor is not None:
            words = f"&{event.anchor} is an anchor; leave it out, and write each value where it is used"
            self._document.tell(path, words, _line(event))
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._document.tell(path, f"{tag} is a tag; leave it out, values need none", _line(event))

    def _scalar(self, event: Any, path: Path) -> Any:
        text = str(event.value)
        if not event.implicit[0]:  # in quotes, or a block of text
            return text
        if text in NOTHING:
            return None
        if self._types is None:
            self._document.plain.add(path)
            return text
        return self._typed(text, path)

    def _typed(self, text: str, path: Path) -> Any:
        tag = self._types.resolve(yaml.ScalarNode, text, (True, False))
        if tag not in TYPED or ":" in text:  # 12:00:00 is a number to YAML, to nobody else
            return text
        try:
            return self._types.construct_object(yaml.ScalarNode(tag, text))
        except ValueError:
            self._document.tell(path, "this looks like a number and is none; put it in quotes if it is text")
            return None

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            inner = (*path, key)
            if key in entries:
                self._document.tell_twice(inner, _line(event))
            self._document.lines.setdefault(inner, _line(event))
            value = self._value(next(self._events), inner)
            entries.setdefault(key, value)
        return entries

    def _key(self, event: Any, path: Path) -> str:
        """Return a key as it is written: YAML would read ``on`` or ``no`` as true or false."""
        if not isinstance(event, yaml.ScalarEvent):
            raise Unreadable("there is a key that is not plain text; write KEY: VALUE", _line(event))
        key = str(event.value)
        if key == "<<" and event.implicit[0]:
            self._document.tell(path, "<< merges another mapping; write the values out here", _line(event))
        self._refuse(event, (*path, key))
        return key


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
