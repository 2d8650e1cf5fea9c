"""Any order of drops, rewrites, deletions, looks, crashes, unmounts and late answers: a state machine by Hypothesis."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, fsck, orders
from dropbox_agent import settings as site
from dropbox_agent.agent import Agent
from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.model import Attempt, Observation, Order, TaskObservation, TaskSettings
from dropbox_agent.states import AttemptState, Cause, DropState, JobState, TaskState

START = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAMES = st.sampled_from(["a.csv", "b.csv", "c.csv"])
MOODS = st.sampled_from(["refuses", "takes and says nothing", "takes the agent with it", "sees nothing"])
FAILURES = {
    "by its own doing": None, "without a service": Cause.SERVICE_AWAY, "by its time limit": Cause.TIMEOUT,
}  # fmt: skip
FROM = st.sampled_from(["send_job_start_email", "create_staging_folder", "upload_data_to_s3", "send_job_end_email"])
KINDS = st.sampled_from(["good", "other", "bad", "empty"])


class Crash(BaseException):
    """The agent is no more."""


@dataclass
class Run:
    """What becomes of one attempt."""

    ends: str
    looks: int = 0
    is_stopped: bool = False

    def seen(self, attempt: Attempt) -> Observation:
        """Return one look at it: each task takes a look, and what fails is over a look before its attempt."""
        self.looks, count, cause = self.looks + 1, len(attempt.tasks), None
        states = [TaskState.SUCCEEDED] * min(self.looks - 1, count) + [TaskState.RUNNING] * (self.looks <= count)
        state = AttemptState.RUNNING if self.looks <= count else AttemptState.ENDED
        if self.is_stopped or (self.ends == "with its node" and state is AttemptState.RUNNING):
            states[-1], state = TaskState.FAILED, AttemptState.LOST
            cause = Cause.CANCELLED if self.is_stopped else Cause.NODE_FAILED
        elif self.ends in FAILURES and self.looks >= count:
            states[-1] = TaskState.FAILED
            cause = FAILURES[self.ends] if state is AttemptState.ENDED else None
        tasks = [TaskObservation(task.key, is_in) for task, is_in in zip(attempt.tasks, states, strict=False)]
        return Observation(attempt, True, state, tuple(tasks), cause=cause)


class MoodyExecutor(RehearsalExecutor):
    """Takes, refuses, takes and says nothing of it, or takes the agent with it; counts what it really started."""

    def __init__(self) -> None:
        self.mood, self.next_ends = "takes", "well"
        self.runs: dict[str, Run] = {}

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        mood, self.mood = self.mood, "takes"
        if mood == "refuses":
            raise SubmitFailed("There is no room. It is tried again.", retry=True)
        if attempt.key not in self.runs:  # as with a start token: a second copy of an attempt does nothing
            self.runs[attempt.key] = Run(self.next_ends)
            self.next_ends = "well"
        if mood == "takes and says nothing":
            raise SubmitFailed("No answer. It is tried again.", retry=True, unsure=True)
        if mood == "takes the agent with it":
            raise Crash
        return super().submit(attempt, settings)

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        if attempt.key not in self.runs:
            return True
        self.runs[attempt.key].is_stopped = True
        return False

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        if self.mood == "sees nothing":
            return []
        return [self.runs[one.key].seen(one) if one.handle else Observation(one, False, one.state) for one in attempts]


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
        self.orders: set[str] = set()
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
        self.orders.add(act)
        (self.inbox / f"{name}.{act}").touch()

    @rule(task=FROM)
    def order_from(self, task: str) -> None:
        """As ``dropbox-agent retry JOB --from TASK`` does, for every job; what runs is not run again."""
        for job in self.agent.ledger.jobs():
            order = Order(act="retry", job_id=job.job_id, from_task=task, asked=self.now, by="somebody")
            orders.give(self.agent.orders_folder, order)

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

    @rule(how=st.sampled_from([*FAILURES, "with its node"]))
    def have_the_next_end(self, how: str) -> None:
        self.executor.next_ends = how

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
        self.executor.mood, self.executor.next_ends = "takes", "well"
        if not self.mounted:
            self.unmount_or_mount()
        hours = [3600 * number for number in (1, 1, 2, 3, 5)]
        for seconds in (400, 3, 3, 61, *hours, *[3] * 30, 400, 3):
            self.now += timedelta(seconds=seconds)
            self.agent.tick(self.now)
        assert self.agent.trouble() == []
        assert self.agent.is_idle()
        latest = {standing.name: standing for standing in self.agent.ledger.drops(1000)}
        lying = {path.name for path in self.inbox.glob("?.csv")}
        assert lying <= set(latest)
        live = {DropState.ACCEPTED, DropState.RUNNING}
        assert not live & {standing.state for standing in latest.values()}
        jobs = {job.state for job in self.agent.ledger.jobs()}
        assert JobState.CANCELLED not in jobs or "cancel" in self.orders
        assert JobState.FAILED not in jobs or any(run.ends != "well" for run in self.executor.runs.values())
        assert self.jobs_whose_end_nobody_was_told() == []
        assert fsck.look(self.site) == []

    def jobs_whose_end_nobody_was_told(self) -> list[str]:
        with closing(sqlite3.connect(self.agent.ledger.path)) as ledger:
            rows = ledger.execute(
                "SELECT job_id FROM jobs WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.job_id = jobs.job_id"
                " AND kind = iif(jobs.state = 'failed', 'fail', 'end') AND turn = jobs.retries AND sent NOT NULL)"
            )
            return [str(row[0]) for row in rows]


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
