"""Submitting and cancelling: a request becomes a manifest, once; the folder stays the one truth."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from api_site import KEEPER_TOKEN, OTHER_TOKEN, TOKEN, ApiSite, bearer

from dropbox_agent.errors import DeliveryFailed
from dropbox_agent.web.api import Receipts

SUBMIT, CANCEL = "/api/v2/submit_jobs", "/api/v2/cancel_job"


@pytest.fixture
def site(tmp_path: Path, one_room: None) -> ApiSite:
    return ApiSite.made(tmp_path)


def errors_of(answer: Any) -> list[dict[str, Any]]:
    """Return upstream's errors, which are a text that is JSON."""
    found: list[dict[str, Any]] = json.loads(answer.json()["data"]["errors"])
    return found


# --- the road --------------------------------------------------------------------------------------------------------


def test_what_is_submitted_becomes_a_manifest_whose_jobs_have_the_ids_that_were_told(site: ApiSite) -> None:
    answer = site.post(SUBMIT, site.request("655019", "655020"))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["message"] == "Submitted request to airflow"
    assert site.manifests() == [told["data"]["manifest"]]
    assert site.get(f"/api/manifests/{told['data']['manifest']}").json()["state"] == "settling"
    site.run()
    listed = site.get("/api/v1/get_job_status_list").json()["data"]["job_status_list"]
    ids = told["data"]["job_ids"]
    assert {(job["job_id"], job["job_state"]) for job in listed} == {(one, "success") for one in ids}
    assert [run["dag_run_id"] for run in told["data"]["responses"]] == ids
    assert site.get(f"/api/manifests/{told['data']['manifest']}").json()["state"] == "succeeded"


def test_a_job_that_names_nobody_tells_whom_the_token_is_for(site: ApiSite) -> None:
    named = site.post(SUBMIT, site.request("1", user_email="anna@example.org")).json()["data"]["job_ids"][0]
    unnamed = site.post(SUBMIT, site.request("2")).json()["data"]["job_ids"][0]
    site.run()
    emails = [site.get(f"/api/jobs/{job_id}").json()["user_email"] for job_id in (named, unnamed)]
    assert emails == ["anna@example.org", "rig3@example.org"]


def test_the_tidy_address_submits_as_well_and_tells_problems_as_check_does(site: ApiSite) -> None:
    good = site.post("/api/manifests", site.request())
    assert (good.status_code, [job["s3_prefix"] for job in good.json()["jobs"]]) == (
        202,
        ["ecephys_655019_2023-04-03_18-17-07"],
    )
    wrong = site.post("/api/manifests", site.request(job_type="ephsy"))
    assert wrong.status_code == 422
    (problem,) = wrong.json()["problems"]
    assert (problem["column"], problem["found"]) == ("upload_jobs.0.job_type", "ephsy")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_all_problems_of_a_request_are_told_at_once_and_nothing_is_done(site: ApiSite) -> None:
    request = site.request(job_type="ephsy", acq_datetime="yesterday")
    answer = site.post(SUBMIT, request)
    assert (answer.status_code, answer.json()["message"]) == (406, "There were validation errors")
    assert answer.json()["data"]["responses"] == []
    assert [error["loc"] for error in errors_of(answer)] == [
        ["upload_jobs", 0, "job_type"],
        ["upload_jobs", 0, "acq_datetime"],
    ]
    assert site.manifests() == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "Field required"),
        (b"[]", "Write one request"),
        (b"no json", "This is not JSON"),
        (b'{"upload_jobs": []}', "List should have at least 1 item after validation, not 0"),
        (b'{"upload_jobs": 5}', "Field required"),
        (b'{"dag_id": "other", "upload_jobs": [{}]}', 'write "transform_and_upload_v2"'),
        (b'{"upload_jobs": [], "upload_jobs": []}', '"upload_jobs" is written twice'),
        (b'{"upload_jobs": [5]}', "A job is written as KEY: VALUE."),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"upload_jobs": [{"subject_id": ' + b"9" * 5000 + b"}]}", "This is not JSON"),
        (b'{"upload_jobs": [{"subject_id": "\\ud800"}]}', "upload_jobs.0.subject_id"),
    ],
)
def test_what_is_no_request_is_refused_in_words(site: ApiSite, body: bytes, words: str) -> None:
    headers = {**bearer(), "Content-Type": "application/json"}
    answer = site.ask("POST", SUBMIT, content=body, headers=headers)
    assert (answer.status_code, site.manifests()) == (406, [])
    assert words in json.dumps(errors_of(answer)).replace('\\"', '"')


def test_at_most_fifty_jobs_are_taken_at_a_time(site: ApiSite) -> None:
    fifty = [str(number) for number in range(50)]
    assert len(site.post(SUBMIT, site.request(*fifty)).json()["data"]["job_ids"]) == 50
    answer = site.post(SUBMIT, site.request(*fifty, "50"))
    assert answer.status_code == 406
    assert errors_of(answer)[0]["msg"] == "List should have at most 50 items after validation, not 51"


def test_the_policy_is_that_of_dropped_files(site: ApiSite, tmp_path: Path) -> None:
    site.change(policy={"source_roots": [str(tmp_path / "data")]})
    script = site.request()
    script["upload_jobs"][0]["tasks"]["modality_transformation_settings"]["ecephys"]["image"] = "evil"
    elsewhere = site.request()
    settings = elsewhere["upload_jobs"][0]["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]
    settings["input_source"] = "/etc"
    refused = [errors_of(site.post(SUBMIT, request)) for request in (script, elsewhere)]
    assert "policy.manifests_may_set" in refused[0][0]["msg"]
    assert "/etc" in refused[1][0]["msg"]
    assert site.manifests() == []


def test_an_asset_that_is_being_uploaded_is_not_uploaded_twice(site: ApiSite) -> None:
    site.change(executor={"kind": "local"}, work_dir=str(site.folder / "work"))
    site.post(SUBMIT, site.request())
    # The agent takes it in, and starts nothing: one look is no more than that.
    from dropbox_agent import assembly

    agent = assembly.open_agent(site.settings, {}, assembly.utc_now())
    agent.executor.room = lambda live: 0  # type: ignore[method-assign]
    try:
        for _ in range(200):
            agent.tick(assembly.utc_now())
            if agent.ledger.count_jobs()["accepted"]:
                break
    finally:
        agent.ledger.close()
    answer = site.post(SUBMIT, site.request())
    assert answer.status_code == 406
    assert "ecephys_655019_2023-04-03_18-17-07 is being uploaded now" in errors_of(answer)[0]["msg"]


# --- once ------------------------------------------------------------------------------------------------------------


def test_the_same_request_under_the_same_key_is_answered_again_and_done_once(site: ApiSite) -> None:
    first = site.post(SUBMIT, site.request(), key="k-1")
    again = site.post(SUBMIT, site.request(), key="k-1")
    assert again.json() == first.json()
    site.run()
    later = site.post(SUBMIT, site.request(), key="k-1")
    assert (later.status_code, later.json()) == (200, first.json())
    site.run()
    assert site.get("/api/jobs").json()["total"] == 1


def test_a_key_is_its_submitters_own_and_belongs_to_one_request(site: ApiSite) -> None:
    first = site.post(SUBMIT, site.request("1"), key="k-1")
    other = site.post(SUBMIT, site.request("1"), token=OTHER_TOKEN, key="k-1")
    assert first.json()["data"]["manifest"] != other.json()["data"]["manifest"]
    changed = site.post(SUBMIT, site.request("2"), key="k-1")
    assert (changed.status_code, len(site.manifests())) == (422, 2)
    assert "was used for another request" in changed.json()["message"]
    assert site.post(SUBMIT, site.request("3"), key="two words").status_code == 400


def test_a_refused_request_leaves_its_key_free(site: ApiSite) -> None:
    assert site.post(SUBMIT, site.request(job_type="ephsy"), key="k-1").status_code == 406
    assert site.post(SUBMIT, site.request(), key="k-1").status_code == 200


def test_a_service_killed_before_the_file_was_there_finishes_when_it_is_asked_again(
    site: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, name: str, content: bytes) -> None:
        raise DeliveryFailed(folder, name, "the share does not answer")

    with monkeypatch.context() as patched:
        patched.setattr("dropbox_agent.web.api.submitting.deliver.write", killed)
        assert site.post(SUBMIT, site.request(), key="k-1").status_code == 503
    assert site.manifests() == []
    again = site.post(SUBMIT, site.request(), key="k-1")
    assert (again.status_code, site.manifests()) == (200, [again.json()["data"]["manifest"]])


@pytest.mark.parametrize("meanwhile", ["nothing", "the agent took it", "somebody removed it after that"])
def test_a_service_killed_between_file_and_answer_places_nothing_twice(
    site: ApiSite, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise sqlite3.OperationalError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Receipts, "placed", killed)
        assert site.post(SUBMIT, site.request(), key="k-1").status_code == 500
    (name,) = site.manifests()
    written = (site.inbox / name).stat()
    if meanwhile != "nothing":
        site.run()
    if meanwhile == "somebody removed it after that":
        (site.inbox / name).unlink()
    site.change()  # Another process of the service: nothing is remembered but what is on disk.
    again = site.post(SUBMIT, site.request(), key="k-1")
    assert (again.status_code, again.json()["data"]["manifest"]) == (200, name)
    if meanwhile == "somebody removed it after that":
        assert site.manifests() == []
    else:
        assert (site.inbox / name).stat().st_ino == written.st_ino
    site.run()
    assert [job["job_id"] for job in site.get("/api/jobs").json()["jobs"]] == again.json()["data"]["job_ids"]


def test_two_that_send_the_same_at_once_place_one_manifest(site: ApiSite) -> None:
    from concurrent.futures import ThreadPoolExecutor

    site.get("/api/jobs")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: site.post(SUBMIT, site.request(), key="k-1"), range(8)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert (answers[0].status_code, len(site.manifests())) == (200, 1)


def test_an_inbox_that_is_away_is_said_and_nothing_is_lost(site: ApiSite) -> None:
    site.inbox.rename(site.folder / "away")
    answer = site.post(SUBMIT, site.request(), key="k-1")
    assert answer.status_code == 503
    assert "is not there" in answer.json()["message"]
    (site.folder / "away").rename(site.inbox)
    assert site.post(SUBMIT, site.request(), key="k-1").status_code == 200


def test_nobody_else_reads_what_was_submitted(site: ApiSite) -> None:
    site.post(SUBMIT, site.request())
    assert (site.folder / "state" / "submissions.sqlite").stat().st_mode & 0o077 == 0


# --- cancel ----------------------------------------------------------------------------------------------------------


def accepted(site: ApiSite, **changes: Any) -> str:
    """Submit a job that the agent has recorded and not started; return its id."""
    from dropbox_agent import assembly

    job_id: str = site.post(SUBMIT, site.request(**changes)).json()["data"]["job_ids"][0]
    agent = assembly.open_agent(site.settings, {}, assembly.utc_now())
    agent.executor.room = lambda live: 0  # type: ignore[method-assign]
    try:
        while agent.ledger.job(job_id) is None:
            agent.tick(assembly.utc_now())
    finally:
        agent.ledger.close()
    return job_id


def cancel(site: ApiSite, job_id: str, token: str = TOKEN, **more: str) -> tuple[int, Any]:
    answer = site.post(CANCEL, {"dag_run_id": job_id, "dag_id": "transform_and_upload_v2", **more}, token)
    return answer.status_code, answer.json()


def test_whoever_submitted_a_job_cancels_it(site: ApiSite) -> None:
    job_id = accepted(site)
    assert cancel(site, job_id, s3_prefix=job_id.partition(".")[0]) == (200, {"message": "Success", "data": {}})
    site.run()
    assert site.get(f"/api/jobs/{job_id}").json()["state"] == "cancelled"
    code, told = cancel(site, job_id)
    assert (code, told["message"]) == (409, "Error canceling job.")
    assert "has ended already: cancelled" in told["data"]["error"]


def test_others_do_not_unless_the_job_tells_them_or_they_keep_the_site(site: ApiSite) -> None:
    mine, theirs = accepted(site, subject_id="1"), accepted(site, subject_id="2", user_email="Bo@example.org")
    assert [cancel(site, job_id, OTHER_TOKEN)[0] for job_id in (mine, theirs)] == [403, 200]
    assert cancel(site, mine, KEEPER_TOKEN)[0] == 200


def test_nothing_is_cancelled_that_is_not_exactly_meant(site: ApiSite) -> None:
    job_id = accepted(site)
    code, told = cancel(site, job_id, s3_prefix="ecephys_1_2020-01-01_00-00-00")
    assert (code, told["data"]["error"]) == (
        409,
        f"Job {job_id} uploads ecephys_655019_2023-04-03_18-17-07, not ecephys_1_2020-01-01_00-00-00."
        " Nothing was cancelled.",
    )
    assert cancel(site, "no-such-job")[0] == 404
    assert site.post(CANCEL, {"dag_id": "transform_and_upload_v2"}).status_code == 400
    assert not (site.folder / "state" / "orders").exists()


def test_a_job_that_is_not_recorded_yet_is_cancelled_later(site: ApiSite) -> None:
    told = site.post(SUBMIT, site.request()).json()["data"]
    code, answer = cancel(site, told["job_ids"][0])
    assert (code, told["manifest"] in answer["data"]["error"]) == (409, True)


def test_the_tidy_address_cancels_as_well(site: ApiSite) -> None:
    job_id = accepted(site)
    assert site.ask("POST", f"/api/jobs/{job_id}/cancel", headers=bearer()).status_code == 202
    assert site.ask("POST", "/api/jobs/none/cancel", headers=bearer()).status_code == 404
    site.run()
    assert site.get(f"/api/jobs/{job_id}").json()["state"] == "cancelled"
