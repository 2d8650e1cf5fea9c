"""What the files beside a manifest are called."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

NAME_BYTES = 255
"""The longest file name that file systems take."""
STEM_BYTES = 120
"""What is kept of a manifest's name when a name made from it would be too long."""
HASH_CHARACTERS = 8


@dataclass(frozen=True)
class Names:
    """Every file name that belongs to one manifest. The only place that knows them."""

    manifest: str

    @property
    def status_json(self) -> str:
        return self._beside(".status.json")

    @property
    def status_html(self) -> str:
        return self._beside(".status.html")

    @property
    def errors_xlsx(self) -> str:
        return self._beside(".errors.xlsx")

    @property
    def cancel(self) -> str:
        return self._beside(".cancel")

    @property
    def retry(self) -> str:
        return self._beside(".retry")

    def order(self, act: str) -> str:
        """What a file is called that orders something."""
        return self._beside(f".{act}")

    def mail(self, number: int, kind: str) -> str:
        return self._beside(f".{number:02d}-{kind}.eml")

    def _beside(self, ending: str) -> str:
        if len(os.fsencode(self.manifest + ending)) <= NAME_BYTES:
            return self.manifest + ending
        return _shortened(self.manifest) + ending


def _shortened(manifest: str) -> str:
    """Return the beginning of a long name and a hash of all of it."""
    beginning = manifest.encode("utf-8", "surrogateescape")[:STEM_BYTES].decode("utf-8", "ignore")
    return f"{beginning}~{hash_of(manifest)[:HASH_CHARACTERS]}"


def hash_of(*parts: str) -> str:
    """Return one hash of several texts, as hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
