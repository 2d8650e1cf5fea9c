"""What a task is given when it is handed to a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropbox_agent.errors import SubmitFailed
from dropbox_agent.model import (
    CodeOceanAccess,
    Container,
    DocDbAccess,
    JobStanding,
    Plan,
    PlannedTask,
    Removal,
    RunFolder,
    S3Access,
    TaskSettings,
)
from dropbox_agent.plan import arrays, containers
from dropbox_agent.plan.containers import NO_CONTAINERS, Containers
from dropbox_agent.plan.expansion import script_values
from dropbox_agent.plan.script import Unrenderable, render_script


@dataclass(frozen=True)
class Context:
    """What every task of this site is told besides its plan."""

    work_dir: Path
    allowed_roots: tuple[Path, ...] = ()
    """Where links in the sources may lead, besides the sources themselves."""
    metadata_required: bool = False
    metadata_strict: bool = False
    env_file: str | None = None
    """What %ENV_FILE stands for."""
    protected: tuple[Path, ...] = ()
    """The service's own folders, which no link in a source may lead into."""
    s3: Mapping[str, S3Access] = field(default_factory=dict)
    """How the buckets in S3 are reached, by their names in the settings."""
    removal: Removal | None = None
    """What may be removed of sources; whoever dropped the manifest is added to its owners."""
    containers: Containers = NO_CONTAINERS
    metadata_service: str | None = None
    codeocean: CodeOceanAccess | None = None
    docdb: DocDbAccess | None = None


def task_settings(job: JobStanding, task: PlannedTask, attempt_key: str, context: Context) -> TaskSettings:
    """Return the settings file of one task of one attempt. Raises SubmitFailed when its script cannot be filled."""
    if job.acq_datetime is None:
        raise ValueError(f"job {job.job_id} was recorded without its acq_datetime")
    run_folder = RunFolder(context.work_dir / job.job_id)
    return TaskSettings(
        task_id=task.task_id,
        key=task.key,
        job_id=job.job_id,
        job_type=job.job_type,
        project_name=job.project_name,
        subject_id=job.subject_id,
        acq_datetime=job.acq_datetime,
        platform=job.platform,
        modalities=list(job.modalities),
        modality=task.modality,
        s3_prefix=job.s3_prefix,
        # The bucket as it was when the job was accepted: that is what people have been told.
        bucket=job.location.removesuffix(f"/{job.s3_prefix}"),
        s3=context.s3.get(job.bucket),
        removal=_removal(job, task, context),
        run_folder=run_folder.path,
        attempt_key=attempt_key,
        sources={one.modality: Path(one.path) for one in job.plan.source_folders() if one.modality is not None},
        metadata_dir=_folder(job.plan, "gather_preliminary_metadata"),
        derivatives_dir=_folder(job.plan, "copy_derivatives_folder"),
        allowed_roots=list(context.allowed_roots),
        protected=list(context.protected),
        image=task.settings.get("image"),
        image_version=task.settings.get("image_version"),
        job_settings=dict(task.settings.get("job_settings") or {}),
        script=_script(job, task, run_folder, attempt_key, context),
        elements=_elements(task),
        container=_container(job, task, context),
        metadata_required=context.metadata_required,
        metadata_strict=context.metadata_strict,
        metadata_service=context.metadata_service,
        codeocean=context.codeocean,
        docdb=context.docdb,
    )


def _elements(task: PlannedTask) -> list[int]:
    array = arrays.array_of(task.settings.get("image_resources") or {})
    return [] if array is None else list(array.numbers)


def _container(job: JobStanding, task: PlannedTask, context: Context) -> Container | None:
    without_script = task.task_id in containers.WITHOUT_SCRIPT
    of = containers.container_without_script if without_script else containers.container
    return of(task.settings, context.containers, _read_in_container(job, task, context))


def _read_in_container(job: JobStanding, task: PlannedTask, context: Context) -> tuple[Path, ...]:
    """Return what may be read besides the image: the modality's own source, and what %ENV_FILE stands for."""
    sources = (Path(one.path) for one in job.plan.source_folders() if one.key == task.key)
    return (*sources, *([] if context.env_file is None else [Path(context.env_file)]))


def _removal(job: JobStanding, task: PlannedTask, context: Context) -> Removal | None:
    if context.removal is None or task.task_id != "remove_source_folders":
        return None
    owner = [] if job.owner is None else [job.owner]
    return context.removal.model_copy(update={"owners": [*owner, *context.removal.owners]})


def _folder(plan: Plan, task_id: str) -> Path | None:
    return next((Path(one.path) for one in plan.source_folders() if one.key == task_id), None)


def _script(
    job: JobStanding, task: PlannedTask, run_folder: RunFolder, attempt_key: str, context: Context
) -> str | None:
    template = task.settings.get("command_script")
    if not template:
        return None
    output = run_folder.partial(job.s3_prefix, task.modality or task.task_id, attempt_key)
    values = script_values(task.settings, job.location, output=str(output), env_file=context.env_file)
    settings: Mapping[str, Any] = task.settings.get("job_settings") or {}
    try:
        return render_script(template, values, settings)
    except Unrenderable as error:
        raise SubmitFailed(
            f"The command_script of {task.key} of job {job.job_id} was not run: {error}. Correct the settings"
            " (work_dir, executor.env_file in agent.yaml), then retry the job.",
            retry=False,
        ) from error
