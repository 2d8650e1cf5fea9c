"""What a running agent says of itself, in a file on its own disk: that it is there, and what it has looked at.

The pages and programs that watch over the service read it. They never look at a share themselves, so none of them hangs
where the agent hangs; an agent that hangs says nothing any more, and that is told.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "pulse.json"
EVERY = timedelta(seconds=5)
"""How often an agent says that it is there."""
SILENT_AFTER = timedelta(seconds=60)
"""An agent that has said nothing for so long hangs, or was killed."""


class WatchedInbox(BaseModel):
    """How one inbox was found."""

    model_config = ConfigDict(frozen=True)

    path: str
    last_complete_scan: datetime | None = None
    trouble: str | None = None
    waiting: tuple[str, ...] = ()
    """Files that are not taken yet, each with its reason."""
    left_alone: tuple[str, ...] = ()


class Pulse(BaseModel):
    """What an agent said last."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    since: datetime
    """When it was started."""
    pid: int
    host: str
    executor: str
    """local, slurm, ..."""
    executor_trouble: str | None = None
    inboxes: tuple[WatchedInbox, ...] = ()
    troubles: tuple[str, ...] = ()
    """What an operator has to act on."""
    stopped: bool = False
    """It was stopped, and said so."""

    def is_alive(self, now: datetime) -> bool:
        """Return whether the agent runs, as far as it has said."""
        return not self.stopped and now - self.at < SILENT_AFTER


def write(state_dir: Path, pulse: Pulse) -> None:
    """Say it. Raises OSError; nothing depends on it, and there is no need to outlive a power failure."""
    unfinished = state_dir / f".{FILE}.{os.getpid()}"
    unfinished.write_text(pulse.model_dump_json(indent=1), encoding="utf-8")
    unfinished.replace(state_dir / FILE)


def read(state_dir: Path) -> Pulse | None:
    """Return what the agent said last; None when it never said anything that can be understood."""
    try:
        return Pulse.model_validate_json((state_dir / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
