"""The pipeline: which tasks there are, in which order, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Where = Literal["agent", "plan", "node"]
"""Who does a task: the agent itself, this plan (done the moment it is made), or a process on a node."""

Service = Literal["codeocean", "docdb"]
WITHOUT: Mapping[Service, str] = {
    "codeocean": "Code Ocean is not configured (codeocean.domain in agent.yaml).",
    "docdb": "DocDB is not configured (docdb.host in agent.yaml).",
}
"""Why a task is skipped at a site that has not the service it needs."""


@dataclass(frozen=True)
class Step:
    """One line of the pipeline."""

    task_id: str
    needs: tuple[str, ...] = ()
    """The tasks that must have ended well before it starts."""
    where: Where = "node"
    each: str | None = None
    """Mapped: it runs once for each modality, with what this other task has for the modality laid over its own."""
    aliases: tuple[str, ...] = ()
    """Other names it is known by."""
    service: Service | None = None
    """What a site has to have for it."""

    @property
    def mapped(self) -> bool:
        """Whether it runs once for each modality."""
        return self.each is not None


PIPELINE: tuple[Step, ...] = (
    Step("send_job_start_email", where="agent"),
    Step("check_s3_folder_exists", needs=("send_job_start_email",)),
    Step("check_source_folders_exist", needs=("check_s3_folder_exists",)),
    Step("create_staging_folder", needs=("check_source_folders_exist",)),
    Step("gather_preliminary_metadata", needs=("create_staging_folder",)),
    Step("modality_transformation_settings", where="plan"),
    Step(
        "compress_data",
        needs=("gather_preliminary_metadata", "modality_transformation_settings"),
        each="modality_transformation_settings",
        aliases=("compress_data/submit_job", "compress_data/monitor_job"),
    ),
    Step("copy_derivatives_folder", needs=("compress_data",)),
    Step("gather_final_metadata", needs=("copy_derivatives_folder",)),
    Step("check_metadata_files", needs=("gather_final_metadata",)),
    Step("upload_data_to_s3", needs=("check_metadata_files",)),
    Step(
        "register_data_asset_to_codeocean",
        needs=("upload_data_to_s3",),
        aliases=("register_data_asset",),
        service="codeocean",
    ),
    Step(
        "update_docdb_record",
        needs=("register_data_asset_to_codeocean",),
        aliases=("get_codeocean_asset_id",),
        service="docdb",
    ),
    Step("codeocean_pipeline_settings", where="plan"),
    Step(
        "run_codeocean_pipeline",
        needs=("update_docdb_record", "codeocean_pipeline_settings"),
        each="codeocean_pipeline_settings",
        service="codeocean",
    ),
    # Staging is given back as soon as the data is up; Code Ocean may take days.
    Step("remove_staging_folder", needs=("upload_data_to_s3",)),
    Step("remove_source_folders", needs=("upload_data_to_s3", "update_docdb_record")),
    # It needs nothing, because it goes out whatever becomes of the others; the agent sends it when they have ended.
    Step("send_job_end_email", where="agent"),
)

DONE_IN_THE_PLAN = frozenset(step.task_id for step in PIPELINE if step.where == "plan")
"""The tasks that are done the moment the plan is made."""
BY_MODALITY = frozenset(name for step in PIPELINE if step.each for name in (step.task_id, step.each))
"""The tasks that may be set for each modality."""


def task_ids() -> Mapping[str, str]:
    """Return every accepted task name and the canonical one it stands for."""
    return {name: step.task_id for step in PIPELINE for name in (step.task_id, *step.aliases)}
