"""What ``check`` says of job types whose script cannot be run as they ask: in an image, or once for each element."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from images import an_imaged_site
from typer.testing import CliRunner
from workspace import QUICK, Workspace, a_row, write_csv

from dropbox_agent import founding
from dropbox_agent.cli import app


@pytest.fixture
def site(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "a site's folder")
    founding.initialise(made.folder, datetime(2026, 3, 1, tzinfo=timezone.utc))
    return made


def problems(site: Workspace, sources: dict[str, Path], **changes: str) -> list[str]:
    file = site.folder / "checked.csv"
    write_csv(file, [a_row(sources, job_type="imaged", **{**QUICK, **changes})])
    done = CliRunner().invoke(app, ["check", str(file), "--json", "--config", str(site.config)])
    return [problem["message"] for problem in json.loads(done.stdout)["problems"]]


def test_an_image_is_refused_at_check_where_nothing_runs_it(site: Workspace, tmp_path: Path) -> None:
    sources = an_imaged_site(site, tmp_path, kind="none")
    assert problems(site, sources) == [
        "The script of compress_data[ecephys], whose image is set by the job type imaged, is run in an image, and this "
        "site has no program for containers (containers.kind in agent.yaml). Ask whoever looks after this service."
    ]


def test_an_image_that_is_not_there_is_refused_at_check(site: Workspace, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    sources = an_imaged_site(site, tmp_path, kind="apptainer", images=str(tmp_path / "images"))
    assert problems(site, sources) == [
        "The script of compress_data[ecephys] is run in an image that is not there: "
        f"{tmp_path}/images/lab/tools_1.0.sif. Ask whoever looks after this service."
    ]


def test_no_version_in_a_manifest_leads_out_of_the_folder_of_images(site: Workspace, tmp_path: Path) -> None:
    sources = an_imaged_site(site, tmp_path, kind="apptainer")
    assert problems(site, sources) == []
    column = "tasks.modality_transformation_settings.ecephys.image_version"
    (found,) = problems(site, sources, **{column: "../../secret"})
    assert "whose image is set by the manifest, has the image_version '../../secret'" in found


def test_an_array_without_a_script_is_refused(site: Workspace, tmp_path: Path) -> None:
    sources = an_imaged_site(site, tmp_path, kind="apptainer")
    (site.folder / "job_types" / "imaged.yaml").write_text(
        'tasks: {modality_transformation_settings: {image_resources: {array: "0-3"}}}\n'
    )
    assert problems(site, sources) == [
        "array in image_resources of compress_data[ecephys], set by the job type imaged, needs a command_script, which"
        " is run once for each element. Take it out."
    ]


def test_the_elements_that_a_manifest_sets_are_checked(site: Workspace, tmp_path: Path) -> None:
    sources = an_imaged_site(site, tmp_path, kind="apptainer")
    column = "tasks.modality_transformation_settings.ecephys.image_resources.array"
    assert problems(site, sources, **{column: "0-3%2"}) == []
    (found,) = problems(site, sources, **{column: "0-3; rm -rf /"})
    assert "array in image_resources of compress_data[ecephys], set by the manifest, is no list of elements" in found
