"""What somebody else wrote, made fit to show."""

from __future__ import annotations

import json
import unicodedata
from typing import Any
from urllib.parse import quote

SHOWN_CHARACTERS = 2000


def clip(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    """Return the text, cut when it is longer than that."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def one_line(text: object, characters: int = SHOWN_CHARACTERS) -> str:
    """Return foreign text as one line without control, direction or other invisible characters, cut when long."""
    visible = "".join(" " if _is_invisible(character) else character for character in str(text))
    return clip(" ".join(visible.split()), characters)


def value_text(value: Any) -> str:
    """Return a setting's value as a settings file would have it."""
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def json_text(value: Any) -> str:
    """Return a value as indented JSON, in its own order."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=dict)


def file_link(name: str) -> str:
    """Return the address of a file that lies beside the page."""
    return "./" + quote(name.encode("utf-8", "surrogateescape"))


def is_web_address(text: str) -> bool:
    """Return whether a page may make a link of it."""
    return text.startswith(("https://", "http://"))


def _is_invisible(character: str) -> bool:
    # Cc control, Cf direction marks and the like, Cs lone surrogates, Zl and Zp line ends that are no \n.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
