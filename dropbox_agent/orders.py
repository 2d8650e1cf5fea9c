"""What people order: to cancel a job or to run it again. Files on the agent's own disk, carried out at the next tick.

The commands ``retry`` and ``cancel`` write them, and the agent itself does for a ``NAME.retry`` or ``NAME.cancel``
beside a manifest: as ``.asked``, until the file beside the manifest is gone. An order outlives a crash; which were
carried out stands in the ledger, by the names of their files.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from dropbox_agent import lasting
from dropbox_agent.errors import OrderRefused
from dropbox_agent.model import Order

GIVEN = ".json"
ASKED = ".asked"


def give(folder: Path, order: Order) -> Path:
    """Write an order down, durably; return its file. Raises OrderRefused when the folder cannot be written."""
    return _write(folder, order, GIVEN)


def ask(folder: Path, order: Order) -> Path:
    """Write an order down that is not to be carried out yet, durably; return its file. Raises OrderRefused."""
    return _write(folder, order, ASKED)


def give_asked(path: Path) -> None:
    """Let an order that was asked be carried out. Raises OrderRefused when the folder cannot be written."""
    try:
        path.rename(path.with_suffix(GIVEN))
        lasting.sync_folder(path.parent)
    except OSError as error:
        raise OrderRefused(f"The order {path} could not be renamed: {error.strerror}. It is tried again.") from error


def put_away(path: Path) -> None:
    """Remove an order that was carried out. Raises OrderRefused when the folder cannot be written."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OrderRefused(f"The order {path} was carried out, and could not be removed: {error.strerror}.") from error


def _write(folder: Path, order: Order, suffix: str) -> Path:
    path = folder / f"{order.asked:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex}{suffix}"
    temporary = path.with_suffix(".tmp")
    try:
        lasting.make_folder(folder)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(order.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        lasting.sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OrderRefused(f"The order could not be written into {folder}: {error.strerror}.") from error
    return path


def given(folder: Path) -> Iterator[tuple[Path, Order]]:
    """Yield the orders that are to be carried out, oldest first; what is no order is set aside as ``.wrong``.

    Raises OrderRefused in the end when one could not be read.
    """
    return _read(folder, GIVEN)


def asked(folder: Path) -> Iterator[tuple[Path, Order]]:
    """Yield the orders that are not to be carried out yet, as ``given`` does the others."""
    return _read(folder, ASKED)


def _read(folder: Path, suffix: str) -> Iterator[tuple[Path, Order]]:
    trouble = None
    for path in sorted(folder.glob(f"*{suffix}")):
        try:
            yield path, Order.model_validate_json(path.read_bytes())
        except OSError as error:
            trouble = f"The order {path} could not be read: {error.strerror}. It is tried again."
        except ValidationError:
            with suppress(OSError):
                path.rename(path.with_suffix(".wrong"))
    if trouble is not None:
        raise OrderRefused(trouble)
