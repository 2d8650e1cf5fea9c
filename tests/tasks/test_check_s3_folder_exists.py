"""A bucket that has something of this name already is not written to, unless it is this job's own half upload."""

from __future__ import annotations

import json
import os

import pytest
from one_job import JOB, PREFIX, OneJob, write

from dropbox_agent.model import TaskOutcome

TASK = "check_s3_folder_exists"


def mark(job: OneJob, owner: str, *names: str) -> None:
    write(job.records, {name: json.dumps({"job_id": owner}).encode() for name in names})


def test_a_free_name_is_told(job: OneJob) -> None:
    ran = job.command(TASK)
    assert (ran.code, ran.outcome) == (
        0,
        TaskOutcome(state="succeeded", message=f"{job.bucket.as_uri()}/{PREFIX} is free.", facts={"resumes": False}),
    )


def test_an_asset_whose_name_only_begins_like_this_one_does_not_count(job: OneJob) -> None:
    write(job.bucket, {f"{PREFIX}_processed_2026-02-01_00-00-00/file": b"x", f"{PREFIX}0/file": b""})
    assert job.run(TASK).state == "succeeded"


@pytest.mark.parametrize("name", ["file", "deep/er/file", ".hidden"])
def test_anything_below_the_name_stops_the_job(job: OneJob, name: str) -> None:
    write(job.asset, {name: b""})
    ran = job.command(TASK)
    assert ran.code == 1
    assert f"{PREFIX} exists already, and nothing was overwritten." in ran.message
    assert "force_cloud_sync" in ran.message


def test_the_half_upload_of_this_job_is_gone_on_with(job: OneJob) -> None:
    write(job.asset, {"file": b""})
    mark(job, JOB, "job.json")
    outcome = job.run(TASK)
    assert (outcome.state, outcome.facts) == ("succeeded", {"resumes": True})
    assert outcome.message.endswith("was begun by this job and is not finished; the upload goes on from there.")


def test_the_whole_upload_of_this_job_is_compared_once_more(job: OneJob) -> None:
    write(job.asset, {"file": b""})
    mark(job, JOB, "job.json", "inventory.json")
    assert job.run(TASK).message.endswith("was uploaded by this job already; it is compared once more.")


@pytest.mark.parametrize("marker", [b"", b"[]", b'"x"', b"\xff", b'{"job_id": null}', b'{"job_id": "another"}'])
def test_a_marker_that_is_not_this_jobs_is_somebody_elses(job: OneJob, marker: bytes) -> None:
    write(job.asset, {"file": b""})
    write(job.records, {"job.json": marker})
    assert "exists already" in job.failure(TASK)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("file://host/share", "is not understood; file:///an/absolute/folder or s3://bucket would be right"),
        ("/plain/folder", "is not understood"),
        ("file:///not/there", "cannot be opened (no such file or directory): is it mounted?"),
        ("file:///etc/passwd", "cannot be opened (not a directory)"),
    ],
)
def test_a_bucket_that_cannot_be_reached_never_counts_as_empty(job: OneJob, address: str, words: str) -> None:
    assert words in job.failure(TASK, bucket=address)


def test_a_link_in_place_of_the_asset_is_not_followed(job: OneJob) -> None:
    os.symlink(job.folder / "data", job.asset)
    assert "a link or a file stands where a folder should be" in job.failure(TASK)
