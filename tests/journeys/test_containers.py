"""The job type of docs/containers.md, from the drop to the upload: its script runs in an image."""

from __future__ import annotations

import json
from pathlib import Path

from images import MARK, an_imaged_site, drop_imaged, uploaded
from workspace import Workspace


def test_the_example_of_the_documentation_runs_in_its_image(workspace: Workspace, images: Path, tmp_path: Path) -> None:
    sources = an_imaged_site(workspace, tmp_path, kind="charliecloud", images=str(images))
    drop_imaged(workspace, sources)
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "succeeded", workspace.status("s.csv")
    made = uploaded(workspace)
    settings = json.loads(made.pop("settings.json"))
    assert made == {"probe.dat": b"\0\1" * 1000, "made_in.txt": MARK.encode()}
    assert settings["output_directory"].startswith(str(tmp_path / "work"))
