"""Which scripts run in an image, where that image is, and what is said when they cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropbox_agent.model import Container
from dropbox_agent.plan.containers import NO_CONTAINERS, Containers, address, container, images_of, obstacle

INSIDE = {"image": "lab/tools", "image_version": "1.0", "command_script": "tool --out %OUTPUT_LOCATION"}
BY_ITSELF = {**INSIDE, "command_script": "singularity exec docker://%IMAGE:%IMAGE_VERSION tool"}
APPTAINER = Containers("apptainer", images=Path("/images"), bind=(Path("/atlases"),))
CHARLIECLOUD = Containers("charliecloud", program="/opt/ch/bin/ch-run", images=Path("/images"))


def test_a_script_with_an_image_runs_in_it() -> None:
    assert container(INSIDE, APPTAINER, (Path("/data/s"),)) == Container(
        kind="apptainer",
        program="apptainer",
        image="/images/lab/tools_1.0.sif",
        reads=[Path("/data/s"), Path("/atlases")],
    )
    assert container(INSIDE, CHARLIECLOUD, ()) == Container(
        kind="charliecloud", program="/opt/ch/bin/ch-run", image="/images/lab/tools_1.0"
    )


@pytest.mark.parametrize(
    ("settings", "site"),
    [
        (BY_ITSELF, APPTAINER),
        (INSIDE, NO_CONTAINERS),
        ({"command_script": "tool"}, APPTAINER),
        ({"image": "lab/tools"}, APPTAINER),
        ({**INSIDE, "command_script": ""}, APPTAINER),
    ],
    ids=["names its image itself", "no program here", "no image", "no script", "a script taken back"],
)
def test_what_runs_on_the_node_itself(settings: dict[str, Any], site: Containers) -> None:
    assert container(settings, site, ()) is None
    assert images_of({"a": settings}, site) == {}


@pytest.mark.parametrize(
    ("changes", "site", "where"),
    [
        ({}, replace(APPTAINER, images=None), "docker://lab/tools:1.0"),
        ({"image_version": None}, replace(APPTAINER, images=None), "docker://lab/tools:latest"),
        ({"image_version": None}, APPTAINER, "/images/lab/tools.sif"),
        ({"image": "ghcr.io/lab/tools"}, CHARLIECLOUD, "/images/ghcr.io/lab/tools_1.0"),
    ],
)
def test_where_an_image_is(changes: dict[str, Any], site: Containers, where: str) -> None:
    settings = {**INSIDE, **changes}
    assert (obstacle(settings, site), address(settings, site)) == (None, where)


@pytest.mark.parametrize(
    ("changes", "site", "words"),
    [
        ({}, NO_CONTAINERS, "no program for containers (containers.kind in agent.yaml)"),
        ({"command_script": "run %IMAGE"}, NO_CONTAINERS, "no program for containers (containers.kind in agent.yaml)"),
        ({"image": "../../etc"}, CHARLIECLOUD, "has the image '../../etc', which is no name of one"),
        ({"image": "/etc"}, CHARLIECLOUD, "has the image '/etc', which is no name of one"),
        ({"image": "lab/../../etc"}, CHARLIECLOUD, "which is no name of one"),
        ({"image": "--writable"}, APPTAINER, "which is no name of one"),
        ({"image": "lab/tools\n"}, APPTAINER, "which is no name of one"),
        ({"image_version": "1/../../x"}, CHARLIECLOUD, "has the image_version '1/../../x'"),
        ({"image_version": "1 2"}, CHARLIECLOUD, "has the image_version '1 2'"),
    ],
)
def test_what_is_in_the_way(changes: dict[str, Any], site: Containers, words: str) -> None:
    assert words in (obstacle({**INSIDE, **changes}, site) or "")


def test_nothing_is_in_the_way_of_a_task_without_a_script() -> None:
    assert obstacle({"image": "../../etc"}, NO_CONTAINERS) is None
