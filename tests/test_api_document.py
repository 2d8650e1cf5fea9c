"""The OpenAPI document, and every address of it asked with whatever its schema allows and forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_site import ApiSite, bearer
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from dropbox_agent import SubmitRequest, manifest
from dropbox_agent.web.api import documents

EXAMPLES = 3
"""How many requests each address gets: what a run of CI has time for."""


GET, POST = "get", "post"
OPERATIONS = [
    ("/check", POST),
    ("/job_upload_template", GET),
    ("/jobs", GET),
    ("/jobs/{job_id}", GET),
    ("/jobs/{job_id}/cancel", POST),
    ("/jobs/{job_id}/tasks/{key}/log", GET),
    ("/manifests", GET),
    ("/manifests", POST),
    ("/manifests/{name}", GET),
    ("/presets", GET),
    ("/presets/{job_type}", GET),
    ("/v1/get_job_status_list", GET),
    ("/v1/get_task_logs", GET),
    ("/v1/get_tasks_list", GET),
    ("/v2/cancel_job", POST),
    ("/v2/parameters", GET),
    ("/v2/parameters/job_types/{job_type}/tasks/{task_id}", GET),
    ("/v2/parameters/job_types/{job_type}/tasks/{task_id}/{modality}", GET),
    ("/v2/submit_jobs", POST),
    ("/v2/validate_csv", POST),
    ("/v2/validate_json", POST),
]
"""Every address; nothing is changed by PUT."""
NOTHING_TO_FORBID = (
    "/job_upload_template",
    "/presets",
    "/v2/parameters",
    "/v2/parameters/job_types/{job_type}/tasks/{task_id}",
    "/v2/parameters/job_types/{job_type}/tasks/{task_id}/{modality}",
)
"""Addresses that are asked for nothing, or for any name."""


def not_checked(path: str) -> list[Any]:
    """What fits the schema may still name what is not there; /check tells what does not fit with 200."""
    return [positive_data_acceptance, *([negative_data_rejection] if path == "/check" else [])]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with manifest.Room() as room, pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest, "Room", lambda **_: room)
        made = ApiSite.made(tmp_path_factory.mktemp("probed"))
        api = {**made.settings.api.model_dump(mode="json"), "requests_per_minute": 1_000_000}
        made.change(api=api, path_map={"/data/ecephys/655019_2023-04-03_18-17-07": str(made.session)})
        made.post("/api/manifests", made.request("1"))
        made.run()
        yield made


@pytest.fixture(scope="module")
def document(site: ApiSite) -> Any:
    return schemathesis.openapi.from_asgi("/api/openapi.json", site.app)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_address_answers_as_the_document_says(
    document: Any, path: str, method: str, mode: GenerationMode
) -> None:
    operation = document[path][method]
    if mode is GenerationMode.NEGATIVE and path in NOTHING_TO_FORBID:
        return

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # what fails is told as it was found
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def probe(case: Any) -> None:
        case.call_and_validate(headers=bearer(), excluded_checks=not_checked(path))

    probe()


def test_the_document_has_every_address_with_its_answers_and_examples(site: ApiSite) -> None:
    told = site.get("/api/openapi.json").json()
    assert told["servers"] == [{"url": "/api"}]
    assert {(path, method) for path, one in told["paths"].items() for method in one} == set(OPERATIONS)
    operations = [one for path in told["paths"].values() for one in path.values()]
    assert all(one["summary"] and one["description"] and "503" in one["responses"] for one in operations)


def test_the_example_of_a_request_is_one(site: ApiSite) -> None:
    SubmitRequest.model_validate(documents.REQUEST_EXAMPLE)
    answer = site.post("/api/v2/submit_jobs", documents.REQUEST_EXAMPLE)
    assert answer.status_code == 200, answer.text


def test_the_document_is_plain_json_without_addresses_of_elsewhere(site: ApiSite) -> None:
    text = json.dumps(site.get("/api/openapi.json").json())
    assert "http://" not in text.replace("http://agent.test", "") and "https://" not in text
