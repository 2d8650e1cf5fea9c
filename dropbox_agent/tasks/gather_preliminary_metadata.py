"""Bring the scientist's metadata files into the asset, and make data_description.json where it is missing.

What is copied: the files at the top of metadata_dir, whatever they are called; its sub-folders are left where they are.
Where metadata_dir is a modality's folder as well, only its ``*.json``: the rest is uploaded with the modality.
Where the job has settings for aind-metadata-mapper, that is run over them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import TaskOutcome, TaskSettings
from dropbox_agent.tasks import aind_schema, mapper, metadata_service
from dropbox_agent.tasks.copying import copy_file
from dropbox_agent.tasks.core_files import DATA_DESCRIPTION, METADATA, missing_files, present_files
from dropbox_agent.tasks.names import counted, listed, shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import write_json
from dropbox_agent.tasks.service import Service
from dropbox_agent.tasks.staging import ORIGINALS, content_of, full_or_unwritable, reserved_names
from dropbox_agent.tasks.tree import EmptyFolder, File, Finding, allowed, walk

NEEDED_SETTINGS = ("institution", "funding_source", "investigators")
"""What a data_description needs and a manifest's row does not say."""
OTHER_NAMES = {"funders": "funding_source"}


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded, with which metadata files there are and which are missing."""
    content = content_of(settings)
    progress.begin("Copies metadata files")
    _forget_earlier(content)
    copied = _copy(settings, content, progress) if settings.metadata_dir is not None else []
    sentences = [_of_copied(settings, copied)]
    sentences += _of_mapper(settings, content, progress)
    sentences += _of_service(settings, content, progress)
    if not os.path.lexists(content / DATA_DESCRIPTION):
        sentences.append(_describe(settings, content))
    present, missing = present_files(content), missing_files(content)
    if missing:
        sentences.append(f"Missing: {', '.join(missing)}.")
    facts = {"copied": len(copied), "present": present, "missing": missing}
    return TaskOutcome(state="succeeded", message=" ".join(sentences), facts=facts)


# --- the files there are ---------------------------------------------------------------------------------------------


def _copy(settings: TaskSettings, content: Path, progress: Progress) -> list[str]:
    source = settings.metadata_dir
    assert source is not None
    reserved = reserved_names(settings)
    copied = []
    for found in walk(source, allowed(settings), f"{settings.s3_prefix}/", deep=False):
        if isinstance(found, Finding):
            raise TaskFailed(f"The metadata cannot be copied: {found.sentence(source)}.", passes=found.away)
        if isinstance(found, EmptyFolder) or (_is_a_source(settings) and not found.name.endswith(".json")):
            continue
        if found.name in reserved:
            raise TaskFailed(
                f"{shown(source / found.name)} has the name of a folder of the asset. Rename it, then retry the job."
            )
        _copy_one(found, content, progress)
        copied.append(found.name)
    return copied


def _copy_one(found: File, content: Path, progress: Progress) -> None:
    # The asset's own is written at the end; one that was brought is kept beside it.
    folder = content / ORIGINALS if found.name == METADATA else content
    try:
        folder.mkdir(exist_ok=True)
        copy_file(found, folder / found.name, progress)
    except OSError as error:
        raise full_or_unwritable(error, content, shown(found.name)) from error


def _forget_earlier(content: Path) -> None:
    """Remove the files an earlier attempt put here: what the scientist took away since must not be uploaded."""
    for entry in content.iterdir():
        if entry.is_file() and not entry.is_symlink():
            entry.unlink()


def _is_a_source(settings: TaskSettings) -> bool:
    assert settings.metadata_dir is not None
    here = os.path.realpath(settings.metadata_dir)
    return any(os.path.realpath(source) == here for source in settings.sources.values())


def _of_copied(settings: TaskSettings, copied: list[str]) -> str:
    if settings.metadata_dir is None:
        return "No metadata_dir is named, so no metadata file was copied."
    names = f": {listed([shown(name) for name in copied], 20)}" if copied else ""
    return f"{counted(len(copied), 'metadata file')} copied from {shown(settings.metadata_dir)}{names}."


# --- what aind-metadata-mapper makes of them --------------------------------------------------------------------------


def _of_mapper(settings: TaskSettings, content: Path, progress: Progress) -> list[str]:
    """Run it where the job has settings for it; return what came of it, a sentence."""
    if not (wanted := mapper.wanted(settings)):
        return []
    if not mapper.can_run(settings):
        lacks = "aind-metadata-mapper is neither installed (dropbox-agent[metadata]) nor run in an image (containers)"
        return [_without(settings, f"{', '.join(wanted)} had no effect: {lacks}.")]
    sentences = []
    described = _given(settings)
    if not os.path.lexists(content / DATA_DESCRIPTION) and all(described.get(name) for name in NEEDED_SETTINGS):
        sentences.append(_describe(settings, content))  # it knows the project only from the metadata service
    progress.begin("Runs aind-metadata-mapper")
    try:
        made = mapper.run(settings, described, content, progress)
    except OSError as error:
        raise full_or_unwritable(error, content, "What aind-metadata-mapper makes") from error
    return [*sentences, f"aind-metadata-mapper made {listed([shown(name) for name in made], 20)}."]


# --- what the metadata service knows ---------------------------------------------------------------------------------


def _of_service(settings: TaskSettings, content: Path, progress: Progress) -> list[str]:
    """Ask for the files that were not brought; return what came of it, a sentence each."""
    if settings.metadata_service is None:
        return []
    progress.begin("Asks the metadata service")
    asked = metadata_service.service(settings.metadata_service)
    missing = {name: what for name, what in metadata_service.FILES.items() if not os.path.lexists(content / name)}
    return [_file_of_service(settings, content, asked, name, what) for name, what in missing.items()]


def _file_of_service(settings: TaskSettings, content: Path, asked: Service, name: str, what: str) -> str:
    try:
        found = metadata_service.of_subject(asked, what, settings.subject_id)
    except TaskFailed as failed:
        if settings.metadata_required:
            raise
        return f"{name} was not made: {failed}"
    if found is None:
        return _without(settings, f"{name} was not made: {asked.name} knows no {what} of {settings.subject_id}.")
    try:
        write_json(content / name, found, by_way_of=content.parent)
    except OSError as error:
        raise full_or_unwritable(error, content, name) from error
    return f"{name} comes from the metadata service."


# --- data_description ------------------------------------------------------------------------------------------------


def _describe(settings: TaskSettings, content: Path) -> str:
    """Make data_description.json from what the job says, or say why it cannot be made."""
    given = _given(settings)
    lacking = [name for name in NEEDED_SETTINGS if not given.get(name)]
    if lacking:
        where = "data_description_settings of gather_preliminary_metadata"
        return _without(settings, f"{DATA_DESCRIPTION} was not made: {where} lacks {', '.join(lacking)}.")
    if not aind_schema.is_installed():
        return _without(settings, f"{DATA_DESCRIPTION} was not made: dropbox-agent[metadata] is not installed.")
    answer = aind_schema.ask("data_description", given)
    if "error" in answer:
        raise TaskFailed(
            f"{DATA_DESCRIPTION} could not be made: {shown(answer['error'])}. Correct data_description_settings of"
            " gather_preliminary_metadata (in the manifest or in the preset), then drop the manifest again."
        )
    try:
        write_json(content / DATA_DESCRIPTION, answer["value"], by_way_of=content.parent)
    except OSError as error:
        raise full_or_unwritable(error, content, DATA_DESCRIPTION) from error
    return f"{DATA_DESCRIPTION} was made from the manifest and the settings."


def _without(settings: TaskSettings, sentence: str) -> str:
    if settings.metadata_required:
        raise TaskFailed(f"{sentence} This site requires it (metadata.required): put one into metadata_dir.")
    return sentence


def _given(settings: TaskSettings) -> dict[str, Any]:
    """Return what the settings and the job say; what the job says wins."""
    chosen = settings.job_settings.get("data_description_settings") or {}
    if not isinstance(chosen, Mapping):
        raise TaskFailed(
            f"data_description_settings of gather_preliminary_metadata is {shown(repr(chosen)[:80])}; it has to be an"
            f" object with {', '.join(NEEDED_SETTINGS)}."
        )
    given = {**dict(_renamed(chosen)), **_of_job(settings)}
    return {**_of_project(settings, given), **given}


def _of_project(settings: TaskSettings, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the metadata service knows of the project, of what the settings do not say."""
    if settings.metadata_service is None:
        return {}
    asked = metadata_service.service(settings.metadata_service)
    wanted = {name: what for name, what in metadata_service.PROJECT.items() if not given.get(name)}
    return {name: metadata_service.of_project(asked, what, settings.project_name) for name, what in wanted.items()}


def _renamed(chosen: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in chosen.items():
        yield OTHER_NAMES.get(name, name), value


def _of_job(settings: TaskSettings) -> dict[str, Any]:
    return {
        "subject_id": settings.subject_id,
        "project_name": settings.project_name,
        "modalities": settings.modalities,
        "creation_time": settings.acq_datetime.isoformat(),
    }
