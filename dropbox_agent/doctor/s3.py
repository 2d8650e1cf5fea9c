"""Buckets in S3, looked at as a task would: by a process of its own, with the keys a task on this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropbox_agent.doctor.as_a_task import looked
from dropbox_agent.doctor.findings import Finding, Verdict
from dropbox_agent.model import S3Access

LOOK = "dropbox_agent.tasks.bucket.look"
GIVE_UP_SECONDS = 5.0


def bucket(name: str, address: str, access: S3Access, environ: Mapping[str, str]) -> Finding:
    """Return how a bucket in S3 stands; one small object is written among the service's own records there."""
    found = _looked(address, access, environ)
    if found["failed"] is not None:
        return Finding(name, Verdict.FAILED, found["failed"], "No upload can go there until this is mended.")
    if not found["refuses_wrong"] and access.compare != "content":
        words = f"{address} answers, but takes what arrives with a wrong checksum."
        return Finding(name, Verdict.WARNING, words, "Set s3.compare: content, so that every upload is read back.")
    checked = "refuses what arrives with a wrong checksum" if found["refuses_wrong"] else "every upload is read back"
    return Finding(name, Verdict.OK, f"{address} can be listed, written and read; {checked}.")


def _looked(address: str, access: S3Access, environ: Mapping[str, str]) -> dict[str, Any]:
    quick = access.model_copy(update={"give_up_seconds": GIVE_UP_SECONDS, "request_seconds": GIVE_UP_SECONDS})
    return looked(f"The bucket {address}", LOOK, (address, quick.model_dump_json()), environ)
