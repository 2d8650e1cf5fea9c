"""Run nothing: every task of an attempt is skipped at once, which is a good end. For dry runs and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from dropbox_agent.model import Attempt, Observation, TaskObservation, TaskSettings
from dropbox_agent.states import AttemptState, TaskState


class RehearsalExecutor:
    """Takes every attempt and skips its tasks; touches no file."""

    trouble: str | None = None

    def room(self, live: int) -> int:
        """There is always room."""
        return 1_000_000

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        """Return a handle; nothing is started."""
        return f"rehearsal:{attempt.key}"

    def answered(self) -> Sequence[tuple[Attempt, str | Exception]]:
        """Every answer is given at once."""
        return ()

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Nothing that was taken is ever lost here."""
        return attempt.handle is None

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        """Nothing ever runs here."""
        return True

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        """Return that everything that was handed over was skipped, with the reason."""
        return [self._observation(attempt, now) for attempt in attempts]

    def _observation(self, attempt: Attempt, now: datetime) -> Observation:
        if attempt.handle is None:
            return Observation(attempt, False, attempt.state)
        said = "Rehearsed: nothing was run (executor.kind is rehearsal)."
        tasks = tuple(
            TaskObservation(task.key, TaskState.SKIPPED, started=now, ended=now, message=said) for task in attempt.tasks
        )
        return Observation(attempt, True, AttemptState.ENDED, tasks)
