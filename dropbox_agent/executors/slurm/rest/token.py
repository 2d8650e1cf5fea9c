"""The token by which slurmrestd knows who asks. It is read anew each time, and never shown."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

VARIABLE = "SLURM_JWT"
"""What the token is called in the environment, and before the ``=`` in what ``scontrol token`` prints."""


class NoToken(Exception):
    """There is no token to show, or Slurm would not take it; the text says why."""


class Token:
    """A token in a file that somebody renews, or in the environment; or none, where slurmrestd asks for none."""

    def __init__(self, file: Path | None, environ: Mapping[str, str]) -> None:
        self._file = file
        self._given = environ.get(VARIABLE)

    def read(self, now: datetime) -> str | None:
        """Return the token as it is now; None when none is set. Raises NoToken."""
        where = f"the token in {self._file}" if self._file else f"the token in the environment ({VARIABLE})"
        token = self._given if self._file is None else _in_file(self._file)
        if token is None:
            return None
        token = token.strip().removeprefix(f"{VARIABLE}=")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise NoToken(f"{where} is empty, or no token")
        if (ended := _ends_at(token)) is not None and ended <= now:
            raise NoToken(f"{where} was good until {ended:%Y-%m-%d %H:%M:%S} UTC; renew it (scontrol token)")
        return token


def _in_file(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except OSError as error:
        raise NoToken(f"the token file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise NoToken(f"the token file {file} holds no token") from None


def account_of(token: str) -> str | None:
    """Return the account a token is for (the claim ``sun``); None when it does not say."""
    name = _claims(token).get("sun")
    return name if isinstance(name, str) else None


def _ends_at(token: str) -> datetime | None:
    seconds = _claims(token).get("exp")
    try:
        return None if seconds is None else datetime.fromtimestamp(float(seconds), timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _claims(token: str) -> Mapping[str, Any]:
    """Return what a JSON Web Token says of itself (RFC 7519); nothing when it is of another kind.

    Its signature is Slurm's to check: here it only makes a better sentence than "Zero Bytes were transmitted".
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
