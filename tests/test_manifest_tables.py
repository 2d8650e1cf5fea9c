"""Tables: what each column means, and that nothing of a table is lost without a word."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import openpyxl.utils.datetime
import pytest
from openpyxl.styles import Font
from openpyxl.worksheet.formula import ArrayFormula

from dropbox_agent.manifest import LIMITS, Limits, text, workbook
from dropbox_agent.manifest.columns import Meaning, meaning, suggestion
from dropbox_agent.manifest.parse import Found, parse
from dropbox_agent.manifest.values import typed
from dropbox_agent.model import Level, Place, Problem, Row

HEADER = "job_type,project_name,subject_id,acq_datetime,modality0,modality0.input_source"
ROW = "default,Ephys Platform,0012,2024-05-27T16:07:59,ecephys,/data/a"


def read_csv(*lines: str, limits: Limits = LIMITS, upstream: bool = False) -> Found:
    return text.read("".join(f"{line}\n" for line in lines).encode(), "s.csv", limits, upstream)


def book(rows: list[list[Any]], title: str = "Sheet1") -> openpyxl.Workbook:
    made = openpyxl.Workbook()
    sheet = made.worksheets[0]
    sheet.title = title
    for row in rows:
        sheet.append(row)
    return made


def read_book(made: openpyxl.Workbook, limits: Limits = LIMITS, upstream: bool = False) -> Found:
    written = io.BytesIO()
    made.save(written)
    return workbook.read(written.getvalue(), "s.xlsx", limits, upstream)


def told(found: Found) -> list[tuple[str, str | None, str]]:
    """Return level, cell and message of each problem."""
    return [(problem.level.value, problem.place.cell, problem.message) for problem in found[1]]


def only(found: Found) -> Problem:
    """Return the one problem there is."""
    assert len(found[1]) == 1, found[1]
    return found[1][0]


def entry(found: Found) -> Any:
    """Return the entry of the one row there is, which has no problems."""
    assert found[1] == ()
    assert len(found[0]) == 1
    return found[0][0].entry


SETTINGS = ("tasks", "modality_transformation_settings", "{modality}")
PIPELINE = ("tasks", "codeocean_pipeline_settings", "{modality}")
RUN_PARAMS = (*PIPELINE, "job_settings", "pipeline_monitor_settings", "run_params")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("job_type", Meaning(("job_type",))),
        (" Subject-ID ", Meaning(("subject_id",))),
        ("Acq  Datetime", Meaning(("acq_datetime",))),
        ("metadata_dir", Meaning(("tasks", "gather_preliminary_metadata", "job_settings", "metadata_dir"))),
        ("derivatives-dir", Meaning(("tasks", "copy_derivatives_folder", "job_settings", "input_source"))),
        ("force_cloud_sync", Meaning(("tasks", "check_s3_folder_exists", "skip_task"))),
        ("Modality0", Meaning(("modalities",), 0)),
        ("modality12.input-source", Meaning((*SETTINGS, "job_settings", "input_source"), 12)),
        ("modality1.source", Meaning((*SETTINGS, "job_settings", "input_source"), 1)),
        ("modality0.process_capsule_id", Meaning((*RUN_PARAMS, "capsule_id"), 0)),
        ("modality0.capsule_id", Meaning((*RUN_PARAMS, "capsule_id"), 0)),
        ("modality0.pipeline_id", Meaning((*RUN_PARAMS, "pipeline_id"), 0)),
        ("modality0.job_settings.A-b.C", Meaning((*SETTINGS, "job_settings", "A-b", "C"), 0)),
        ("modality0.image_resources.partition", Meaning((*SETTINGS, "image_resources", "partition"), 0)),
        ("modality0.skip_task", Meaning((*SETTINGS, "skip_task"), 0)),
        ("modality0.compression-requested.x", Meaning((*SETTINGS, "job_settings", "compression_requested", "x"), 0)),
        ("tasks.upload_data_to_s3.skip_task", Meaning(("tasks", "upload_data_to_s3", "skip_task"))),
        ("tasks.compress_data.behavior-videos.image", Meaning(("tasks", "compress_data", "behavior-videos", "image"))),
        ("tasks.x.job_settings.a.B", Meaning(("tasks", "x", "job_settings", "a", "B"))),
        ("notes", None),
        ("subject_id.x", None),
        ("modality", None),
        ("modality007", None),
        ("modality0.", None),
        ("modality0.inptu_source", None),
        ("modality0.job_settings", None),
        ("modality0.skip_task.x", None),
        ("tasks.upload_data_to_s3", None),
        ("tasks.upload_data_to_s3.skip_tsk", None),
        ("modality0" + ".x" * 50, None),
    ],
)
def test_a_header_means(header: str, expected: Meaning | None) -> None:
    assert meaning(header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Subjct_ID", "subject_id"),
        ("platfrom", "platform"),
        ("modality0.inptu_source", "modality0.input_source"),
        ("tasks.upload_data_to_s3.skip_tsk", "tasks.upload_data_to_s3.skip_task"),
        ("modality0.job_settings", "modality0.job_settings.KEY"),
        ("tasks.upload_data_to_s3.job_settings", "tasks.upload_data_to_s3.job_settings.KEY"),
        ("weather", None),
    ],
)
def test_a_misspelt_header_is_offered_the_right_one(header: str, expected: str | None) -> None:
    assert suggestion(header) == expected


def test_a_csv_row_becomes_a_job_in_the_shape_of_upstream_with_the_place_of_every_value() -> None:
    rows, problems = read_csv(HEADER, ROW)

    row = Place("s.csv", row=2)
    settings = "tasks.modality_transformation_settings"
    assert problems == ()
    assert rows == (
        Row(
            row,
            {
                "modalities": ["ecephys"],
                "job_type": "default",
                "project_name": "Ephys Platform",
                "subject_id": "0012",
                "acq_datetime": "2024-05-27T16:07:59",
                "tasks": {
                    "modality_transformation_settings": {"ecephys": {"job_settings": {"input_source": "/data/a"}}}
                },
            },
            {
                "job_type": Place("s.csv", row=2, column="job_type", cell="A2"),
                "project_name": Place("s.csv", row=2, column="project_name", cell="B2"),
                "subject_id": Place("s.csv", row=2, column="subject_id", cell="C2"),
                "acq_datetime": Place("s.csv", row=2, column="acq_datetime", cell="D2"),
                "modalities": Place("s.csv", row=2, column="modality0", cell="E2"),
                "modalities.0": Place("s.csv", row=2, column="modality0", cell="E2"),
                f"{settings}.ecephys.job_settings.input_source": Place(
                    "s.csv", row=2, column="modality0.input_source", cell="F2"
                ),
            },
        ),
    )


def test_an_empty_cell_has_a_place_where_the_missing_value_belongs() -> None:
    rows, _ = read_csv(HEADER, ",Ephys Platform,0012,2024-05-27T16:07:59,ecephys,/data/a")
    assert rows[0].place_of("job_type") == Place("s.csv", row=2, column="job_type", cell="A2")


def test_blank_rows_and_columns_are_skipped_and_rows_keep_their_numbers() -> None:
    rows, problems = read_csv("", HEADER + ",", ",,,,,,", ROW + ",", "", ROW.replace("0012", "13") + ",")
    assert problems == ()
    assert [(row.place.row, row.entry["subject_id"]) for row in rows] == [(4, "0012"), (6, "13")]


def test_a_quoted_cell_may_hold_commas_and_lines_and_counts_as_one_row() -> None:
    rows, problems = read_csv(HEADER, ROW.replace("/data/a", '"/data/a,\nb"'), ROW.replace("0012", "13"))
    assert problems == ()
    assert [row.place.row for row in rows] == [2, 3]
    assert rows[0].entry["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"] == {
        "input_source": "/data/a,\nb"
    }


@pytest.mark.parametrize("title", ["Sessions of May", "Sessions, May, 2024, by Ana, for Bo, of room, 4, 5"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_what_separates_cells_is_seen_in_the_header_not_in_a_title_above_it(delimiter: str, title: str) -> None:
    rows, problems = read_csv(title, HEADER.replace(",", delimiter), ROW.replace(",", delimiter))
    assert problems == ()
    assert [row.entry["subject_id"] for row in rows] == ["0012"]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_the_line_with_which_excel_is_told_the_separator_is_no_row(delimiter: str) -> None:
    found = read_csv(f"sep={delimiter}", HEADER.replace(",", delimiter), ROW.replace(",", delimiter))
    assert entry(found)["subject_id"] == "0012"


def test_rows_of_nothing_but_commas_do_not_count_and_a_row_may_have_as_many_as_excel_writes() -> None:
    assert entry(read_csv(HEADER, ROW, *[",,,,,"] * 5000))["subject_id"] == "0012"
    assert entry(read_csv(HEADER + "," * 16_378, ROW + "," * 16_378))["subject_id"] == "0012"


def test_as_many_sessions_as_are_promised_are_read() -> None:
    sessions = [ROW.replace("0012", f"{number}") for number in range(LIMITS.rows)]
    rows, problems = read_csv("Sessions of May", "", HEADER, *sessions)
    assert (len(rows), problems) == (LIMITS.rows, ())
    assert "more than 2000 rows" in only(read_csv(HEADER, *sessions, *sessions)).message


def test_a_header_that_comes_again_is_told_and_passed_over() -> None:
    rows, problems = read_csv(HEADER, ROW, HEADER.upper().replace("_", "-"), ROW.replace("0012", "13"))
    assert [row.entry["subject_id"] for row in rows] == ["0012", "13"]
    assert [(problem.level, problem.place.row) for problem in problems] == [(Level.WARNING, 3)]


def test_a_table_with_its_names_below_each_other_is_refused_with_the_way_to_turn_it() -> None:
    lines = [f"{name},{cell}" for name, cell in zip(HEADER.split(","), ROW.split(","), strict=True)]
    for found in (read_csv(*lines), read_csv("Session 12", *lines)):
        assert found[0] == ()
        assert "Transpose" in only(found).message


def test_a_file_with_quotation_marks_around_each_line_is_refused_with_words() -> None:
    assert "whole row is one cell" in only(read_csv(f'"{HEADER}"', f'"{ROW}"')).message


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_read_too(delimiter: str) -> None:
    found = read_csv(HEADER.replace(",", delimiter), ROW.replace(",", delimiter))
    assert entry(found)["subject_id"] == "0012"


def test_title_rows_above_the_header_are_passed_over() -> None:
    rows, problems = read_csv("Sessions of May", HEADER, ROW)
    assert problems == ()
    assert [row.place.row for row in rows] == [3]


@pytest.mark.parametrize(("value", "skip"), [("TRUE", True), ("t", True), ("False", None), ("F", None), ("", None)])
def test_force_cloud_sync_is_true_or_false(value: str, skip: bool | None) -> None:
    checked = entry(read_csv(HEADER + ",force_cloud_sync", f"{ROW},{value}"))["tasks"].get("check_s3_folder_exists")
    assert checked == (None if skip is None else {"skip_task": skip})


@pytest.mark.parametrize("value", ["yes", "1", "wahr"])
def test_force_cloud_sync_is_nothing_else(value: str) -> None:
    found = read_csv(HEADER + ",force_cloud_sync", f"{ROW},{value}")
    problem = only(found)
    assert problem == Problem(
        Level.ERROR,
        Place("s.csv", row=2, column="force_cloud_sync", cell="G2"),
        "force_cloud_sync must be true or false, or empty for false.",
        found=value,
    )
    assert found[0][0].refused


def test_a_modality_named_twice_keeps_both_names_and_never_mixes_their_settings() -> None:
    header = HEADER + ",modality1,modality1.input_source"
    row = entry(read_csv(header, ROW + ",ecephys,/data/b"))
    assert row["modalities"] == ["ecephys", "ecephys"]
    assert row["tasks"] == {
        "modality_transformation_settings": {"ecephys": {"job_settings": {"input_source": "/data/a"}}}
    }


def test_a_source_without_its_modality_is_an_error_at_the_source() -> None:
    problem = only(read_csv(HEADER + ",modality1,modality1.input_source", ROW + ",,/data/b"))
    assert (problem.level, problem.place.cell, problem.found) == (Level.ERROR, "H2", "/data/b")
    assert "column modality1" in problem.message


def test_an_unknown_column_with_data_is_an_error_that_refuses_the_rows_below_it() -> None:
    rows, problems = read_csv(HEADER + ",platfrom", ROW + ",ecephys", ROW.replace("0012", "13") + ",")
    assert problems == (
        Problem(
            Level.ERROR,
            Place("s.csv", row=1, column="platfrom", cell="G1"),
            'Column "platfrom" is not known, so what stands in it would be lost. Did you mean "platform"?',
            found="platfrom",
            suggestion="platform",
        ),
    )
    assert [row.refused for row in rows] == [True, False]
    assert 1 in {place.row for place in rows[0].places.values()}
    assert 1 not in {place.row for place in rows[1].places.values()}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("modalty1", "modality1"),
        ("modlity12.input_source", "modality12.input_source"),
        ("modalty", "modality0"),
        ("subjct", "subject_id"),
        ("projekt_name", "project_name"),
        ("acquisition_datetime", "acq_datetime"),
        ("nothing like it", None),
    ],
)
def test_a_column_that_is_not_known_is_told_with_the_one_it_was_meant_to_be(written: str, meant: str | None) -> None:
    problem = only(read_csv(f"{HEADER},{written}", ROW + ",x"))
    assert (problem.place.cell, problem.suggestion) == ("G1", meant)


def test_an_unknown_column_without_data_is_only_told() -> None:
    rows, problems = read_csv(HEADER + ",notes", ROW + ",")
    assert [(problem.level, problem.place.cell) for problem in problems] == [(Level.WARNING, "G1")]
    assert not rows[0].refused


def test_a_header_that_is_there_twice_is_an_error() -> None:
    found = read_csv(HEADER + ",Subject-ID", ROW + ",13")
    assert told(found) == [("error", "G1", 'Column "Subject-ID" is there twice, also in C1. Keep one.')]


def test_two_columns_that_set_one_thing_differently_are_an_error_and_alike_they_are_not() -> None:
    header = HEADER + ",modality0.source"
    problem = only(read_csv(header, ROW + ",/data/b"))
    assert (problem.place.cell, problem.found) == ("G2", "/data/b")
    assert "F2 (modality0.input_source)" in problem.message
    assert read_csv(header, ROW + ",/data/a")[1] == ()


def test_a_value_cannot_be_both_a_text_and_a_mapping() -> None:
    problem = only(read_csv(HEADER + ",modality0.input_source.deep", ROW + ",x"))
    assert (problem.place.cell, problem.level) == ("G2", Level.ERROR)


def test_a_row_that_ends_early_is_an_error_at_its_first_missing_cell() -> None:
    found = read_csv(HEADER, "default,Ephys Platform,0012,2024-05-27T16:07:59,ecephys")
    message = "The row ends after 5 of 6 cells. Write the empty cells too, so that none shifts."
    assert told(found) == [("error", "F2", message)]
    assert found[0][0].refused


def test_a_cell_beyond_the_header_is_an_error() -> None:
    found = read_csv(HEADER, ROW + ",more", ROW.replace("0012", "13") + ",,")
    assert [(level, cell) for level, cell, _ in told(found)] == [("error", "G2")]
    assert [row.refused for row in found[0]] == [True, False]


@pytest.mark.parametrize("nothing", ["None", "nan", "N/A", "NULL"])
def test_what_programs_write_for_an_empty_cell_is_an_error(nothing: str) -> None:
    problem = only(read_csv(HEADER + ",platform", f"{ROW},{nothing}"))
    assert (problem.level, problem.place.cell, problem.found) == (Level.ERROR, "G2", nothing)


def test_a_control_character_is_an_error_shown_in_words() -> None:
    problem = only(read_csv(HEADER, ROW.replace("/data/a", "/da\x1bta")))
    assert (problem.place.cell, problem.found) == ("F2", "/da\\x1bta")


@pytest.mark.parametrize(
    ("content", "row", "words"),
    [
        (b"", None, "nothing in it"),
        (b"\n,,\n", None, "nothing in it"),
        (HEADER.encode() + b"\n", 1, "no row below it"),
        (b"some,thing\nelse,here\n", 1, "No row names the columns"),
        (f"{HEADER}\n".encode("utf-16")[:-1], None, "only a part of a text in UTF-16"),
        (HEADER.encode() + b"\n\x9d\xff\n", 2, "Line 2 has a letter that is not in UTF-8"),
        (b"\x00\x01\x02\x03\x00", None, "not text"),
        (HEADER.encode("utf-32"), None, "in UTF-32"),
        (f'{HEADER}\n{ROW}"x\n"a"b,c'.encode(), 3, "lone quotation mark"),
        (f'{HEADER}\n"open'.encode(), 2, "lone quotation mark"),
        (HEADER.encode() + b"\nx" * 60, None, "more than 30 rows"),
        (HEADER.encode() + b",x" * 60, 1, "at most 40 are read"),
        (f"{HEADER}\n{ROW}{'x' * 500}".encode(), 2, "more than 400 characters"),
    ],
)
def test_a_csv_that_cannot_be_read_is_refused_with_words(content: bytes, row: int | None, words: str) -> None:
    rows, problems = text.read(content, "s.csv", Limits(rows=30, columns=40, cell_characters=400))
    assert rows == ()
    assert len(problems) == 1
    assert problems[0].level is Level.ERROR
    assert words in problems[0].message
    assert row is None or problems[0].place.row == row


# --- what other programs write ---------------------------------------------------------------------------------------

UMLAUT = ROW.replace("Ephys Platform", "Köln Straße")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_is_read_without_a_word(encoding: str) -> None:
    assert entry(text.read(f"{HEADER}\n{UMLAUT}\n".encode(encoding), "s.csv", LIMITS))["project_name"] == "Köln Straße"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_and_told_with_its_first_line(encoding: str) -> None:
    content = f"{HEADER}\n{UMLAUT}\n".replace(",", "\t").encode(encoding)
    rows, problems = text.read(content, "s.csv", LIMITS)
    assert [row.entry["project_name"] for row in rows] == ["Köln Straße"]
    assert [(problem.level, problem.place.row, problem.found) for problem in problems] == [
        (Level.WARNING, 1, HEADER.replace(",", " "))
    ]


def test_cp1252_is_read_and_told_with_the_words_that_may_be_wrong() -> None:
    rows, problems = text.read(f"{HEADER}\n{UMLAUT}\n".replace(",", ";").encode("cp1252"), "s.csv", LIMITS)
    assert [row.entry["project_name"] for row in rows] == ["Köln Straße"]
    (problem,) = problems
    assert (problem.level, problem.place.row) == (Level.WARNING, 2)
    assert problem.found is not None
    assert "Köln" in problem.found
    assert "cp1252" in problem.message


def test_a_csv_that_lacks_its_last_line_break_is_read_and_its_last_line_shown() -> None:
    rows, problems = text.read(f"{HEADER}\n{ROW}".encode(), "s.csv", LIMITS)
    assert len(rows) == 1
    assert [(problem.level, problem.place, problem.found) for problem in problems] == [
        (Level.WARNING, Place("s.csv", row=2), ROW)
    ]


OLE = bytes.fromhex("d0cf11e0a1b11ae1")


def a_zip(*names: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("s.xlsx", OLE + b"\0" * 500 + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        ("s.xlsx", OLE + b"\0" * 500 + "Workbook".encode("utf-16-le"), "old .xls form"),
        ("s.csv", OLE + b"\0" * 500, "old .xls form"),
        ("s.csv", b"PK\x03\x04....", "an Excel workbook"),
        ("s.yaml", b"PK\x03\x04....", "with a name ending in .yaml. Name it .xlsx."),
        ("s.xlsx", b"a,b\n1,2\n", "text with a name ending in .xlsx"),
        ("s.xlsx", b"<html><table></table></html>", "web page"),
        ("s.csv", b"<!DOCTYPE html><table></table>", "web page"),
        ("s.csv", b"%PDF-1.7 ...", "PDF"),
        ("s.csv", b"{\\rtf1 job_type,project_name}", "RTF"),
        ("s.json", b"<!DOCTYPE html><html>", "web page"),
        ("s.yaml", b"<?xml version='1.0'?>", "web page or XML with a name ending in .yaml"),
        ("s.xlsx", a_zip("mimetype", "content.xml"), "LibreOffice"),
        ("s.xlsx", a_zip("[Content_Types].xml", "xl/workbook.bin"), "binary workbook"),
        ("s.xlsx", a_zip("[Content_Types].xml", "word/document.xml"), "Word"),
        ("s.xlsx", a_zip("[Content_Types].xml", "ppt/presentation.xml"), "presentation"),
        ("s.xlsx", a_zip("Index/Document.iwa"), "Numbers"),
        ("s.xlsx", a_zip("session.xlsx"), "zip file, but no workbook"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named_as_what_it_is(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    rows, problems = parse(tmp_path / name, name, LIMITS)
    assert (rows, [problem.place for problem in problems]) == ((), [Place(name)])
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("4", 4), ("-3", -3), ("0.5", 0.5), ("TRUE", True), ("false", False), ("[1, 2]", [1, 2])),
        *(('["a", true]', ["a", True]), ("0012", "0012"), ("1.10", "1.10"), ("1e3", "1e3"), ("no", "no")),
        *(("1_000", "1_000"), ("12:30:45", "12:30:45"), ("[1, [2]]", "[1, [2]]"), ("[a", "[a"), ("x y", "x y")),
        *(("12345678901234567890", "12345678901234567890"), ("[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000)),
    ],
)
def test_a_setting_is_a_number_a_truth_or_a_list_only_where_it_can_mean_nothing_else(text: str, value: Any) -> None:
    assert (typed(text), type(typed(text))) == (value, type(value))


def test_settings_in_nested_keys_are_typed_and_names_of_folders_and_capsules_are_text() -> None:
    header = (
        f"{HEADER},modality0.chunk.size,modality0.image_resources.cpus,modality0.capsule_id,tasks.x.job_settings.on"
    )
    row = entry(read_csv(header, ROW.replace("/data/a", "7") + ",4,2,12,TRUE"))["tasks"]
    settings = row["modality_transformation_settings"]["ecephys"]
    assert settings == {"job_settings": {"input_source": "7", "chunk": {"size": 4}}, "image_resources": {"cpus": 2}}
    capsule = row["codeocean_pipeline_settings"]["ecephys"]["job_settings"]["pipeline_monitor_settings"]
    assert capsule == {"run_params": {"capsule_id": "12"}}
    assert row["x"] == {"job_settings": {"on": True}}


# --- workbooks -------------------------------------------------------------------------------------------------------

AT = datetime.fromisoformat("2024-05-27T16:07:59")
MIDNIGHT = datetime.fromisoformat("2024-05-27")
COLUMNS = HEADER.split(",")
CELLS = ROW.split(",")


def with_cell(value: Any, column: str, number_format: str | None = None) -> openpyxl.Workbook:
    """Return a workbook of one row with another value in one column."""
    made = book([COLUMNS, CELLS])
    cell: Any = made.worksheets[0].cell(row=2, column=COLUMNS.index(column) + 1, value=value)
    if number_format:
        cell.number_format = number_format
    return made


@pytest.mark.parametrize(
    ("value", "column", "number_format", "expected"),
    [
        (123456, "subject_id", None, "123456"),
        (123456.0, "subject_id", None, "123456"),
        ("0012", "subject_id", None, "0012"),
        (12345678901234, "subject_id", None, "12345678901234"),
        (0.1, "subject_id", None, "0.1"),
        (AT, "acq_datetime", "yyyy-mm-dd hh:mm:ss", "2024-05-27T16:07:59"),
        (MIDNIGHT, "acq_datetime", "yyyy-mm-dd hh:mm", "2024-05-27T00:00:00"),
        (date(2024, 5, 27), "acq_datetime", "yyyy-mm-dd", "2024-05-27"),
        (time(16, 7, 59), "acq_datetime", "hh:mm:ss", "16:07:59"),
        ("  2024-05-27 16:07:59\n", "acq_datetime", None, "2024-05-27 16:07:59"),
    ],
)
def test_a_cell_of_a_workbook_is_read_exactly(
    value: Any, column: str, number_format: str | None, expected: str
) -> None:
    assert entry(read_book(with_cell(value, column, number_format)))[column] == expected


def test_dates_of_a_workbook_that_counts_from_1904_are_the_days_they_show() -> None:
    made = with_cell(AT, "acq_datetime", "yyyy-mm-dd hh:mm:ss")
    made.epoch = openpyxl.utils.datetime.MAC_EPOCH
    assert entry(read_book(made))["acq_datetime"] == "2024-05-27T16:07:59"


def test_the_sheet_named_jobs_is_read_whatever_stands_before_it() -> None:
    made = book([COLUMNS, [*CELLS[:2], "first", *CELLS[3:]]], "old")
    sheet = made.create_sheet("Jobs")
    sheet.append(COLUMNS)
    sheet.append(CELLS)
    rows, problems = read_book(made)
    assert [(problem.level, problem.place.sheet) for problem in problems] == [(Level.WARNING, "old")]
    assert [(row.place.sheet, row.entry["subject_id"]) for row in rows] == [("Jobs", "0012")]


def test_without_it_the_first_sheet_with_a_header_is_read_and_the_others_are_named() -> None:
    made = book([["Read me"]], "notes")
    for title in ("May", "June"):
        sheet = made.create_sheet(title)
        sheet.append(COLUMNS)
        sheet.append(CELLS)
    rows, problems = read_book(made)
    assert [row.place.sheet for row in rows] == ["May"]
    assert [(problem.level, problem.place.sheet) for problem in problems] == [(Level.WARNING, "June")]


def test_hidden_sheets_are_not_read() -> None:
    made = book([COLUMNS, CELLS])
    made.create_sheet("shown")
    made.worksheets[0].sheet_state = "hidden"
    rows, problems = read_book(made)
    assert rows == ()
    assert [(problem.level, problem.place.sheet) for problem in problems] == [
        (Level.ERROR, "shown"),
        (Level.WARNING, "Sheet1"),
    ]


def test_a_formula_without_a_result_is_an_error_at_its_cell() -> None:
    problem = only(read_book(with_cell('="/data/" & A2', "modality0.input_source")))
    assert (problem.level, problem.place.cell, problem.found) == (Level.ERROR, "F2", '="/data/" & A2')
    assert "never calculated" in problem.message


def with_results(content: bytes, *results: str) -> bytes:
    """Return a workbook whose formulas hold their results, as Excel saves them."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(written, "w") as target:
        for part in source.namelist():
            changed = source.read(part)
            for result in results if part.endswith("sheet1.xml") else ():
                changed = changed.replace(b"<v></v>", f"<v>{result}</v>".encode(), 1)
                changed = changed.replace(b"<v />", f"<v>{result}</v>".encode(), 1)
            target.writestr(part, changed)
    return written.getvalue()


def test_a_formula_with_a_result_is_read_by_it_and_told() -> None:
    content = with_results(zipped(with_cell("=1000+1", "subject_id")), "1001")
    rows, problems = workbook.read(content, "s.xlsx", LIMITS)
    assert [row.entry["subject_id"] for row in rows] == ["1001"]
    assert [(problem.level, problem.place.cell, problem.found) for problem in problems] == [
        (Level.WARNING, "C2", "1001"),
    ]


def test_an_error_of_excel_is_an_error_at_its_cell() -> None:
    problem = only(read_book(with_cell("#REF!", "modality0.input_source")))
    assert (problem.level, problem.place.cell, problem.found) == (Level.ERROR, "F2", "#REF!")


def test_text_that_begins_like_a_formula_is_text() -> None:
    made = with_cell("", "modality0.input_source")
    made.worksheets[0]["F2"].value = "=nothing"
    made.worksheets[0]["F2"].data_type = "s"
    row = entry(read_book(made))
    assert row["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]["input_source"] == "=nothing"


def test_a_cell_far_away_refuses_the_workbook_and_is_named() -> None:
    made = book([COLUMNS, CELLS])
    made.worksheets[0]["XFD1048576"] = "x"
    problem = only(read_book(made))
    assert "XFD1048576" in problem.message


def zipped(made: openpyxl.Workbook) -> bytes:
    written = io.BytesIO()
    made.save(written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"job_type,project_name\n", "not an .xlsx workbook. If it is a csv, name it .csv"),
        (zipped(book([COLUMNS, CELLS]))[:3000], "not an .xlsx workbook"),
        (zipped(book([COLUMNS, CELLS])).replace(b"sheet1.xml", b"sheet9.xml"), "no visible sheet"),
        (zipped(book([COLUMNS, CELLS])).replace(b"xl/workbook.xml", b"xl/wurkbook.xml"), "damaged"),
        (zipped(book([["x" * 30_000]])), "unpacks to far more"),
        (zipped(book([COLUMNS, [*CELLS[:5], "x" * 500]])), "more than 400 characters"),
    ],
)
def test_what_is_no_good_workbook_is_refused_with_words(content: bytes, words: str) -> None:
    rows, problems = workbook.read(content, "s.xlsx", Limits(unpacked_bytes=30_000, cell_characters=400))
    assert rows == ()
    assert len(problems) == 1
    assert words in problems[0].message


def test_a_workbook_with_xml_entities_is_refused() -> None:
    source = zipfile.ZipFile(io.BytesIO(zipped(book([COLUMNS, CELLS]))))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for part in source.namelist():
            content = source.read(part)
            if part.endswith("sheet1.xml"):
                content = b'<!DOCTYPE x [<!ENTITY a "b">]>' + content
            target.writestr(part, content)
    problem = only(workbook.read(written.getvalue(), "s.xlsx", LIMITS))
    assert "damaged" in problem.message


# --- what people do to workbooks -------------------------------------------------------------------------------------


def test_merged_cells_in_data_are_an_error_in_every_row_they_reach() -> None:
    made = book([COLUMNS, CELLS, [*CELLS[:2], "13", *CELLS[3:]]])
    made.worksheets[0].merge_cells("B2:B3")
    rows, problems = read_book(made)
    assert [row.refused for row in rows] == [True, True]
    assert [(problem.level, problem.place.cell) for problem in problems] == [(Level.ERROR, "B2"), (Level.ERROR, "B3")]
    assert problems[0].message.startswith("B2:B3 are merged")


def test_merged_cells_of_a_title_are_nobodys_trouble() -> None:
    made = book([["Sessions of May"], COLUMNS, CELLS])
    made.worksheets[0].merge_cells("A1:F1")
    assert entry(read_book(made))["subject_id"] == "0012"


def test_hidden_rows_are_read_and_told() -> None:
    made = book([COLUMNS, CELLS, [*CELLS[:2], "13", *CELLS[3:]]])
    made.worksheets[0].row_dimensions[3].hidden = True
    rows, problems = read_book(made)
    assert [row.entry["subject_id"] for row in rows] == ["0012", "13"]
    assert [(problem.level, problem.place.row, problem.found) for problem in problems] == [(Level.WARNING, 3, "3")]


def test_rows_that_are_only_formatted_are_no_rows() -> None:
    made = book([COLUMNS, CELLS])
    for row in range(3, 30):
        made.worksheets[0].cell(row=row, column=1).font = Font(bold=True)
    rows, problems = read_book(made)
    assert (len(rows), problems) == (1, ())


def test_a_hidden_table_is_told_and_the_hidden_choices_of_our_template_are_not() -> None:
    made = book([COLUMNS, CELLS], "jobs")
    for title in ("last year", "lists"):
        sheet = made.create_sheet(title)
        sheet.append(COLUMNS)
        sheet.append(CELLS)
        sheet.sheet_state = "hidden"
    rows, problems = read_book(made)
    assert [row.place.sheet for row in rows] == ["jobs"]
    assert [(problem.level, problem.place.sheet) for problem in problems] == [(Level.WARNING, "last year")]


def test_a_sheet_too_large_to_be_read_hinders_nothing_while_another_is_named_jobs() -> None:
    made = book([COLUMNS, CELLS], "jobs")
    made.create_sheet("raw data")["A90000"] = 1
    assert entry(read_book(made))["subject_id"] == "0012"


def test_a_workbook_with_macros_is_refused_in_words() -> None:
    written = io.BytesIO(zipped(book([COLUMNS, CELLS])))
    with zipfile.ZipFile(written, "a") as parts:
        parts.writestr("xl/vbaProject.bin", b"macro")
    assert "macros" in only(workbook.read(written.getvalue(), "s.xlsx", LIMITS)).message


def test_a_part_that_unpacks_to_more_than_its_directory_says_is_not_unpacked() -> None:
    content = zipped(book([COLUMNS, [*CELLS[:5], "x" * 5_000_000]]))
    declared = max(part.file_size for part in zipfile.ZipFile(io.BytesIO(content)).infolist())
    lying = content.replace(declared.to_bytes(4, "little"), (2000).to_bytes(4, "little"))
    assert lying != content
    assert "damaged" in only(workbook.read(lying, "s.xlsx", Limits(unpacked_bytes=1_000_000))).message


def test_what_is_missing_from_the_end_of_a_workbook_is_noticed_even_inside_a_comment() -> None:
    written = io.BytesIO(zipped(book([COLUMNS, CELLS])))
    with zipfile.ZipFile(written, "a") as parts:
        parts.comment = b"written by a rig"
    assert entry(workbook.read(written.getvalue(), "s.xlsx", LIMITS))["subject_id"] == "0012"
    assert "its end is missing" in only(workbook.read(written.getvalue()[:-4], "s.xlsx", LIMITS)).message


def changed_parts(content: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    """Return a workbook with every part of it changed."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(written, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            for old, new in changes:
                part = part.replace(old, new)
            target.writestr(name, part)
    return written.getvalue()


def test_the_strict_form_of_a_workbook_is_named_with_the_one_to_save_it_in() -> None:
    content = changed_parts(
        zipped(book([COLUMNS, CELLS])),
        (
            b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
            b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        ),
    )
    assert "strict form" in only(workbook.read(content, "s.xlsx", LIMITS)).message


# --- what a spreadsheet makes of what people type --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "number_format", "words"),
    [
        ("subject_id", datetime(2026, 12, 5), "d-mmm", "This is a date, 2026-12-05"),  # noqa: DTZ001
        ("subject_id", time(12, 5), "h:mm", "This is a date, 12:05:00"),
        ("subject_id", True, None, "truth value"),
        ("modality0", False, None, "truth value"),
        ("modality0.input_source", datetime(2026, 12, 5), "d-mmm", "This is a date"),  # noqa: DTZ001
    ],
)
def test_a_name_that_became_a_day_or_a_truth_is_an_error_at_its_cell(
    column: str, value: Any, number_format: str | None, words: str
) -> None:
    made = with_cell(value, column, number_format)
    rows, problems = read_book(made)
    assert (problems[0].level, problems[0].place.column) == (Level.ERROR, column)
    assert words in problems[0].message
    assert rows[0].refused
    rows, problems = read_book(made, upstream=True)
    assert {problem.level for problem in problems} == {Level.WARNING}


@pytest.mark.parametrize(
    ("value", "number_format", "expected"),
    [
        (12, "0000", "0012"),
        (12, '"M"0000', "M0012"),
        (1234567, "00-0000", "123-4567"),
        (5, r"\M\-000", "M-005"),
        (12, "0", "12"),
        (123456, "0000", "123456"),
        (123456, "#,##0", "123456"),
        (123456, "0.00", "123456"),
        (12, "General", "12"),
    ],
)
def test_a_subject_that_is_a_number_is_read_as_its_cell_shows_it(value: int, number_format: str, expected: str) -> None:
    made = with_cell(value, "subject_id", number_format)
    rows, problems = read_book(made)
    assert [row.entry["subject_id"] for row in rows] == [expected]
    odd = [] if expected == str(value) else [(Level.WARNING, "C2", expected)]
    assert [(problem.level, problem.place.cell, problem.found) for problem in problems] == odd
    assert read_book(made, upstream=True)[0][0].entry["subject_id"] == str(value)


def test_a_number_in_a_setting_stays_one_whatever_its_cell_shows() -> None:
    made = book([[*COLUMNS, "modality0.chunk"], [*CELLS, 12]])
    made.worksheets[0]["G2"].number_format = "0000"
    assert entry(read_book(made))["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]["chunk"] == 12


def test_a_number_for_a_date_is_refused_with_the_day_that_a_workbook_from_1904_means() -> None:
    made = with_cell(43977.6722106481, "acq_datetime")
    made.epoch = openpyxl.utils.datetime.MAC_EPOCH
    problem = only(read_book(made))
    assert (problem.level, problem.place.cell) == (Level.ERROR, "D2")
    assert "write 2024-05-27T16:07:59" in problem.message


def with_formulas(*formulas: str) -> openpyxl.Workbook:
    """Return a workbook of one row, and formulas filled down below it."""
    made = book([COLUMNS, CELLS])
    for row in range(3, 9):
        for column, formula in enumerate(formulas, 1):
            made.worksheets[0].cell(row=row, column=column, value=formula)
    return made


def test_rows_of_formulas_that_give_nothing_are_blank() -> None:
    content = zipped(with_formulas('=IF(G3="","",G3)', '=IF(G3="","",H3)'))
    assert len(workbook.read(content, "s.xlsx", LIMITS)[0]) == 7
    assert entry(workbook.read(with_empty_results(content), "s.xlsx", LIMITS))["subject_id"] == "0012"


def with_empty_results(content: bytes) -> bytes:
    """Return the workbook as Excel saves it when its formulas give texts that are empty."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(written, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            if name.endswith("sheet1.xml"):
                part = re.sub(rb'<c r="(\w+)"><f>(.*?)</f><v ?/?>(</v>)?', rb'<c r="\1" t="str"><f>\2</f><v></v>', part)
            target.writestr(name, part)
    return written.getvalue()


def test_a_zero_that_stands_for_a_result_is_none() -> None:
    """XlsxWriter writes 0 for each formula, and asks Excel to calculate it when the file is opened."""
    content = zipped(with_cell("=1000+1", "subject_id"))
    assert b"fullCalcOnLoad" in zipfile.ZipFile(io.BytesIO(content)).read("xl/workbook.xml")
    problem = only(workbook.read(with_results(content, "0"), "s.xlsx", LIMITS))
    assert (problem.level, problem.place.cell) == (Level.ERROR, "C2")
    assert "never calculated" in problem.message


def test_a_zero_that_excel_calculated_is_a_result() -> None:
    content = with_results(zipped(with_cell("=1000-1000", "subject_id")), "0")
    calculated = changed_parts(content, (b' fullCalcOnLoad="1"', b""))
    assert calculated != content
    rows, problems = workbook.read(calculated, "s.xlsx", LIMITS)
    assert [row.entry["subject_id"] for row in rows] == ["0"]
    assert [problem.level for problem in problems] == [Level.WARNING]


def test_a_formula_over_several_cells_is_shown_as_it_is_written() -> None:
    problem = only(read_book(with_cell(ArrayFormula("F2", '="/data/"&"a"'), "modality0.input_source")))
    assert (problem.place.cell, problem.found) == ("F2", '="/data/"&"a"')


def test_merged_cells_with_nothing_in_them_lose_nothing() -> None:
    made = book([[*COLUMNS, "platform"], CELLS, [*CELLS[:2], "13", *CELLS[3:]]])
    made.worksheets[0].merge_cells("G2:G3")
    rows, problems = read_book(made)
    assert (len(rows), problems) == (2, ())


def test_a_hidden_column_is_read_and_told_where_something_stands_in_it() -> None:
    made = book([[*COLUMNS, "force_cloud_sync", "platform"], [*CELLS, True]])
    for letter in "GH":
        made.worksheets[0].column_dimensions[letter].hidden = True
    rows, problems = read_book(made)
    assert rows[0].entry["tasks"]["check_s3_folder_exists"] == {"skip_task": True}
    assert [(problem.level, problem.place.cell) for problem in problems] == [(Level.WARNING, "G1")]


def test_a_copy_of_the_sheet_jobs_is_told_and_not_read() -> None:
    made = book([COLUMNS, CELLS], "jobs")
    for title in ("jobs (2)", "instructions", "What to fix"):
        sheet = made.create_sheet(title)
        sheet.append(COLUMNS)
        sheet.append(CELLS)
    rows, problems = read_book(made)
    assert [row.place.sheet for row in rows] == ["jobs"]
    assert [(problem.level, problem.place.sheet) for problem in problems] == [(Level.WARNING, "jobs (2)")]


def test_a_lone_space_far_away_is_nothing_and_rows_may_lie_far_apart() -> None:
    made = book([COLUMNS, CELLS])
    made.worksheets[0]["A1048576"] = " "
    made.worksheets[0]["XFD1"] = " "
    for column, cell in enumerate(CELLS, 1):
        made.worksheets[0].cell(row=5000, column=column, value="13" if column == 3 else cell)
    rows, problems = read_book(made)
    assert ([row.place.row for row in rows], problems) == ([2, 5000], ())


def test_a_workbook_with_more_rows_than_are_read_is_refused() -> None:
    made = book([COLUMNS, *[[*CELLS[:2], f"{number}", *CELLS[3:]] for number in range(60)]])
    assert "more than 30 rows" in only(read_book(made, Limits(rows=30))).message
