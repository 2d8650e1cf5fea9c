"""What is taken from an inbox, what is handed to an executor, and what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dropbox_agent.model.plans import PlannedTask
from dropbox_agent.states import AttemptState, Cause, TaskState


@dataclass(frozen=True)
class Drop:
    """One settled version of a manifest, copied into the spool."""

    inbox: Path
    name: str
    """The file's name in the inbox, as text safe to show and store."""
    sha256: str
    size: int
    spooled: Path
    owner: int
    """uid of the file's owner when it was copied."""
    modified: float
    """The file's own mtime, seconds since the epoch; shown, never compared with our clock."""
    settled_at: datetime
    again: bool = False
    """It was away for two complete scans and is back."""


@dataclass(frozen=True)
class Attempt:
    """One try at running one allocation of one job."""

    key: str
    """``dbx-`` + 20 characters of ``[a-z2-7]``: deterministic, names the Slurm job."""
    job_id: str
    allocation: int
    number: int
    """1 for the first try."""
    state: AttemptState
    folder: Path
    """The attempt's own folder inside the run folder."""
    tasks: tuple[PlannedTask, ...]
    handle: str | None = None
    """What the executor calls it: a process (``boot:pid:start``) or a Slurm job (``slurm:id:name``)."""
    submitted_at: datetime | None = None
    first_missing_at: datetime | None = None
    """Since when successful looks have not found it; durable, so that a restart does not begin the grace anew."""
    stop_at: datetime | None = None
    """Since when it is to be ended."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """What it asks for instead of what its tasks do, in the words of image_resources."""
    survivors: tuple[Path, ...] = ()
    """Folders of earlier attempts whose node failed: they may yet leave a good end record."""


@dataclass(frozen=True)
class TaskObservation:
    """What an executor saw of one task of an attempt."""

    key: str
    state: TaskState
    started: datetime | None = None
    ended: datetime | None = None
    message: str | None = None
    exit_code: int | None = None
    progress: Mapping[str, Any] | None = None
    """``{"done_bytes", "total_bytes", "done_files", "total_files", "text"}``, whichever apply."""
    log: str | None = None
    inventory_sha256: str | None = None
    """What an upload that ended well said of its inventory."""
    passes: bool = False
    """What it failed of may pass by itself."""


@dataclass(frozen=True)
class AttemptFacts:
    """What an attempt took, and where; what nobody knows is None."""

    node: str | None = None
    elapsed_seconds: float | None = None
    max_rss_bytes: int | None = None
    """Of its largest process, or what the cluster's accounting measured."""
    log_end: str | None = None
    """The last lines of the log of the task it failed in."""


@dataclass(frozen=True)
class Observation:
    """What an executor saw of one attempt. ``seen`` False: a successful look did not find it."""

    attempt: Attempt
    seen: bool
    state: AttemptState
    tasks: tuple[TaskObservation, ...] = ()
    text: str | None = None
    """A sentence for people: ``waits for a free place (2 of 2 in use)``."""
    waits: bool = False
    """The text says what it waits for, as anything in a queue does: nobody has to act."""
    handle: str | None = None
    """What the executor calls it, where that was found out only now."""
    cause: Cause | None = None
    """Why it ended, where that was not its tasks' own doing."""
    facts: AttemptFacts | None = None
    """What is known of an ended attempt besides how it ended."""


SLURM_HANDLE = "slurm"
"""How the handle of a Slurm job begins: ``slurm:4711:dbx-...``; identity is id and name together."""


def slurm_job_id(handle: str | None) -> str | None:
    """Return the Slurm job id in a handle; None when it is no Slurm job's."""
    kind, _, rest = (handle or "").partition(":")
    return rest.partition(":")[0] if kind == SLURM_HANDLE else None
