"""What people order: to cancel a job or to run it again. Files on the agent's own disk, carried out at the next tick.

The commands ``retry`` and ``cancel`` write them, and the API. An order outlives a crash; which were carried out stands
in the ledger, by the names of their files. What a file beside a manifest orders is written into the ledger at once.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from dropbox_agent import lasting
from dropbox_agent.errors import OrderRefused
from dropbox_agent.model import Order

LEFT_OVER_SECONDS = 60.0
"""Nobody takes so long to write one small file."""
logger = logging.getLogger(__name__)


def give(folder: Path, order: Order) -> Path:
    """Write an order down, durably; return its file. Raises OrderRefused when the folder cannot be written."""
    path = folder / f"{order.asked:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex}.json"
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
        for written in (temporary, path):
            with suppress(OSError):
                written.unlink()
        raise OrderRefused(f"The order could not be written into {folder}: {error.strerror}.") from error
    return path


def sweep(folder: Path, now: datetime) -> None:
    """Remove what commands that were killed began to write, and nobody goes on with."""
    for path in folder.glob("*.tmp"):
        with suppress(OSError):
            if now.timestamp() - path.stat().st_mtime > LEFT_OVER_SECONDS:
                path.unlink()


def put_away(path: Path) -> None:
    """Remove an order that was carried out. Raises OrderRefused when the folder cannot be written."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OrderRefused(f"The order {path} was carried out, and could not be removed: {error.strerror}.") from error


def given(folder: Path) -> Iterator[tuple[Path, Order]]:
    """Yield the orders that are to be carried out, oldest first; what is no order is set aside as ``.wrong``, and told.

    Raises OrderRefused when the folder cannot be listed, and in the end when one could not be read.
    """
    trouble = None
    for path in _files_in(folder):
        try:
            yield path, Order.model_validate_json(path.read_bytes())
        except OSError as error:
            trouble = f"The order {path} could not be read: {error.strerror}. It is tried again."
        except ValidationError as error:
            with suppress(OSError):
                path.rename(path.with_suffix(".wrong"))
                logger.error("%s is no order, and was set aside as .wrong: %s", path, error)
    if trouble is not None:
        raise OrderRefused(trouble)


def _files_in(folder: Path) -> list[Path]:
    """Return the files of orders. A glob would keep to itself that it could not look."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OrderRefused(
            f"The orders in {folder} could not be listed: {error.strerror}. It is tried again."
        ) from error
