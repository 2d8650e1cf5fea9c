"""A task as a process: what it is called with, what it leaves behind, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from one_job import ENVIRONMENT, PREFIX, OneJob

from dropbox_agent.model import TaskOutcome
from dropbox_agent.tasks.__main__ import TASKS
from dropbox_agent.tasks.progress import Progress


def call(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", "-m", "dropbox_agent.tasks", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)


def test_calling_it_wrongly_says_what_would_be_right() -> None:
    for words in ((), ("check_s3_folder_exists",), ("rm_rf", "x.json")):
        done = call(*words)
        assert done.returncode == 2
        assert "NAME is one of: check_s3_folder_exists, " in done.stdout


def test_a_settings_file_that_is_not_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"task_id": 1}')
    done = call("create_staging_folder", str(file))
    assert done.returncode == 2
    assert f"The settings file {file} cannot be used" in done.stdout


def test_success_is_exit_code_0_with_the_outcome_in_its_file_and_in_the_log(job: OneJob) -> None:
    ran = job.command("create_staging_folder")
    assert (ran.code, ran.outcome) == (
        0,
        TaskOutcome(
            state="succeeded",
            message="The staging folder is made.",
            facts={"folder": str(job.run_folder.staging), "resumed": False},
        ),
    )
    assert ran.log == "create_staging_folder succeeded: The staging folder is made.\n"


def test_skipped_is_exit_code_0(job: OneJob) -> None:
    ran = job.command("copy_derivatives_folder")
    assert (ran.code, ran.outcome and ran.outcome.state) == (0, "skipped")
    assert "derivatives_dir" in ran.message


def test_failure_is_exit_code_1(job: OneJob) -> None:
    ran = job.command("check_s3_folder_exists", bucket="ftp://aind")
    assert (ran.code, ran.outcome and ran.outcome.state) == (1, "failed")
    assert "The bucket's address ftp://aind is not understood" in ran.message


def test_what_nobody_thought_of_is_a_plain_sentence_and_a_traceback_in_the_log(job: OneJob) -> None:
    ran = job.command("check_source_folders_exist", sources={"ecephys": "/a\0b"})
    assert ran.code == 1
    assert "\n" not in ran.message
    assert "its log tells the operator what" in ran.message
    assert "Traceback (most recent call last)" in ran.log


def test_a_surprise_of_the_file_system_names_the_place(job: OneJob) -> None:
    job.staged()
    os.mkdir(job.run_folder.path / "upload.journal")
    ran = job.command("upload_data_to_s3")
    assert ran.code == 1
    assert "upload.journal" in ran.message


def test_an_outcome_that_cannot_be_written_fails(job: OneJob) -> None:
    job.attempt_folder.outcome("create_staging_folder").mkdir()
    settings = job.write_settings("create_staging_folder")
    done = subprocess.run(job.argv(settings), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "The outcome could not be written to" in done.stdout


def test_no_variable_of_the_environment_decides_anything(job: OneJob) -> None:
    settings = job.write_settings("check_s3_folder_exists")
    loud = {**ENVIRONMENT, "BUCKET": "s3://elsewhere", "TASK_ID": "x", "S3_PREFIX": "y", "PYTHONSTARTUP": "/x"}
    subprocess.run(job.argv(settings), env=loud, timeout=60, check=True, capture_output=True)
    assert job.outcome("check_s3_folder_exists") == TaskOutcome(
        state="succeeded", message=f"{job.bucket.as_uri()}/{PREFIX} is free.", facts={"resumes": False}
    )


def test_sigterm_ends_it_promptly_and_says_so(job: OneJob) -> None:
    write_big(job.ecephys / "big.dat")
    job.staged()
    child = job.start("upload_data_to_s3")
    file = job.attempt_folder.progress("upload_data_to_s3")
    while not (file.exists() and json.loads(file.read_text())["done_bytes"] > 10**6):
        assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    log, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert job.outcome("upload_data_to_s3") == TaskOutcome(
        state="failed", message="upload_data_to_s3 was cancelled: it was told to stop before it was done."
    )
    assert "was cancelled" in log
    assert not (job.asset / "ecephys" / "big.dat").exists()
    assert sorted(path.name for path in job.records.iterdir()) == ["job.json"]


def write_big(path: Path) -> None:
    """A file without blocks: reading it costs little, writing it takes its time."""
    with path.open("wb") as file:
        file.truncate(1_000_000_000)


def test_every_task_is_a_file_of_its_name() -> None:
    assert {name: task.__module__ for name, task in TASKS.items()} == {
        name: f"dropbox_agent.tasks.{name}" for name in TASKS
    }


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_is_written_at_once_and_then_at_most_five_times_a_second(tmp_path: Path) -> None:
    file, now = tmp_path / "progress.json", [100.0]
    progress = Progress(file, clock=lambda: now[0])
    seen = []
    progress.begin("Uploads", total_bytes=100, total_files=2)
    seen.append(json.loads(file.read_text())["done_bytes"])
    for seconds in (0.01, 0.01, 0.1, 0.1, 0.01, 0.3):
        now[0] += seconds
        progress.add(10)
        seen.append(json.loads(file.read_text())["done_bytes"])
    progress.flush()
    assert seen == [0, 10, 10, 10, 40, 40, 60]
    assert json.loads(file.read_text()) == {
        "done_bytes": 60,
        "total_bytes": 100,
        "done_files": 0,
        "total_files": 2,
        "text": "Uploads",
        "seconds_left": None,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_how_long_it_takes_is_told_by_what_is_slower_and_not_by_what_was_there_before() -> None:
    now = [100.0]
    progress = Progress(clock=lambda: now[0])
    progress.begin("Uploads", total_bytes=1000, total_files=100)
    progress.passed_over(500)
    progress.add(100, 1)
    assert progress.as_json()["seconds_left"] is None
    now[0] += 10
    # 400 bytes at 10 a second would take 40 s; 98 files at one in ten seconds take longer.
    assert progress.as_json()["seconds_left"] == 980
    progress.add(0, 49)
    assert progress.as_json()["seconds_left"] == 40
    progress.add(400, 49)
    assert progress.as_json()["seconds_left"] is None


def test_progress_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(tmp_path / "gone" / "progress.json")
    progress.begin("Uploads")
    progress.add(1)
    progress.flush()
    assert progress.done_bytes == 1
    assert capsys.readouterr().out.count("The work goes on.") == 1
