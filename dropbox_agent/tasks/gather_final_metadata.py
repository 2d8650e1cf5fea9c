"""Write processing.json of what really ran, and metadata.nd.json, the one file that holds all metadata.

A processing.json that the scientist brought is kept and added to. What this job adds is known by its notes, so that
doing it twice gives the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import ValidationError

from dropbox_agent.model import AttemptFolder, RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks import aind_schema, schema_findings
from dropbox_agent.tasks.core_files import METADATA, PROCESSING, kept_metadata, read_objects
from dropbox_agent.tasks.names import counted, shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import read_json, write_json
from dropbox_agent.tasks.staging import content_of, full_or_unwritable

SCHEMAS = "https://raw.githubusercontent.com/AllenNeuralDynamics/aind-data-schema/main/src/aind_data_schema/core"
PROCESSING_VERSION = "2.3.3"
METADATA_VERSION = "2.7.6"
"""The versions of aind-data-schema 2.9, written where it is not installed."""
CORE = (
    "subject",
    "data_description",
    "procedures",
    "instrument",
    "processing",
    "acquisition",
    "quality_control",
    "model",
)


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when both files are written."""
    content = content_of(settings)
    progress.begin("Writes processing.json and metadata.nd.json")
    objects, malformed = read_objects(content)
    ran = processes(settings)
    given = objects.get(PROCESSING)
    kept = _why_kept(given, malformed.get(PROCESSING))
    made = None if kept else merged(given, ran, _note(settings))
    written, said = _filled(settings, objects, made)
    try:
        for name, value in written.items():
            write_json(content / name, value, by_way_of=content.parent)
        write_json(kept_metadata(settings.run_folder), written[METADATA])
    except OSError as error:
        raise full_or_unwritable(error, content, "The metadata of the asset") from error
    sentences = [f"{METADATA} is written.", _of_processing(made, ran, given, kept, _note(settings)), *said]
    facts = {"processes": [one["name"] for one in ran], "schema": aind_schema.is_installed()}
    return TaskOutcome(state="succeeded", message=" ".join(filter(None, sentences)), facts=facts)


def _of_processing(
    made: Mapping[str, Any] | None, ran: Sequence[Any], given: Mapping[str, Any] | None, kept: str | None, note: str
) -> str:
    if kept:
        return f"{PROCESSING} is left as it was brought, because {kept}; what this job ran could not be added."
    before = len([one for one in (given or {}).get("data_processes", []) if not _is_ours(one, note)])
    also = f", added to the {before} it had" if before else ""
    return f"{PROCESSING} has {counted(len(ran), 'step')} of this job{also}."


# --- what ran --------------------------------------------------------------------------------------------------------


def processes(settings: TaskSettings) -> list[dict[str, Any]]:
    """Return one data process for each modality that was brought into the asset, in the order they began."""
    last: dict[str, tuple[Mapping[str, Any], TaskSettings]] = {}
    for record, task in _ended(RunFolder(settings.run_folder)):
        before = last.get(task.key)
        if before is None or str(record["ended"]) > str(before[0]["ended"]):
            last[task.key] = record, task
    ordered = sorted(last.values(), key=lambda one: (str(one[0]["started"]), one[1].key))
    return [_process(record, task, _note(settings)) for record, task in ordered]


def _ended(folder: RunFolder) -> Iterator[tuple[Mapping[str, Any], TaskSettings]]:
    """Yield the end record and the settings of each compression that ended well."""
    for path in sorted(folder.attempts.glob("*/compress_data.*.end.json")):
        record = read_json(path)
        if record is None or record.get("state") != "succeeded":
            continue
        stored = read_json(AttemptFolder(path.parent).settings(str(record["key"])))
        try:
            yield record, TaskSettings.model_validate(stored)
        except ValidationError:
            print(f"The settings of {record['key']} in {path.parent} cannot be read; it is not in {PROCESSING}.")


def _process(record: Mapping[str, Any], task: TaskSettings, note: str) -> dict[str, Any]:
    changed = task.script is not None
    return {
        "object_type": "Data process",
        "process_type": "Compression" if changed else "Other",
        "name": f"{'Compression' if changed else 'Upload as it is:'} {task.modality}",
        "stage": "Processing",
        "code": _code(task),
        "experimenters": [],
        "pipeline_name": None,
        "start_date_time": record["started"],
        "end_date_time": record["ended"],
        "output_path": task.modality,
        "output_parameters": None,
        "notes": note,
        "resources": None,
    }


def _code(task: TaskSettings) -> dict[str, Any]:
    source = task.sources.get(task.modality or "")
    url, name, number = _program(task)
    return {
        "object_type": "Code",
        "url": url,
        "name": name,
        "version": number,
        "input_data": None if source is None else [{"object_type": "Data asset", "url": source.as_uri()}],
        "parameters": task.job_settings,
    }


def _program(task: TaskSettings) -> tuple[str, str, str]:
    """Return url, name and version of what brought the modality into the asset."""
    if task.script is None:
        return "dropbox-agent", "dropbox-agent", _own_version()
    script = f"sha256:{hashlib.sha256(task.script.encode()).hexdigest()}"
    if task.image:
        return task.image, task.image.rpartition("/")[2], task.image_version or script
    return f"job type {task.job_type}", f"command_script of {task.job_type}", script


def _own_version() -> str:
    try:
        return version("dropbox-agent")
    except PackageNotFoundError:
        return "unknown"


def _note(settings: TaskSettings) -> str:
    return f"Run by dropbox-agent, job {settings.job_id}."


# --- with what was brought -------------------------------------------------------------------------------------------


def _why_kept(given: Mapping[str, Any] | None, malformed: str | None) -> str | None:
    """Return why a processing.json cannot be added to."""
    if malformed is not None:
        return f"it cannot be read ({malformed})"
    if given is None:
        return None
    existing = given.get("data_processes")
    if not isinstance(existing, list) or not all(isinstance(one, dict) for one in existing):
        return "it has no data_processes in the form of version 2 of the schema"
    if not isinstance(given.get("dependency_graph") or {}, dict):
        return "its dependency_graph is no object"
    return None


def merged(given: Mapping[str, Any] | None, ran: Sequence[dict[str, Any]], note: str) -> dict[str, Any]:
    """Return a processing file with everything that was given and what ran; nothing given is changed or lost."""
    given = given or {}
    existing = [one for one in given.get("data_processes", []) if not _is_ours(one, note)]
    own_before = {one.get("name") for one in given.get("data_processes", []) if _is_ours(one, note)}
    added = _with_free_names(ran, {str(one.get("name")) for one in existing})
    graph = {name: needs for name, needs in (given.get("dependency_graph") or {}).items() if name not in own_before}
    if graph or not existing:
        graph |= {one["name"]: [] for one in added}
    return {
        "object_type": "Processing",
        "describedBy": f"{SCHEMAS}/processing.py",
        "schema_version": PROCESSING_VERSION,
        "pipelines": None,
        "notes": None,
        **given,
        "data_processes": _by_time([*existing, *added]),
        "dependency_graph": graph or None,
    }


def _is_ours(process: Mapping[str, Any], note: str) -> bool:
    return process.get("notes") == note


def _with_free_names(ran: Sequence[dict[str, Any]], taken: set[str]) -> list[dict[str, Any]]:
    """As the schema's own merging does it: ``Compression ecephys_1`` where the name is taken."""
    named = []
    for one in ran:
        name, number = one["name"], 0
        while name in taken:
            number += 1
            name = f"{one['name']}_{number}"
        taken.add(name)
        named.append({**one, "name": name})
    return named


def _by_time(every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The schema wants them in the order they began; what has no proper time stays where it is."""
    try:
        return sorted(every, key=lambda one: _time(one["start_date_time"]))
    except (KeyError, TypeError, ValueError):
        return every


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


# --- the two files ---------------------------------------------------------------------------------------------------


def _filled(
    settings: TaskSettings, objects: Mapping[str, dict[str, Any]], made: dict[str, Any] | None
) -> tuple[dict[str, Any], list[str]]:
    """Return both files, in the schema's own words where it is installed, and what is to be said about that."""
    core = {name.removesuffix(".json"): value for name, value in objects.items() if name != METADATA}
    if made is not None:
        core["processing"] = made
    about = {
        "name": core.get("data_description", {}).get("name") or settings.s3_prefix,
        "location": f"{settings.bucket}/{settings.s3_prefix}",
        "core_jsons": {stem: value for stem, value in core.items() if stem in CORE},
    }
    written = {METADATA: plain_metadata(about)} if made is None else {METADATA: plain_metadata(about), PROCESSING: made}
    if not aind_schema.is_installed():
        return written, []
    answer = aind_schema.ask("final_metadata", about)
    if "value" not in answer:
        return written, [f"aind-data-schema could not be used ({shown(str(answer.get('error')))})."]
    value = answer["value"]
    schema_findings.keep(RunFolder(settings.run_folder), value["core_jsons"], value["findings"])
    if made is not None:
        written[PROCESSING] = value["core_jsons"]["processing"]
    return {**written, METADATA: value["metadata"]}, []


def plain_metadata(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one file as the schema would write it, were it installed."""
    return {
        "object_type": "Metadata",
        "describedBy": f"{SCHEMAS}/metadata.py",
        "schema_version": METADATA_VERSION,
        "name": about["name"],
        "location": about["location"],
        "other_identifiers": None,
        **{stem: about["core_jsons"].get(stem) for stem in CORE},
    }
