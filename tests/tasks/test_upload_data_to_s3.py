"""Every byte arrives, is compared, and is written down; what is not whole is never called an upload."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import resource
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from one_job import CONTENT, JOB, PREFIX, OneJob, tree, without_override, write

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import TaskOutcome
from dropbox_agent.tasks import upload_data_to_s3
from dropbox_agent.tasks.bucket import FolderBucket, Stored
from dropbox_agent.tasks.progress import Progress

TASK = "upload_data_to_s3"
ARRIVED = {f"ecephys/{name}": content for name, content in CONTENT.items()} | {"ecephys/empty folder": None}
SIZE = sum(map(len, CONTENT.values()))


def crc(content: bytes) -> str:
    return base64.b64encode(crc64nvme(content).to_bytes(8, "big")).decode()


class At(Progress):
    """Does something once, when a number of files or bytes is done: what happens during an upload."""

    def __init__(self, act: Callable[[], Any], *, files: int | None = None, size: int | None = None) -> None:
        super().__init__()
        self._act: Callable[[], Any] | None = act
        self._files, self._size = files, size

    def add(self, done_bytes: int = 0, done_files: int = 0) -> None:
        super().add(done_bytes, done_files)
        reached = self.done_files == self._files or (self._size is not None and self.done_bytes >= self._size)
        if self._act is not None and reached:
            act, self._act = self._act, None
            act()


def upload(job: OneJob, progress: Progress, **changes: Any) -> TaskOutcome:
    return upload_data_to_s3.run(job.settings(TASK, **changes), progress)


def inventory(job: OneJob) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(job.run_folder.inventory.read_text())
    return value


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_every_file_and_every_empty_folder_arrives_as_it_is(job: OneJob) -> None:
    job.staged()
    ran = job.command(TASK)
    assert ran.outcome == TaskOutcome(
        state="succeeded",
        message=f"4 files (600.0 kB) arrived in {job.bucket.as_uri()}/{PREFIX}; each was read back and compared.",
        facts={
            "files": 4,
            "bytes": SIZE,
            "empty_folders": 1,
            "not_from_this_upload": 0,
            "inventory": str(job.run_folder.inventory),
            "inventory_sha256": hashlib.sha256(job.run_folder.inventory.read_bytes()).hexdigest(),
        },
    )
    assert tree(job.asset) == ARRIVED
    assert sorted(path.name for path in job.records.iterdir()) == ["inventory.json", "job.json"]
    assert job.progress(TASK) == {
        "done_bytes": SIZE,
        "total_bytes": SIZE,
        "done_files": 4,
        "total_files": 4,
        "text": "Done",
        "seconds_left": None,
    }


def test_the_inventory_has_path_size_time_and_checksum_of_each_file(job: OneJob) -> None:
    job.staged()
    job.run(TASK)
    written = inventory(job)
    assert written.pop("written")
    assert written == {
        "schema": 1,
        "job_id": JOB,
        "s3_prefix": PREFIX,
        "location": f"{job.bucket.as_uri()}/{PREFIX}",
        "files": [
            {
                "path": f"ecephys/{name}",
                "size": len(content),
                "mtime_ns": (job.ecephys / name).stat().st_mtime_ns,
                "crc64nvme": crc(content),
            }
            for name, content in sorted(CONTENT.items())
        ],
        "empty_folders": ["ecephys/empty folder"],
    }
    assert json.loads((job.records / "inventory.json").read_text()) == inventory(job)


def test_the_checksum_is_the_one_that_s3_computes(job: OneJob) -> None:
    write(job.ecephys, {"check": b"123456789"})
    job.staged()
    job.run(TASK)
    assert {"ecephys/check": "rosUhgp5mIg="}.items() <= {
        one["path"]: one["crc64nvme"] for one in inventory(job)["files"]
    }.items()


def test_links_are_followed_to_what_they_lead_to(job: OneJob) -> None:
    os.symlink("probe A", job.ecephys / "linked folder")
    os.symlink("probe A/.zattrs", job.ecephys / "linked file")
    job.staged()
    job.run(TASK)
    assert (job.asset / "ecephys" / "linked file").read_bytes() == CONTENT["probe A/.zattrs"]
    assert tree(job.asset / "ecephys" / "linked folder") == tree(job.ecephys / "probe A")
    assert not (job.asset / "ecephys" / "linked file").is_symlink()


def test_the_byte_count_rises_while_a_file_is_uploaded(job: OneJob) -> None:
    with (job.ecephys / "big.dat").open("wb") as file:
        file.truncate(200_000_000)
    job.staged()
    child = job.start(TASK)
    seen: list[int] = []
    file_of_progress = job.attempt_folder.progress(TASK)
    while child.poll() is None:
        if file_of_progress.exists():
            seen.append(job.progress(TASK)["done_bytes"])
    child.communicate(timeout=60)
    seen.append(job.progress(TASK)["done_bytes"])
    rising = sorted(set(seen))
    assert seen == sorted(seen)
    assert len(rising) >= 3
    assert (rising[0], rising[-1]) == (0, 200_000_000 + SIZE)


def test_what_the_bucket_has_besides_is_told_and_left_alone(job: OneJob) -> None:
    write(job.asset, {"ecephys/empty.log": b"of an earlier upload", "older": b"kept"})
    job.staged()
    outcome = job.run(TASK)
    assert outcome.message.endswith(" Also there, not from this upload and left alone: older.")
    assert tree(job.asset) == {**ARRIVED, "older": b"kept"}


# --- what changes meanwhile ------------------------------------------------------------------------------------------


def test_a_file_that_is_rewritten_while_it_is_read_is_named_and_not_stored(job: OneJob) -> None:
    big = job.ecephys / "big.dat"
    big.write_bytes(b"x" * 3_000_000)
    job.staged()
    with pytest.raises(TaskFailed, match=r"ecephys/big\.dat changed while it was read"):
        upload(job, At(lambda: big.write_bytes(b"y" * 3_000_000), size=2_000_000))
    assert not (job.asset / "ecephys" / "big.dat").exists()
    assert not job.run_folder.inventory.exists()
    assert sorted(path.name for path in job.records.iterdir()) == ["job.json"]


def test_everything_that_changed_is_named_at_once(job: OneJob) -> None:
    source = job.ecephys
    write(source, dict.fromkeys(("grows", "shrinks", "goes", "same size"), b"1234"))
    job.staged()

    def change() -> None:
        write(source, {"grows": b"123456", "shrinks": b"1", "same size": b"4321", "new": b"", "empty folder/x": b""})
        (source / "goes").unlink()
        (source / "another empty folder").mkdir()

    with pytest.raises(TaskFailed) as failed:
        upload(job, At(change, files=8))
    assert all(
        sentence in str(failed.value)
        for sentence in (
            "ecephys/goes is gone",
            "ecephys/new is new",
            "ecephys/empty folder/x is new",
            "ecephys/grows grew from 4 to 6 bytes",
            "ecephys/shrinks shrank from 4 to 1 bytes",
            "ecephys/same size was written to",
            "the empty folder ecephys/empty folder is no longer so",
            "the empty folder ecephys/another empty folder is new",
            "Wait until nothing writes there any more, then retry the job",
        )
    ), str(failed.value)


def test_a_file_that_never_stops_growing_is_noticed(job: OneJob) -> None:
    log = job.ecephys / "log"
    log.write_bytes(b"x" * 100)
    job.staged()
    stop = threading.Event()

    def grow() -> None:
        with log.open("ab") as file:
            while not stop.is_set():
                file.write(b"x" * 1000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        message = job.failure(TASK)
    finally:
        stop.set()
        writer.join()
    assert "ecephys/log" in message


def test_a_folder_that_becomes_a_link_to_secrets_is_not_uploaded(job: OneJob, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    write(secrets, {"id_rsa": b"secret"})
    write(job.ecephys, {"z folder/file": b"x"})
    job.staged()

    def swap() -> None:
        (job.ecephys / "z folder").rename(tmp_path / "away")
        os.symlink(secrets, job.ecephys / "z folder")

    with pytest.raises(TaskFailed, match=r"z folder: this link leads to .*secrets, outside the folders"):
        upload(job, At(swap, files=1))
    assert "ecephys/z folder/id_rsa" not in tree(job.asset)


def test_a_link_that_leads_outside_stops_the_upload_before_it_begins(job: OneJob) -> None:
    os.symlink("/etc/passwd", job.ecephys / "passwd")
    job.staged()
    message = job.failure(TASK)
    assert "Nothing was uploaded, because 1 thing cannot be" in message
    assert "this link leads to /etc/passwd, outside the folders that may be uploaded" in message
    assert tree(job.bucket) == {".": None}


def test_a_file_that_cannot_be_read_is_named(job: OneJob) -> None:
    job.staged()
    (job.ecephys / "empty.log").chmod(0)
    ran = job.command(TASK, *without_override())
    assert ran.code == 1
    assert "ecephys/empty.log could not be read (the upload service may not read it" in ran.message


def test_nothing_staged_is_no_upload(job: OneJob) -> None:
    job.run("create_staging_folder")
    assert "Nothing was uploaded: there is no file in" in job.failure(TASK)


# --- going on after an interruption ----------------------------------------------------------------------------------


@pytest.fixture
def one_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are stored one after the other, so that it is known which were."""
    monkeypatch.setattr(FolderBucket, "hands", 1)


def interrupted(job: OneJob, files: int) -> None:
    """Upload until so many files are done, then lose the bucket's disk."""

    def stop() -> None:
        raise TaskFailed("interrupted")

    with pytest.raises(TaskFailed, match="interrupted"):
        upload(job, At(stop, files=files))


def stored_at(job: OneJob) -> dict[str, int]:
    files = [path for path in job.asset.rglob("*") if path.is_file()]
    return {str(path.relative_to(job.asset)): path.stat().st_ino for path in files}


@pytest.mark.usefixtures("one_hand")
def test_what_is_there_already_is_not_sent_again(job: OneJob) -> None:
    job.staged()
    interrupted(job, files=3)
    before = stored_at(job)
    assert job.run("check_s3_folder_exists").facts == {"resumes": True}
    assert job.run(TASK).state == "succeeded"
    after = stored_at(job)
    # The third was stored, but not noted any more.
    assert len([name for name in before if before[name] == after[name]]) == 2
    assert tree(job.asset) == ARRIVED


@pytest.mark.usefixtures("one_hand")
def test_what_changed_since_is_sent_again(job: OneJob) -> None:
    job.staged()
    interrupted(job, files=4)
    write(job.ecephys, {"empty.log": b"no longer"})
    job.run(TASK)
    assert tree(job.asset) == {**ARRIVED, "ecephys/empty.log": b"no longer"}


def test_a_journal_that_was_cut_off_costs_only_its_last_line(job: OneJob) -> None:
    job.staged()
    job.run(TASK)
    before = stored_at(job)
    journal = job.run_folder.path / "upload.journal"
    journal.write_bytes(journal.read_bytes().rstrip(b"\n")[:-10])
    with journal.open("ab") as file:
        file.write(b"\n[]\nnull\n{}\n\xff\n")
    job.run(TASK)
    after = stored_at(job)
    assert len([name for name in before if before[name] == after[name]]) == len(CONTENT) - 1


def test_what_the_bucket_lost_or_spoiled_is_found_and_sent_again_by_the_next_attempt(job: OneJob) -> None:
    job.staged()
    job.run(TASK)
    good = job.asset / "ecephys" / "probe A" / "continuous.dat"
    good.write_bytes(b"\xff" + CONTENT["probe A/continuous.dat"][1:])
    (job.asset / "ecephys" / "empty folder").rmdir()
    message = job.failure(TASK)
    assert "The bucket does not hold what was sent: ecephys/probe A/continuous.dat has CRC64NVME" in message
    assert job.run(TASK).state == "succeeded"
    assert tree(job.asset) == ARRIVED


def test_a_second_whole_upload_of_the_same_job_only_compares(job: OneJob) -> None:
    job.staged()
    job.run(TASK)
    before = stored_at(job)
    job.run(TASK)
    assert stored_at(job) == before


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_what_appeared_after_the_check_is_not_overwritten(job: OneJob) -> None:
    job.staged()
    job.ended("check_s3_folder_exists")
    write(job.asset, {"of somebody": b"else"})
    assert "was free when this job looked, and now somebody else has put files there" in job.failure(TASK)
    assert tree(job.asset) == {"of somebody": b"else"}


def test_a_job_that_did_not_check_overwrites_and_deletes_nothing(job: OneJob) -> None:
    job.staged()
    write(job.records, {"job.json": b'{"job_id": "another"}', "inventory.json": b'{"job_id": "another"}'})
    write(job.asset, {"ecephys/empty.log": b"old", "old": b"old"})
    assert job.run(TASK).state == "succeeded"
    assert tree(job.asset) == {**ARRIVED, "old": b"old"}
    assert json.loads((job.records / "job.json").read_text())["job_id"] == JOB


@pytest.mark.parametrize("name", ["ecephys", "ecephys/probe A", "."])
def test_a_link_in_the_bucket_leads_no_file_elsewhere(job: OneJob, name: str) -> None:
    elsewhere = job.folder / "elsewhere"
    elsewhere.mkdir()
    job.staged()
    planted = job.asset / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(elsewhere, planted)
    assert "a link or a file stands where a folder should be" in job.failure(TASK)
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(job: OneJob) -> None:
    victim = job.folder / "victim"
    victim.write_bytes(b"precious")
    job.staged()
    (job.asset / "ecephys").mkdir(parents=True)
    os.symlink(victim, job.asset / "ecephys" / "empty.log")
    job.records.mkdir(parents=True)
    os.symlink(victim, job.records / "arriving")
    assert job.run(TASK).state == "succeeded"
    assert victim.read_bytes() == b"precious"
    assert not (job.asset / "ecephys" / "empty.log").is_symlink()


def test_a_folder_in_place_of_a_file_is_told(job: OneJob) -> None:
    job.staged()
    write(job.asset, {"ecephys/empty.log/x": b""})
    message = job.failure(TASK)
    assert "ecephys/empty.log could not be stored" in message
    assert "a folder stands where the file should be" in message


@pytest.mark.parametrize("address", ["s3://aind", "file:///not/there"])
def test_a_bucket_that_cannot_be_reached_fails_it(job: OneJob, address: str) -> None:
    job.staged()
    assert job.failure(TASK, bucket=address)


def test_a_full_bucket_is_said_with_its_place_and_keeps_no_half_file(job: OneJob, small_disk: Path) -> None:
    write(job.ecephys, {"z big": b"x" * 2_000_000})
    job.staged()
    message = job.failure(TASK, bucket=small_disk.as_uri())
    # Files go side by side: the one that finds the disk full may be another than the one that fills it.
    told = re.search(f"{PREFIX}/(.+?) could not be written: there is no space left in {small_disk}", message)
    assert told is not None, message
    assert not {told.group(1), "ecephys/z big"} & set(tree(small_disk / PREFIX))
    assert sorted(path.name for path in (small_disk / ".dropbox-agent" / PREFIX).iterdir()) == ["job.json"]


def test_a_file_larger_than_this_process_may_write_is_said(job: OneJob) -> None:
    write(job.ecephys, {"z big": b"x" * 2_000_000})
    job.staged()
    settings = job.write_settings(TASK)
    done = subprocess.run(
        job.argv(settings), capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert f"there is no space left in {job.bucket}" in done.stdout


def test_a_bucket_that_cannot_be_written_is_said(job: OneJob) -> None:
    job.staged()
    job.bucket.chmod(0o555)
    ran = job.command(TASK, *without_override())
    job.bucket.chmod(0o755)
    assert f"{job.bucket} cannot be written (permission denied)" in ran.message


# --- the bucket itself -----------------------------------------------------------------------------------------------


def test_a_bucket_lists_files_with_sizes_and_empty_folders(job: OneJob) -> None:
    with closing(FolderBucket(job.bucket)) as bucket:
        bucket.put("a/b/c", [b"12", b"345"], 5)
        bucket.put_folder("a/d")
        assert list(bucket.listing("a")) == [("a/b/c", Stored(5)), ("a/d", Stored(None))]
        assert list(bucket.listing("b")) == []
        assert (bucket.get("a/b/c"), bucket.get("a/b/x"), bucket.get("x/y")) == (b"12345", None, None)


def test_a_pipe_in_a_bucket_stops_nothing(job: OneJob) -> None:
    job.staged()
    job.asset.mkdir(parents=True)
    os.mkfifo(job.asset / "pipe")
    job.records.mkdir(parents=True)
    os.mkfifo(job.records / "arriving")
    outcome = job.run(TASK)
    assert outcome.message.endswith("left alone: pipe.")
