"""The agent dies before and after every act that it writes down or does, once, and once more while it recovers."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, deliver, demonstration, fsck, settings
from dropbox_agent.agent import Agent
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger

START = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class Crash(BaseException):
    """The agent is no more."""


POINTS: dict[str, tuple[Any, str]] = {
    "taking a file as settled": (Inbox, "_spooled"),
    "accepting a drop": (Ledger, "accept"),
    "refusing a drop": (Ledger, "refuse"),
    "writing an intent": (Ledger, "submitting"),
    "handing over": (RehearsalExecutor, "submit"),
    "writing down a handle": (Ledger, "submitted"),
    "looking at what runs": (RehearsalExecutor, "observe"),
    "writing down what was seen": (Ledger, "observed"),
    "writing a status": (deliver, "status"),
    "writing down that it was told": (Ledger, "told"),
    "writing down a mail under way": (Ledger, "mailing"),
    "writing a mail": (deliver.FilePost, "send"),
    "writing down that a mail is out": (Ledger, "mailed"),
    "an annotated copy": (deliver, "write_own"),
    "binding an inbox": (Ledger, "bind"),
}
"""What a crash comes before or after -> the function that does it."""


@contextmanager
def crashing(point: str, after: bool, turn: int) -> Iterator[None]:
    """Let the agent die at one call of a point: the ``turn``-th from now."""
    owner, name = POINTS[point]
    real: Callable[..., Any] = getattr(owner, name)
    left = [turn]

    def act(*words: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not after:
            raise Crash
        answer = real(*words, **named)
        if left[0] == 0:
            raise Crash
        return answer

    setattr(owner, name, act)
    try:
        yield
    finally:
        setattr(owner, name, real)


class Site:
    """A site with a good and a bad manifest, and an agent that dies and comes back."""

    def __init__(self, folder: Path) -> None:
        file = assembly.initialise(folder / "site", START)
        stored = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}, "share_seconds": None}
        file.write_text(yaml.safe_dump(stored))
        self.settings, self.now, self.crashes = settings.load(file, {}), START, 0
        self.inbox = self.settings.inboxes[0].path
        row = a_row(demonstration.make_session(folder / "data"), **QUICK)
        write_csv(self.inbox / "good.csv", [row])
        write_csv(self.inbox / "bad.csv", [{**row, "subject_id": "../x"}])

    def live(self, ticks: int) -> None:
        """Start an agent and let it look so often, or until it dies."""
        agent: Agent | None = None
        try:
            agent = assembly.open_agent(self.settings, os.environ, self.now)
            for _ in range(ticks):
                self.now += timedelta(seconds=2)
                agent.tick(self.now)
        except Crash:
            self.crashes += 1
        finally:
            if agent is not None:
                agent.ledger.close()

    def what_is_wrong(self) -> list[str]:
        found = [f"{one.invariant}: {one.sentence}" for one in fsck.look(self.settings)]
        reader = assembly.open_reader(self.settings)
        states = sorted((drop.name, drop.state.value) for drop in reader.drops(100))
        attempts = [attempt for job in reader.jobs() for attempt in {task.attempt for task in job.tasks}]
        reader.close()
        beside = sorted(path.name for path in self.inbox.glob("*.csv.*"))
        if states != [("bad.csv", "refused"), ("good.csv", "succeeded")] or max(attempts) > 1:
            found.append(f"{states}, {attempts}")
        if beside != BESIDE:
            found.append(f"beside the manifests: {beside}")
        return found


BESIDE = [
    "bad.csv.01-refused.eml",
    "bad.csv.errors.xlsx",
    "bad.csv.status.html",
    "bad.csv.status.json",
    "good.csv.01-begin.eml",
    "good.csv.02-end.eml",
    "good.csv.status.html",
    "good.csv.status.json",
]


def die_at(folder: Path, *deaths: tuple[str, bool, int]) -> list[str]:
    """Return what is wrong after so many deaths, one in each life, and a long quiet life after them."""
    site = Site(folder)
    for point, after, turn in deaths:
        with crashing(point, after, turn):
            site.live(8)
    site.live(14)
    said = ", ".join(f"{'after' if after else 'before'} {point} ({turn})" for point, after, turn in deaths)
    return [f"{said}: {text}" for text in site.what_is_wrong()]


def sampled(seed: int, count: int, deaths: int) -> list[tuple[tuple[str, bool, int], ...]]:
    chance = random.Random(seed)
    return [
        tuple((chance.choice(sorted(POINTS)), chance.random() < 0.5, chance.randint(1, 2)) for _ in range(deaths))
        for _ in range(count)
    ]


def test_one_death_at_some_points(tmp_path: Path) -> None:
    points = ["accepting a drop", "handing over", "writing down that it was told", "writing a mail"]
    wrong = [
        text for number, p in enumerate(points) for text in die_at(tmp_path / str(number), (p, number % 2 == 0, 1))
    ]
    assert wrong == []


@pytest.mark.torture
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_one_death_at_every_point(tmp_path: Path, point: str, after: bool, turn: int) -> None:
    assert die_at(tmp_path / "x", (point, after, turn)) == []


@pytest.mark.torture
@pytest.mark.parametrize("deaths", sampled(1, 60, 2) + sampled(2, 20, 4), ids=lambda deaths: str(len(deaths)))
def test_deaths_while_recovering(tmp_path: Path, deaths: tuple[tuple[str, bool, int], ...]) -> None:
    assert die_at(tmp_path / "x", *deaths) == []
