"""Every quirk of upstream's reading (an input, and what upstream makes of it), and what is made of it here.

Nothing is lost silently: accepted with its value, warned of, or refused with the exact cell. ``compat: upstream`` takes
what upstream takes, with a warning for each.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from csv import writer
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropbox_agent import plan, policy, validate
from dropbox_agent.examine import Examination, Examiner, presets_in
from dropbox_agent.manifest import LIMITS, is_manifest
from dropbox_agent.manifest.parse import parse
from dropbox_agent.model import Job, Known, Level, Problem
from dropbox_agent.settings.packaged import packaged

SHARED = Path(__file__).parents[2] / "shared" / "samples" / "upstream"
PLATFORMS, MODALITIES = validate.known_names()
KNOWN = Known(
    job_types=("default", "ecephys", "custom"),
    broken_job_types={},
    projects=("Ephys Platform", "Behavior Platform", "Ophys Platform - SLAP2"),
    platforms=PLATFORMS,
    modalities=MODALITIES,
    buckets=("default", "private", "open"),
    task_ids=plan.task_ids(),
    default_email="lab@example.org",
    now=datetime(2026, 1, 31, tzinfo=timezone.utc),
)
HEADER = "job_type,project_name,subject_id,acq_datetime,modality0,modality0.input_source"
ROW = "default,Ephys Platform,0012,2024-05-27T16:07:59,ecephys,/data/a"
PREFIX = "0012_2024-05-27_16-07-59"


@dataclass(frozen=True)
class Read:
    """What was made of a file."""

    jobs: tuple[Job, ...]
    problems: tuple[Problem, ...]

    def told(self) -> list[tuple[str, str | int | None]]:
        """Return level and cell of each problem, or its row, or None for the whole file."""
        return [(problem.level.value, problem.place.cell or problem.place.row) for problem in self.problems]

    def errors(self) -> list[str | int | None]:
        return [place for level, place in self.told() if level == "error"]

    def prefixes(self) -> list[str]:
        return [job.s3_prefix for job in self.jobs]

    def sources(self) -> dict[str, Any]:
        """Return modality -> input_source of the first job."""
        settings = self.jobs[0].tasks.get("modality_transformation_settings", {})
        return {modality: task.get("job_settings", {}).get("input_source") for modality, task in settings.items()}


def read(folder: Path, content: bytes, name: str = "s.csv", upstream: bool = False) -> Read:
    file = folder / "spooled"
    file.write_bytes(content)
    rows, unreadable = parse(file, name, LIMITS, upstream)
    jobs, invalid = validate.to_jobs(rows, replace(KNOWN, upstream=upstream))
    return Read(jobs, (*unreadable, *invalid))


def csv(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def with_columns(header: str, *cells: str) -> bytes:
    """Return a good table with more columns."""
    return csv(f"{HEADER},{header}", *(f"{ROW},{one}" for one in cells))


def changed(old: str, new: str) -> bytes:
    """Return a good table with a part of its row changed."""
    return csv(HEADER, ROW.replace(old, new))


def xlsx(change: Callable[[openpyxl.Workbook], Any]) -> bytes:
    """Return a good workbook, changed."""
    book = openpyxl.Workbook()
    for line in (HEADER, ROW):
        book.worksheets[0].append(line.split(","))
    change(book)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def set_cell(cell: str, value: Any) -> Callable[[openpyxl.Workbook], None]:
    def change(book: openpyxl.Workbook) -> None:
        book.worksheets[0][cell] = value

    return change


def insert_title(book: openpyxl.Workbook) -> None:
    book.worksheets[0].insert_rows(1)
    book.worksheets[0]["A1"] = "Sessions of May"


def add_sheet(book: openpyxl.Workbook) -> None:
    sheet = book.create_sheet("June")
    for line in (HEADER, ROW):
        sheet.append(line.split(","))


TWICE = "modality1,modality1.input_source"
WARN = "warning"


@dataclass(frozen=True)
class Quirk:
    """An input, and what is made of it: cells of errors and warnings, and the names of the jobs."""

    input: str
    content: bytes
    errors: Sequence[str | int | None] = ()
    warnings: Sequence[str | int | None] = ()
    jobs: Sequence[str] = (PREFIX,)
    name: str = "s.csv"
    compat: Sequence[str] | None = None
    """The jobs with ``compat: upstream`` where that differs; each difference is then a warning."""
    compat_at: Sequence[str | int | None] = ()
    """Where that is told."""


QUIRKS = [
    Quirk(
        "short row",
        csv(HEADER, ROW.removesuffix(",/data/a")),
        ["F2"],
        jobs=[],
        compat=[PREFIX],
        compat_at=["F2"],
    ),
    Quirk("extra cells", csv(HEADER, ROW + ",x"), ["G2"], jobs=[], compat=[PREFIX], compat_at=["G2"]),
    Quirk(
        "duplicate header",
        with_columns("Subject-ID", "13"),
        ["G1"],
        jobs=[],
        compat=["13_2024-05-27_16-07-59"],
        compat_at=["C1"],
    ),
    Quirk("unknown column", with_columns("platfrom", "SPIM"), ["G1"], jobs=[], compat=[PREFIX], compat_at=["G1"]),
    Quirk(
        "a source without its modality", with_columns(TWICE, ",/b"), ["H2"], jobs=[], compat=[PREFIX], compat_at=["H2"]
    ),
    Quirk(
        "a capsule without its modality",
        with_columns("modality1,modality1.capsule_id", ",12"),
        ["H2"],
        jobs=[],
        compat=[PREFIX],
        compat_at=["H2"],
    ),
    Quirk("same modality twice", with_columns(TWICE, "ecephys,/b"), ["G2"], jobs=[], compat=[PREFIX], compat_at=["E2"]),
    Quirk("modality in wrong case", changed("ecephys", "ECEPHYS"), ["E2"], jobs=[]),
    Quirk(
        "platform in wrong case",
        with_columns("platform", "ECEPHYS"),
        ["G2"],
        jobs=[],
        compat=[PREFIX],
        compat_at=["G2"],
    ),
    Quirk("header in another case", csv("Job_Type" + HEADER[8:], ROW)),
    Quirk("input_source and below it", with_columns("modality0.input_source.x", "y"), ["G2"], jobs=[]),
    Quirk("a number in a nested key", with_columns("modality0.chunk.size", "4"), compat=[PREFIX], compat_at=["G2"]),
    Quirk("a day alone", changed("T16:07:59", ""), warnings=["D2"], jobs=["0012_2024-05-27_00-00-00"]),
    Quirk("what Excel writes to csv", changed("2024-05-27T16:07:59", "5/27/2024 16:07:59")),
    Quirk(
        "what Excel writes without seconds",
        changed("2024-05-27T16:07:59", "5/27/2024 16:07"),
        jobs=["0012_2024-05-27_16-07-00"],
    ),
    Quirk("a day and month that could be either", changed("2024-05-27T16:07:59", "5/6/2024 16:07"), ["D2"], jobs=[]),
    Quirk(
        "the same with AM or PM",
        changed("2024-05-27T16:07:59", "5/6/2024 4:07:59 PM"),
        ["D2"],
        jobs=[],
        compat=["0012_2024-05-06_16-07-59"],
        compat_at=["D2"],
    ),
    Quirk(
        "seconds since 1970",
        changed("2024-05-27T16:07:59", "1602291661"),
        ["D2"],
        jobs=[],
        compat=["0012_2020-10-10_01-01-01"],
        compat_at=["D2"],
    ),
    Quirk("a time zone", changed("16:07:59", "16:07:59-07:00")),
    Quirk("UTF-16", csv(HEADER, ROW).decode().encode("utf-16"), warnings=[1]),
    Quirk("cp1252", changed("/data/a", "/data/ä").decode().encode("cp1252"), warnings=[2]),
    Quirk("semicolons", csv(HEADER, ROW).replace(b",", b";")),
    Quirk("tabs", csv(HEADER, ROW).replace(b",", b"\t")),
    Quirk("a header alone", csv(HEADER), [1], jobs=[]),
    Quirk("nothing but blank rows", b",,,\n\n", [None], jobs=[]),
    Quirk("an empty file", b"", [None], jobs=[]),
    Quirk("two identical rows", csv(HEADER, ROW, ROW), [2, 3], jobs=[]),
    Quirk(
        "51 rows",
        csv(HEADER, *(ROW.replace("0012", f"{n}") for n in range(51))),
        jobs=[PREFIX.replace("0012", f"{n}") for n in range(51)],
    ),
    Quirk("a name in capitals (.CSV)", csv(HEADER, ROW), name="S.CSV"),
    Quirk("a name in capitals (.XLSX)", xlsx(lambda book: None), name="S.XLSX"),
    Quirk("a subject that climbs", changed("0012", "../../x y"), ["C2"], jobs=[]),
    Quirk(
        "a date in 2199",
        changed("2024-", "2199-"),
        ["D2"],
        jobs=[],
        compat=["0012_2199-05-27_16-07-59"],
        compat_at=["D2"],
    ),
    Quirk(
        "an unknown task in a column",
        with_columns("tasks.uplod_data_to_s3.skip_task", "TRUE"),
        ["G2"],
        jobs=[],
        compat=[PREFIX],
        compat_at=["G2"],
    ),
    Quirk(
        "a misspelt modality in a column of a task",
        with_columns("tasks.compress_data.ecefys.job_settings.level", "four"),
        ["G2"],
        jobs=[],
    ),
    Quirk(
        "email_notification_types as a program writes a list", with_columns("email_notification_types", "\"['end']\"")
    ),
    Quirk("email_notification_types", with_columns("email_notification_types", '"begin, fail"')),
    Quirk("a subject that is a number", xlsx(set_cell("C2", 12)), name="s.xlsx", jobs=[PREFIX.replace("0012", "12")]),
    Quirk("a subject that is 12.0", xlsx(set_cell("C2", 12.0)), name="s.xlsx", jobs=[PREFIX.replace("0012", "12")]),
    Quirk(
        "a formula that was never calculated",
        xlsx(set_cell("F2", '="/data/"&C2')),
        ["F2"],
        name="s.xlsx",
        jobs=[],
        compat=[PREFIX],
        compat_at=["F2"],
    ),
    Quirk("a second sheet", xlsx(add_sheet), warnings=[None], name="s.xlsx"),
    Quirk("title rows above the header", xlsx(insert_title), name="s.xlsx"),
    Quirk("a line break, a tab and a hard space around a cell", changed("0012", '" 0012\t\n\N{NO-BREAK SPACE}"')),
    Quirk("a row of a lone space", csv(HEADER, ROW, " ,,,,,")),
    Quirk("a corrupt workbook", b"PK\x03\x04 and no more", [None], name="s.xlsx", jobs=[]),
    Quirk("None", with_columns("metadata_dir", "None"), ["G2"], jobs=[], compat=[PREFIX], compat_at=["G2"]),
    Quirk(
        "force_cloud_sync=yes",
        with_columns("force_cloud_sync", "yes"),
        ["G2"],
        jobs=[],
        compat=[PREFIX],
        compat_at=["G2"],
    ),
    Quirk(
        "merged cells",
        xlsx(lambda book: book.worksheets[0].merge_cells("E2:F2")),
        ["E2", "E2"],
        name="s.xlsx",
        jobs=[],
        compat=[PREFIX],
        compat_at=["E2"],
    ),
    Quirk(
        "a modality_id of old (process_capsule_id)",
        with_columns("modality0.process_capsule_id", "1f999652"),
    ),
    Quirk(
        "the old process_capsule_id of the whole row",
        with_columns("process_capsule_id", "1f999652"),
        ["G1"],
        jobs=[],
        compat=[PREFIX],
        compat_at=["G1"],
    ),
]


def without_levels(quirk: Quirk) -> list[tuple[str, str | int | None]]:
    return [*(("error", at) for at in quirk.errors), *((WARN, at) for at in quirk.warnings)]


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.input)
def test_a_quirk_is_accepted_warned_of_or_refused_at_its_cell(tmp_path: Path, quirk: Quirk) -> None:
    found = read(tmp_path, quirk.content, quirk.name)
    assert (sorted(found.told(), key=str), found.prefixes()) == (
        sorted(without_levels(quirk), key=str),
        list(quirk.jobs),
    )


@pytest.mark.parametrize("quirk", [one for one in QUIRKS if one.compat is not None], ids=lambda one: one.input)
def test_what_upstream_takes_is_taken_on_request_with_a_warning_at_the_cell(tmp_path: Path, quirk: Quirk) -> None:
    found = read(tmp_path, quirk.content, quirk.name, upstream=True)
    assert (found.told(), found.prefixes()) == ([(WARN, at) for at in quirk.compat_at], list(quirk.compat or ()))
    assert all(re.search("[Rr]ead as upstream does|passed over", problem.message) for problem in found.problems)


def test_a_file_of_another_type_is_no_manifest() -> None:
    assert not is_manifest("sample_invalid_ext.txt")


def test_upstream_keeps_the_last_source_of_a_modality_named_twice(tmp_path: Path) -> None:
    content = with_columns(TWICE + ",modality0.chunk", "ecephys,/b,4")
    found = read(tmp_path, content, upstream=True)
    assert (found.sources(), found.jobs[0].modalities) == ({"ecephys": "/b"}, ("ecephys",))


def test_numbers_truths_and_lists_in_nested_keys_are_what_they_say_and_texts_to_upstream(tmp_path: Path) -> None:
    content = with_columns("modality0.chunk.size,modality0.on,modality0.sizes", '4,True,"[1,2]"')
    both = [read(tmp_path, content, upstream=upstream) for upstream in (False, True)]
    ours, theirs = (found.jobs[0].tasks["modality_transformation_settings"]["ecephys"] for found in both)
    source = {"input_source": "/data/a"}
    assert ours == {"job_settings": {**source, "chunk": {"size": 4}, "on": True, "sizes": [1, 2]}}
    assert theirs == {"job_settings": {**source, "chunk": {"size": "4"}, "on": "True", "sizes": "[1,2]"}}
    assert [found.told() for found in both] == [[], [(WARN, "G2"), (WARN, "H2"), (WARN, "I2")]]


def test_the_suggestion_is_the_right_case(tmp_path: Path) -> None:
    found = read(tmp_path, with_columns("platform", "SMARTSPIM").replace(b",ecephys", b",ECEPHYS"))
    assert sorted(problem.suggestion or "" for problem in found.problems) == ["SmartSPIM", "ecephys"]


# --- what only the site can judge -------------------------------------------------------------------------------------


def examined(folder: Path, content: bytes, name: str = "s.csv", **rules: Any) -> Examination:
    """Return what a site with the job types that come along makes of a file."""
    (folder / name).write_bytes(content)
    site = Examiner(
        load_presets=presets_in(packaged("config", "job_types")),
        buckets={"default": "file:///buckets/default"},
        projects=KNOWN.projects,
        rules=policy.Rules(**rules),
        default_email=KNOWN.default_email,
        read=lambda path, name: parse(path, name, LIMITS),
    )
    return site.examine(folder / name, name, KNOWN.now)


def errors_of(found: Examination) -> list[tuple[str | int | None, str | None]]:
    return [(problem.place.cell or problem.place.row, problem.place.column) for problem in found.errors]


FOLDERS = {
    "no input_source": ("", "E2", "No source folder is given for ecephys. Fill the column modality0.input_source."),
    "backslashes": (r"C:\data\a", "F2", "is a Windows path"),
    "a UNC path": (r"\\server\share\a", "F2", "is a Windows path"),
    "a relative path": ("data/a", "F2", "is not a whole path"),
    "a folder that is not there": ("/data/nowhere", "F2", "is not there"),
}


@pytest.mark.parametrize("quirk", FOLDERS)
def test_a_source_that_upstream_passes_on_unseen_is_refused_at_its_cell(tmp_path: Path, quirk: str) -> None:
    source, cell, words = FOLDERS[quirk]
    found = examined(tmp_path, changed("/data/a", source))
    assert [problem.place.cell for problem in found.errors] == [cell]
    assert words in found.errors[0].message


def test_a_unc_path_is_read_as_the_site_maps_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = examined(tmp_path, changed("/data/a", r"\\server\share\a"), path_map={r"\\server\share": str(tmp_path)})
    assert (found.errors, [job.s3_prefix for job, _ in found.jobs]) == ((), [PREFIX])


def test_of_a_cell_that_could_not_be_read_it_is_not_told_too_that_its_value_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    content = changed("/data/a", str(tmp_path / "a")).replace(b"0012", b"NA")
    assert errors_of(examined(tmp_path, content)) == [("C2", "subject_id")]


def test_a_long_workbook_without_addresses_is_taken_whole(tmp_path: Path) -> None:
    """What is odd in each of many rows is no reason to refuse any."""
    (tmp_path / "a").mkdir()
    rows = [ROW.replace("0012", f"{n}").replace("/data/a", str(tmp_path / "a")) for n in range(700)]
    found = examined(tmp_path, csv(HEADER, *(row.replace("T16:07:59", "") for row in rows)))
    assert (len(found.acceptable()), found.errors) == (700, ())
    assert [problem.place.cell for problem in found.problems] == [f"D{row}" for row in range(2, 23)]


# --- rules of requests ------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"ecephys": {"job_settings": {"input_source": "/"}}}
REQUESTS: dict[str, tuple[dict[str, Any], str, str, str | None]] = {
    "an unknown task": ({"uplod_data_to_s3": {"skip_task": True}}, WARN, "tasks.uplod_data_to_s3", "upload_data_to_s3"),
    "a misspelt field": (
        {"compress_data": {"skip_tsk": True}},
        WARN,
        "tasks.compress_data.skip_tsk",
        "skip_task",
    ),
    "a field of upstream's tests": (
        {"upload_data_to_s3": {"dynamic_parameters_settings": {}}},
        WARN,
        "tasks.upload_data_to_s3.dynamic_parameters_settings",
        None,
    ),
    "the same among others": (
        {"compress_data": {"skip_task": True, "dynamic_parameters_settings": {}}},
        WARN,
        "tasks.compress_data.dynamic_parameters_settings",
        None,
    ),
    "settings of a modality that is not there": (
        {"modality_transformation_settings": {**SETTINGS, "SPIM": {"skip_task": True}}},
        "error",
        "tasks.modality_transformation_settings.SPIM",
        None,
    ),
    "a key that is no modality": (
        {"codeocean_pipeline_settings": {"foo": {"job_settings": {}}}},
        "error",
        "tasks.codeocean_pipeline_settings.foo",
        None,
    ),
    "no settings per modality": (
        {"modality_transformation_settings": {"job_settings": {"input_source": "/"}}},
        "error",
        "tasks.modality_transformation_settings",
        None,
    ),
    "a number for a task": ({"compress_data": 3}, "error", "tasks.compress_data", None),
}
"""A rule of upstream's requests, or what it does not look at -> tasks, level, key path and suggestion."""


@pytest.mark.parametrize("rule", REQUESTS)
def test_a_request_is_told_what_upstream_accepts_unseen_at_its_key(tmp_path: Path, rule: str) -> None:
    tasks, level, column, suggestion = REQUESTS[rule]
    job: dict[str, Any] = {
        **{"job_type": "default", "project_name": "Ephys Platform", "subject_id": "0012"},
        **{"acq_datetime": "2024-05-27T16:07:59", "modalities": [{"abbreviation": "ecephys"}]},
        "tasks": {"modality_transformation_settings": SETTINGS, **tasks},
    }
    found = read(tmp_path, json.dumps({"upload_jobs": [job]}).encode(), "s.json")
    assert [(one.level.value, one.place.column, one.suggestion) for one in found.problems] == [
        (level, f"upload_jobs.0.{column}", suggestion)
    ]
    assert len(found.jobs) == (1 if level == WARN else 0)


@pytest.mark.parametrize("tasks", [{}, {"modality_transformation_settings": {}}])
def test_a_request_without_a_source_is_refused_at_its_modality(tmp_path: Path, tasks: dict[str, Any]) -> None:
    job: dict[str, Any] = {
        **{"job_type": "default", "project_name": "Ephys Platform", "subject_id": "0012", "tasks": tasks},
        **{"acq_datetime": "2024-05-27T16:07:59", "modalities": [{"abbreviation": "ecephys"}]},
    }
    found = examined(tmp_path, json.dumps({"upload_jobs": [job]}, indent=1).encode(), "s.json")
    assert [problem.place.column for problem in found.errors] == ["upload_jobs.0.modalities.0"]


# --- anything at all -------------------------------------------------------------------------------------------------

HEADERS = (
    *(
        "platform",
        "s3_bucket",
        "user_email",
        "email_notification_types",
        "metadata_dir",
        "derivatives_dir",
        "Unknown",
        "",
    ),
    *(
        "force_cloud_sync",
        "modality0.source",
        "modality1",
        "modality1.input_source",
        "modality1.capsule_id",
        "MODALITY0",
    ),
    *("modality0.a.b", "modality0.a", "modality0.job_settings.x", "modality0.image_resources.cpus", "Subject ID"),
    *("tasks.upload_data_to_s3.skip_task", "tasks.compress_data.ecephys.job_settings.q", "tasks.foo.skip_task"),
    *("tasks.codeocean_pipeline_settings.ecephys.job_settings.pipeline_monitor_settings", "modality0.image_version"),
    *("process_capsule_id", "tasks.modality_transformation_settings.job_settings.x", "modality1.pipeline_id"),
)
VALUES = (
    *(
        None,
        "",
        "  ",
        "None",
        "NA",
        True,
        False,
        12,
        12.5,
        1e300,
        -0.0,
        1e16,
        "0012",
        "TRUE",
        "yes",
        "[1, 2]",
        '{"a": 1}',
    ),
    *("2024-05-27T16:07:59", "5/6/2024", "45439", "1602291661", datetime(2024, 5, 27, 16, 7, 59)),  # noqa: DTZ001
    *(
        time(1, 2),
        timedelta(days=3, seconds=5),
        "ECEPHYS",
        "behavior",
        "/data/a",
        r"\\s\a",
        "=1+1",
        "#REF!",
        "../../x y",
    ),
    *("a@b.org", "begin, end", "x" * 300, "\u202e", "a\nb", "a\tb", "\x7f", "'", '"', "<b>", "%JOB_SETTINGS", "$(x)"),
)
FORMATS = ("General", "0000", '"M"000', "yyyy-mm-dd", "[h]:mm", "0.00%", "@", "[Red]0", "0;-0;;@", "# ?/?")
tables = st.lists(st.sampled_from(HEADERS), max_size=8).flatmap(
    lambda more: st.lists(
        st.lists(st.sampled_from(VALUES), min_size=len(more), max_size=len(more)), min_size=1, max_size=3
    ).map(lambda rows: [[*HEADER.split(","), *more], *([*ROW.split(","), *row] for row in rows)])
)


def in_every_form(table: list[list[Any]], formats: list[str]) -> dict[str, bytes]:
    book = openpyxl.Workbook()
    for row in table:
        book.worksheets[0].append([None if value == "\x7f" else value for value in row])
    for cell, number_format in zip(book.worksheets[0][2], formats, strict=False):
        cell.number_format = number_format
    written = io.BytesIO()
    book.save(written)
    texts = [["" if value is None else str(value) for value in row] for row in table]
    named = [{name: value for name, value in zip(texts[0], row, strict=True) if name} for row in table[1:]]
    request = {"upload_jobs": named}
    lines = io.StringIO()
    writer(lines).writerows(texts)
    return {
        "s.xlsx": written.getvalue(),
        "s.csv": lines.getvalue().encode(),
        "s.json": json.dumps(request, default=str).encode(),
        "s.yaml": yaml.safe_dump(json.loads(json.dumps(request, default=str))).encode(),
    }


@given(tables, st.lists(st.sampled_from(FORMATS), max_size=14), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_stands_in_a_table_is_a_job_or_told_in_words_fit_to_show(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[Any]], formats: list[str], upstream: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, content in in_every_form(table, formats).items():
        found = read(folder, content, name, upstream)
        assert found.jobs or found.errors()
        told = [text for one in found.problems for text in (one.message, one.found, one.suggestion, one.place.column)]
        assert [text for text in told if text is not None and not text.isprintable()] == []


# --- the samples -----------------------------------------------------------------------------------------------------

needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="the samples of existing users are not here")
SAMPLES: dict[str, tuple[int, list[tuple[str | int | None, str | None]]]] = {
    "new_sample.csv": (3, []),
    "nested_sample.csv": (1, []),
    "legacy_sample.csv": (2, [("D4", None)]),
    "legacy_sample2.csv": (1, []),
    "job_upload_template.xlsx": (3, []),
    "sample_malformed_2.csv": (0, [("G2", None), (2, None)]),
}
"""Sample -> how many jobs it gives, and the cells of its errors."""


@needs_samples
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_read_as_its_readme_says(tmp_path: Path, name: str) -> None:
    jobs, errors = SAMPLES[name]
    found = read(tmp_path, (SHARED / name).read_bytes(), name)
    assert (len(found.jobs), sorted(map(str, found.errors()))) == (jobs, sorted(str(at) for at, _ in errors))


@needs_samples
@pytest.mark.parametrize("name", ["sample.csv", "sample.xlsx", "sample_malformed.xlsx"])
def test_a_bad_sample_is_refused_with_its_cells_and_suggestions(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, (SHARED / name).read_bytes(), name)
    wrong = {(problem.found, problem.suggestion) for problem in found.problems if problem.level is Level.ERROR}
    assert found.jobs == ()
    assert all(problem.place.row for problem in found.problems if problem.level is Level.ERROR)
    if name != "sample_malformed.xlsx":
        assert {("ECEPHYS", "ecephys"), ("BEHAVIOR_VIDEOS", "behavior-videos")} <= wrong


@needs_samples
def test_the_legacy_sample_as_upstream_reads_it(tmp_path: Path) -> None:
    found = read(tmp_path, (SHARED / "legacy_sample.csv").read_bytes(), "legacy_sample.csv", upstream=True)
    assert (len(found.jobs), found.errors()) == (3, [])
    settings = found.jobs[2].tasks["modality_transformation_settings"]
    assert settings == {"behavior-videos": {"job_settings": {"input_source": "dir/data_set_3"}}}
    assert ("warning", "B4") in found.told()
