"""Code Ocean and DocDB: registered once, recorded once, run once, however often a task is begun or an answer lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import code_ocean_server
import docdb_server
import pytest
from code_ocean_server import TOKEN, CodeOceanServer
from codeocean import CodeOcean as Sdk
from codeocean.models.components import EveryoneRole
from codeocean.models.computation import ComputationEndStatus
from codeocean.models.data_asset import AWSS3Source as Aws
from codeocean.models.data_asset import DataAssetParams, DataAssetSearchParams, DataAssetState, Source
from docdb_server import DocDbServer
from http_server import Reply, Request
from one_job import PREFIX, OneJob

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import CodeOceanAccess, DocDbAccess, Secret, TaskOutcome
from dropbox_agent.tasks import (
    code_ocean,
    register_data_asset_to_codeocean,
    run_codeocean_pipeline,
    update_docdb_record,
)
from dropbox_agent.tasks.code_ocean import CodeOcean
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.service import Service

LOCATION = f"s3://lab-data/{PREFIX}"
RUN = {"pipeline_monitor_settings": {"run_params": {"capsule_id": "sorter"}}}
KEPT = {"process_name_suffix": "sorted", "tags": ["derived"], "permissions": {"everyone": "viewer"}}
WITH_RESULTS = {"pipeline_monitor_settings": {"run_params": {"pipeline_id": "line"}, "capture_settings": KEPT}}


@pytest.fixture
def ocean() -> Iterator[CodeOceanServer]:
    with code_ocean_server.running() as server:
        yield server


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[DocDbServer]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", docdb_server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", docdb_server.SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with docdb_server.running() as server:
        yield server


class There:
    """A job whose data is in S3, at a site with a Code Ocean and a DocDB; waits are counted, not waited."""

    def __init__(self, job: OneJob, ocean: CodeOceanServer, database: DocDbServer) -> None:
        token = job.folder / "token"
        token.write_text(f"{TOKEN}\n")
        self.job, self.waits = job, [0.0]
        access = CodeOceanAccess(domain=ocean.url, token=Secret(name="codeocean.token", file=token), hours=1.0)
        record = DocDbAccess(host=database.url, region=docdb_server.REGION)
        self.facts: dict[str, Any] = {"bucket": "s3://lab-data", "codeocean": access, "docdb": record}
        self.service = self.quick(code_ocean.service(access, TOKEN))
        self.ocean = CodeOcean(self.service, 1.0, self.waits.append, lambda: sum(self.waits))
        self.database = self.quick(update_docdb_record.service(record))

    def quick(self, service: Service) -> Service:
        return replace(service, sleep=self.waits.append, answer_seconds=60.0, tries=3)

    def register(self, **changes: Any) -> TaskOutcome:
        settings = self.job.settings("register_data_asset_to_codeocean", **self.facts, **changes)
        return register_data_asset_to_codeocean.registered(settings, Progress(), self.ocean)

    def record(self) -> TaskOutcome:
        return update_docdb_record.recorded(
            self.job.settings("update_docdb_record", **self.facts), Progress(), self.database
        )

    def run(self, given: dict[str, Any], modality: str = "ecephys") -> TaskOutcome:
        settings = self.job.settings("run_codeocean_pipeline", modality=modality, job_settings=given, **self.facts)
        return run_codeocean_pipeline.ran(settings, Progress(), self.ocean)


@pytest.fixture
def there(job: OneJob, ocean: CodeOceanServer, database: DocDbServer) -> There:
    return There(job, ocean, database)


# --- the stand-in ----------------------------------------------------------------------------------------------------


def test_the_stand_in_is_one_to_the_real_sdk(ocean: CodeOceanServer) -> None:
    sdk = Sdk(ocean.url, TOKEN)
    asset = DataAssetParams(name="a", mount="a", tags=["t"], source=Source(aws=Aws(bucket="b", prefix="a")))
    made = [sdk.data_assets.create_data_asset(asset).id for _ in range(2)]
    found = sdk.data_assets.search_data_assets_iterator(DataAssetSearchParams(query='name:"a"', limit=100))
    assert [one.id for one in found] == made
    sdk.session.close()


def test_a_token_that_is_refused_is_said_and_not_shown(there: There) -> None:
    wrong = replace(there.ocean, service=replace(there.service, sign=None))
    settings = there.job.settings("register_data_asset_to_codeocean", **there.facts)
    with pytest.raises(TaskFailed) as said:
        register_data_asset_to_codeocean.registered(settings, Progress(), wrong)
    assert str(said.value) == (
        f"{there.service.name} refused: 401 (Unauthorized). The token or the credentials (agent.yaml, codeocean) do not"
        " allow it; then retry the job."
    )


def test_the_real_task_leaves_no_token_behind(there: There, job: OneJob) -> None:
    ran = job.command("register_data_asset_to_codeocean", **there.facts)
    assert ran.outcome == TaskOutcome(
        state="succeeded", message=f"{there.service.name} has the data as asset asset-1.", facts={"asset_id": "asset-1"}
    )
    written = [path.read_text(errors="replace") for path in job.run_folder.path.rglob("*") if path.is_file()]
    assert TOKEN not in "".join([*written, ran.log])


@pytest.mark.parametrize("task", ["register_data_asset_to_codeocean", "update_docdb_record", "run_codeocean_pipeline"])
def test_without_the_service_a_task_is_skipped_with_the_reason(job: OneJob, task: str) -> None:
    ran = job.command(task)
    assert ran.outcome is not None
    assert (ran.outcome.state, "is not configured" in ran.outcome.message) == ("skipped", True)


# --- registered ------------------------------------------------------------------------------------------------------


def test_an_asset_is_registered_and_waited_for(there: There, ocean: CodeOceanServer) -> None:
    outcome = there.register(job_settings={"permissions": {"everyone": "viewer"}})
    (made,) = ocean.assets.values()
    assert outcome.facts == {"asset_id": made.id}
    assert (made.name, made.mount, made.tags, made.state) == (
        PREFIX, PREFIX, ["raw", "0012", "ecephys"], DataAssetState.Ready,
    )  # fmt: skip
    assert made.source_bucket is not None
    assert (made.source_bucket.bucket, made.source_bucket.prefix) == ("lab-data", PREFIX)
    assert ocean.shared[made.id].everyone == EveryoneRole.Viewer


def test_a_second_run_finds_what_the_first_one_made(there: There, ocean: CodeOceanServer) -> None:
    ocean.make(DataAssetParams(name=f"{PREFIX}_processed", mount="x", tags=[]))
    first = there.register()
    assert there.register() == first
    assert len(ocean.assets) == 2


def test_an_answer_that_got_lost_makes_no_second_asset(there: There, ocean: CodeOceanServer) -> None:
    ocean.lose_answers = 1
    assert there.register().facts == {"asset_id": "asset-1"}
    assert len(ocean.assets) == 1


def test_an_asset_that_code_ocean_cannot_use_fails_in_its_words(there: There, ocean: CodeOceanServer) -> None:
    ocean.asset_ends = DataAssetState.Failed
    with pytest.raises(TaskFailed, match=f"could not use the data asset {PREFIX}: the bucket is empty"):
        there.register()
    ocean.asset_ends = DataAssetState.Ready
    assert there.register().facts == {"asset_id": "asset-2"}


def test_an_asset_that_never_gets_ready_has_a_limit(there: There, ocean: CodeOceanServer) -> None:
    ocean.looks_needed = 10_000
    with pytest.raises(TaskFailed, match="is still draft after 1 hours"):
        there.register()
    assert sum(there.waits) <= 3600
    assert len(there.waits) < 130


def test_data_in_a_folder_is_not_for_code_ocean(there: There, job: OneJob) -> None:
    ran = job.command("register_data_asset_to_codeocean", **{**there.facts, "bucket": job.bucket.as_uri()})
    assert ran.outcome is not None
    assert (ran.outcome.state, "Code Ocean reads from S3 only" in ran.outcome.message) == ("skipped", True)


# --- recorded --------------------------------------------------------------------------------------------------------


def test_a_record_is_made_of_the_metadata_and_gets_the_id(there: There, database: DocDbServer, job: OneJob) -> None:
    there.register()
    (job.run_folder.path / "metadata.nd.json").write_text(json.dumps({"name": PREFIX, "subject": {"x": 1}}))
    outcome = there.record()
    (record,) = database.records.values()
    assert record == {
        "name": PREFIX, "subject": {"x": 1}, "_id": outcome.facts["record_id"], "location": LOCATION,
        "other_identifiers": {"Code Ocean": ["asset-1"]},
    }  # fmt: skip
    assert there.record() == outcome
    assert len(database.records) == 1


def test_a_record_that_is_there_keeps_what_it_has(there: There, database: DocDbServer) -> None:
    there.register()
    others = {"Code Ocean": ["older"], "Other": ["x"]}
    database.records["r"] = {"_id": "r", "location": LOCATION, "subject": {"y": 2}, "other_identifiers": others}
    there.record()
    assert database.records["r"] == {
        "_id": "r", "location": LOCATION, "subject": {"y": 2},
        "other_identifiers": {"Code Ocean": ["asset-1", "older"], "Other": ["x"]},
    }  # fmt: skip


def test_a_lost_answer_makes_no_second_record(there: There, database: DocDbServer) -> None:
    there.register()
    database.lose_answers = 1
    there.record()
    assert [one["other_identifiers"] for one in database.records.values()] == [{"Code Ocean": ["asset-1"]}]


def test_two_records_of_one_place_are_left_alone(there: There, database: DocDbServer) -> None:
    for name in ("a", "b"):
        database.records[name] = {"_id": name, "location": LOCATION}
    with pytest.raises(TaskFailed, match=r"more than one record of .* \(a, b\), and none of them was changed"):
        there.record()


def test_writing_needs_credentials(there: There, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(TaskFailed, match="no AWS credentials is known on this node"):
        there.record()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(TaskFailed, match="refused: 403"):
        there.record()


# --- run -------------------------------------------------------------------------------------------------------------


def test_a_capsule_is_run_on_the_asset_and_waited_for(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    outcome = there.run(RUN)
    ((params, _),) = ocean.computations.values()
    assert outcome.message == "Code Ocean's computation run-1 succeeded."
    assert params.capsule_id == "sorter"
    assert [(one.id, one.mount) for one in params.data_assets or []] == [("asset-1", PREFIX)]
    assert there.run(RUN) == outcome
    assert len(ocean.computations) == 1


def test_the_results_of_a_pipeline_are_kept_once(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    ocean.lose_answers = 1
    outcome = there.run(WITH_RESULTS)
    ocean.lose_answers = 1
    assert there.run(WITH_RESULTS) == outcome
    result = ocean.assets[outcome.facts["result_id"]]
    assert result.name.startswith(f"{PREFIX}_sorted_")
    assert result.provenance is not None
    assert result.provenance.computation == "run-1"
    assert (len(ocean.computations), len(ocean.assets)) == (1, 2)
    assert ocean.shared[result.id].everyone == EveryoneRole.Viewer


def test_an_answer_that_got_lost_starts_nothing_twice(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    ocean.lose_answers = 1
    there.run(RUN)
    assert len(ocean.computations) == 1


def test_two_modalities_of_one_capsule_are_two_runs(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    assert there.run(RUN).facts == {"computation_id": "run-1"}
    ocean.lose_answers = 1
    assert there.run(RUN, "behavior").facts == {"computation_id": "run-2"}


def test_with_a_monitor_capsule_upstream_s_settings_are_handed_over(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    ocean.looks_needed = 10_000
    there.run({**WITH_RESULTS, "pipeline_monitor_capsule_id": "monitor"})
    ((params, _),) = ocean.computations.values()
    assert params.capsule_id == "monitor"
    assert params.parameters is not None
    assert json.loads(params.parameters[0]) == {
        "capture_settings": KEPT,
        "run_params": {"pipeline_id": "line", "data_assets": [{"id": "asset-1", "mount": PREFIX}]},
    }


@pytest.mark.parametrize(
    ("ends", "exit_code", "words"),
    [
        (ComputationEndStatus.Failed, 1, r"ended as failed \(exit code 1\)"),
        (ComputationEndStatus.Stopped, 0, "ended as stopped"),
        (ComputationEndStatus.Succeeded, 3, r"\(exit code 3\)"),
    ],
)
def test_a_run_that_ends_badly_fails_and_a_retry_starts_another(
    there: There, ocean: CodeOceanServer, ends: ComputationEndStatus, exit_code: int, words: str
) -> None:
    there.register()
    ocean.ends, ocean.exit_code = ends, exit_code
    with pytest.raises(TaskFailed, match=words):
        there.run(RUN)
    ocean.ends, ocean.exit_code = ComputationEndStatus.Succeeded, 0
    assert there.run(RUN).facts == {"computation_id": "run-2"}


def away(ocean: CodeOceanServer, after: int) -> None:
    """Let it answer so many requests well, and then none."""
    behaves = ocean.faulty.behaves
    left = [after]

    def answer(request: Request) -> Reply:
        left[0] -= 1
        return behaves(request) if left[0] >= 0 else Reply(503)

    ocean.faulty.behaves = answer


def back(ocean: CodeOceanServer) -> None:
    ocean.faulty.behaves = ocean.answer


STEPS = range(8)
"""After how many requests it goes away; the whole run needs fewer."""


@pytest.mark.parametrize("answered", STEPS)
@pytest.mark.parametrize("given", [RUN, WITH_RESULTS, {**RUN, "pipeline_monitor_capsule_id": "monitor"}])
def test_whenever_code_ocean_goes_away_what_is_run_again_goes_on_with_what_was_begun(
    there: There, ocean: CodeOceanServer, given: dict[str, Any], answered: int
) -> None:
    there.register()
    away(ocean, answered)
    with suppress(TaskFailed):
        there.run(given)
    back(ocean)
    assert there.run(given).state == "succeeded"
    assert (len(ocean.computations), len(ocean.assets)) == (1, 2 if given is WITH_RESULTS else 1)


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_ended_badly_while_code_ocean_was_away_is_told_and_not_begun_anew(
    there: There, ocean: CodeOceanServer, lost: bool
) -> None:
    there.register()
    ocean.lose_answers = int(lost)
    away(ocean, 1)
    with pytest.raises(TaskFailed) as failed:
        there.run(RUN)
    assert failed.value.passes
    back(ocean)
    ocean.ends, ocean.exit_code, ocean.looks_needed = ComputationEndStatus.Failed, 1, 1
    assert ocean.look_at_computation("run-1").end_status is ComputationEndStatus.Failed
    with pytest.raises(TaskFailed, match=r"run-1 ended as failed \(exit code 1\)") as failed:
        there.run(RUN)
    assert not failed.value.passes
    ocean.ends, ocean.exit_code = ComputationEndStatus.Succeeded, 0
    assert there.run(RUN).facts == {"computation_id": "run-2"}


def test_an_asset_that_code_ocean_could_not_use_while_it_was_away_is_told_and_not_made_anew(
    there: There, ocean: CodeOceanServer
) -> None:
    away(ocean, 2)
    with pytest.raises(TaskFailed) as failed:
        there.register()
    assert failed.value.passes
    back(ocean)
    ocean.asset_ends, ocean.looks_needed = DataAssetState.Failed, 1
    assert ocean.look_at_asset("asset-1").state is DataAssetState.Failed
    with pytest.raises(TaskFailed, match="the bucket is empty") as failed:
        there.register()
    assert not failed.value.passes
    ocean.asset_ends = DataAssetState.Ready
    assert there.register().facts == {"asset_id": "asset-2"}


def test_results_that_could_not_be_kept_while_code_ocean_was_away_are_told_and_not_kept_anew(
    there: There, ocean: CodeOceanServer
) -> None:
    there.register()
    away(ocean, 5)  # started, looked at twice, searched for the results, made them
    with pytest.raises(TaskFailed):
        there.run(WITH_RESULTS)
    back(ocean)
    ocean.asset_ends, ocean.looks_needed = DataAssetState.Failed, 1
    assert ocean.look_at_asset("asset-2").state is DataAssetState.Failed
    with pytest.raises(TaskFailed, match="the bucket is empty"):
        there.run(WITH_RESULTS)
    ocean.asset_ends = DataAssetState.Ready
    assert there.run(WITH_RESULTS).facts == {"computation_id": "run-1", "result_id": "asset-3"}


@pytest.mark.parametrize("answered", range(4))
def test_whenever_code_ocean_goes_away_one_asset_is_registered(
    there: There, ocean: CodeOceanServer, answered: int
) -> None:
    away(ocean, answered)
    with suppress(TaskFailed):
        there.register()
    back(ocean)
    assert there.register().facts == {"asset_id": "asset-1"}
    assert len(ocean.assets) == 1


def monitored(**changes: Any) -> dict[str, Any]:
    return {"pipeline_monitor_settings": {**RUN["pipeline_monitor_settings"], **changes}}


def test_a_run_that_takes_longer_than_it_may_is_stopped(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    ocean.looks_needed = 10_000
    words = r"run-1 took longer than 600 s \(computation_timeout\) and was stopped. Retry the job to run it again"
    with pytest.raises(TaskFailed, match=words) as failed:
        there.run(monitored(computation_timeout=600, computation_polling_interval=60))
    assert not failed.value.passes
    assert 600 <= sum(there.waits) - there.waits[0] < 700
    assert ocean.computations["run-1"][1].end_status is ComputationEndStatus.Stopped
    ocean.looks_needed = 1
    assert there.run(monitored(computation_timeout=600)).facts == {"computation_id": "run-2"}


def test_results_are_called_and_kept_as_their_settings_say(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    how = {"name": "my result", "mount": "mine", "description": "sorted", "docdb_settings": {"docdb_version": "v2"}}
    outcome = there.run(monitored(capture_settings=how, alert_url="https://example.org/hook"))
    result = ocean.assets[outcome.facts["result_id"]]
    assert (result.name, result.mount) == ("my result", "mine")
    assert outcome.message.endswith(
        "alert_url and docdb_settings had no effect: only a pipeline_monitor_capsule_id makes use of it."
    )


def test_results_that_do_not_get_ready_in_their_time_are_told(there: There, ocean: CodeOceanServer) -> None:
    there.register()
    ocean.looks_needed = 6
    asked = monitored(capture_settings={}, data_asset_ready_timeout=4, data_asset_ready_polling_interval=3)
    with pytest.raises(TaskFailed, match=r"was not ready after 4 s \(data_asset_ready_timeout\)") as failed:
        there.run(asked)
    assert failed.value.passes
    ocean.looks_needed = 1
    outcome = there.run(asked)
    assert (outcome.state, len(ocean.computations), len(ocean.assets)) == ("succeeded", 1, 2)


WRONG = [
    ({}, "has no pipeline_monitor_settings"),
    ({"pipeline_monitor_settings": {"run_params": {}}}, "exactly one of capsule_id and pipeline_id is needed"),
    ({"pipeline_monitor_settings": {"run_params": {"capsul_id": "x"}}}, "run_params.capsul_id: Extra inputs"),
    (monitored(computaton_timeout=5), "pipeline_monitor_settings.computaton_timeout: Extra inputs"),
    (monitored(computation_polling_interval=0), "computation_polling_interval: Input should be greater than"),
    (monitored(capture_settings={"process_name_suffix_tz": "Mars"}), "there is no time zone 'Mars'"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_settings_that_cannot_be_run_are_said(there: There, given: dict[str, Any], words: str) -> None:
    there.register()
    with pytest.raises(TaskFailed, match=words):
        there.run(given)


@pytest.mark.parametrize(("answer", "words"), [(b"[]", "that is no object"), (b"{}", "that has no id")])
def test_an_answer_of_another_shape_is_said(there: There, ocean: CodeOceanServer, answer: bytes, words: str) -> None:
    searched = Reply(body=b'{"has_more": false, "results": []}')
    ocean.faulty.faults = [searched, Reply(body=answer)]
    with pytest.raises(TaskFailed, match=f"Code Ocean answered something {words}"):
        there.register()


# --- when it does not answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["Code Ocean", "DocDB"])
def test_what_passes_is_waited_for(there: There, ocean: CodeOceanServer, database: DocDbServer, service: str) -> None:
    faulty, act = (ocean.faulty, there.register) if service == "Code Ocean" else (database.faulty, there.record)
    faulty.faults = [Reply(429), Reply(502)]
    assert act().state == "succeeded"
    assert sum(there.waits) > 0
