"""The settings themselves: one class per section of agent.yaml, one sentence per setting."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PrivateAttr, Tag
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dropbox_agent.settings.packaged import packaged

ENVIRONMENT_PREFIX = "DROPBOX_AGENT_"
PACKAGED_DEFAULTS = "the packaged defaults"
ADDRESS = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+")
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TASK_FIELDS = ("skip_task", "image", "image_version", "image_resources", "job_settings", "command_script")
"""What a manifest may set of a task (the fields of ``model.Task``; a test compares the two)."""


# --- kinds of values -------------------------------------------------------------------------------------------------


def _no_switch(value: Any) -> Any:
    """Refuse true and false where a number is meant: Python would take them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("is not a number")
    return value


def _switch(value: Any) -> Any:
    """Take true and false (also as text, from the environment), and nothing that merely looks like it."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if any(not character.isprintable() for character in value):
        raise ValueError("contains a control character")
    return value


def _path(value: Any) -> Any:
    """Return the path with its ``~`` replaced; relative ones stay so until the file's own place is known."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("is not a path; write it as text, in quotes if need be")
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError:
        raise ValueError("begins with the home folder (~) of somebody unknown here") from None


def _bucket(value: str) -> str:
    """Return ``file:///absolute/folder``, or a relative folder as it is."""
    if value.startswith("s3://"):
        raise ValueError("is in S3, which is not in this version; file:///folder is")
    if not value.startswith("file:"):
        if "://" in value:
            raise ValueError("is not an address this version knows; write file:///folder")
        folder = _path(value)
        return str(folder) if not folder.is_absolute() else _address(folder)
    parts = urlsplit(value)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError("is not an address of a folder; write file:///folder with three slashes")
    return _address(Path(_text(unquote(parts.path))))


def _address(folder: Path) -> str:
    return Path(os.path.normpath(folder)).as_uri()


def _bucket_name(value: str) -> str:
    if not BUCKET_NAME.fullmatch(value):
        raise ValueError("is not a name for a bucket; use letters, digits, dots, dashes and underscores")
    return value


def _mail_address(value: str) -> str:
    if not ADDRESS.fullmatch(value) or not value.isprintable():
        raise ValueError("is not one e-mail address")
    return value


def _web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"<>]+", value):
        raise ValueError("is not a web address; it begins with https:// or http://")
    return value


def _rest_address(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+(/[^\s?#]*)?|unix:/[^\s/][^\n]*", value):
        raise ValueError("is not where a slurmrestd listens; write http://host:port or unix:/path")
    return value


def _task_field(value: str) -> str:
    first = value.partition(".")[0]
    if first not in TASK_FIELDS or not re.fullmatch(r"[a-z_]+(\.[A-Za-z0-9_-]+)*", value):
        known = ", ".join(TASK_FIELDS)
        raise ValueError(f"is not a field of a task; those are {known} and, inside, image_resources.array")
    return value


Switch = Annotated[bool, BeforeValidator(_switch)]
Seconds = Annotated[float, BeforeValidator(_no_switch), Field(gt=0, allow_inf_nan=False)]
Number = Annotated[int, BeforeValidator(_no_switch), Field(ge=1)]
Port = Annotated[int, BeforeValidator(_no_switch), Field(ge=0, le=65535)]
Text = Annotated[str, AfterValidator(_text)]
Folder = Annotated[Path, BeforeValidator(_path)]
FolderText = Annotated[str, BeforeValidator(lambda value: str(_path(value)))]
BucketName = Annotated[str, AfterValidator(_bucket_name)]
BucketAddress = Annotated[str, AfterValidator(_bucket)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
RestAddress = Annotated[str, AfterValidator(_rest_address)]
TaskField = Annotated[str, AfterValidator(_task_field)]
AllOrSome = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[tuple[TaskField, ...], Tag("some")],
    Discriminator(lambda value: "all" if isinstance(value, str) else "some"),
]


# --- sections --------------------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A part of the settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Inbox(Section):
    """A folder that is watched for manifests."""

    path: Folder = Field(Path("inbox"), description="The watched folder; it is never created silently.")
    settle_seconds: Seconds = Field(2.0, description="A file is read once its content stayed the same for this long.")
    settle_max_seconds: Seconds = Field(
        60.0, description="A file that looks unfinished (a torn .xlsx) is waited for at most this long."
    )
    scan_seconds: Seconds = Field(
        10.0, description="How often the folder is listed; events of this machine only shorten the wait."
    )


class Executor(Section):
    """Where tasks run."""

    kind: Literal["local", "slurm", "rehearsal"] = Field(
        "local",
        description="local runs tasks on this machine, slurm on a cluster, rehearsal nowhere: it ends in succeeded.",
    )
    slots: Number | None = Field(
        None,
        description="How many allocations run, or wait in the cluster's queue, at the same time; null: 2 with local,"
        " 1000 with slurm.",
    )
    env_file: Folder | None = Field(
        None, description="The file a preset's command_script gets for %ENV_FILE; null: such a script is refused."
    )
    via: Literal["cli", "rest"] = Field(
        "cli", description="How Slurm is reached; cli: by sbatch and squeue on this machine, rest: by slurmrestd (url)."
    )
    url: RestAddress | None = Field(
        None, description="Where slurmrestd listens, for via: rest: http://host:port or unix:/path/to/socket."
    )
    token_file: Folder | None = Field(
        None,
        description="A file with a token for slurmrestd, read anew for each question; null: SLURM_JWT in the"
        " environment, or none.",
    )
    user: Text | None = Field(
        None, description="The Slurm account, for via: rest; null: the one the token is for, else the agent's own."
    )
    partition: Text | None = Field(
        None, description="The Slurm partition of tasks that ask for none; null: the cluster's default."
    )
    account: Text | None = Field(
        None, description="The Slurm account of tasks that ask for none; null: the user's default."
    )
    qos: Text | None = Field(None, description="The Slurm QOS of tasks that ask for none; null: the account's default.")
    poll_seconds: Seconds = Field(
        2.0, description="How soon Slurm is asked again after something happened; while nothing does, ever less often."
    )
    grace_seconds: Seconds = Field(
        60.0,
        description="How long a job has to be missing in Slurm, or an end record in the work folder, before it is"
        " believed.",
    )
    python: Folder | None = Field(
        None, description="The Python with this program on the cluster's nodes; null: the path of the agent's own."
    )


def job_types_shipped() -> Path:
    """Return the folder of the job types that come with the program."""
    return packaged("config", "job_types")


def _or_shipped(value: Any) -> Any:
    return job_types_shipped() if value is None else value


class Presets(Section):
    """Where the job types are."""

    kind: Literal["yaml"] = Field("yaml", description="yaml reads a folder with one file per job type.")
    folder: Annotated[Folder, BeforeValidator(_or_shipped)] = Field(
        default_factory=job_types_shipped,
        description="The folder of the job types (NAME.yaml each); null: those that come with the program.",
    )


class Policy(Section):
    """Who may set what, and which folders may be uploaded."""

    source_roots: tuple[Folder, ...] = Field(
        (), description="Data may only come from below these folders; empty: from anywhere the agent may read."
    )
    manifests_may_set: AllOrSome = Field(
        ("job_settings", "skip_task", "image_version", "image_resources.array"),
        description="The fields of a task that a manifest may set; all: every field, also scripts and images.",
    )
    source_removal: Switch = Field(
        False, description="Whether a job may ask to have its source folders removed after a verified upload."
    )


class Site(Section):
    """How the site presents itself on pages and in mails."""

    name: Text = Field("dropbox-agent", description="The name people know this service by.")
    help_url: WebAddress | None = Field(None, description="A web page that explains this service to its users.")
    contact: Text | None = Field(
        None, description="Whom to ask when something is wrong: a name, an address, a channel."
    )


class Mail(Section):
    """How people are told."""

    kind: Literal["file"] = Field("file", description="file writes every mail as an .eml file beside the manifest.")
    sender: MailAddress = Field("dropbox-agent@localhost", description="The address mails come from.")
    default_to: MailAddress | None = Field(
        None, description="Who is told about jobs that name no address; null: nobody, with a warning."
    )


class Web(Section):
    """Where the pages are served."""

    host: Text = Field(
        "127.0.0.1", description="The address to listen on; 127.0.0.1 is reachable from this machine only."
    )
    port: Port = Field(8000, description="The port to listen on; 0 takes a free one.")


class Metadata(Section):
    """How strict metadata files are judged."""

    required: Switch | None = Field(
        None,
        description="true: missing or malformed required metadata files fail the job; false: they are told and passed"
        " over; null: required once a source of metadata is configured, of which this version has none.",
    )
    strict: Switch = Field(False, description="Whether a file that breaks its schema fails the job instead of warning.")


class Settings(BaseSettings):
    """Everything a site decides. Made by ``load``; every path in it is then absolute."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )

    inboxes: tuple[Inbox, ...] = Field((Inbox(),), description="The folders watched for manifests.")
    work_dir: Folder = Field(
        Path("work"), description="Run folders of the jobs: scripts, logs, staged data; tasks must reach it too."
    )
    state_dir: Folder = Field(
        Path("state"), description="Ledger and spool; on a disk of this machine, never on a network share."
    )
    executor: Executor = Field(Executor(), description="Where tasks run.")
    presets: Presets = Field(default_factory=Presets, description="Where the job types are.")
    buckets: Mapping[BucketName, BucketAddress] = Field(
        {"default": "buckets/default", "private": "buckets/private", "open": "buckets/open"},
        description="The buckets a manifest may name, each with its address: file:///folder, or a folder.",
    )
    projects: tuple[Text, ...] = Field(
        (), description="The project names that are accepted; empty: any well-formed one."
    )
    policy: Policy = Field(Policy(), description="Who may set what, and which folders may be uploaded.")
    site: Site = Field(Site(), description="How the site presents itself on pages and in mails.")
    path_map: Mapping[Text, FolderText] = Field(
        {}, description=r"What a path in a manifest means here, by its beginning: '\\server\share', 'Z:\', '/old/root'."
    )
    mail: Mail = Field(Mail(), description="How people are told.")
    web: Web = Field(Web(), description="Where the pages are served.")
    metadata: Metadata = Field(Metadata(), description="How strict metadata files are judged.")
    templates: Folder | None = Field(
        None, description="A folder of templates of your own; each file replaces the one of the same name."
    )
    on_error: Literal["file", "row"] = Field(
        "file", description="file: one bad row refuses the whole manifest; row: it refuses only itself."
    )
    jobs_per_manifest: Number = Field(
        50, description="How many jobs of one manifest are worked on at a time; the others wait for their turn."
    )
    compat: Literal["none", "upstream"] = Field(
        "none",
        description="none: where something of a manifest would be lost, it is refused with the cell; upstream: it is"
        " read as aind-data-transfer-service reads it, with a warning for each.",
    )

    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file these settings came from; None for the packaged defaults."""
        return self._file

    @property
    def origin(self) -> str:
        """Where these settings came from, in words."""
        return str(self._file or PACKAGED_DEFAULTS)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: the environment is an argument of ``load``."""
        return (init_settings,)

    def below(self, folder: Path, file: Path | None = None) -> Settings:
        """Return the same settings with every path absolute; relative ones start in ``folder``."""
        settings = _absolute(self, folder)
        assert isinstance(settings, Settings)
        buckets = {name: _absolute_address(address, folder) for name, address in self.buckets.items()}
        path_map = {beginning: str(_absolute(Path(here), folder)) for beginning, here in self.path_map.items()}
        settings = settings.model_copy(update={"buckets": buckets, "path_map": path_map})
        settings._file = file
        return settings


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return Path(os.path.normpath(folder / value))
    if isinstance(value, BaseModel):
        return value.model_copy(
            update={name: _absolute(getattr(value, name), folder) for name in type(value).model_fields}
        )
    if isinstance(value, tuple):
        return tuple(_absolute(part, folder) for part in value)
    return value


def _absolute_address(address: str, folder: Path) -> str:
    return address if address.startswith("file:") else _address(folder / address)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section a setting holds: Inbox for ``tuple[Inbox, ...]``, None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)
