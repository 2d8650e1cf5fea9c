"""Which scripts of presets run in a container, in which image, and what is in the way of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dropbox_agent.model import Container
from dropbox_agent.plan import script

Kind = Literal["none", "apptainer", "singularity", "charliecloud"]
PROGRAMS: Mapping[str, str] = {"apptainer": "apptainer", "singularity": "singularity", "charliecloud": "ch-run"}
SUFFIXES: Mapping[str, str] = {"apptainer": ".sif", "singularity": ".sif", "charliecloud": ""}
"""Images are files to apptainer and singularity, folders to Charliecloud."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
IMAGE_NAME = re.compile(rf"(?:{_PART}:\d+/)?{_PART}(?:/{_PART})*")
"""A registry with a port may stand before the name; no part of it leads out of the folder of the images."""
IMAGE_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")

WITHOUT_SCRIPT = ("gather_preliminary_metadata",)
"""Tasks that run a program they know in their image: aind-metadata-mapper."""


@dataclass(frozen=True)
class Containers:
    """What this site runs containers with."""

    kind: Kind = "none"
    program: str | None = None
    """The program on a node; None: by its usual name."""
    images: Path | None = None
    """The folder of the images; None: they are fetched from their registry."""
    bind: tuple[Path, ...] = ()
    """Folders that every container sees, read-only, besides its own."""


NO_CONTAINERS = Containers()


def starts_its_own(template: str) -> bool:
    """Return whether a script names its image: then it starts the container itself, as upstream's presets do."""
    return bool({script.IMAGE, script.IMAGE_VERSION} & set(script.names_in(template)))


def has_image(settings: Mapping[str, Any]) -> bool:
    """Return whether a task's script has to do with an image."""
    return bool(settings.get("command_script") and settings.get("image"))


def obstacle(settings: Mapping[str, Any], site: Containers) -> str | None:
    """Return why a script cannot be run in its image here, as the rest of a sentence; None: it can, or need not."""
    if not has_image(settings):
        return None
    if site.kind == "none":
        return "is run in an image, and this site has no program for containers (containers.kind in agent.yaml)"
    if starts_its_own(settings["command_script"]):
        return None
    return name_obstacle(settings)


def name_obstacle(settings: Mapping[str, Any]) -> str | None:
    """Return why a task's image is none that can be looked for, as the rest of a sentence."""
    name, version = str(settings["image"]), settings.get("image_version")
    if not IMAGE_NAME.fullmatch(name):
        return f"has the image {name[:100]!r}, which is no name of one (like lab/ephys, or registry.org/lab/ephys)"
    if version is not None and not IMAGE_VERSION.fullmatch(str(version)):
        return f"has the image_version {str(version)[:100]!r}; letters, digits and . _ + - may be in one"
    return None


def container(settings: Mapping[str, Any], site: Containers, reads: tuple[Path, ...]) -> Container | None:
    """Return the container a task's script runs in; None when it runs on the node itself."""
    if not has_image(settings) or starts_its_own(settings["command_script"]):
        return None
    return container_without_script(settings, site, reads)


def container_without_script(
    settings: Mapping[str, Any], site: Containers, reads: tuple[Path, ...]
) -> Container | None:
    """Return the container of a task that knows itself what to run in it; None where the site runs none."""
    if site.kind == "none" or not settings.get("image"):
        return None
    return Container(
        kind=site.kind,
        program=site.program or PROGRAMS[site.kind],
        image=address(settings, site),
        reads=[*reads, *site.bind],
    )


def address(settings: Mapping[str, Any], site: Containers) -> str:
    """Return where the image is: below the folder of the images by its whole name, or in its registry."""
    name, version = str(settings["image"]), settings.get("image_version")
    if site.images is None:
        return f"docker://{name}:{version or 'latest'}"
    return str(site.images / (name + (f"_{version}" if version else "") + SUFFIXES[site.kind]))


def images_of(tasks: Mapping[str, Mapping[str, Any]], site: Containers) -> dict[str, Path]:
    """Return the file or folder of the image of each task that is run in one of ``site.images``, by the task's key."""
    inside = {
        key: one
        for key, one in tasks.items()
        if (container_without_script if key in WITHOUT_SCRIPT else container)(one, site, ()) is not None
    }
    return {key: Path(address(one, site)) for key, one in inside.items() if site.images is not None}
