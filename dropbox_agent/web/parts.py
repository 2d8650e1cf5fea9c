"""What the application is made of. Assembly fills it in from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dropbox_agent.model import JobStanding, Presets, Standing
from dropbox_agent.report import Pages


class Reader(Protocol):
    """What the pages read. Its methods are called from several threads."""

    def jobs(self, limit: int, offset: int) -> Sequence[JobStanding]:
        """Return the jobs, newest first."""
        ...

    def job(self, job_id: str) -> JobStanding | None:
        """Return one job, or None."""
        ...

    def drops(self, limit: int, offset: int) -> Sequence[Standing]:
        """Return what arrived, newest first."""
        ...

    def count_jobs(self) -> Mapping[str, int]:
        """Return how many jobs are in each state."""
        ...

    def presets(self) -> Presets:
        """Return every job_type, and those whose file is wrong."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything the pages work with."""

    read: Reader
    pages: Pages
