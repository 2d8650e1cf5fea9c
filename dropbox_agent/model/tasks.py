"""What a task on a node is given, and what it leaves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dropbox_agent.model.secrets import Secret


class S3Access(BaseModel):
    """How tasks reach a bucket in S3. It says where the credentials are, never what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str | None = None
    """None: Amazon's own, or what the profile names."""
    region: str | None = None
    profile: str | None = None
    credentials_file: Path | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """auto: path where an endpoint is named, else what boto3 finds right."""
    ca_file: Path | None = None
    connections: int = 16
    request_seconds: float = 60.0
    give_up_seconds: float = 600.0
    """How long a request is tried again, and how long nothing may move."""
    deadline_hours: float = 72.0
    compare: Literal["receipts", "checksums", "content"] = "receipts"
    """receipts: size and ETag as answered; checksums: also S3's stored checksum against the file read anew; content:
    every byte is read back."""


class CodeOceanAccess(BaseModel):
    """How tasks reach Code Ocean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    """``https://codeocean.example.org``."""
    token: Secret
    public: bool = False
    """Whether the buckets are public, so that Code Ocean needs no access of its own."""
    hours: float = 72.0
    """How long an asset or a computation is waited for."""


class DocDbAccess(BaseModel):
    """How tasks reach the metadata database. Its credentials are AWS's, from where AWS's own tools have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    """``api.example.org``, or an address with its scheme."""
    version: Literal["v1", "v2"] = "v2"
    region: str | None = None
    profile: str | None = None


class Container(BaseModel):
    """What a script runs in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["apptainer", "singularity", "charliecloud"]
    program: str
    """Its name, or its path, on a node."""
    image: str
    """A file or folder on the node, or ``docker://NAME:VERSION``."""
    reads: list[Path] = []
    """What the script may read besides its image, each under its own path. It writes its output and /tmp only."""


class Removal(BaseModel):
    """What a site lets be removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    roots: list[Path]
    """Only below these."""
    owners: list[int]
    """Only what belongs to one of these accounts (uid): whoever dropped the manifest, and those the site names."""
    quarantine_days: float = 14.0
    """0: removed at once."""


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
    """The bucket's address: ``file:///srv/bucket`` or ``s3://bucket``."""
    s3: S3Access | None = None
    """How the bucket is reached, when it is in S3."""
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
    removal: Removal | None = None
    """What may be removed, for the task that removes; None: nothing."""
    image: str | None = None
    image_version: str | None = None
    job_settings: dict[str, Any] = {}
    script: str | None = None
    """The rendered command_script."""
    elements: list[int] = []
    """The elements of an array task: its script runs once for each, then the task is brought to its end."""
    element: int | None = None
    """Which of them this process is."""
    container: Container | None = None
    """What the script runs in; None: on the node itself."""
    metadata_required: bool = False
    metadata_strict: bool = False
    metadata_service: str | None = None
    """The address of the metadata service; None: there is none."""
    codeocean: CodeOceanAccess | None = None
    docdb: DocDbAccess | None = None


class TaskOutcome(BaseModel):
    """What a built-in task leaves behind: the sentence people read, and facts for programs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["succeeded", "failed", "skipped"]
    message: str
    facts: dict[str, Any] = {}
