"""What an upload stored, file by file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class StoredFile:
    """One file of an asset, as it was read and stored."""

    path: str
    """Below the asset."""
    size: int
    modified: datetime
    crc64nvme: str
    """Its checksum, in base64 as S3 has it."""
    etag: str = ""
    """S3's receipt; empty in a folder."""
    version_id: str = ""


@dataclass(frozen=True)
class Inventory:
    """All that an upload stored."""

    location: str
    written: str
    files: tuple[StoredFile, ...]
    empty_folders: tuple[str, ...]

    @property
    def size(self) -> int:
        """Return how many bytes all files are."""
        return sum(file.size for file in self.files)


def read_inventory(content: bytes) -> Inventory:
    """Return the inventory that an upload wrote as JSON."""
    value = json.loads(content)
    files = tuple(
        StoredFile(
            one["path"],
            one["size"],
            EPOCH + timedelta(microseconds=one["mtime_ns"] // 1000),
            one["crc64nvme"],
            one.get("etag", ""),
            one.get("version_id", ""),
        )
        for one in value["files"]
    )
    return Inventory(value["location"], value["written"], files, tuple(value["empty_folders"]))
