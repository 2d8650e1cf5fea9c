"""What the ledger calls things: names that follow from the facts, so that they can be told before and found after."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Version:
    """One version of a manifest, named by what it is and not by what a ledger knew when it came.

    Two agents with copies of one ledger, whatever each of them has missed, call it the same; so what one of them has
    started is not started by the other.
    """

    ledger_id: str
    inbox: str
    """The id that the inbox's marker has, under whatever path it is mounted; its path where there is none."""
    manifest: str
    sha256: str
    turn: int
    """How often this content was accepted before, with others in between."""


def job_id(version: Version, bucket: str, s3_prefix: str) -> str:
    """Return the id of the job that uploads an asset for a version of a manifest.

    A manifest names an asset once, so the id is known before the manifest is recorded.
    """
    facts = (version.ledger_id, "job", version.inbox, version.manifest, version.sha256, version.turn, bucket)
    return f"{s3_prefix}.{_short_hash(*facts)[:6]}"


def attempt_key(ledger_id: str, job: str, allocation: int, number: int) -> str:
    """Return the key of one try at an allocation; it names the Slurm job."""
    return f"dbx-{_short_hash(ledger_id, 'attempt', job, allocation, number)}"


def _short_hash(*facts: Any) -> str:
    """Return 20 characters of ``[a-z2-7]``."""
    return base64.b32encode(hashlib.sha256(json.dumps(facts).encode()).digest()).decode().lower()[:20]
