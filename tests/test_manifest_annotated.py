"""The annotated copy: the scientist's own table, its wrong cells coloured and explained, and nothing else changed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.comments import Comment
from openpyxl.formatting.rule import Rule
from openpyxl.styles import Font, PatternFill
from openpyxl.styles.differential import DifferentialStyle

from dropbox_agent import manifest
from dropbox_agent.manifest import LIMITS, Limits, marking
from dropbox_agent.manifest.marking import COLOURS
from dropbox_agent.manifest.template import LIST_SHEET
from dropbox_agent.model import Level, Place, Problem

SAMPLES = Path(__file__).parent / "samples"
RED, YELLOW = COLOURS[Level.ERROR], COLOURS[Level.WARNING]


def wrong(cell: str | None, message: str = "This is wrong.", sheet: str | None = "jobs", **more: Any) -> Problem:
    row = int("".join(filter(str.isdigit, cell))) if cell else None
    return Problem(more.pop("level", Level.ERROR), Place("s.xlsx", sheet, row, "subject_id", cell), message, **more)


def a_book() -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "jobs"
    sheet.append(["job_type", "subject_id", "notes"])
    sheet.append(["default", "bad id", "=A2&B2"])
    sheet["A2"].font = Font(italic=True)
    sheet["C1"].comment = Comment("mine", "Ana")
    book.create_sheet("my notes")["A1"] = "kept"
    return book


def saved(book: openpyxl.Workbook) -> bytes:
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def copy_of(content: bytes, *problems: Problem, name: str = "s.xlsx") -> Any:
    return openpyxl.load_workbook(io.BytesIO(marking.annotated(content, name, problems, LIMITS)))


def fill_of(cell: Any) -> str | None:
    return cell.fill.start_color.rgb if cell.fill.fill_type == "solid" else None


def test_a_wrong_cell_is_coloured_and_explained_and_all_else_is_as_it_was() -> None:
    copy = copy_of(saved(a_book()), wrong("B2", "A subject id has no spaces.", found="bad id", suggestion="bad-id"))
    sheet = copy["jobs"]
    assert copy.sheetnames == ["jobs", "my notes", LIST_SHEET]
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["job_type", "subject_id", "notes"],
        ["default", "bad id", "=A2&B2"],
    ]
    assert (sheet["A2"].font.italic, sheet["C2"].data_type, copy["my notes"]["A1"].value) == (True, "f", "kept")
    assert {cell.coordinate: fill_of(cell) for row in sheet.iter_rows() for cell in row if fill_of(cell)} == {"B2": RED}
    assert sheet["B2"].comment.text == "A subject id has no spaces.\nWrite: bad-id"
    assert (sheet["C1"].comment.text, sheet["C1"].comment.author) == ("mine", "Ana")


def test_the_list_names_every_problem_with_a_link_to_its_cell() -> None:
    problems = (
        wrong("B2", "First.", found="x", suggestion="y"),
        wrong(None, "The whole file.", None),
        wrong("A1", "Odd.", level=Level.WARNING),
    )
    sheet = copy_of(saved(a_book()), *problems)[LIST_SHEET]
    assert [[cell.value for cell in row] for row in sheet.iter_rows(min_row=4)] == [
        ["Where", "Found there", "What is wrong", "What to write"],
        ["jobs, B2, subject_id", "x", "First.", "y"],
        ["subject_id", None, "The whole file.", None],
        ["jobs, A1, subject_id", None, "Odd.", None],
    ]
    assert sheet["A5"].hyperlink.location == "'jobs'!B2"
    assert [fill_of(sheet[f"A{row}"]) for row in (5, 6, 7)] == [RED, RED, YELLOW]


def test_two_problems_of_one_cell_share_its_comment_and_the_worse_one_its_colour() -> None:
    sheet = copy_of(saved(a_book()), wrong("B2", "Odd.", level=Level.WARNING), wrong("B2", "Wrong."))["jobs"]
    assert (sheet["B2"].comment.text, fill_of(sheet["B2"])) == ("Odd.\n\nWrong.", RED)


def test_a_comment_of_the_scientist_is_kept_below_ours() -> None:
    sheet = copy_of(saved(a_book()), wrong("C1", "Not known."))["jobs"]
    assert sheet["C1"].comment.text == "Not known.\n\nAna: mine"


def test_a_problem_of_a_whole_row_marks_its_first_filled_cell() -> None:
    problem = Problem(Level.ERROR, Place("s.xlsx", "jobs", 2), "Twice.")
    assert fill_of(copy_of(saved(a_book()), problem)["jobs"]["A2"]) == RED


def test_a_problem_inside_a_merged_range_marks_its_first_cell() -> None:
    book = a_book()
    book["jobs"].merge_cells("A2:B3")
    sheet = copy_of(saved(book), wrong("B3"))["jobs"]
    assert (fill_of(sheet["A2"]), sheet["A2"].comment.text) == (RED, "This is wrong.")


def test_a_sheet_with_an_odd_name_is_found_and_linked() -> None:
    book = a_book()
    book["jobs"].title = "Ana's jobs"
    copy = copy_of(saved(book), wrong("B2", sheet="Ana's jobs"))
    assert fill_of(copy["Ana's jobs"]["B2"]) == RED
    assert copy[LIST_SHEET]["A5"].hyperlink.location == "'Ana''s jobs'!B2"


def test_a_copy_that_is_dropped_again_shows_only_what_is_wrong_now() -> None:
    first = marking.annotated(saved(a_book()), "s.xlsx", [wrong("B2"), wrong("A2")], LIMITS)
    copy = copy_of(first, wrong("A2", "Still."))
    assert copy.sheetnames == ["jobs", "my notes", LIST_SHEET]
    assert (fill_of(copy["jobs"]["B2"]), copy["jobs"]["B2"].comment) == (None, None)
    assert (fill_of(copy["jobs"]["A2"]), copy["jobs"]["A2"].comment.text) == (RED, "Still.")


def test_rules_of_the_scientist_that_colour_cells_do_not_hide_what_is_wrong() -> None:
    book = a_book()
    style = DifferentialStyle(fill=PatternFill(bgColor="FFE2EFDA"))
    green = Rule(type="cellIs", operator="equal", formula=['"default"'], dxf=style)
    book["jobs"].conditional_formatting.add("A1:C9", green)
    first = marking.annotated(saved(book), "s.xlsx", [wrong("A2"), wrong("B2", level=Level.WARNING)], LIMITS)
    again = marking.annotated(first, "s.xlsx", [wrong("A2")], LIMITS)
    for content, expected in ((first, {"A1:C9": 3, "A2": 1, "B2": 2}), (again, {"A1:C9": 5, "A2": 1})):
        rules = openpyxl.load_workbook(io.BytesIO(content))["jobs"].conditional_formatting
        assert {str(one.sqref): one.rules[0].priority for one in rules} == expected


def test_a_csv_becomes_a_workbook_of_the_same_table() -> None:
    content = b"job_type;subject_id\ndefault;0012\n"
    sheet = copy_of(content, wrong("B2", sheet=None), name="S.CSV")["jobs"]
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["job_type", "subject_id"],
        ["default", "0012"],
    ]
    assert fill_of(sheet["B2"]) == RED


HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", '=HYPERLINK("x")')


@pytest.mark.parametrize("text", HOSTILE)
def test_text_never_becomes_a_formula(text: str) -> None:
    content = f'subject_id\n"{text.replace(chr(34), chr(34) * 2)}"\n'.encode()
    problem = wrong("A2", text, sheet=None, found=text, suggestion=text)
    written = marking.annotated(content, "s.csv", [problem], LIMITS)
    with zipfile.ZipFile(io.BytesIO(written)) as parts:
        sheets = [parts.read(name) for name in parts.namelist() if "worksheets/sheet" in name]
    assert len(sheets) == 2
    assert not any(b"<f>" in sheet or b"<f " in sheet for sheet in sheets)
    cell = openpyxl.load_workbook(io.BytesIO(written))["jobs"]["A2"]
    assert (cell.data_type, cell.number_format, bool(cell.quotePrefix)) == ("s", "@", True)


def test_text_that_begins_like_a_formula_in_a_workbook_stays_text() -> None:
    book = a_book()
    book["jobs"]["B2"].value = "=nothing"
    book["jobs"]["B2"].data_type = "s"
    assert copy_of(saved(book), wrong("B2"))["jobs"]["B2"].data_type == "s"


def test_control_characters_do_not_hinder_the_copy() -> None:
    copy = copy_of(b"subject_id\na\x0bb\n", wrong("A2", "It has \x0b in it.", sheet=None), name="s.csv")
    assert copy["jobs"]["A2"].value == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("name", ["session.xlsx", "session.csv"])
def test_it_is_made_in_a_process_of_its_own(name: str) -> None:
    made = manifest.annotated(SAMPLES / name, name, [wrong("A2", sheet=None)])
    assert made is not None
    assert LIST_SHEET in openpyxl.load_workbook(io.BytesIO(made)).sheetnames


@pytest.mark.parametrize("name", ["session.yaml", "session.json"])
def test_of_a_document_there_is_no_copy(name: str) -> None:
    assert manifest.annotated(SAMPLES / name, name, [wrong(None)]) is None


@pytest.mark.parametrize("content", [b"no workbook", b"\xd0\xcf\x11\xe0 encrypted", b"PK\x03\x04 torn"])
def test_of_a_file_that_cannot_be_read_there_is_no_copy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.xlsx").write_bytes(content)
    assert manifest.annotated(tmp_path / "s.xlsx", "s.xlsx", [wrong(None)]) is None


def test_a_copy_that_would_take_too_much_is_not_made() -> None:
    assert manifest.annotated(SAMPLES / "session.xlsx", "s.xlsx", [wrong("A2")], Limits(output_bytes=100)) is None
