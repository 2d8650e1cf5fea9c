"""The things that travel along the path, one type per arrow (see the path in docs/design.md).

What other people write (manifests, requests, preset files) is pydantic, frozen, unknown fields forbidden.
What the steps hand to each other is a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dropbox_agent.states import AttemptState, DropState, JobState, TaskState

EmailType = Literal["begin", "end", "fail", "retry", "all"]
EMAIL_TYPES: tuple[EmailType, ...] = ("begin", "end", "fail", "retry", "all")


# --- what other people write -----------------------------------------------------------------------------------------


class Task(BaseModel):
    """One step of the pipeline as a preset or a manifest sets it (upstream's six fields).

    What was not set stays unset: merging uses ``model_dump(exclude_unset=True)``, so naming a task
    never switches on what a preset has switched off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    skip_task: bool = Field(False, description="Do not run this task.")
    image: str | None = Field(None, description="The container image the command script runs in.")
    image_version: str | None = Field(None, description="The version (tag) of the image.")
    image_resources: dict[str, Any] | None = Field(None, description="What to ask of the cluster, in Slurm's words.")
    job_settings: dict[str, Any] | None = Field(None, description="Settings of the task itself.")
    command_script: str | None = Field(None, description="The shell script to run, with %PLACEHOLDERS.")


class NamedModality(BaseModel):
    """A modality or platform as upstream's clients send it: the abbreviation decides, the rest is carried."""

    model_config = ConfigDict(frozen=True, extra="allow")

    abbreviation: str


class UploadJob(BaseModel):
    """One data acquisition session to upload, in upstream's field names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_type: str
    project_name: str
    subject_id: str
    acq_datetime: datetime
    modalities: list[NamedModality] = Field(min_length=1)
    platform: NamedModality | None = None
    s3_bucket: str = "default"
    user_email: str | None = None
    email_notification_types: set[EmailType] | None = None
    tasks: dict[str, Task | dict[str, Task]] = Field(default_factory=dict)

    @property
    def s3_prefix(self) -> str:
        """The name of the asset: ``[platform_]subject_YYYY-MM-DD_HH-MM-SS``, wall clock as given."""
        return asset_name(self.platform.abbreviation if self.platform else None, self.subject_id, self.acq_datetime)


class SubmitRequest(BaseModel):
    """Up to 50 jobs in one request, in upstream's field names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dag_id: Literal["transform_and_upload_v2"] = "transform_and_upload_v2"
    user_email: str | None = None
    email_notification_types: set[EmailType] = {"fail"}
    upload_jobs: list[UploadJob] = Field(min_length=1, max_length=50)


def asset_name(platform: str | None, subject_id: str, acq_datetime: datetime) -> str:
    """Return ``[platform_]subject_YYYY-MM-DD_HH-MM-SS``; the wall clock is never converted between time zones.

    Same rule as ``build_data_name`` of aind-data-schema-models.
    """
    label = f"{platform}_{subject_id}" if platform else subject_id
    return f"{label}_{acq_datetime:%Y-%m-%d_%H-%M-%S}"


# --- manifest: what was read -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where something stands in a manifest. Rows count from 1 as in Excel; for YAML and JSON, row is the line."""

    file: str
    sheet: str | None = None
    row: int | None = None
    column: str | None = None
    """The header in lower case with underscores; for YAML and JSON the dotted key path."""
    cell: str | None = None
    """As Excel names it, e.g. ``C7``; only for tables."""


class Level(str, Enum):
    """How bad a problem is."""

    ERROR = "error"
    """The row (or the file) is refused."""
    WARNING = "warning"
    """Told, and gone on with."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row or file: where, what was found, what would be right."""

    level: Level
    place: Place
    message: str
    """One sentence for the scientist: what is wrong and what would be right."""
    found: str | None = None
    """What stands there, as text, cut at 200 characters."""
    suggestion: str | None = None
    """The value to write instead, when there is one."""
    outside: bool = False
    """The row itself is well formed; only the outside world objects (sources, projects, buckets, policy)."""
    line: str | None = None
    """The line of a YAML or JSON manifest, as it stands there; tables have their annotated copy instead."""

    def as_json(self) -> dict[str, Any]:
        """Return the problem as ``check --json`` and status.json write it."""
        return {
            "level": self.level.value,
            "file": self.place.file,
            "sheet": self.place.sheet,
            "row": self.place.row,
            "column": self.place.column,
            "cell": self.place.cell,
            "found": self.found,
            "message": self.message,
            "suggestion": self.suggestion,
        }


@dataclass(frozen=True)
class Row:
    """One line of a table or one entry of ``upload_jobs``, exactly as written, with its place.

    ``entry`` has the shape of one upstream job, made of plain values (str, int, float, bool, None, list, dict);
    ``places`` says for each dotted path of it where it was written (``tasks.x.job_settings.input_source`` ->
    column ``modality0.input_source``, cell ``H2``). A missing path has the place of its nearest parent, or the row's.
    """

    place: Place
    entry: Mapping[str, Any]
    places: Mapping[str, Place] = field(default_factory=dict)
    refused: bool = False
    """Reading it found an error: what can be checked is checked, but no job comes of it."""

    def place_of(self, *path: str) -> Place:
        """Return where ``path`` was written, else its nearest written parent, else the row."""
        for length in range(len(path), 0, -1):
            found = self.places.get(".".join(path[:length]))
            if found is not None:
                return found
        return self.place


# --- validate: what is asked for -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One valid data acquisition session to upload. Its identity is ``(bucket, s3_prefix)``, the asset."""

    row: Row
    job_type: str
    project_name: str
    subject_id: str
    acq_datetime: datetime
    platform: str | None
    modalities: tuple[str, ...]
    bucket: str
    """The bucket's name in the settings (default, private, open, ...), not its address."""
    s3_prefix: str
    user_email: str | None
    email_types: frozenset[str]
    tasks: Mapping[str, Any]
    """What the manifest set: canonical task_id -> fields set, or task_id -> modality -> fields set."""


# --- plan: what will be done -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlannedTask:
    """One task of a plan, fully merged."""

    key: str
    """``upload_data_to_s3`` or, for a mapped task, ``compress_data[ecephys]``. Unique in the plan."""
    task_id: str
    modality: str | None
    needs: tuple[str, ...]
    """Keys of the tasks that must have ended well; skipped tasks are already replaced by what they need."""
    allocation: int | None
    """Which allocation of the plan runs it; None for what the agent does itself and for skipped tasks."""
    skip: str | None
    """Why it is skipped, as a sentence; None when it runs."""
    settings: Mapping[str, Any]
    """The effective settings: image, image_version, image_resources, job_settings, command_script."""
    origin: Mapping[str, str]
    """Dotted path in settings -> where the value comes from: ``default``, ``ecephys``, ``manifest``, ``agent``."""


SOURCE_SETTINGS: Mapping[str, str] = {
    "compress_data": "input_source",
    "gather_preliminary_metadata": "metadata_dir",
    "copy_derivatives_folder": "input_source",
}
"""Task that reads a folder of the scientist's -> which of its job_settings names it."""


@dataclass(frozen=True)
class SourceFolder:
    """A folder of the scientist's that a plan reads."""

    key: str
    """The task that reads it."""
    modality: str | None
    setting: str
    """input_source or metadata_dir, in the task's job_settings."""
    path: str
    """After path_map."""


@dataclass(frozen=True)
class Plan:
    """The ordered, fully merged tasks of one job."""

    job_type: str
    s3_prefix: str
    bucket: str
    location: str
    """Where the asset will be: ``file:///srv/bucket/prefix`` or ``s3://bucket/prefix``."""
    tasks: tuple[PlannedTask, ...]
    preset_hash: str
    """sha256 of the presets this plan was made from."""

    def task(self, key: str) -> PlannedTask:
        """Return the task of that key; KeyError when there is none."""
        for task in self.tasks:
            if task.key == key:
                return task
        raise KeyError(key)

    def source_folders(self) -> tuple[SourceFolder, ...]:
        """Return every folder of the scientist's that the tasks which run will read."""
        found = []
        for task in self.tasks:
            setting = SOURCE_SETTINGS.get(task.task_id, "")
            path = (task.settings.get("job_settings") or {}).get(setting)
            if path and task.skip is None:
                found.append(SourceFolder(task.key, task.modality, setting, path))
        return tuple(found)


# --- inbox, ledger, executors ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drop:
    """One settled version of a manifest, copied into the spool."""

    inbox: Path
    name: str
    """The file's name in the inbox, as text safe to show and store."""
    sha256: str
    size: int
    spooled: Path
    owner: int
    """uid of the file's owner when it was copied."""
    modified: float
    """The file's own mtime, seconds since the epoch; shown, never compared with our clock."""
    settled_at: datetime
    again: bool = False
    """It was away for two complete scans and is back."""


@dataclass(frozen=True)
class Attempt:
    """One try at running one allocation of one job."""

    key: str
    """``dbx-`` + 20 characters of ``[a-z2-7]``: deterministic, names the Slurm job."""
    job_id: str
    allocation: int
    number: int
    """1 for the first try."""
    state: AttemptState
    folder: Path
    """The attempt's own folder inside the run folder."""
    tasks: tuple[PlannedTask, ...]
    handle: str | None = None
    """What the executor calls it: a process (``boot:pid:start``) or a Slurm job (``slurm:id:name``)."""
    submitted_at: datetime | None = None
    first_missing_at: datetime | None = None
    """Since when successful looks have not found it; durable, so that a restart does not begin the grace anew."""
    stop_at: datetime | None = None
    """Since when it is to be ended."""


@dataclass(frozen=True)
class TaskObservation:
    """What an executor saw of one task of an attempt."""

    key: str
    state: TaskState
    started: datetime | None = None
    ended: datetime | None = None
    message: str | None = None
    exit_code: int | None = None
    progress: Mapping[str, Any] | None = None
    """``{"done_bytes", "total_bytes", "done_files", "total_files", "text"}``, whichever apply."""
    log: str | None = None


@dataclass(frozen=True)
class Observation:
    """What an executor saw of one attempt. ``seen`` False: a successful look did not find it."""

    attempt: Attempt
    seen: bool
    state: AttemptState
    tasks: tuple[TaskObservation, ...] = ()
    text: str | None = None
    """A sentence for people: ``waits for a free place (2 of 2 in use)``."""
    waits: bool = False
    """The text says what it waits for, as anything in a queue does: nobody has to act."""
    handle: str | None = None
    """What the executor calls it, where that was found out only now."""


# --- report: what people are told ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskStanding:
    """One task of a job as the ledger has it."""

    key: str
    task_id: str
    modality: str | None
    state: TaskState
    started: datetime | None
    ended: datetime | None
    attempt: int
    slurm_job_id: str | None
    log: str | None
    message: str | None
    progress: Mapping[str, Any] | None


@dataclass(frozen=True)
class JobStanding:
    """One job as the ledger has it."""

    job_id: str
    s3_prefix: str
    bucket: str
    location: str
    job_type: str
    project_name: str
    subject_id: str
    platform: str | None
    modalities: tuple[str, ...]
    user_email: str | None
    email_types: frozenset[str]
    row: int | None
    state: JobState
    created: datetime
    started: datetime | None
    ended: datetime | None
    tasks: tuple[TaskStanding, ...]
    plan: Plan
    acq_datetime: datetime | None = None
    drop_id: int = 0
    manifest: str = ""
    """The manifest's file name."""


@dataclass(frozen=True)
class Standing:
    """All that is known of one drop: what ``report`` turns into words."""

    drop_id: int
    name: str
    inbox: Path
    sha256: str
    state: DropState
    noticed: datetime
    updated: datetime
    problems: tuple[Problem, ...]
    jobs: tuple[JobStanding, ...]
    note: str | None = None
    """What came of the last order for it, as a sentence."""


class Order(BaseModel):
    """What somebody wants done with a job, or with all jobs of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    act: Literal["retry", "cancel"]
    job_id: str | None = None
    """None: every job of the manifest."""
    inbox: Path | None = None
    manifest: str | None = None
    from_task: str | None = None
    """Run again from this task on, also what succeeded."""
    asked: datetime
    by: str
    """How it was asked for, in words: ``dropbox-agent cancel`` or ``session.xlsx.cancel``."""


@dataclass(frozen=True)
class Mail:
    """One e-mail in the outbox."""

    mail_id: int
    drop_id: int
    number: int
    """Its number among the mails of this manifest, from 1: the NN of ``NAME.NN-kind.eml``."""
    kind: str
    """begin, end, fail, retry, or refused."""
    to: str
    job_id: str | None
    """None for a mail about the whole manifest."""
    created: datetime


# --- presets and policy: what a site decides -------------------------------------------------------------------------


@dataclass(frozen=True)
class JobType:
    """The stored tasks of one job_type, as its file has them (before inheritance and fallback)."""

    name: str
    description: str
    inherits: str | None
    tasks: Mapping[tuple[str, str | None], Mapping[str, Any]]
    """(canonical task_id, modality or None) -> the fields the preset sets."""


@dataclass(frozen=True)
class Presets:
    """Every job_type a site has, and those whose file is wrong."""

    job_types: Mapping[str, JobType]
    broken: Mapping[str, str]
    """Name of a job_type that cannot be used -> why, in one sentence that names file and line."""


@dataclass(frozen=True)
class Known:
    """What a manifest is checked against."""

    job_types: tuple[str, ...]
    broken_job_types: Mapping[str, str]
    projects: tuple[str, ...]
    """Empty: any project name that is well formed."""
    platforms: tuple[str, ...]
    modalities: tuple[str, ...]
    buckets: tuple[str, ...]
    task_ids: Mapping[str, str]
    """Every accepted task name -> its canonical task_id."""
    default_email: str | None
    now: datetime
    upstream: bool = False
    """compat: upstream. What upstream takes without a word is a warning, not an error."""


# --- tasks: what a node is given -------------------------------------------------------------------------------------


class TaskSettings(BaseModel):
    """The settings file of one built-in task: all that ``python -m dropbox_agent.tasks NAME SETTINGS.json`` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    key: str
    job_id: str
    job_type: str
    project_name: str
    subject_id: str
    acq_datetime: datetime
    platform: str | None
    modalities: list[str]
    modality: str | None = None
    """The modality of a mapped task."""
    s3_prefix: str
    bucket: str
    """The bucket's address: ``file:///srv/bucket`` (``s3://bucket`` once there is an S3 engine)."""
    run_folder: Path
    attempt_key: str
    sources: dict[str, Path]
    """modality -> input_source, after path_map."""
    metadata_dir: Path | None = None
    derivatives_dir: Path | None = None
    allowed_roots: list[Path] = []
    """Where links in the sources may lead, besides the sources themselves."""
    protected: list[Path] = []
    """Folders of the service itself (ledger, other buckets, other jobs): no link in the sources may lead there."""
    image: str | None = None
    image_version: str | None = None
    job_settings: dict[str, Any] = {}
    script: str | None = None
    """The rendered command_script."""
    metadata_required: bool = False
    metadata_strict: bool = False


class TaskOutcome(BaseModel):
    """What a built-in task leaves behind: the sentence people read, and facts for programs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["succeeded", "failed", "skipped"]
    message: str
    facts: dict[str, Any] = {}


@dataclass(frozen=True)
class AttemptFolder:
    """Every file name of one attempt. The only place that knows them (the wrapper is told them)."""

    path: Path

    @property
    def wrapper(self) -> Path:
        return self.path / "wrapper.py"

    @property
    def allocation(self) -> Path:
        """What the wrapper runs: tasks in order, their argv, needs and file names."""
        return self.path / "allocation.json"

    @property
    def token(self) -> Path:
        """The start token: a folder, taken by ``mkdir``; who took it is in ``owner.json`` inside."""
        return self.path / "started"

    @property
    def end(self) -> Path:
        """The end record of the whole allocation."""
        return self.path / "end.json"

    @property
    def wrapper_log(self) -> Path:
        return self.path / "wrapper.log"

    def settings(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.settings.json"

    def log(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.log"

    def progress(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.progress.json"

    def outcome(self, key: str) -> Path:
        return self.path / f"{file_stem(key)}.outcome.json"

    def started(self, key: str) -> Path:
        """The start record of one task."""
        return self.path / f"{file_stem(key)}.started.json"

    def ended(self, key: str) -> Path:
        """The end record of one task."""
        return self.path / f"{file_stem(key)}.end.json"


@dataclass(frozen=True)
class RunFolder:
    """Every folder name of one job on the share: ``work_dir/<job_id>/``."""

    path: Path

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    def attempt(self, key: str) -> AttemptFolder:
        return AttemptFolder(self.attempts / key)

    @property
    def staging(self) -> Path:
        """Holds the job's marker ``job.json`` and, in a folder named like the asset, what will be uploaded."""
        return self.path / "staging"

    @property
    def staging_marker(self) -> Path:
        return self.staging / "job.json"

    def content(self, s3_prefix: str) -> Path:
        """What will be uploaded."""
        return self.staging / s3_prefix

    def partial(self, s3_prefix: str, modality: str, attempt_key: str) -> Path:
        """Where one attempt's script writes; renamed to the modality's own name once it is whole."""
        return self.content(s3_prefix).parent / f"{modality}.partial-{attempt_key}"

    @property
    def inventory(self) -> Path:
        """Every uploaded file with size, mtime and CRC64NVME."""
        return self.path / "inventory.json"


def file_stem(key: str) -> str:
    """Return the file name of a task key: ``compress_data[ecephys]`` -> ``compress_data.ecephys``."""
    return key.replace("[", ".").replace("]", "")


SLURM_HANDLE = "slurm"
"""How the handle of a Slurm job begins: ``slurm:4711:dbx-...``; identity is id and name together."""


def slurm_job_id(handle: str | None) -> str | None:
    """Return the Slurm job id in a handle; None when it is no Slurm job's."""
    kind, _, rest = (handle or "").partition(":")
    return rest.partition(":")[0] if kind == SLURM_HANDLE else None
