"""Which names a bucket takes, and how any name can be shown."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

LONGEST_KEY_BYTES = 1024
"""S3's limit for a whole key, counted in UTF-8."""


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as text safe for a page, a mail and a log: what is no printable character becomes ``\\xNN``."""
    return "".join(map(_shown_character, os.fspath(path)))


def _shown_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode hands it over
        return f"\\x{code - 0xDC00:02x}"
    if character == " " or character.isprintable():
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def name_fault(name: str) -> str | None:
    """Return why no bucket takes this name of a file or folder, or None."""
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        return "its name is not valid UTF-8; rename it"
    # XML, in which S3 lists what it holds, has no other control characters.
    if any(unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in name):
        return "its name has a control character; rename it"
    if "\\" in name:
        return "its name has a backslash, which buckets take for a folder; rename it"
    return None


def key_fault(key: str) -> str | None:
    """Return why no bucket takes this whole key, or None."""
    length = len(os.fsencode(key))
    if length <= LONGEST_KEY_BYTES:
        return None
    return f"its path in the bucket would have {length} bytes, and {LONGEST_KEY_BYTES} is the most; shorten its names"


def twins(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield each group of names that look the same and differ only in how accents are written."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    yield from (group for group in groups.values() if len(group) > 1)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, thing: str) -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def size_shown(size: int) -> str:
    """Return a number of bytes for people: ``12 bytes``, ``3.4 MB``."""
    for unit, step in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return counted(size, "byte")
