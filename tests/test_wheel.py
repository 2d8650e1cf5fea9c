"""The wheel is whole: built, installed into a clean environment, it does the main job.

The environment has no extra and no lock, so this also runs on the newest release of every dependency.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


def run(*command: str | Path, folder: Path) -> str:
    """Return what a command prints; fail with all it said when it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, folder=REPOSITORY)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_every_file_of_the_repository_that_it_needs(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(REPOSITORY)) for path in files_below("dropbox_agent")}
    site = {f"dropbox_agent/_site/{path.relative_to(REPOSITORY)}" for path in files_below("templates", "config")}
    assert {name for name in carried if ".dist-info/" not in name} == sources | site
    assert {"dropbox_agent/py.typed", "dropbox_agent/_site/config/agent.yaml"} <= carried
    assert any(name.endswith("licenses/LICENSE") for name in carried)


@pytest.mark.timeout(600)
def test_the_installed_wheel_does_the_main_job(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    python, command = tmp_path / "venv/bin/python", tmp_path / "venv/bin/dropbox-agent"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, folder=tmp_path)
    place = run(python, "-c", "from dropbox_agent import settings; print(settings.packaged('config'))", folder=tmp_path)
    assert place.strip().endswith("site-packages/dropbox_agent/_site/config")

    (tmp_path / "empty folder").mkdir()
    told = run(command, "demo", folder=tmp_path / "empty folder")
    assert "arrived byte for byte." in told
    workspace = next((tmp_path / "empty folder").iterdir())
    assert (workspace / "inbox/session.xlsx.status.html").is_file()


def files_below(*folders: str) -> set[Path]:
    """Return the files that belong to the repository, not what running it leaves behind."""
    every = {path for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.is_file()}
    return {path for path in every if "__pycache__" not in path.parts}
