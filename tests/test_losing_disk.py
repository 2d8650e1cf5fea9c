"""The disk of the proofs loses what it may, by its model, and nothing else; and what is made to last on it does."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from losing_disk import LosingDisk
from what_is_kept import CONTENT, NAMES, NOTHING, SECTOR, Model

from dropbox_agent import deliver, lasting
from dropbox_agent.inbox import marker
from dropbox_agent.ledger.database import open_for_writing

OLD, NEW = b"old" * SECTOR, b"new" * SECTOR


@pytest.fixture
def disk(tmp_path: Path) -> LosingDisk:
    """A disk with one file on it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_bytes(OLD)
    return LosingDisk(tmp_path / "disk", tmp_path / "aside")


def write(path: Path, content: bytes, synced: bool = False) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        if synced:
            os.fsync(file.fileno())


def replace(path: Path, synced: bool) -> None:
    write(path.with_name("new"), NEW, synced)
    os.replace(path.with_name("new"), path)


def test_a_process_that_is_still_on_it_is_waited_for(disk: LosingDisk) -> None:
    with disk.running():
        process = subprocess.Popen(["sleep", "0.5"], cwd=disk.path)
        write(disk.path / "file", NEW, synced=True)
    assert process.wait(20) == 0
    assert left(disk, "strict", NOTHING) == {"file": NEW}


def left(disk: LosingDisk, model: Model, seed: int) -> dict[str, bytes]:
    """Return what is there when the power fails at the end."""
    disk.fail(disk.points()[-1], model, seed)
    return {path.name: path.read_bytes() for path in disk.path.iterdir() if path.is_file()}


def test_what_replaced_a_file_without_being_synced_is_empty_unless_the_disk_sees_to_it(disk: LosingDisk) -> None:
    with disk.running():
        replace(disk.path / "file", synced=False)
    assert left(disk, "strict", NOTHING) == {"file": OLD}
    assert left(disk, "strict", NAMES) == {"file": b""}
    assert left(disk, "ordered", NAMES) == {"file": NEW}


def test_a_new_file_is_sure_with_its_folder_or_in_order_with_itself(disk: LosingDisk) -> None:
    with disk.running():
        write(disk.path / "first", NEW)
        write(disk.path / "second", NEW, synced=True)
    assert left(disk, "strict", NOTHING) == {"file": OLD}
    assert left(disk, "ordered", NOTHING) == {"file": OLD, "first": b"", "second": NEW}
    assert left(disk, "strict", CONTENT) == {"file": OLD}


def test_what_was_synced_is_never_lost_whatever_the_seed(disk: LosingDisk) -> None:
    with disk.running():
        replace(disk.path / "file", synced=True)
        lasting.sync_folder(disk.path)
        write(disk.path / "other", NEW)
    assert {left(disk, "strict", seed)["file"] for seed in range(20)} == {NEW}
    assert {left(disk, "ordered", seed)["file"] for seed in range(20)} == {NEW}


def test_what_is_overwritten_may_be_torn_at_the_borders_of_sectors(disk: LosingDisk) -> None:
    with disk.running(), (disk.path / "file").open("r+b") as file:
        file.write(NEW)
    torn = {left(disk, "ordered", seed)["file"] for seed in range(3, 20)}
    assert len(torn) > 3
    pieces = [content[at : at + SECTOR] for content in torn for at in range(0, len(OLD), SECTOR)]
    whole = {text[at : at + SECTOR] for text in (OLD, NEW) for at in range(0, len(OLD), SECTOR)}
    assert set(pieces) <= whole


def test_what_was_committed_to_a_ledger_is_there_after_every_power_failure(disk: LosingDisk) -> None:
    with disk.running():
        for number in range(3):
            with closing(open_for_writing(disk.path / "ledger.sqlite")) as ledger:
                ledger.execute("INSERT INTO ledger VALUES (?, 'now')", (str(number),)).fetchall()
                ledger.execute("DELETE FROM ledger WHERE ledger_id = ?", (str(number - 1),))
    for seed in range(8):
        disk.fail(disk.points()[-1], "strict", seed)
        with closing(sqlite3.connect(disk.path / "ledger.sqlite")) as ledger:
            assert ledger.execute("SELECT ledger_id FROM ledger").fetchall() == [("2",)]
            assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_folder_that_was_made_to_last_is_there_with_those_above_it(disk: LosingDisk) -> None:
    with disk.running():
        lasting.make_folder(disk.path / "state" / "spool")
    disk.fail(disk.points()[-1], "strict", NOTHING)
    assert (disk.path / "state" / "spool").is_dir()


def test_a_template_that_a_power_failure_left_is_still_known_as_ours(disk: LosingDisk) -> None:
    (disk.path / ".dropbox-agent").mkdir()
    with disk.running():
        deliver.write_own(disk.path, "TEMPLATE.xlsx", NEW)
    assert left(disk, "strict", NOTHING)["TEMPLATE.xlsx"] == NEW
    assert deliver.is_unchanged(disk.path, hashlib.sha256(NEW).hexdigest())


def test_an_inbox_that_was_bound_to_a_ledger_is_bound_after_every_power_failure(disk: LosingDisk) -> None:
    with disk.running():
        inbox_id = marker.mark(disk.path, "ours")
    for seed in range(8):
        disk.fail(disk.points()[-1], "strict", seed)
        assert marker.guard(disk.path, "ours") == inbox_id
