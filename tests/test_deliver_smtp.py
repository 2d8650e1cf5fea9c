"""Mails through a real mail server: who gets what, what is secured, and what becomes of a mail when it goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import mail_server
import pytest
from mail_server import HOST, PASSWORD, USERNAME, broken, certificate, free_port, running

from dropbox_agent import assembly, deliver, founding, settings
from dropbox_agent.deliver import Answer, Letter, SmtpPost
from dropbox_agent.model import Mail, Secret
from dropbox_agent.report import MailText

NOW = datetime(2024, 5, 27, 16, 7, 59, tzinfo=timezone.utc)
SENDER = "Uploads <uploads@lab.example.org>"
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
ANNA, BOB = "anna@example.org", "bob@example.org"


def a_letter(folder: Path, number: int = 1, to: str = ANNA, subject: str = "Upload ended: 0012") -> Letter:
    mail = Mail(mail_id=number, drop_id=3, number=number, kind="end", to=to, job_id=None, created=NOW)
    text = MailText(subject, "It ended well.\n\nGrüße\n", "<p>It ended well.</p>\n")
    return Letter(mail, folder, "session.xlsx", deliver.message(mail, text, SENDER, "this manifest"))


def a_post(port: int, longest_seconds: float = 20, **server: Any) -> SmtpPost:
    known = {"security": "none", "timeout_seconds": 10.0, **server}
    return SmtpPost(deliver.MailServer(host=HOST, port=port, **known), {"MAIL_PASSWORD": PASSWORD}, longest_seconds)


def sent(post: SmtpPost, *letters: Letter) -> list[Answer]:
    """Return what came of letters, one answer each."""
    post.send(letters)
    post.close(30)
    answers = post.answers()
    assert [answer.letter for answer in answers] == list(letters)
    assert post.has_room()
    return answers


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_a_mail_arrives_as_text_and_as_a_page(tmp_path: Path) -> None:
    with running() as server:
        letter = a_letter(tmp_path)
        assert sent(a_post(server.port), letter) == [Answer(letter)]
    (envelope,), (read,) = server.taken, server.messages()
    assert (envelope.mail_from, envelope.rcpt_tos) == ("uploads@lab.example.org", [ANNA])
    assert read["Subject"] == "Upload ended: 0012"
    assert read["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert read.get_body(("plain",)).get_content().splitlines()[-1] == "Grüße"  # type: ignore[union-attr]


def test_what_arrives_twice_is_the_same_mail(tmp_path: Path) -> None:
    """A crash between the server's yes and its record sends a mail again: mail programs show one, by its id."""
    with running() as server:
        post = a_post(server.port)
        sent(post, a_letter(tmp_path))
        sent(post, a_letter(tmp_path))
    first, again = server.taken
    assert first.content == again.content


def test_many_letters_use_one_connection_and_keep_their_order(tmp_path: Path) -> None:
    letters = [a_letter(tmp_path, number) for number in range(1, 21)]
    with running() as server:
        assert sent(a_post(server.port), *letters) == [Answer(letter) for letter in letters]
    ids = [message["Message-ID"] for message in server.messages()]
    assert ids == [letter.message["Message-ID"] for letter in letters]
    assert {message["References"] for message in server.messages()[1:]} == {ids[0]}


@pytest.mark.parametrize("foreign", ["x\r\nBcc: eve@evil.example", "x\r\n.\r\nMAIL FROM:<eve@evil.example>", "\n.\n"])
def test_nothing_foreign_becomes_a_header_a_recipient_or_a_command(tmp_path: Path, foreign: str) -> None:
    with running() as server:
        sent(a_post(server.port), a_letter(tmp_path, subject=foreign), a_letter(tmp_path, to=foreign))
    (envelope,), (message,) = server.taken, server.messages()
    assert (envelope.mail_from, envelope.rcpt_tos) == ("uploads@lab.example.org", [ANNA])
    assert message["Bcc"] is None


# --- security --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_secured_connection_takes_the_login(tmp_path: Path, security: str) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    pem = certificate(tmp_path)
    password = Secret(name="mail.password", file=tmp_path / "password")
    with running(security=security, pem=pem, login=True) as server:
        post = a_post(server.port, security=security, ca_file=pem, username=USERNAME, password=password)
        letter = a_letter(tmp_path)
        assert sent(post, letter) == [Answer(letter)]
        assert deliver.probe(post.server, {}, 10) is None
    assert len(server.taken) == 1


def test_a_certificate_that_nobody_vouches_for_is_not_talked_to(tmp_path: Path) -> None:
    with running(security="starttls", pem=certificate(tmp_path), login=True) as server:
        (answer,) = sent(a_post(server.port, security="starttls"), a_letter(tmp_path))
    assert answer == Answer(answer.letter, refused(server.port, "shows a certificate that is not trusted"
        " (self-signed certificate); mail.ca_file names who is"))  # fmt: skip


def test_a_server_without_starttls_gets_no_mail_in_the_clear(tmp_path: Path) -> None:
    with running() as server:
        (answer,) = sent(a_post(server.port, security="starttls"), a_letter(tmp_path))
    assert answer.trouble == refused(server.port, "cannot do what mail.security and mail.username ask for"
        " (STARTTLS extension not supported by server.)")  # fmt: skip
    assert server.taken == []


def test_a_password_is_not_sent_where_anybody_can_read_it(tmp_path: Path) -> None:
    password = Secret(name="mail.password", variable="MAIL_PASSWORD")
    with running(host="127.0.0.2") as taker:
        post = SmtpPost(deliver.MailServer("127.0.0.2", taker.port, "none", USERNAME, password), {})
        (answer,) = sent(post, a_letter(tmp_path))
    assert answer.trouble == (
        "The mail 'end' to anna@example.org: The password is not sent over a connection anybody can read: set"
        " mail.security to starttls. It will be tried again."
    )


WRONG_PASSWORD = [
    (Secret(name="mail.password", variable="MAIL_PASSWORD"), {"MAIL_PASSWORD": "wrong-9a"}, "does not accept"),
    (Secret(name="mail.password", variable="MAIL_PASSWORD"), {}, "the environment variable MAIL_PASSWORD"),
    (Secret(name="mail.password", file=Path("/nowhere/password")), {}, "the file /nowhere/password"),
]


@pytest.mark.parametrize(("password", "environ", "words"), WRONG_PASSWORD)
def test_a_login_that_fails_is_said_and_the_password_is_not(
    tmp_path: Path, password: Secret, environ: dict[str, str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(login=True) as server:
        known = deliver.MailServer(HOST, server.port, "none", USERNAME, password)
        (answer,) = sent(SmtpPost(known, environ), a_letter(tmp_path))
    assert answer.trouble is not None
    assert not answer.final
    assert words in answer.trouble
    assert "wrong-9a" not in answer.trouble + caplog.text + repr(known)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def refused(port: int, words: str, to: str = ANNA) -> str:
    return f"The mail 'end' to {to}: The mail server {HOST}:{port} {words}. It will be tried again."


TROUBLES: list[tuple[Callable[..., None], float, str]] = [
    (mail_server.silent, 0.3, "did not answer within 0.3 s"),
    (mail_server.half_an_answer, 20, "closed the connection in the middle"),
    (mail_server.hangs_up_at_data, 20, "closed the connection in the middle"),
    (mail_server.busy, 20, "refused (421 4.7.0 Too many connections, come back later)"),
]


@pytest.mark.parametrize(("behaviour", "timeout_seconds", "words"), TROUBLES)
def test_a_server_in_trouble_is_tried_again(
    tmp_path: Path, behaviour: Callable[..., None], timeout_seconds: float, words: str
) -> None:
    with broken(behaviour) as port:
        answers = sent(a_post(port, timeout_seconds=timeout_seconds), a_letter(tmp_path), a_letter(tmp_path, 2, BOB))
    assert [(answer.trouble, answer.final) for answer in answers] == [
        (refused(port, words), False),
        (refused(port, words, BOB), False),
    ]


def test_a_server_that_drips_is_cut_off(tmp_path: Path) -> None:
    with broken(mail_server.drips) as port:
        (answer,) = sent(a_post(port, longest_seconds=2), a_letter(tmp_path))
    assert answer.trouble == refused(port, "closed the connection in the middle")


def test_a_server_that_is_away_gets_its_mail_when_it_is_back(tmp_path: Path) -> None:
    port, letter = free_port(), a_letter(tmp_path)
    post = a_post(port)
    assert sent(post, letter)[0].trouble == refused(port, "cannot be reached (Connection refused)")
    with running(port) as server:
        assert sent(post, letter) == [Answer(letter)]
    assert len(server.taken) == 1


REFUSALS: list[tuple[str, str, str, bool]] = [
    (ANNA, "451 4.3.0 later, please", "does not take mail for this address (451 4.3.0 later, please)", False),
    (ANNA, "550 5.1.1 no such user", "does not take mail for this address (550 5.1.1 no such user)", True),
    ("DATA", "452 4.3.1 disk full", "refused (452 4.3.1 disk full)", False),
    ("DATA", "554 5.7.1 looks like spam", "refused (554 5.7.1 looks like spam)", True),
]


@pytest.mark.parametrize(("to", "said", "words", "final"), REFUSALS)
def test_what_is_refused_for_good_is_kept_beside_the_manifest(
    tmp_path: Path, to: str, said: str, words: str, final: bool
) -> None:
    letter = a_letter(tmp_path)
    with running() as server:
        server.answers[to] = said
        (answer,) = sent(a_post(server.port), letter)
    begin = f"The mail 'end' to {ANNA}: The mail server {HOST}:{server.port} {words}."
    kept = "The mail is kept as session.xlsx.01-end.eml." if final else "It will be tried again."
    assert answer == Answer(letter, f"{begin} {kept}", final)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([bytes(letter.message)] if final else [])


def test_what_is_refused_for_good_is_not_written_into_the_empty_folder_where_a_share_was_mounted(
    tmp_path: Path,
) -> None:
    (tmp_path / "mountpoint").mkdir()
    letter = a_letter(tmp_path / "mountpoint")
    with running() as server:
        server.answers[ANNA] = "550 5.1.1 no such user"
        environ = {"DROPBOX_AGENT_MAIL__KIND": "smtp", "DROPBOX_AGENT_MAIL__HOST": HOST}
        environ |= {"DROPBOX_AGENT_MAIL__PORT": str(server.port), "DROPBOX_AGENT_MAIL__SECURITY": "none"}
        chosen = settings.load(founding.initialise(tmp_path / "site", NOW), environ)
        post = assembly.post(chosen, environ, assembly.places(chosen), "ledger-1")
        assert isinstance(post, SmtpPost)
        (answer,) = sent(post, letter)
    assert (answer.final, "has no marker" in (answer.trouble or "")) == (False, True)
    assert list(letter.folder.iterdir()) == []


def test_one_refused_address_keeps_no_other_mail_back(tmp_path: Path) -> None:
    letters = [a_letter(tmp_path, 1, BOB), a_letter(tmp_path, 2), a_letter(tmp_path, 3, "nobody at all")]
    with running() as server:
        server.answers[BOB] = "550 5.1.1 no such user"
        answers = sent(a_post(server.port), *letters)
    assert [answer.final for answer in answers] == [True, False, True]
    assert answers[1] == Answer(letters[1])
    assert answers[2].trouble == (
        "The mail 'end' to nobody at all: 'nobody at all' is no mail address. The mail is kept as"
        " session.xlsx.03-end.eml."
    )


def test_a_slow_server_keeps_nobody_waiting_and_gets_no_letter_twice(tmp_path: Path) -> None:
    with running() as server:
        server.may_answer.clear()
        post, letter = a_post(server.port), a_letter(tmp_path)
        post.send([letter])
        assert (post.has_room(), post.answers()) == (False, [])
        server.may_answer.set()
        post.close(30)
        assert not post.has_room(), "its answer is not written down yet"
        assert post.answers() == [Answer(letter)]
        assert post.has_room()
