"""What every bucket can do. Keys are paths with ``/`` between the parts, as in S3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

RECORDS = ".dropbox-agent"
"""What the service itself writes in a bucket: ``.dropbox-agent/<asset>/job.json`` and ``inventory.json``."""
NO_OBJECT = -1
"""The size of what stands in a bucket's folder and is no file."""


@dataclass(frozen=True)
class Receipt:
    """What a bucket has taken, as it was read from its source."""

    size: int
    crc64nvme: str
    """Base64 of the eight bytes, most significant first: as S3 writes it."""
    etag: str | None = None
    """S3's name for this very content; nothing can be read out of it. None from a folder."""
    version_id: str | None = None
    """Which version of the object it is, in a bucket with versions."""


@dataclass(frozen=True)
class Stored:
    """What a listing says of a key."""

    size: int | None
    """None: an empty folder; NO_OBJECT: a pipe or a link."""
    etag: str | None = None


class Bucket(Protocol):
    """A place that holds assets. Every failure is a TaskFailed that says what could not be done, and where."""

    hands: int
    """How many files at a time are stored fastest; ``put`` may be called by so many threads."""
    compared: str
    """How ``difference`` compares, for the sentence people read."""

    def holds_anything(self, prefix: str) -> bool:
        """Return whether there is any object, or an empty folder, below a prefix."""

    def put(self, key: str, chunks: Iterable[bytes], size: int) -> Receipt:
        """Store an object of a known size; it appears whole or not at all, and stays when the power goes."""

    def put_folder(self, key: str) -> None:
        """Store an empty folder."""

    def get(self, key: str) -> bytes | None:
        """Return a small object, or None when there is none."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object that is there."""

    def listing(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        """Yield each key below a prefix with what is known of it, without reading it."""

    def difference(self, key: str, sent: Receipt, *, stored: Stored) -> str | None:
        """Return how an object of the right size differs from what was sent, or None."""

    def forget_cut_off(self, prefix: str) -> int:
        """Remove what earlier uploads below a prefix left half done; return how many. Only their owner may ask."""

    def settle(self) -> None:
        """Return once all that was stored would survive a power cut."""

    def close(self) -> None:
        """Give back what is open."""
