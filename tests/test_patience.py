"""Shares that hang: what is asked of them is left behind, everything else goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from faulty_share import faulty_share

from dropbox_agent.errors import NoAnswer
from dropbox_agent.patience import Place, Places, mount_point

MOUNTS = (
    "1 0 0:1 / / rw - ext4 /dev/a rw\n"
    "2 1 0:2 / /mnt/a\\040share rw - nfs4 server:/a rw\n"
    "3 1 0:3 / /mnt/a\\040share/inner rw - nfs4 server:/b rw\n"
)


def test_what_is_asked_in_time_is_answered() -> None:
    place = Place("/share", 20)
    assert place.ask(lambda: 1) == 1
    with pytest.raises(FileNotFoundError):
        place.ask(Path("/not/there").stat)
    assert place.ask(lambda: 2) == 2


def test_while_one_question_hangs_the_next_fails_at_once_and_later_all_is_well() -> None:
    place, over = Place("/share", 0.05), threading.Event()
    with pytest.raises(NoAnswer, match="/share does not answer"):
        place.ask(over.wait)
    asked: list[int] = []
    with pytest.raises(NoAnswer):
        place.ask(lambda: asked.append(1))
    assert asked == []
    over.set()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            assert place.ask(lambda: 3) == 3
            return
        except NoAnswer:
            time.sleep(0.01)
    pytest.fail("the place never answered again")


def test_the_mount_of_a_path_is_told_from_its_text() -> None:
    for path, point in {
        "/mnt/a share/x/y": "/mnt/a share",
        "/mnt/a share/inner/x": "/mnt/a share/inner",
        "/mnt/a shareholder": "/",
        "/mnt/a share/../b": "/",
    }.items():
        assert mount_point(path, MOUNTS) == point


def test_a_mount_that_hangs_stops_no_other(tmp_path: Path) -> None:
    places = Places(1)
    with faulty_share(tmp_path) as share:
        share.set(delay=600)
        with pytest.raises(NoAnswer, match=str(share.path)):
            places.ask(share.path / "x", (share.path / "x").exists)
        assert places.ask(tmp_path, tmp_path.is_dir)


def test_a_link_to_a_mount_that_hangs_stops_no_other(tmp_path: Path) -> None:
    places = Places(1)
    with faulty_share(tmp_path) as share:
        (tmp_path / "data").symlink_to("more/data")
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "data").symlink_to(share.path)
        (tmp_path / "round").symlink_to("round")
        share.set(delay=600)
        with pytest.raises(NoAnswer, match=str(share.path)):
            places.ask(tmp_path / "data" / "x", (tmp_path / "data" / "x").exists)
        assert places.ask(tmp_path, tmp_path.is_dir)
        assert not places.ask(tmp_path / "round", (tmp_path / "round").is_dir)
