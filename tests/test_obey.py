"""Orders beside a manifest, or written down on the agent's own disk: none is lost, and none stops another."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import a_row, write_csv

from dropbox_agent import assembly, deliver, demonstration, founding, orders, rewriting, settings
from dropbox_agent.agent import Agent
from dropbox_agent.errors import InboxUnavailable, LedgerUnavailable, MoveRefused, OrderRefused
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Attempt, Observation, Order, Standing, TaskObservation
from dropbox_agent.states import AttemptState, Cause, TaskState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
WRONG = {"subject_id": "../../x"}


class Waits(RehearsalExecutor):
    """Takes what it is given, and lets it wait for a node."""

    def submit(self, attempt: Attempt, settings: Any) -> str:
        return f"waits:{attempt.key}"

    def observe(self, attempts: Any, now: datetime) -> list[Any]:
        return []


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    """Return what starts an agent, after the one before it died."""
    file = founding.initialise(tmp_path / "site", NOW)
    agents: list[Agent] = []

    def start() -> Agent:
        for before in agents:
            before.ledger.close()
        environ = {"DROPBOX_AGENT_EXECUTOR__KIND": "rehearsal"}
        agents.append(assembly.open_agent(settings.load(file, environ), environ, NOW))
        return agents[-1]

    yield start
    agents[-1].ledger.close()


@pytest.fixture
def agent(opened: Callable[[], Agent]) -> Agent:
    return opened()


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    return a_row(demonstration.make_session(tmp_path / "data"))


def run(agent: Agent, *seconds: float) -> None:
    for second in seconds:
        agent.tick(NOW + timedelta(seconds=second))


def put(agent: Agent, name: str, row: dict[str, str] | None = None) -> Path:
    path = agent.inboxes[0].path / name
    write_csv(path, [row]) if row else path.touch()
    return path


def latest(agent: Agent, name: str = "s.csv") -> Standing:
    standing = agent.ledger.latest(agent.inboxes[0].path, name)
    assert standing is not None
    return standing


def refused(agent: Agent, row: dict[str, str]) -> int:
    """Let a manifest be refused; return which version that is."""
    put(agent, "s.csv", row | WRONG)
    run(agent, 0, 2, 3)
    return latest(agent).drop_id


# --- none is lost ----------------------------------------------------------------------------------------------------


def test_an_order_to_read_a_refused_manifest_again_outlives_a_crash(
    opened: Callable[[], Agent], row: dict[str, str]
) -> None:
    agent = opened()
    before = refused(agent, row)
    order = put(agent, "s.csv.retry")
    run(agent, 20)
    assert not order.exists()
    again = opened()
    run(again, 40, 42, 43)
    assert latest(again).drop_id > before
    read = latest(again).drop_id
    run(again, 60, 62, 64)
    assert latest(again).drop_id == read


def test_an_order_that_cannot_be_read_now_waits_and_stops_no_other(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = refused(agent, row)
    put(agent, "s.csv.retry")
    read, broken = Path.read_bytes, agent.orders_folder / "0-not-readable.json"

    def fails(path: Path) -> bytes:
        if path == broken:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    agent.orders_folder.mkdir()
    broken.write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", fails)
    run(agent, 20, 22, 24)
    assert latest(agent).drop_id > before
    assert "could not be read: Input/output error" in (agent.troubles.said("reading orders") or "")
    monkeypatch.undo()
    run(agent, 26)
    assert [path.name for path in agent.orders_folder.iterdir()] == ["0-not-readable.wrong"]
    assert agent.troubles.said("reading orders") is None


def test_orders_that_cannot_be_listed_wait_and_it_is_said(two_run: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir, scandir = os.listdir, os.scandir

    def refuses(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def looks(path: Any = ".") -> Any:
            if Path(path) == two_run.orders_folder:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return look(path)

        return looks

    monkeypatch.setattr(os, "listdir", refuses(listdir))
    monkeypatch.setattr(os, "scandir", refuses(scandir))
    run(two_run, 20)
    assert "could not be listed: Permission denied" in (two_run.troubles.said("reading orders") or "")
    monkeypatch.undo()
    run(two_run, 22)
    assert states(two_run) == ["cancelled", "cancelled"]


def test_a_file_among_the_orders_that_is_none_is_set_aside_and_told(
    two_run: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = two_run.orders_folder / "0.json"
    wrong.write_text('{"act": "cancle"}')
    run(two_run, 20, 22)
    assert wrong.with_suffix(".wrong").exists()
    assert len([one for one in caplog.records if f"{wrong} is no order" in one.getMessage()]) == 1
    assert states(two_run) == ["cancelled", "cancelled"]


@pytest.mark.parametrize("where", ["the file", "its folder"])
def test_an_order_for_which_the_disk_is_full_is_refused_and_leaves_nothing_behind(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    agent.orders_folder.mkdir()
    fsync = os.fsync

    def full(descriptor: int) -> None:
        synced = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if agent.orders_folder == (synced if where == "its folder" else synced.parent):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OrderRefused, match="could not be written into"):
        orders.give(agent.orders_folder, Order(act="cancel", job_id="a job", asked=NOW, by="dropbox-agent cancel"))
    assert list(agent.orders_folder.iterdir()) == []


@pytest.fixture
def two_run(agent: Agent, row: dict[str, str]) -> Agent:
    """Return an agent with two manifests that run, and orders to cancel both, the first one first."""
    agent.executor = Waits()
    for number, name in enumerate(("a.csv", "b.csv")):
        put(agent, name, {**row, "subject_id": str(number)})
    run(agent, 0, 2, 3)
    for number, name in enumerate(("a.csv", "b.csv")):
        asked = NOW + timedelta(seconds=number)
        (job,) = latest(agent, name).jobs
        orders.give(agent.orders_folder, Order(act="cancel", job_id=job.job_id, asked=asked, by="dropbox-agent cancel"))
    return agent


def first_order(agent: Agent) -> Path:
    return min(agent.orders_folder.iterdir())


def states(agent: Agent) -> list[str]:
    return [latest(agent, name).jobs[0].state.value for name in ("a.csv", "b.csv")]


def test_an_order_that_was_carried_out_and_cannot_be_removed_stops_no_other(
    two_run: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, unlink = first_order(two_run), Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path == stays:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    run(two_run, 20, 22)
    assert states(two_run) == ["cancelled", "cancelled"]
    said = f"The order {stays} was carried out, and could not be removed: Permission denied."
    assert two_run.troubles.said(f"order {stays.name}") == said
    monkeypatch.undo()
    run(two_run, 24)
    assert (list(two_run.orders_folder.iterdir()), two_run.troubles.said(f"order {stays.name}")) == ([], None)


def test_an_order_whose_carrying_out_goes_wrong_stops_no_other_and_is_tried_again(
    two_run: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, (bad,) = Ledger.cancel, latest(two_run, "a.csv").jobs

    def refuses(ledger: Ledger, job_id: str, why: str, now: datetime) -> None:
        if job_id == bad.job_id:
            raise MoveRefused("The ledger refused a move.")
        cancel(ledger, job_id, why, now)

    monkeypatch.setattr(Ledger, "cancel", refuses)
    run(two_run, 20, 22)
    assert states(two_run) == ["running", "cancelled"]
    assert two_run.troubles.said(f"order {first_order(two_run).name}") == "The ledger refused a move."
    monkeypatch.undo()
    run(two_run, 24)
    assert states(two_run) == ["cancelled", "cancelled"]


def test_an_order_in_a_file_whose_name_is_not_utf8_is_carried_out_and_stops_no_other(two_run: Agent) -> None:
    os.rename(first_order(two_run), os.fsencode(two_run.orders_folder) + b"/0\xff.json")
    run(two_run, 20)
    assert states(two_run) == ["cancelled", "cancelled"]
    assert list(two_run.orders_folder.iterdir()) == []


def test_what_a_command_that_was_killed_began_to_write_is_removed_at_the_next_start(
    opened: Callable[[], Agent],
) -> None:
    folder = opened().orders_folder
    folder.mkdir()
    for name, age in (("killed.tmp", 61), ("being written.tmp", 1)):
        (folder / name).touch()
        os.utime(folder / name, (NOW.timestamp() - age,) * 2)
    opened()
    assert [path.name for path in folder.iterdir()] == ["being written.tmp"]


# --- none is carried out twice ---------------------------------------------------------------------------------------


class Crash(BaseException):
    """The agent dies where this is raised."""


@pytest.fixture
def cancelled(opened: Callable[[], Agent], row: dict[str, str]) -> Agent:
    """Return an agent with a job that runs, and the order to cancel it beside its manifest."""
    agent = opened()
    agent.executor = Waits()
    put(agent, "s.csv", row)
    run(agent, 0, 2, 3)
    put(agent, "s.csv.cancel")
    return agent


def require_cancelled_once(agent: Agent, *seconds: float) -> None:
    run(agent, *seconds)
    assert latest(agent).note == "Cancelled by s.csv.cancel."
    assert agent.ledger.asked(agent.inboxes[0].path) == []
    assert not (agent.inboxes[0].path / "s.csv.cancel").exists()


@pytest.mark.parametrize(
    ("where", "act"),
    [
        (Ledger, "ask"),
        (Inbox, "obeyed"),
        (Ledger, "cancel"),
        (Ledger, "note"),
        (rewriting, "still"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_an_order_is_carried_out_once_wherever_the_agent_dies(
    opened: Callable[[], Agent],
    cancelled: Agent,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    act: str,
    is_done: bool,
) -> None:
    done = getattr(where, act)

    def dies(*given: Any) -> Any:
        if is_done:
            done(*given)
        raise Crash

    monkeypatch.setattr(where, act, dies)
    with pytest.raises(Crash):
        run(cancelled, 20)
    monkeypatch.undo()
    again = opened()
    again.executor = Waits()
    require_cancelled_once(again, 40, 42)


def test_an_order_whose_file_comes_back_with_a_power_failure_is_not_carried_out_once_more(
    opened: Callable[[], Agent], agent: Agent, row: dict[str, str]
) -> None:
    agent.executor = Waits()
    put(agent, "s.csv", row)
    run(agent, 0, 2, 3)
    (job,) = latest(agent).jobs
    order = Order(act="cancel", job_id=job.job_id, asked=NOW, by="dropbox-agent cancel")
    path = orders.give(agent.orders_folder, order)
    run(agent, 20, 60, 62)
    assert [job.state.value for job in agent.ledger.jobs()] == ["cancelled"]
    path.write_text(order.model_dump_json())
    again = opened()
    run(again, 80)
    assert (latest(again).note, path.exists()) == ("Cancelled by dropbox-agent cancel.", False)


def test_an_order_to_read_a_manifest_again_that_could_not_be_recorded_lets_it_be_read_once(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = refused(agent, row)
    put(agent, "s.csv.retry")
    done_with = Ledger.done_with

    @contextmanager
    def at_its_end_the_disk_is_full(ledger: Ledger, asked: Order) -> Iterator[None]:
        with done_with(ledger, asked):
            yield
            raise LedgerUnavailable("The ledger could not be written.")

    monkeypatch.setattr(Ledger, "done_with", at_its_end_the_disk_is_full)
    with pytest.raises(LedgerUnavailable):
        run(agent, 20)
    monkeypatch.undo()
    run(agent, 22, 24, 26, 40, 42)
    assert latest(agent).drop_id == before + 1


def test_an_order_whose_file_the_share_removes_after_we_stopped_waiting_is_carried_out(
    cancelled: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox,) = cancelled.inboxes
    obeyed = inbox.obeyed

    def hangs(name: str, ledger_id: str) -> bool:
        obeyed(name, ledger_id)
        raise InboxUnavailable("The share does not answer.")

    monkeypatch.setattr(inbox, "obeyed", hangs)
    run(cancelled, 20)
    assert latest(cancelled).note is None
    assert cancelled.troubles.said(f"order {inbox.path / 's.csv.cancel'}") == "The share does not answer."
    monkeypatch.undo()
    require_cancelled_once(cancelled, 40)
    assert cancelled.troubles.said(f"order {inbox.path / 's.csv.cancel'}") is None


def test_an_order_that_is_gone_although_the_share_still_has_its_facts_is_carried_out(
    cancelled: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, unlink, lstat = cancelled.inboxes[0].path / "s.csv.cancel", Path.unlink, os.lstat
    file.write_bytes(b"\xef\xbb\xbf\r\n")
    facts = lstat(file)

    def loses_the_reply(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path == file:
            raise OSError(errno.EIO, "Input/output error", str(path))

    def old(path: Any, **how: Any) -> os.stat_result:
        return facts if Path(path) == file else lstat(path, **how)

    monkeypatch.setattr(Path, "unlink", loses_the_reply)
    run(cancelled, 20)
    assert not file.exists()
    monkeypatch.undo()
    monkeypatch.setattr(os, "lstat", old)
    run(cancelled, 22)
    monkeypatch.undo()
    require_cancelled_once(cancelled, 40)


def test_an_order_whose_file_cannot_be_removed_is_carried_out_once_it_is_gone(
    cancelled: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, unlink = cancelled.inboxes[0].path / "s.csv.cancel", Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    run(cancelled, 20, 40, 60)
    assert (latest(cancelled).note, file.exists()) == (None, True)
    said = f"{file} could not be removed: Permission denied. It is obeyed when it is gone."
    assert cancelled.trouble() == [said]
    monkeypatch.undo()
    file.unlink()
    require_cancelled_once(cancelled, 80)


def test_an_order_whose_share_has_gone_away_is_carried_out_when_it_is_back(
    cancelled: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox,) = cancelled.inboxes
    away = inbox.path.with_name("away")

    def goes_away(path: Path) -> bool:
        inbox.path.rename(away)
        inbox.path.mkdir()
        return not path.lstat().st_size

    monkeypatch.setattr("dropbox_agent.inbox.watch.says_nothing", goes_away)
    run(cancelled, 20)
    assert latest(cancelled).note is None
    monkeypatch.undo()
    run(cancelled, 40)
    assert latest(cancelled).note is None
    inbox.path.rmdir()
    away.rename(inbox.path)
    require_cancelled_once(cancelled, 60)


# --- several inboxes -------------------------------------------------------------------------------------------------


@pytest.fixture
def of_two(opened: Callable[[], Agent], tmp_path: Path, row: dict[str, str]) -> Agent:
    """Return an agent of two inboxes, with a job that runs and an order to cancel it in each."""
    file = tmp_path / "site" / "agent.yaml"
    folders = [tmp_path / "a", tmp_path / "b"]
    stored = yaml.safe_load(file.read_text()) | {"inboxes": [{"path": str(folder)} for folder in folders]}
    file.write_text(yaml.safe_dump(stored))
    for number, folder in enumerate(folders):
        folder.mkdir()
        founding.adopt(settings.load(file, {}), folder, "process", NOW)
        write_csv(folder / "s.csv", [{**row, "subject_id": str(number)}])
    agent = opened()
    agent.executor = Waits()
    run(agent, 0, 2, 3)
    for folder in folders:
        (folder / "s.csv.cancel").touch()
    return agent


def of_each(agent: Agent) -> list[str]:
    """Return the state of the job in each inbox."""
    standings = [agent.ledger.latest(inbox.path, "s.csv") for inbox in agent.inboxes]
    return [standing.jobs[0].state.value for standing in standings if standing is not None]


def test_orders_of_one_name_in_two_inboxes_are_told_of_apart(
    of_two: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlink = Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path.name == "s.csv.cancel":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    run(of_two, 20, 22, 24)
    assert len([one for one in caplog.records if "could not be removed" in one.getMessage()]) == 2


def test_an_order_is_not_taken_for_gone_when_another_share_is_in_the_place_of_its_own(
    of_two: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (inbox.path for inbox in of_two.inboxes)

    def hangs(inbox: Inbox, name: str, ledger_id: str) -> bool:
        raise InboxUnavailable("The share does not answer.")

    (second / "s.csv.cancel").unlink()
    monkeypatch.setattr(Inbox, "obeyed", hangs)
    run(of_two, 20)
    monkeypatch.undo()
    swap(first, second)
    run(of_two, 40)
    assert of_each(of_two) == ["running", "running"]
    swap(first, second)
    run(of_two, 60)
    assert of_each(of_two) == ["cancelled", "running"]


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_an_order_of_an_inbox_whose_path_changes_is_carried_out_once(
    opened: Callable[[], Agent], of_two: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (inbox.path for inbox in of_two.inboxes)
    obeyed = Inbox.obeyed

    def hangs(inbox: Inbox, name: str, ledger_id: str) -> bool:
        obeyed(inbox, name, ledger_id)
        raise InboxUnavailable("The share does not answer.")

    monkeypatch.setattr(Inbox, "obeyed", hangs)
    run(of_two, 20)
    monkeypatch.undo()
    moved, file = first.with_name("moved"), tmp_path / "site" / "agent.yaml"
    first.rename(moved)
    file.write_text(file.read_text().replace(str(first), str(moved)))
    again = opened()
    again.executor = Waits()
    run(again, 40)
    assert of_each(again) == ["cancelled", "cancelled"]
    assert [again.ledger.asked(path) for path in (first, moved, second)] == [[], [], []]


def test_of_many_orders_some_are_carried_out_at_each_look_and_none_that_fails_stands_in_front(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropbox_agent.agent.ORDERS_PER_TICK", 2)
    (inbox,) = agent.inboxes
    run(agent, 0, 2)
    names = [f"{number}.csv.retry" for number in range(5)]
    for name in names:
        put(agent, name)
    obeyed = inbox.obeyed

    def fails(name: str, ledger_id: str) -> bool:
        if name in names[:2]:
            raise InboxUnavailable("It could not be removed.")
        return obeyed(name, ledger_id)

    monkeypatch.setattr(inbox, "obeyed", fails)
    seen = []
    for second in (20, 22, 24):
        run(agent, second)
        seen.append(([order.by for order in agent.ledger.asked(inbox.path)], agent.is_idle()))
    assert seen == [(names, False), ([*names[:2], names[4]], False), (names[:2], True)]


# --- what an order means ---------------------------------------------------------------------------------------------


def test_an_order_that_is_withdrawn_before_its_manifest_has_settled_is_not_carried_out(
    agent: Agent, row: dict[str, str]
) -> None:
    agent.executor = Waits()
    put(agent, "s.csv", row)
    order = put(agent, "s.csv.cancel")
    run(agent, 0)
    order.unlink()
    run(agent, 2, 3, 4, 20)
    assert [job.state.value for job in agent.ledger.jobs()] == ["running"]


def test_of_orders_that_are_seen_at_once_the_one_to_cancel_is_carried_out_first(cancelled: Agent) -> None:
    put(cancelled, "s.csv.retry")
    run(cancelled, 20)
    (job,) = latest(cancelled).jobs
    refused = (
        f"s.csv.retry was not carried out: Job {job.job_id} is running; only what failed or was cancelled is run again."
    )
    assert latest(cancelled).note == refused


def test_a_manifest_that_is_cancelled_before_it_has_settled_never_runs(agent: Agent, row: dict[str, str]) -> None:
    put(agent, "s.csv", row)
    order = put(agent, "s.csv.cancel")
    run(agent, 0)
    assert order.exists()
    run(agent, 2, 3, 4)
    assert latest(agent).state.value == "cancelled"
    assert not order.exists()


def test_what_runs_is_cancelled_also_when_a_newer_version_was_refused(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = Waits()
    put(agent, "s.csv", row)
    run(agent, 0, 2, 3)
    put(agent, "s.csv", row | WRONG)
    run(agent, 20, 22, 23)
    assert latest(agent).state.value == "refused"
    put(agent, "s.csv.cancel")
    run(agent, 40)
    assert [job.state.value for job in agent.ledger.jobs()] == ["cancelled"]
    assert latest(agent).note == "Cancelled by s.csv.cancel."


def test_an_order_to_cancel_what_does_not_run_is_answered(agent: Agent, row: dict[str, str]) -> None:
    refused(agent, row)
    put(agent, "s.csv.cancel")
    run(agent, 20)
    status = (agent.inboxes[0].path / "s.csv.status.json").read_text()
    assert "s.csv.cancel was not carried out: nothing of this manifest runs." in status


def test_an_order_for_what_nobody_knows_is_logged(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    put(agent, "other.csv.cancel")
    orders.give(agent.orders_folder, Order(act="retry", job_id="a job", asked=NOW, by="dropbox-agent retry"))
    run(agent, 0, 2)
    assert [one.getMessage() for one in caplog.records if "nothing was done" in one.getMessage()] == [
        "other.csv.cancel: nothing is known of other.csv, so nothing was done.",
        "dropbox-agent retry: nothing is known of a job, so nothing was done.",
    ]


def test_an_order_to_run_again_reaches_what_failed_and_what_waits_to_be_run_again(
    agent: Agent, row: dict[str, str]
) -> None:
    agent.executor = Waits()
    rows = [{**row, "subject_id": subject} for subject in ("one", "two", "three")]
    write_csv(agent.inboxes[0].path / "s.csv", rows)
    run(agent, 0, 2, 3)
    causes = (None, Cause.SERVICE_AWAY)
    for attempt, cause in zip(agent.ledger.live_attempts(), causes, strict=False):
        failed = TaskObservation(attempt.tasks[0].key, TaskState.FAILED, message="It failed.")
        agent.ledger.observed([Observation(attempt, True, AttemptState.ENDED, (failed,), cause=cause)], NOW)
    assert len(agent.ledger.live_attempts()) == 1
    put(agent, "s.csv.retry")
    run(agent, 20, 22)
    assert len(agent.ledger.live_attempts()) == 3
    assert latest(agent).note == "Run again by s.csv.retry; what had succeeded is kept."


def test_an_order_for_a_manifest_whose_name_is_too_long_to_add_to_is_carried_out(
    agent: Agent, row: dict[str, str]
) -> None:
    name = "x" * 248 + ".csv"
    put(agent, name, row | WRONG)
    run(agent, 0, 2, 3)
    before = latest(agent, name).drop_id
    order = put(agent, deliver.Names(name).retry)
    run(agent, 20, 22, 24)
    assert latest(agent, name).drop_id > before
    assert not order.exists()


@pytest.mark.parametrize(
    "blank", [b"\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n", "\ufeff\r\n".encode("utf-16-le"), b" " * 1024]
)
def test_what_editors_leave_in_an_empty_file_is_an_order_all_the_same(
    agent: Agent, row: dict[str, str], blank: bytes
) -> None:
    before = refused(agent, row)
    order = put(agent, "s.csv.retry")
    order.write_bytes(blank)
    run(agent, 20, 22, 24)
    assert latest(agent).drop_id > before
    assert not order.exists()


@pytest.mark.parametrize("name", ["s.csv", "x" * 248 + ".csv"], ids=["short", "long"])
@pytest.mark.parametrize("content", [b"try the second probe\n", bytes(100), b" " * 1025], ids=["words", "NULs", "much"])
def test_a_file_named_like_an_order_that_says_something_is_left_and_told_until_it_is_empty(
    agent: Agent, row: dict[str, str], name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(agent, name, row | WRONG)
    run(agent, 0, 2, 3)
    before = latest(agent, name).drop_id
    order = put(agent, deliver.Names(name).retry)
    order.write_bytes(content)
    run(agent, 20, 22, 40)
    status = order.with_name(deliver.Names(order.name).status_json)
    assert order.read_bytes() == content
    assert latest(agent, name).drop_id == before
    assert "then put an empty file of this name here." in status.read_text()
    assert len([one for one in caplog.records if "It is not empty, so it orders nothing" in one.getMessage()]) == 1
    order.write_bytes(b"")
    run(agent, 60, 62, 64)
    assert latest(agent, name).drop_id > before
    assert [path.exists() for path in (order, status)] == [False, False]


def test_a_file_named_like_an_order_that_is_written_while_it_is_obeyed_is_left(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = refused(agent, row)
    order, ask = put(agent, "s.csv.retry"), Ledger.ask

    def while_it_is_written(ledger: Ledger, asked: Iterable[Order]) -> None:
        order.write_text("try the second probe")
        ask(ledger, asked)

    monkeypatch.setattr(Ledger, "ask", while_it_is_written)
    run(agent, 20, 22, 40)
    assert order.read_text() == "try the second probe"
    assert agent.ledger.asked(agent.inboxes[0].path) == []
    assert latest(agent).drop_id == before
