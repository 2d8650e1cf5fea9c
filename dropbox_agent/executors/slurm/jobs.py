"""What is asked of a cluster and what it answers, whichever way leads to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


@dataclass(frozen=True)
class JobRequest:
    """One Slurm job to be submitted."""

    name: str
    """The attempt's key."""
    comment: str
    script: str
    log: Path
    options: tuple[str, ...] = ()
    """What the task asks of the cluster, as options of sbatch."""


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
