"""Metadata files are gathered, completed and checked: nothing is lost or guessed, and contradictions stop a job."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from one_job import ATTEMPT, ENDED, PREFIX, OneJob, tree, write

from dropbox_agent.model import TaskOutcome
from dropbox_agent.tasks import aind_schema, gather_final_metadata
from dropbox_agent.tasks.core_files import Malformed, parsed

GATHER, FINISH, CHECK = "gather_preliminary_metadata", "gather_final_metadata", "check_metadata_files"
DESCRIBED = {
    "institution": "AIND",
    "funders": ["AI", {"funder": "Allen Institute", "grant_number": "12"}],
    "investigators": ["Ada Lovelace"],
    "tags": ["a"],
}
SUBJECT = {"subject_id": "0012"}
CORE: dict[str, Any] = {
    "data_description.json": {"subject_id": "0012", "name": PREFIX, "project_name": "Ephys Platform"},
    "subject.json": SUBJECT,
    "procedures.json": {**SUBJECT, "subject_procedures": []},
    "instrument.json": {"instrument_id": "323"},
    "acquisition.json": {**SUBJECT, "instrument_id": "323"},
}
LACKING = ["subject.json", "procedures.json", "instrument.json or rig.json", "acquisition.json or session.json"]


@pytest.fixture
def schema() -> None:
    """The extra ``metadata`` is installed; without this fixture it is not, as far as this process can tell."""
    if importlib.util.find_spec("aind_data_schema") is None:
        pytest.skip("the extra [metadata] is not installed")


@pytest.fixture
def ready(job: OneJob, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OneJob:
    """A job whose staging folder stands."""
    if "schema" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "aind_data_schema", None)
    job.run("create_staging_folder")
    return job


def bring(job: OneJob, files: Mapping[str, Any]) -> None:
    """Put metadata files where the scientist has them."""
    write(job.metadata, {name: value if isinstance(value, bytes) else as_json(value) for name, value in files.items()})


def stage(job: OneJob, files: Mapping[str, Any]) -> None:
    """Put metadata files into the asset."""
    write(job.content, {name: value if isinstance(value, bytes) else as_json(value) for name, value in files.items()})


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- gathered --------------------------------------------------------------------------------------------------------


def test_the_files_at_the_top_are_copied_and_what_is_missing_is_told(ready: OneJob) -> None:
    bring(ready, {"subject.json": SUBJECT, ".dot": b"", "notes für Anna.txt": b"n", "sub/deep.json": b"{}"})
    ran = ready.command(GATHER, metadata_dir=ready.metadata)
    assert ran.outcome == TaskOutcome(
        state="succeeded",
        message=(
            f"3 metadata files copied from {ready.metadata}: .dot, notes für Anna.txt, subject.json."
            " data_description.json was not made: data_description_settings of gather_preliminary_metadata lacks"
            " institution, funding_source, investigators."
            f" Missing: data_description.json, {', '.join(LACKING[1:])}."
        ),
        facts={"copied": 3, "present": ["subject.json"], "missing": ["data_description.json", *LACKING[1:]]},
    )
    assert tree(ready.content) == {"subject.json": as_json(SUBJECT), ".dot": b"", "notes für Anna.txt": b"n"}


def test_without_a_folder_nothing_is_copied_and_it_is_told(ready: OneJob) -> None:
    assert ready.run(GATHER).message.startswith("No metadata_dir is named, so no metadata file was copied.")


def test_where_metadata_dir_is_a_modality_only_its_json_is_copied(ready: OneJob) -> None:
    write(ready.ecephys, {"subject.json": b"{}"})
    ready.run(GATHER, metadata_dir=ready.ecephys)
    assert tree(ready.content) == {"subject.json": b"{}"}


def test_what_was_taken_away_since_an_earlier_attempt_is_not_uploaded(ready: OneJob) -> None:
    bring(ready, {"subject.json": SUBJECT, "wrong.json": SUBJECT})
    ready.run(GATHER, metadata_dir=ready.metadata)
    (ready.metadata / "wrong.json").unlink()
    ready.run(GATHER, metadata_dir=ready.metadata)
    assert list(tree(ready.content)) == ["subject.json"]


def test_a_link_to_secrets_is_not_copied(ready: OneJob) -> None:
    bring(ready, {"a.json": SUBJECT})
    os.symlink("/etc/passwd", ready.metadata / "subject.json")
    message = ready.failure(GATHER, metadata_dir=ready.metadata)
    assert "subject.json: this link leads to /etc/passwd, outside the folders that may be uploaded" in message


def test_a_file_with_the_name_of_a_modality_is_refused(ready: OneJob) -> None:
    bring(ready, {"ecephys": b""})
    assert "has the name of a folder of the asset" in ready.failure(GATHER, metadata_dir=ready.metadata)


def test_a_site_that_requires_metadata_stops_where_none_can_be_made(ready: OneJob) -> None:
    message = ready.failure(GATHER, metadata_required=True)
    assert "This site requires it (metadata.required): put one into metadata_dir." in message


def test_settings_of_the_wrong_form_are_told(ready: OneJob) -> None:
    message = ready.failure(GATHER, job_settings={"data_description_settings": ["AIND"]})
    assert "it has to be an object with institution, funding_source, investigators" in message


@pytest.mark.usefixtures("schema")
def test_data_description_is_made_of_what_the_job_and_its_settings_say(ready: OneJob) -> None:
    ran = ready.command(GATHER, job_settings={"data_description_settings": DESCRIBED})
    assert ran.code == 0
    assert "data_description.json was made from the manifest and the settings." in ran.message
    made = ready.metadata_file("data_description.json")
    assert {name: made[name] for name in ("name", "subject_id", "project_name", "data_level", "tags")} == {
        "name": "0012_2026-01-30_14-05-09",
        "subject_id": "0012",
        "project_name": "Ephys Platform",
        "data_level": "raw",
        "tags": ["a"],
    }
    assert [one["abbreviation"] for one in made["modalities"]] == ["ecephys"]
    assert made["institution"]["abbreviation"] == "AIND"
    assert [one["grant_number"] for one in made["funding_source"]] == [None, "12"]
    assert [one["name"] for one in made["investigators"]] == ["Ada Lovelace"]


def test_without_the_extra_it_is_told_what_to_install(ready: OneJob) -> None:
    message = ready.run(GATHER, job_settings={"data_description_settings": DESCRIBED}).message
    assert "data_description.json was not made: dropbox-agent[metadata] is not installed." in message


@pytest.mark.usefixtures("schema")
def test_a_data_description_that_was_brought_is_kept(ready: OneJob) -> None:
    bring(ready, {"data_description.json": {"mine": 1}})
    ready.run(GATHER, metadata_dir=ready.metadata, job_settings={"data_description_settings": DESCRIBED})
    assert ready.metadata_file("data_description.json") == {"mine": 1}


@pytest.mark.usefixtures("schema")
def test_an_unknown_institution_is_not_guessed(ready: OneJob) -> None:
    settings = {"data_description_settings": {**DESCRIBED, "institution": "ADIN"}}
    message = ready.failure(GATHER, job_settings=settings)
    assert '"ADIN" is no organization that the schema knows' in message
    assert "Correct data_description_settings" in message


@pytest.mark.usefixtures("schema")
def test_a_setting_the_schema_does_not_know_is_told(ready: OneJob) -> None:
    settings = {"data_description_settings": {**DESCRIBED, "investigator": "x"}}
    assert "investigator: Extra inputs are not permitted" in ready.failure(GATHER, job_settings=settings)


@pytest.mark.usefixtures("schema")
def test_the_schema_sees_nothing_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert aind_schema.ask("findings", {}) == {"value": {}}


# --- completed -------------------------------------------------------------------------------------------------------


def linked(job: OneJob, **changes: Any) -> None:
    """Leave the records of a modality that was uploaded as it is."""
    settings = {"input_source": str(job.ecephys)}
    job.ended("compress_data", **{"modality": "ecephys", "job_settings": settings, **changes})


def steps(job: OneJob) -> list[tuple[str, str]]:
    return [(one["process_type"], one["name"]) for one in job.metadata_file("processing.json")["data_processes"]]


def test_processing_says_what_really_ran(ready: OneJob) -> None:
    linked(ready)
    script = {"script": "true", "image": "ghcr.io/org/squeeze", "image_version": "1.2"}
    ready.ended("compress_data", modality="behavior", minutes=5, **script)
    ready.ended("compress_data", modality="fib", state="failed")
    ran = ready.command(FINISH)
    assert ran.code == 0, ran.log
    assert ran.message.startswith("metadata.nd.json is written. processing.json has 2 steps of this job.")
    assert steps(ready) == [("Compression", "Compression behavior"), ("Other", "Upload as it is: ecephys")]
    squeezed = ready.metadata_file("processing.json")["data_processes"][0]
    code = squeezed["code"]
    assert (code["url"], code["name"], code["version"]) == ("ghcr.io/org/squeeze", "squeeze", "1.2")
    assert squeezed["start_date_time"][:19] == ENDED.isoformat()[:19]
    assert squeezed["end_date_time"][:16] == "2026-01-30T15:05"


def test_of_several_attempts_the_last_that_ended_well_counts(ready: OneJob) -> None:
    linked(ready, minutes=9, script="true")
    ready.attempt = "dbx-bbbbbbbbbbbbbbbbbbbb"
    linked(ready, minutes=3)
    assert [one["process_type"] for one in gather_final_metadata.processes(ready.settings(FINISH))] == ["Compression"]


def test_a_processing_file_that_was_brought_is_added_to_and_doing_it_twice_adds_once(ready: OneJob) -> None:
    stage(ready, {"processing.json": BROUGHT})
    linked(ready)
    for _ in range(2):
        outcome = ready.run(FINISH)
        assert "processing.json has 1 step of this job, added to the 2 it had." in outcome.message
    made = ready.metadata_file("processing.json")
    assert [one["name"] for one in made["data_processes"]] == [
        "Spike sorting",
        "Upload as it is: ecephys",
        "Upload as it is: ecephys_1",
    ]
    assert made["notes"] == "kept"
    assert made["dependency_graph"] == {
        "Spike sorting": [],
        "Upload as it is: ecephys": ["Spike sorting"],
        "Upload as it is: ecephys_1": [],
    }


def a_step(name: str, minute: int) -> dict[str, Any]:
    return {
        "process_type": "Other",
        "name": name,
        "stage": "Processing",
        "code": {"url": "https://example.org/code", "version": "1"},
        "experimenters": ["Ada Lovelace"],
        "start_date_time": f"2026-01-29T10:{minute:02}:00Z",
    }


BROUGHT = {
    "data_processes": [a_step("Spike sorting", 1), a_step("Upload as it is: ecephys", 2)],
    "dependency_graph": {"Spike sorting": [], "Upload as it is: ecephys": ["Spike sorting"]},
    "notes": "kept",
}


@pytest.mark.parametrize(
    ("brought", "why"),
    [
        (b'{"processing_pipeline": {"data_processes": []}}', "it has no data_processes in the form of version 2"),
        (b'{"data_processes": [1]}', "it has no data_processes in the form of version 2"),
        (b'{"data_processes": [], "dependency_graph": [1]}', "its dependency_graph is no object"),
        (b"{torn", "it cannot be read (line 1, column 2"),
    ],
)
def test_a_processing_file_that_cannot_be_added_to_is_left_as_it_is(ready: OneJob, brought: bytes, why: str) -> None:
    stage(ready, {"processing.json": brought})
    linked(ready)
    outcome = ready.run(FINISH)
    assert "processing.json is left as it was brought, because " + why in outcome.message
    assert (ready.content / "processing.json").read_bytes() == brought


def test_the_one_file_holds_every_core_file(ready: OneJob) -> None:
    stage(ready, CORE)
    linked(ready)
    ready.run(FINISH)
    whole = ready.metadata_file("metadata.nd.json")
    assert (whole["name"], whole["location"]) == (PREFIX, f"{ready.bucket.as_uri()}/{PREFIX}")
    assert whole["object_type"] == "Metadata"
    assert {name: whole[name.removesuffix(".json")] for name in CORE} == CORE
    assert whole["processing"] == ready.metadata_file("processing.json")
    assert (whole["quality_control"], whole["model"], whole["other_identifiers"]) == (None, None, None)


@pytest.mark.usefixtures("schema")
def test_our_plain_files_have_the_same_keys_as_those_of_the_schema(ready: OneJob) -> None:
    linked(ready)
    ready.run(FINISH)
    settings = ready.settings(FINISH)
    ran = gather_final_metadata.processes(settings)
    plain = gather_final_metadata.merged(None, ran, "Run by somebody.")
    made = ready.metadata_file("processing.json")
    assert plain.keys() == made.keys()
    assert plain["schema_version"] == made["schema_version"]
    assert plain["data_processes"][0].keys() == made["data_processes"][0].keys()
    about = {"name": PREFIX, "location": "x", "core_jsons": {}}
    whole = ready.metadata_file("metadata.nd.json")
    ours = gather_final_metadata.plain_metadata(about)
    assert {name: ours[name] for name in ("object_type", "describedBy", "schema_version")} == {
        name: whole[name] for name in ("object_type", "describedBy", "schema_version")
    }
    assert ours.keys() == whole.keys()


def test_one_that_was_brought_is_kept_beside_ours(ready: OneJob) -> None:
    bring(ready, {"metadata.nd.json": {"mine": 1}})
    ready.run(GATHER, metadata_dir=ready.metadata)
    ready.run(FINISH)
    assert ready.metadata_file("original_metadata/metadata.nd.json") == {"mine": 1}
    assert ready.metadata_file("metadata.nd.json")["name"] == PREFIX


def test_settings_that_cannot_be_read_are_passed_over(ready: OneJob, capsys: pytest.CaptureFixture[str]) -> None:
    linked(ready)
    ready.attempt_folder.settings("compress_data[ecephys]").write_text("{}")
    assert ready.run(FINISH).facts["processes"] == []
    assert f"The settings of compress_data[ecephys] in {ready.run_folder.attempts / ATTEMPT}" in capsys.readouterr().out


# --- checked ---------------------------------------------------------------------------------------------------------


def test_whole_metadata_of_this_session_passes(ready: OneJob) -> None:
    stage(ready, CORE)
    ran = ready.command(CHECK, metadata_required=True)
    assert ran.code == 0
    assert ran.message.startswith(f"Read: {', '.join(sorted(CORE))}.")


@pytest.mark.parametrize("name", ["0012_2026-01-30_14-05-09", PREFIX])
def test_an_asset_may_be_named_with_or_without_its_platform(ready: OneJob, name: str) -> None:
    stage(ready, {"data_description.json": {"name": name}})
    assert ready.run(CHECK).state == "succeeded"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("subject.json", {"subject_id": "0013"}, 'subject.json is of subject "0013", the manifest of "0012"'),
        ("session.json", {"subject_id": 12}, 'session.json is of subject "12"'),
        ("procedures.json", {"subject_id": "12"}, 'procedures.json is of subject "12"'),
        (
            "data_description.json",
            {"name": "0012_2026-01-30_14-05-10"},
            f'"0012_2026-01-30_14-05-10"; "{PREFIX}" or "0012_2026-01-30_14-05-09" would be right',
        ),
        ("data_description.json", {"name": ["x"]}, "would be right"),
    ],
)
def test_a_contradiction_always_fails(ready: OneJob, name: str, value: object, words: str) -> None:
    stage(ready, {**CORE, name: value})
    message = ready.failure(CHECK, metadata_required=False)
    assert message.startswith("The metadata cannot be uploaded like this: ")
    assert words in message


def test_missing_files_are_told_or_fail_as_the_site_says(ready: OneJob) -> None:
    stage(ready, {"data_description.json": {}, "rig.json": {}, "instrument.json": {}})
    lacking = [
        "subject.json is missing",
        "procedures.json is missing",
        "there may be only one of instrument.json and rig.json",
        "acquisition.json or session.json is missing",
    ]
    outcome = ready.run(CHECK)
    assert outcome.state == "succeeded"
    assert outcome.facts["lacking"] == lacking
    assert f"Passed over, because metadata.required is off: {'; '.join(lacking)}." in outcome.message
    assert "; ".join(lacking) in ready.failure(CHECK, metadata_required=True)


MALFORMED = {
    b"": "line 1, column 1: Expecting value",
    b"{": "line 1, column 2",
    b"[]": "it holds a list, not an object",
    b"null": "it holds null, not an object",
    b'"x"': "it holds a text, not an object",
    b"1": "it holds a number, not an object",
    b'{"a": NaN}': "NaN is no JSON; null would be right",
    b'{"a": [-Infinity]}': "-Infinity is no JSON",
    b'{"a": 1, "b": {"c": 1, "c": 2}}': '"c" stands twice in one object',
    b'{"a": "\xff"}': "it is not UTF-8 (byte 7)",
    b'{"a": ' + b"[" * 100_000: "it is nested too deeply",
    b'{"a": ' + b"1" * 5_000 + b"}": "Exceeds the limit",
}


@pytest.mark.parametrize(("content", "words"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_a_file_that_is_no_json_object_is_told_with_the_place(content: bytes, words: str) -> None:
    with pytest.raises(Malformed) as malformed:
        parsed(content)
    assert words in str(malformed.value)


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert parsed(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_malformed_files_are_told_or_fail_as_the_site_says(ready: OneJob) -> None:
    stage(ready, {**CORE, "subject.json": b"{torn", "model.json": b"[]"})
    assert "model.json: it holds a list, not an object; subject.json: line 1, column 2" in ready.run(CHECK).message
    assert "subject.json: line 1, column 2" in ready.failure(CHECK, metadata_required=True)


def test_a_link_is_no_metadata_file(ready: OneJob) -> None:
    os.symlink("/etc/passwd", ready.content / "subject.json")
    lacking = ready.run(CHECK).facts["lacking"]
    assert [line for line in lacking if line.startswith("subject.json: this link leads to /etc/passwd, outside")]


def test_another_project_is_told(ready: OneJob) -> None:
    stage(ready, {**CORE, "data_description.json": {"project_name": "Other"}})
    assert ready.run(CHECK).message.endswith('Note: data_description.json is of project "Other", not "Ephys Platform".')


@pytest.mark.usefixtures("schema")
def test_what_breaks_the_schema_is_told_or_fails_as_the_site_says(ready: OneJob) -> None:
    stage(ready, CORE)
    outcome = ready.run(CHECK)
    assert outcome.state == "succeeded"
    words = "subject.json breaks its schema (subject_details: Field required)"
    assert words in outcome.message
    assert words in ready.failure(CHECK, metadata_strict=True)


@pytest.mark.usefixtures("schema")
def test_version_1_of_the_schema_is_taken_as_it_is(ready: OneJob) -> None:
    older = {
        "data_description.json": {**CORE["data_description.json"], "schema_version": "1.0.4", "modality": []},
        "subject.json": {**SUBJECT, "schema_version": "1.0.3", "species": {"name": "Mus musculus"}},
        "procedures.json": {**SUBJECT, "schema_version": "1.2.1", "subject_procedures": []},
        "rig.json": {"rig_id": "323_EPHYS1_20231003", "schema_version": "1.1.1"},
        "session.json": {**SUBJECT, "rig_id": "323_EPHYS1_20231003", "schema_version": "1.0.3"},
    }
    stage(ready, older)
    linked(ready)
    ready.run(FINISH)
    outcome = ready.run(CHECK, metadata_required=True, metadata_strict=True)
    assert outcome.state == "succeeded", outcome
    assert outcome.facts["objections"] == []
    assert f"Of version 1 of the schema, and taken as they are: {', '.join(sorted(older))}." in outcome.message
    whole = ready.metadata_file("metadata.nd.json")
    assert [whole[name] for name in ("subject", "procedures")] == [older["subject.json"], older["procedures.json"]]
    stage(ready, {"subject.json": SUBJECT})
    mixed = ready.run(CHECK)
    assert "Note: others are of version 2: subject.json." in mixed.message
    assert "subject.json breaks its schema" in mixed.message


@pytest.mark.usefixtures("schema")
def test_what_the_schema_makes_it_also_takes(ready: OneJob) -> None:
    ready.run(GATHER, job_settings={"data_description_settings": DESCRIBED})
    linked(ready)
    ready.run(FINISH)
    outcome = ready.run(CHECK, metadata_strict=True)
    assert outcome.facts["objections"] == []
    assert sorted(outcome.facts["read"]) == ["data_description.json", "metadata.nd.json", "processing.json"]
    validate = (
        "import sys; from aind_data_schema.core.metadata import Metadata as M; M.model_validate_json(sys.stdin.read())"
    )
    whole = (ready.content / "metadata.nd.json").read_text()
    argv = [sys.executable, "-I", "-W", "ignore", "-c", validate]
    done = subprocess.run(argv, input=whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.usefixtures("schema")
def test_the_schema_is_asked_once_for_files_that_stay_the_same(ready: OneJob) -> None:
    stage(ready, CORE)
    ready.run(FINISH)
    kept = ready.run_folder.staging / "schema-findings.json"
    kept.write_text(kept.read_text().replace("subject_details: Field required", "as kept"))
    assert "subject.json breaks its schema (as kept)" in ready.run(CHECK).message
    stage(ready, {"subject.json": {**SUBJECT, "notes": "changed"}})
    assert "subject.json breaks its schema (subject_details: Field required" in ready.run(CHECK).message


def test_a_strict_site_without_the_schema_is_told_what_to_install(ready: OneJob) -> None:
    stage(ready, CORE)
    message = ready.failure(CHECK, metadata_strict=True)
    assert "dropbox-agent[metadata] that knows the schema is not installed" in message


@pytest.mark.usefixtures("schema")
def test_a_question_that_is_none_is_an_error_and_no_crash() -> None:
    assert aind_schema.ask("nonsense", {}) == {"error": "'nonsense'"}
