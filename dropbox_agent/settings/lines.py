"""Read YAML as plain values, remembering the line of each, and refuse what YAML would pass over in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("inboxes", 0, "path")``."""


class Finding(NamedTuple):
    """What is wrong, and in which line (0: the whole file, or outside it)."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


@dataclass(frozen=True)
class Document:
    """The values of a YAML text, the line of each, and what is wrong with the text itself."""

    value: Any
    lines: Mapping[KeyPath, int]
    findings: tuple[Finding, ...] = ()


def read_yaml(text: str) -> Document:
    """Return the text's values and lines; a key that is given twice and an alias are findings."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reading = _Reading(loader)
        value = reading.value(root, ()) if root else {}
    except yaml.YAMLError as error:
        return Document({}, {}, (_in_words(error),))
    except RecursionError:
        return Document({}, {}, (Finding(0, "this is nested deeper than any setting is."),))
    return Document(value, reading.lines, tuple(reading.findings))


@dataclass
class _Reading:
    loader: yaml.SafeLoader
    lines: dict[KeyPath, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(node))
        if id(node) in self._seen:
            # An alias gives the very same node again; one that contains itself would never end.
            self.findings.append(
                Finding(self.lines[path], f"{where(path)}: an alias (*name) is not read; write it out.")
            )
            return None
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(part, (*path, number)) for number, part in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, part in node.value:
            # The key as it is written: YAML would read a key "on" or "no" as true or false.
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                self.findings.append(Finding(_line(key), "a list or mapping stands where a name is needed."))
                continue
            here = (*path, name)
            if name in values:
                twice = f"{where(here)} is given twice; the first is in line {self.lines[here]}."
                self.findings.append(Finding(_line(key), twice))
            else:
                self.lines[here] = _line(key)
                values[name] = self.value(part, here)
        return values

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        try:
            return self.loader.construct_object(node)
        except yaml.YAMLError as error:
            self.findings.append(_in_words(error))
        except ValueError as error:  # 2024-13-45 looks like a date to YAML and is none
            self.findings.append(Finding(_line(node), f"{where(path)}: {error}."))
        return None


def where(path: KeyPath) -> str:
    """Return a path in words: ``inboxes[0].path``."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _in_words(error: yaml.YAMLError) -> Finding:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        return Finding(error.problem_mark.line + 1, f"this is not YAML: {reason}.")
    return Finding(0, f"this is not YAML: {' '.join(str(error).split())}.")
