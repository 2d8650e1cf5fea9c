"""Reading through the API: upstream's addresses and the tidy ones, on what an agent really did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest
from api_site import ApiSite

from dropbox_agent import assembly, demonstration, manifest, validate
from dropbox_agent.model import Level, Place, Problem
from dropbox_agent.web.api import shapes

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
STATUS, TASKS, LOGS = "/api/v1/get_job_status_list", "/api/v1/get_tasks_list", "/api/v1/get_task_logs"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    """A site that rehearsed one upload, of which two tasks left logs, and refused one manifest."""
    with manifest.Room() as room, pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest, "Room", lambda **_: room)
        site = ApiSite.made(tmp_path_factory.mktemp("busy"))
        (site.inbox / "wrong.json").write_text(json.dumps(site.request(job_type="ephsy")))
        told = site.post("/api/manifests", site.request()).json()
        site.run()
        write_logs(site, told["jobs"][0]["job_id"])
        yield site


def write_logs(site: ApiSite, job_id: str) -> None:
    """A rehearsal leaves no logs: put them where the tasks of an attempt write theirs."""
    with closing(assembly.open_lists(site.settings)) as lists, closing(assembly.open_reader(site.settings)) as reader:
        for key in ("upload_data_to_s3", "compress_data[ecephys]"):
            attempt = lists.attempt_key(job_id, key, 1)
            assert attempt is not None
            log = reader.run_folder(job_id).attempt(attempt).log(key)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(f"{key}: größer\n".encode() + b"\xff\n")


@pytest.fixture
def site(tmp_path: Path, one_room: None) -> ApiSite:
    return ApiSite.made(tmp_path)


def data(answer: httpx.Response, code: int = 200) -> Any:
    assert answer.status_code == code, answer.text
    return answer.json()["data"]


def job_of(site: ApiSite) -> str:
    job_id: str = site.get("/api/jobs").json()["jobs"][0]["job_id"]
    return job_id


# --- upstream's addresses --------------------------------------------------------------------------------------------


def test_the_list_of_jobs_has_upstreams_form(busy: ApiSite) -> None:
    answer = busy.get(STATUS)
    (job,) = data(answer)["job_status_list"]
    assert answer.json()["message"] == "Retrieved job status list from airflow"
    times = {name: datetime.fromisoformat(job.pop(name).replace("Z", "+00:00")) for name in list(job) if "time" in name}
    assert job == {
        "dag_id": "transform_and_upload_v2",
        "job_id": job_of(busy),
        "job_state": "success",
        "name": "ecephys_655019_2023-04-03_18-17-07",
        "job_type": "ecephys",
        "comment": None,
    }
    assert times["submit_time"] <= times["start_time"] <= times["end_time"]


def test_the_list_tells_what_it_was_asked_for_as_upstream_does(busy: ApiSite) -> None:
    asked = {"states": "('success',)", "execution_date_gte": "2026-01-01T00:00:00Z", "order_by": "state"}
    assert data(busy.get(STATUS, **asked))["params"] == {
        "dag_ids": ["transform_and_upload_v2"], "page_limit": 100, "page_offset": 0, "states": ["success"],
        "execution_date_gte": "2026-01-01T00:00:00+00:00", "order_by": "state",
    }  # fmt: skip


def test_the_list_is_filtered_by_state_and_time(busy: ApiSite) -> None:
    now = datetime.now(timezone.utc)
    found = {
        json.dumps(params): data(busy.get(STATUS, **params))["total_entries"]
        for params in (
            {"states": "['success']"},
            {"states": "['failed', 'running']"},
            {"states": "[]"},
            {"execution_date_gte": (now - timedelta(days=300)).isoformat()},
            {"execution_date_gte": (now + timedelta(hours=1)).isoformat()},
            {"execution_date_lte": (now - timedelta(days=1)).isoformat()},
            {"dag_ids": "another"},
            {"dag_ids": "transform_and_upload_v2"},
            {"order_by": "start_date", "page_limit": "1"},
            {"order_by": "-end_date", "page_offset": "0"},
        )
    }
    assert list(found.values()) == [1, 0, 1, 1, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "params",
    [
        {"states": "['failed'"},
        {"states": "['sleeping']"},
        {"states": "__import__('os').getcwd()"},
        {"states": "(" * 400},
        {"order_by": "name; DROP TABLE jobs"},
        {"page_limit": "many"},
        {"page_offset": "-1"},
        {"execution_date_gte": "yesterday"},
        {"execution_date_gte": "1700000000"},
        {"execution_date_gte": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_wrong_parameters_are_told_with_406(busy: ApiSite, params: dict[str, str]) -> None:
    answer = busy.get(STATUS, **params)
    assert (answer.status_code, answer.json()["message"]) == (406, "Error validating request parameters")
    (error,) = answer.json()["data"]["errors"]
    assert error["loc"][-1] == next(iter(params))


def test_the_tasks_of_a_job_have_upstreams_form_and_order(busy: ApiSite) -> None:
    told = data(busy.get(TASKS, dag_id="transform_and_upload_v2", dag_run_id=job_of(busy)))
    tasks = told["job_tasks_list"]
    assert told["total_entries"] == len(tasks) == 18
    assert [task["task_id"] for task in tasks[-2:]] == ["check_s3_folder_exists", "send_job_start_email"]
    assert tasks == sorted(tasks, key=lambda task: (task["priority_weight"], task["map_index"]))
    upload = next(task for task in tasks if task["task_id"] == "upload_data_to_s3")
    assert (upload["task_state"], upload["try_number"], upload["map_index"]) == ("skipped", 1, -1)
    assert upload["duration"] >= 0
    compress = [(task["task_state"], task["map_index"]) for task in tasks if task["task_id"] == "compress_data"]
    assert compress == [("skipped", 0)]
    skipped = {task["task_id"] for task in tasks if task["task_state"] == "skipped"}
    assert {"copy_derivatives_folder", "remove_source_folders"} <= skipped  # and all that a rehearsal does not do


@pytest.mark.parametrize(("task_id", "map_index"), [("upload_data_to_s3", -1), ("compress_data", 0)])
def test_a_log_is_read_by_task_try_and_map_index(busy: ApiSite, task_id: str, map_index: int) -> None:
    asked = {"dag_id": "transform_and_upload_v2", "dag_run_id": job_of(busy), "task_id": task_id}
    logs = [data(busy.get(LOGS, **asked, try_number=number, map_index=map_index))["logs"] for number in ("1", "0", "7")]
    assert logs[0] == logs[1]
    assert logs[0].startswith(task_id) and logs[0].endswith(": größer\n\ufffd\n")
    assert logs[2] == "(There is no log yet.)\n"
    assert data(busy.get(LOGS, **asked, try_number=1, map_index=5), 404)["errors"]
    assert data(busy.get(LOGS, **{**asked, "dag_run_id": "none"}, try_number=1, map_index=-1), 404)["errors"]


def test_a_job_that_is_not_there_is_404(busy: ApiSite) -> None:
    answer = busy.get(TASKS, dag_id="transform_and_upload_v2", dag_run_id="../../etc/passwd")
    assert (answer.status_code, answer.json()["message"]) == (404, "Error retrieving job tasks list from airflow")


def test_the_parameters_are_listed_and_read_one_by_one(busy: ApiSite) -> None:
    listed = data(busy.get("/api/v2/parameters"))
    one = next(entry for entry in listed if (entry["job_type"], entry["modality"]) == ("ecephys", "ecephys"))
    assert one["name"] == "/job_types/v2/ecephys/tasks/modality_transformation_settings/ecephys"
    assert datetime.fromisoformat(one["last_modified"]) <= datetime.now(timezone.utc)
    path = f"/api/v2/parameters/job_types/ecephys/tasks/{one['task_id']}/ecephys"
    assert data(busy.get(path))["image_resources"]["minimum_cpus_per_node"] > 0
    missing = busy.get("/api/v2/parameters/job_types/ecephys/tasks/none")
    assert missing.json()["message"] == "Error retrieving parameter /job_types/v2/ecephys/tasks/none"
    assert missing.status_code == 404


@pytest.mark.parametrize("modality", ["", "/ecephys"])
def test_parameters_are_not_changed_here(busy: ApiSite, modality: str) -> None:
    path = f"/api/v2/parameters/job_types/ecephys/tasks/modality_transformation_settings{modality}"
    answer = busy.ask("PUT", path, json={"skip_task": True})
    assert (answer.status_code, "Job types" in answer.json()["message"]) == (405, True)


def test_the_template_is_a_workbook(busy: ApiSite, tmp_path: Path) -> None:
    answer = busy.get("/api/job_upload_template")
    (tmp_path / "t.xlsx").write_bytes(answer.content)
    assert openpyxl.load_workbook(tmp_path / "t.xlsx").active is not None
    assert answer.headers["content-disposition"] == "attachment; filename=job_upload_template.xlsx"


# --- judging a form --------------------------------------------------------------------------------------------------


def upload(site: ApiSite, name: str, content: bytes) -> httpx.Response:
    return site.ask("POST", "/api/v2/validate_csv", files={"file": (name, content)})


def test_what_a_table_is_judged_to_hold_can_be_submitted_as_it_is(site: ApiSite) -> None:
    table = (
        "job_type,project_name,platform,subject_id,acq_datetime,user_email,modality0,modality0.input_source\n"
        f"ecephys,Ephys Platform,ecephys,0012,2026-01-30T14:05:09,anna@example.org,ecephys,{site.session}\n"
    )
    jobs = data(upload(site, "s.csv", table.encode()))["jobs"]
    assert [(job["s3_prefix"], job["subject_id"]) for job in jobs] == [("ecephys_0012_2026-01-30_14-05-09", "0012")]
    assert jobs[0]["platform"] == {"name": "Electrophysiology platform", "abbreviation": "ecephys"}
    answer = site.post("/api/v2/submit_jobs", {"user_email": "anna@example.org", "upload_jobs": jobs})
    assert len(data(answer)["job_ids"]) == 1


def test_every_platform_that_may_be_named_has_the_name_upstreams_models_tell_it_by() -> None:
    assert set(shapes.PLATFORM_NAMES) == set(validate.PLATFORMS)


def test_a_form_is_judged_without_looking_whether_sources_exist(site: ApiSite) -> None:
    site.session.rename(site.session.with_name("elsewhere"))
    answer = site.post("/api/v2/validate_json", site.request())
    told = data(answer)
    assert answer.json()["message"] == "Valid model"
    assert told["model_json"] == site.request()
    (job,) = told["validated_model_json"]["upload_jobs"]
    assert (job["s3_prefix"], job["email_notification_types"]) == ("ecephys_655019_2023-04-03_18-17-07", ["fail"])
    assert site.post("/api/v2/submit_jobs", site.request()).status_code == 406


def test_names_that_are_not_known_are_no_good_form(site: ApiSite) -> None:
    site.change(projects=["Behavior Platform"])
    request = site.request(job_type="ephsy", modalities=[{"abbreviation": "ECEPHYS"}])
    answer = site.post("/api/v2/validate_json", request)
    assert (answer.status_code, answer.json()["message"]) == (406, "There were validation errors")
    found = json.loads(answer.json()["data"]["errors"])
    wrong = {str(error["loc"][2]) for error in found}
    assert {"job_type", "project_name", "modalities"} <= wrong
    assert "ecephys" in [error["problem"]["suggestion"] for error in found]


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("s.txt", b"x", 406, "Invalid input file type"),
        ("s", b"x", 406, "Invalid input file type"),
        ("s.xlsx", b"PK\x03\x04 torn", 406, "xlsx"),
        ("s.csv", "job_type\nähm".encode("utf-16"), 406, ""),
        ("s.csv", b"", 406, "empty"),
        ("../../../etc/passwd.csv", b"a,b\n1,2\n", 406, "passwd.csv"),
        ("s.csv", b"x" * 2_000_000, 406, "bytes"),
        ("s.csv", b"x" * 11_000_000, 413, "too large"),
    ],
)
def test_a_file_that_cannot_be_read_is_answered_in_words(
    site: ApiSite, name: str, content: bytes, code: int, words: str
) -> None:
    answer = upload(site, name, content)
    assert answer.status_code == code, answer.text
    assert words in answer.text
    assert "/etc/" not in answer.text


@pytest.mark.parametrize(
    "more",
    [
        {"files": {"other": ("s.csv", b"x")}},
        {"data": {"file": "text"}},
        {"json": {}},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
def test_a_form_without_a_file_is_400(site: ApiSite, more: dict[str, Any]) -> None:
    answer = site.ask("POST", "/api/v2/validate_csv", **more)
    assert answer.status_code == 400, answer.text
    assert answer.json()["data"]["errors"]


def test_a_request_as_upstreams_own_models_write_it_is_taken(site: ApiSite) -> None:
    """Its models (version 2.1.2) wrote the file: every field, also those that were not set."""
    text = (Path(__file__).parent / "samples" / "request_of_upstreams_models.json").read_text()
    request = json.loads(text.replace("SESSION", str(site.session)))
    assert site.post("/api/v2/validate_json", request).json()["message"] == "Valid model"
    told = data(site.post("/api/v2/submit_jobs", request))
    names = [run["conf"]["s3_prefix"] for run in told["responses"]]
    assert names == ["ecephys_690165_2024-02-19_11-25-17", "690166_2024-02-19_11-25-17"]


def test_a_key_that_looks_like_a_number_and_is_none_is_told_as_text() -> None:
    problem = Problem(Level.ERROR, Place("r.json", column="upload_jobs.0.tasks.²"), "It is wrong.")
    assert json.loads(shapes.errors([problem]))[0]["loc"] == ["upload_jobs", 0, "tasks", "²"]


def test_check_tells_the_plan_as_the_command_does(site: ApiSite) -> None:
    told = site.post("/api/check", site.request()).json()
    assert told["ok"] is True
    assert told["jobs"][0]["plan"][0]["key"] == "send_job_start_email"
    assert site.post("/api/check", {}).json()["problems"][0]["column"] == "upload_jobs"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of existing users are not here")
def test_the_files_of_existing_users_are_judged_as_upstream_judges_them(site: ApiSite) -> None:
    found = {}
    for file in sorted((SAMPLES / "upstream").iterdir()):
        if file.suffix in (".csv", ".xlsx", ".txt"):
            answer = upload(site, file.name, file.read_bytes())
            found[file.name] = (answer.status_code, len(answer.json()["data"]["jobs"]))
    assert found == {
        "job_upload_template.xlsx": (200, 3),
        "legacy_sample.csv": (406, 2),
        "legacy_sample2.csv": (200, 1),
        "nested_sample.csv": (200, 1),
        "new_sample.csv": (200, 3),
        "sample.csv": (406, 0),
        "sample.xlsx": (406, 0),
        "sample_invalid_ext.txt": (406, 0),
        "sample_malformed.xlsx": (406, 0),
        "sample_malformed_2.csv": (406, 0),
    }


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of existing users are not here")
def test_the_requests_of_existing_scripts_are_taken(site: ApiSite, tmp_path: Path) -> None:
    site.change(path_map={"/allen/aind": str(tmp_path / "allen")}, policy={"manifests_may_set": "all"})
    for folder in ("ecephys/655019_2023-04-03_18-17-07", "bci/042525/042525/pophys"):
        demonstration.make_session(tmp_path / "allen/scratch/svc_aind_upload/test_data_sets" / folder)
    for file in sorted((SAMPLES / "payloads").glob("*.json")):
        request = json.loads(file.read_text())
        assert site.post("/api/v2/validate_json", request).status_code == 200, file.name
        answer = site.post("/api/v2/submit_jobs", request)
        assert answer.status_code == 200, (file.name, answer.text)


# --- the tidy addresses ----------------------------------------------------------------------------------------------


def test_jobs_are_searched_filtered_sorted_and_cut(busy: ApiSite) -> None:
    def found(**params: Any) -> int:
        total: int = busy.get("/api/jobs", **params).json()["total"]
        return total

    assert [found(q="655019"), found(q="nobody"), found(state="succeeded"), found(state=["failed", "running"])] == [
        1, 0, 1, 0,
    ]  # fmt: skip
    assert [found(user="rig3"), found(modality="ecephys"), found(modality="EMG"), found(until="2020-01-01")] == [
        1, 1, 0, 0,
    ]  # fmt: skip
    assert [found(limit=1), found(limit=2), found(state="failed", offset=1)] == [1, 1, 0]
    assert busy.get("/api/jobs", offset=1).json() == {"total": 1, "limit": 50, "offset": 1, "jobs": []}
    wrong = busy.get("/api/jobs", limit=0, sort="colour")
    assert (wrong.status_code, [problem["column"] for problem in wrong.json()["problems"]]) == (422, ["sort", "limit"])


def test_one_job_is_told_with_its_tasks_and_its_plan(busy: ApiSite) -> None:
    job = busy.get(f"/api/jobs/{job_of(busy)}").json()
    assert (job["state"], job["modalities"]) == ("succeeded", ["ecephys"])
    assert job["manifest"].startswith("api-rig-3-")
    origins = {task["key"]: task["origin"] for task in job["plan"]}
    assert origins["compress_data[ecephys]"]["job_settings.input_source"] == "manifest"
    assert busy.get("/api/jobs/none").status_code == 404


def test_a_name_with_a_line_end_in_it_is_answered_in_the_form_of_its_address(busy: ApiSite) -> None:
    answers = [busy.get(path) for path in ("/api/jobs/a%0Ab", "/api/v2/parameters/job_types/a%0Ab/tasks/x")]
    assert [(answer.status_code, sorted(answer.json())) for answer in answers] == [
        (404, ["message", "problems"]), (404, ["data", "message"]),
    ]  # fmt: skip


def test_a_log_is_read_by_the_key_of_its_task(busy: ApiSite) -> None:
    path = f"/api/jobs/{job_of(busy)}/tasks/compress_data[ecephys]/log"
    told = busy.get(path).json()
    assert (told["attempt"], told["is_whole"], told["total_bytes"]) == (1, True, 35)
    assert busy.get(path, attempt=9).status_code == 404
    assert busy.get(f"/api/jobs/{job_of(busy)}/tasks/..%2f..%2fagent.yaml/log").status_code == 404


def test_the_logs_of_an_array_are_those_of_its_elements(site: ApiSite) -> None:
    resources = (
        "{modality_transformation_settings: {ecephys: {image_resources: {array: '0-2'}, command_script: 'true'}}}"
    )
    (site.folder / "job_types" / "parts.yaml").write_text(f"description: In parts.\ntasks: {resources}\n")
    job_id = site.post("/api/manifests", site.request(job_type="parts")).json()["jobs"][0]["job_id"]
    site.run()
    with closing(assembly.open_lists(site.settings)) as lists, closing(assembly.open_reader(site.settings)) as reader:
        attempt = lists.attempt_key(job_id, "compress_data[ecephys]", 1)
        assert attempt is not None
        elements = reader.run_folder(job_id).attempt(attempt).elements
    elements.mkdir(parents=True)
    for number, state in ((0, "succeeded"), (1, "failed")):
        (elements / f"{number}.log").write_text(f"part {number}\n")
        (elements / f"{number}.{state}.json").write_text("{}")
    path = f"/api/jobs/{job_id}/tasks/compress_data[ecephys]/log"
    told = [site.get(path, **asked).json() for asked in ({}, {"element": 0})]
    assert [(one["element"], one["log"]) for one in told] == [(1, "part 1\n"), (0, "part 0\n")]
    missing = site.get(path, element=2)
    assert (missing.status_code, missing.json()["message"]) == (
        404, "Try 1 of element 2 of compress_data[ecephys] has no log, or none yet.",
    )  # fmt: skip
    asked = {"dag_run_id": job_id, "task_id": "compress_data", "try_number": 1, "map_index": 0}
    assert data(site.get(LOGS, **asked))["logs"] == (
        "==> element 0 (succeeded) <==\npart 0\n\n==> element 1 (failed) <==\npart 1\n"
    )
    (elements.parent / "compress_data.ecephys.log").write_text("All in one place.\n")
    assert data(site.get(LOGS, **asked))["logs"].endswith("part 1\n\n==> after all elements <==\nAll in one place.\n")


def test_manifests_are_told_with_what_is_wrong_with_them(busy: ApiSite) -> None:
    listed = busy.get("/api/manifests").json()
    assert {one["name"]: one["state"] for one in listed["manifests"]}["wrong.json"] == "refused"
    assert busy.get("/api/manifests", state="refused").json()["total"] == 1
    wrong = busy.get("/api/manifests/wrong.json").json()
    errors = [problem["column"] for problem in wrong["problems"] if problem["level"] == "error"]
    assert errors == ["upload_jobs.0.job_type"]
    assert busy.get("/api/manifests/none.json").status_code == 404


def test_presets_are_told_with_those_that_are_broken(site: ApiSite) -> None:
    (site.folder / "job_types" / "bad.yaml").write_text("tasks: [")
    told = site.get("/api/presets").json()
    assert list(told["broken"]) == ["bad"]
    assert [one["name"] for one in told["job_types"] if one["name"] == "HCR"] == ["HCR"]
    assert site.get("/api/presets/HCR").json()["inherits"] == "SmartSPIM"
    assert "cannot be used" in site.get("/api/presets/bad").json()["message"]


def test_a_ledger_that_is_away_is_said(site: ApiSite) -> None:
    answer = site.get("/api/jobs")
    (site.folder / "state" / "ledger.sqlite").write_bytes(b"no ledger" * 1000)
    assert answer.status_code == 200
    answer = site.get("/api/jobs")
    assert (answer.status_code, "ledger" in answer.json()["message"]) == (503, True)
