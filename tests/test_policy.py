"""What this site allows: which fields a manifest may set, and which folders may be uploaded. Real folders and links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dropbox_agent import plan, policy
from dropbox_agent.examine import look_at_folder
from dropbox_agent.model import Job, JobType, Level, Place, Presets, Problem, Row
from dropbox_agent.policy import Rules, SourceFacts

SETTINGS = "modality_transformation_settings"
SOURCE = Place("session.csv", row=2, column="modality0.input_source", cell="H2")
METADATA = Place("session.csv", row=2, column="metadata_dir", cell="F2")
ALL = Rules(manifests_may_set="all")


def a_job(tasks: Mapping[str, Any], written: str = "") -> Job:
    """A job of one ecephys modality, with the cells of its folders."""
    at = f"tasks.{SETTINGS}.ecephys.job_settings.input_source"
    places = {at: SOURCE, "tasks.gather_preliminary_metadata.job_settings.metadata_dir": METADATA}
    entry = {"tasks": {SETTINGS: {"ecephys": {"job_settings": {"input_source": written}}}}} if written else {}
    return Job(
        row=Row(Place("session.csv", row=2), entry, places),
        job_type="ecephys",
        project_name="P",
        subject_id="1",
        acq_datetime=datetime(2024, 5, 27),  # noqa: DTZ001 - the wall clock, as the manifest has it
        platform=None,
        modalities=("ecephys",),
        bucket="default",
        s3_prefix="1_2024-05-27_00-00-00",
        user_email=None,
        email_types=frozenset(),
        tasks=tasks,
    )


def source(path: Path | str) -> dict[str, Any]:
    return {SETTINGS: {"ecephys": {"job_settings": {"input_source": str(path)}}}}


def judged(tasks: Mapping[str, Any], rules: Rules = ALL, look: policy.Look = look_at_folder) -> tuple[Problem, ...]:
    written = tasks.get(SETTINGS, {}).get("ecephys", {}).get("job_settings", {}).get("input_source", "")
    job = a_job(tasks, written)
    presets = Presets({"ecephys": JobType("ecephys", "", None, {})}, {})
    made, problems = plan.expand(job, presets, {"default": "file:///b"}, rules.path_map)
    assert problems == ()
    assert made is not None
    return policy.check(job, made, rules, look)


def words(tasks: Mapping[str, Any], rules: Rules = ALL) -> list[str]:
    found = judged(tasks, rules)
    assert all(problem.outside and problem.level is Level.ERROR for problem in found)
    return [problem.message for problem in found]


# --- what a manifest may set -----------------------------------------------------------------------------------------

ANY = "/nowhere"
NOTHING = Rules(manifests_may_set=())


def there(path: str) -> SourceFacts:
    """A machine on which every folder is there."""
    return SourceFacts(True, True, True, path, 1000, 0o40755)


def forbidden(tasks: Mapping[str, Any], rules: Rules) -> list[str]:
    return [problem.message.split(" cannot be set")[0] for problem in judged({**source(ANY), **tasks}, rules, there)]


def test_the_defaults_let_manifests_set_settings_and_skip_but_neither_scripts_nor_images_nor_resources() -> None:
    fields = {
        "skip_task": True,
        "image": "img",
        "image_version": "1",
        "image_resources": {"array": "0-3", "memory_per_cpu": {"set": True, "number": 1}},
        "job_settings": {"input_source": ANY, "level": 3},
        "command_script": "run",
    }
    assert forbidden({SETTINGS: {"ecephys": fields}}, Rules()) == [
        f"{field} of {SETTINGS} for ecephys"
        for field in (
            "image",
            "image_resources.memory_per_cpu.set",
            "image_resources.memory_per_cpu.number",
            "command_script",
        )
    ]


def test_a_forbidden_field_names_its_cell_the_value_and_the_rule() -> None:
    cell = Place("session.csv", row=2, column="tasks.upload_data_to_s3.image", cell="K2")
    job = a_job({"upload_data_to_s3": {"image": "evil"}})
    job = replace(job, row=replace(job.row, places={"tasks.upload_data_to_s3.image": cell}))
    made, _ = plan.expand(replace(job, tasks={**job.tasks, **source(ANY)}), Presets({}, {}), {"default": "file:///b"})
    assert made is not None
    assert policy.check(job, made, Rules(), there) == (
        Problem(
            Level.ERROR,
            cell,
            "image of upload_data_to_s3 cannot be set in a manifest here; take it out. Manifests may set job_settings,"
            " skip_task, image_version, image_resources.array (policy.manifests_may_set in agent.yaml).",
            found="evil",
            outside=True,
        ),
    )


def test_the_folders_of_the_columns_may_always_be_set() -> None:
    tasks = {
        "gather_preliminary_metadata": {"job_settings": {"metadata_dir": "/m"}},
        "copy_derivatives_folder": {"job_settings": {"input_source": "/d"}},
    }
    assert forbidden(tasks, NOTHING) == []


@pytest.mark.parametrize(
    ("rule", "tasks", "found"),
    [
        ((), {"check_s3_folder_exists": {"skip_task": True}}, ["skip_task of check_s3_folder_exists"]),
        (("skip_task",), {"check_s3_folder_exists": {"skip_task": True}}, []),
        ((), {"check_metadata_files": {"job_settings": {"x": 1}}}, ["job_settings.x of check_metadata_files"]),
        (("job_settings.x",), {"check_metadata_files": {"job_settings": {"x": {"deep": 1}}}}, []),
        (
            ("job_settings.x",),
            {"check_metadata_files": {"job_settings": {"xy": 1}}},
            ["job_settings.xy of check_metadata_files"],
        ),
        # Neither null nor an empty group sets anything.
        ((), {"check_metadata_files": {"image": None, "job_settings": {}, "image_resources": {"a": {}}}}, []),
        ("all", {"check_metadata_files": {"image": "x", "image_resources": {"cpus": 1}}}, []),
    ],
)
def test_a_rule_allows_a_field_and_all_below_it(rule: Any, tasks: Mapping[str, Any], found: list[str]) -> None:
    assert forbidden(tasks, Rules(manifests_may_set=rule)) == found


# --- which folders may be uploaded -----------------------------------------------------------------------------------


def test_a_folder_that_is_there_is_allowed(tmp_path: Path) -> None:
    assert judged(source(tmp_path)) == ()


def test_a_missing_folder_is_named_with_its_cell_and_the_nearest_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "session_2024-05-27").mkdir()
    (tmp_path / "session_2024-05-26.txt").write_text("")
    missing = tmp_path / "sesion_2024-05-27"
    assert judged(source(missing)) == (
        Problem(
            Level.ERROR,
            SOURCE,
            f"ecephys data folder {missing} is not there. Check the spelling, or whether it was moved.",
            found=str(missing),
            suggestion=str(tmp_path / "session_2024-05-27"),
            outside=True,
        ),
    )


def test_a_missing_folder_far_from_anything_has_no_suggestion(tmp_path: Path) -> None:
    (problem,) = judged(source(tmp_path / "a" / "b"))
    assert problem.suggestion is None


def test_the_suggestion_for_a_windows_path_is_a_windows_path(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    rules = replace(ALL, path_map={r"\\server\share": tmp_path})
    (problem,) = judged(source(r"\\server\share\sessoin"), rules)
    assert problem.message.startswith(
        rf"ecephys data folder \\server\share\sessoin (here: {tmp_path}/sessoin) is not there."
    )
    assert (problem.found, problem.suggestion) == (r"\\server\share\sessoin", r"\\server\share\session")


def test_all_folders_are_told_at_once_each_with_its_cell() -> None:
    tasks = {**source("/no/e"), "gather_preliminary_metadata": {"job_settings": {"metadata_dir": "/no/m"}}}
    found = judged(tasks | {"copy_derivatives_folder": {"job_settings": {"input_source": "/no/d"}}})
    assert [(problem.place, problem.message.split(" /no")[0]) for problem in found] == [
        (METADATA, "metadata folder"),
        (SOURCE, "ecephys data folder"),
        (Place("session.csv", row=2), "derivatives folder"),
    ]


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("")
    assert words(source(tmp_path / "a.dat")) == [
        f"ecephys data folder {tmp_path}/a.dat is a file. Write the folder that holds the data."
    ]


def test_a_folder_that_cannot_be_read_is_told() -> None:
    def look(path: str) -> SourceFacts:
        return replace(there(path), readable=False)

    (problem,) = judged(source("/data/e"), ALL, look)
    assert problem.message.startswith("ecephys data folder /data/e cannot be read by this service.")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("data/e", "is not a whole path. Write it from the beginning: /..."),
        (r"\\server\share\e", "is a Windows path, and this service does not know what it is here."),
        (r"Z:\e", "is a Windows path"),
        ("/data/../etc", 'goes up with "..". Write the path without it.'),
        ("/data/e\n", "has a tab or a line break in it."),
        ("C:\temp", "put it into single quotes, or write every \\ twice"),
        ("/data/\x00e", "has a character that cannot be seen."),
        ("/data/\u202ee", "has a character that cannot be seen."),
    ],
)
def test_a_path_that_is_none_here_is_refused(path: str, told: str) -> None:
    (found,) = words(source(path))
    assert told in found


@pytest.mark.parametrize("path", ['"/data/e"', "'/data/e'", "\u202a/data/e", " /data/e\u200b"])
def test_a_path_as_explorer_copies_it_is_suggested_without_what_is_around_it(path: str) -> None:
    (problem,) = judged(source(path))
    assert problem.suggestion == "/data/e"


def test_a_path_that_goes_up_is_suggested_without_it() -> None:
    (problem,) = judged(source("/data/a/../b"))
    assert problem.suggestion == "/data/b"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "/.", "/etc", "/etc/ssl", "//etc//ssl/", "/proc/self", "/sys", "/dev/shm", "/boot"),
        *("/home", "/home/anna", "/home/anna/", "/home/anna/.config/x", "/root", "/root/.ssh"),
    ],
)
def test_folders_of_the_system_and_homes_are_never_uploaded(path: str) -> None:
    (problem,) = judged(source(path), ALL, there)
    assert "a folder of the system, or somebody's home" in problem.message


@pytest.mark.parametrize("path", ["/etcetera", "/home/anna/data", "/root/data", "/data/.hidden", "/bootes"])
def test_folders_that_only_look_like_those_are_allowed(path: str) -> None:
    assert judged(source(path), ALL, there) == ()


def test_a_link_into_the_system_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/etc")
    assert words(source(tmp_path / "innocent")) == [
        f"ecephys data folder {tmp_path}/innocent leads to a folder of the system, or somebody's home."
    ]


@pytest.mark.parametrize("inside", ["", "spool", ".."])
def test_the_agents_own_folders_are_never_uploaded_nor_what_holds_them(tmp_path: Path, inside: str) -> None:
    own = tmp_path / "site" / "state"
    (own / "spool").mkdir(parents=True)
    asked = (own / inside).resolve()
    rules = replace(ALL, protected=(str(own),))
    assert words(source(asked), rules) == [f"ecephys data folder {asked} is a folder of this service, or holds one."]


def test_the_agents_own_folders_are_known_by_every_name(tmp_path: Path) -> None:
    (tmp_path / "real" / "inbox").mkdir(parents=True)
    (tmp_path / "alias").symlink_to("real")
    by_alias = replace(ALL, protected=(str(tmp_path / "alias" / "inbox"),))
    assert len(words(source(tmp_path / "real" / "inbox"), by_alias)) == 1
    by_name = replace(ALL, protected=(str(tmp_path / "real" / "inbox"),))
    (found,) = words(source(tmp_path / "alias" / "inbox"), by_name)
    assert "leads to a folder of this service" in found


def test_a_neighbour_of_the_agents_folders_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "state-of-mind").mkdir()
    assert judged(source(tmp_path / "state-of-mind"), replace(ALL, protected=(str(tmp_path / "state"),))) == ()


def test_data_may_only_come_from_below_a_source_root(tmp_path: Path) -> None:
    for name in ("allowed/e", "allowed-not/e"):
        (tmp_path / name).mkdir(parents=True)
    rules = replace(ALL, source_roots=(str(tmp_path / "allowed"),))
    assert words(source(tmp_path / "allowed" / "e"), rules) == []
    assert words(source(tmp_path / "allowed"), rules) == []
    assert words(source(tmp_path / "allowed-not" / "e"), rules) == [
        f"ecephys data folder {tmp_path}/allowed-not/e is outside the folders that may be uploaded from:"
        f" {tmp_path}/allowed (policy.source_roots in agent.yaml). Move the data there."
    ]


def test_a_link_out_of_a_source_root_is_refused_and_a_link_into_it_is_not(tmp_path: Path) -> None:
    for name in ("allowed/e", "secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "allowed" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "in").symlink_to(tmp_path / "allowed")
    rules = replace(ALL, source_roots=(str(tmp_path / "allowed"),))
    (found,) = words(source(tmp_path / "allowed" / "out"), rules)
    assert "leads outside the folders" in found
    assert words(source(tmp_path / "in" / "e"), rules) == []


def test_a_source_root_that_is_a_link_itself_allows_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "disk1" / "e").mkdir(parents=True)
    (tmp_path / "data").symlink_to("disk1")
    rules = replace(ALL, source_roots=(str(tmp_path / "data"),))
    assert words(source(tmp_path / "data" / "e"), rules) == []


def test_nobody_learns_what_lies_outside_the_source_roots(tmp_path: Path) -> None:
    for name in ("allowed", "elsewhere/secret_project"):
        (tmp_path / name).mkdir(parents=True)
    rules = replace(ALL, source_roots=(str(tmp_path / "allowed"),))
    told = [words(source(tmp_path / "elsewhere" / name), rules) for name in ("secret_project", "secret_projekt")]
    assert [one[0].replace("projekt", "project") for one in told] == [told[0][0]] * 2
    (problem,) = judged(source(tmp_path / "elsewhere" / "secret_projekt"), rules)
    assert problem.suggestion is None


def test_a_suggestion_never_leads_where_nothing_may_be_uploaded_from(tmp_path: Path) -> None:
    (tmp_path / "session").symlink_to("/etc")
    (problem,) = judged(source(tmp_path / "sessoin"))
    assert problem.suggestion is None


def test_a_folder_that_a_preset_names_is_judged_too() -> None:
    job = a_job({})
    ecephys = JobType("ecephys", "", None, {(SETTINGS, "ecephys"): {"job_settings": {"input_source": "/etc"}}})
    presets = Presets({"ecephys": ecephys}, {})
    made, _ = plan.expand(job, presets, {"default": "file:///b"})
    assert made is not None
    assert [problem.message for problem in policy.check(job, made, ALL, there)] == [
        "ecephys data folder /etc is a folder of the system, or somebody's home."
    ]


def test_a_name_no_machine_can_look_up_does_not_stop_the_service(tmp_path: Path) -> None:
    for name in ("a" * 300, "x" * 5000):
        (problem,) = judged(source(tmp_path / name))
        assert "is not there" in problem.message
        assert len(problem.message) < 600
