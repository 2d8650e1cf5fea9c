"""How much memory the bodies take that are being sent: it does not grow with the size of the files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_ONES = 4
"""How many bodies there are always room for: S3 takes 10,000 parts, so those of a file of a terabyte are large."""


class Room:
    """Room for so many bytes. Who finds none waits until somebody else has gone."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._taken = 0
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Return once there is room for a body."""
        most = max(self._most, LARGE_ONES * size)
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + size <= most)
            self._taken += size

    def leave(self, size: int) -> None:
        """Make room for others."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    @contextmanager
    def inside(self, size: int) -> Iterator[None]:
        """Have room for a body as long as the block lasts."""
        self.enter(size)
        try:
            yield
        finally:
            self.leave(size)
