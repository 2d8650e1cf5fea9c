"""The shell script of a preset: upstream's placeholders, filled so that no value can break out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

JOB_SETTINGS = "%JOB_SETTINGS"
IMAGE = "%IMAGE"
IMAGE_VERSION = "%IMAGE_VERSION"
INPUT_SOURCE = "%INPUT_SOURCE"
OUTPUT_LOCATION = "%OUTPUT_LOCATION"
S3_LOCATION = "%S3_LOCATION"
ENV_FILE = "%ENV_FILE"
PLACEHOLDERS = (JOB_SETTINGS, IMAGE_VERSION, IMAGE, INPUT_SOURCE, OUTPUT_LOCATION, S3_LOCATION, ENV_FILE)

_KNOWN = "|".join(sorted(PLACEHOLDERS, key=len, reverse=True))
# A known name that does not go on as a longer word; else two or more capitals are a name nobody knows.
# One capital alone is a date's format: date +%Y%m%d.
PLACEHOLDER = re.compile(rf"(?P<known>{_KNOWN})(?!_?[A-Z0-9])|(?P<unknown>%[A-Z][A-Z0-9][A-Z0-9_]*)")
PLAIN_VALUE = re.compile(r"(?!-)[A-Za-z0-9._:/@+=,-]+")
"""What a value may be made of: nothing that means anything to a shell, and nothing that looks like an option."""
PLAIN_VALUE_IN_WORDS = "letters without accents, digits and . _ : / @ + = , -"


class Unrenderable(ValueError):
    """A script cannot be filled with these values."""


@dataclass(frozen=True)
class Obstacle:
    """Why a script cannot be filled: a placeholder without a value, or a value a shell would take for more."""

    placeholder: str
    value: str | None


def script_faults(template: str) -> tuple[str, ...]:
    """Return what is wrong with a script whatever the values: placeholders nobody knows, settings not in quotes."""
    faults = [
        f"{match['unknown']} is not a placeholder; those are {', '.join(PLACEHOLDERS)}"
        for match in PLACEHOLDER.finditer(template)
        if match["unknown"]
    ]
    if "\x00" in template:
        faults.append("it contains a NUL character, which no shell reads")
    if not _settings_are_quoted(template):
        faults.append(f"{JOB_SETTINGS} must stand alone inside single quotes, without here-documents (<<) or backticks")
    return tuple(dict.fromkeys(faults))


def obstacles(template: str, values: Mapping[str, str | None], job_settings: Mapping[str, Any]) -> tuple[Obstacle, ...]:
    """Return every placeholder that cannot be filled."""
    found = []
    for name in dict.fromkeys(names_in(template)):
        if name == JOB_SETTINGS:
            within = dict.fromkeys(name for text in _texts(job_settings) for name in names_in(text))
            found += [Obstacle(one, None) for one in within if one != JOB_SETTINGS and values.get(one) is None]
        elif not PLAIN_VALUE.fullmatch(values.get(name) or ""):
            found.append(Obstacle(name, values.get(name) or None))
    return tuple(dict.fromkeys(found))


def render_script(template: str, values: Mapping[str, str | None], job_settings: Mapping[str, Any]) -> str:
    """Return the script with every placeholder filled, in one pass. Raises Unrenderable.

    As upstream does, placeholders inside the job's settings are filled too: a script is told where to write by
    ``output_directory: "%OUTPUT_LOCATION"``. What was filled in is never looked at again.
    """
    wrong = [*script_faults(template), *map(_in_words, obstacles(template, values, job_settings))]
    if wrong:
        raise Unrenderable("; ".join(wrong))
    filled = {name: value for name, value in values.items() if value is not None}
    filled[JOB_SETTINGS] = _as_quoted_json(_filled_in(job_settings, filled))
    return PLACEHOLDER.sub(lambda match: filled[match["known"]], template)


def names_in(text: str) -> Iterator[str]:
    """Return the placeholders in a text, in order."""
    return (match["known"] for match in PLACEHOLDER.finditer(text) if match["known"])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)


def _filled_in(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), value)
    if isinstance(value, Mapping):
        return {name: _filled_in(part, values) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled_in(part, values) for part in value]
    return value


def _as_quoted_json(value: Any) -> str:
    """Return JSON that stays one word between single quotes, and in which no shell finds anything to expand."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return re.sub(r"['`$]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _in_words(obstacle: Obstacle) -> str:
    if obstacle.value is None:
        return f"there is no value for {obstacle.placeholder}"
    return f"the value of {obstacle.placeholder} ({obstacle.value!r}) may only have {PLAIN_VALUE_IN_WORDS}"


# How a shell reads code: what is skipped whole, and what opens or closes something.
_CODE = re.compile(
    r"""(?<![^\s;&|()])\#[^\n]*
      | \\.
      | <<<
      | \$'(?P<ansi>(?:\\.|[^'\\])*)'
      | '(?P<single>[^']*)'
      | (?P<double>")
      | (?P<open>\$?\()
      | (?P<close>\))
      | (?P<refused><<|`|%JOB_SETTINGS)
      | .""",
    re.VERBOSE | re.DOTALL,
)
# How it reads the inside of double quotes, where single quotes mean nothing.
_DOUBLE = re.compile(
    r"""\\.
      | (?P<double>")
      | (?P<open>\$\()
      | \$\{[^{}"'`\n]*\}
      | (?P<refused>\$\{|`|%JOB_SETTINGS)
      | .""",
    re.VERBOSE | re.DOTALL,
)
# Alone in its quotes, or after an option's name: in '...' handed to another shell it would be read once more.
_ALONE = re.compile(r"\s*(?:-[\w-]+=)?%JOB_SETTINGS\s*")


def _settings_are_quoted(template: str) -> bool:
    """Return whether a shell takes each %JOB_SETTINGS as plain text; what is hard to tell counts as no."""
    if JOB_SETTINGS not in template:
        return True
    inside = [_CODE]
    position = 0
    while position < len(template):
        piece = inside[-1].match(template, position)
        assert piece is not None  # the last alternative is any character
        position = piece.end()
        if _is_refused(piece):
            return False
        if (piece.lastgroup == "double" and inside[-1] is _DOUBLE) or (piece.lastgroup == "close" and len(inside) > 1):
            inside.pop()
        elif piece.lastgroup in ("double", "open"):
            inside.append(_DOUBLE if piece.lastgroup == "double" else _CODE)
    return True


def _is_refused(piece: re.Match[str]) -> bool:
    if piece.lastgroup == "single" and _ALONE.fullmatch(piece["single"]):
        return False
    return piece.lastgroup == "refused" or (piece.lastgroup in ("ansi", "single") and JOB_SETTINGS in piece[0])
