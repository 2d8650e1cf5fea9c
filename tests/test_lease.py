"""Of several agents with one ledger (a copied state_dir) one works in an inbox; the others wait, and take over."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, settings
from dropbox_agent.agent import Agent
from dropbox_agent.inbox.lease import LEASE, Lease, Owner
from dropbox_agent.states import DropState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@dataclass
class Clock:
    """A clock that goes forward when it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease_of(tmp_path: Path, clock: Clock) -> Callable[..., Lease]:
    """Return what makes the lease of an agent on a host, with a ledger file of its own."""
    (tmp_path / LEASE).parent.mkdir()

    def made(host: str, **changes: Any) -> Lease:
        owner = Owner(f"token of {host}", host, f"boot of {host}", 7, f"ledger of {host}", "one ledger")
        return Lease(tmp_path, replace(owner, **changes), clock=clock)

    return made


def held_by(folder: Path) -> str:
    return str(json.loads((folder / LEASE).read_text())["host"])


def test_one_holds_the_lease_and_the_other_is_told_who(
    lease_of: Callable[..., Lease], clock: Clock, tmp_path: Path
) -> None:
    a, b = lease_of("a"), lease_of("b")
    for clock.now in range(0, 600, 10):
        assert a.hold() is None
        assert (b.hold() or "").startswith(f"Another agent on a (process 7) works in the inbox {tmp_path}.")
    assert held_by(tmp_path) == "a"


def test_a_lease_that_stands_still_is_taken_over_by_the_clock_of_the_one_who_waits(
    lease_of: Callable[..., Lease], clock: Clock, tmp_path: Path
) -> None:
    a, b = lease_of("a"), lease_of("b")
    assert a.hold() is None
    for clock.now in range(1000, 1060, 10):
        assert b.hold() is not None
    os.utime(tmp_path / LEASE, (0, 0))  # what the file's own time says, says nothing
    clock.now = 1060
    assert b.hold() is None
    assert held_by(tmp_path) == "b"
    clock.now = 1070
    assert (a.hold() or "").startswith("Another agent on b")
    assert [path.name for path in (tmp_path / LEASE).parent.iterdir()] == ["lease.json"]


def test_whether_another_one_works_is_known_once_its_lease_has_moved(
    lease_of: Callable[..., Lease], clock: Clock
) -> None:
    a, b = lease_of("a"), lease_of("b")
    assert not b.may_be_over
    for clock.now in (0, 10):
        assert (a.hold(), b.hold() is None) == (None, False)
        assert b.may_be_over is (clock.now == 0)
    for clock.now in range(20, 90, 10):
        b.hold()
    assert (b.hold(), b.may_be_over) == (None, False)


def test_an_inbox_that_is_seldom_listed_is_waited_for_longer(lease_of: Callable[..., Lease], clock: Clock) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.scan_seconds = 100
    assert a.hold() is None
    assert b.hold() is not None
    clock.now = 299
    assert b.hold() is not None
    clock.now = 300
    assert b.hold() is None


def test_a_lease_that_was_given_back_is_free_at_once(lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    assert a.hold() is None
    a.release()
    assert b.hold() is None
    a.release()
    assert lease_of("c").hold() is not None


@pytest.mark.parametrize(
    "after",
    [
        {"token": "after a crash"},
        {"token": "of another ledger", "host": "b", "ledger_id": "another ledger"},
    ],
    ids=["the same ledger file under the same kernel", "the marker names another ledger now"],
)
def test_a_lease_whose_holder_is_known_to_be_gone_is_not_waited_for(
    lease_of: Callable[..., Lease], after: dict[str, str]
) -> None:
    assert lease_of("a").hold() is None
    assert lease_of(**{"host": "a", **after}).hold() is None


@pytest.mark.parametrize("what", [{"boot": "the next boot"}, {"ledger": "a copy"}], ids=["a reboot", "a copied ledger"])
def test_a_lease_of_which_that_is_not_known_is_waited_for(lease_of: Callable[..., Lease], what: dict[str, str]) -> None:
    assert lease_of("a").hold() is None
    assert lease_of("a", token="another", **what).hold() is not None


def test_of_many_that_take_over_at_once_one_holds_it_in_the_end(
    lease_of: Callable[..., Lease], clock: Clock, tmp_path: Path
) -> None:
    for turn in range(30):
        (tmp_path / LEASE).unlink(missing_ok=True)
        assert lease_of("dead").hold() is None
        waiting = [lease_of(f"{turn}-{number}") for number in range(8)]
        for lease in waiting:
            assert lease.hold() is not None
        clock.now += 60
        start = threading.Barrier(len(waiting))

        def take_over(lease: Lease, start: threading.Barrier = start) -> None:
            start.wait(60)
            lease.hold()

        threads = [threading.Thread(target=take_over, args=(lease,)) for lease in waiting]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for _ in range(3):
            clock.now += 6
            holders = [lease for lease in waiting if lease.hold() is None]
        assert [lease.owner.host for lease in holders] == [held_by(tmp_path)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 4000])
def test_a_lease_whose_writer_came_no_further_is_used(
    lease_of: Callable[..., Lease], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / LEASE).write_bytes(content)
    assert lease_of("a").hold() is None
    assert lease_of("b").hold() is not None


def test_where_no_lease_can_be_kept_the_agent_works_without(
    lease_of: Callable[..., Lease], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for plant in (lambda at: os.mkfifo(at), lambda at: at.mkdir(), lambda at: at.symlink_to(tmp_path / "victim")):
        plant(tmp_path / LEASE)
        assert lease_of("a").hold() is None
        (tmp_path / LEASE).rmdir() if (tmp_path / LEASE).is_dir() else (tmp_path / LEASE).unlink()
    assert not (tmp_path / "victim").exists()

    def read_only(*words: object, **named: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    assert lease_of("a").hold() is None


# --- agents ----------------------------------------------------------------------------------------------------------


def two_agents(folder: Path) -> tuple[Agent, Agent]:
    """Return two agents on one inbox, the second with a copy of the first's state_dir, and the row of a manifest."""
    file = founding.initialise(folder / "site", NOW)
    stored = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}, "share_seconds": None}
    file.write_text(yaml.safe_dump(stored))
    shutil.copytree(stored["state_dir"], folder / "copied state")
    other = file.with_name("other.yaml")
    other.write_text(yaml.safe_dump(stored | {"state_dir": str(folder / "copied state")}))
    first, second = (assembly.open_agent(settings.load(one, {}), os.environ, NOW) for one in (file, other))
    return first, second


def test_a_second_agent_with_a_copied_ledger_leaves_the_inbox_alone_until_the_first_is_silent(tmp_path: Path) -> None:
    first, second = two_agents(tmp_path)
    inbox, clock = first.inboxes[0].path, Clock()
    for agent in (first, second):
        lease = agent.inboxes[0].lease
        assert lease is not None
        lease.clock = clock
    row = a_row(demonstration.make_session(tmp_path / "data"), **QUICK)
    write_csv(inbox / "s.csv", [row])
    for second_of in (0, 12, 24, 36, 48, 60, 72):
        clock.now = second_of
        for agent in (first, second):
            agent.tick(NOW + timedelta(seconds=second_of))
    assert [standing.state for standing in first.ledger.drops()] == [DropState.SUCCEEDED]
    assert second.ledger.drops() == []
    (trouble,) = second.trouble()
    assert trouble.startswith("Another agent")
    beside = sorted((path.name, path.stat().st_mtime_ns) for path in inbox.glob("s.csv*"))
    first.ledger.close()
    for second_of in (84, 96, 108, 120, 132, 134, 136, 138, 140, 142):
        clock.now = second_of
        second.tick(NOW + timedelta(seconds=second_of))
    assert second.trouble() == []
    assert [standing.state for standing in second.ledger.drops()] == [DropState.SUCCEEDED]
    assert [name for name, _ in beside] == sorted(path.name for path in inbox.glob("s.csv*"))
    second.ledger.close()


def test_an_agent_that_runs_until_it_is_idle_waits_whether_the_lease_that_is_there_is_over(tmp_path: Path) -> None:
    first, second = two_agents(tmp_path)
    first.tick(NOW)
    first.ledger.close()
    lease, clock = second.inboxes[0].lease, Clock()
    assert lease is not None
    lease.clock = clock

    def goes_on() -> None:
        clock.now += 50

    second.run(until_idle=True, each_tick=goes_on)
    assert (second.trouble(), clock.now >= 60) == ([], True)
    second.ledger.close()


def test_what_waited_for_a_lease_is_written_as_soon_as_that_is_over(tmp_path: Path) -> None:
    first, second = two_agents(tmp_path)
    inbox, clock = first.inboxes[0].path, Clock()
    for agent in (first, second):
        assert agent.inboxes[0].lease is not None
        agent.inboxes[0].lease.clock = clock
    write_csv(inbox / "s.csv", [a_row(demonstration.make_session(tmp_path / "data"), **QUICK)])
    for second_of in (0, 2, 4, 6, 8):
        first.tick(NOW + timedelta(seconds=second_of))
    (inbox / LEASE).unlink()
    second.tick(NOW)
    first.ledger.tell_again(first.ledger.drops()[0].drop_id, NOW + timedelta(seconds=10))
    for second_of in (10, 20, 30, 50, 70, 90):
        clock.now = second_of
        first.tick(NOW + timedelta(seconds=second_of))
    assert (first.trouble(), first.is_idle()) == ([], True)
    for agent in (first, second):
        agent.ledger.close()


def test_an_agent_that_ends_lets_the_next_one_begin_at_once(tmp_path: Path) -> None:
    first, second = two_agents(tmp_path)
    first.run(until_idle=True)
    assert not (first.inboxes[0].path / LEASE).exists()
    second.tick(NOW)
    assert second.trouble() == []
    for agent in (first, second):
        agent.ledger.close()
