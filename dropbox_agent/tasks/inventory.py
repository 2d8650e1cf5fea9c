"""What was uploaded, file by file; and the marks a job leaves in a bucket while it uploads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dropbox_agent.model import TaskSettings
from dropbox_agent.tasks.bucket import RECORDS, Bucket, Receipt


@dataclass(frozen=True)
class Sent:
    """One file as it was read and stored."""

    path: str
    """Below the asset."""
    mtime_ns: int
    receipt: Receipt

    def as_json(self) -> dict[str, Any]:
        """Return its line of the inventory."""
        receipt = self.receipt
        facts = {"path": self.path, "size": receipt.size, "mtime_ns": self.mtime_ns, "crc64nvme": receipt.crc64nvme}
        return {**facts, **({"etag": receipt.etag} if receipt.etag else {}), **_version(receipt)}


def _version(receipt: Receipt) -> dict[str, str]:
    return {"version_id": receipt.version_id} if receipt.version_id else {}


def marker_key(s3_prefix: str) -> str:
    """Return where in the bucket the record lies that says which job an asset belongs to."""
    return f"{RECORDS}/{s3_prefix}/job.json"


def inventory_key(s3_prefix: str) -> str:
    """Return where in the bucket the list of an asset's files lies."""
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
        "files": [one.as_json() for one in sorted(sent, key=lambda one: one.path)],
        "empty_folders": sorted(folders),
    }
