"""What the ledger calls things: names that follow from the facts, so that they can be told before and found after."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any


def job_id(ledger_id: str, inbox: Path, manifest: str, turn: int, bucket: str, s3_prefix: str) -> str:
    """Return the id of the job that uploads an asset for a manifest.

    ``turn`` counts the versions of the manifest that were accepted before; refused ones do not count. A manifest
    names an asset once, so the id is known before the manifest is recorded.
    """
    return f"{s3_prefix}.{_short_hash(ledger_id, 'job', str(inbox), manifest, turn, bucket)[:6]}"


def attempt_key(ledger_id: str, job: str, allocation: int, number: int) -> str:
    """Return the key of one try at an allocation; it names the Slurm job."""
    return f"dbx-{_short_hash(ledger_id, 'attempt', job, allocation, number)}"


def _short_hash(*facts: Any) -> str:
    """Return 20 characters of ``[a-z2-7]``."""
    return base64.b32encode(hashlib.sha256(json.dumps(facts).encode()).digest()).decode().lower()[:20]
