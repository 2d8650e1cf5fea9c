"""What other people write: one request, its jobs and their tasks, in upstream's field names."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EmailType = Literal["begin", "end", "fail", "retry", "all"]
EMAIL_TYPES: tuple[EmailType, ...] = ("begin", "end", "fail", "retry", "all")


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
