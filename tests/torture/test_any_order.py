"""Any order of drops, rewrites, deletions, looks, crashes, unmounts and late answers: a state machine by Hypothesis."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, fsck
from dropbox_agent import settings as site
from dropbox_agent.agent import Agent
from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.model import Attempt, Observation, TaskSettings
from dropbox_agent.states import AttemptState, Cause, DropState, TaskState

START = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAMES = st.sampled_from(["a.csv", "b.csv", "c.csv"])
MOODS = st.sampled_from(["refuses", "takes and says nothing", "takes the agent with it", "sees nothing"])
KINDS = st.sampled_from(["good", "other", "bad", "empty"])


class Crash(BaseException):
    """The agent is no more."""


class MoodyExecutor(RehearsalExecutor):
    """Takes, refuses, takes and says nothing of it, or takes the agent with it; counts what it really started.

    What it takes may fail because a service is away: the task is over before its attempt is.
    """

    def __init__(self) -> None:
        self.mood = "takes"
        self.started: dict[str, int] = {}
        self.service_away = False
        self.failing: dict[str, int] = {}
        """Key of an attempt that fails -> how many times it was looked at."""

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        mood, self.mood = self.mood, "takes"
        if mood == "refuses":
            raise SubmitFailed("There is no room. It is tried again.", retry=True)
        # As with a start token: a second copy of an attempt does nothing.
        self.started[attempt.key] = 1
        if mood == "takes and says nothing":
            raise SubmitFailed("No answer. It is tried again.", retry=True, unsure=True)
        if mood == "takes the agent with it":
            raise Crash
        if self.service_away:
            self.service_away, self.failing[attempt.key] = False, 0
        return super().submit(attempt, settings)

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        seen = [one for one in super().observe(attempts, now) if self.mood != "sees nothing"]
        return [self._failing(one) if one.attempt.key in self.failing else one for one in seen]

    def _failing(self, one: Observation) -> Observation:
        looks = self.failing[one.attempt.key] = self.failing[one.attempt.key] + 1
        tasks = (replace(one.tasks[0], state=TaskState.FAILED, message="The service is away."),)
        if looks == 1:
            return replace(one, tasks=tasks, state=AttemptState.RUNNING)
        return replace(one, tasks=tasks, cause=Cause.SERVICE_AWAY)


class AnyOrder(RuleBasedStateMachine):
    """What people, shares and clusters do, in any order; and what must be true all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="any order "))
        file = founding.initialise(self.folder / "site", START)
        stored = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}, "share_seconds": None}
        file.write_text(yaml.safe_dump(stored))
        self.site = site.load(file, {})
        self.inbox = self.site.inboxes[0].path
        self.row = a_row(demonstration.make_session(self.folder / "data"), **QUICK)
        self.now, self.executor, self.written = START, MoodyExecutor(), 0
        self.complete: set[str] = set()
        self.agent = self.opened()

    def opened(self) -> Agent:
        agent = assembly.open_agent(self.site, os.environ, self.now)
        agent.executor = self.executor
        return agent

    def teardown(self) -> None:
        self.agent.ledger.close()
        shutil.rmtree(self.folder)

    @property
    def mounted(self) -> bool:
        return (self.inbox / ".dropbox-agent").is_dir()

    # --- what people do ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.mounted)
    @rule(name=NAMES, kind=KINDS)
    def write(self, name: str, kind: str) -> None:
        self.written += 1
        subject = {"good": f"good-{name[0]}", "other": f"other-{self.written}", "bad": "../x"}.get(kind)
        if subject is None:
            (self.inbox / name).write_bytes(b"")
        else:
            write_csv(self.inbox / name, [{**self.row, "subject_id": subject, "force_cloud_sync": "true"}])

    @precondition(lambda self: self.mounted)
    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.inbox / name).unlink(missing_ok=True)

    @precondition(lambda self: self.mounted)
    @rule(name=NAMES, act=st.sampled_from(["retry", "cancel"]))
    def order(self, name: str, act: str) -> None:
        (self.inbox / f"{name}.{act}").touch()

    # --- what happens ------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 1, 3, 12, 70, 400, -3600]), looks=st.integers(1, 4))
    def look(self, seconds: int, looks: int) -> None:
        self.now += timedelta(seconds=seconds)
        for _ in range(looks):
            self.now += timedelta(seconds=1)
            try:
                self.agent.tick(self.now)
            except Crash:
                self.restart()

    @rule()
    def restart(self) -> None:
        self.agent.ledger.close()
        self.agent = self.opened()

    @rule()
    def unmount_or_mount(self) -> None:
        away = self.folder / "away"
        if self.mounted:
            self.inbox.rename(away)
            self.inbox.mkdir()
        else:
            shutil.rmtree(self.inbox)
            away.rename(self.inbox)

    @rule(mood=MOODS)
    def annoy(self, mood: str) -> None:
        self.executor.mood = mood

    @rule()
    def a_service_goes_away(self) -> None:
        self.executor.service_away = True

    # --- what must be true -------------------------------------------------------------------------------------------

    @invariant()
    def the_rules_hold(self) -> None:
        found = [one for one in fsck.look(self.site) if one.invariant in ("ledger", "history", "attempts", "spool")]
        assert found == []

    @invariant()
    def nothing_is_written_where_the_share_was(self) -> None:
        if not self.mounted:
            assert list(self.inbox.iterdir()) == []

    @rule()
    def quiet(self) -> None:
        """When all is well again, everything that lies there is answered, and every answer is what the ledger says."""
        self.executor.mood, self.executor.service_away = "takes", False
        if not self.mounted:
            self.unmount_or_mount()
        hours = [3600 * number for number in (1, 1, 2, 3, 5)]
        for seconds in (400, 3, 3, 61, 3, 3, 3, 3, *hours, 3, 3, 3, 400, 3):
            self.now += timedelta(seconds=seconds)
            self.agent.tick(self.now)
        assert self.agent.trouble() == []
        assert self.agent.is_idle()
        latest = {standing.name: standing for standing in self.agent.ledger.drops(1000)}
        lying = {path.name for path in self.inbox.glob("?.csv")}
        assert lying <= set(latest)
        live = {DropState.ACCEPTED, DropState.RUNNING}
        assert not live & {standing.state for standing in latest.values()}
        assert fsck.look(self.site) == []


def run(examples: int, steps: int) -> None:
    # Whatever a site takes to set up is set up for each example.
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(AnyOrder, settings=chosen)


def test_a_few_orders() -> None:
    run(examples=4, steps=12)


@pytest.mark.torture
def test_many_orders() -> None:
    run(examples=int(os.environ.get("TORTURE_EXAMPLES", "300")), steps=40)
