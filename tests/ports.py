"""Ports of this machine for servers of the tests."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from pathlib import Path

PORTS = range(20_000, 32_000)
GIVEN_BY_THE_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given_out: set[int] = set()


def free_ports(count: int) -> Sequence[int]:
    """Return ports that nobody listens on, and that no connection is given by the kernel while they are not in use.

    None is given twice in one test run; and they are drawn, so that runs side by side hardly ever choose the same.
    """
    given = _given_by_the_kernel()
    fit = [port for port in PORTS if port not in given] or list(PORTS)
    fit = [port for port in fit if port not in _given_out]
    drawn = random.SystemRandom().sample(fit, len(fit))
    found = [port for port, _ in zip((one for one in drawn if _is_free(one)), range(count), strict=False)]
    assert len(found) == count, f"no {count} ports are free"
    _given_out.update(found)
    return found


def _given_by_the_kernel() -> range:
    try:
        first, last = GIVEN_BY_THE_KERNEL.read_text().split()
    except OSError:
        return range(0)
    return range(int(first), int(last) + 1)


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
