"""How long 100,000 small files take (FILES=3000: fewer), checked and sent to S3 and to a folder; each has to arrive."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from one_job import ENVIRONMENT, PREFIX, OneJob
from s3_server import Place

FILES = int(os.environ.get("FILES", "100000"))


@pytest.fixture
def many(tmp_path: Path) -> OneJob:
    """A job whose source is a zarr tree of small files."""
    job = OneJob.in_folder(tmp_path)
    for number in range(FILES):
        chunk = job.ecephys / "image.zarr" / str(number // 1000) / str(number % 1000)
        if number % 1000 == 0:
            chunk.parent.mkdir(parents=True)
        chunk.write_bytes(b"%d" % number)
    return job


def timed(job: OneJob, task_id: str, **settings: Any) -> None:
    """Run a task with the real command; print what it took."""
    argv = job.argv(job.write_settings(task_id, **settings))
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = f"{seconds:.1f} s, {cpu:.1f} s of processor time, {seconds / FILES * 1000:.2f} ms a file"
    print(f"\n{task_id}, {FILES} files: {figures}, at most {after.ru_maxrss / 1024:.0f} MB")


@pytest.mark.timeout(3600)
def test_many_small_files_into_a_folder(many: OneJob) -> None:
    timed(many, "check_source_folders_exist")
    many.staged()
    timed(many, "upload_data_to_s3")
    assert sum(len(names) for _, _, names in os.walk(many.asset / "ecephys" / "image.zarr")) == FILES


@pytest.mark.timeout(3600)
def test_many_small_files_into_s3(many: OneJob, strict: Place) -> None:
    many.staged()
    timed(many, "upload_data_to_s3", bucket=strict.address, s3=strict.access(connections=16))
    assert len(strict.keys(f"{PREFIX}/ecephys/image.zarr/")) == FILES
