"""The job type of docs/containers.md, from the drop to the upload: its script runs in an image."""

from __future__ import annotations

import json
from pathlib import Path

from images import MARK, an_imaged_site, drop_imaged, uploaded
from workspace import QUICK, Workspace, a_row, write_csv


def problems(workspace: Workspace, sources: dict[str, Path], **changes: str) -> list[str]:
    file = workspace.folder / "checked.csv"
    write_csv(file, [a_row(sources, job_type="imaged", **{**QUICK, **changes})])
    found = json.loads(workspace.agent("check", str(file), "--json", "--config", str(workspace.config)).stdout)
    assert [job["job_type"] for job in found["jobs"]] == ["imaged"]
    return [problem["message"] for problem in found["problems"]]


def test_the_example_of_the_documentation_runs_in_its_image(workspace: Workspace, images: Path, tmp_path: Path) -> None:
    sources = an_imaged_site(workspace, tmp_path, kind="charliecloud", images=str(images))
    drop_imaged(workspace, sources)
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "succeeded", workspace.status("s.csv")
    made = uploaded(workspace)
    settings = json.loads(made.pop("settings.json"))
    assert made == {"probe.dat": b"\0\1" * 1000, "made_in.txt": MARK.encode()}
    assert settings["output_directory"].startswith(str(tmp_path / "work"))


def test_an_image_is_refused_at_check_where_nothing_runs_it(workspace: Workspace, tmp_path: Path) -> None:
    sources = an_imaged_site(workspace, tmp_path, kind="none")
    assert problems(workspace, sources) == [
        "The script of compress_data[ecephys], whose image is set by the job type imaged, is run in an image, and this "
        "site has no program for containers (containers.kind in agent.yaml). Ask whoever looks after this service."
    ]


def test_an_image_that_is_not_there_is_refused_at_check(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    sources = an_imaged_site(workspace, tmp_path, kind="apptainer", images=str(tmp_path / "images"))
    assert problems(workspace, sources) == [
        "The script of compress_data[ecephys] is run in an image that is not there: "
        f"{tmp_path}/images/lab/tools_1.0.sif. Ask whoever looks after this service."
    ]


def test_no_version_in_a_manifest_leads_out_of_the_folder_of_images(workspace: Workspace, tmp_path: Path) -> None:
    sources = an_imaged_site(workspace, tmp_path, kind="apptainer")
    assert problems(workspace, sources) == []
    column = "tasks.modality_transformation_settings.ecephys.image_version"
    (found,) = problems(workspace, sources, **{column: "../../secret"})
    assert "whose image is set by the manifest, has the image_version '../../secret'" in found
