"""The derivatives folder is copied into the asset, or the task says why there is nothing to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from one_job import OneJob, tree, write

from dropbox_agent.errors import TaskSkipped
from dropbox_agent.model import TaskOutcome

TASK = "copy_derivatives_folder"
FILES = {"sorted/units a'; echo.csv": b"1,2\n", "sorted/.hidden": b"x", "empty": b""}


@pytest.fixture
def derivatives(job: OneJob) -> Path:
    job.run("create_staging_folder")
    folder = job.folder / "data" / "derivatives of it"
    write(folder, FILES)
    (folder / "empty folder").mkdir()
    return folder


def test_no_folder_is_no_work(job: OneJob) -> None:
    with pytest.raises(TaskSkipped, match="derivatives_dir in the manifest"):
        job.run(TASK)


def test_every_file_is_copied_with_its_time(job: OneJob, derivatives: Path) -> None:
    os.utime(derivatives / "empty", ns=(10**18, 10**18 + 1))
    ran = job.command(TASK, derivatives_dir=derivatives)
    assert ran.outcome == TaskOutcome(
        state="succeeded", message="3 files (5 bytes) copied.", facts={"files": 3, "bytes": 5}
    )
    assert tree(job.content / "derivatives") == {**FILES, "empty folder": None}
    assert (job.content / "derivatives" / "empty").stat().st_mtime_ns == 10**18 + 1
    assert job.progress(TASK)["done_bytes"] == 5


def test_names_as_long_as_a_disk_takes_them_are_copied(job: OneJob, derivatives: Path) -> None:
    write(derivatives, {"l" * 255: b"x", "ü" * 127: b"y"})
    job.run(TASK, derivatives_dir=derivatives)
    assert {"l" * 255: b"x", "ü" * 127: b"y"}.items() <= tree(job.content / "derivatives").items()


def test_copying_again_copies_what_there_is_now(job: OneJob, derivatives: Path) -> None:
    job.run(TASK, derivatives_dir=derivatives)
    shutil.rmtree(derivatives / "sorted")
    write(job.run_folder.staging, {"derivatives.partial-dbx-earlier/half": b"x"})
    job.run(TASK, derivatives_dir=derivatives)
    assert tree(job.content / "derivatives") == {"empty": b"", "empty folder": None}
    assert sorted(path.name for path in job.run_folder.staging.iterdir()) == [job.content.name, "job.json"]


def test_links_are_followed_inside_the_sites_roots_and_refused_outside(job: OneJob, derivatives: Path) -> None:
    os.symlink(job.ecephys / "empty.log", derivatives / "link")
    job.run(TASK, derivatives_dir=derivatives)
    assert not (job.content / "derivatives" / "link").is_symlink()
    os.symlink("/etc/passwd", derivatives / "passwd")
    message = job.failure(TASK, derivatives_dir=derivatives)
    assert "this link leads to /etc/passwd, outside the folders that may be uploaded" in message
    assert "passwd" not in tree(job.content / "derivatives")


def test_a_folder_that_is_gone_is_said(job: OneJob, derivatives: Path) -> None:
    assert "there is no such folder" in job.failure(TASK, derivatives_dir=derivatives / "gone")
    assert list(job.content.iterdir()) == []


def test_a_full_work_folder_is_said_with_its_place(job: OneJob, derivatives: Path, small_disk: Path) -> None:
    write(derivatives, {"big": b"x" * 2_000_000})
    run_folder = small_disk / "job"
    run_folder.mkdir()
    job.run("create_staging_folder", run_folder=run_folder)
    message = job.failure(TASK, run_folder=run_folder, derivatives_dir=derivatives)
    assert f"big could not be written: there is no space left in {run_folder / 'staging'}" in message
