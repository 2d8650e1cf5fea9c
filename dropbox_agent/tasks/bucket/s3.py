"""A bucket in S3. Every byte is sent with its CRC64NVME, and the server refuses what arrived otherwise.

Only plain requests of boto3's client are used: its CRT transfer client sends to Amazon whatever endpoint is named
(boto/boto3#4839), and its other one hangs when a file shrinks while it is sent.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import S3Access
from dropbox_agent.tasks.bucket.faults import FAILURES, LATER, Fault, NoAnswerOfS3, judged
from dropbox_agent.tasks.bucket.place import Receipt, Stored
from dropbox_agent.tasks.bucket.quick_put import QuickPut
from dropbox_agent.tasks.bucket.room import LARGE_ONES, Room
from dropbox_agent.tasks.checksum import Checksum, checksum_of
from dropbox_agent.tasks.crew import Crew
from dropbox_agent.tasks.names import shown

PART_BYTES = 8 << 20
"""What is larger is sent in parts of this size, or larger ones: S3 takes 10,000 parts (of 5 MiB at least)."""
MOST_PARTS = 10_000
CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0

T = TypeVar("T")


class S3Bucket:
    """A bucket, or what lies below a prefix of one."""

    compared = "each was listed back with the size and the receipt that S3 gave for the checked content"

    def __init__(self, address: str, access: S3Access) -> None:
        parts = urlsplit(address)
        self.address = address.rstrip("/")
        self.name = parts.netloc
        self.hands = access.connections
        self._base = f"{base}/" if (base := parts.path.strip("/")) else ""
        self._access = access
        # Bodies wait in memory while they are sent: no more than one small part for each connection.
        self._bodies = Room(access.connections * PART_BYTES)
        self._large = threading.BoundedSemaphore(LARGE_ONES)
        self._parts: Crew | None = None
        self._one_makes = threading.Lock()
        if access.compare != "receipts":
            self.compared = _COMPARED[access.compare]
        self._secrets: tuple[str, ...] = ()
        self._quick: QuickPut | None = None
        self._client = self._asked("could not be opened", lambda: self._new_client(access))

    def close(self) -> None:
        if self._parts is not None:
            self._parts.__exit__(TaskFailed, None, None)
        if self._quick is not None:
            self._quick.close()
        self._client.close()

    def _new_client(self, access: S3Access) -> Any:
        core = botocore.session.Session(profile=access.profile)
        if access.credentials_file is not None:
            core.set_config_variable("credentials_file", str(access.credentials_file))
            # A file that is named for S3 is meant for it; variables of the environment may be for another service.
            core.get_component("credential_provider").remove("env")
        session = boto3.Session(botocore_session=core, region_name=access.region)
        found = session.get_credentials()
        if found is not None:
            kept = found.get_frozen_credentials()
            self._secrets = tuple(filter(None, (kept.secret_key, kept.token, kept.access_key)))
        client = session.client(
            "s3",
            endpoint_url=access.endpoint_url,
            region_name=session.region_name or ("us-east-1" if access.endpoint_url else None),
            verify=None if access.ca_file is None else str(access.ca_file),
            config=_config(access),
        )
        if found is not None:
            self._quick = QuickPut(client, found, self.name, None if access.ca_file is None else str(access.ca_file))
        return client

    # --- looking -----------------------------------------------------------------------------------------------------

    def holds_anything(self, prefix: str) -> bool:
        asked = {"Bucket": self.name, "Prefix": f"{self._base}{prefix}/", "MaxKeys": 1}
        page = self._asked(f"{prefix}/ could not be looked for", lambda: self._page(asked))
        # Not KeyCount: there are servers that leave it out where there is nothing.
        return bool(page.get("Contents"))

    def get(self, key: str) -> bytes | None:
        try:
            return self._asked(f"{key} could not be read", lambda: self._read(key), missing=("NoSuchKey",))
        except _Missing:
            return None

    def _read(self, key: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=self.name, Key=self._base + key)["Body"].read()
        return body

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content; a connection that is cut is taken up again where it was."""
        done = 0
        size = int(self._head(key)["ContentLength"])
        while done < size:
            start, end = done, min(done + PART_BYTES, size) - 1
            yield self._asked(f"{key} could not be read back", partial(self._range, key, start, end))
            done = end + 1

    def _range(self, key: str, start: int, end: int) -> bytes:
        found = self._client.get_object(Bucket=self.name, Key=self._base + key, Range=f"bytes={start}-{end}")
        content: bytes = found["Body"].read()
        return content

    def listing(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        asked: dict[str, Any] = {"Bucket": self.name, "Prefix": f"{self._base}{prefix}/"}
        while True:
            page = self._asked(f"{prefix}/ could not be listed", lambda: self._page(asked))
            for found in page.get("Contents", ()):
                yield self._listed(found)
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or token is None:
                return
            asked["ContinuationToken"] = token

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        page: dict[str, Any] = self._client.list_objects_v2(**asked)
        # A page of another kind has no objects either, and would look like an empty bucket.
        if "Name" not in page:
            raise NoAnswerOfS3
        return page

    def _listed(self, found: dict[str, Any]) -> tuple[str, Stored]:
        key = found["Key"].removeprefix(self._base)
        size = int(found["Size"])
        # An empty folder is an empty object whose key ends in a slash.
        folder = key.endswith("/") and size == 0
        return key.rstrip("/") if folder else key, Stored(None if folder else size, _etag(found))

    def difference(self, key: str, sent: Receipt, *, stored: Stored) -> str | None:
        if stored.etag != sent.etag:
            return f"is another object (ETag {stored.etag} instead of {sent.etag})"
        if self._access.compare == "receipts":
            return None
        found = self._stored_checksum(key) if self._access.compare == "checksums" else None
        if found is None:
            checksum = Checksum()
            for chunk in self.chunks(key):
                checksum.feed(chunk)
            found = checksum.text()
        return None if found == sent.crc64nvme else f"has CRC64NVME {found} instead of {sent.crc64nvme}"

    def _stored_checksum(self, key: str) -> str | None:
        """Return the checksum S3 keeps of the whole object; None where it keeps none, or one made of parts."""
        head = self._head(key)
        whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        return head.get("ChecksumCRC64NVME") if whole else None

    def _head(self, key: str) -> dict[str, Any]:
        asked = {"Bucket": self.name, "Key": self._base + key, "ChecksumMode": "ENABLED"}
        head: dict[str, Any] = self._asked(f"{key} could not be looked at", lambda: self._client.head_object(**asked))
        return head

    # --- storing -----------------------------------------------------------------------------------------------------

    def put(self, key: str, chunks: Iterable[bytes], size: int) -> Receipt:
        if size > PART_BYTES:
            # Each puts a part together, while others are sent: few files at a time keep all connections busy.
            with self._large:
                return self._put_in_parts(key, chunks, size)
        with self._bodies.inside(size):
            return self._put_whole(key, b"".join(chunks))

    def refuses_wrong(self, key: str, content: bytes) -> bool:
        """Return whether the server refuses a content that comes with the checksum of another one."""
        wrong = {"Body": content, "ChecksumCRC64NVME": checksum_of(content + b"?")}
        try:
            self._client.put_object(Bucket=self.name, Key=self._base + key, **wrong)
        except FAILURES:
            return True
        return False

    def put_folder(self, key: str) -> None:
        self._put_whole(f"{key}/", b"")

    def _put_whole(self, key: str, content: bytes) -> Receipt:
        crc = checksum_of(content)
        asked = {"Bucket": self.name, "Key": self._base + key, "Body": content, "ChecksumCRC64NVME": crc}
        if (receipt := self._put_quickly(key, content, crc)) is not None:
            return receipt
        answer = self._asked(f"{key} could not be stored", lambda: _taken(self._client.put_object(**asked)))
        return Receipt(len(content), crc, _etag(answer), answer.get("VersionId"))

    def _put_quickly(self, key: str, content: bytes, crc: str) -> Receipt | None:
        """Return the receipt, or None: then the usual way has to be gone, which also knows what to say."""
        if self._quick is None:
            return None
        try:
            return self._quick.put(self._base + key, content, crc)
        except FAILURES:
            return None

    def _put_in_parts(self, key: str, chunks: Iterable[bytes], size: int) -> Receipt:
        place = {"Bucket": self.name, "Key": self._base + key}
        whole = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        what = f"{key} could not be stored"
        begun = self._asked(what, lambda: self._client.create_multipart_upload(**place, **whole))
        upload = {**place, "UploadId": begun["UploadId"]}
        checksum = Checksum()
        try:
            parts = self._send_parts(what, upload, checksum.of(chunks), part_bytes(size))
            self._complete(what, upload, parts, checksum.text())
        except BaseException:
            self._abort(upload)
            raise
        # Not every server's answer to the completion has the ETag that it lists.
        head = self._head(key)
        return Receipt(checksum.size, checksum.text(), _etag(head), head.get("VersionId"))

    def _send_parts(
        self, what: str, upload: dict[str, Any], chunks: Iterable[bytes], size: int
    ) -> list[dict[str, object]]:
        sending = []
        for number, part in enumerate(_joined(chunks, size), 1):
            self._bodies.enter(len(part))
            sent = self._crew().give(partial(self._send_part, what, {**upload, "PartNumber": number, "Body": part}))
            sent.add_done_callback(partial(self._is_sent, len(part)))
            sending.append(sent)
        return [one.result() for one in sending]

    def _is_sent(self, size: int, _sent: Future[Any]) -> None:
        self._bodies.leave(size)

    def _crew(self) -> Crew:
        with self._one_makes:
            self._parts = self._parts or Crew(self.hands)
            return self._parts

    def _send_part(self, what: str, asked: dict[str, Any]) -> dict[str, object]:
        crc = checksum_of(asked["Body"])
        answer = self._asked(what, lambda: _taken(self._client.upload_part(**asked, ChecksumCRC64NVME=crc)))
        return {"PartNumber": asked["PartNumber"], "ETag": answer["ETag"], "ChecksumCRC64NVME": crc}

    def _complete(self, what: str, upload: dict[str, Any], parts: list[dict[str, object]], crc: str) -> None:
        whole = {"MultipartUpload": {"Parts": parts}, "ChecksumCRC64NVME": crc, "ChecksumType": "FULL_OBJECT"}
        try:
            self._asked(
                what, lambda: self._client.complete_multipart_upload(**upload, **whole), missing=("NoSuchUpload",)
            )
        except _Missing:
            # It was done, and the connection was cut before the answer: the object tells whether it is this one.
            found = self._stored_checksum(upload["Key"].removeprefix(self._base))
            if found != crc:
                raise self._failure(what, Fault("NoSuchUpload", "the server forgot its parts", LATER)) from None

    def _abort(self, upload: dict[str, Any]) -> None:
        # A failure is under way that says more; what is left is removed by the next attempt.
        with suppress(*FAILURES):
            self._client.abort_multipart_upload(**upload)

    def forget_cut_off(self, prefix: str) -> int:
        """Abort the uploads in parts that a killed upload left; they would be paid for, and seen by nobody."""
        count = 0
        for upload in self._uploads(f"{self._base}{prefix}/"):
            self._abort({"Bucket": self.name, "Key": upload["Key"], "UploadId": upload["UploadId"]})
            count += 1
        return count

    def _uploads(self, prefix: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("list_multipart_uploads")
        try:
            return [one for page in pages.paginate(Bucket=self.name, Prefix=prefix) for one in page.get("Uploads", ())]
        except FAILURES as error:
            # Not every account may list them, and none of them is part of the asset.
            print(f"Uploads that were cut off could not be looked for in {self.address}: {judged(error).words}.")
            return []

    def settle(self) -> None:
        """S3 answers only when what it took is kept."""

    # --- asking ------------------------------------------------------------------------------------------------------

    def _asked(self, what: str, act: Callable[[], T], missing: tuple[str, ...] = ()) -> T:
        """Return what a request answers. What may pass by itself is tried again, ever less often, until it is time."""
        since = time.monotonic()
        pause = FIRST_PAUSE_SECONDS
        tries = 0
        while True:
            tries += 1
            try:
                return act()
            except FAILURES as error:
                if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in missing:
                    raise _Missing from error
                fault = judged(error)
                late = time.monotonic() + pause - since > self._access.give_up_seconds
                if not fault.passes or late or tries == fault.tries:
                    raise self._failure(what, fault, tries) from error
            # Not all at the same moment, after a server had to say that it is too much.
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _failure(self, what: str, fault: Fault, tries: int = 1) -> TaskFailed:
        often = f", {tries} times" if tries > 1 else ""
        server = f" at {self._access.endpoint_url}" if self._access.endpoint_url else ""
        text = f"In the bucket {self.address}{server}, {what}: {fault.words}{often}. {fault.advice}"
        return TaskFailed(self._redacted(shown(text)), passes=fault.passes)

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return text


class _Missing(Exception):
    """What was asked for is not there."""


_COMPARED = {
    "checksums": "each was listed back, and the checksum that S3 keeps compared",
    "content": "each was read back and compared",
}


def _config(access: S3Access) -> Config:
    path = access.addressing == "path" or (access.addressing == "auto" and access.endpoint_url is not None)
    return Config(
        connect_timeout=min(CONNECT_SECONDS, access.request_seconds),
        read_timeout=access.request_seconds,
        # One request is one try: how often, and how long, is decided here.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=2 * access.connections,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if path else access.addressing},
        # We name the checksum of every body ourselves.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="dropbox-agent",
    )


def part_bytes(size: int) -> int:
    """Return how large the parts of an object of this size are."""
    return max(PART_BYTES, -(-size // MOST_PARTS))


def _joined(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of this size; the last may be smaller."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)


def _taken(answer: dict[str, Any]) -> dict[str, Any]:
    if not answer.get("ETag"):
        raise NoAnswerOfS3
    return answer


def _etag(found: Mapping[str, Any]) -> str | None:
    """Return an ETag without its quotes, which some servers leave out."""
    etag = found.get("ETag")
    return str(etag).strip('"') if etag else None
