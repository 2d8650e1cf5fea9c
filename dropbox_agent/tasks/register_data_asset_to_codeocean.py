"""Tell Code Ocean where the uploaded data is, and wait until it can use it. Done twice, it finds what it made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropbox_agent.model import TaskOutcome, TaskSettings
from dropbox_agent.tasks import code_ocean
from dropbox_agent.tasks.code_ocean import CodeOcean
from dropbox_agent.tasks.progress import Progress

LOOK_SECONDS = 30.0


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded once the asset is ready; skipped where there is no Code Ocean, or no data in S3."""
    return registered(settings, progress, code_ocean.opened(settings))


def registered(settings: TaskSettings, progress: Progress, service: CodeOcean) -> TaskOutcome:
    """Register the asset with a given Code Ocean."""
    bucket, prefix = code_ocean.s3_place(settings)
    progress.begin("Registers the data asset")
    untold = code_ocean.untold(settings)
    made = service.make_asset(
        lambda: service.asset_at(prefix, bucket, prefix, untold), _asset(settings, bucket, prefix)
    )
    code_ocean.remember(settings, {"asset_id": made["id"], "untold": made["id"]})
    with code_ocean.telling(settings, made["id"]):
        service.ready(made, progress, LOOK_SECONDS)
    permissions = settings.job_settings.get("permissions")
    if isinstance(permissions, Mapping):
        service.share(made["id"], permissions)
    message = f"{service.service.name} has the data as asset {made['id']}."
    return TaskOutcome(state="succeeded", message=message, facts={"asset_id": made["id"]})


def _asset(settings: TaskSettings, bucket: str, prefix: str) -> dict[str, Any]:
    assert settings.codeocean is not None
    given = settings.job_settings
    source = {"bucket": bucket, "prefix": prefix, "keep_on_external_storage": True, "public": settings.codeocean.public}
    return {
        "name": prefix,
        "mount": prefix,
        "tags": given.get("tags") or ["raw", settings.subject_id, *settings.modalities],
        "custom_metadata": given.get("custom_metadata") or {},
        "source": {"aws": source},
    }
