"""The things that travel along the path, one type per arrow (see the path in docs/design.md).

What other people write (manifests, requests, preset files) is pydantic, frozen, unknown fields forbidden.
What the steps hand to each other is a frozen dataclass.
"""

from dropbox_agent.model.attempts import (
    SLURM_HANDLE,
    Attempt,
    AttemptFacts,
    Drop,
    Observation,
    TaskObservation,
    slurm_job_id,
)
from dropbox_agent.model.folders import AttemptFolder, RunFolder, file_stem
from dropbox_agent.model.inventories import Inventory, StoredFile, read_inventory
from dropbox_agent.model.jobs import Job, JobType, Known, Presets
from dropbox_agent.model.lists import (
    AttemptLine,
    Choices,
    DropLine,
    DropSearch,
    JobLine,
    JobOrder,
    JobSearch,
    Move,
    ProjectLine,
)
from dropbox_agent.model.names import Names, hash_of
from dropbox_agent.model.plans import SOURCE_SETTINGS, Plan, PlannedTask, Retry, SourceFolder
from dropbox_agent.model.requests import (
    EMAIL_TYPES,
    EmailType,
    NamedModality,
    SubmitRequest,
    Task,
    UploadJob,
    asset_name,
)
from dropbox_agent.model.rows import Level, Place, Problem, Row, counted, readable
from dropbox_agent.model.secrets import Secret
from dropbox_agent.model.standings import EarlierAttempt, JobStanding, Mail, Order, Standing, TaskStanding
from dropbox_agent.model.tasks import (
    CodeOceanAccess,
    Container,
    DocDbAccess,
    Removal,
    S3Access,
    TaskOutcome,
    TaskSettings,
)

__all__ = [
    "EMAIL_TYPES",
    "SLURM_HANDLE",
    "SOURCE_SETTINGS",
    "Attempt",
    "AttemptFacts",
    "AttemptFolder",
    "AttemptLine",
    "Choices",
    "CodeOceanAccess",
    "Container",
    "DocDbAccess",
    "Drop",
    "DropLine",
    "DropSearch",
    "EarlierAttempt",
    "EmailType",
    "Inventory",
    "Job",
    "JobLine",
    "JobOrder",
    "JobSearch",
    "JobStanding",
    "JobType",
    "Known",
    "Level",
    "Mail",
    "Move",
    "NamedModality",
    "Names",
    "Observation",
    "Order",
    "Place",
    "Plan",
    "PlannedTask",
    "Presets",
    "Problem",
    "ProjectLine",
    "Removal",
    "Retry",
    "Row",
    "RunFolder",
    "S3Access",
    "Secret",
    "SourceFolder",
    "Standing",
    "StoredFile",
    "SubmitRequest",
    "Task",
    "TaskObservation",
    "TaskOutcome",
    "TaskSettings",
    "TaskStanding",
    "UploadJob",
    "asset_name",
    "counted",
    "file_stem",
    "hash_of",
    "read_inventory",
    "readable",
    "slurm_job_id",
]
