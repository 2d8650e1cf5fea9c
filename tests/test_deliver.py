"""What is written beside a manifest: under which names, and how."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email import message_from_bytes
from email.message import EmailMessage, MIMEPart
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropbox_agent import deliver
from dropbox_agent.deliver import Names, files
from dropbox_agent.errors import AgentError, DeliveryFailed
from dropbox_agent.model import Mail
from dropbox_agent.report import MailText, Report

NOW = datetime(2024, 5, 27, 16, 7, 59, tzinfo=timezone.utc)
TEXT = MailText("Upload ended: ecephys_1", "It ended well.\n\nGrüße\n", "<p>It ended well.</p>\n")
SENDER = "Uploads <uploads@lab.example.org>"
THREAD = "f" * 64
MANIFEST_SUFFIXES = (".xlsx", ".csv", ".yaml", ".yml", ".json")


def a_mail(number: int = 1, kind: str = "end", to: str = "anna@example.org") -> Mail:
    return Mail(mail_id=1, drop_id=3, number=number, kind=kind, to=to, job_id=None, created=NOW)


def a_letter(folder: Path, manifest: str, mail: Mail) -> deliver.Letter:
    return deliver.Letter(mail, folder, manifest, deliver.message(mail, TEXT, SENDER, THREAD))


def read_back(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def lines_of(part: MIMEPart) -> str:
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


# --- names -----------------------------------------------------------------------------------------------------------


def every_name(names: Names) -> list[str]:
    return [
        names.status_json,
        names.status_html,
        names.errors_xlsx,
        names.cancel,
        names.retry,
        *(names.mail(number, kind) for number, kind in enumerate(("begin", "end", "fail", "retry", "refused"), 1)),
        names.mail(123, "end"),
    ]


def test_every_file_of_a_manifest_is_named_after_it() -> None:
    assert every_name(Names("session.xlsx")) == [
        "session.xlsx.status.json",
        "session.xlsx.status.html",
        "session.xlsx.errors.xlsx",
        "session.xlsx.cancel",
        "session.xlsx.retry",
        "session.xlsx.01-begin.eml",
        "session.xlsx.02-end.eml",
        "session.xlsx.03-fail.eml",
        "session.xlsx.04-retry.eml",
        "session.xlsx.05-refused.eml",
        "session.xlsx.123-end.eml",
    ]


file_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1).filter(
    lambda name: len(name.encode()) <= 250
)
long_names = st.text(st.sampled_from("aé漢🐁 .~"), min_size=40, max_size=250).filter(
    lambda name: len(name.encode()) <= 250
)
manifest_names = st.tuples(file_names | long_names, st.sampled_from(MANIFEST_SUFFIXES)).map("".join)


@given(manifest_names)
def test_no_name_the_agent_writes_is_ever_taken_for_a_manifest(name: str) -> None:
    assert [written for written in every_name(Names(name)) if not deliver.is_ours(written)] == []


@given(manifest_names)
def test_every_name_fits_into_255_bytes_and_is_text(name: str) -> None:
    for written in every_name(Names(name)):
        assert len(written.encode()) <= 255


@given(st.lists(manifest_names, min_size=2, max_size=2, unique=True))
def test_two_manifests_never_share_a_name(names: list[str]) -> None:
    first, second = (set(every_name(Names(name))) for name in names)
    assert first & second == set()


def test_a_long_name_is_cut_between_characters_and_keeps_its_endings() -> None:
    manifest = "漢" * 83 + ".csv"
    assert len(manifest.encode()) == 253
    names = Names(manifest)
    beginning, _, rest = names.status_json.partition("~")
    assert (beginning, rest[8:]) == ("漢" * 40, ".status.json")
    assert names.status_html == f"{beginning}~{rest[:8]}.status.html"


@pytest.mark.parametrize(
    "name",
    [
        "README.txt",
        "readme.TXT",
        "TEMPLATE.xlsx",
        "Template.XLSX",
        ".dropbox-agent",
        ".dropbox-agent-1f.tmp",
        "A.XLSX.STATUS.JSON",
        "a\nb.csv.status.json",
    ],
)
def test_the_agents_own_files_are_known_in_any_case(name: str) -> None:
    assert deliver.is_ours(name)


@pytest.mark.parametrize(
    "name", ["session.xlsx", "status.json", "my-TEMPLATE.xlsx", "errors.xlsx", "README.txt.csv", "a.status.json.csv"]
)
def test_a_manifest_with_a_similar_name_is_still_a_manifest(name: str) -> None:
    assert not deliver.is_ours(name)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_and_readable_for_everyone(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        deliver.write(tmp_path, "a.txt", b"one")
        deliver.write(tmp_path, "a.txt", b"two")
    finally:
        os.umask(before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"two"}
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_a_planted_link_is_replaced_and_what_it_points_to_is_untouched(tmp_path: Path) -> None:
    inbox, victim = tmp_path / "inbox", tmp_path / "victim"
    inbox.mkdir()
    victim.write_bytes(b"precious")
    (inbox / "a.txt").symlink_to(victim)
    deliver.write(inbox, "a.txt", b"answer")
    assert victim.read_bytes() == b"precious"
    assert not (inbox / "a.txt").is_symlink()
    assert (inbox / "a.txt").read_bytes() == b"answer"


def test_a_planted_hard_link_leaves_the_other_name_untouched(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    os.link(tmp_path / "victim", tmp_path / "a.txt")
    deliver.write(tmp_path, "a.txt", b"answer")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_planted_pipe_is_replaced_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    deliver.write(tmp_path, "a.txt", b"answer")
    assert (tmp_path / "a.txt").read_bytes() == b"answer"


def test_a_folder_in_the_way_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(DeliveryFailed) as failure:
        deliver.write(tmp_path, "a.txt", b"answer")
    assert str(failure.value) == (
        f"Could not write a.txt into {tmp_path}: a folder of that name is in the way (Is a directory)."
        " It will be tried again."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_missing_folder_is_said_with_folder_name_and_reason(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed) as failure:
        deliver.write(tmp_path / "gone", "a.txt", b"answer")
    told = (failure.value.folder, failure.value.name, failure.value.reason)
    assert told == (tmp_path / "gone", "a.txt", "the folder is not there (No such file or directory)")
    assert isinstance(failure.value, AgentError)


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeliveryFailed, match="not a folder"):
        deliver.write(tmp_path / "file", "a.txt", b"answer")


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "..", ".", "", "a\0b"])
def test_a_name_never_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "inbox").mkdir()
    with pytest.raises(DeliveryFailed, match="not the name of a file"):
        deliver.write(tmp_path / "inbox", name, b"answer")
    assert [path.name for path in tmp_path.rglob("*")] == ["inbox"]


@contextmanager
def limited_files() -> Iterator[None]:
    """Let no file of this process grow beyond 1000 bytes: what a full disk does, without one.

    Only around the write itself: the report of this run may go to a file, too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    deliver.write(tmp_path, "a.txt", b"old")
    with limited_files(), pytest.raises(DeliveryFailed) as failure:
        deliver.write(tmp_path, "a.txt", b"x" * 5000)
    assert failure.value.reason == "File too large"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"old"}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not write there"),
        (errno.ESTALE, "does not answer"),
    ],
)
def test_an_operator_is_told_what_a_write_came_back_with(number: int, words: str) -> None:
    reason = files._reason(OSError(number, os.strerror(number)))
    assert words in reason
    assert os.strerror(number) in reason


def test_temporary_files_of_a_killed_agent_are_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (".dropbox-agent-12ab.tmp", "session.xlsx", ".dropbox-agent-note", "x.tmp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".dropbox-agent").mkdir()
    deliver.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".dropbox-agent",
        ".dropbox-agent-note",
        "session.xlsx",
        "x.tmp",
    ]


def test_a_folder_named_like_a_temporary_file_does_not_stop_the_sweep(tmp_path: Path) -> None:
    (tmp_path / ".dropbox-agent-00.tmp").mkdir()
    (tmp_path / ".dropbox-agent-zz.tmp").write_bytes(b"")
    deliver.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".dropbox-agent-00.tmp"]


# --- status files ----------------------------------------------------------------------------------------------------


def test_both_status_files_stand_beside_the_manifest(tmp_path: Path) -> None:
    deliver.status(tmp_path, "Sitzung für Anna.csv", Report({"schema": 1, "summary": "Grüße"}, "<p>Grüße</p>"))
    assert json.loads((tmp_path / "Sitzung für Anna.csv.status.json").read_text("utf-8")) == {
        "schema": 1,
        "summary": "Grüße",
    }
    assert (tmp_path / "Sitzung für Anna.csv.status.html").read_text("utf-8") == "<p>Grüße</p>"


def test_text_that_is_not_unicode_still_gives_json_and_a_page(tmp_path: Path) -> None:
    deliver.status(tmp_path, "a.csv", Report({"found": "bad\udcff"}, "<p>bad\udcff</p>"))
    assert json.loads((tmp_path / "a.csv.status.json").read_bytes()) == {"found": "bad\udcff"}
    assert (tmp_path / "a.csv.status.html").read_bytes() == b"<p>bad?</p>"


# --- mails -----------------------------------------------------------------------------------------------------------


def test_a_mail_is_a_file_that_mail_programs_open(tmp_path: Path) -> None:
    path = deliver.write_beside(a_letter(tmp_path, "session.xlsx", a_mail(2)))
    assert path == tmp_path / "session.xlsx.02-end.eml"
    read = read_back(path.read_bytes())
    text, html = read.get_body(("plain",)), read.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (lines_of(text), lines_of(html)) == (TEXT.text, TEXT.html)
    assert {name: str(read[name]) for name in ("From", "To", "Subject", "Date", "Auto-Submitted")} == {
        "From": "Uploads <uploads@lab.example.org>",
        "To": "anna@example.org",
        "Subject": "Upload ended: ecephys_1",
        "Date": "Mon, 27 May 2024 16:07:59 +0000",
        "Auto-Submitted": "auto-generated",
    }


def test_the_same_mail_gives_the_same_bytes() -> None:
    first, again = (bytes(deliver.message(a_mail(), TEXT, SENDER, THREAD)) for _ in range(2))
    assert first == again


def test_the_mails_of_one_manifest_are_one_thread() -> None:
    first, second, other = (
        read_back(bytes(deliver.message(a_mail(number), TEXT, SENDER, thread)))
        for number, thread in ((1, THREAD), (2, THREAD), (1, "0" * 64))
    )
    assert first["References"] is None
    assert second["References"] == second["In-Reply-To"] == first["Message-ID"]
    assert len({first["Message-ID"], second["Message-ID"], other["Message-ID"]}) == 3
    assert str(first["Message-ID"]).endswith("@lab.example.org>")


INJECTIONS = [
    "x\nBcc: eve@evil.example",
    "x\r\nBcc: eve@evil.example",
    "x\rBcc: eve@evil.example",
    "x\u2028Bcc: eve@evil.example",
    "x\x85Bcc: eve@evil.example",
    "x\x0bBcc: eve@evil.example\x0c",
    "=?utf-8?q?hi=0ABcc:_eve@evil.example?=",
    "=?utf-8?b?aGkKQmNjOiBldmVAZXZpbC5leGFtcGxl?=",
    "==??utf-8?q?hi=0ABcc:_eve@evil.example?=",
    "=\u200b?utf-8?q?hi=0ABcc:_eve@evil.example?=",
    "=\n?utf-8?q?hi=0ABcc:_eve@evil.example?=",
    '"\n\nBcc: eve@evil.example"@example.org',
    "anna@example.org, eve@evil.example",
    "anna@example.org\nBcc: eve@evil.example",
    "<anna@example.org>\r\n\r\nbody",
    "a;b,c:<d>(e)@example.org",
    "\udcff\x00\x1b[31m" + "y" * 5000,
    "x" * 997 + "\nBcc: eve@evil.example",
]


@pytest.mark.parametrize("foreign", INJECTIONS)
@pytest.mark.parametrize("field", ["subject", "to", "sender"])
def test_no_text_of_a_stranger_becomes_a_header(field: str, foreign: str) -> None:
    mail = a_mail(to=foreign if field == "to" else "anna@example.org")
    text = MailText(foreign if field == "subject" else "Upload ended", "Body\n", "<p>Body</p>\n")
    sender = foreign if field == "sender" else SENDER
    content = bytes(deliver.message(mail, text, sender, THREAD))
    head = content.partition(b"\r\n\r\n")[0]
    fields = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert fields == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert read_back(content).get_all("Bcc") is None
    recipients = str(read_back(content)["To"])
    assert recipients in ("anna@example.org", "undisclosed-recipients:;")


@given(st.text(max_size=300), st.text(max_size=100))
def test_any_subject_and_address_give_one_whole_mail(subject: str, to: str) -> None:
    read = read_back(
        bytes(deliver.message(a_mail(to=to), MailText(subject, "Body\n", "<p>Body</p>\n"), SENDER, THREAD))
    )
    body = read.get_body(("plain",))
    assert body is not None
    assert lines_of(body) == "Body\n"
    assert len(read.keys()) == 8


@given(st.text(max_size=400))
def test_any_body_stays_a_body(text: str) -> None:
    read = read_back(bytes(deliver.message(a_mail(), MailText("Upload ended", text, text), SENDER, THREAD)))
    assert len(read.keys()) == 8
    assert [part.get_content_type() for part in read.walk()] == ["multipart/alternative", "text/plain", "text/html"]


def test_an_address_that_is_none_still_leaves_the_mail_to_be_read(tmp_path: Path) -> None:
    path = deliver.write_beside(a_letter(tmp_path, "a.csv", a_mail(to="Müller & co")))
    assert str(read_back(path.read_bytes())["To"]) == "undisclosed-recipients:;"
