"""Tell a share that is away from a file or folder that is missing, by what the system says."""

from __future__ import annotations

import errno

AWAY = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
    }
)


def is_away(error: OSError) -> bool:
    """Return whether it is the share that does not answer, so that the same may succeed later.

    A folder in whose place nothing is mounted looks as if it was never there, and is no such case.
    """
    return error.errno in AWAY
