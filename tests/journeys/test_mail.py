"""The mails of a manifest, from the drop to a real mail server: one thread, none lost, none twice, nobody waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import mail_server
import pytest
import yaml
from mail_server import HOST, PASSWORD, USERNAME, broken, certificate, free_port, running, until
from workspace import a_row, write_csv

from dropbox_agent import assembly, demonstration, doctor, founding, settings
from dropbox_agent.agent import Agent
from dropbox_agent.doctor import Verdict
from dropbox_agent.states import JobState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
OPENED: list[Agent] = []


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return founding.initialise(tmp_path / "site", NOW)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().ledger.close()


def mail_through(site: Path, port: int, **changes: Any) -> None:
    stored = yaml.safe_load(site.read_text())
    server = {"kind": "smtp", "host": HOST, "port": port, "security": "none", "timeout_seconds": 5}
    stored["mail"] = {"sender": "Uploads@lab.example.org".lower(), **server, **changes}
    stored["executor"] = {"kind": "rehearsal"}
    site.write_text(yaml.safe_dump(stored))


def open_agent(site: Path) -> Agent:
    OPENED.append(assembly.open_agent(settings.load(site, {}), {"MAIL_PASSWORD": PASSWORD}, NOW))
    return OPENED[-1]


def dropped(site: Path, tmp_path: Path) -> Path:
    """Put a manifest with one job into the inbox; return the inbox."""
    inbox = site.parent / "inbox"
    row = a_row(demonstration.make_session(tmp_path / "data"), user_email="anna@example.org")
    write_csv(inbox / "s.csv", [{**row, "email_notification_types": "all"}])
    return inbox


def run(agent: Agent, *seconds: float) -> None:
    """Tick, each time after the post has had time to end what it began."""
    for second in seconds:
        agent.tick(later(second))
        agent.answerer.post.close(20)


TICKS = (0, 2, 3, 4, 5, 6, 7, 8, 9)


def test_the_mails_of_a_manifest_are_one_thread_at_the_server(site: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    pem = certificate(tmp_path)
    with running(security="starttls", pem=pem, login=True) as server:
        how = {"security": "starttls", "ca_file": str(pem), "username": USERNAME}
        mail_through(site, server.port, password_file=str(tmp_path / "password"), **how)
        inbox, agent = dropped(site, tmp_path), open_agent(site)
        run(agent, *TICKS)
        assert agent.is_idle()
    begin, end = server.messages()
    assert (begin["To"], end["To"]) == ("anna@example.org", "anna@example.org")
    assert begin["Subject"] != end["Subject"]
    assert end["References"] == end["In-Reply-To"] == begin["Message-ID"]
    assert list(inbox.glob("*.eml")) == []
    told = "".join(path.read_text(errors="replace") for path in site.parent.rglob("*") if path.is_file())
    assert PASSWORD not in told


def test_while_the_server_is_away_mails_wait_and_then_go_out_once(site: Path, tmp_path: Path) -> None:
    port = free_port()
    mail_through(site, port)
    dropped(site, tmp_path)
    agent = open_agent(site)
    run(agent, *TICKS)
    assert agent.ledger.jobs()[0].state is JobState.SUCCEEDED
    assert [name for name, _ in agent.ledger.undelivered()] == ["s.csv", "s.csv"]
    assert f"The mail server {HOST}:{port} cannot be reached" in agent.trouble()[0]
    with running(port) as server:
        run(agent, 30, 31, 330, 331, 900)
    assert [message["Subject"].split()[1] for message in server.messages()] == ["started:", "ended:"]
    assert (agent.trouble(), agent.is_idle()) == ([], True)


def test_a_server_that_does_not_answer_does_not_hold_up_a_tick(site: Path, tmp_path: Path) -> None:
    with broken(mail_server.silent) as port:
        mail_through(site, port, timeout_seconds=600)
        dropped(site, tmp_path)
        agent = open_agent(site)
        agent.tick(later(0))
        agent.tick(later(2))
        until(lambda: not agent.answerer.post.has_room())
        for second in range(3, 20):
            agent.tick(later(second))
        assert agent.ledger.jobs()[0].state is JobState.SUCCEEDED
        assert not agent.answerer.post.has_room(), "the server is still being waited for"
    agent.answerer.post.close(20)
    agent.tick(later(20))
    assert "closed the connection in the middle" in agent.trouble()[0]


def test_a_server_that_does_not_answer_in_time_is_told(site: Path, tmp_path: Path) -> None:
    with broken(mail_server.silent) as port:
        mail_through(site, port, timeout_seconds=0.5)
        dropped(site, tmp_path)
        agent = open_agent(site)
        run(agent, 0, 2, 3)
    assert "did not answer within 0.5 s" in agent.trouble()[0]


def test_a_mail_under_way_when_the_agent_died_is_sent_again_as_the_same_mail(site: Path, tmp_path: Path) -> None:
    with running() as server:
        mail_through(site, server.port)
        dropped(site, tmp_path)
        agent = open_agent(site)
        run(agent, 0, 2)
        assert len(server.taken) == 1, "it was taken, and nothing of that is in the ledger"
        assert agent.ledger.due_mails(later(3)) == [], "it is under way"
        OPENED.pop().ledger.close()
        run(open_agent(site), 3, 4)
    first, again = [message for message in server.messages() if message["Subject"].startswith("Upload started")]
    assert first["Message-ID"] == again["Message-ID"]


def test_an_address_that_is_refused_is_told_in_the_status(site: Path, tmp_path: Path) -> None:
    with running() as server:
        server.answers["anna@example.org"] = "550 5.1.1 no such user"
        mail_through(site, server.port)
        inbox, agent = dropped(site, tmp_path), open_agent(site)
        run(agent, *TICKS, 20, 30)
        assert agent.is_idle()
    told = json.loads((inbox / "s.csv.status.json").read_text())
    messages = {task["task_id"]: task["message"] for task in told["jobs"][0]["tasks"]}
    assert messages["send_job_start_email"] == (
        f"The mail 'begin' to anna@example.org: The mail server {HOST}:{server.port} does not take mail for this"
        " address (550 5.1.1 no such user). The mail is kept as s.csv.01-begin.eml."
    )
    assert told["state"] == "succeeded"
    assert sorted(path.name for path in inbox.glob("*.eml")) == ["s.csv.01-begin.eml", "s.csv.02-end.eml"]


def test_the_doctor_asks_the_mail_server(site: Path) -> None:
    found = {one.name: one for one in doctor.look(site, {})}
    assert found["mail"].verdict is Verdict.NOT_CONFIGURED
    with running() as server:
        mail_through(site, server.port)
        found = {one.name: one for one in doctor.look(site, {})}
        assert (found["mail"].verdict, found["mail"].sentence) == (
            Verdict.OK,
            f"The mail server {HOST}:{server.port} answers (none).",
        )
        assert server.taken == []
    found = {one.name: one for one in doctor.look(site, {})}
    assert (found["mail"].verdict, found["mail"].advice) == (
        Verdict.FAILED,
        "Correct 'mail'. Until then mails wait in the ledger, and none is lost.",
    )
