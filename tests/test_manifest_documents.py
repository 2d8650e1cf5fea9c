"""YAML and JSON: scalars stay text, lines are known, and what could mean two things is an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dropbox_agent.manifest import LIMITS, Limits, document
from dropbox_agent.manifest.parse import Found
from dropbox_agent.model import Level, Place, Problem

JOB = """\
job_type: default
project_name: Ephys Platform
subject_id: 0012
acq_datetime: 2024-05-27 16:07:59
modalities: [ecephys]
"""


def read_yaml(text: str, limits: Limits = LIMITS) -> Found:
    return document.read(text.encode(), "s.yaml", limits)


def read_json(value: Any, limits: Limits = LIMITS) -> Found:
    text = value if isinstance(value, str) else json.dumps(value, indent=1)
    return document.read(text.encode("utf-8", "surrogatepass"), "s.json", limits)


def told(found: Found) -> list[tuple[str, int | None, str | None]]:
    return [(problem.level.value, problem.place.row, problem.place.column) for problem in found[1]]


def test_one_job_alone_is_a_row_with_the_line_of_each_value() -> None:
    rows, problems = read_yaml(JOB + "tasks:\n  compress_data:\n    skip_task: true\n")
    assert problems == ()
    assert rows[0].place == Place("s.yaml", row=1)
    assert rows[0].entry == {
        "job_type": "default",
        "project_name": "Ephys Platform",
        "subject_id": "0012",
        "acq_datetime": "2024-05-27 16:07:59",
        "modalities": ["ecephys"],
        "tasks": {"compress_data": {"skip_task": "true"}},
    }
    assert rows[0].place_of("subject_id") == Place("s.yaml", row=3, column="subject_id")
    assert rows[0].place_of("modalities", "0") == Place("s.yaml", row=5, column="modalities.0")
    assert rows[0].place_of("tasks", "compress_data", "skip_task") == Place(
        "s.yaml", row=8, column="tasks.compress_data.skip_task"
    )


@pytest.mark.parametrize("text", ["0012", "1_000", "12:30:45", "no", "1.10", "1e3", "2024-05-27", "0x10", ".inf"])
def test_yaml_scalars_stay_text(text: str) -> None:
    rows, problems = read_yaml(f"subject_id: {text}\n")
    assert problems == ()
    assert rows[0].entry == {"subject_id": text}


@pytest.mark.parametrize("text", ["", "~", "null"])
def test_an_empty_yaml_value_is_not_set(text: str) -> None:
    assert read_yaml(f"subject_id: {text}\njob_type: x\n")[0][0].entry == {"job_type": "x"}


@pytest.mark.parametrize("nothing", ["None", "NA", "nan", "'null'"])
def test_what_programs_write_for_nothing_is_an_error_at_its_line(nothing: str) -> None:
    rows, problems = read_yaml(f"job_type: x\nsubject_id: {nothing}\n")
    assert [(problem.level, problem.place) for problem in problems] == [
        (Level.ERROR, Place("s.yaml", row=2, column="subject_id"))
    ]
    assert rows[0].refused


@pytest.mark.parametrize("key", ["Tasks", "TASKS", "Modalities", "S3-Prefix", "Upload_Jobs"])
def test_a_key_in_another_case_is_an_error_for_what_it_says_would_be_lost(key: str) -> None:
    rows, problems = read_yaml(f"{JOB}{key}: {{a: b}}\n")
    assert [(problem.level, problem.place.row) for problem in problems] == [(Level.ERROR, 6)]
    assert problems[0].suggestion == key.lower().replace("-", "_")
    assert rows[0].refused


def test_the_keys_of_a_column_may_stand_in_a_mapping_below_it() -> None:
    short = "modality0: ecephys\nmodality0.input_source: /data/a\n"
    flat = "modality0.job_settings.a.b: 4\nmodality0.image_resources.cpus: 2\ntasks.upload_data_to_s3.skip_task: true\n"
    nested = "modality0.job_settings:\n  a: {b: 4}\nmodality0.image_resources: {cpus: 2}\n"
    nested += "tasks.upload_data_to_s3:\n  skip_task: true\n"
    rows, problems = read_yaml(short + nested)
    assert problems == ()
    assert rows[0].entry == read_yaml(short + flat)[0][0].entry
    assert rows[0].place_of("tasks", "upload_data_to_s3", "skip_task").row == 7


def test_lists_and_mappings_of_the_short_form_are_typed_as_their_values_are_alone() -> None:
    rows, problems = read_yaml(
        "modality0: ecephys\nmodality0.a: {b: 4, c: '4', input_source: 12}\nmodality0.d: [1, no, '2']\n"
    )
    assert problems == ()
    settings = rows[0].entry["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]
    assert settings == {"a": {"b": 4, "c": "4", "input_source": "12"}, "d": [1, "no", "2"]}


def test_a_column_as_a_key_may_be_written_in_any_case() -> None:
    rows, problems = read_yaml("Job-Type: x\nSubject ID: 0012\n")
    assert (rows[0].entry, problems) == ({"job_type": "x", "subject_id": "0012"}, ())


def test_a_quoted_null_is_text() -> None:
    assert read_yaml("subject_id: 'null'\n")[0][0].entry == {"subject_id": "null"}


def test_json_keeps_its_types() -> None:
    settings = {"a": 1, "b": 1.5, "c": True, "d": None, "e": ["x", {"f": "é"}], "g": ""}
    rows, problems = read_json({"tasks": {"compress_data": {"job_settings": settings}}})
    assert problems == ()
    assert rows[0].entry == {"tasks": {"compress_data": {"job_settings": settings}}}


def test_a_request_hands_its_address_down_to_the_jobs_that_have_none() -> None:
    request = {
        "user_email": "ana@example.org",
        "email_notification_types": ["all"],
        "upload_jobs": [{"subject_id": "1"}, {"subject_id": "2", "user_email": "bo@example.org"}],
    }
    rows, problems = read_json(request)
    assert problems == ()
    assert [row.entry for row in rows] == [
        {"subject_id": "1", "user_email": "ana@example.org", "email_notification_types": ["all"]},
        {"subject_id": "2", "user_email": "bo@example.org", "email_notification_types": ["all"]},
    ]
    assert [row.place for row in rows] == [
        Place("s.json", row=7, column="upload_jobs.0"),
        Place("s.json", row=10, column="upload_jobs.1"),
    ]
    assert rows[0].place_of("user_email") == Place("s.json", row=2, column="user_email")
    assert rows[1].place_of("user_email") == Place("s.json", row=12, column="upload_jobs.1.user_email")


def test_an_unknown_key_is_told_with_the_nearest_known_one_and_passed_over() -> None:
    rows, problems = read_yaml(JOB + "platfrom: ecephys\ndag_id: transform_and_upload_v2\n")
    assert problems == (
        Problem(
            Level.WARNING,
            Place("s.yaml", row=6, column="platfrom"),
            '"platfrom" is not known and is passed over. Did you mean "platform"?',
            found="platfrom",
            suggestion="platform",
        ),
    )
    assert "platfrom" not in rows[0].entry
    assert not rows[0].refused


SHORT = """\
job_type: default
project_name: Ephys Platform
subject_id: 0012
acq_datetime: 2024-05-27 16:07:59
metadata_dir: /data/metadata
force_cloud_sync: true
modality0: ecephys
modality0.input_source: /data/a
modality0.chunk.size: 4
modality0.job_settings.version: "4"
modality0.image_resources.cpus: 2
Modality1: behavior-videos
modality1.input-source: 0012
modality1.capsule_id: 17
tasks.upload_data_to_s3.skip_task: false
"""


def test_the_short_form_reads_like_the_table() -> None:
    rows, problems = read_yaml(SHORT)
    assert problems == ()
    assert rows[0].entry == {
        **{"job_type": "default", "project_name": "Ephys Platform"},
        **{"subject_id": "0012", "acq_datetime": "2024-05-27 16:07:59"},
        "modalities": ["ecephys", "behavior-videos"],
        "tasks": {
            "gather_preliminary_metadata": {"job_settings": {"metadata_dir": "/data/metadata"}},
            "check_s3_folder_exists": {"skip_task": True},
            "modality_transformation_settings": {
                "ecephys": {
                    "job_settings": {"input_source": "/data/a", "chunk": {"size": 4}, "version": "4"},
                    "image_resources": {"cpus": 2},
                },
                "behavior-videos": {"job_settings": {"input_source": "0012"}},
            },
            "codeocean_pipeline_settings": {
                "behavior-videos": {"job_settings": {"pipeline_monitor_settings": {"run_params": {"capsule_id": "17"}}}}
            },
            "upload_data_to_s3": {"skip_task": "false"},
        },
    }
    source = rows[0].place_of("tasks", "modality_transformation_settings", "ecephys", "job_settings", "input_source")
    assert source == Place("s.yaml", row=8, column="modality0.input_source")


def test_both_forms_may_be_mixed_and_what_is_said_twice_is_an_error() -> None:
    tasks = "tasks:\n  gather_preliminary_metadata:\n    job_settings: {metadata_dir: /data}\n"
    rows, problems = read_yaml(JOB + tasks + "derivatives_dir: /derived\n")
    assert problems == ()
    assert sorted(rows[0].entry["tasks"]) == ["copy_derivatives_folder", "gather_preliminary_metadata"]
    rows, problems = read_yaml(JOB + tasks + "metadata_dir: /other\n")
    assert told((rows, problems)) == [("error", 9, "metadata_dir")]
    assert rows[0].refused


def test_json_may_be_short_too_and_keeps_its_types() -> None:
    rows, problems = read_json(
        {"modality0": "ecephys", "modality0.size": "4", "modality0.on": True, "modality0.sizes": [1, {"a": 2}]}
    )
    assert problems == ()
    settings = rows[0].entry["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]
    assert settings == {"size": "4", "on": True, "sizes": [1, {"a": 2}]}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("modality0: SPIM\n", "named twice, here and in modalities"),
        ("modality1.input_source: /x\n", "modality1 is not, so it would be lost"),
        ("modality0.inptu_source: /x\n", 'would be lost. Did you mean "modality0.input_source"?'),
        ("tasks.upload_data_to_s3.skip_tsk: true\n", 'Did you mean "tasks.upload_data_to_s3.skip_task"?'),
        ("metadata_dir: [/a, /b]\n", "metadata_dir takes one value"),
        ("metadata_dir: None\n", "what programs write for an empty cell"),
        ("force_cloud_sync: yes\n", "must be true or false"),
    ],
)
def test_what_would_be_lost_in_the_short_form_is_an_error_at_its_line(more: str, words: str) -> None:
    rows, problems = read_yaml(JOB + more)
    assert [(problem.level, problem.place.row) for problem in problems] == [(Level.ERROR, 6)]
    assert words in problems[0].message
    assert rows[0].refused


def test_settings_of_the_full_form_are_typed_where_they_stand_without_quotes() -> None:
    settings = "a: 4\nb: '4'\nc: [1, true, 0012, no]\ninput_source: 12\n"
    indented = settings.replace("\n", "\n      ")
    rows, _ = read_yaml(
        f"{JOB}tasks:\n  compress_data:\n    job_settings:\n      {indented}\n    image_version: 1.10\n"
    )
    assert rows[0].entry["tasks"]["compress_data"] == {
        "job_settings": {"a": 4, "b": "4", "c": [1, True, "0012", "no"], "input_source": "12"},
        "image_version": "1.10",
    }


def test_a_yaml_that_lacks_its_last_line_break_is_read_with_a_warning() -> None:
    rows, problems = read_yaml(JOB.rstrip("\n"))
    assert (len(rows), rows[0].refused, told((rows, problems))) == (1, False, [("warning", 5, None)])


def test_an_unknown_key_of_a_request_is_told_too() -> None:
    assert told(read_json({"upload_jobs": [{}], "user_mail": "x"})) == [("warning", 5, "user_mail")]


@pytest.mark.parametrize(
    ("more", "line", "column", "words"),
    [
        ("subject_id: 13\n", 6, "subject_id", '"subject_id" is there twice, also in line 3'),
        ("platform: &p ecephys\n", 6, "platform", "&p is an anchor"),
        ("platform: !!str ecephys\n", 6, "platform", "is a tag"),
        ("platform: !python/object/apply:os.system [ls]\n", 6, "platform", "is a tag"),
        ("platform: *p\n", 6, "platform", "*p is an alias"),
        ("tasks:\n  <<: {a: {}}\n", 7, "tasks", "<< merges another mapping"),
        ('platform: "a\\x07b"\n', 6, "platform", "control character"),
    ],
)
def test_what_could_mean_two_things_in_yaml_is_an_error_with_its_line(
    more: str, line: int, column: str, words: str
) -> None:
    rows, problems = read_yaml(JOB + more)
    assert (problems[0].level, problems[0].place) == (Level.ERROR, Place("s.yaml", row=line, column=column))
    assert words in problems[0].message
    assert all(row.refused for row in rows)


def test_a_wrong_form_inside_one_job_refuses_that_job_only() -> None:
    jobs = "".join(f"  - subject_id: {n}\n    platform: {p}\n" for n, p in ((1, "a"), (2, "!!str b"), (3, "c")))
    rows, problems = read_yaml("upload_jobs:\n" + jobs)
    assert told((rows, problems)) == [("error", 5, "upload_jobs.1.platform")]
    assert [row.refused for row in rows] == [False, True, False]


def test_a_key_twice_in_json_is_an_error_with_both_lines() -> None:
    rows, problems = read_json('{"subject_id": "1",\n "platform": "a",\n "subject_id": "2"}')
    assert told((rows, problems)) == [("error", 3, "subject_id")]
    assert "also in line 1" in problems[0].message
    assert rows[0].refused


@pytest.mark.parametrize("text", ['"\\u0000"', '"\\ud800"', '{"\\u0007": 1}'])
def test_characters_that_no_text_needs_are_errors(text: str) -> None:
    rows, problems = read_json(f'{{"tasks": {{"x": {text}}}}}')
    assert [problem.level for problem in problems] == [Level.ERROR]
    assert all(row.refused for row in rows)


def test_a_key_that_no_text_needs_can_still_be_told() -> None:
    rows, problems = read_json('{"tasks": {\n"\\ud800\\u0007": {"skip_task": 1}}}')
    assert told((rows, problems)) == [("error", 2, r"tasks.\ud800\x07")]
    assert rows[0].place_of("tasks", "\ud800\x07", "skip_task").column == r"tasks.\ud800\x07.skip_task"


def test_what_is_told_of_a_file_can_be_written_anywhere() -> None:
    bad = r"x\ud800\u0007"
    job = f'{{"{bad}": 1, "{bad}": 2, "tasks": {{"{bad}": "{bad}"}}}}'
    _, problems = read_json(f'{{"{bad}": 1, "upload_jobs": [{job}, "{bad}"]}}')
    told = [text for one in problems for text in (one.message, one.found, one.suggestion, one.place.column) if text]
    assert len(problems) == 9
    assert [text for text in told if not text.isprintable()] == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "nothing in it"),
        ("# only words\n", None, "nothing in it"),
        ("just a word\n", 1, "KEY: VALUE"),
        ("- a: b\n", 1, "upload_jobs"),
        ("upload_jobs:\n", 1, "at least one job"),
        ("upload_jobs: []\n", 1, "at least one job"),
        ("upload_jobs: {a: b}\n", 1, "at least one job"),
        ("upload_jobs: [{}, x]\n", 1, "KEY: VALUE"),
        ("a: b\n---\nc: d\n", 2, "second document"),
        ("a: [b\n", 2, "is not YAML"),
        ("a: b\n c: d\n", 2, "is not YAML"),
        ("a: b\n? [c]\n: d\n", 2, "key that is not plain text"),
        ("\ta: b\n", 1, "is not YAML"),
        (r'a: "C:\data"', 1, "use single quotes"),
        ("a: \x01\n", None, "YAML"),
        ("a: " + "[" * 60 + "]" * 60, 1, "nested more than 40 deep"),
        ("a: " + "[" * 5000, 1, "nested more than 40 deep"),
        ("a: [" + "b," * 600 + "]", 1, "more than 500 values"),
    ],
)
def test_a_yaml_that_is_no_manifest_is_refused_with_words(text: str, line: int | None, words: str) -> None:
    _, problems = read_yaml(text, Limits(nodes=500))
    assert len(problems) == 1
    assert problems[0].level is Level.ERROR
    assert words in problems[0].message
    assert line is None or problems[0].place.row == line


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (" ", None, "nothing in it"),
        ("[]", 1, "KEY: VALUE"),
        ('{"a": 1,\n}', 1, "the last comma is one too many"),
        ("[1,\n2 ,\n]", 2, "the last comma is one too many"),
        ('{"a":\n 0012}', 2, "something else is needed where 012} stands"),
        ('{"a":\n ,}', 2, "something else is needed where ,} stands"),
        ('{"a": "C:\\data"}', 1, "write it twice"),
        ("{'a': 1}", 1, "something else is needed where 'a': 1} stands"),
        ('{"a": 1}\n{"b": 2}', 2, 'something else is needed where {"b": 2} stands'),
        ('{"a": 1,\n', 2, "it ends too early"),
        ('{"a": "b', 1, "no quotation mark at its end"),
        ('{"a": 1,\n "b": "c\n}', 2, "no quotation mark at its end"),
        ('{"a": [1,,]}', 1, "something else is needed where ,]} stands"),
        ('{"a": NaN}', None, "NaN"),
        ('{"a": ' + "9" * 5000 + "}", None, "a number in it is too long"),
        ("[" * 100_000, None, "deep"),
        ('{"a":' + "[" * 60 + "]" * 60 + "}", 1, "nested more than 40 deep"),
        (json.dumps({"a": list(range(600))}), 1, "more than 500 values"),
        (json.dumps({"upload_jobs": [{}] * 31}), 1, "at most 30"),
    ],
)
def test_a_json_that_is_no_manifest_is_refused_with_words(text: str, line: int | None, words: str) -> None:
    _, problems = read_json(text, Limits(nodes=500, rows=30))
    assert len(problems) == 1
    assert words in problems[0].message
    assert line is None or problems[0].place.row == line


def test_a_document_that_is_not_utf8_names_the_line() -> None:
    _, problems = document.read("a: b\nc: Köln\n".encode("latin-1"), "s.yml", LIMITS)
    assert [problem.place.row for problem in problems] == [2]
