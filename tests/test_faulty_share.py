"""An agent whose inbox lies on a share that hangs, fails, lies and lags: nothing is lost, and what can goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_share import Share, faulty_share
from workspace import a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, settings
from dropbox_agent.agent import Agent
from dropbox_agent.errors import InboxUnavailable
from dropbox_agent.inbox import MARKER
from dropbox_agent.states import DropState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
PATIENCE_SECONDS = 2.0
"""How long a share that hangs is waited for; one that only fails is waited for until it answers."""


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    with faulty_share(tmp_path) as mounted:
        yield mounted


def site_with(folder: Path, **changes: Any) -> settings.Settings:
    """Return the settings of a new site in a folder, changed."""
    file = founding.initialise(folder, NOW)
    stored = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**stored, "executor": {"kind": "rehearsal"}, **changes}))
    return settings.load(file, {})


def agent_on(share: Share, tmp_path: Path, patience: float | None) -> Agent:
    """Return an agent with two inboxes: the first on the share, the second on a disk."""
    own = tmp_path / "own"
    own.mkdir()
    inboxes = [{"path": str(share.path)}, {"path": str(own)}]
    chosen = site_with(tmp_path / "site", inboxes=inboxes, share_seconds=patience)
    for inbox in chosen.inboxes:
        founding.adopt(chosen, inbox.path, "process", NOW)
    return assembly.open_agent(chosen, os.environ, NOW)


@pytest.fixture
def agent(share: Share, tmp_path: Path) -> Iterator[Agent]:
    opened = agent_on(share, tmp_path, None)
    yield opened
    opened.ledger.close()


@pytest.fixture
def patient(share: Share, tmp_path: Path) -> Iterator[Agent]:
    """An agent that leaves behind what hangs."""
    opened = agent_on(share, tmp_path, PATIENCE_SECONDS)
    yield opened
    opened.ledger.close()


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    return a_row(demonstration.make_session(tmp_path / "data"))


def drop(folder: Path, name: str, row: Mapping[str, str]) -> None:
    """Drop a manifest of a session of its own."""
    write_csv(folder / name, [{**row, "subject_id": f"subject-{folder.name}-{name.partition('.')[0]}"}])


def run(agent: Agent, *seconds: float) -> None:
    for second in seconds:
        agent.tick(later(second))


def run_until(agent: Agent, seconds: float, *names: str) -> None:
    """Let the agent look, again and again, until so many manifests are over; on a busy machine that may take long."""
    until = time.monotonic() + 90
    while any(states(agent).get(name) is not DropState.SUCCEEDED for name in names):
        assert time.monotonic() < until, (states(agent), agent.notes())
        run(agent, seconds)
        seconds += 1
        time.sleep(0.01)


def states(agent: Agent) -> dict[str, DropState]:
    return {standing.name: standing.state for standing in agent.ledger.drops()}


def test_a_share_that_hangs_stops_nothing_else_and_is_caught_up_with(
    patient: Agent, share: Share, row: dict[str, str]
) -> None:
    run(patient, 0)
    drop(share.below, "a.csv", row)
    drop(patient.inboxes[1].path, "b.csv", row)
    share.set(delay=600)
    run_until(patient, 20, "b.csv")
    assert states(patient) == {"b.csv": DropState.SUCCEEDED}
    assert (patient.inboxes[1].path / "b.csv.status.html").exists()
    (trouble,) = patient.trouble()
    assert trouble.startswith(f"{share.path} does not answer")
    share.unmount()
    share.mount()
    run_until(patient, 2000, "a.csv", "b.csv")
    assert states(patient) == {"a.csv": DropState.SUCCEEDED, "b.csv": DropState.SUCCEEDED}
    assert patient.trouble() == []


def test_a_source_on_a_share_that_hangs_makes_its_manifest_wait_and_no_other(
    share: Share, row: dict[str, str], tmp_path: Path
) -> None:
    chosen = site_with(tmp_path / "site", share_seconds=PATIENCE_SECONDS)
    agent = assembly.open_agent(chosen, os.environ, NOW)
    run(agent, 0)
    (share.path / "data").mkdir()
    away = {name: (str(share.path / "data") if "input_source" in name else value) for name, value in row.items()}
    drop(agent.inboxes[0].path, "a.csv", away)
    drop(agent.inboxes[0].path, "b.csv", row)
    share.set(delay=600)
    run_until(agent, 20, "b.csv")
    assert states(agent) == {"b.csv": DropState.SUCCEEDED}
    (waiting,) = agent.inboxes[0].waiting()
    assert (waiting.name, waiting.reason.partition(" does not answer")[0]) == ("a.csv", str(share.path))
    agent.ledger.close()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("getattr", "ESTALE"),
        ("open", "EACCES"),
        ("read", "EIO"),
        *(
            pytest.param(call, error, marks=pytest.mark.torture)
            for call in ("getattr", "open", "read")
            for error in ("EIO", "ESTALE", "EACCES", "EBUSY")
        ),
    ],
)
def test_one_file_that_cannot_be_read_waits_and_keeps_no_other_from_being_taken(
    agent: Agent, share: Share, row: dict[str, str], call: str, error: str
) -> None:
    run(agent, 0)
    drop(share.below, "a.csv", row)
    drop(share.below, "b.csv", row)
    share.set(errors=[{"path": "/a.csv$", "call": [call], "errno": error}])
    run(agent, 20, 23, 24, 25, 26)
    assert states(agent) == {"b.csv": DropState.SUCCEEDED}
    share.set()
    run(agent, 60, 63, 64, 65, 66)
    assert states(agent) == {"a.csv": DropState.SUCCEEDED, "b.csv": DropState.SUCCEEDED}


def test_an_order_that_cannot_be_looked_at_keeps_no_manifest_from_being_taken(
    agent: Agent, share: Share, row: dict[str, str]
) -> None:
    run(agent, 0)
    (share.below / "b.csv.cancel").touch()
    drop(share.below, "a.csv", row)
    share.set(errors=[{"path": "/b.csv.cancel$", "call": ["getattr"], "errno": "EIO"}])
    run(agent, 20, 23, 24, 25, 26)
    assert states(agent) == {"a.csv": DropState.SUCCEEDED}
    assert agent.trouble() == []


def test_a_file_that_cannot_be_read_is_not_adopted_to_be_run_later(
    agent: Agent, share: Share, row: dict[str, str], tmp_path: Path
) -> None:
    agent.ledger.close()
    chosen = settings.load(tmp_path / "site" / "agent.yaml", {})
    drop(share.below, "old.csv", row)
    share.set(errors=[{"path": "/old.csv$", "call": ["read"], "errno": "EIO"}])
    with pytest.raises(InboxUnavailable, match=r"old.csv cannot be read .Input/output error.*Nothing was adopted"):
        founding.adopt(chosen, share.path, "seen", NOW)
    share.set()
    assert founding.adopt(chosen, share.path, "seen", NOW) == 1


def test_a_file_whose_facts_cannot_be_read_is_told_of(agent: Agent, share: Share, row: dict[str, str]) -> None:
    run(agent, 0)
    drop(share.below, "a.csv", row)
    share.set(errors=[{"path": "/a.csv$", "call": ["getattr"], "errno": "EIO"}])
    run(agent, 20)
    assert not agent.is_idle()
    run(agent, 40, 90)
    assert agent.is_idle()
    told = json.loads((share.below / "a.csv.status.json").read_text())
    assert (told["state"], "Input/output error" in told["summary"]) == ("settling", True)
    share.set()
    run(agent, 110, 113, 114, 115, 116)
    assert states(agent) == {"a.csv": DropState.SUCCEEDED}
    assert agent.notes() == []


@pytest.mark.parametrize(
    "error", ["ESTALE", *(pytest.param(error, marks=pytest.mark.torture) for error in ("EIO", "EACCES", "ENOTCONN"))]
)
def test_a_folder_that_cannot_be_listed_is_unavailable_and_nothing_is_concluded(
    agent: Agent, share: Share, row: dict[str, str], error: str
) -> None:
    run(agent, 0)
    drop(share.below, "a.csv", row)
    run(agent, 20, 23, 24, 25, 26)
    share.set(errors=[{"path": "^/$", "call": ["readdir"], "errno": error}])
    run(agent, 40, 60, 80)
    (trouble,) = agent.trouble()
    assert "could not be listed" in trouble
    share.set()
    run(agent, 100, 103)
    assert states(agent) == {"a.csv": DropState.SUCCEEDED}
    assert [standing.drop_id for standing in agent.ledger.drops()] == [1]
    assert agent.trouble() == []


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.torture) for seed in range(3, 40))])
def test_errors_at_random_lose_nothing_and_repeat_nothing(
    agent: Agent, share: Share, row: dict[str, str], seed: int
) -> None:
    run(agent, 0)
    before = set(os.listdir(share.below))
    for number in range(6):
        drop(share.below, f"m{number}.csv", row)
    calls = ["getattr", "readdir", "open", "read", "create", "write", "fsync", "rename", "unlink"]
    share.set(errors=[{"call": calls, "errno": "EIO", "odds": 0.1}], seed=seed)
    run(agent, *range(20, 60))
    share.set()
    run(agent, *range(400, 430), 500, 501)
    assert states(agent) == {f"m{number}.csv": DropState.SUCCEEDED for number in range(6)}
    assert sorted(standing.drop_id for standing in agent.ledger.drops()) == [1, 2, 3, 4, 5, 6]
    beside = ("", ".status.json", ".status.html", ".01-begin.eml", ".02-end.eml")
    assert set(os.listdir(share.below)) == before | {f"m{n}.csv{ending}" for n in range(6) for ending in beside}
    assert agent.trouble() == []


def test_a_share_that_vanishes_leaves_an_empty_folder_into_which_nothing_is_written(
    agent: Agent, share: Share, row: dict[str, str]
) -> None:
    run(agent, 0)
    drop(share.below, "a.csv", row)
    run(agent, 20, 23)
    share.unmount()
    write_csv(share.path / "wrong place.csv", [row])
    run(agent, 40, 43, 46, 60, 80)
    assert [path.name for path in share.path.iterdir()] == ["wrong place.csv"]
    (share.path / "wrong place.csv").unlink()
    share.mount()
    run(agent, 400, 403, 404, 405, 406)
    assert states(agent) == {"a.csv": DropState.SUCCEEDED}
    assert '"succeeded"' in (share.path / "a.csv.status.json").read_text()


def test_on_a_share_whose_names_and_sizes_are_old_only_whole_files_are_taken(
    row: dict[str, str], tmp_path: Path
) -> None:
    """Another host writes it bit by bit; this one sees what it has kept, for a second. The clock is the real one."""
    with faulty_share(tmp_path, cache_seconds=1) as share:
        agent = agent_on(share, tmp_path, None)
        began, content = time.monotonic(), json.dumps(row).encode()
        assert not (share.path / "a.json").exists()  # and for a second it says so again
        pieces = [content[at : at + 1 + len(content) // 10] for at in range(0, len(content), 1 + len(content) // 10)]
        while states(agent).get("a.json") is not DropState.SUCCEEDED:
            now = time.monotonic() - began
            assert now < 100, (states(agent), agent.notes())
            if pieces and now > 0.3 * (11 - len(pieces)):
                with (share.below / "a.json").open("ab") as file:
                    file.write(pieces.pop(0))
            run(agent, now)
            time.sleep(0.02)
        accepted = [agent.ledger.standing(job.drop_id).sha256 for job in agent.ledger.jobs()]
        assert accepted == [hashlib.sha256(content).hexdigest()]
        agent.ledger.close()


@pytest.mark.parametrize("skew", [-86400, pytest.param(86400, marks=pytest.mark.torture)])
def test_a_server_whose_clock_is_a_day_off_changes_nothing(
    agent: Agent, share: Share, row: dict[str, str], skew: int
) -> None:
    share.set(skew=skew, granularity=2)
    run(agent, 0)
    drop(share.below, "a.csv", row)
    run(agent, 20, 23, 24, 25, 26, 40, 60)
    assert states(agent) == {"a.csv": DropState.SUCCEEDED}
    assert [standing.drop_id for standing in agent.ledger.drops()] == [1]


@pytest.mark.parametrize(
    "call", ["rename", *(pytest.param(call, marks=pytest.mark.torture) for call in ("create", "mkdir", "unlink"))]
)
def test_what_was_done_and_is_said_to_have_failed_is_harmless(
    agent: Agent, share: Share, row: dict[str, str], call: str
) -> None:
    """A lost reply: on NFS a repeated rename says that there is nothing to rename, a repeated mkdir that it exists."""
    share.set(doubts=[{"call": [call], "errno": "EEXIST" if call in ("mkdir", "create") else "ENOENT", "odds": 0.5}])
    run(agent, 0)
    write_csv(share.below / "a.csv", [{**row, "subject_id": "../"}])
    drop(share.below, "b.csv", row)
    run(agent, *range(20, 50))
    share.set()
    run(agent, 400, 403, 404, 405, 406, 500, 501)
    assert states(agent) == {"a.csv": DropState.REFUSED, "b.csv": DropState.SUCCEEDED}
    assert list(share.path.glob(".dropbox-agent-*")) == []
    assert '"succeeded"' in (share.path / "b.csv.status.json").read_text()
    assert (share.path / MARKER).exists()
