"""A share that is away while a task reads or writes there: the task says that this passes, and goes on later."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_share import READING, WRITING, Share, faulty_share
from one_job import CONTENT, OneJob, Ran, write

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks import upload_data_to_s3
from dropbox_agent.tasks.away import AWAY
from dropbox_agent.tasks.tree import Allowed, Finding, Found, walk


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    (tmp_path / "faulty").mkdir()
    with faulty_share(tmp_path / "faulty") as mounted:
        write(mounted.below / "data", CONTENT)
        (mounted.below / "bucket").mkdir()
        yield mounted


def away(share: Share, code: str, path: str, *calls: str) -> None:
    share.set(errors=[{"path": path, "call": calls, "errno": code}])


def passes(ran: Ran) -> bool:
    """Return whether a task that failed says that it may succeed later."""
    assert ran.outcome is not None and (ran.code, ran.outcome.state) == (1, "failed"), ran.log
    return ran.outcome.facts.get("passes") is True


# --- sources ---------------------------------------------------------------------------------------------------------


def test_a_source_whose_share_does_not_answer_passes(job: OneJob, share: Share) -> None:
    job.changes["sources"] = {"ecephys": share.path / "data"}
    for code in AWAY:
        away(share, errno.errorcode[code], "^/data", *READING)
        assert job.run("check_source_folders_exist").facts["passes"] is True
    ran = job.command("check_source_folders_exist")
    assert passes(ran), ran.message
    assert "this folder cannot be opened" in ran.message
    share.set()
    assert job.command("check_source_folders_exist").code == 0


def test_a_source_whose_server_died_passes(job: OneJob, share: Share) -> None:
    share.die()
    assert passes(job.command("check_source_folders_exist", sources={"ecephys": share.path / "data"}))


def test_a_source_that_is_not_there_does_not_pass(job: OneJob, share: Share) -> None:
    share.unmount()
    ran = job.command("check_source_folders_exist", sources={"ecephys": share.path / "data"})
    assert not passes(ran)
    assert "there is no such folder" in ran.message


def test_a_folder_or_file_in_a_source_that_cannot_be_looked_at_passes(job: OneJob, share: Share) -> None:
    job.changes["sources"] = {"ecephys": share.path / "data"}
    for call in ("getattr", "readdir", "open"):
        away(share, "EIO", r"/probe A|\.zattrs", call)
        assert job.run("check_source_folders_exist").facts["passes"] is True


def test_where_something_else_is_wrong_as_well_it_does_not_pass(job: OneJob, share: Share) -> None:
    away(share, "ESTALE", "^/data", *READING)
    both = {"ecephys": share.path / "data", "behavior": job.folder / "missing"}
    assert not passes(job.command("check_source_folders_exist", sources=both))


def test_a_source_that_is_away_when_it_is_linked_passes(job: OneJob, share: Share) -> None:
    job.run("create_staging_folder")
    job.changes["sources"] = {"ecephys": share.path / "data"}
    away(share, "ESTALE", "^/data", *READING)
    ran = job.command("compress_data", modality="ecephys")
    assert passes(ran)
    assert "does not answer" in ran.message
    share.unmount()
    assert not passes(job.command("compress_data", modality="ecephys"))


@pytest.mark.parametrize(
    ("path", "call"), [("continuous.dat", "read"), ("continuous.dat", "open"), ("probe A", "readdir")]
)
def test_a_source_that_is_away_while_it_is_uploaded_passes_and_the_upload_goes_on_later(
    job: OneJob, share: Share, path: str, call: str
) -> None:
    job.changes["sources"] = {"ecephys": share.path / "data"}
    job.staged()
    away(share, "EIO", path, call)
    assert passes(job.command("upload_data_to_s3"))
    share.set()
    assert job.command("upload_data_to_s3").code == 0
    assert (job.asset / "ecephys/probe A/continuous.dat").read_bytes() == CONTENT["probe A/continuous.dat"]


def test_derivatives_and_metadata_on_a_share_that_is_away_pass(job: OneJob, share: Share) -> None:
    job.staged()
    write(share.below / "more", {"subject.json": b"{}", "x.dat": b"x"})
    job.changes.update(derivatives_dir=share.path / "more", metadata_dir=share.path / "more")
    for path, call in (("^/more$", "readdir"), ("subject.json", "read")):
        away(share, "ETIMEDOUT", path, call)
        assert passes(job.command("copy_derivatives_folder"))
        assert passes(job.command("gather_preliminary_metadata"))
    share.set()
    assert [job.command(task).code for task in ("copy_derivatives_folder", "gather_preliminary_metadata")] == [0, 0]


@pytest.mark.parametrize("is_told", [True, False])
def test_what_was_not_seen_for_a_moment_while_it_was_sent_is_never_left_out(
    job: OneJob, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    walks = 0

    def for_a_moment(folder: Path, may: Allowed, key_prefix: str = "", *, deep: bool = True) -> Iterator[Found]:
        nonlocal walks
        walks += 1
        for found in walk(folder, may, key_prefix, deep=deep):
            if walks != 2 or not found.name.startswith("ecephys/probe A/"):
                yield found
            elif is_told and found.name.endswith(".dat"):
                yield Finding("ecephys/probe A", "this folder cannot be read: input/output error", away=True)

    job.staged()
    monkeypatch.setattr(upload_data_to_s3, "walk", for_a_moment)
    with pytest.raises(TaskFailed) as failed:
        job.run("upload_data_to_s3")
    assert ("probe A" in str(failed.value), failed.value.passes) == (True, is_told)
    assert not (job.records / "inventory.json").exists()
    assert job.run("upload_data_to_s3").facts["files"] == len(CONTENT)


# --- buckets ---------------------------------------------------------------------------------------------------------


def test_a_bucket_whose_share_does_not_answer_passes(job: OneJob, share: Share) -> None:
    job.changes["bucket"] = (share.path / "bucket").as_uri()
    job.staged()
    for code in AWAY:
        away(share, errno.errorcode[code], "^/bucket", *READING, *WRITING)
        with pytest.raises(TaskFailed) as failed:
            job.run("upload_data_to_s3")
        assert failed.value.passes
    assert passes(job.command("check_s3_folder_exists"))
    assert passes(job.command("upload_data_to_s3"))
    share.set()
    assert [job.command(task).code for task in ("check_s3_folder_exists", "upload_data_to_s3")] == [0, 0]


def test_a_bucket_that_goes_away_while_it_is_written_passes_and_the_upload_goes_on_later(
    job: OneJob, share: Share
) -> None:
    job.changes["bucket"] = (share.path / "bucket").as_uri()
    job.staged()
    for call in ("mkdir", "create", "write", "fsync", "rename", "read", "readdir"):
        away(share, "EIO", "^/bucket/", call)
        with pytest.raises(TaskFailed) as failed:
            job.run("upload_data_to_s3")
        assert failed.value.passes, call
    share.set()
    ran = job.command("upload_data_to_s3")
    assert ran.code == 0, ran.message


def test_a_bucket_that_is_not_there_or_full_does_not_pass(job: OneJob, share: Share) -> None:
    job.changes["bucket"] = (share.path / "bucket").as_uri()
    job.staged()
    away(share, "ENOSPC", "^/bucket/", "write")
    assert not passes(job.command("upload_data_to_s3"))
    share.unmount()
    assert not passes(job.command("upload_data_to_s3"))
