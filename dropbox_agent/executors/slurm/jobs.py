"""What is asked of a cluster and what it answers, whichever way leads to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class JobRequest:
    """One Slurm job to be submitted."""

    name: str
    """The attempt's key."""
    comment: str
    script: str
    log: Path
    resources: Mapping[str, Any] = field(default_factory=dict)
    """What it asks of the cluster, in the words of ``image_resources`` (plan/properties.py)."""


@dataclass(frozen=True)
class SlurmJob:
    """One Slurm job as the controller has it."""

    job_id: str
    name: str
    state: str
    """Slurm's own word: ``PENDING``."""
    reason: str = "None"
    nodes: str = ""
    """Where it runs or ran; empty when it never started."""
    limit: timedelta | None = None
    """How long it may run; None for ever, or unknown."""
    by: str | None = None
    """Who cancelled it, where the accounting says so."""
    ended: datetime | None = None
    """When it ended, by the accounting."""


class Why(Enum):
    """Why a job was not taken, and with it what to do."""

    UNSURE = "unsure"
    """It may have been taken all the same: look for it by its name before asking again."""
    UNREACHABLE = "unreachable"
    """Nobody was asked: wait until the controller answers."""
    FULL = "full"
    """A limit on submitted jobs is reached: wait, and ask again."""
    NEVER = "never"
    """It cannot be taken as it is."""


class Refused(Exception):
    """Slurm did not take a job; the text is Slurm's own words."""

    def __init__(self, why: Why, words: str) -> None:
        self.why = why
        self.words = words
        super().__init__(words)


class Unanswered(Exception):
    """The cluster did not say which jobs there are: nothing may be concluded. The text is Slurm's own words."""


class NoAccounting(Unanswered):
    """This cluster keeps no accounts (no slurmdbd): nobody will ever answer."""


@dataclass(frozen=True)
class JobRecord:
    """One Slurm job as the accounting has it, long after the controller forgot it."""

    job_id: str
    name: str
    state: str
    """Slurm's own word: ``CANCELLED``; who cancelled it is apart."""
    nodes: str = ""
    exit_code: int | None = None
    signal: int | None = None
    elapsed_seconds: int | None = None
    max_rss_bytes: int | None = None
    """Of its largest step; None where nobody measured it."""
    cancelled_by: str | None = None
    """The name of the account that cancelled it, or its number."""
    ended: datetime | None = None


@dataclass(frozen=True)
class Partition:
    """One partition of the cluster."""

    name: str
    up: bool
    is_default: bool = False


class Cluster(Protocol):
    """A way to a cluster: by its commands (``commands``), or by slurmrestd."""

    def submit(self, request: JobRequest) -> str:
        """Hand a job over; return its id. Raises Refused."""

    def jobs(self) -> list[SlurmJob]:
        """Return every job of this account that Slurm still knows, ended ones too, in one look. Raises Unanswered."""

    def cancel(self, name: str, hard: bool) -> None:
        """End every job of that name; ``hard``: without asking it first. Raises Unanswered."""

    def records(self, names: Collection[str], since: datetime) -> list[JobRecord]:
        """Return what the accounting has of the jobs of these names. Raises Unanswered, or NoAccounting."""

    def partitions(self) -> list[Partition]:
        """Return the partitions. Raises Unanswered."""

    def qualities(self) -> list[str]:
        """Return the names of every QOS. Raises Unanswered, or NoAccounting."""
