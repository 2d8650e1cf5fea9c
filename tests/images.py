"""A small image: a root folder with a shell and a few programs of this machine, and a file that only it has.

And a site with the job type of docs/containers.md, which needs that image.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from workspace import QUICK, Workspace, a_row, drop, write_csv

PROGRAMS = ("bash", "env", "cat", "cp", "ls", "touch", "sleep", "id")
MARK = "made for the tests\n"
"""What stands in /etc/image of the image, and nowhere on this machine."""


def build_image(folder: Path) -> Path:
    """Make the image ``lab/tools`` of version 1.0 in a folder of images; return the folder of the images."""
    root = folder / "lab" / "tools_1.0"
    for name in PROGRAMS:
        program = shutil.which(name)
        assert program is not None
        _add(root, Path(program))
        for library in _libraries(program):
            _add(root, library)
    (root / "etc").mkdir()
    (root / "etc" / "image").write_text(MARK)
    (root / "etc" / "link").symlink_to("image")
    (root / "home").mkdir()
    (root / "home" / "of the image").write_text("x")
    return folder


def _add(root: Path, file: Path) -> None:
    target = root / file.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(os.path.realpath(file), target)


def _libraries(program: str) -> list[Path]:
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", done.stdout)]


# --- a site that uses it ---------------------------------------------------------------------------------------------

REPOSITORY = Path(__file__).parent.parent


def example_job_type() -> str:
    """Return the job type in docs/containers.md."""
    blocks = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs/containers.md").read_text(), re.S)
    found = [str(block) for block in blocks if block.startswith("description:")]
    return found[0]


def an_imaged_site(workspace: Workspace, folder: Path, **containers: Any) -> dict[str, Path]:
    """Set a site up for the example; return the sources of a session."""
    (folder / "work").mkdir()
    source = folder / "data" / "ecephys"
    source.mkdir(parents=True)
    (source / "probe.dat").write_bytes(b"\0\1" * 1000)
    # A script gets its folders as text: they must not mean anything to a shell.
    workspace.change(work_dir=str(folder / "work"), containers=containers)
    (workspace.folder / "job_types" / "imaged.yaml").write_text(example_job_type())
    return {"ecephys": source, "metadata": folder / "data"}


def drop_imaged(workspace: Workspace, sources: dict[str, Path]) -> None:
    drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, job_type="imaged", **QUICK)]))


def uploaded(workspace: Workspace) -> dict[str, bytes]:
    (asset,) = (path for path in workspace.bucket.iterdir() if not path.name.startswith("."))
    folder = asset / "ecephys"
    return {path.name: path.read_bytes() for path in folder.iterdir()}
