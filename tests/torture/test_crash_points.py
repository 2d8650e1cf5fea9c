"""The agent is killed before and after every act that it writes down or does, once, and once more while it recovers.

Or something goes wrong there that nobody thought of, the clock jumps, or the agent is stopped while another one, with
a copy of its ledger, takes over and does all there is to do; then it is continued in the midst of its act. The signals
are real: whoever is struck is a process of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, deliver, demonstration, founding, fsck, settings
from dropbox_agent.agent import database
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.inbox import Inbox
from dropbox_agent.inbox.lease import LEASE
from dropbox_agent.ledger import Audit, Ledger
from dropbox_agent.model import Attempt, TaskSettings

START = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class NobodyThoughtOf(Exception):
    """Something goes wrong in the midst of an act."""


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
ORDER_POINTS: dict[str, tuple[Any, str]] = {
    "writing down an order": (Ledger, "ask"),
    "removing the file of an order": (Inbox, "obeyed"),
    "cancelling a job": (Ledger, "cancel"),
    "writing down what came of an order": (Ledger, "note"),
}
ALL_POINTS = {**POINTS, **ORDER_POINTS}


def signalled(number: int) -> Callable[[], None]:
    """Return what sends a signal to the very process."""
    return lambda: os.kill(os.getpid(), number)


def go_wrong() -> None:
    raise NobodyThoughtOf("in the midst of an act")


@contextmanager
def struck(point: str, after: bool, turn: int, blow: Callable[[], None]) -> Iterator[None]:
    """Let something happen at one call of a point: the ``turn``-th from now."""
    owner, name = ALL_POINTS[point]
    real: Callable[..., Any] = getattr(owner, name)
    left = [turn]

    def act(*words: Any, **named: Any) -> Any:
        left[0] -= 1
        struck_now = left[0] == 0
        if struck_now and not after:
            blow()
        answer = real(*words, **named)
        if struck_now and after:
            blow()
        return answer

    setattr(owner, name, act)
    try:
        yield
    finally:
        setattr(owner, name, real)


class TokenExecutor(RehearsalExecutor):
    """Notes what starts: as with a start token, a second copy of an attempt does nothing."""

    def __init__(self, started: Path) -> None:
        self.started = started

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        with self.started.open("a", encoding="utf-8") as file:
            file.write(f"{attempt.key}\n")
        return super().submit(attempt, settings)


class Site:
    """A site with a good and a bad manifest and one to be cancelled, and an agent that dies and comes back."""

    def __init__(self, folder: Path) -> None:
        file = founding.initialise(folder / "site", START)
        stored = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}, "share_seconds": None}
        file.write_text(yaml.safe_dump(stored))
        self.settings, self.now, self.started = settings.load(file, {}), START, folder / "started"
        self.inbox = self.settings.inboxes[0].path
        row = a_row(demonstration.make_session(folder / "data"), **QUICK)
        write_csv(self.inbox / "good.csv", [row])
        write_csv(self.inbox / "bad.csv", [{**row, "subject_id": "../x"}])
        write_csv(self.inbox / "off.csv", [{**row, "subject_id": "777", "email_notification_types": "begin"}])
        (self.inbox / "off.csv.cancel").touch()

    def live(self, ticks: int, settings: settings.Settings | None = None) -> None:
        """Start an agent, let it look so often, and end it."""
        agent = assembly.open_agent(settings or self.settings, os.environ, self.now)
        agent.executor = TokenExecutor(self.started)
        for _ in range(ticks):
            self.now += timedelta(seconds=2)
            with suppress(NobodyThoughtOf):  # what ``run`` does: it says so and goes on
                agent.tick(self.now)
        agent.ledger.close()

    def live_apart(self, point: str, after: bool, turn: int, blow: Callable[[], None], ticks: int) -> int:
        """Let an agent in a process of its own be struck; return the process, which has ended or was stopped."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside threads; pytest-xdist has one
            process = os.fork()
        if process == 0:
            code = 1
            try:
                with struck(point, after, turn, blow):
                    self.live(ticks)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self.now += timedelta(seconds=2 * ticks)
        return process

    def what_is_wrong(self) -> list[str]:
        found = [f"{one.invariant}: {one.sentence}" for one in fsck.look(self.settings)]
        reader = assembly.open_reader(self.settings)
        states = sorted((drop.name, drop.state.value) for drop in reader.drops(100))
        attempts = [attempt for job in reader.jobs() for attempt in {task.attempt for task in job.tasks}]
        asked = reader.asked(self.inbox)
        reader.close()
        beside = sorted(path.name for path in self.inbox.glob("*.csv.*"))
        if states not in STATES or max(attempts) > 1:
            found.append(f"{states}, {attempts}")
        if asked:
            found.append(f"orders that are not carried out: {asked}")
        if beside != BESIDE:
            found.append(f"beside the manifests: {beside}")
        return found


STATES = [
    [("bad.csv", "refused"), ("good.csv", "succeeded"), ("off.csv", state)] for state in ("cancelled", "succeeded")
]
"""One that is told that another agent works in the inbox has not heard of the order, and goes on with what it has."""
BESIDE = [
    "bad.csv.01-refused.eml",
    "bad.csv.errors.xlsx",
    "bad.csv.status.html",
    "bad.csv.status.json",
    "good.csv.01-begin.eml",
    "good.csv.02-end.eml",
    "good.csv.status.html",
    "good.csv.status.json",
    "off.csv.01-begin.eml",
    "off.csv.status.html",
    "off.csv.status.json",
]


def die_at(folder: Path, *deaths: tuple[str, bool, int]) -> list[str]:
    """Return what is wrong after so many deaths, one in each life, and a long quiet life after them."""
    site = Site(folder)
    for life, (point, after, turn) in enumerate(deaths):
        process = site.live_apart(point, after, turn, signalled(signal.SIGKILL), 8)
        ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        # Nobody comes to a second time of everything, or to what an earlier life did.
        never = turn > 1 or life > 0
        assert ended in ((0, -signal.SIGKILL) if never else (-signal.SIGKILL,)), f"not killed at {point}"
    site.live(14)
    said = ", ".join(f"{'after' if after else 'before'} {point} ({turn})" for point, after, turn in deaths)
    return [f"{said}: {text}" for text in site.what_is_wrong()]


def sampled(seed: int, count: int, deaths: int) -> list[tuple[tuple[str, bool, int], ...]]:
    chance = random.Random(seed)
    return [
        tuple((chance.choice(sorted(ALL_POINTS)), chance.random() < 0.5, chance.randint(1, 2)) for _ in range(deaths))
        for _ in range(count)
    ]


def test_one_death_at_some_points(tmp_path: Path) -> None:
    points = ["accepting a drop", "handing over", "removing the file of an order", "writing a mail"]
    wrong = [
        text for number, p in enumerate(points) for text in die_at(tmp_path / str(number), (p, number % 2 == 0, 1))
    ]
    assert wrong == []


def jump_at(folder: Path, point: str, after: bool, turn: int, seconds: float) -> list[str]:
    """Return what is wrong after the clock has jumped in the midst of an act."""
    site = Site(folder)

    def jump() -> None:
        site.now += timedelta(seconds=seconds)

    with struck(point, after, turn, jump):
        site.live(30)
    site.live(14)
    return site.what_is_wrong()


def go_wrong_at(folder: Path, point: str, after: bool, turn: int) -> list[str]:
    """Return what is wrong after something unthought-of in the midst of an act, in one life and the next."""
    site = Site(folder)
    with struck(point, after, turn, go_wrong):
        site.live(30)
    site.live(14)
    return site.what_is_wrong()


def sleep_at(folder: Path, point: str, after: bool, turn: int) -> list[str]:
    """Return what is wrong when an agent is continued in the midst of an act, after another one has done everything.

    The other one has a copy of its ledger, and its lease is over: nothing but the names of attempts keeps them apart.
    Nothing is ordered: of an order only one of two ledgers would know.
    """
    site = Site(folder)
    (site.inbox / "off.csv.cancel").unlink()
    copied = folder / "copied state"
    shutil.copytree(site.settings.state_dir, copied)
    other = site.settings.model_copy(update={"state_dir": copied})

    def sleep() -> None:
        signalled(signal.SIGSTOP)()
        site.now += timedelta(seconds=40)

    process = site.live_apart(point, after, turn, sleep, 30)
    if os.WIFSTOPPED(os.waitpid(process, os.WUNTRACED)[1]):
        (site.inbox / LEASE).unlink(missing_ok=True)
        site.live(20, other)
        (site.inbox / LEASE).unlink(missing_ok=True)
        os.kill(process, signal.SIGCONT)
        assert os.waitpid(process, 0)[1] == 0
    site.live(14)
    audit = Audit.of(database(site.settings.state_dir))
    ours = {key for job_id in audit.job_ids() for key in audit.attempt_keys(job_id)}
    audit.close()
    stray = set(site.started.read_text().split()) - ours
    return site.what_is_wrong() + [f"{key} was started, and is no attempt of ours" for key in sorted(stray)]


SOME = [("accepting a drop", True, 1), ("handing over", False, 2), ("writing a status", True, 1)]


@pytest.mark.parametrize(("point", "after", "turn"), SOME)
def test_sleep_fault_and_jump_at_some_points(tmp_path: Path, point: str, after: bool, turn: int) -> None:
    assert sleep_at(tmp_path / "sleep", point, after, turn) == []
    assert go_wrong_at(tmp_path / "fault", point, after, turn) == []
    assert jump_at(tmp_path / "jump", point, after, turn, -86400) == []


@pytest.mark.torture
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_sleep_at_every_point(tmp_path: Path, point: str, after: bool, turn: int) -> None:
    assert sleep_at(tmp_path / "sleep", point, after, turn) == []


@pytest.mark.torture
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", ALL_POINTS)
def test_fault_and_jumps_at_every_point(tmp_path: Path, point: str, after: bool, turn: int) -> None:
    assert go_wrong_at(tmp_path / "fault", point, after, turn) == []
    for number, seconds in enumerate((-86400, -30, 3600, 86400)):
        assert jump_at(tmp_path / f"jump {number}", point, after, turn, seconds) == []


@pytest.mark.torture
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("point", ALL_POINTS)
def test_one_death_at_every_point(tmp_path: Path, point: str, after: bool, turn: int) -> None:
    assert die_at(tmp_path / "x", (point, after, turn)) == []


@pytest.mark.torture
@pytest.mark.parametrize("deaths", sampled(1, 60, 2) + sampled(2, 20, 4), ids=lambda deaths: str(len(deaths)))
def test_deaths_while_recovering(tmp_path: Path, deaths: tuple[tuple[str, bool, int], ...]) -> None:
    assert die_at(tmp_path / "x", *deaths) == []
