"""An executor on a share: while the share hangs or is away, nothing is known of what runs, and the agent goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dropbox_agent.errors import NoAnswer, SubmitFailed, WorkFolderUnavailable
from dropbox_agent.executors import bound
from dropbox_agent.model import Attempt, Observation, TaskSettings
from dropbox_agent.patience import Places

if TYPE_CHECKING:
    from dropbox_agent.executors import Executor


T = TypeVar("T")


class Patient:
    """Asks another executor: one question at a time, each with a limit, and only while the work folder is ours."""

    def __init__(self, inner: Executor, work_dir: Path, places: Places, ledger_id: str) -> None:
        self.inner, self._work_dir, self._places, self._ledger_id = inner, work_dir, places, ledger_id
        self._no_answer: str | None = None

    def _ask(self, act: Callable[[], T]) -> T:
        def guarded() -> T:
            bound.guard(self._work_dir, self._ledger_id)
            return act()

        return self._places.ask(self._work_dir, guarded)

    @property
    def trouble(self) -> str | None:
        """The trouble of the executor itself, or that the work folder does not answer."""
        return self._no_answer or self.inner.trouble

    def room(self, live: int) -> int:
        """There is none while the work folder does not answer."""
        return 0 if self._no_answer else self.inner.room(live)

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str | None:
        """Hand an attempt over. Raises SubmitFailed; what was too late may have been taken all the same."""
        try:
            return self._ask(lambda: self.inner.submit(attempt, settings))
        except NoAnswer as error:
            raise SubmitFailed(str(error), retry=True, unsure=True) from error
        except WorkFolderUnavailable as error:
            raise SubmitFailed(str(error), retry=True) from error

    def answered(self) -> Sequence[tuple[Attempt, str | Exception]]:
        """Return what has become of attempts that were answered late."""
        return self.inner.answered()

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Nothing is repeated while the work folder cannot say whether it has started."""
        try:
            return self._ask(lambda: self.inner.may_repeat(attempt, now))
        except (NoAnswer, WorkFolderUnavailable):
            return False

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        """Ask for an end; while the work folder does not answer, nothing is sure."""
        try:
            return self._ask(lambda: self.inner.stop(attempt, hard))
        except (NoAnswer, WorkFolderUnavailable):
            return False

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        """Return what is to be seen; nothing while the work folder does not answer."""
        try:
            seen = self._ask(lambda: self.inner.observe(attempts, now))
        except (NoAnswer, WorkFolderUnavailable) as error:
            self._no_answer = str(error)
            return []
        self._no_answer = None
        return seen
