"""Buckets in S3, looked at as a task would: by a process of its own, with the keys a task on this machine has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from dropbox_agent.doctor.findings import Finding, Verdict
from dropbox_agent.model import S3Access

LOOK = "dropbox_agent.tasks.bucket.look"
GIVE_UP_SECONDS = 5.0
WHOLE_SECONDS = 60.0


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
    argv = [sys.executable, "-I", "-m", LOOK, address, quick.model_dump_json()]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=WHOLE_SECONDS, env=_environment(environ), check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"The bucket {address} did not answer within {WHOLE_SECONDS:.0f} seconds."}
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        return {"failed": f"The bucket {address} could not be looked at: {last[0]}"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name in ("PATH", "HOME") or name.startswith("AWS_")}
    return {**kept, "LANG": "C.UTF-8"}
