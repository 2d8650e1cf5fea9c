"""The checksum every stored byte is counted into: CRC64NVME, as S3 computes and writes it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator


class Checksum:
    """CRC64NVME of what has been fed so far, and its length."""

    def __init__(self) -> None:
        # The import takes a tenth of a second, which only an upload has to pay.
        from awscrt.checksums import crc64nvme

        self._next = crc64nvme
        self._value = 0
        self.size = 0

    def feed(self, chunk: bytes) -> None:
        """Count a chunk in."""
        self._value = self._next(chunk, self._value)
        self.size += len(chunk)

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the chunks on, feeding each."""
        for chunk in chunks:
            self.feed(chunk)
            yield chunk

    def text(self) -> str:
        """Return base64 of the eight bytes, most significant first: as S3 writes it."""
        return base64.b64encode(self._value.to_bytes(8, "big")).decode("ascii")


def checksum_of(content: bytes) -> str:
    """Return the checksum of a whole content."""
    checksum = Checksum()
    checksum.feed(content)
    return checksum.text()
