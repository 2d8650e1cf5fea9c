"""Run a capsule or a pipeline on the asset, for one modality, and keep its results as an asset.

With ``pipeline_monitor_capsule_id`` that capsule is started with the settings, as upstream does, and not waited for.
Else it is run, waited for and captured here. What was started is written down first: a second run goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import TaskOutcome, TaskSettings
from dropbox_agent.tasks import code_ocean
from dropbox_agent.tasks.code_ocean import CodeOcean
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import read_json

CLOCKS_SECONDS = 120
"""How far the clocks of Code Ocean and of this node may be apart."""


class RunParams(BaseModel):
    """What is run, as Code Ocean's own SDK has it."""

    model_config = ConfigDict(extra="forbid")

    capsule_id: str | None = None
    pipeline_id: str | None = None
    version: int | None = None
    resume_run_id: str | None = None
    nextflow_profile: str | None = None
    data_assets: list[dict[str, Any]] | None = None
    parameters: list[str] | None = None
    named_parameters: list[dict[str, Any]] | None = None
    processes: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> RunParams:
        if bool(self.capsule_id) == bool(self.pipeline_id):
            raise ValueError("exactly one of capsule_id and pipeline_id is needed")
        return self


class CaptureSettings(BaseModel):
    """How results are kept: the names and defaults of aind-codeocean-pipeline-monitor."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    mount: str | None = None
    description: str | None = None
    process_name_suffix: str = "processed"
    process_name_suffix_tz: str = "UTC"
    tags: list[str] | None = None
    custom_metadata: dict[str, Any] | None = None
    permissions: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    results_info: dict[str, Any] | None = None
    data_asset_ids: list[str] | None = None
    source: None = None
    data_description_file_name: str | None = None
    docdb_settings: dict[str, Any] | None = None

    @field_validator("process_name_suffix_tz")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {name!r}; America/Los_Angeles would be one") from error
        return name


class MonitorSettings(BaseModel):
    """``pipeline_monitor_settings``; times are in seconds."""

    model_config = ConfigDict(extra="forbid")

    run_params: RunParams
    capture_settings: CaptureSettings | None = None
    computation_polling_interval: float = Field(180.0, ge=1)
    computation_timeout: float | None = Field(None, gt=0)
    data_asset_ready_polling_interval: float = Field(10.0, ge=1)
    data_asset_ready_timeout: float | None = Field(None, gt=0)
    alert_url: str | None = None


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded once it ended well; skipped where there is no Code Ocean or nothing to run."""
    return ran(settings, progress, code_ocean.opened(settings))


def ran(settings: TaskSettings, progress: Progress, service: CodeOcean) -> TaskOutcome:
    """Run it with a given Code Ocean."""
    given = settings.job_settings.get("pipeline_monitor_settings")
    if not given:
        raise TaskFailed(f"run_codeocean_pipeline of {settings.modality} has no pipeline_monitor_settings to run with.")
    asset_id = code_ocean.asset_id(settings)
    if asset_id is None:
        raise TaskFailed("This job has no data asset in Code Ocean: register_data_asset_to_codeocean has to run first.")
    monitor = settings.job_settings.get("pipeline_monitor_capsule_id")
    asked = _checked(given)
    params = asked.run_params.model_dump(exclude_none=True)
    params["data_assets"] = [*params.get("data_assets", []), {"id": asset_id, "mount": settings.s3_prefix}]
    progress.begin(f"Starts Code Ocean for {settings.modality}")
    if monitor:
        whole = {**given, "run_params": params}
        return _handed_to_monitor(settings, service, str(monitor), whole, asset_id)
    return _run_here(settings, progress, service, asked, params)


def _checked(given: Any) -> MonitorSettings:
    try:
        return MonitorSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("pipeline_monitor_settings", *first["loc"])))
        words = f"{place}: {shown(first['msg'])}."
        raise TaskFailed(f"{words} Correct the manifest or the preset, then drop it again.") from error


def _handed_to_monitor(
    settings: TaskSettings, service: CodeOcean, monitor: str, given: Mapping[str, Any], asset_id: str
) -> TaskOutcome:
    params = {"capsule_id": monitor, "parameters": [json.dumps(given)], "data_assets": [{"id": asset_id}]}
    made = _started(settings, service, params)
    code_ocean.told(settings, made["id"], _name(settings))
    message = f"The capsule {monitor} in {service.service.name} watches over it (computation {made['id']})."
    return TaskOutcome(state="succeeded", message=message, facts={"computation_id": made["id"]})


def _run_here(
    settings: TaskSettings, progress: Progress, service: CodeOcean, asked: MonitorSettings, params: Mapping[str, Any]
) -> TaskOutcome:
    started = _started(settings, service, params)
    with code_ocean.telling(settings, started["id"], _name(settings)):
        _end_well(service, started["id"], progress, asked)
    message = f"Code Ocean's computation {started['id']} succeeded."
    facts = {"computation_id": started["id"]}
    if asked.capture_settings is not None:
        result = _captured(settings, progress, service, asked, asked.capture_settings, started["id"])
        message, facts = f"{message} Its results are the asset {result['name']}.", {**facts, "result_id": result["id"]}
    if idle := _without_effect(asked):
        message += f" {' and '.join(idle)} had no effect: only a pipeline_monitor_capsule_id makes use of it."
    return TaskOutcome(state="succeeded", message=message, facts=facts)


def _without_effect(asked: MonitorSettings) -> list[str]:
    """Return the settings that only the capsule they were made for understands."""
    records = asked.capture_settings is not None and asked.capture_settings.docdb_settings
    return [*(["alert_url"] if asked.alert_url else []), *(["docdb_settings"] if records else [])]


def _end_well(service: CodeOcean, identity: str, progress: Progress, asked: MonitorSettings) -> None:
    """Wait until the computation has ended well. Raises TaskFailed; one that takes longer than it may is stopped."""
    found = service.ended(identity, progress, asked.computation_polling_interval, asked.computation_timeout)
    if found is None:
        service.stop(identity)
        raise TaskFailed(
            f"{service.service.name}: the computation {identity} took longer than {asked.computation_timeout:g} s"
            " (computation_timeout) and was stopped. Retry the job to run it again, or allow it more."
        )
    if not code_ocean.has_succeeded(found):
        raise TaskFailed(
            f"{service.service.name}: the computation {identity} ended as {found.get('end_status') or 'failed'}"
            f" (exit code {found.get('exit_code')}). Its log is there. Retry the job to run it again."
        )


# --- started once ----------------------------------------------------------------------------------------------------


def _started(settings: TaskSettings, service: CodeOcean, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the computation of this job and modality: the one that is known, or a new one.

    One whose bad end was told is not known any more: who retries after that wants another one.
    """
    known = read_json(code_ocean.record_of(settings, _name(settings))) or {}
    if known.get("params") == params and (found := _known(settings, service, known)) is not None:
        return found
    # An intent without an answer: it may run already.
    unsure = known.get("params") == params and known.get("computation_id") is None
    since = float(known["since"]) if unsure else datetime.now(timezone.utc).timestamp()
    earlier = [one for one in (*known.get("earlier", ()), known.get("computation_id")) if one is not None]
    intent = {"params": dict(params), "since": since, "earlier": earlier}
    code_ocean.remember(settings, intent, _name(settings))
    others = {*_of_other_modalities(settings), *earlier}
    made = service.run(lambda: _running(service, params, since, others), params, look_first=unsure)
    code_ocean.remember(settings, {**intent, "computation_id": made["id"], "untold": made["id"]}, _name(settings))
    return made


def _known(settings: TaskSettings, service: CodeOcean, known: Mapping[str, Any]) -> dict[str, Any] | None:
    if not isinstance(known.get("computation_id"), str):
        return None
    found = service.computation(known["computation_id"])
    told = code_ocean.untold(settings, _name(settings)) != known["computation_id"]
    return None if told and _ended_badly(found) else found


def _ended_badly(computation: Mapping[str, Any]) -> bool:
    return code_ocean.has_ended(computation) and not code_ocean.has_succeeded(computation)


def _of_other_modalities(settings: TaskSettings) -> set[str]:
    """Return the computations of this job that are none of this modality's."""
    own = code_ocean.record_of(settings, _name(settings))
    records = (read_json(file) for file in own.parent.glob("codeocean.*.json") if file != own)
    return {str(record.get("computation_id")) for record in records if record is not None}


def _running(
    service: CodeOcean, params: Mapping[str, Any], since: float, others: Collection[str]
) -> dict[str, Any] | None:
    """Return a computation of the same capsule on the same assets that began after the intent was written.

    One that ended badly only where there is no other: it is the one that was begun.
    """
    kind, identity = ("capsules", params.get("capsule_id")), ("pipelines", params.get("pipeline_id"))
    where, name = next((pair for pair in (kind, identity) if pair[1]), ("capsules", ""))
    wanted = {one["id"] for one in params.get("data_assets", [])}
    found = []
    for one in service.computations_of(where, str(name)):
        has = {asset.get("id") for asset in one.get("data_assets") or []}
        is_new = int(one.get("created") or 0) >= since - CLOCKS_SECONDS
        if wanted <= has and is_new and one.get("id") not in others:
            found.append(one)
    return min(found, key=_ended_badly, default=None)


def _name(settings: TaskSettings) -> str:
    return f"codeocean.{settings.modality}"


# --- results ---------------------------------------------------------------------------------------------------------


def _captured(
    settings: TaskSettings,
    progress: Progress,
    service: CodeOcean,
    asked: MonitorSettings,
    how: CaptureSettings,
    computation: str,
) -> dict[str, Any]:
    """Return the asset of the results; its name is written down before it is made, so that it is found again."""
    file = code_ocean.record_of(settings, _name(settings))
    known = read_json(file) or {}
    name = known.get("result_name")
    if not isinstance(name, str):
        now = datetime.now(ZoneInfo(how.process_name_suffix_tz))
        name = how.name or f"{settings.s3_prefix}_{how.process_name_suffix}_{now:%Y-%m-%d_%H-%M-%S}"
        code_ocean.remember(settings, {**known, "result_name": name}, _name(settings))
    untold = code_ocean.untold(settings, _name(settings))
    made = service.make_asset(lambda: service.asset_of(name, computation, untold), _result(how, name, computation))
    code_ocean.remember(settings, {**known, "result_name": name, "untold": made["id"]}, _name(settings))
    with code_ocean.telling(settings, made["id"], _name(settings)):
        ready = service.ready(made, progress, asked.data_asset_ready_polling_interval, asked.data_asset_ready_timeout)
    if how.permissions:
        service.share(made["id"], how.permissions)
    return ready


def _result(how: CaptureSettings, name: str, computation: str) -> dict[str, Any]:
    target = {key: {**value, "prefix": name} for key, value in (how.target or {}).items() if isinstance(value, dict)}
    return {
        "name": name,
        "mount": how.mount or name,
        "tags": how.tags or ["derived"],
        "custom_metadata": how.custom_metadata or {},
        "source": {"computation": {"id": computation}},
        **({"description": how.description} if how.description else {}),
        **({"results_info": how.results_info} if how.results_info else {}),
        **({"target": target} if target else {}),
    }
