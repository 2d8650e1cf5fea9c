"""Check the asset's metadata files: that they are there, can be read, and are of this very session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks import aind_schema, schema_findings
from dropbox_agent.tasks.core_files import DATA_DESCRIPTION, METADATA, NEEDED, PROCESSING, read_objects
from dropbox_agent.tasks.names import listed, shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.staging import content_of

NAMES_THE_SUBJECT = (
    DATA_DESCRIPTION,
    "subject.json",
    "procedures.json",
    "acquisition.json",
    "session.json",
)
VERSION_1 = ("rig.json", "session.json")
"""These are called otherwise in version 2 of the schema, which is the one that is asked."""
OURS = (PROCESSING, METADATA)
"""Written by this job in version 2, whatever was brought."""


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when nothing contradicts the job, and nothing is missing that this site requires."""
    content = content_of(settings)
    progress.begin("Reads the metadata files")
    objects, malformed = read_objects(content)
    contradictions = list(_contradictions(settings, objects))
    lacking = [*_lacking([*objects, *malformed]), *(f"{name}: {why}" for name, why in sorted(malformed.items()))]
    objections = _objections(settings, objects)
    facts = {"read": sorted(objects), "contradictions": contradictions, "lacking": lacking, "objections": objections}
    for sentence in (*contradictions, *lacking, *objections):
        print(sentence)
    wrong = [
        *contradictions,
        *(lacking if settings.metadata_required else ()),
        *(objections if settings.metadata_strict else ()),
    ]
    if wrong:
        return TaskOutcome(state="failed", message=_refusal(wrong), facts=facts)
    return TaskOutcome(state="succeeded", message=_summary(settings, objects, lacking, objections), facts=facts)


def _refusal(wrong: list[str]) -> str:
    return f"The metadata cannot be uploaded like this: {_first(wrong)}. Correct the files in metadata_dir, then retry."


def _summary(settings: TaskSettings, objects: Mapping[str, Any], lacking: list[str], objections: list[str]) -> str:
    sentences = [f"Read: {', '.join(sorted(objects)) or 'no metadata file'}."]
    if lacking:
        sentences.append(f"Passed over, because metadata.required is off: {_first(lacking)}.")
    if objections:
        sentences.append(f"Passed over, because metadata.strict is off: {_first(objections)}.")
    sentences += _told_only(settings, objects)
    return " ".join(sentences)


def _first(sentences: list[str], most: int = 8) -> str:
    rest = f"; and {len(sentences) - most} more, all in the log" if len(sentences) > most else ""
    return "; ".join(sentences[:most]) + rest


# --- what is there ---------------------------------------------------------------------------------------------------


def _lacking(present: list[str]) -> Iterator[str]:
    for group in NEEDED:
        found = [name for name in group if name in present]
        if not found:
            yield f"{' or '.join(group)} is missing"
        elif len(found) > 1:
            yield f"there may be only one of {' and '.join(found)}"


# --- whether it is of this session -----------------------------------------------------------------------------------


def _contradictions(settings: TaskSettings, objects: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name in NAMES_THE_SUBJECT:
        subject = objects.get(name, {}).get("subject_id")
        if subject is not None and str(subject) != settings.subject_id:
            yield f'{name} is of subject "{shown(str(subject)[:80])}", the manifest of "{settings.subject_id}"'
    for name in (DATA_DESCRIPTION, METADATA):
        called = objects.get(name, {}).get("name")
        if called is not None and called not in _names_of(settings):
            right = " or ".join(f'"{one}"' for one in _names_of(settings))
            yield f'{name} is called "{shown(str(called)[:120])}"; {right} would be right'


def _names_of(settings: TaskSettings) -> tuple[str, ...]:
    """Version 2 of the schema names an asset without its platform."""
    if settings.platform is None:
        return (settings.s3_prefix,)
    return settings.s3_prefix, settings.s3_prefix.removeprefix(f"{settings.platform}_")


def _told_only(settings: TaskSettings, objects: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    older = [name for name, value in sorted(objects.items()) if _is_version_1(name, value)]
    if older:
        yield f"Of version 1 of the schema, and taken as they are: {', '.join(older)}."
    newer = [name for name in sorted(objects) if name not in (*older, *OURS)]
    if older and newer:
        yield f"Note: others are of version 2: {', '.join(newer)}."
    project = objects.get(DATA_DESCRIPTION, {}).get("project_name")
    if project is not None and project != settings.project_name:
        yield f'Note: {DATA_DESCRIPTION} is of project "{shown(str(project)[:80])}", not "{settings.project_name}".'


# --- what the schema says --------------------------------------------------------------------------------------------


def _objections(settings: TaskSettings, objects: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each file that breaks its schema."""
    asked = {
        _stem(name): value for name, value in objects.items() if name != METADATA and not _is_version_1(name, value)
    }
    if not asked:
        return []
    if not aind_schema.is_installed():
        if settings.metadata_strict:
            raise TaskFailed(
                "metadata.strict is set, and the extra dropbox-agent[metadata] that knows the schema is not installed."
                " An operator has to install it, or to turn metadata.strict off."
            )
        return []
    findings = schema_findings.of(RunFolder(settings.run_folder), asked)
    return [f"{stem}.json breaks its schema ({shown(listed(said, 3))})" for stem, said in sorted(findings.items())]


def _is_version_1(name: str, value: Mapping[str, Any]) -> bool:
    """Return whether a file is of an older schema; one that does not say is taken for version 2."""
    return name in VERSION_1 or str(value.get("schema_version", "")).partition(".")[0] in ("0", "1")


def _stem(name: str) -> str:
    return name.removesuffix(".json")
