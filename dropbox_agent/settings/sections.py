"""The settings themselves: one class per section of agent.yaml, one sentence per setting."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dropbox_agent.settings.api import Api
from dropbox_agent.settings.keep import Keep
from dropbox_agent.settings.kinds import (
    AllOrSome,
    BucketAddress,
    BucketName,
    Days,
    Endpoint,
    Folder,
    FolderText,
    ListAddress,
    Number,
    ParameterPrefix,
    Port,
    RestAddress,
    Seconds,
    Section,
    ServiceAddress,
    Switch,
    Text,
    WebAddress,
    absolute_address,
)
from dropbox_agent.settings.packaged import packaged
from dropbox_agent.settings.s3 import S3
from dropbox_agent.settings.services import CodeOcean, DocDb, Mail

ENVIRONMENT_PREFIX = "DROPBOX_AGENT_"
PACKAGED_DEFAULTS = "the packaged defaults"

# --- sections --------------------------------------------------------------------------------------------------------


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


class Containers(Section):
    """What the scripts of job types that have an image are run in."""

    kind: Literal["none", "apptainer", "singularity", "charliecloud"] = Field(
        "none", description="none: a job type that needs an image is refused; else the program that runs containers."
    )
    program: Text | None = Field(
        None, description="The program on the nodes, by name or path; null: apptainer, singularity or ch-run."
    )
    images: Folder | None = Field(
        None,
        description="The folder of the images (IMAGE_VERSION.sif; with charliecloud folders IMAGE_VERSION, and it must"
        " be set); null: they are fetched from docker://IMAGE:VERSION.",
    )
    bind: tuple[Folder, ...] = Field(
        (), description="Folders that every container may read, besides the sources of its own job."
    )


def job_types_shipped() -> Path:
    """Return the folder of the job types that come with the program."""
    return packaged("config", "job_types")


def _or_shipped(value: Any) -> Any:
    return job_types_shipped() if value is None else value


class Presets(Section):
    """Where the job types are."""

    kind: Literal["yaml", "ssm"] = Field(
        "yaml", description="yaml reads a folder with one file per job type; ssm an AWS Parameter Store."
    )
    folder: Annotated[Folder, BeforeValidator(_or_shipped)] = Field(
        default_factory=job_types_shipped,
        description="The folder of the job types (NAME.yaml each); null: those that come with the program.",
    )
    prefix: ParameterPrefix | None = Field(
        None, description="What the names of the parameters begin with, before /v2/JOB_TYPE/tasks/TASK (ssm)."
    )
    region: Text | None = Field(None, description="The AWS region of the store; null: that of AWS's own settings.")
    profile: Text | None = Field(None, description="The profile in ~/.aws to use; null: the default one.")
    endpoint_url: Endpoint | None = Field(
        None, description="Another address of the store, of a private endpoint for example; null: AWS's own."
    )
    refresh_seconds: Seconds = Field(
        60.0, description="How old the job types of the store may be; while it is away, the last ones are used."
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
    removal_owners: tuple[Text, ...] = Field(
        (),
        description="Accounts, by name or number, whose folders any manifest may have removed (an instrument's); of"
        " others only those that belong to whoever dropped the manifest.",
    )
    quarantine_days: Days = Field(
        14.0, description="How long a removed source folder waits in its root before it is gone; 0: not at all."
    )


class Site(Section):
    """How the site presents itself on pages and in mails."""

    name: Text = Field("dropbox-agent", description="The name people know this service by.")
    help_url: WebAddress | None = Field(None, description="A web page that explains this service to its users.")
    contact: Text | None = Field(
        None, description="Whom to ask when something is wrong: a name, an address, a channel."
    )
    bug_report_url: WebAddress | None = Field(None, description="A web page where people report what does not work.")
    job_type_url: WebAddress | None = Field(None, description="A web page where people ask for a new job type.")


class Web(Section):
    """Where the pages are served."""

    host: Text = Field(
        "127.0.0.1", description="The address to listen on; 127.0.0.1 is reachable from this machine only."
    )
    port: Port = Field(8000, description="The port to listen on; 0 takes a free one.")
    in_run: Switch = Field(
        False, description="Whether 'dropbox-agent run' serves the pages too, so that no 'serve' is needed beside it."
    )


class Metadata(Section):
    """Where metadata come from, and how strict their files are judged."""

    service_url: ServiceAddress | None = Field(
        None,
        description="The address of the metadata service, asked for subject, procedures, funding and investigators that"
        " metadata_dir lacks; null: there is none.",
    )
    required: Switch | None = Field(
        None,
        description="true: missing or malformed required metadata files fail the job; false: they are told and passed"
        " over; null: required once metadata.service_url is set.",
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
    containers: Containers = Field(
        Containers(), description="What the scripts of job types that have an image are run in."
    )
    presets: Presets = Field(default_factory=Presets, description="Where the job types are.")
    buckets: Mapping[BucketName, BucketAddress] = Field(
        {"default": "buckets/default", "private": "buckets/private", "open": "buckets/open"},
        description="The buckets a manifest may name, each with its address: s3://bucket or s3://bucket/prefix,"
        " file:///folder, or a folder.",
    )
    s3: S3 = Field(S3(), description="How buckets in S3 are reached.")
    projects: tuple[Text, ...] = Field(
        (), description="The project names that are accepted; empty: any well-formed one."
    )
    projects_url: ListAddress | None = Field(
        None,
        description="Where more project names are asked for (a JSON list), at most every ten minutes; while it is away,"
        " the last answer is used.",
    )
    policy: Policy = Field(Policy(), description="Who may set what, and which folders may be uploaded.")
    site: Site = Field(Site(), description="How the site presents itself on pages and in mails.")
    path_map: Mapping[Text, FolderText] = Field(
        {}, description=r"What a path in a manifest means here, by its beginning: '\\server\share', 'Z:\', '/old/root'."
    )
    mail: Mail = Field(Mail(), description="How people are told.")
    web: Web = Field(Web(), description="Where the pages are served.")
    api: Api = Field(Api(), description="Submitting and cancelling through the web; reading needs nothing.")
    metadata: Metadata = Field(
        Metadata(), description="Where metadata come from, and how strict their files are judged."
    )
    codeocean: CodeOcean = Field(CodeOcean(), description="Where uploaded data is registered and processed.")
    docdb: DocDb = Field(DocDb(), description="The database of all metadata records.")
    templates: Folder | None = Field(
        None, description="A folder of templates of your own; each file replaces the one of the same name."
    )
    on_error: Literal["file", "row"] = Field(
        "file", description="file: one bad row refuses the whole manifest; row: it refuses only itself."
    )
    on_rewrite: Literal["refuse", "queue", "hold"] = Field(
        "refuse",
        description="A manifest changed while its jobs run; refuse: what names an asset that is being uploaded "
        "is refused, all else is taken at once; queue: the new version is taken once the jobs have ended; hold: it "
        "waits until somebody puts an empty NAME.retry beside it.",
    )
    jobs_per_manifest: Number = Field(
        50, description="How many jobs of one manifest are worked on at a time; the others wait for their turn."
    )
    keep: Keep = Field(Keep(), description="How long what is over is kept; what the ledger knows is always kept.")
    share_seconds: Seconds | None = Field(
        30.0,
        description="How long a share may take to answer; then the agent goes on, and asks it again later; null: for"
        " ever, and nothing goes on meanwhile.",
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
    if isinstance(value, Mapping):
        return {name: _absolute(part, folder) for name, part in value.items()}
    return value


def _absolute_address(address: str, folder: Path) -> str:
    return address if address.startswith(("file:", "s3:")) else absolute_address(folder / address)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section a setting holds: Inbox for ``tuple[Inbox, ...]``, None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)
