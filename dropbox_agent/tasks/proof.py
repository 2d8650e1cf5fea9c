"""The proof that an asset holds all of a folder: the job's own inventory, compared once more with the bucket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, S3Access, TaskSettings
from dropbox_agent.tasks import inventory
from dropbox_agent.tasks.bucket import Bucket, Receipt
from dropbox_agent.tasks.crew import Crew
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.records import read_json
from dropbox_agent.tasks.removing import NotSafe

STAYS = "Nothing was removed."


def of_the_upload(settings: TaskSettings, bucket: Bucket) -> dict[str, inventory.Sent]:
    """Return the inventory of this job, by path; TaskFailed unless run folder, end record and bucket agree on it."""
    folder = RunFolder(settings.run_folder)
    try:
        written = folder.inventory.read_bytes()
    except OSError as error:
        raise TaskFailed(f"{STAYS} The job's inventory cannot be read ({(error.strerror or '').lower()}).") from error
    digest = _digest_of_the_upload(folder)
    if digest is None or hashlib.sha256(written).hexdigest() != digest:
        raise TaskFailed(f"{STAYS} The job's inventory is not the one that its upload left.")
    if bucket.get(inventory.inventory_key(settings.s3_prefix)) != written:
        raise TaskFailed(f"{STAYS} The inventory beside the data is missing, or is another one: was it uploaded anew?")
    value = json.loads(written)
    if (value.get("job_id"), value.get("s3_prefix")) != (settings.job_id, settings.s3_prefix):
        raise TaskFailed(f"{STAYS} The inventory is another job's.")
    return {one["path"]: _sent(one) for one in value["files"]}


def _digest_of_the_upload(folder: RunFolder) -> str | None:
    """Return what the last good upload of this job said of its inventory."""
    records = [read_json(path) or {} for path in _ended(folder)]
    good = [record for record in records if record.get("state") == "succeeded"]
    newest = max(good, key=lambda record: str(record.get("ended")), default={})
    digest = (newest.get("facts") or {}).get("inventory_sha256")
    return digest if isinstance(digest, str) else None


def _ended(folder: RunFolder) -> Iterable[Path]:
    return folder.attempts.glob("*/upload_data_to_s3.end.json")


def _sent(one: Mapping[str, Any]) -> inventory.Sent:
    receipt = Receipt(one["size"], one["crc64nvme"], one.get("etag"), one.get("version_id"))
    return inventory.Sent(one["path"], one["mtime_ns"], receipt)


def thorough(access: S3Access | None) -> S3Access | None:
    """Return access that also compares the checksum S3 keeps; where it keeps none, the content is read back."""
    if access is None or access.compare == "content":
        return access
    return access.model_copy(update={"compare": "checksums"})


def compare_with_bucket(settings: TaskSettings, bucket: Bucket, wanted: Iterable[inventory.Sent]) -> None:
    """Raise NotSafe unless the bucket holds every one of these, at this moment, as it was sent."""
    asset = settings.s3_prefix
    listing = dict(bucket.listing(asset))
    wrong: list[str] = []

    def look(one: inventory.Sent) -> None:
        key = f"{asset}/{one.path}"
        stored = listing.get(key)
        if stored is None or stored.size != one.receipt.size:
            wrong.append(f"{shown(one.path)} is missing in the bucket, or has another size there")
        elif (difference := bucket.difference(key, one.receipt, stored=stored)) is not None:
            wrong.append(f"{shown(one.path)} {difference} in the bucket")

    with Crew(bucket.hands) as crew:
        for one in wanted:
            crew.give(partial(look, one))
        crew.finish()
    if wrong:
        raise NotSafe("; ".join(sorted(wrong)[:10]))
