"""The watched folder: what is taken, what is left alone, what is waited for. Real folders; time is an argument."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropbox_agent.errors import InboxUnavailable
from dropbox_agent.inbox import MARKER, Inbox, listing, mark, watch
from dropbox_agent.model import Drop

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
LEDGER = "ledger-1"


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return new_inbox(tmp_path)


def new_inbox(tmp_path: Path) -> Inbox:
    folder = tmp_path / "in box's"
    folder.mkdir(exist_ok=True)
    mark(folder, LEDGER)
    return again(folder, tmp_path)


def again(folder: Path, tmp_path: Path) -> Inbox:
    suffixes = {".xlsx", ".csv", ".yaml", ".json"}
    return Inbox(folder, tmp_path / "spool", suffixes, lambda name: ".status." in name, settle_seconds=2)


def look(inbox: Inbox, now: datetime, take: bool = True) -> list[Drop]:
    drops = list(inbox.settled(now, LEDGER))
    if take:
        for drop in drops:
            inbox.taken(drop)
    return drops


def names(drops: list[Drop]) -> list[str]:
    return [drop.name for drop in drops]


def zipped(text: str = "x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", text)
    return buffer.getvalue()


def test_while_a_file_settles_the_folder_is_not_listed_anew(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 100,000 old files a listing takes seconds."""
    listed: list[Path] = []

    def counted(folder: Path, rules: Any) -> Any:
        listed.append(folder)
        return listing.listing(folder, rules)

    monkeypatch.setattr(watch, "listing", counted)
    (inbox.path / "a.csv").write_text("a,b\n")
    (inbox.path / "b.csv").write_text("a,b\n")
    assert look(inbox, NOW) == []
    (inbox.path / "a.csv").write_text("a,b,c\n")
    (inbox.path / "b.csv").unlink()
    assert names(look(inbox, later(2))) == []
    assert names(look(inbox, later(4))) == ["a.csv"]
    assert len(listed) == 1
    assert [waiting.name for waiting in inbox.waiting()] == ["b.csv"]
    look(inbox, later(10))
    assert (len(listed), inbox.waiting()) == (2, [])


@pytest.mark.parametrize(
    ("lock", "content", "by"),
    [
        ("~$a.csv", bytes([11]) + b"Anna Meyer" + b" " * 44, ", by Anna Meyer"),
        ("~$a.csv", bytes([4]) + b"Zo\xeb\n" + b" " * 50, ", by Zo\u00eb"),
        (".~lock.a.csv#", b"Anna Meyer,anna,host,31.01.2026 12:00,file:///home/anna;", ", by Anna Meyer"),
        (".~lock.a.csv#", b"\x1b[31mred\x00\xff" + b"x" * 500, ", by [31mred\ufffd" + "x" * 42),
        ("~$a.csv", b"", ""),
        ("~$a.csv", bytes([200]) + b"short", ""),
        (".~lock.a.csv#", b",anna,host", ""),
    ],
)
def test_who_has_a_workbook_open_is_told(inbox: Inbox, lock: str, content: bytes, by: str) -> None:
    (inbox.path / "a.csv").write_text("a,b\n")
    (inbox.path / lock).write_bytes(content)
    look(inbox, NOW)
    look(inbox, later(2))
    (waiting,) = inbox.waiting()
    assert waiting.reason == f"It is open in Excel or LibreOffice{by}. Save it and close it there."


def test_a_file_that_stopped_changing_is_copied_into_the_spool(inbox: Inbox) -> None:
    (inbox.path / "a.csv").write_text("a,b\n")
    assert look(inbox, NOW) == []
    (drop,) = look(inbox, later(2))
    digest = hashlib.sha256(b"a,b\n").hexdigest()
    assert drop == Drop(
        inbox=inbox.path,
        name="a.csv",
        sha256=digest,
        size=4,
        spooled=inbox.spool / digest,
        owner=os.getuid(),
        modified=(inbox.path / "a.csv").stat().st_mtime,
        settled_at=later(2),
    )
    assert drop.spooled.read_text() == "a,b\n"
    assert [path.name for path in inbox.spool.iterdir()] == [digest]


def test_a_file_still_growing_is_left_alone(inbox: Inbox) -> None:
    for second in range(0, 10):
        with (inbox.path / "a.csv").open("a") as file:
            file.write("x")
        assert look(inbox, later(second)) == []
    assert look(inbox, later(12)) == []
    assert names(look(inbox, later(14))) == ["a.csv"]


def test_a_file_rewritten_with_the_same_size_and_time_has_not_settled(inbox: Inbox) -> None:
    path = inbox.path / "a.csv"
    path.write_text("one")
    os.utime(path, (1, 1))
    assert look(inbox, NOW) == []
    path.write_text("two")
    os.utime(path, (1, 1))
    assert look(inbox, later(2)) == []
    assert names(look(inbox, later(4))) == ["a.csv"]


def test_what_is_taken_is_left_alone_until_it_changes(inbox: Inbox) -> None:
    path = inbox.path / "a.csv"
    path.write_text("one")
    look(inbox, NOW)
    assert names(look(inbox, later(2))) == ["a.csv"]
    assert look(inbox, later(20)) == []
    path.write_text("other")
    assert look(inbox, later(40)) == []
    assert names(look(inbox, later(42))) == ["a.csv"]


def test_what_was_not_recorded_is_yielded_again(inbox: Inbox) -> None:
    (inbox.path / "a.csv").write_text("one")
    look(inbox, NOW)
    assert names(look(inbox, later(2), take=False)) == ["a.csv"]
    assert names(look(inbox, later(4))) == ["a.csv"]


def test_a_new_agent_yields_everything_once_more(inbox: Inbox, tmp_path: Path) -> None:
    (inbox.path / "a.csv").write_text("one")
    look(inbox, NOW)
    look(inbox, later(2))
    second = again(inbox.path, tmp_path)
    look(second, later(10))
    assert names(look(second, later(12))) == ["a.csv"]


def test_a_file_that_was_away_for_two_scans_and_is_back_says_so(inbox: Inbox) -> None:
    path = inbox.path / "a.csv"
    path.write_text("one")
    look(inbox, NOW)
    look(inbox, later(2))
    path.unlink()
    look(inbox, later(20))
    look(inbox, later(40))
    path.write_text("one")
    look(inbox, later(60))
    assert [(drop.name, drop.again) for drop in look(inbox, later(62))] == [("a.csv", True)]


def test_a_name_that_one_listing_misses_is_not_gone(inbox: Inbox) -> None:
    """An editor saves by writing a new file over the old name; between the two the name is missing."""
    path = inbox.path / "a.csv"
    path.write_text("one")
    look(inbox, NOW)
    look(inbox, later(2))
    path.rename(inbox.path / "a.csv~")
    look(inbox, later(20))
    (inbox.path / "a.csv~").rename(path)
    look(inbox, later(40))
    assert [drop.again for drop in look(inbox, later(42))] == [False]


@pytest.mark.parametrize(
    "name",
    [
        "~$a.xlsx",
        ".a.csv",
        "._a.csv",
        ".~lock.a.csv#",
        "a.csv~",
        "a.csv.part",
        "a.tmp",
        "#a.csv#",
        "a.txt",
        "a.csv:Zone.Identifier",
        "a.csv.status.json",
        "Thumbs.db",
        "4913",
    ],
)
def test_names_that_are_not_manifests_are_never_looked_at(inbox: Inbox, name: str) -> None:
    (inbox.path / name).write_text("x")
    look(inbox, NOW)
    assert look(inbox, later(100)) == []
    assert (inbox.waiting(), inbox.left_alone()) == ([], [])


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{short}/s")
        os.rename(f"{short}/s", path)


@pytest.mark.parametrize("make", [make_fifo, make_link, make_loop, make_folder, make_socket])
def test_what_is_no_plain_file_is_neither_followed_nor_waited_for(inbox: Inbox, make: Callable[[Path], None]) -> None:
    make(inbox.path / "a.csv")
    look(inbox, NOW)
    assert look(inbox, later(100)) == []
    assert [name for name, _ in inbox.left_alone()] == ["a.csv"]


def test_a_file_with_another_name_elsewhere_is_taken(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text("one")
    os.link(tmp_path / "elsewhere.csv", inbox.path / "a.csv")
    look(inbox, NOW)
    assert names(look(inbox, later(2))) == ["a.csv"]


def test_a_name_that_is_not_utf8_is_told(inbox: Inbox) -> None:
    (Path(os.fsdecode(os.fsencode(inbox.path) + b"/bad\xff.csv"))).write_text("x")
    assert look(inbox, NOW) == []
    assert inbox.left_alone() == [("bad\\xff.csv", "Its name is not UTF-8. Rename it with plain letters.")]


def test_an_order_whose_name_is_not_utf8_is_none(inbox: Inbox) -> None:
    for name in (b"\xff.csv.retry", b"s.csv.cancel"):
        (inbox.path / os.fsdecode(name)).touch()
    list(inbox.settled(NOW, LEDGER))
    assert inbox.orders() == [("s.csv.cancel", "s.csv", "cancel")]


@pytest.mark.parametrize(
    ("one", "other"), [("a.csv", "A.csv"), ("caf\u00e9.csv", "cafe\u0301.csv"), ("a.csv", "a.CSV")]
)
def test_two_names_that_are_one_name_elsewhere_are_told_and_neither_is_taken(
    inbox: Inbox, one: str, other: str
) -> None:
    for name in (one, other, "b.csv"):
        (inbox.path / name).write_text("x")
    look(inbox, NOW)
    assert names(look(inbox, later(2))) == ["b.csv"]
    assert {name for name, _ in inbox.left_alone()} == {one, other}
    (inbox.path / other).rename(inbox.path / "c.csv")
    look(inbox, later(20))
    assert names(look(inbox, later(22))) == sorted([one, "c.csv"])


def excel_saves(folder: Path, name: str, content: bytes) -> Iterator[None]:
    """Save as Excel does: an owner file, a temporary name, the old file away, the new one in its place."""
    (folder / f"~${name}").write_bytes(b"owner")
    yield
    (folder / "4C2E1000").write_bytes(content[: len(content) // 2])
    yield
    (folder / "4C2E1000").write_bytes(content)
    yield
    (folder / name).unlink(missing_ok=True)
    yield
    (folder / "4C2E1000").rename(folder / name)
    yield
    (folder / f"~${name}").unlink()


@pytest.mark.parametrize("died_after", range(6))
def test_however_far_excel_comes_in_saving_only_whole_files_are_taken(inbox: Inbox, died_after: int) -> None:
    before, after = zipped("before"), zipped("after" * 100)
    (inbox.path / "a.xlsx").write_bytes(before)
    taken = [*look(inbox, NOW), *look(inbox, later(2))]
    for step, _ in enumerate(excel_saves(inbox.path, "a.xlsx", after)):
        taken += look(inbox, later(10 + 3 * step))
        if step == died_after:
            break
    for seconds in (40, 43, 120, 123):
        taken += look(inbox, later(seconds))
    whole = {hashlib.sha256(content).hexdigest() for content in (before, after)}
    assert {drop.sha256 for drop in taken} <= whole
    there = inbox.path / "a.xlsx"
    assert not there.exists() or hashlib.sha256(there.read_bytes()).hexdigest() == taken[-1].sha256


def test_a_workbook_open_in_excel_waits_and_says_why(inbox: Inbox) -> None:
    (inbox.path / "a.xlsx").write_bytes(zipped())
    (inbox.path / "~$a.xlsx").write_bytes(b"owner")
    look(inbox, NOW)
    assert look(inbox, later(2)) == []
    (waiting,) = inbox.waiting()
    assert (waiting.reason, waiting.may_wait_long) == (
        "It is open in Excel or LibreOffice. Save it and close it there.",
        True,
    )
    (inbox.path / "~$a.xlsx").unlink()
    assert names(look(inbox, later(4))) == ["a.xlsx"]


def test_a_workbook_open_in_excel_for_too_long_is_taken_as_it_was_last_saved(inbox: Inbox) -> None:
    (inbox.path / "a.xlsx").write_bytes(zipped())
    (inbox.path / "~$a.xlsx").write_bytes(b"owner")
    look(inbox, NOW)
    assert names(look(inbox, later(61))) == ["a.xlsx"]


def test_a_torn_workbook_waits_for_its_end(inbox: Inbox) -> None:
    whole = zipped("x" * 1000)
    (inbox.path / "a.xlsx").write_bytes(whole[:200])
    look(inbox, NOW)
    assert look(inbox, later(2)) == []
    (inbox.path / "a.xlsx").write_bytes(whole)
    look(inbox, later(4))
    (drop,) = look(inbox, later(6))
    assert drop.sha256 == hashlib.sha256(whole).hexdigest()


def test_a_workbook_whose_end_names_other_disks_is_taken_and_breaks_nothing(inbox: Inbox) -> None:
    """zipfile.is_zipfile raises on such an end instead of answering."""
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 2)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0, 0, 0, 0, 0)
    (inbox.path / "a.xlsx").write_bytes(b"x" * 100 + locator + end)
    look(inbox, NOW)
    assert names(look(inbox, later(2))) == ["a.xlsx"]


def test_a_file_that_never_stops_changing_says_that_somebody_has_to_act(inbox: Inbox) -> None:
    for second in range(64):
        (inbox.path / "a.csv").write_text(str(second))
        assert look(inbox, later(second)) == []
    assert [waiting.may_wait_long for waiting in inbox.waiting()] == [True]


def test_a_file_that_is_taken_away_while_it_settles_keeps_no_other_from_being_taken(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv"):
        (inbox.path / name).write_text("one")
    look(inbox, NOW)

    def gone_in_between(path: Path) -> tuple[None, bool]:
        (inbox.path / "a.csv").unlink(missing_ok=True)
        return None, False

    monkeypatch.setattr("dropbox_agent.inbox.watch.looks_unfinished", gone_in_between)
    assert names(look(inbox, later(2))) == ["b.csv"]


def test_when_the_clock_goes_back_files_settle_as_before(inbox: Inbox) -> None:
    (inbox.path / "a.csv").write_text("one")
    look(inbox, later(3600))
    (inbox.path / "b.csv").write_text("two")
    assert inbox.is_due(NOW)
    assert look(inbox, NOW) == []
    assert names(look(inbox, later(2))) == ["a.csv", "b.csv"]


def test_a_torn_copy_in_the_spool_is_replaced_by_the_whole(inbox: Inbox) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    inbox.spool.mkdir()
    (inbox.spool / digest).write_text("on")
    (inbox.path / "a.csv").write_text("one")
    look(inbox, NOW)
    (drop,) = look(inbox, later(2))
    assert drop.spooled.read_text() == "one"


def test_an_empty_file_is_given_time_and_then_taken(inbox: Inbox) -> None:
    (inbox.path / "a.csv").touch()
    look(inbox, NOW)
    assert look(inbox, later(30)) == []
    assert names(look(inbox, later(61))) == ["a.csv"]


def test_of_a_huge_file_only_one_byte_more_than_allowed_is_copied(inbox: Inbox) -> None:
    inbox.max_bytes = 1000
    with (inbox.path / "a.csv").open("wb") as file:
        file.truncate(1 << 40)
    look(inbox, NOW)
    (drop,) = look(inbox, later(2))
    assert (drop.size, drop.spooled.stat().st_size) == (1001, 1001)


def test_an_inbox_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    inbox = again(tmp_path / "away", tmp_path)
    with pytest.raises(InboxUnavailable, match=r"is not there\. Nothing is made in its place"):
        look(inbox, NOW)
    assert not (tmp_path / "away").exists()
    assert "is not there" in str(inbox.trouble)


def test_an_empty_folder_where_the_share_was_mounted_is_not_believed(inbox: Inbox) -> None:
    (inbox.path / "a.csv").write_text("one")
    look(inbox, NOW)
    (inbox.path / MARKER).unlink()
    with pytest.raises(InboxUnavailable, match="has no marker"):
        look(inbox, later(20))
    mark(inbox.path, LEDGER)
    assert names(look(inbox, later(40))) == ["a.csv"]
    assert inbox.trouble is None


def nothing(marker: Path) -> None:
    marker.touch()


def deep(marker: Path) -> None:
    marker.write_text("[" * 5000)


def endless(marker: Path) -> None:
    marker.symlink_to("/dev/zero")


def behind_a_link(marker: Path) -> None:
    elsewhere = marker.parent.with_name("elsewhere")
    marker.parent.rename(elsewhere)
    (elsewhere / marker.name).write_text(f'{{"ledger_id": "{LEDGER}"}}')
    marker.parent.symlink_to(elsewhere)


@pytest.mark.parametrize("plant", [make_fifo, make_loop, make_folder, nothing, deep, endless, behind_a_link])
def test_whatever_is_planted_in_place_of_the_marker_is_said_and_holds_nothing_up(
    inbox: Inbox, plant: Callable[[Path], None]
) -> None:
    (inbox.path / MARKER).unlink()
    plant(inbox.path / MARKER)
    with pytest.raises(InboxUnavailable, match=r"The marker .* cannot be read"):
        look(inbox, NOW)


def test_making_the_marker_writes_through_no_link(inbox: Inbox, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (inbox.path / MARKER).with_suffix(".tmp").symlink_to(victim)
    (inbox.path / MARKER).unlink()
    (inbox.path / MARKER).symlink_to(victim)
    mark(inbox.path, LEDGER)
    assert victim.read_text() == "mine"
    assert look(inbox, NOW) == []


def test_no_marker_is_made_behind_a_link(inbox: Inbox, tmp_path: Path) -> None:
    behind_a_link(inbox.path / MARKER)
    with pytest.raises(InboxUnavailable, match="it lies behind a link"):
        mark(inbox.path, LEDGER)


def test_an_inbox_of_another_ledger_is_refused(inbox: Inbox) -> None:
    mark(inbox.path, "ledger-2")
    with pytest.raises(InboxUnavailable, match=r"belongs to another ledger \(ledger-2, ours is ledger-1\)"):
        look(inbox, NOW)


def test_a_full_spool_is_said_and_nothing_is_lost(inbox: Inbox, tmp_path: Path) -> None:
    inbox.spool = tmp_path / "file"
    inbox.spool.write_text("a file where the folder should be")
    (inbox.path / "a.csv").write_text("one")
    look(inbox, NOW)
    with pytest.raises(InboxUnavailable, match="could not be copied to the spool"):
        look(inbox, later(2))
    inbox.spool = tmp_path / "spool"
    assert names(look(inbox, later(20))) == ["a.csv"]


def test_between_two_scans_nothing_is_listed_until_an_event_comes(inbox: Inbox) -> None:
    look(inbox, NOW)
    assert not inbox.is_due(later(9))
    assert not inbox.hint("a.csv.status.json")
    assert not inbox.is_due(later(9))
    assert inbox.hint("a.csv")
    assert inbox.is_due(later(9))


def test_events_wake_the_scanner(inbox: Inbox) -> None:
    import threading

    woken = threading.Event()
    stop = inbox.listen(woken.set)
    try:
        (inbox.path / "a.csv").write_text("one")
        assert woken.wait(10)
    finally:
        stop()


Chunks = st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.floats(0.1, 1.9)), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(chunks=Chunks)
def test_a_file_that_grows_within_every_settle_time_is_only_ever_taken_whole(
    chunks: list[tuple[bytes, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    inbox = new_inbox(tmp_path_factory.mktemp("x"))
    now, whole = NOW, b""
    for chunk, pause in chunks:
        whole += chunk
        (inbox.path / "a.csv").write_bytes(whole)
        assert look(inbox, now) == []
        now += timedelta(seconds=pause)
    taken = [*look(inbox, now + timedelta(seconds=2)), *look(inbox, now + timedelta(seconds=4.1))]
    assert [drop.sha256 for drop in taken] == [hashlib.sha256(whole).hexdigest()]
