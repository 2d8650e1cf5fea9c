"""What is over is put away by stated rules, and nothing of it runs again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, fsck, settings
from dropbox_agent.agent import Agent
from dropbox_agent.states import DropState
from dropbox_agent.tasks.tree import Stamp

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def site_keeping(folder: Path, **days: int) -> settings.Settings:
    file = founding.initialise(folder / "site", NOW)
    stored: dict[str, Any] = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}, "keep": days}
    file.write_text(yaml.safe_dump(stored))
    return settings.load(file, {})


def run(agent: Agent, *times: timedelta) -> None:
    for time in times:
        agent.tick(NOW + time)


def seconds(*each: float) -> list[timedelta]:
    return [timedelta(seconds=one) for one in each]


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    return a_row(demonstration.make_session(tmp_path / "data"))


def test_what_is_done_is_archived_with_all_that_stands_beside_it_and_answered_when_it_is_brought_back(
    tmp_path: Path, row: dict[str, str]
) -> None:
    site = site_keeping(tmp_path, archive_days=7, spool_days=7, run_folder_days=7)
    inbox = site.inboxes[0].path
    agent = assembly.open_agent(site, os.environ, NOW)
    write_csv(inbox / "s.csv", [row])
    run(agent, *seconds(0, 2, 3, 4, 5))
    (job,) = agent.ledger.jobs()
    (site.work_dir / job.job_id / "attempts").mkdir(parents=True)
    run(agent, timedelta(days=6))
    assert (inbox / "s.csv").exists()
    run(agent, timedelta(days=8))
    archive = inbox / "archive/2026-01"
    names = ["s.csv", "s.csv.01-begin.eml", "s.csv.02-end.eml", "s.csv.status.html", "s.csv.status.json"]
    assert sorted(path.name for path in archive.iterdir()) == names
    assert list(inbox.glob("s.csv*")) == []
    assert list((site.state_dir / "spool").iterdir()) == []
    assert not (site.work_dir / job.job_id).exists()
    assert fsck.look(site) == []
    (archive / "s.csv").rename(inbox / "s.csv")
    day = timedelta(days=9)
    run(agent, *(day + one for one in seconds(0, 3, 6)))
    assert '"succeeded"' in (inbox / "s.csv.status.json").read_text()
    assert len(agent.ledger.jobs()) == 1
    agent.ledger.close()


def test_what_is_not_done_or_has_changed_stays_where_it_is(tmp_path: Path, row: dict[str, str]) -> None:
    site = site_keeping(tmp_path, archive_days=1)
    inbox = site.inboxes[0].path
    agent = assembly.open_agent(site, os.environ, NOW)
    write_csv(inbox / "s.csv", [row])
    run(agent, *seconds(0, 2, 3, 4, 5))
    (inbox / "s.csv").write_text("changed, and not read yet")
    run(agent, timedelta(days=2))
    assert (inbox / "s.csv").exists()
    assert not (inbox / "archive").exists()
    assert agent.ledger.drops()[0].state is DropState.SUCCEEDED
    agent.ledger.close()


@pytest.fixture
def kept(tmp_path: Path, row: dict[str, str]) -> Iterator[Agent]:
    """An agent that puts away a.csv and b.csv a day after they are done."""
    site = site_keeping(tmp_path, archive_days=1, run_folder_days=1, spool_days=1)
    agent = assembly.open_agent(site, os.environ, NOW)
    for name in ("a", "b"):
        write_csv(agent.inboxes[0].path / f"{name}.csv", [{**row, "subject_id": name}])
    run(agent, *seconds(0, 2, 3, 4, 5))
    yield agent
    agent.ledger.close()


def test_what_cannot_be_put_away_keeps_nothing_else_from_it(kept: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, rename = kept.inboxes[0].path, os.rename

    def fails(name: str, *words: Any, **how: Any) -> None:
        if name == "a.csv":
            raise OSError(errno.EACCES, "Permission denied")
        rename(name, *words, **how)

    monkeypatch.setattr(os, "rename", fails)
    (kept.inboxes[0].spool / "a folder").mkdir()
    run(kept, timedelta(days=2))
    assert (inbox / "a.csv").exists()
    assert (inbox / "archive/2026-01/b.csv").exists()
    assert [path.name for path in kept.inboxes[0].spool.iterdir()] == ["a folder"]


def test_nothing_is_put_away_through_a_link(kept: Agent, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (kept.inboxes[0].path / "archive").symlink_to(tmp_path / "elsewhere")
    run(kept, timedelta(days=2))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (kept.inboxes[0].path / "a.csv").exists()


def test_what_is_in_the_archive_is_never_replaced(kept: Agent) -> None:
    inbox = kept.inboxes[0].path
    for days in (2, 5, 8, 11):
        run(kept, timedelta(days=days))
        assert not (inbox / "a.csv").exists()
        shutil.copy2(next((inbox / "archive").rglob("a.csv")), inbox / "a.csv")
        run(kept, *(timedelta(days=days) + one for one in seconds(20, 40, 43, 46)))
    assert len(list((inbox / "archive").rglob("a.csv"))) == 4


def test_a_manifest_that_is_saved_while_it_is_put_away_is_taken(
    kept: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lstat = kept.inboxes[0].path / "a.csv", os.lstat

    def saves(name: Any, **how: Any) -> os.stat_result:
        if name == "a.csv" and how and path.exists():
            write_csv(path, [{**row, "subject_id": "saved-just-now"}])
        return lstat(name, **how)

    monkeypatch.setattr(os, "lstat", saves)
    run(kept, timedelta(days=2))
    monkeypatch.undo()
    run(kept, *(timedelta(days=2) + one for one in seconds(20, 23, 26, 27, 28)))
    standing = kept.ledger.latest(path.parent, "a.csv")
    assert standing is not None
    assert [job.subject_id for job in standing.jobs] == ["saved-just-now"]


def test_a_marked_copy_that_somebody_corrected_stays_when_its_manifest_is_put_away(
    tmp_path: Path, row: dict[str, str]
) -> None:
    agent = assembly.open_agent(site_keeping(tmp_path, archive_days=1), os.environ, NOW)
    inbox = agent.inboxes[0].path
    for name in ("a.csv", "b.csv"):
        write_csv(inbox / name, [{**row, "subject_id": "../../x"}])
    run(agent, *seconds(0, 2, 3, 4))
    corrected = inbox / "a.csv.errors.xlsx"
    corrected.unlink()
    corrected.write_bytes(b"somebody's work, not read yet")
    run(agent, timedelta(days=2))
    assert sorted(path.name for path in inbox.glob("*.errors.xlsx")) == ["a.csv.errors.xlsx"]
    assert sorted(path.name for path in (inbox / "archive/2026-01").glob("*.csv")) == ["a.csv", "b.csv"]
    agent.ledger.close()


def test_what_has_waited_in_quarantine_long_enough_goes_without_another_removal(tmp_path: Path) -> None:
    root = tmp_path / "data"
    waiting = root / ".dropbox-agent-quarantine" / "job"
    (waiting / "ecephys").mkdir(parents=True)
    waiting.parent.chmod(0o700)
    (waiting / "ecephys" / "file").write_bytes(b"x")
    (waiting / "ecephys" / "put here later").write_bytes(b"y")
    stamp = Stamp.of((waiting / "ecephys" / "file").stat())
    record = {"quarantined": "2001-01-01T00:00:00+00:00", "files": {"file": asdict(stamp)}, "folders": []}
    (waiting / "ecephys.json").write_text(json.dumps(record))
    site_keeping(tmp_path)
    stored = yaml.safe_load((tmp_path / "site" / "agent.yaml").read_text())
    stored["policy"] = {"source_roots": [str(root)], "source_removal": True, "quarantine_days": 14}
    (tmp_path / "site" / "agent.yaml").write_text(yaml.safe_dump(stored))
    agent = assembly.open_agent(settings.load(tmp_path / "site" / "agent.yaml", {}), os.environ, NOW)
    run(agent, timedelta(0))
    assert agent.retention is not None
    agent.retention.close(60)
    assert [path.name for path in (waiting / "ecephys").iterdir()] == ["put here later"]
    agent.ledger.close()
