"""What was uploaded, file by file; and the marks a job leaves in a bucket while it uploads."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dropbox_agent.model import TaskSettings
from dropbox_agent.tasks.bucket import RECORDS, Bucket


@dataclass(frozen=True)
class Sent:
    """One file as it was read and stored."""

    path: str
    """Below the asset."""
    size: int
    mtime_ns: int
    crc64nvme: str
    """Base64 of the eight bytes, most significant first: as S3 writes it."""


class Checksum:
    """CRC64NVME of what has been fed so far, and its length."""

    def __init__(self) -> None:
        # The import takes a tenth of a second, which only an upload has to pay.
        from awscrt.checksums import crc64nvme

        self._next = crc64nvme
        self._value = 0
        self.size = 0

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the chunks on, feeding each."""
        for chunk in chunks:
            self._value = self._next(chunk, self._value)
            self.size += len(chunk)
            yield chunk

    def text(self) -> str:
        return base64.b64encode(self._value.to_bytes(8, "big")).decode("ascii")


def marker_key(s3_prefix: str) -> str:
    return f"{RECORDS}/{s3_prefix}/job.json"


def inventory_key(s3_prefix: str) -> str:
    return f"{RECORDS}/{s3_prefix}/inventory.json"


def owner(bucket: Bucket, key: str) -> str | None:
    """Return the job that wrote a marker or an inventory; None when there is none that can be read."""
    stored = bucket.get(key)
    try:
        value = json.loads(stored or b"")
    except ValueError:
        return None
    return str(value.get("job_id")) if isinstance(value, dict) else None


def as_json(settings: TaskSettings, sent: Iterable[Sent], folders: Iterable[str], now: datetime) -> dict[str, Any]:
    """Return the inventory as it is written in the run folder and in the bucket."""
    return {
        "schema": 1,
        "job_id": settings.job_id,
        "s3_prefix": settings.s3_prefix,
        "location": f"{settings.bucket}/{settings.s3_prefix}",
        "written": now.isoformat(),
        "files": [
            {"path": one.path, "size": one.size, "mtime_ns": one.mtime_ns, "crc64nvme": one.crc64nvme}
            for one in sorted(sent, key=lambda one: one.path)
        ],
        "empty_folders": sorted(folders),
    }
