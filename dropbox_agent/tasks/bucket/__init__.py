"""Where assets are stored: a folder, or S3."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import S3Access
from dropbox_agent.tasks.bucket.folder import FolderBucket
from dropbox_agent.tasks.bucket.place import NO_OBJECT, RECORDS, Bucket, Receipt, Stored
from dropbox_agent.tasks.names import shown

__all__ = ["NO_OBJECT", "RECORDS", "Bucket", "FolderBucket", "Receipt", "Stored", "folder_of", "open_bucket"]


def open_bucket(address: str, access: S3Access | None = None) -> Bucket:
    """Return the bucket at an address. Raises TaskFailed: a wrong address never counts as an empty bucket."""
    if (folder := folder_of(address)) is not None:
        return FolderBucket(folder)
    if urlsplit(address).scheme == "s3":
        # boto3 takes a third of a second to import, and a task on folders does not need it.
        from dropbox_agent.tasks.bucket.s3 import S3Bucket

        return S3Bucket(address, access or S3Access())
    raise TaskFailed(
        f"The bucket's address {shown(address)} is not understood; file:///an/absolute/folder or s3://bucket would be"
        " right. An operator has to correct buckets in agent.yaml."
    )


def folder_of(address: str) -> Path | None:
    """Return the folder of a ``file://`` address, else None."""
    parts = urlsplit(address)
    folder = Path(url2pathname(parts.path))
    return folder if parts.scheme == "file" and not parts.netloc and folder.is_absolute() else None
