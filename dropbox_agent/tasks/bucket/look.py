"""Look whether a bucket can be used, as a process of its own, given its address and the JSON of an S3Access.

It prints ``{"failed": sentence}``, or ``{"failed": null, "refuses_wrong": bool}``. It writes one small object among the
service's own records, and deletes nothing: an account need not be allowed to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import S3Access
from dropbox_agent.tasks.bucket.place import RECORDS
from dropbox_agent.tasks.bucket.s3 import S3Bucket

KEY = f"{RECORDS}/doctor"
CONTENT = b"dropbox-agent doctor looked whether it can write here.\n"


def look(address: str, access: S3Access) -> dict[str, Any]:
    """Return what was found: list, write, read, and whether a wrong checksum is refused."""
    try:
        with closing(S3Bucket(address, access)) as bucket:
            bucket.holds_anything(RECORDS)
            bucket.put(KEY, [CONTENT], len(CONTENT))
            if bucket.get(KEY) != CONTENT:
                return {"failed": f"In the bucket {address}, {KEY} was read back as something else than was written."}
            return {"failed": None, "refuses_wrong": bucket.refuses_wrong(KEY, CONTENT)}
    except TaskFailed as failed:
        return {"failed": str(failed)}


def main(argv: Sequence[str]) -> int:
    """Print what was found."""
    print(json.dumps(look(argv[0], S3Access.model_validate_json(argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
