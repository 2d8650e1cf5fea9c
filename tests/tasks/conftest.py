"""Fixtures of the tasks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import Faulty, serving
from metadata_server import answer
from one_job import OneJob


@pytest.fixture
def job(tmp_path: Path) -> OneJob:
    """A job whose run folder, bucket and sources are there; nothing of it has run."""
    return OneJob.in_folder(tmp_path)


@pytest.fixture
def metadata_server() -> Iterator[Faulty]:
    """A metadata service that answers well, until it is told otherwise."""
    with serving(answer) as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
