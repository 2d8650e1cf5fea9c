"""Turn a job and the presets into the job's plan."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dropbox_agent.model import SOURCE_SETTINGS, Job, Level, Place, Plan, PlannedTask, Presets, Problem, Row
from dropbox_agent.plan import arrays, containers, merging, resources, retries, script
from dropbox_agent.plan.containers import Containers
from dropbox_agent.plan.paths import PathMap, map_path
from dropbox_agent.plan.pipeline import BY_MODALITY, PIPELINE, WITHOUT, Step

NOT_ASKED_TO_REMOVE = (
    "Not asked for: the source folders stay unless skip_task: false and job_settings.dry_run: false are both set"
    " (dry_run: true only shows what would be removed)."
)
NOTHING_UPLOADED = "Nothing is uploaded, so nothing may be removed."
REMOVAL_NOT_ALLOWED = "This site does not let jobs remove source folders (policy.source_removal in agent.yaml)."
NOTHING_TO_RUN = "No capsule or pipeline is set for it (codeocean_pipeline_settings)."
SCRIPTED = BY_MODALITY
"""The tasks that a preset's command_script belongs to; the others run the agent's own program."""


@dataclass
class _Draft:
    """One task on its way into the plan."""

    step: Step
    modality: str | None
    settings: dict[str, Any]
    origin: dict[str, str]
    clashes: Sequence[merging.Clash]
    skip: str | None = None

    @property
    def key(self) -> str:
        return self.step.task_id if self.modality is None else f"{self.step.task_id}[{self.modality}]"

    @property
    def job_settings(self) -> dict[str, Any]:
        given: dict[str, Any] = self.settings.get("job_settings", {})
        return given

    @property
    def on_node(self) -> bool:
        return self.step.where == "node" and self.skip is None


def expand(
    job: Job,
    presets: Presets,
    buckets: Mapping[str, str],
    path_map: PathMap = MappingProxyType({}),
    *,
    env_file: str | None = None,
    source_removal: bool = False,
    site_containers: Containers = containers.NO_CONTAINERS,
    services: Collection[str] = (),
) -> tuple[Plan | None, tuple[Problem, ...]]:
    """Return the job's plan, fully merged, and all that is wrong with what the job sets.

    There is no plan when what the job sets cannot be understood. Where only the outside world objects, there is one.
    """
    if (broken := _broken_fallback(job, presets)) is not None:
        return None, (broken,)
    drafts = [draft for step in PIPELINE for draft in _drafts(step, job, presets)]
    for draft in drafts:
        _map_paths(draft, path_map)
        draft.skip = _skip(draft, drafts, source_removal, services)
    location = _location(job, buckets)
    problems = tuple(_problems(job, drafts, location, env_file, site_containers))
    if any(problem.level is Level.ERROR and not problem.outside for problem in problems):
        return None, problems
    hashed = merging.presets_hash(job.job_type, presets)
    again = retries.retries_of(job.job_type, presets)
    return Plan(job.job_type, job.s3_prefix, job.bucket, location, _planned(drafts), hashed, again), problems


def _location(job: Job, buckets: Mapping[str, str]) -> str:
    # A bucket nobody knows is validate's to refuse; the plan is still shown.
    return f"{buckets.get(job.bucket, job.bucket).rstrip('/')}/{job.s3_prefix}"


def _planned(drafts: Sequence[_Draft]) -> tuple[PlannedTask, ...]:
    needs = {draft.key: _needs(draft, drafts) for draft in drafts}
    allocations = _allocations(drafts, needs)
    return tuple(
        PlannedTask(
            key=draft.key,
            task_id=draft.step.task_id,
            modality=draft.modality,
            needs=needs[draft.key],
            allocation=allocations.get(draft.key),
            skip=draft.skip,
            settings=draft.settings,
            origin=draft.origin,
        )
        for draft in drafts
    )


# --- merging ---------------------------------------------------------------------------------------------------------


def _drafts(step: Step, job: Job, presets: Presets) -> list[_Draft]:
    """Return the step's tasks: one, or one for each modality. Every modality is uploaded; not all are processed."""
    if step.each is None:
        return [_draft(step, job, presets, None)]
    every = step.task_id == "compress_data"
    wanted = [m for m in job.modalities if every or merging.layers(job, presets, (step.each,), m)]
    return [_draft(step, job, presets, modality) for modality in wanted] or [_draft(step, job, presets, None)]


def _draft(step: Step, job: Job, presets: Presets, modality: str | None) -> _Draft:
    merged = merging.merged(_layers(step, job, presets, modality))
    if step.where == "plan":
        # What it has for each modality stands with the mapped task it is for; only being switched off is its own.
        merged.fields = {name: value for name, value in merged.fields.items() if name == "skip_task"}
        merged.origin = {name: value for name, value in merged.origin.items() if name == "skip_task"}
        merged.clashes = []
    return _Draft(step, modality, merged.fields, merged.origin, merged.clashes)


def _layers(step: Step, job: Job, presets: Presets, modality: str | None) -> tuple[merging.Layer, ...]:
    return merging.layers(job, presets, [name for name in (step.task_id, step.each) if name], modality)


def _map_paths(draft: _Draft, path_map: PathMap) -> None:
    name = SOURCE_SETTINGS.get(draft.step.task_id)
    if name is not None and isinstance(draft.job_settings.get(name), str):
        draft.job_settings[name] = map_path(draft.job_settings[name], path_map)


# --- skipping, order, allocations ------------------------------------------------------------------------------------


def _skip(draft: _Draft, drafts: Iterable[_Draft], source_removal: bool, services: Collection[str]) -> str | None:
    """Return why a task does not run, or None; ``skip_task`` leaves its settings, for the sentence says it."""
    off = draft.settings.pop("skip_task", None)
    origin = draft.origin.pop("skip_task", None)
    if off is True:
        return f"Switched off by {_who(origin or merging.MANIFEST)}."
    if draft.step.service is not None and draft.step.service not in services:
        return WITHOUT[draft.step.service]
    if draft.step.task_id == "run_codeocean_pipeline" and not draft.job_settings.get("pipeline_monitor_settings"):
        return NOTHING_TO_RUN
    if draft.step.task_id == "copy_derivatives_folder" and not draft.job_settings.get("input_source"):
        return "No derivatives_dir was given."
    if draft.step.task_id == "remove_source_folders":
        return _why_sources_stay(draft, drafts, asked=off is False, allowed=source_removal)
    return None


def _why_sources_stay(draft: _Draft, drafts: Iterable[_Draft], *, asked: bool, allowed: bool) -> str | None:
    # Upstream's clients send skip_task: false by themselves, so what is meant has to be said twice.
    if not asked or str(draft.job_settings.get("dry_run")).lower() not in ("true", "false"):
        return NOT_ASKED_TO_REMOVE
    if any(other.step.task_id == "upload_data_to_s3" and other.skip is not None for other in drafts):
        return NOTHING_UPLOADED
    return None if allowed else REMOVAL_NOT_ALLOWED


def _who(origin: str) -> str:
    return "the manifest" if origin == merging.MANIFEST else f"the job type {origin}"


def _needs(draft: _Draft, drafts: Sequence[_Draft]) -> tuple[str, ...]:
    """Return the keys a task waits for. A skipped one is replaced by what it needs itself, and waits for nothing."""
    if draft.skip is not None:
        return ()
    return tuple(dict.fromkeys(key for task_id in draft.step.needs for key in _standing_for(task_id, drafts)))


def _standing_for(task_id: str, drafts: Sequence[_Draft]) -> Iterator[str]:
    for draft in drafts:
        if draft.step.task_id != task_id:
            continue
        if draft.skip is None:
            yield draft.key
        else:
            for needed in draft.step.needs:
                yield from _standing_for(needed, drafts)


def _allocations(drafts: Iterable[_Draft], needs: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return the allocation of each task that runs on a node, numbered from 1 in the pipeline's order."""
    numbers: dict[str, int] = {}
    last: _Draft | None = None
    for draft in drafts:
        if not draft.on_node:
            continue
        joins = last is not None and _shares(last, draft) and tuple(needs[draft.key]) == (last.key,)
        numbers[draft.key] = max(numbers.values(), default=0) + (0 if joins else 1)
        last = draft
    return numbers


def _shares(one: _Draft, other: _Draft) -> bool:
    """Return whether two tasks may run in one allocation: light ones, with equal resources and no image."""
    light = not any(task.step.mapped or task.settings.get("image") for task in (one, other))
    return light and (one.settings.get("image_resources") or {}) == (other.settings.get("image_resources") or {})


# --- what is wrong ---------------------------------------------------------------------------------------------------


def _problems(
    job: Job, drafts: Iterable[_Draft], location: str, env_file: str | None, site: Containers
) -> Iterator[Problem]:
    for draft in drafts:
        yield from (_clash(job, draft, clash) for clash in draft.clashes)
        yield from _not_json(job, draft)
        if draft.skip is None:
            yield from _source_problems(job, draft)
            yield from _resource_problems(job, draft)
            yield from _array_problems(job, draft)
            yield from _script_problems(job, draft, location, env_file)
            yield from _container_problems(job, draft, site)


def _broken_fallback(job: Job, presets: Presets) -> Problem | None:
    for name in merging.consulted(job.job_type):
        if name in presets.broken:
            return Problem(
                Level.ERROR,
                job.row.place_of("job_type"),
                f'The job type "{name}", from which {job.job_type} takes what it does not set itself, cannot be used:'
                f" {presets.broken[name]} Ask whoever looks after this service.",
                found=job.job_type,
                outside=True,
            )
    return None


def _clash(job: Job, draft: _Draft, clash: merging.Clash) -> Problem:
    return Problem(
        Level.ERROR,
        _place(job, draft, *clash.path),
        f"{'.'.join(clash.path)} of {draft.key}: {_who(clash.above_origin)} gives {clash.above} where"
        f" {_who(clash.below_origin)} has {clash.below}. Write {clash.below}.",
        found=clash.above,
    )


def _not_json(job: Job, draft: _Draft) -> Iterator[Problem]:
    """Yield a problem for each value that cannot be handed on in a settings file."""
    for path, reason in _unwritable(draft.settings, ()):
        words = f"{'.'.join(path)} of {draft.key} {reason}."
        yield Problem(Level.ERROR, _place(job, draft, *path), words)


def _unwritable(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _unwritable(name, path)
            yield from _unwritable(part, (*path, str(name).encode("utf-8", "replace").decode()))
    elif isinstance(value, list):
        for part in value:
            yield from _unwritable(part, path)
    elif isinstance(value, str) and not _is_unicode(value):
        yield path, "has half a character (a lone surrogate); write the text anew"
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"is {value}, which is not a number that can be handed on"
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        yield path, f"is neither text, a number, true or false, a list nor a group of settings ({type(value).__name__})"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _source_problems(job: Job, draft: _Draft) -> Iterator[Problem]:
    name = SOURCE_SETTINGS.get(draft.step.task_id)
    if name is None:
        return
    given = draft.job_settings.get(name)
    if given is not None and (not isinstance(given, str)):
        words = f"{name} of {draft.key} is {merging.kind(given)}; write the path of a folder as text."
        yield Problem(Level.ERROR, _place(job, draft, "job_settings", name), words, found=str(given)[:200])
    elif draft.modality is not None and not (given or "").strip():
        yield _no_source(job, draft.modality)


def _no_source(job: Job, modality: str) -> Problem:
    path = ("modalities", str(job.modalities.index(modality)))
    place = job.row.place_of(*path)
    if place.cell is not None and (place.column or "").startswith("modality"):
        what = f"Fill the column {place.column}.input_source"
    else:
        what = f"Set tasks.modality_transformation_settings.{modality}.job_settings.input_source"
    return Problem(Level.ERROR, place, f"No source folder is given for {modality}. {what}.", found=modality)


def _resource_problems(job: Job, draft: _Draft) -> Iterator[Problem]:
    """Yield what no cluster can be asked for. What a preset sets and is passed over is not the scientist's affair."""
    asked = draft.settings.get("image_resources") or {}
    for fault in resources.problems(asked, by_manifest=_set_by_manifest(draft)):
        by = _who(_origin(draft, "image_resources", fault.name))
        if fault.passed_over and by != _who(merging.MANIFEST):
            continue
        what = f"{fault.name} in image_resources of {draft.key}, set by {by}, {fault.words}"
        words = f"{what}; it is passed over." if fault.passed_over else what + ("" if what.endswith("?") else ".")
        level = Level.WARNING if fault.passed_over else Level.ERROR
        place = _place(job, draft, "image_resources", fault.name)
        yield Problem(level, place, words, found=str(asked[fault.name])[:200], suggestion=fault.suggestion)


def _array_problems(job: Job, draft: _Draft) -> Iterator[Problem]:
    """Only a script knows what its elements are."""
    asked = draft.settings.get("image_resources") or {}
    if arrays.array_of(asked) is None or (draft.step.task_id in SCRIPTED and draft.settings.get("command_script")):
        return
    by = _who(_origin(draft, "image_resources", "array"))
    yield Problem(
        Level.ERROR,
        _place(job, draft, "image_resources", "array"),
        f"array in image_resources of {draft.key}, set by {by}, needs a command_script, which is run once for each"
        " element. Take it out.",
        found=str(asked["array"])[:200],
    )


def _set_by_manifest(draft: _Draft) -> frozenset[str]:
    paths = (path.split(".") for path, origin in draft.origin.items() if origin == merging.MANIFEST)
    return frozenset(path[1] for path in paths if path[0] == "image_resources" and len(path) > 1)


def _origin(draft: _Draft, *path: str) -> str:
    """Return where a value, or the first value of a group, comes from."""
    dotted = ".".join(path)
    found = (origin for name, origin in draft.origin.items() if name == dotted or name.startswith(dotted + "."))
    return next(found, merging.MANIFEST)


def _script_problems(job: Job, draft: _Draft, location: str, env_file: str | None) -> Iterator[Problem]:
    template = draft.settings.get("command_script")
    if not template:
        return  # an empty one is how a preset does without its parent's
    place = _place(job, draft, "command_script")
    by = _who(draft.origin["command_script"])
    faults = preset_script_faults(draft.step.task_id, template)
    for fault in faults:
        yield Problem(Level.ERROR, place, f"The command_script of {draft.key}, set by {by}: {fault}.")
    if faults:
        return
    values = script_values(draft.settings, location, output="/output", env_file=env_file)
    for obstacle in script.obstacles(template, values, draft.job_settings):
        yield _unrenderable(job, draft, obstacle)


def _container_problems(job: Job, draft: _Draft, site: Containers) -> Iterator[Problem]:
    """Yield why a script cannot be run in its image: a matter for operators, unless the manifest set the image."""
    what = _image_obstacle(draft, site)
    if what is None:
        return
    field = "image_version" if "image_version" in what else "image"
    by = _origin(draft, field)
    ask = "" if by == merging.MANIFEST else " Ask whoever looks after this service."
    yield Problem(
        Level.ERROR,
        _place(job, draft, field),
        f"The script of {draft.key}, whose image is set by {_who(by)}, {what}.{ask}",
        found=str(draft.settings.get(field))[:200],
        outside=True,
    )


def _image_obstacle(draft: _Draft, site: Containers) -> str | None:
    if draft.step.task_id in containers.WITHOUT_SCRIPT and draft.settings.get("image") and site.kind != "none":
        return containers.name_obstacle(draft.settings)
    return containers.obstacle(draft.settings, site) if draft.step.task_id in SCRIPTED else None


def preset_script_faults(task_id: str, template: str | None) -> tuple[str, ...]:
    """Return what is wrong with a task's command_script, whatever the job."""
    if not template:
        return ()
    if task_id not in SCRIPTED:
        return (f"{task_id} runs the agent's own program and takes no command_script; take it out",)
    return script.script_faults(template)


def _unrenderable(job: Job, draft: _Draft, obstacle: script.Obstacle) -> Problem:
    where, what = _SET_BY[obstacle.placeholder]
    if obstacle.value is None:
        words = f"The script of {draft.key} needs {what}, and there is none."
    else:
        words = (
            f"The script of {draft.key} can only take {what} made of {script.PLAIN_VALUE_IN_WORDS}, not"
            f' "{obstacle.value[:200]}". {"Rename the folder" if what == "a source folder" else "Correct it"}.'
        )
    found = None if obstacle.value is None else obstacle.value[:200]
    return Problem(Level.ERROR, _place(job, draft, *where), words, found=found, outside=True)


_SET_BY: Mapping[str, tuple[tuple[str, ...], str]] = {
    script.IMAGE: (("image",), "an image"),
    script.IMAGE_VERSION: (("image_version",), "an image_version"),
    script.INPUT_SOURCE: (("job_settings", "input_source"), "a source folder"),
    script.OUTPUT_LOCATION: (("command_script",), "an output folder (work_dir in agent.yaml)"),
    script.S3_LOCATION: (("command_script",), "a bucket address (buckets in agent.yaml)"),
    script.ENV_FILE: (("command_script",), "an environment file (executor.env_file in agent.yaml)"),
}
"""Placeholder -> the setting it stands for, and what that is in words."""


def script_values(
    settings: Mapping[str, Any], location: str, *, output: str, env_file: str | None
) -> dict[str, str | None]:
    """Return what each placeholder of a task's script stands for."""
    source = (settings.get("job_settings") or {}).get("input_source")
    return {
        script.IMAGE: settings.get("image"),
        script.IMAGE_VERSION: settings.get("image_version"),
        script.INPUT_SOURCE: source if isinstance(source, str) else None,
        script.OUTPUT_LOCATION: output,
        script.S3_LOCATION: location,
        script.ENV_FILE: env_file,
    }


def _place(job: Job, draft: _Draft, *path: str) -> Place:
    """Return where a field of a task was written. A mapped task has two names, and may be set for all modalities."""
    names = [name for name in (draft.step.each, draft.step.task_id) if name]
    whose = [(draft.modality,), ()] if draft.modality else [()]
    candidates = [("tasks", name, *one, *path) for name in names for one in whose]
    return job.row.place_of(*max(candidates, key=lambda candidate: _written_depth(job.row, candidate)))


def _written_depth(row: Row, path: Sequence[str]) -> int:
    written = (length for length in range(len(path), 0, -1) if ".".join(path[:length]) in row.places)
    return next(written, 0)
