"""Run aind-metadata-mapper over the metadata files of an asset: installed beside this program, or in its image.

It is given a copy of the files, for it writes among them, and a clean environment, for its settings read any variable.
What it makes replaces what was copied; the files as they were brought are kept below ``original_metadata``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskSettings
from dropbox_agent.tasks.container import Start, start_of
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import read_json
from dropbox_agent.tasks.script import environment, run_to_its_end, script_file
from dropbox_agent.tasks.staging import ORIGINALS, remove, sync_all

MODULE = "aind_metadata_mapper.gather_metadata"
ITS_OWN = (
    "instrument_settings",
    "subject_settings",
    "enrichment_settings",
    "raise_if_invalid",
    "raise_if_mapper_errors",
)
"""What a job may give. Folders, subject and time are the job's own, the service's address is the site's."""
NO_SERVICE = "http://127.0.0.1:9"
"""Where nothing listens: else it would ask an address of its own choice."""
LONGEST_SECONDS = 1800.0
KEPT = f"{ORIGINALS}/uploaded_json"


def wanted(settings: TaskSettings) -> list[str]:
    """Return which of its settings a job has, or its image; empty: it is not to be run."""
    image = [f"the image {settings.container.image}"] if settings.container is not None else []
    return [name for name in ITS_OWN if settings.job_settings.get(name) is not None] + image


def can_run(settings: TaskSettings) -> bool:
    """Return whether it is here: in an image, or installed."""
    return settings.container is not None or importlib.util.find_spec("aind_metadata_mapper") is not None


def run(settings: TaskSettings, described: Mapping[str, Any], content: Path, progress: Progress) -> list[str]:
    """Return which files it made of those in ``content``, where they are put. Raises TaskFailed, and OSError.

    ``described``: what is known for data_description, should it have to be made.
    """
    scratch = RunFolder(settings.run_folder).staging / "mapper"
    remove(scratch)
    brought, made = scratch / "in", scratch / "out"
    for folder in (scratch, brought, made):
        folder.mkdir(mode=0o770)
    for file in sorted(content.glob("*.json")):
        if file.is_file() and not file.is_symlink():
            shutil.copy2(file, brought)
    asked = json.dumps(_settings(settings, described, brought, made))
    with _start(settings, asked, scratch) as start:
        code, tail = run_to_its_end(start, scratch, progress, LONGEST_SECONDS)
    if code != 0:
        how = f"failed with exit code {code}" if code is not None else f"was ended after {LONGEST_SECONDS:.0f} s"
        last = f" Its last lines: {tail}" if tail else ""
        raise TaskFailed(
            f"aind-metadata-mapper {how}; nothing it made was used. Correct the metadata files, or job_settings of"
            f" gather_preliminary_metadata ({', '.join(wanted(settings))}), then drop the manifest again.{last}"
        )
    names = _taken_over(made, content)
    remove(scratch)
    return names


def _settings(settings: TaskSettings, described: Mapping[str, Any], brought: Path, made: Path) -> dict[str, Any]:
    known = ("tags", "group", "restrictions", "data_summary", "institution", "project_name", "modalities")
    return {
        **{name: settings.job_settings[name] for name in ITS_OWN if settings.job_settings.get(name) is not None},
        "metadata_dir": str(brought),
        "output_dir": str(made),
        "subject_id": settings.subject_id,
        **_start_time(settings, brought),
        "data_description_settings": {
            name: _organization(described[name]) if name == "institution" else described[name]
            for name in known
            if described.get(name) is not None
        },
        "metadata_service_url": settings.metadata_service or NO_SERVICE,
    }


def _start_time(settings: TaskSettings, brought: Path) -> dict[str, str]:
    """Return the time of the session, unless an acquisition tells it with its zone: without one, ours would contradict.

    check_metadata_files compares what came of it with the name of the asset.
    """
    acquisition = read_json(brought / "acquisition.json") or {}
    if settings.acq_datetime.tzinfo is None and acquisition.get("acquisition_start_time"):
        return {}
    return {"acquisition_start_time": settings.acq_datetime.isoformat()}


def _organization(given: Any) -> Any:
    """Return the organization of an abbreviation or a name, as an object: it takes no other."""
    if not isinstance(given, str):
        return given
    from aind_data_schema_models.organizations import Organization

    found = Organization.from_abbreviation(given) or Organization.from_name(given)
    if found is None:
        raise TaskFailed(
            f'"{shown(given[:80])}" is no organization that the schema knows, neither as abbreviation nor as name.'
            " Correct institution in data_description_settings, then drop the manifest again."
        )
    return found.model_dump(mode="json")


@contextmanager
def _start(settings: TaskSettings, asked: str, scratch: Path) -> Iterator[Start]:
    if settings.container is None:
        argv = (sys.executable, "-I", "-W", "ignore", "-m", MODULE, "--job-settings", asked)
        yield Start(argv, {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"})
        return
    file = script_file(settings)
    file.write_text(f"exec python -m {MODULE} --job-settings {shlex.quote(asked)}\n", encoding="utf-8")
    with start_of(file, scratch, settings.container, environment(os.environ)) as start:
        yield start


def _taken_over(made: Path, content: Path) -> list[str]:
    """Put what it made into the asset; the scientist's own files first, so that none is lost on the way."""
    sync_all(made)
    kept = content / KEPT
    remove(kept)
    if (made / KEPT).is_dir():
        kept.parent.mkdir(exist_ok=True)
        (made / KEPT).rename(kept)
    names = sorted(file.name for file in made.glob("*.json") if file.is_file() and not file.is_symlink())
    for name in names:
        (made / name).replace(content / name)
    return names
