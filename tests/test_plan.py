"""Job and presets become a plan: order, merging with the origin of each value, skipping, allocations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropbox_agent import plan
from dropbox_agent.model import (
    Container,
    Job,
    JobStanding,
    JobType,
    Level,
    Place,
    Plan,
    PlannedTask,
    Presets,
    Problem,
    Row,
    SourceFolder,
    TaskSettings,
)
from dropbox_agent.states import JobState

PREFIX = "ecephys_123456_2024-05-27_16-07-59"
TAKEN = datetime(2024, 5, 27, 16, 7, 59)  # noqa: DTZ001 - the wall clock, as the manifest has it
BUCKETS = {"default": "file:///srv/bucket", "open": "file:///srv/open/"}
ROW = Row(Place("session.csv", row=2), {})
SETTINGS = "modality_transformation_settings"
Tasks = Mapping[str, Any]

IN_ORDER = (
    "send_job_start_email",
    "check_s3_folder_exists",
    "check_source_folders_exist",
    "create_staging_folder",
    "gather_preliminary_metadata",
    "modality_transformation_settings",
    "compress_data",
    "copy_derivatives_folder",
    "gather_final_metadata",
    "check_metadata_files",
    "upload_data_to_s3",
    "register_data_asset_to_codeocean",
    "update_docdb_record",
    "codeocean_pipeline_settings",
    "run_codeocean_pipeline",
    "remove_staging_folder",
    "remove_source_folders",
    "send_job_end_email",
)


def a_job(
    tasks: Tasks | None = None,
    *,
    job_type: str = "ecephys",
    modalities: tuple[str, ...] = ("ecephys",),
    row: Row = ROW,
    bucket: str = "default",
    sources: bool = True,
) -> Job:
    """A job whose modalities have a source each, in a manifest that sets ``tasks`` besides."""
    named = {m: {"job_settings": {"input_source": f"/data/{m}"}} for m in modalities} if sources else {}
    given = {SETTINGS: named, **(tasks or {})} if named else dict(tasks or {})
    return Job(
        row=row,
        job_type=job_type,
        project_name="Project",
        subject_id="123456",
        acq_datetime=TAKEN,
        platform="ecephys",
        modalities=modalities,
        bucket=bucket,
        s3_prefix=PREFIX,
        user_email=None,
        email_types=frozenset({"fail"}),
        tasks=given,
    )


def a_type(name: str, tasks: Mapping[tuple[str, str | None], Tasks], inherits: str | None = None) -> JobType:
    return JobType(name, "", inherits, tasks)


def stored(*job_types: JobType, broken: Mapping[str, str] | None = None) -> Presets:
    return Presets({one.name: one for one in job_types}, broken or {})


NOTHING = stored(a_type("ecephys", {}))


def expanded(job: Job, presets: Presets = NOTHING, **site: Any) -> Plan:
    made, problems = plan.expand(job, presets, BUCKETS, **site)
    assert problems == ()
    assert made is not None
    return made


def problems_of(job: Job, presets: Presets = NOTHING, **site: Any) -> tuple[Problem, ...]:
    return plan.expand(job, presets, BUCKETS, **site)[1]


def skips(made: Plan) -> dict[str, str]:
    return {task.key: task.skip for task in made.tasks if task.skip is not None}


# --- the pipeline ----------------------------------------------------------------------------------------------------


def test_the_pipeline_is_the_tasks_of_the_user_guide_and_the_derivatives_in_their_order() -> None:
    assert tuple(step.task_id for step in plan.PIPELINE) == IN_ORDER


def test_every_step_stands_after_what_it_needs() -> None:
    for number, step in enumerate(plan.PIPELINE):
        assert {*step.needs} <= {*IN_ORDER[:number]}


def test_both_sets_of_task_names_are_known() -> None:
    assert plan.task_ids() == {name: name for name in IN_ORDER} | {
        "compress_data/submit_job": "compress_data",
        "compress_data/monitor_job": "compress_data",
        "register_data_asset": "register_data_asset_to_codeocean",
        "get_codeocean_asset_id": "update_docdb_record",
    }


def test_removing_the_staging_folder_does_not_wait_for_code_ocean() -> None:
    (step,) = (step for step in plan.PIPELINE if step.task_id == "remove_staging_folder")
    assert step.needs == ("upload_data_to_s3",)


def test_a_job_with_two_modalities_as_a_whole() -> None:
    made = expanded(a_job(modalities=("ecephys", "behavior")), stored(a_type("ecephys", {})))
    assert (made.job_type, made.s3_prefix, made.bucket) == ("ecephys", PREFIX, "default")
    assert made.location == f"file:///srv/bucket/{PREFIX}"
    assert [(task.key, task.needs, task.allocation) for task in made.tasks] == [
        ("send_job_start_email", (), None),
        ("check_s3_folder_exists", ("send_job_start_email",), 1),
        ("check_source_folders_exist", ("check_s3_folder_exists",), 1),
        ("create_staging_folder", ("check_source_folders_exist",), 1),
        ("gather_preliminary_metadata", ("create_staging_folder",), 1),
        ("modality_transformation_settings", (), None),
        ("compress_data[ecephys]", ("gather_preliminary_metadata", "modality_transformation_settings"), 2),
        ("compress_data[behavior]", ("gather_preliminary_metadata", "modality_transformation_settings"), 3),
        ("copy_derivatives_folder", (), None),
        ("gather_final_metadata", ("compress_data[ecephys]", "compress_data[behavior]"), 4),
        ("check_metadata_files", ("gather_final_metadata",), 4),
        ("upload_data_to_s3", ("check_metadata_files",), 4),
        ("register_data_asset_to_codeocean", (), None),
        ("update_docdb_record", (), None),
        ("codeocean_pipeline_settings", (), None),
        ("run_codeocean_pipeline", (), None),
        ("remove_staging_folder", ("upload_data_to_s3",), 4),
        ("remove_source_folders", (), None),
        ("send_job_end_email", (), None),
    ]
    assert skips(made) == {
        "copy_derivatives_folder": "No derivatives_dir was given.",
        "register_data_asset_to_codeocean": "Code Ocean is not configured (codeocean.domain in agent.yaml).",
        "update_docdb_record": "DocDB is not configured (docdb.host in agent.yaml).",
        "run_codeocean_pipeline": "Code Ocean is not configured (codeocean.domain in agent.yaml).",
        "remove_source_folders": "Not asked for: the source folders stay unless skip_task: false and"
        " job_settings.dry_run: false are both set (dry_run: true only shows what would be removed).",
    }


def test_an_address_with_a_slash_at_its_end_gives_no_double_slash() -> None:
    assert expanded(a_job(bucket="open")).location == f"file:///srv/open/{PREFIX}"


def test_a_bucket_nobody_knows_is_left_to_validate_and_the_plan_is_still_shown() -> None:
    assert expanded(a_job(bucket="ghost")).location == f"ghost/{PREFIX}"


# --- merging ---------------------------------------------------------------------------------------------------------

COMPRESS = (SETTINGS, "ecephys")


def compress(tasks: Tasks | None, *job_types: JobType, job_type: str = "ecephys") -> PlannedTask:
    return expanded(a_job(tasks, job_type=job_type), stored(*job_types)).task("compress_data[ecephys]")


def test_the_manifest_lies_over_the_job_type_and_each_value_knows_its_origin() -> None:
    preset = {
        "image": "img",
        "image_version": "1",
        "job_settings": {"level": 1, "tags": ["a", "b"], "deep": {"x": 1, "y": 2}},
    }
    manifest = {"image_version": "2", "job_settings": {"input_source": "/d", "tags": ["c"], "deep": {"y": 3}}}
    task = compress({SETTINGS: {"ecephys": manifest}}, a_type("ecephys", {COMPRESS: preset}))
    assert task.settings == {
        "image": "img",
        "image_version": "2",
        "job_settings": {"level": 1, "tags": ["c"], "deep": {"x": 1, "y": 3}, "input_source": "/d"},
    }
    assert task.origin == {
        "image": "ecephys",
        "image_version": "manifest",
        "job_settings.level": "ecephys",
        "job_settings.tags": "manifest",
        "job_settings.deep.x": "ecephys",
        "job_settings.deep.y": "manifest",
        "job_settings.input_source": "manifest",
    }


def test_a_task_the_job_type_does_not_set_is_taken_from_default() -> None:
    default = a_type("default", {COMPRESS: {"image": "theirs"}, ("check_metadata_files", None): {"image": "check"}})
    own = a_type("ecephys", {COMPRESS: {"image_version": "1"}})
    made = expanded(a_job(), stored(default, own))
    assert made.task("compress_data[ecephys]").settings == {
        "image_version": "1",
        "job_settings": {"input_source": "/data/ecephys"},
    }
    assert made.task("check_metadata_files").settings == {"image": "check"}
    assert made.task("check_metadata_files").origin == {"image": "default"}


def test_the_fallback_is_for_each_modality_alone() -> None:
    default = a_type("default", {COMPRESS: {"image": "e"}, (SETTINGS, "behavior"): {"image": "b"}})
    own = a_type("ecephys", {COMPRESS: {"image": "own"}})
    made = expanded(a_job(modalities=("ecephys", "behavior")), stored(default, own))
    assert made.task("compress_data[ecephys]").settings["image"] == "own"
    assert made.task("compress_data[behavior]").settings["image"] == "b"


def test_inheriting_merges_value_by_value_and_the_child_wins() -> None:
    grandparent = a_type("lab", {COMPRESS: {"image": "g", "job_settings": {"a": 1, "b": 1, "c": 1}}})
    parent = a_type("ephys", {COMPRESS: {"job_settings": {"b": 2, "c": 2}}}, inherits="lab")
    child = a_type("ecephys", {COMPRESS: {"job_settings": {"c": 3}}}, inherits="ephys")
    task = compress(None, grandparent, parent, child)
    assert task.settings == {"image": "g", "job_settings": {"a": 1, "b": 2, "c": 3, "input_source": "/data/ecephys"}}
    assert task.origin == {
        "image": "lab",
        "job_settings.a": "lab",
        "job_settings.b": "ephys",
        "job_settings.c": "ecephys",
        "job_settings.input_source": "manifest",
    }


@pytest.mark.parametrize("job_type", ["custom", "Custom", " CUSTOM "])
def test_custom_takes_no_presets_at_all(job_type: str) -> None:
    default = a_type("default", {COMPRESS: {"image": "theirs"}})
    own = a_type(job_type, {COMPRESS: {"image": "own"}})
    assert compress(None, default, own, job_type=job_type).settings == {
        "job_settings": {"input_source": "/data/ecephys"}
    }


def test_compress_data_has_its_own_settings_below_those_of_the_modality() -> None:
    own = a_type(
        "ecephys", {("compress_data", None): {"image": "base", "image_version": "1"}, COMPRESS: {"image": "e"}}
    )
    task = compress(None, own)
    assert task.settings["image"] == "e"
    assert task.settings["image_version"] == "1"


def test_a_resource_that_no_cluster_knows_is_a_problem_in_its_cell_with_the_nearest_name() -> None:
    cell = Place("session.csv", None, 2, "modality0.image_resources.memory_per_cpus", "H2")
    path = f"tasks.{SETTINGS}.ecephys.image_resources.memory_per_cpus"
    resources = {"memory_per_cpus": 6000, "open_mode": "append"}
    tasks = {
        SETTINGS: {"ecephys": {"job_settings": {"input_source": "/d"}, "image_resources": resources}},
        "upload_data_to_s3": {"image_resources": {"priority": 9}},
    }
    preset = a_type("ecephys", {COMPRESS: {"image_resources": {"comment": "y", "name": "x"}}})
    found = problems_of(a_job(tasks, row=Row(ROW.place, {}, {path: cell})), stored(preset))
    assert found == (
        Problem(
            Level.ERROR,
            cell,
            "memory_per_cpus in image_resources of compress_data[ecephys], set by the manifest, is not a property of a"
            " job; did you mean memory_per_cpu?",
            "6000",
            "memory_per_cpu",
        ),
        Problem(
            Level.WARNING,
            ROW.place,
            "open_mode in image_resources of compress_data[ecephys], set by the manifest, is decided by this service;"
            " it is passed over.",
            "append",
        ),
        Problem(
            Level.ERROR,
            ROW.place,
            "priority in image_resources of upload_data_to_s3, set by the manifest, is for operators: only a preset may"
            " set it.",
            "9",
        ),
    )


def test_resources_that_exclude_each_other_only_once_merged_are_a_problem() -> None:
    preset = a_type("ecephys", {COMPRESS: {"image_resources": {"memory_per_cpu": {"set": True, "number": 4000}}}})
    (found,) = problems_of(a_job({SETTINGS: {"ecephys": {
        "job_settings": {"input_source": "/d"}, "image_resources": {"memory": "16G"},
    }}}), stored(preset))  # fmt: skip
    assert found.message == (
        "memory_per_cpu in image_resources of compress_data[ecephys], set by the job type ecephys, and memory exclude"
        " each other; keep one."
    )


def test_null_leaves_what_is_there() -> None:
    own = a_type("ecephys", {COMPRESS: {"image": "i", "job_settings": {"a": {"b": 1}, "none": None}}})
    manifest = {
        "image": None,
        "image_resources": None,
        "job_settings": {"a": None, "none": {"c": 1}, "input_source": "/d"},
    }
    assert compress({SETTINGS: {"ecephys": manifest}}, own).settings == {
        "image": "i",
        "job_settings": {"a": {"b": 1}, "none": {"c": 1}, "input_source": "/d"},
    }


def test_a_preset_without_settings_does_not_stop_a_job_that_has_some() -> None:
    assert compress(None, a_type("ecephys", {COMPRESS: {"job_settings": None}})).settings == {
        "job_settings": {"input_source": "/data/ecephys"}
    }


def test_an_empty_group_changes_nothing_and_is_kept_where_nothing_was() -> None:
    own = a_type("ecephys", {COMPRESS: {"job_settings": {"a": {"b": 1}}}})
    task = compress({SETTINGS: {"ecephys": {"job_settings": {"a": {}, "new": {}, "input_source": "/d"}}}}, own)
    assert task.settings["job_settings"] == {"a": {"b": 1}, "new": {}, "input_source": "/d"}
    assert task.origin["job_settings.new"] == "manifest"
    assert "job_settings.a" not in task.origin


def test_merging_leaves_the_presets_as_they_are() -> None:
    preset = {"job_settings": {"deep": {"list": [1]}}}
    own = a_type("ecephys", {COMPRESS: preset})
    task = compress({SETTINGS: {"ecephys": {"job_settings": {"deep": {"more": 1}, "input_source": "/d"}}}}, own)
    task.settings["job_settings"]["deep"]["list"].append(2)
    assert preset == {"job_settings": {"deep": {"list": [1]}}}


@pytest.mark.parametrize(
    ("preset", "manifest", "message"),
    [
        (
            {"codec": {"level": 3}},
            {"codec": "zstd"},
            "job_settings.codec of compress_data[ecephys]: the manifest gives text where the job type ecephys has"
            " a group of settings. Write a group of settings.",
        ),
        (
            {"codec": "zstd"},
            {"codec": {"level": 3}},
            "job_settings.codec of compress_data[ecephys]: the manifest gives a group of settings where the job type"
            " ecephys has text. Write text.",
        ),
    ],
)
def test_a_group_that_meets_a_plain_value_is_a_problem_with_the_cell(preset: Any, manifest: Any, message: str) -> None:
    cell = Place("session.csv", row=2, column="modality0.codec", cell="H2")
    row = Row(ROW.place, {}, {f"tasks.{SETTINGS}.ecephys.job_settings.codec": cell})
    tasks = {SETTINGS: {"ecephys": {"job_settings": {"input_source": "/d", **manifest}}}}
    made, problems = plan.expand(
        a_job(tasks, row=row), stored(a_type("ecephys", {COMPRESS: {"job_settings": preset}})), BUCKETS
    )
    assert made is None
    assert [(problem.level, problem.place, problem.message) for problem in problems] == [(Level.ERROR, cell, message)]


def test_a_default_that_cannot_be_used_stops_the_jobs_that_fall_back_on_it_but_not_custom() -> None:
    presets = stored(a_type("ecephys", {}), a_type("custom", {}), broken={"default": "default.yaml, line 3: bad."})
    made, problems = plan.expand(a_job(), presets, BUCKETS)
    assert made is None
    assert [problem.message for problem in problems] == [
        'The job type "default", from which ecephys takes what it does not set itself, cannot be used: default.yaml,'
        " line 3: bad. Ask whoever looks after this service."
    ]
    assert expanded(a_job(job_type="custom"), presets).job_type == "custom"


def test_a_folder_of_job_types_without_default_falls_back_on_nothing() -> None:
    assert expanded(a_job(), stored(a_type("ecephys", {}))).task("check_metadata_files").settings == {}


def test_the_hash_tells_the_presets_used_and_no_others() -> None:
    def hashed(*job_types: JobType, job_type: str = "ecephys") -> str:
        return expanded(a_job(job_type=job_type), stored(*job_types)).preset_hash

    own, parent = a_type("ecephys", {}, inherits="lab"), a_type("lab", {COMPRESS: {"image": "a"}})
    before = hashed(own, parent)
    assert hashed(own, parent, a_type("other", {COMPRESS: {"image": "x"}})) == before
    assert hashed(a_type("ecephys", {}, inherits="lab"), parent) == before
    assert hashed(own, a_type("lab", {COMPRESS: {"image": "b"}})) != before
    assert hashed(own, parent, a_type("default", {COMPRESS: {"image": "x"}})) != before
    custom = a_type("custom", {})
    assert hashed(custom, job_type="custom") == hashed(custom, own, parent, job_type="custom")


# --- skipping --------------------------------------------------------------------------------------------------------


def test_naming_a_task_never_switches_on_what_a_preset_switched_off() -> None:
    off = a_type("ecephys", {("check_metadata_files", None): {"skip_task": True}})
    named = expanded(a_job({"check_metadata_files": {"job_settings": {"x": 1}}}), stored(off))
    assert named.task("check_metadata_files").skip == "Switched off by the job type ecephys."
    on = expanded(a_job({"check_metadata_files": {"skip_task": False}}), stored(off))
    assert on.task("check_metadata_files").skip is None


def test_a_skipped_task_is_replaced_by_what_it_needs() -> None:
    off = {"skip_task": True}
    made = expanded(
        a_job({"check_source_folders_exist": off, "create_staging_folder": off, "check_metadata_files": off})
    )
    assert made.task("check_source_folders_exist").skip == "Switched off by the manifest."
    assert made.task("check_source_folders_exist").allocation is None
    assert made.task("gather_preliminary_metadata").needs == ("check_s3_folder_exists",)
    assert made.task("upload_data_to_s3").needs == ("gather_final_metadata",)


def test_one_modality_can_be_left_out_and_then_needs_no_source() -> None:
    sources = {"ecephys": {"job_settings": {"input_source": "/d"}}, "behavior": {"skip_task": True}}
    made = expanded(a_job({SETTINGS: sources}, modalities=("ecephys", "behavior")))
    assert made.task("compress_data[behavior]").skip == "Switched off by the manifest."
    assert made.task("gather_final_metadata").needs == (
        "compress_data[ecephys]",
        "gather_preliminary_metadata",
        "modality_transformation_settings",
    )
    assert made.source_folders() == (SourceFolder("compress_data[ecephys]", "ecephys", "input_source", "/d"),)


def test_one_skip_task_for_all_modalities_skips_them_all() -> None:
    made = expanded(a_job({SETTINGS: {"skip_task": True}}, modalities=("ecephys", "behavior")))
    for key in (SETTINGS, "compress_data[ecephys]", "compress_data[behavior]"):
        assert made.task(key).skip == "Switched off by the manifest."
    assert made.task("gather_final_metadata").needs == ("gather_preliminary_metadata",)
    assert made.task("gather_final_metadata").allocation == made.task("gather_preliminary_metadata").allocation


def test_only_modalities_with_code_ocean_settings_get_a_pipeline_task() -> None:
    pipeline = {"behavior": {"job_settings": {"pipeline_monitor_settings": {"run_params": {"pipeline_id": "p"}}}}}
    made = expanded(a_job({"codeocean_pipeline_settings": pipeline}, modalities=("ecephys", "behavior")))
    keys = [task.key for task in made.tasks if task.task_id == "run_codeocean_pipeline"]
    assert keys == ["run_codeocean_pipeline[behavior]"]
    assert made.task(keys[0]).settings == pipeline["behavior"]
    assert made.task(keys[0]).origin == {"job_settings.pipeline_monitor_settings.run_params.pipeline_id": "manifest"}


@pytest.mark.parametrize(
    ("removal", "allowed", "reason"),
    [
        ({}, True, "Not asked for"),
        # Upstream's clients send the first by themselves.
        ({"skip_task": False}, True, "Not asked for"),
        ({"job_settings": {"dry_run": False}}, True, "Not asked for"),
        ({"skip_task": False, "job_settings": {"dry_run": True}}, False, "This site does not let jobs remove"),
        ({"skip_task": False, "job_settings": {"dry_run": None}}, True, "Not asked for"),
        ({"skip_task": False, "job_settings": {"dry_run": 0}}, True, "Not asked for"),
        ({"skip_task": True, "job_settings": {"dry_run": False}}, True, "Switched off by the manifest."),
        ({"skip_task": False, "job_settings": {"dry_run": False}}, False, "This site does not let jobs remove"),
    ],
)
def test_source_folders_stay_and_the_plan_says_why(removal: Tasks, allowed: bool, reason: str) -> None:
    made = expanded(a_job({"remove_source_folders": removal}), source_removal=allowed)
    assert (made.task("remove_source_folders").skip or "").startswith(reason)


@pytest.mark.parametrize("dry_run", [True, False, "false"])
def test_source_folders_are_removed_or_shown_where_job_and_site_both_say_so(dry_run: object) -> None:
    asked = {"remove_source_folders": {"skip_task": False, "job_settings": {"dry_run": dry_run}}}
    task = expanded(a_job(asked), source_removal=True).task("remove_source_folders")
    assert (task.skip, task.needs) == (None, ("upload_data_to_s3",))


def test_source_folders_stay_when_nothing_is_uploaded() -> None:
    asked = {"remove_source_folders": {"skip_task": False, "job_settings": {"dry_run": False}}}
    made = expanded(a_job({**asked, "upload_data_to_s3": {"skip_task": True}}), source_removal=True)
    assert made.task("remove_source_folders").skip == "Nothing is uploaded, so nothing may be removed."


def test_derivatives_are_copied_when_there_is_a_folder_of_them() -> None:
    made = expanded(a_job({"copy_derivatives_folder": {"job_settings": {"input_source": "/derived"}}}))
    assert made.task("copy_derivatives_folder").needs == ("compress_data[ecephys]",)
    assert made.task("gather_final_metadata").needs == ("copy_derivatives_folder",)
    assert SourceFolder("copy_derivatives_folder", None, "input_source", "/derived") in made.source_folders()


# --- allocations -----------------------------------------------------------------------------------------------------


def allocations(tasks: Tasks) -> dict[str, int | None]:
    return {task.key: task.allocation for task in expanded(a_job(tasks)).tasks if task.allocation is not None}


def test_a_task_with_other_resources_has_an_allocation_of_its_own() -> None:
    own = {"check_source_folders_exist": {"image_resources": {"minimum_cpus_per_node": 8}}}
    numbers = allocations(own)
    assert [numbers[name] for name in IN_ORDER[1:5]] == [1, 2, 3, 3]


def test_a_task_with_an_image_has_an_allocation_of_its_own() -> None:
    numbers = allocations({"create_staging_folder": {"image": "img"}})
    assert [numbers[name] for name in IN_ORDER[1:5]] == [1, 1, 2, 3]


def test_no_resources_and_empty_ones_are_equal() -> None:
    numbers = allocations({"create_staging_folder": {"image_resources": {}}})
    assert [numbers[name] for name in IN_ORDER[1:5]] == [1, 1, 1, 1]


# --- paths -----------------------------------------------------------------------------------------------------------

PATH_MAP = {
    r"\\server\share": "/mnt/share",
    r"\\Server\share\lab": "/mnt/lab/",
    "Z:\\": "/mnt/z",
    "/old/root": "/new/root",
    "dir": "/data/dir",
}


@pytest.mark.parametrize(
    ("written", "here"),
    [
        (r"\\server\share\x\y", "/mnt/share/x/y"),
        ("//server/share/x/y", "/mnt/share/x/y"),
        (r"\\SERVER\Share\x", "/mnt/share/x"),
        (r"\\server\share", "/mnt/share"),
        (r"\\server\sharesmore\x", r"\\server\sharesmore\x"),
        (r"\\server\share\LAB\x", "/mnt/lab/x"),
        (r"\\server\share\..\x", "/mnt/share/../x"),
        (r"z:\My Data\a", "/mnt/z/My Data/a"),
        ("Z:/a", "/mnt/z/a"),
        ("Z:", "/mnt/z"),
        (r"Y:\a", r"Y:\a"),
        ("Z:a", "Z:a"),
        ("/old/root/a", "/new/root/a"),
        ("/old/rooted/a", "/old/rooted/a"),
        ("/Old/root/a", "/Old/root/a"),
        ("old/root/a", "old/root/a"),
        (r"/old/root/a\b", r"/new/root/a\b"),
        ("dir/set_1", "/data/dir/set_1"),
        ("/dir/set_1", "/dir/set_1"),
        ("/elsewhere", "/elsewhere"),
        ("", ""),
    ],
)
def test_a_path_is_mapped_by_its_longest_known_beginning(written: str, here: str) -> None:
    assert plan.map_path(written, PATH_MAP) == here


def test_every_folder_of_a_job_is_mapped_and_keeps_its_origin() -> None:
    tasks = {
        SETTINGS: {"ecephys": {"job_settings": {"input_source": r"Z:\e"}}},
        "gather_preliminary_metadata": {"job_settings": {"metadata_dir": r"\\server\share\meta"}},
        "copy_derivatives_folder": {"job_settings": {"input_source": "/old/root/d"}},
    }
    made = expanded(a_job(tasks), path_map=PATH_MAP)
    assert made.source_folders() == (
        SourceFolder("gather_preliminary_metadata", None, "metadata_dir", "/mnt/share/meta"),
        SourceFolder("compress_data[ecephys]", "ecephys", "input_source", "/mnt/z/e"),
        SourceFolder("copy_derivatives_folder", None, "input_source", "/new/root/d"),
    )
    assert made.task("compress_data[ecephys]").origin == {"job_settings.input_source": "manifest"}


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_a_modality_without_a_source_names_the_column_to_fill() -> None:
    cell = Place("session.csv", row=2, column="modality1", cell="F2")
    row = Row(ROW.place, {}, {"modalities.1": cell})
    tasks = {SETTINGS: {"ecephys": {"job_settings": {"input_source": "/d"}}}}
    assert problems_of(a_job(tasks, modalities=("ecephys", "behavior"), row=row)) == (
        Problem(
            Level.ERROR,
            cell,
            "No source folder is given for behavior. Fill the column modality1.input_source.",
            found="behavior",
        ),
    )


def test_a_modality_without_a_source_in_a_document_names_the_key_to_set() -> None:
    (problem,) = problems_of(a_job(sources=False))
    assert problem.message == (
        "No source folder is given for ecephys."
        " Set tasks.modality_transformation_settings.ecephys.job_settings.input_source."
    )


def test_all_problems_are_told_at_once() -> None:
    found = problems_of(a_job({"check_metadata_files": {"command_script": "x"}}, modalities=("a", "b"), sources=False))
    assert len(found) == 3


@pytest.mark.parametrize("given", [7, ["/a", "/b"], True, {"path": "/a"}])
def test_a_source_that_is_no_text_is_refused(given: Any) -> None:
    (problem,) = problems_of(a_job({SETTINGS: {"ecephys": {"job_settings": {"input_source": given}}}}))
    assert problem.message.startswith("input_source of compress_data[ecephys] is ")


@pytest.mark.parametrize(
    "value",
    ["half \ud800", float("nan"), float("inf"), datetime(2024, 1, 1), {1, 2}, b"bytes"],  # noqa: DTZ001
)
def test_a_value_no_settings_file_can_hold_is_refused_before_anything_is_recorded(value: Any) -> None:
    made, problems = plan.expand(
        a_job({"upload_data_to_s3": {"job_settings": {"odd": [{"deep": value}]}}}), NOTHING, BUCKETS
    )
    assert made is None
    assert [problem.message.startswith("job_settings.odd.deep of upload_data_to_s3 ") for problem in problems] == [True]


def test_a_script_for_a_task_that_runs_the_agents_own_program_is_refused() -> None:
    (problem,) = problems_of(a_job({"upload_data_to_s3": {"command_script": "s5cmd run"}}))
    assert problem.message == (
        "The command_script of upload_data_to_s3, set by the manifest:"
        " upload_data_to_s3 runs the agent's own program and takes no command_script; take it out."
    )


def scripted(script: str, **fields: Any) -> Presets:
    return stored(a_type("ecephys", {COMPRESS: {"command_script": script, **fields}}))


def test_a_source_whose_name_a_script_cannot_take_is_refused_with_its_cell() -> None:
    cell = Place("session.csv", row=2, column="modality0.input_source", cell="H2")
    row = Row(ROW.place, {}, {f"tasks.{SETTINGS}.ecephys.job_settings.input_source": cell})
    tasks = {SETTINGS: {"ecephys": {"job_settings": {"input_source": "/data/my session"}}}}
    made, problems = plan.expand(a_job(tasks, row=row), scripted("cp -r %INPUT_SOURCE %OUTPUT_LOCATION"), BUCKETS)
    assert made is not None
    assert problems == (
        Problem(
            Level.ERROR,
            cell,
            "The script of compress_data[ecephys] can only take a source folder made of letters without accents,"
            ' digits and . _ : / @ + = , -, not "/data/my session". Rename the folder.',
            found="/data/my session",
            outside=True,
        ),
    )


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("run %IMAGE", "an image"),
        ("run x:%IMAGE_VERSION", "an image_version"),
        ("run %ENV_FILE", "an environment file (executor.env_file in agent.yaml)"),
    ],
)
def test_a_script_that_needs_what_is_not_set_is_refused(script: str, what: str) -> None:
    (problem,) = problems_of(a_job(), scripted(script))
    assert problem.message == f"The script of compress_data[ecephys] needs {what}, and there is none."


def test_a_child_does_without_its_parents_script_by_an_empty_one() -> None:
    presets = stored(
        a_type("lab", {COMPRESS: {"command_script": "run %IMAGE"}}),
        a_type("ecephys", {COMPRESS: {"command_script": ""}}, inherits="lab"),
    )
    assert expanded(a_job(), presets).task("compress_data[ecephys]").settings["command_script"] == ""


# --- handing over ----------------------------------------------------------------------------------------------------


def a_standing(made: Plan, job: Job) -> JobStanding:
    return JobStanding(
        job_id=f"{PREFIX}.abc123",
        s3_prefix=PREFIX,
        bucket="default",
        location=made.location,
        job_type=job.job_type,
        project_name=job.project_name,
        subject_id=job.subject_id,
        platform=job.platform,
        modalities=job.modalities,
        user_email=None,
        email_types=frozenset(),
        row=2,
        state=JobState.ACCEPTED,
        created=TAKEN,
        started=None,
        ended=None,
        tasks=(),
        plan=made,
        acq_datetime=TAKEN,
    )


def test_a_task_that_knows_what_to_run_in_its_image_needs_no_script() -> None:
    gather, site = "gather_preliminary_metadata", plan.Containers("charliecloud", images=Path("/images"))
    job = a_job({gather: {"job_settings": {"metadata_dir": "/data/meta"}}})
    presets = stored(a_type("ecephys", {(gather, None): {"image": "lab/mapper", "image_version": "1.4"}}))
    made = expanded(job, presets, site_containers=site)
    context = plan.Context(Path("/work"), containers=site)
    given = plan.task_settings(a_standing(made, job), made.task(gather), "dbx-a", context).container
    assert given == Container(
        kind="charliecloud", program="ch-run", image="/images/lab/mapper_1.4", reads=[Path("/data/meta")]
    )
    assert plan.images_of({gather: made.task(gather).settings}, site) == {gather: Path("/images/lab/mapper_1.4")}
    without = plan.Context(Path("/work"))
    assert plan.task_settings(a_standing(made, job), made.task(gather), "dbx-a", without).container is None
    wrong = stored(a_type("ecephys", {(gather, None): {"image": "lab/mapper", "image_version": "1/../../x"}}))
    (problem,) = problems_of(job, wrong, site_containers=site)
    assert "has the image_version '1/../../x'" in problem.message
    assert problems_of(job, wrong) == ()


def test_a_task_is_handed_all_it_needs() -> None:
    script = "run %IMAGE:%IMAGE_VERSION ' %JOB_SETTINGS ' %OUTPUT_LOCATION %S3_LOCATION %ENV_FILE %INPUT_SOURCE"
    tasks = {
        SETTINGS: {
            "ecephys": {"job_settings": {"input_source": "/data/e", "output_directory": "%OUTPUT_LOCATION"}},
            "behavior": {"job_settings": {"input_source": "/data/b"}},
        },
        "gather_preliminary_metadata": {"job_settings": {"metadata_dir": "/data/meta"}},
        "copy_derivatives_folder": {"job_settings": {"input_source": "/data/derived"}},
    }
    presets = scripted(script, image="img", image_version="1.0")
    job = a_job(tasks, modalities=("ecephys", "behavior"))
    made = expanded(job, presets, env_file="/etc/site.env", site_containers=plan.Containers("apptainer"))
    context = plan.Context(Path("/work"), (Path("/data"),), True, False, "/etc/site.env")
    task = made.task("compress_data[ecephys]")
    output = f"/work/{PREFIX}.abc123/staging/ecephys.partial-dbx-a"
    assert plan.task_settings(a_standing(made, job), task, "dbx-a", context) == TaskSettings(
        task_id="compress_data",
        key="compress_data[ecephys]",
        job_id=f"{PREFIX}.abc123",
        job_type="ecephys",
        project_name="Project",
        subject_id="123456",
        acq_datetime=TAKEN,
        platform="ecephys",
        modalities=["ecephys", "behavior"],
        modality="ecephys",
        s3_prefix=PREFIX,
        bucket="file:///srv/bucket",
        run_folder=Path(f"/work/{PREFIX}.abc123"),
        attempt_key="dbx-a",
        sources={"ecephys": Path("/data/e"), "behavior": Path("/data/b")},
        metadata_dir=Path("/data/meta"),
        derivatives_dir=Path("/data/derived"),
        allowed_roots=[Path("/data")],
        image="img",
        image_version="1.0",
        job_settings={"input_source": "/data/e", "output_directory": "%OUTPUT_LOCATION"},
        script=f'run img:1.0 \' {{"input_source": "/data/e", "output_directory": "{output}"}} \''
        f" {output} file:///srv/bucket/{PREFIX} /etc/site.env /data/e",
        metadata_required=True,
        metadata_strict=False,
    )


# --- what holds for every plan ---------------------------------------------------------------------------------------

few = settings(max_examples=40)
NAMES = st.sampled_from(["input_source", "a", "b", "ü %IMAGE", "x.y", ""])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "skip_task": st.booleans(),
        "image": st.none() | st.just("img"),
        "image_resources": st.none() | st.dictionaries(st.just("cpus"), st.integers(1, 2)),
        "job_settings": st.none() | st.dictionaries(NAMES, VALUES, max_size=3),
    },
)
MODALITIES = ("ecephys", "behavior", "SPIM")
KEYS: st.SearchStrategy[tuple[str, str | None]] = st.sampled_from(
    [
        *((step.task_id, None) for step in plan.PIPELINE),
        *((name, modality) for name in (SETTINGS, "codeocean_pipeline_settings") for modality in MODALITIES),
    ]
)
JOB_TYPES = st.fixed_dictionaries(
    {name: st.dictionaries(KEYS, FIELDS, max_size=6) for name in ("default", "lab", "ecephys")}
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any plan: any presets, any inheritance, any manifest on top."""
    tasks = draw(JOB_TYPES)
    inherits = draw(st.sampled_from([None, "lab", "default"]))
    presets = stored(*(a_type(name, tasks[name], inherits if name == "ecephys" else None) for name in tasks))
    modalities = tuple(draw(st.lists(st.sampled_from(MODALITIES), min_size=1, unique=True)))
    given = draw(st.dictionaries(st.sampled_from(IN_ORDER), FIELDS, max_size=6))
    made, problems = plan.expand(a_job(given, modalities=modalities), presets, BUCKETS)
    assert (made is None) is any(problem.level is Level.ERROR and not problem.outside for problem in problems)
    if made is None:
        made = expanded(a_job(modalities=modalities, job_type="custom"))
    return made


@few
@given(plans())
def test_every_task_stands_after_what_it_needs_whatever_the_presets(made: Plan) -> None:
    before: set[str] = set()
    for task in made.tasks:
        assert set(task.needs) <= before
        before.add(task.key)
    assert len(before) == len(made.tasks)
    assert {task.task_id for task in made.tasks} == set(IN_ORDER)


@few
@given(plans())
def test_no_task_waits_for_a_skipped_one_and_no_order_is_lost_over_it(made: Plan) -> None:
    skipped = set(skips(made))
    for task in made.tasks:
        assert not set(task.needs) & skipped
        assert task.needs or task.skip or task.task_id in {*plan.DONE_IN_THE_PLAN, *NEED_NOTHING} | first_running(made)
    upload = made.task("upload_data_to_s3")
    if upload.skip is None:
        running = {t.key for t in made.tasks if t.task_id in IN_ORDER[1:10] and t.skip is None}
        assert running - plan.DONE_IN_THE_PLAN <= everything_before(made, upload)


NEED_NOTHING = {"send_job_start_email", "send_job_end_email"}


def first_running(made: Plan) -> set[str]:
    return (
        {next(task.task_id for task in made.tasks if task.allocation is not None)}
        if any(task.allocation is not None for task in made.tasks)
        else set()
    )


def everything_before(made: Plan, task: PlannedTask) -> set[str]:
    found: set[str] = set()
    for key in task.needs:
        found |= {key} | everything_before(made, made.task(key))
    return found


@few
@given(plans())
def test_an_allocation_is_a_chain_in_which_nothing_waits_for_what_comes_after(made: Plan) -> None:
    numbers = [task.allocation for task in made.tasks if task.allocation is not None]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, len(set(numbers)) + 1))
    for number in set(numbers):
        members = [task for task in made.tasks if task.allocation == number]
        for earlier, later in pairwise(members):
            assert later.needs == (earlier.key,)
            assert later.settings.get("image_resources", {}) == earlier.settings.get("image_resources", {})
            assert not any(task.modality or task.settings.get("image") for task in (earlier, later))


@few
@given(plans())
def test_exactly_the_tasks_that_run_on_a_node_have_an_allocation(made: Plan) -> None:
    on_node = {step.task_id for step in plan.PIPELINE if step.where == "node"}
    for task in made.tasks:
        assert (task.allocation is not None) is (task.skip is None and task.task_id in on_node)


@few
@given(plans())
def test_a_plan_survives_the_ledger_exactly(made: Plan) -> None:
    back = plan.from_json(json.loads(json.dumps(plan.to_json(made))))
    assert back == made
    assert plan.plan_hash(back) == plan.plan_hash(made)


@few
@given(plans())
def test_every_value_knows_where_it_comes_from(made: Plan) -> None:
    for task in made.tasks:
        assert set(task.origin) == set(leaves(task.settings, ()))
        assert set(task.origin.values()) <= {"manifest", "default", "lab", "ecephys"}


def leaves(value: Any, path: tuple[str, ...]) -> list[str]:
    if isinstance(value, Mapping) and (value or not path):
        return [leaf for name, part in value.items() for leaf in leaves(part, (*path, name))]
    return [".".join(path)]


def test_two_plans_that_differ_anywhere_have_different_hashes() -> None:
    assert plan.plan_hash(expanded(a_job())) != plan.plan_hash(expanded(a_job({"upload_data_to_s3": {"image": "x"}})))


def test_a_site_with_code_ocean_and_docdb_runs_their_tasks() -> None:
    run = {"ecephys": {"job_settings": {"pipeline_monitor_settings": {"run_params": {"capsule_id": "x"}}}}}
    made, _ = plan.expand(
        a_job({"codeocean_pipeline_settings": run}), Presets({}, {}), BUCKETS, services=("codeocean", "docdb")
    )
    assert made is not None
    names = ("register_data_asset_to_codeocean", "update_docdb_record", "run_codeocean_pipeline[ecephys]")
    assert [made.task(name).skip for name in names] == [None, None, None]
    without, _ = plan.expand(a_job(), Presets({}, {}), BUCKETS, services=("codeocean", "docdb"))
    assert without is not None
    assert without.task("run_codeocean_pipeline").skip == (
        "No capsule or pipeline is set for it (codeocean_pipeline_settings)."
    )
