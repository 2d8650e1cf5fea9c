"""The staging folder is made with its marker, and removed only where the marker is this job's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from one_job import JOB, PREFIX, OneJob, tree, without_override, write

MAKE, REMOVE = "create_staging_folder", "remove_staging_folder"


def test_it_stands_with_the_marker_of_the_job_and_a_folder_for_the_asset(job: OneJob) -> None:
    job.run(MAKE)
    marker = {"job_id": JOB, "s3_prefix": PREFIX, "bucket": job.bucket.as_uri()}
    assert json.loads(job.run_folder.staging_marker.read_text()) == marker
    assert list(job.content.iterdir()) == []
    assert sorted(path.name for path in job.run_folder.path.iterdir()) == ["attempts", "staging"]


def test_that_of_an_earlier_attempt_is_used_again(job: OneJob) -> None:
    job.run(MAKE)
    write(job.content, {"kept": b"x"})
    outcome = job.run(MAKE)
    assert (outcome.state, outcome.facts["resumed"]) == ("succeeded", True)
    assert tree(job.content) == {"kept": b"x"}


def test_what_an_interrupted_making_left_is_made_anew(job: OneJob) -> None:
    write(job.run_folder.path, {f".staging-{job.attempt}/job.json": b"half"})
    job.run_folder.staging.mkdir()
    assert job.run(MAKE).facts["resumed"] is False


def test_another_jobs_folder_is_left_alone(job: OneJob) -> None:
    write(job.run_folder.staging, {"job.json": b'{"job_id": "another"}', "data": b"x"})
    before = tree(job.run_folder.staging)
    for task in (MAKE, REMOVE, "upload_data_to_s3", "gather_preliminary_metadata"):
        assert "does not belong to this job" in job.failure(task)
    assert tree(job.run_folder.staging) == before


def test_a_folder_without_a_marker_is_left_alone(job: OneJob) -> None:
    write(job.run_folder.staging, {"data": b"x"})
    for task in (MAKE, REMOVE):
        assert "its marker is missing" in job.failure(task)
    assert tree(job.run_folder.staging) == {"data": b"x"}


def test_a_link_in_its_place_is_left_alone(job: OneJob) -> None:
    elsewhere = job.folder / "elsewhere"
    write(elsewhere, {"job.json": json.dumps({"job_id": JOB}).encode(), "data": b"x"})
    os.symlink(elsewhere, job.run_folder.staging)
    for task in (MAKE, REMOVE):
        assert "does not belong to this job" in job.failure(task)
    assert "data" in tree(elsewhere)


def test_a_job_folder_that_is_gone_is_said_with_its_place(job: OneJob) -> None:
    shutil.rmtree(job.run_folder.path)
    assert f"is the work folder {job.folder / 'work'} mounted?" in job.failure(MAKE)


def test_a_work_folder_that_cannot_be_written_is_said_with_its_place(job: OneJob) -> None:
    job.write_settings(MAKE)
    job.run_folder.path.chmod(0o555)
    ran = job.command(MAKE, *without_override())
    job.run_folder.path.chmod(0o755)
    assert ran.code == 1
    assert f"{job.run_folder.path} cannot be written (permission denied)" in ran.message


def test_a_full_work_folder_is_said_with_its_place(job: OneJob, small_disk: Path) -> None:
    write(small_disk, {"job/file": b"x", "filler": b""})
    fill(small_disk / "filler")
    message = job.failure(MAKE, run_folder=small_disk / "job")
    assert f"there is no space left in {small_disk / 'job'}" in message
    assert sorted(path.name for path in (small_disk / "job").iterdir()) == ["file"]


def fill(file: Path) -> None:
    """Write until the disk takes no more."""
    try:
        with file.open("wb", buffering=0) as writer:
            while writer.write(b"\0" * 4096):
                pass
    except OSError:
        return


# --- removing --------------------------------------------------------------------------------------------------------


def test_it_is_removed_and_what_its_links_lead_to_is_not(job: OneJob) -> None:
    job.staged()
    before = tree(job.ecephys)
    ran = job.command(REMOVE)
    assert (ran.code, ran.message) == (0, "The staging folder is removed.")
    assert tree(job.ecephys) == before
    assert sorted(path.name for path in job.run_folder.path.iterdir()) == ["attempts"]


def test_nothing_there_is_fine(job: OneJob) -> None:
    outcome = job.run(REMOVE)
    assert (outcome.state, outcome.message) == ("succeeded", "There was no staging folder left to remove.")


def test_a_removal_that_was_interrupted_is_finished(job: OneJob) -> None:
    write(job.run_folder.path, {"staging.leaving/left/over": b"x"})
    assert job.run(REMOVE).state == "succeeded"
    assert sorted(path.name for path in job.run_folder.path.iterdir()) == ["attempts"]


def test_folders_that_a_script_left_read_only_are_removed(job: OneJob) -> None:
    job.run(MAKE)
    write(job.content, {"ecephys/deep/file": b"x"})
    (job.content / "ecephys" / "deep").chmod(0o555)
    (job.content / "ecephys").chmod(0o555)
    ran = job.command(REMOVE, *without_override())
    assert (ran.code, ran.message) == (0, "The staging folder is removed.")
    assert not job.run_folder.staging.exists()
