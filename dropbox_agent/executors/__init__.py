"""Places to run attempts: ``local`` (this machine), ``slurm`` (a cluster) and ``rehearsal`` (runs nothing).

Each takes an attempt whose intent is already in the ledger, and says what it sees of it. The truth about what ran is
in the attempt's folder: the start token, the end record of each task, and the end record of the allocation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from dropbox_agent.executors.elements import states as element_states
from dropbox_agent.executors.local import LocalExecutor
from dropbox_agent.executors.patient import Patient
from dropbox_agent.executors.rehearsal import RehearsalExecutor
from dropbox_agent.executors.slurm import Asked, SlurmCommands, SlurmExecutor, SlurmRest, Token
from dropbox_agent.model import Attempt, Observation, TaskSettings


class Executor(Protocol):
    """What the agent asks of a place to run."""

    @property
    def trouble(self) -> str | None:
        """What an operator has to know of this place, as a sentence; None when all is well."""

    def room(self, live: int) -> int:
        """Return how many more attempts may be handed over while ``live`` may still run."""

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str | None:
        """Hand an attempt over; return what the executor calls it. Raises SubmitFailed. None: ``answered`` will tell.

        Handing the same attempt over twice is harmless: the second copy finds the start token taken and does nothing.
        """

    def answered(self) -> Sequence[tuple[Attempt, str | Exception]]:
        """Return what has become of attempts whose ``submit`` returned None: what they are called, or what failed."""

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Return whether an attempt that may have been handed over, and is not seen, may be handed over again."""

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        """Ask for an end of an attempt (``hard``: without asking); return whether it is sure that it never ran."""

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        """Return what is to be seen of each attempt, in one look; nothing of an attempt there is no news of."""


__all__ = [
    "Asked",
    "Executor",
    "LocalExecutor",
    "Patient",
    "RehearsalExecutor",
    "SlurmCommands",
    "SlurmExecutor",
    "SlurmRest",
    "Token",
    "element_states",
]
