"""Ports of this machine for servers of the tests."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

PORTS = range(20_000, 32_000)
GIVEN_BY_THE_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
RESERVED = Path(tempfile.gettempdir()) / f"dropbox-agent-test-ports-{os.getuid()}"
_reserved: dict[int, int] = {}
"""Port -> the open file whose lock keeps it for this process, until that ends."""


def free_ports(count: int) -> Sequence[int]:
    """Return ports that nobody listens on, and that no connection is given by the kernel while they are not in use.

    None is given twice, in one test run or in runs side by side; they are drawn, so that what else listens on this
    machine hardly ever wants the same.
    """
    given = _given_by_the_kernel()
    fit = [port for port in PORTS if port not in given] or list(PORTS)
    drawn = random.SystemRandom().sample(fit, len(fit))
    found = list(islice((port for port in drawn if _is_free(port)), count))
    assert len(found) == count, f"no {count} ports are free"
    return found


def _given_by_the_kernel() -> range:
    try:
        first, last = GIVEN_BY_THE_KERNEL.read_text().split()
    except OSError:
        return range(0)
    return range(int(first), int(last) + 1)


def _is_free(port: int) -> bool:
    if port in _reserved:
        return False
    RESERVED.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(RESERVED / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))
    except OSError:
        os.close(lock)
        return False
    _reserved[port] = lock
    return True
