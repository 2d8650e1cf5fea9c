"""Rows become jobs: what is asked for, or every reason why not."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dropbox_agent import validate
from dropbox_agent.manifest import LIMITS, document, text, workbook
from dropbox_agent.manifest.parse import Found, parse
from dropbox_agent.manifest.values import typed
from dropbox_agent.model import Job, Known, Level, Place, Problem, Row
from dropbox_agent.validate import to_jobs

SAMPLES = Path(__file__).parent / "samples"
SHARED = Path(__file__).parents[2] / "shared" / "samples"
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""Writing workbooks takes its time; a failing table is small enough to be read."""
NOW = datetime(2024, 6, 1, 12, tzinfo=timezone.utc)
PLATFORMS, MODALITIES = validate.known_names()
TASK_IDS = (
    *("check_s3_folder_exists", "check_source_folders_exist", "gather_preliminary_metadata", "upload_data_to_s3"),
    *("modality_transformation_settings", "compress_data", "copy_derivatives_folder", "codeocean_pipeline_settings"),
    *("register_data_asset_to_codeocean", "remove_source_folders", "run_codeocean_pipeline"),
)
KNOWN = Known(
    job_types=("default", "ecephys", "custom"),
    broken_job_types={"HCR": "HCR.yaml, line 3: no such field."},
    projects=("Ephys Platform", "Behavior Platform", "Ophys Platform - SLAP2"),
    platforms=PLATFORMS,
    modalities=MODALITIES,
    buckets=("default", "private", "open"),
    task_ids={**{name: name for name in TASK_IDS}, "register_data_asset": "register_data_asset_to_codeocean"},
    default_email="lab@example.org",
    now=NOW,
)
ENTRY: dict[str, Any] = {
    "job_type": "ecephys",
    "project_name": "Ephys Platform",
    "subject_id": "0012",
    "acq_datetime": "2024-05-27T16:07:59",
    "platform": "ecephys",
    "s3_bucket": "private",
    "user_email": "ana@example.org",
    "email_notification_types": "begin, fail",
    "modalities": ["ecephys", "behavior-videos"],
    "tasks": {
        "modality_transformation_settings": {"ecephys": {"job_settings": {"input_source": "/data/a"}}},
        "check_s3_folder_exists": {"skip_task": "true"},
    },
}
AT = datetime.fromisoformat("2024-05-27T16:07:59")


def row(**changes: Any) -> Row:
    """Return a good row with some fields changed; None takes one away."""
    entry = {name: value for name, value in {**ENTRY, **changes}.items() if value is not None}
    return Row(Place("s.yaml", row=1), entry)


def check(known: Known = KNOWN, **changes: Any) -> tuple[tuple[Job, ...], tuple[Problem, ...]]:
    return to_jobs([row(**changes)], known)


def job(**changes: Any) -> Job:
    """Return the one job of a row that has no errors."""
    jobs, problems = check(**changes)
    assert [problem for problem in problems if problem.level is Level.ERROR] == []
    return jobs[0]


def only(**changes: Any) -> Problem:
    """Return the one error of a row that yields no job."""
    jobs, problems = check(**changes)
    assert jobs == ()
    assert len(problems) == 1, problems
    assert problems[0].level is Level.ERROR
    return problems[0]


def warning(**changes: Any) -> Problem:
    """Return the one warning of a row that yields a job."""
    jobs, problems = check(**changes)
    assert len(jobs) == 1
    assert [problem.level for problem in problems] == [Level.WARNING]
    return problems[0]


def test_a_good_row_becomes_a_job() -> None:
    good = row()
    assert to_jobs([good], KNOWN) == (
        (
            Job(
                row=good,
                job_type="ecephys",
                project_name="Ephys Platform",
                subject_id="0012",
                acq_datetime=AT,
                platform="ecephys",
                modalities=("ecephys", "behavior-videos"),
                bucket="private",
                s3_prefix="ecephys_0012_2024-05-27_16-07-59",
                user_email="ana@example.org",
                email_types=frozenset({"begin", "fail"}),
                tasks={
                    "modality_transformation_settings": {"ecephys": {"job_settings": {"input_source": "/data/a"}}},
                    "check_s3_folder_exists": {"skip_task": True},
                },
            ),
        ),
        (),
    )


def test_what_is_optional_has_its_default() -> None:
    least = job(platform=None, s3_bucket=None, user_email=None, email_notification_types=None, tasks=None)
    assert (least.platform, least.s3_prefix) == (None, "0012_2024-05-27_16-07-59")
    assert (least.bucket, least.user_email, least.email_types, least.tasks) == (
        "default",
        "lab@example.org",
        frozenset({"fail"}),
        {},
    )


def test_without_any_address_a_warning_says_that_nobody_will_be_told() -> None:
    jobs, problems = check(dataclasses.replace(KNOWN, default_email=None), user_email=None)
    assert jobs[0].user_email is None
    assert problems == (
        Problem(
            Level.WARNING,
            Place("s.yaml", row=1, column="user_email"),
            "There is no user_email, so nobody will be told how it went.",
        ),
    )


@pytest.mark.parametrize("name", ["job_type", "project_name", "subject_id", "acq_datetime"])
@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_required_field_that_is_missing_is_named(name: str, nothing: str | None) -> None:
    assert only(**{name: nothing}).place == Place("s.yaml", row=1, column=name)


@pytest.mark.parametrize("nothing", [None, []])
def test_a_session_without_a_modality_is_refused(nothing: Any) -> None:
    assert only(modalities=nothing, tasks=None).place == Place("s.yaml", row=1, column="modalities")


def test_every_problem_of_a_row_is_told_at_once() -> None:
    _, problems = check(job_type="ephsy", subject_id="a b", acq_datetime="soon", platform="ECEPHYS", modalities=["x"])
    assert [problem.place.column for problem in problems] == [
        *("job_type", "subject_id", "acq_datetime", "platform"),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("field", "found", "suggestion"),
    [
        ("job_type", "ephsy", "ecephys"),
        ("job_type", "Ecephys", "ecephys"),
        ("job_type", "ecepyhs", "ecephys"),
        ("platform", "ECEPHYS", "ecephys"),
        ("platform", "smartspim", "SmartSPIM"),
        ("platform", "motor observatory", "motor-observatory"),
        ("email_notification_types", "begn", "begin"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest_one(
    field: str, found: str, suggestion: str | None
) -> None:
    problem = only(**{field: found})
    assert (problem.place.column, problem.found, problem.suggestion) == (field, found, suggestion)
    assert f'"{found}" is not known.' in problem.message
    assert "Known: " in problem.message


@pytest.mark.parametrize(
    ("found", "suggestion"), [("ECEPHYS", "ecephys"), ("BEHAVIOR_VIDEOS", "behavior-videos"), ("nonsense", None)]
)
def test_a_modality_that_is_not_known_is_refused_with_the_nearest_one(found: str, suggestion: str | None) -> None:
    problem = only(modalities=["ecephys", found])
    assert (problem.found, problem.suggestion) == (found, suggestion)


def test_a_job_type_whose_preset_is_broken_is_refused_with_the_reason() -> None:
    assert only(job_type="HCR").message == 'Job type "HCR" cannot be used now: HCR.yaml, line 3: no such field.'


def test_platform_and_modality_may_be_the_objects_that_clients_send() -> None:
    sent = job(
        platform={"name": "Electrophysiology platform", "abbreviation": "ecephys"},
        modalities=[{"name": "Extracellular electrophysiology", "abbreviation": "ecephys"}],
    )
    assert (sent.platform, sent.modalities) == ("ecephys", ("ecephys",))


@pytest.mark.parametrize(
    "modalities", ["ecephys", [{}], [["ecephys"]], [1], [""], {"ecephys": "/data"}, ["ecephys"] * 51]
)
def test_modalities_are_a_list_of_names(modalities: Any) -> None:
    assert "modalit" in only(modalities=modalities, tasks=None).message.lower() or isinstance(modalities, list)


def test_a_modality_named_twice_names_both_columns() -> None:
    places = {f"modalities.{n}": Place("s.csv", row=4, column=f"modality{n}", cell=f"{c}4") for n, c in enumerate("BD")}
    twice = Row(Place("s.csv", row=4), {**ENTRY, "modalities": ["ecephys", "ecephys"]}, places)
    jobs, problems = to_jobs([twice], KNOWN)
    assert jobs == ()
    assert [(problem.place.cell, problem.found) for problem in problems] == [("D4", "ecephys")]
    assert "in modality0 and modality1" in problems[0].message


@pytest.mark.parametrize("subject", ["0012", "123456", "A-b-9", "x" * 64])
def test_a_subject_id_stays_as_written(subject: str) -> None:
    assert job(subject_id=subject).subject_id == subject


def test_a_whole_number_from_json_is_a_subject_id_too() -> None:
    assert job(subject_id=655019).subject_id == "655019"


@pytest.mark.parametrize(
    "subject", ["../../x y", "a/b", "..", "a_b", "a b", "x" * 65, "é", "1\n2", "1.5", "-\u202e1", 1.5, True, ["1"], {}]
)
def test_a_subject_id_that_could_name_another_folder_is_refused(subject: Any) -> None:
    assert only(subject_id=subject).place.column == "subject_id"


def test_a_line_break_inside_a_value_is_refused() -> None:
    assert "line break" in only(project_name="Ephys\nPlatform").message


def test_an_unknown_project_is_the_outside_worlds_affair_and_the_job_stays() -> None:
    jobs, problems = check(project_name="Ephys Platfrom")
    assert [found.project_name for found in jobs] == ["Ephys Platfrom"]
    assert problems == (
        Problem(
            Level.ERROR,
            Place("s.yaml", row=1, column="project_name"),
            'Project "Ephys Platfrom" is not known. Did you mean "Ephys Platform"? '
            "Known: Ephys Platform, Behavior Platform, Ophys Platform - SLAP2.",
            found="Ephys Platfrom",
            suggestion="Ephys Platform",
            outside=True,
        ),
    )


def test_where_no_projects_are_listed_any_well_formed_one_goes() -> None:
    anywhere = dataclasses.replace(KNOWN, projects=())
    assert check(anywhere, project_name="Ünder water (3)")[1] == ()
    assert check(anywhere, project_name="<script>")[0] == ()


def test_an_unknown_bucket_is_the_outside_worlds_affair_and_the_job_stays() -> None:
    jobs, problems = check(s3_bucket="privat")
    assert [found.bucket for found in jobs] == ["privat"]
    assert [(problem.suggestion, problem.outside) for problem in problems] == [("private", True)]


@pytest.mark.parametrize("bucket", ["../x", "a b", "s3://x", "-", "x" * 64])
def test_a_bucket_that_is_no_name_is_refused(bucket: str) -> None:
    assert not only(s3_bucket=bucket).outside


@pytest.mark.parametrize(
    ("written", "prefix"),
    [
        ("2024-05-27T16:07:59", "2024-05-27_16-07-59"),
        ("2024-05-27 16:07:59", "2024-05-27_16-07-59"),
        ("2024-05-27T16:07", "2024-05-27_16-07-00"),
        ("2024-05-27T16:07:59.999", "2024-05-27_16-07-59"),
        ("2024-05-27T16:07:59Z", "2024-05-27_16-07-59"),
        ("2024-05-27T16:07:59-07:00", "2024-05-27_16-07-59"),
        ("2024-05-27t16:07:59+0530", "2024-05-27_16-07-59"),
        ("5/27/2024 4:07:59 PM", "2024-05-27_16-07-59"),
        ("05/27/2024 12:00:01 am", "2024-05-27_00-00-01"),
        ("5/27/2024 12:00:01 PM", "2024-05-27_12-00-01"),
        ("5/27/2024 16:07:59", "2024-05-27_16-07-59"),
        ("27.05.2024 16:07", "2024-05-27_16-07-00"),
        ("13/1/2024 1:00:00 PM", "2024-01-13_13-00-00"),
        ("4/4/2024 1:00", "2024-04-04_01-00-00"),
        ("2024/05/27 16:07", "2024-05-27_16-07-00"),
        ("27-May-2024 16:07:59", "2024-05-27_16-07-59"),
        ("27 Sept 2023, 4:07 pm", "2023-09-27_16-07-00"),
        ("May 27, 2024 16:07:59.5", "2024-05-27_16-07-59"),
        ("5/27/24 16:07", "2024-05-27_16-07-00"),
        ("3/14/12 1:30 PM", "2012-03-14_13-30-00"),
        ("14-Mar-12 13:30", "2012-03-14_13-30-00"),
        ("Wednesday, March 14, 2012 1:30:00 PM", "2012-03-14_13-30-00"),
        ("Wed, 14 Mar 2012 13:30:00", "2012-03-14_13-30-00"),
        ("27.5.2024 16.07.59", "2024-05-27_16-07-59"),
        ("5/27/2024 4:07 p. m.", "2024-05-27_16-07-00"),
        ("2024-05-27 4:07:59 PM", "2024-05-27_16-07-59"),
        ("2024.05.27 16:07", "2024-05-27_16-07-00"),
        ("2024-05-27_16-07-59", "2024-05-27_16-07-59"),
        ("20240527T160759", "2024-05-27_16-07-59"),
        ("2024-05-27T16:07:59,123", "2024-05-27_16-07-59"),
        ("2024-05-27T16:07:59+02", "2024-05-27_16-07-59"),
    ],
)
def test_a_date_is_the_clock_on_the_wall(written: str, prefix: str) -> None:
    assert job(acq_datetime=written).s3_prefix == f"ecephys_0012_{prefix}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("27.05.24 16:07", "2024-05-27T16:07:00 or 2027-05-24T16:07:00"),
        ("1/2/03 16:07", "2003-01-02T16:07:00, 2003-02-01T16:07:00 or 2001-02-03T16:07:00"),
    ],
)
def test_of_a_year_of_two_digits_every_reading_is_named(written: str, meant: str) -> None:
    assert only(acq_datetime=written).message.startswith(f"This could be {meant}.")


@pytest.mark.parametrize("subject", ["5-Dec", "12-Mar", "Mar-01", "Sep-12"])
def test_a_subject_that_excel_may_have_made_a_day_is_told(subject: str) -> None:
    jobs, problems = check(subject_id=subject)
    assert [found.subject_id for found in jobs] == [subject]
    assert [(problem.level, problem.found) for problem in problems] == [(Level.WARNING, subject)]


def test_a_time_zone_is_kept_with_the_time() -> None:
    zone = timezone(timedelta(hours=-7))
    assert job(acq_datetime="2024-05-27T16:07:59-07:00").acq_datetime == AT.replace(tzinfo=zone)


def test_a_date_without_a_time_is_midnight_with_a_warning() -> None:
    problem = warning(acq_datetime="2024-05-27")
    assert problem.suggestion == "2024-05-27T00:00:00"
    assert "midnight" in problem.message


@pytest.mark.parametrize(
    "written",
    [
        *("2020-10-10ABC", "tomorrow", "45352.43", "1602291661", "27.05.24 16:07", "5/27-2024 16:07:59"),
        *("31/31/2024", "30/2/2024", "5/27/2024 0:00:00 AM", "2024-02-30T00:00:00", "2024-05-27T24:00:00"),
        *("27 Ju 2024", "27 Jux 2024", "3/4/2024 16:07", "03.04.2024", "3-4-2024", "2024/05-27", "13:00"),
        *("2024-05-27T16:07:59+99:00", "0001-01-01T00:00:00", "2199-01-01T00:00:00", "9999-12-31T23:59:59-12:00"),
        *("2024-06-03T00:00:00", "٢٠٢٤-05-27", 1602291661, 1.5, ["2024-05-27"]),
    ],
)
def test_what_is_no_date_or_cannot_be_one_is_refused(written: Any) -> None:
    assert only(acq_datetime=written).place.column == "acq_datetime"


@pytest.mark.parametrize("written", ["3/4/2024 16:07", "03.04.2024 16:07", "3/4/2024 4:07 PM"])
def test_a_day_that_could_be_either_is_refused_with_both_named(written: str) -> None:
    problem = only(acq_datetime=written)
    assert "2024-03-04T16:07:00 or 2024-04-03T16:07:00" in problem.message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("45439.6722", "2024-05-27T16:07:58"), ("45439", "2024-05-27T00:00:00")),
        *((written, "2020-10-10T01:01:01Z") for written in ("1602291661", "1602291661.5", "1602291661000")),
    ],
)
def test_a_number_is_refused_with_the_day_it_may_be(written: str, meant: str) -> None:
    assert only(acq_datetime=written).suggestion == meant


def test_a_session_of_a_few_hours_ahead_is_taken_for_a_clock_that_differs() -> None:
    assert job(acq_datetime="2024-06-02T11:00:00").acq_datetime.day == 2


@pytest.mark.parametrize(
    "address",
    [
        "ana",
        "ana@",
        "@example.org",
        "ana@example",
        "a@b.c, d@e.f",
        "a b@c.d",
        "a@b.c\nBcc: x@y.z",
        "<a@b.c>",
        "x" * 65 + "@b.c",
    ],
)
def test_what_is_not_one_address_is_refused(address: str) -> None:
    assert only(user_email=address).place.column == "user_email"


@pytest.mark.parametrize(
    ("written", "types"),
    [
        ("begin", {"begin"}),
        ("begin;end  fail,RETRY", {"begin", "end", "fail", "retry"}),
        (["all"], {"all"}),
        ([], set()),
    ],
)
def test_mail_types_are_a_list_or_words(written: Any, types: set[str]) -> None:
    assert job(email_notification_types=written).email_types == types


@pytest.mark.parametrize("written", [["begin", 1], {"begin": True}, 3])
def test_mail_types_are_nothing_else(written: Any) -> None:
    assert only(email_notification_types=written).place.column == "email_notification_types"


def test_a_name_that_a_client_expects_differently_is_told() -> None:
    assert job(s3_prefix="ecephys_0012_2024-05-27_16-07-59")
    assert warning(s3_prefix="ecephys_12").suggestion == "ecephys_0012_2024-05-27_16-07-59"


# --- tasks -----------------------------------------------------------------------------------------------------------


def tasks(**written: Any) -> Any:
    return job(tasks=written).tasks


def test_both_names_of_a_task_are_read_as_one() -> None:
    assert tasks(register_data_asset={"skip_task": True}) == {"register_data_asset_to_codeocean": {"skip_task": True}}


def test_both_names_of_a_task_at_once_are_an_error() -> None:
    both = {"register_data_asset": {}, "register_data_asset_to_codeocean": {"skip_task": True}}
    assert "two names of one task" in only(tasks=both).message


def test_an_unknown_task_is_told_with_the_nearest_name_and_passed_over() -> None:
    problem = warning(tasks={"upload_data_to_s4": {"skip_task": True}})
    assert problem.suggestion == "upload_data_to_s3"


def test_an_unknown_field_of_a_task_is_told_and_passed_over() -> None:
    problem = warning(tasks={"upload_data_to_s3": {"skip_tsk": True}})
    assert problem.suggestion == "skip_task"


def test_only_what_was_set_is_kept() -> None:
    assert tasks(upload_data_to_s3={"image": None, "job_settings": {}}, compress_data=None) == {
        "upload_data_to_s3": {"job_settings": {}}
    }


@pytest.mark.parametrize(("written", "skip"), [("TRUE", True), ("false", False), (True, True)])
def test_skip_task_is_true_or_false(written: Any, skip: bool) -> None:
    assert tasks(upload_data_to_s3={"skip_task": written}) == {"upload_data_to_s3": {"skip_task": skip}}


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("skip_task", "yes"),
        ("skip_task", 1),
        ("image", ["x"]),
        ("image_version", 1.2),
        ("image_resources", "cpus=2"),
        ("job_settings", ["x"]),
        ("job_settings", "{}"),
        ("command_script", {"a": "b"}),
    ],
)
def test_a_field_of_a_task_has_its_type(field: str, written: Any) -> None:
    problem = only(tasks={"upload_data_to_s3": {field: written}})
    assert f"{field} must be " in problem.message


def test_resources_that_are_numbers_become_numbers_and_settings_stay_as_written() -> None:
    written = {"cpus": "6", "time_limit": {"set": "true", "number": "240"}, "array": "0-3", "tag": "0012", "x": ["1.5"]}
    found = tasks(compress_data={"image_resources": written, "job_settings": {"a": "6", "b": True, "c": 1.0}})
    assert found == {
        "compress_data": {
            "image_resources": {
                "cpus": 6,
                "time_limit": {"set": True, "number": 240},
                "array": "0-3",
                "tag": "0012",
                "x": [1.5],
            },
            "job_settings": {"a": "6", "b": True, "c": 1.0},
        }
    }


@pytest.mark.parametrize("name", ["input_source", "metadata_dir"])
def test_a_folder_is_named_by_text(name: str) -> None:
    assert only(tasks={"upload_data_to_s3": {"job_settings": {name: ["/a", "/b"]}}}).message.startswith(name)


def test_settings_of_a_modality_that_the_session_does_not_have_are_an_error() -> None:
    problem = only(tasks={"compress_data": {"behavior": {"skip_task": True}}})
    assert (problem.found, problem.suggestion) == ("behavior", None)
    assert "Known: ecephys, behavior-videos." in problem.message


def test_a_misspelt_modality_among_the_settings_is_an_error_with_the_right_one() -> None:
    problem = only(tasks={"modality_transformation_settings": {"ecepyhs": {"job_settings": {}}}})
    assert problem.suggestion == "ecephys"


def test_a_task_that_is_one_for_the_session_cannot_be_set_per_modality() -> None:
    assert "cannot be set per modality" in only(tasks={"upload_data_to_s3": {"ecephys": {}}}).message


def test_modality_settings_as_a_whole_can_only_be_switched_off() -> None:
    assert tasks(modality_transformation_settings={"skip_task": True}) == {
        "modality_transformation_settings": {"skip_task": True}
    }
    whole = {"modality_transformation_settings": {"job_settings": {"input_source": "/data"}}}
    assert "per modality" in only(tasks=whole).message


@pytest.mark.parametrize("written", [["a"], "a", {"compress_data": "x"}, {"compress_data": {"ecephys": "x"}}])
def test_tasks_are_mappings(written: Any) -> None:
    assert "must be a mapping" in only(tasks=written).message


# --- several rows ----------------------------------------------------------------------------------------------------


def test_two_rows_for_one_asset_are_refused_each_with_the_others_row() -> None:
    rows = [dataclasses.replace(row(), place=Place("s.csv", row=number)) for number in (2, 3, 7)]
    other = dataclasses.replace(row(s3_bucket="open"), place=Place("s.csv", row=9))
    jobs, problems = to_jobs([*rows, other], KNOWN)
    assert [found.row.place.row for found in jobs] == [9]
    assert [(problem.place.row, problem.message.split(" says ")[0]) for problem in problems] == [
        (2, "Row 3"),
        (3, "Row 2"),
        (7, "Row 2"),
    ]


def test_a_row_that_could_not_be_read_whole_yields_no_job_but_all_its_problems() -> None:
    jobs, problems = to_jobs([dataclasses.replace(row(job_type="x"), refused=True)], KNOWN)
    assert jobs == ()
    assert [problem.place.column for problem in problems] == ["job_type"]


def test_a_row_full_of_problems_ends_with_a_word_and_soon() -> None:
    jobs, problems = check(tasks={f"unknown {number}": {} for number in range(10_000)})
    assert jobs == ()
    assert len(problems) == 101
    assert problems[-1].level is Level.ERROR


def test_a_file_full_of_problems_is_refused_as_a_whole_and_soon() -> None:
    jobs, problems = to_jobs([row(job_type="x", platform="y") for _ in range(2000)], KNOWN)
    assert jobs == ()
    assert problems[-1].place == Place("s.yaml")
    assert "rows were not looked at" in problems[-1].message


def test_a_long_good_file_is_taken_and_what_is_odd_in_every_row_of_it_is_told_once_and_counted() -> None:
    known = dataclasses.replace(KNOWN, default_email=None)
    rows = [
        dataclasses.replace(row(subject_id=f"{number}", user_email=None), place=Place("s.csv", row=number))
        for number in range(2, 1002)
    ]
    jobs, problems = to_jobs(rows, known)
    assert len(jobs) == 1000
    assert {problem.level for problem in problems} == {Level.WARNING}
    assert [problem.place.row for problem in problems] == list(range(2, 23))
    assert problems[-1].message.endswith("It is the same 979 more times, down to row 1001.")
    lines = [dataclasses.replace(each, place=dataclasses.replace(each.place, file="s.json")) for each in rows]
    assert to_jobs(lines, known)[1][-1].message.endswith("down to line 1001.")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=10) | st.sampled_from(TASK_IDS), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ENTRY, "s3_prefix"]), json_values, max_size=5))
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_a_row_there_is_a_job_or_an_error(changes: dict[str, Any]) -> None:
    jobs, problems = to_jobs([Row(Place("s.json", row=1), {**ENTRY, **changes})], KNOWN)
    inside = [problem for problem in problems if problem.level is Level.ERROR and not problem.outside]
    assert len(jobs) == (0 if inside else 1)
    json.dumps([problem.as_json() for problem in problems])


# --- one table, every form -------------------------------------------------------------------------------------------


def without_row(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs without where they were written."""
    return [dataclasses.replace(found, row=row()) for found in jobs]


def jobs_of(found: Found) -> list[Job]:
    jobs, problems = to_jobs(found[0], KNOWN)
    assert (found[1], problems) == ((), ())
    return without_row(jobs)


@pytest.mark.parametrize("name", ["session.xlsx", "session.yaml", "session.json"])
def test_the_sample_manifests_of_every_type_ask_for_the_same_jobs(name: str) -> None:
    assert jobs_of(parse(SAMPLES / name, name, LIMITS)) == jobs_of(
        parse(SAMPLES / "session.csv", "session.csv", LIMITS)
    )


words = (
    st.text(alphabet="abcXYZ019 äé_-./'", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda word: word != "" and word.casefold() not in {"na", "nan", "none"})
)
sessions = st.lists(
    st.fixed_dictionaries(
        {
            "job_type": st.sampled_from(KNOWN.job_types),
            "project_name": st.sampled_from(KNOWN.projects),
            "subject_id": st.integers(0, 10**12).map(str)
            | st.from_regex(r"\A[A-Za-z0-9-]{1,12}\Z").filter(
                lambda subject: subject.casefold() not in {"na", "nan", "none", "null", "nil", "nat"}
            ),
            "acq_datetime": st.datetimes(datetime(2000, 1, 1), datetime(2024, 5, 1)).map(  # noqa: DTZ001
                lambda when: when.replace(microsecond=0)
            ),
            "platform": st.sampled_from(["", *PLATFORMS]),
            "user_email": st.sampled_from(["", "ana@example.org"]),
            "modality0": st.sampled_from(["ecephys", "SPIM"]),
            "modality0.input_source": words,
            "modality0.job_settings.note": words | st.integers(0, 10**9).map(str),
            "modality0.image_resources.cpus": st.integers(1, 64).map(str),
            "force_cloud_sync": st.sampled_from(["", "TRUE"]),
        }
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda session: session["subject_id"],
)


def as_csv(table: list[dict[str, Any]]) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(table[0]))
    writer.writeheader()
    writer.writerows({**session, "acq_datetime": session["acq_datetime"].isoformat()} for session in table)
    return written.getvalue().encode()


def as_workbook(table: list[dict[str, Any]]) -> bytes:
    """Write what looks like a number as a number, as somebody who types it into a sheet would."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(list(table[0]))
    for session in table:
        sheet.append([as_typed(name, session[name]) for name in table[0]])
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def as_typed(name: str, value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value)) == value:
        return int(value)
    return True if name == "force_cloud_sync" and value else value or None


def as_yaml(table: list[dict[str, Any]]) -> bytes:
    return yaml.safe_dump({"upload_jobs": [as_job(session) for session in table]}, allow_unicode=True).encode()


def as_short_yaml(table: list[dict[str, Any]]) -> bytes:
    """The columns of the table as keys."""
    return yaml.safe_dump({"upload_jobs": [as_columns(session) for session in table]}, allow_unicode=True).encode()


def as_short_json(table: list[dict[str, Any]]) -> bytes:
    return json.dumps({"upload_jobs": [as_columns(session) for session in table]}).encode()


def as_columns(session: dict[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in session.items() if value}
    settings = {name: typed(value) for name, value in filled.items() if "_settings." in name or "_resources." in name}
    return {**filled, **settings, "acq_datetime": session["acq_datetime"].isoformat()}


def as_job(session: dict[str, Any]) -> dict[str, Any]:
    modality = session["modality0"]
    task = {
        "job_settings": {
            "input_source": session["modality0.input_source"],
            "note": typed(session["modality0.job_settings.note"]),
        },
        "image_resources": {"cpus": int(session["modality0.image_resources.cpus"])},
    }
    tasks: dict[str, Any] = {"modality_transformation_settings": {modality: task}}
    if session["force_cloud_sync"]:
        tasks["check_s3_folder_exists"] = {"skip_task": True}
    plain = {name: session[name] for name in ("job_type", "project_name", "subject_id", "platform", "user_email")}
    when = session["acq_datetime"].isoformat()
    return {**plain, "acq_datetime": when, "modalities": [modality], "tasks": tasks}


@given(sessions)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=NO_SHRINKING)
def test_the_same_table_as_csv_workbook_and_yaml_asks_for_the_same_jobs(table: list[dict[str, Any]]) -> None:
    from_csv = jobs_of(text.read(as_csv(table), "s.csv", LIMITS))
    assert [found.subject_id for found in from_csv] == [session["subject_id"] for session in table]
    assert jobs_of(workbook.read(as_workbook(table), "s.xlsx", LIMITS)) == from_csv
    assert jobs_of(document.read(as_yaml(table), "s.yaml", LIMITS)) == from_csv
    assert jobs_of(document.read(as_short_yaml(table), "s.yaml", LIMITS)) == from_csv
    assert jobs_of(document.read(as_short_json(table), "s.json", LIMITS)) == from_csv


# --- what users have -------------------------------------------------------------------------------------------------


def shared(name: str) -> Found:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return parse(path, path.name, LIMITS)


def cells(found: Found) -> list[tuple[str, str | None, str | None]]:
    """Return the errors of a file by cell, or by column where there is no cell, with the suggestion."""
    _, problems = to_jobs(found[0], dataclasses.replace(KNOWN, now=datetime(2026, 1, 1, tzinfo=timezone.utc)))
    errors = [problem for problem in (*found[1], *problems) if problem.level is Level.ERROR]
    return [
        (problem.place.cell or str(problem.place.row), problem.place.column, problem.suggestion) for problem in errors
    ]


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        (
            "upstream/new_sample.csv",
            [
                "ecephys_123454_2020-10-10_14-10-10",
                "behavior_123456_2020-10-13_13-10-10",
                "behavior_123456_2020-10-13_13-10-10",
            ],
        ),
        ("upstream/nested_sample.csv", ["ecephys_123454_2020-10-10_14-10-10"]),
        ("upstream/legacy_sample2.csv", ["behavior_123456_2020-10-13_13-10-10"]),
        (
            "upstream/job_upload_template.xlsx",
            [
                "behavior_123456_2023-10-04_04-00-00",
                "SmartSPIM_654321_2023-03-04_16-30-00",
                "ecephys_654321_2023-01-30_19-01-00",
            ],
        ),
        ("payloads/basic_upload.json", ["ecephys_655019_2023-04-03_18-17-07"]),
        ("payloads/skip_s3_check.json", ["ecephys_655019_2023-04-03_18-17-07"]),
        ("payloads/upload_with_custom_slurm_settings.json", ["ecephys_655019_2023-04-03_18-17-07"]),
        ("payloads/upload_with_notification.json", ["ecephys_655019_2023-04-03_18-17-07"]),
    ],
)
def test_a_sample_that_upstream_takes_is_taken(name: str, prefixes: list[str]) -> None:
    found = shared(name)
    jobs, problems = to_jobs(found[0], KNOWN)
    assert [problem for problem in (*found[1], *problems) if problem.level is Level.ERROR] == []
    assert [found.s3_prefix for found in jobs] == prefixes


def test_the_settings_of_the_samples_arrive_where_upstream_puts_them() -> None:
    nested = to_jobs(shared("upstream/nested_sample.csv")[0], KNOWN)[0][0]
    assert nested.tasks["modality_transformation_settings"]["ecephys"]["job_settings"] == {
        "input_source": "dir/data_set_1",
        "compression_requested": {"compression_enum": "gamma fix colorspace"},
    }
    legacy = to_jobs(shared("upstream/legacy_sample2.csv")[0], KNOWN)[0][0]
    assert legacy.tasks["codeocean_pipeline_settings"] == {
        "behavior-videos": {
            "job_settings": {
                "pipeline_monitor_settings": {"run_params": {"pipeline_id": "1f999652-00a0-4c4b-99b5-64c2985ad070"}}
            }
        }
    }


def test_the_payload_of_another_project_is_well_formed() -> None:
    found = shared("payloads/custom_metadata_mapper_settings.json")
    jobs, problems = to_jobs(found[0], KNOWN)
    assert [found.s3_prefix for found in jobs] == ["single-plane-ophys_784746_2020-04-25_16-41-00"]
    assert [(problem.place.column, problem.outside) for problem in problems] == [("upload_jobs.0.project_name", True)]


UPPER = [
    ("B1", "process_capsule_id", None),
    ("2", "job_type", None),
    ("C2", "modality0", "ecephys"),
    ("G2", "s3_bucket", None),
    ("3", "job_type", None),
    ("I3", "platform", "behavior"),
    ("C3", "modality0", "behavior-videos"),
    ("4", "job_type", None),
    ("I4", "platform", "behavior"),
    ("C4", "modality0", "behavior-videos"),
    ("E4", "modality1", None),
    ("G4", "s3_bucket", None),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("legacy_sample.csv", [("D4", "modality1", None)]),
        ("sample_malformed_2.csv", [("2", "job_type", None), ("G2", "acq_datetime", None)]),
        ("sample.csv", UPPER),
        ("sample.xlsx", UPPER),
        ("sample_malformed.xlsx", [*UPPER[:6], ("C3", "modality0", None), *UPPER[7:]]),
    ],
)
def test_a_sample_with_errors_is_told_by_its_cells(name: str, expected: list[tuple[str, str, str | None]]) -> None:
    assert cells(shared(f"upstream/{name}")) == expected


def test_the_platforms_and_modalities_are_those_of_the_data() -> None:
    assert len(PLATFORMS) == 16
    assert {"ecephys", "behavior", "behavior-videos", "SPIM", "pophys"} <= set(MODALITIES)


def test_rows_that_say_the_same_and_rows_of_one_session_are_told_with_the_place_of_the_other() -> None:
    same = [dataclasses.replace(row(), place=Place("s.yaml", row=line)) for line in (1, 9)]
    other = dataclasses.replace(row(job_type="default"), place=Place("s.yaml", row=20))
    _, problems = to_jobs([*same, other], KNOWN)
    name = "ecephys_0012_2024-05-27_16-07-59"
    assert [(problem.place.row, problem.message.partition(".")[0]) for problem in problems] == [
        (1, f"Row 9 says the same, {name}"),
        (9, f"Row 1 says the same, {name}"),
        (20, f"Row 1 is the same session, {name}"),
    ]
