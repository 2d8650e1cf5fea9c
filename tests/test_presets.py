"""A folder of job types is read strictly, and one wrong file stops only its own."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropbox_agent import plan, presets
from dropbox_agent.errors import AgentError
from dropbox_agent.model import Job, JobType, Place, Presets, Row
from dropbox_agent.presets.folder import MAX_BYTES
from dropbox_agent.validate import known_names

SHIPPED = Path(__file__).parents[1] / "config" / "job_types"
MODALITIES = ("ecephys", "behavior", "behavior-videos", "SPIM")
SETTINGS = "modality_transformation_settings"


def load(folder: Path) -> Presets:
    return presets.load_folder(folder, plan.task_ids(), MODALITIES)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def broken(folder: Path, text: str) -> str:
    """Return why a file with this text cannot be used; another one beside it still can."""
    found = load(write(folder, wrong=text, right="description: fine"))
    assert found.job_types == {"right": JobType("right", "fine", None, {})}
    assert set(found.broken) == {"wrong"}
    return found.broken["wrong"]


# --- what is read ----------------------------------------------------------------------------------------------------

WHOLE = """
description: All there is to say.
inherits: default
tasks:
  check_s3_folder_exists:
    skip_task: true
  compress_data/submit_job: {image: base}
  modality_transformation_settings:
    ecephys:
      image: ghcr.io/lab/compress
      image_version: "1.10"
      image_resources: {minimum_cpus_per_node: 4, memory_per_cpu: {set: true, number: 8000}}
      job_settings:
        level: 3
        ratio: 0.5
        tags: [a, 1, null]
        date: 2024-05-27
        time_limit: 12:00:00
        nothing: ~
      command_script: |
        run docker://%IMAGE:%IMAGE_VERSION ' %JOB_SETTINGS '
    behavior: {skip_task: true}
"""


def test_a_job_type_as_a_whole(tmp_path: Path) -> None:
    found = load(write(tmp_path, default="", ephys=WHOLE))
    assert found == Presets(
        job_types={
            "default": JobType("default", "", None, {}),
            "ephys": JobType(
                "ephys",
                "All there is to say.",
                "default",
                {
                    ("check_s3_folder_exists", None): {"skip_task": True},
                    ("compress_data", None): {"image": "base"},
                    (SETTINGS, "ecephys"): {
                        "image": "ghcr.io/lab/compress",
                        "image_version": "1.10",
                        "image_resources": {
                            "minimum_cpus_per_node": 4,
                            "memory_per_cpu": {"set": True, "number": 8000},
                        },
                        "job_settings": {
                            "level": 3,
                            "ratio": 0.5,
                            "tags": ["a", 1, None],
                            "date": "2024-05-27",
                            "time_limit": "12:00:00",
                            "nothing": None,
                        },
                        "command_script": "run docker://%IMAGE:%IMAGE_VERSION ' %JOB_SETTINGS '\n",
                    },
                    (SETTINGS, "behavior"): {"skip_task": True},
                },
            ),
        },
        broken={},
    )


def test_one_task_for_all_modalities_is_read_as_one(tmp_path: Path) -> None:
    found = load(write(tmp_path, ephys=f"tasks: {{{SETTINGS}: {{skip_task: true}}}}"))
    assert found.job_types["ephys"].tasks == {(SETTINGS, None): {"skip_task": True}}


def test_both_suffixes_are_read_and_everything_else_is_left_alone(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", ".hidden.yaml", ".#a.yaml", "a.yaml~", "notes.txt", "a.yaml.orig"):
        (tmp_path / name).write_text("description: x")
    assert set(load(tmp_path).job_types) == {"a", "b"}


def test_an_empty_folder_has_no_job_types(tmp_path: Path) -> None:
    assert load(tmp_path) == Presets({}, {})


@pytest.mark.parametrize("make", ["missing", "a file"])
def test_a_folder_that_cannot_be_read_is_said_in_words(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "job_types"
    if make == "a file":
        folder.write_text("")
    with pytest.raises(AgentError, match=r"The folder of the job types .*job_types \(presets.folder in agent.yaml\)"):
        load(folder)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "tasks:\n  check_metadata_files: {image: a, image: b}",
            'line 2: "image" is there twice, also in line 2; keep one of them',
        ),
        ("tasks: !!python/object/apply:os.system [id]", "line 1: !!python/object/apply:os.system is a tag; leave it"),
        ("\ntasks: [", "line 2: this is not YAML: "),
        ("- a\n- b", "line 1: the file is a list; a group of names and values is needed"),
        ("tasks: yes", "line 1: tasks is true or false; a group of names and values is needed"),
        ("description: 7", "line 1: description is a number; write text, in quotes if need be"),
        ("inherits: [a]", "line 1: inherits is a list; write text, in quotes if need be"),
        ("descripton: a", "line 1: descripton is not known here; did you mean description?"),
        ("tasks:\n  compres_data: {}", "line 2: compres_data is not a task; did you mean compress_data?"),
        ("tasks:\n  check_metadata_files: 5", "line 2: tasks.check_metadata_files is a number; a group of names"),
        (
            "tasks:\n  check_metadata_files:\n    skip_tsk: true",
            "line 3: skip_tsk is not a field of a task; did you mean skip_task?",
        ),
        (
            "tasks:\n  check_metadata_files:\n    skip_task: maybe",
            "line 3: skip_task is 'maybe'; write true or false",
        ),
        (
            f"tasks:\n  {SETTINGS}:\n    ecephys:\n      image_version: 1.10",
            "line 4: image_version is a number; write text, in quotes if need be",
        ),
        (
            f"tasks:\n  {SETTINGS}:\n    ecephys:\n      job_settings: [a]",
            "line 4: job_settings is a list; write a group of names and values",
        ),
        (
            f"tasks:\n  {SETTINGS}:\n    Ecephys: {{}}",
            "line 3: Ecephys is neither a modality nor a field of a task; did you mean ecephys?",
        ),
        (
            "tasks:\n  compress_data/submit_job: {}\n  compress_data/monitor_job: {}",
            "line 3: compress_data/monitor_job and compress_data/submit_job are the same task; keep one",
        ),
        (
            f"tasks:\n  {SETTINGS}:\n    ecephys:\n      command_script: run %OUTPUT",
            f"line 4: the command_script of {SETTINGS}: %OUTPUT is not a placeholder",
        ),
        (
            f"tasks:\n  {SETTINGS}:\n    ecephys:\n      command_script: run %JOB_SETTINGS",
            f"line 4: the command_script of {SETTINGS}: %JOB_SETTINGS must stand alone inside single quotes",
        ),
        (
            "tasks:\n  upload_data_to_s3:\n    command_script: s5cmd run",
            "line 3: the command_script of upload_data_to_s3: upload_data_to_s3 runs the agent's own program",
        ),
        ("tasks: " + "[" * 600, "line 1: this is nested more than 50 deep"),
        ("inherits: lab", "line 1: wrong inherits lab, which is not there; known are right"),
        ("inherits: rihgt", "line 1: wrong inherits rihgt, which is not there; did you mean right?"),
        ("\n\ninherits: wrong", "line 3: wrong inherits wrong, which leads back to wrong"),
    ],
)
def test_a_wrong_file_is_named_with_its_line_and_stops_only_its_own_job_type(
    tmp_path: Path, text: str, reason: str
) -> None:
    why = broken(tmp_path, text)
    assert why.startswith(f"wrong.yaml, {reason}")
    assert why.endswith(".")


def test_everything_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    why = broken(tmp_path, "nonsense: 1\ntasks:\n  upload: {}\n  check_metadata_files: {image: 5, nonsense: 1}")
    assert [f"line {line}:" in why for line in (1, 3, 4)] == [True, True, True]


def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_bytes(b"description: a\ninherits: \xff\xfe")
    assert load(tmp_path).broken == {"wrong": "wrong.yaml, line 2: this is not UTF-8 text; save the file as UTF-8."}


def test_a_file_that_is_too_large_is_no_preset(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    assert load(tmp_path).broken == {"wrong": "wrong.yaml, line 1: the file is larger than 1000000 bytes."}


def test_a_folder_with_the_name_of_a_file_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").mkdir()
    assert load(tmp_path).broken == {"wrong": "wrong.yaml, line 1: it is not a plain file."}


def test_a_link_to_nowhere_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").symlink_to("nowhere")
    why = "wrong.yaml, line 1: the file cannot be read (No such file or directory)."
    assert load(tmp_path).broken == {"wrong": why}


def test_a_pipe_with_the_name_of_a_file_does_not_stop_the_service(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "wrong.yaml")
    assert load(tmp_path).broken == {"wrong": "wrong.yaml, line 1: it is not a plain file."}


def test_two_files_for_one_job_type_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "a.yml").write_text("")
    assert load(tmp_path).broken == {"a": "a.yaml, line 1: there is a.yml too; keep one of them."}


def test_a_name_that_is_no_job_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my type.yaml").write_text("")
    assert load(tmp_path).broken == {
        "my type": "my type.yaml, line 1: a job type's name has letters, digits, dots, dashes and underscores only."
    }


def test_a_name_that_is_no_text_can_still_be_told(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("")
    (why,) = load(tmp_path).broken.items()
    assert [part.encode() for part in why]
    assert why[0] == "?"


# --- inheritance -----------------------------------------------------------------------------------------------------


def test_who_inherits_from_a_broken_job_type_is_broken_too(tmp_path: Path) -> None:
    found = load(write(tmp_path, a="inherits: b", b="\ninherits: c", c="tasks: [", d="inherits: e", e=""))
    assert set(found.job_types) == {"d", "e"}
    assert found.broken["b"].startswith(
        "b.yaml, line 2: b inherits c, which cannot be used (c.yaml, line 1: this is not"
    )
    assert found.broken["a"].startswith("a.yaml, line 1: a inherits b, which cannot be used (b.yaml, line 2:")


def test_a_circle_is_broken_for_all_who_stand_in_it(tmp_path: Path) -> None:
    found = load(write(tmp_path, a="inherits: b", b="inherits: c", c="inherits: a", d="inherits: a"))
    assert found.job_types == {}
    assert found.broken["a"] == "a.yaml, line 1: a inherits b, which leads back to a."
    assert found.broken["d"].startswith("d.yaml, line 1: d inherits a, which cannot be used (")


def test_a_group_where_the_parent_has_a_plain_value_is_found_when_it_is_read(tmp_path: Path) -> None:
    task = "tasks:\n  check_metadata_files:\n    job_settings:\n      codec: {}"
    ephys = "inherits: lab\n" + task.format("{level: 3}")
    found = load(write(tmp_path, lab=task.format("zstd"), ephys=ephys, sub="inherits: ephys"))
    assert set(found.job_types) == {"lab"}
    assert found.broken["ephys"] == "ephys.yaml, line 5: codec is a group of settings, where lab has text."
    assert found.broken["sub"].startswith("sub.yaml, line 1: sub inherits ephys, which cannot be used (")


# --- whatever stands in it -------------------------------------------------------------------------------------------

YAML_LIKE = st.text(st.sampled_from("ab: -[]{}\n\t'\"#&*!%|>?,~@`019.é\x00\ufeff"), max_size=60)


@settings(max_examples=150, deadline=None)
@given(YAML_LIKE)
def test_any_text_is_a_job_type_or_a_reason(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    found = load(write(folder, any=text))
    assert set(found.job_types) | set(found.broken) == {"any"}
    assert all(why.startswith("any.yaml, line ") for why in found.broken.values())


# --- what is shipped -------------------------------------------------------------------------------------------------


NAMES = ("default", "ecephys", "behavior", "behavior-videos", "SmartSPIM", "HCR", "custom")


def shipped() -> Presets:
    return presets.load_folder(SHIPPED, plan.task_ids(), known_names()[1])


def test_every_shipped_job_type_can_be_used() -> None:
    found = shipped()
    assert found.broken == {}
    assert set(found.job_types) == set(NAMES)
    assert all(one.description.endswith(".") for one in found.job_types.values())


@pytest.mark.parametrize(
    "job_type", ["default", "ecephys", "behavior", "behavior-videos", "SmartSPIM", "HCR", "custom"]
)
def test_a_job_of_every_shipped_job_type_has_a_plan(job_type: str) -> None:
    tasks: dict[str, Any] = {
        SETTINGS: {m: {"job_settings": {"input_source": f"/data/{m}"}} for m in ("ecephys", "behavior-videos", "SPIM")}
    }
    job = Job(
        row=Row(Place("a.csv", row=2), {}),
        job_type=job_type,
        project_name="P",
        subject_id="1",
        acq_datetime=datetime(2024, 5, 27),  # noqa: DTZ001
        platform=None,
        modalities=tuple(tasks[SETTINGS]),
        bucket="default",
        s3_prefix="1_2024-05-27_00-00-00",
        user_email=None,
        email_types=frozenset(),
        tasks=tasks,
    )
    made, problems = plan.expand(job, shipped(), {"default": "file:///b"})
    assert problems == ()
    assert made is not None
    assert [task.key for task in made.tasks if task.skip is None and task.task_id == "compress_data"] == [
        "compress_data[ecephys]",
        "compress_data[behavior-videos]",
        "compress_data[SPIM]",
    ]
    removal = made.task("remove_source_folders").skip or ""
    assert removal == "Switched off by the job type default." or (
        job_type == "custom" and removal.startswith("Not asked")
    )


def test_resources_that_no_cluster_knows_stop_their_job_type_with_line_and_nearest_name(tmp_path: Path) -> None:
    text = "tasks:\n  upload_data_to_s3:\n    image_resources:\n      cpu: 4\n      time_limit: soon\n      name: x\n"
    assert broken(tmp_path, text) == (
        "wrong.yaml, line 4: cpu is not a property of a job; did you mean cpus?;"
        " line 5: time_limit is no length of time; write minutes, H:MM:SS or D-HH:MM:SS."
    )
