"""dropbox-agent fsck: what must always be true, told when it is not, and mended where it is derived."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner
from workspace import a_row, write_csv

from dropbox_agent import assembly, cli, demonstration, founding, fsck, serving, settings
from dropbox_agent.agent import database
from dropbox_agent.errors import LedgerInUse


def run(site: settings.Settings) -> None:
    agent = assembly.open_agent(site, {}, assembly.utc_now())
    agent.run(until_idle=True)
    agent.ledger.close()


@pytest.fixture
def site(tmp_path: Path) -> settings.Settings:
    """A site on which one manifest was uploaded (in a rehearsal) and one refused."""
    file = founding.initialise(tmp_path / "site", assembly.utc_now())
    stored = yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}}
    inbox = Path(stored["inboxes"][0]["path"])
    stored["inboxes"] = [{"path": str(inbox), "settle_seconds": 0.05, "scan_seconds": 0.1}]
    file.write_text(yaml.safe_dump(stored))
    row = a_row(demonstration.make_session(tmp_path / "data"))
    write_csv(inbox / "good.csv", [row])
    write_csv(inbox / "bad.csv", [{**row, "subject_id": "../x"}])
    made = settings.load(file, {})
    run(made)
    return made


def found(site: settings.Settings) -> list[str]:
    return [finding.invariant for finding in fsck.look(site)]


def test_what_is_derived_is_told_and_mended(site: settings.Settings) -> None:
    assert fsck.look(site) == []
    inbox, spool = site.inboxes[0].path, site.state_dir / "spool"
    (inbox / "good.csv.status.json").write_text('{"state": "running"}')
    (inbox / "bad.csv.status.json").unlink()
    (inbox / ".dropbox-agent-0123.tmp").touch()
    (spool / ".0123.tmp").touch()
    (spool / ("0" * 64)).touch()
    assert found(site) == ["left over", "left over", "left over", "status", "status"]
    assert all(finding.mended for finding in fsck.mend(site, assembly.utc_now()))
    run(site)
    assert fsck.look(site) == []
    assert (inbox / "bad.csv.status.json").exists()


def test_what_is_not_derived_is_told_and_left_as_it_is(site: settings.Settings) -> None:
    for path in (site.state_dir / "spool").iterdir():
        path.chmod(0o600)
        path.write_text("other bytes")
    with closing(sqlite3.connect(database(site.state_dir))) as connection, connection:
        connection.execute("DELETE FROM moves WHERE kind = 'job' AND to_state = 'succeeded'")
        connection.execute("UPDATE drops SET updated = updated")
    told = {finding.invariant for finding in fsck.look(site)}
    assert told == {"spool", "history"}
    assert not any(finding.mended for finding in fsck.mend(site, assembly.utc_now()))


def test_an_attempt_that_the_ledger_does_not_know_is_told(site: settings.Settings) -> None:
    reader = assembly.open_reader(site)
    (job,) = reader.jobs()
    reader.close()
    (site.work_dir / job.job_id / "attempts" / "dbx-nobodys").mkdir(parents=True)
    assert found(site) == ["attempts"]


def test_nothing_is_mended_while_an_agent_works(site: settings.Settings) -> None:
    agent = assembly.open_agent(site, {}, assembly.utc_now())
    with pytest.raises(LedgerInUse):
        fsck.mend(site, assembly.utc_now())
    agent.ledger.close()


def test_what_a_working_agent_is_just_writing_is_not_told(site: settings.Settings) -> None:
    inbox = site.inboxes[0].path
    writing, left = inbox / ".dropbox-agent-0123.tmp", inbox / ".dropbox-agent-4567.tmp"
    agent = assembly.open_agent(site, {}, assembly.utc_now())
    with serving.heartbeat(agent, site):
        for temporary in (writing, left):
            temporary.touch()
        assert [one.what for one in fsck.look_twice(site, assembly.utc_now(), writing.unlink)] == [str(left)]
    agent.ledger.close()


def test_what_no_agent_is_writing_is_told_at_once(site: settings.Settings) -> None:
    (site.inboxes[0].path / ".dropbox-agent-0123.tmp").touch()
    found = fsck.look_twice(site, assembly.utc_now(), lambda: pytest.fail("nobody is at work"))
    assert [one.invariant for one in found] == ["left over"]


def test_the_command_ends_with_1_while_something_is_wrong(site: settings.Settings) -> None:
    runner, config = CliRunner(), ["--config", str(site.file)]
    assert runner.invoke(cli.app, ["fsck", *config]).exit_code == 0
    (site.inboxes[0].path / "good.csv.status.json").unlink()
    told = runner.invoke(cli.app, ["fsck", *config])
    assert (told.exit_code, "Its status beside it says nothing; the ledger says succeeded." in told.stdout) == (1, True)
    assert runner.invoke(cli.app, ["fsck", "--repair", *config]).exit_code == 0
