"""LibreOffice, a real spreadsheet program, on both sides: what it writes is read, what is written here it opens."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from workspace import Workspace, a_row, drop, write_csv

from dropbox_agent import manifest
from dropbox_agent.model import Level, Place, Problem

OFFICE = shutil.which("soffice") or shutil.which("libreoffice")
SAMPLES = Path(__file__).parents[1] / "samples"
XLSX = "xlsx:Calc MS Excel 2007 XML"
CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"

pytestmark = [
    pytest.mark.skipif(OFFICE is None and os.environ.get("CI") != "true", reason="LibreOffice is not here"),
    pytest.mark.timeout(300),
]


def converted(file: Path, kind: str, folder: Path) -> Path:
    """Return what LibreOffice makes of a file."""
    assert OFFICE is not None, "CI installs LibreOffice (.ci/install-office)"
    folder.mkdir(exist_ok=True)
    home = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    utf_8 = ["--infilter=CSV:44,34,76"] if file.suffix == ".csv" else []
    argv = [OFFICE, "--headless", home, *utf_8, "--convert-to", kind, "--outdir", str(folder), str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    made = folder / f"{file.stem}.{kind.partition(':')[0]}"
    assert made.is_file(), done.stdout + done.stderr
    return made


def meant(file: Path) -> tuple[list[Any], list[Problem]]:
    """Return what the rows of a manifest say, wherever it stands, and the errors."""
    rows, problems = manifest.read(file, file.name)
    return [row.entry for row in rows], [problem for problem in problems if problem.level is Level.ERROR]


@pytest.mark.parametrize("name", ["session.csv", "session.xlsx"])
def test_a_table_that_libreoffice_saved_as_a_workbook_says_the_same(tmp_path: Path, name: str) -> None:
    made, errors = meant(converted(SAMPLES / name, XLSX, tmp_path / "out"))
    expected, _ = meant(SAMPLES / "session.xlsx")
    assert errors == []
    assert [entry["tasks"] for entry in made] == [entry["tasks"] for entry in expected]
    assert [entry["modalities"] for entry in made] == [entry["modalities"] for entry in expected]


def test_a_workbook_that_libreoffice_saved_as_csv_says_the_same(tmp_path: Path) -> None:
    made, errors = meant(converted(SAMPLES / "session.xlsx", CSV, tmp_path / "out"))
    expected, _ = meant(SAMPLES / "session.xlsx")
    assert errors == []
    assert [entry["tasks"] for entry in made] == [entry["tasks"] for entry in expected]


def test_formulas_that_libreoffice_calculated_are_read_by_their_results(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["subject_id", "acq_datetime", "modality0", "modality0.input_source"])
    sheet.append([12, datetime.fromisoformat("2024-05-27T16:07:59"), "ecephys", '="/data/"&A2'])
    book.save(tmp_path / "formula.xlsx")
    file = converted(tmp_path / "formula.xlsx", XLSX, tmp_path / "out")
    (entry,), errors = meant(file)
    assert errors == []
    source = entry["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]["input_source"]
    assert (entry["subject_id"], entry["acq_datetime"], source) == ("12", "2024-05-27T16:07:59", "/data/12")


def test_what_libreoffice_makes_of_truths_empty_results_formats_and_hidden_columns_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["subject_id", "modality0", "modality0.input_source", "force_cloud_sync", "modality0.count"])
    sheet.append([12, "ecephys", "/data/a", True, "=1-1"])
    sheet["A2"].number_format = "0000"
    for row in range(3, 6):
        for column in range(1, 4):
            sheet.cell(row=row, column=column, value='=IF(A$1="","x","")')
    sheet.column_dimensions["D"].hidden = True
    book.save(tmp_path / "made.xlsx")
    file = converted(tmp_path / "made.xlsx", XLSX, tmp_path / "out")
    rows, problems = manifest.read(file, file.name)
    assert [row.entry["subject_id"] for row in rows] == ["0012"]
    assert rows[0].entry["tasks"]["check_s3_folder_exists"] == {"skip_task": True}
    settings = rows[0].entry["tasks"]["modality_transformation_settings"]["ecephys"]["job_settings"]
    assert settings == {"input_source": "/data/a", "count": 0}
    assert [(problem.level, problem.place.cell) for problem in problems] == [
        (Level.WARNING, "A2"),
        (Level.WARNING, "E2"),
        (Level.WARNING, "D1"),
    ]


@pytest.mark.parametrize(("kind", "words"), [("xls:MS Excel 97", "old .xls form"), ("ods", "file of LibreOffice")])
def test_other_kinds_of_workbooks_under_the_name_of_an_xlsx_are_named(tmp_path: Path, kind: str, words: str) -> None:
    made = converted(SAMPLES / "session.xlsx", kind, tmp_path / "out")
    rows, problems = manifest.read(made, "session.xlsx")
    assert rows == ()
    assert [words in problem.message for problem in problems] == [True]


def test_libreoffice_opens_the_annotated_copy_with_its_text_colours_and_comments(tmp_path: Path) -> None:
    place = Place("session.csv", row=2, column="subject_id", cell="C2")
    problem = Problem(Level.ERROR, place, "=1+1 is wrong here.", "=1+1")
    copy = manifest.annotated(SAMPLES / "session.csv", "session.csv", [problem])
    assert copy is not None
    (tmp_path / "copy.xlsx").write_bytes(copy)
    again = openpyxl.load_workbook(converted(tmp_path / "copy.xlsx", XLSX, tmp_path / "out"))
    assert again.sheetnames == ["jobs", "What to fix"]
    with (SAMPLES / "session.csv").open(newline="", encoding="utf-8") as file:
        expected = [[text or None for text in row] for row in csv.reader(file)]
    assert [list(row) for row in again["jobs"].iter_rows(values_only=True)] == expected
    cell: Any = again["jobs"]["C2"]
    assert cell.comment.text.startswith("=1+1 is wrong here.")
    assert cell.fill.start_color.rgb == "FFFF9B8A"
    found: Any = again["What to fix"]["B5"]
    assert (found.value, found.data_type) == ("=1+1", "s")


def test_the_copy_of_a_refused_workbook_corrected_in_libreoffice_is_accepted(
    workspace: Workspace, sources: dict[str, Path], tmp_path: Path
) -> None:
    drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, platform="ECEPHYS")]))
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "refused"
    book = openpyxl.load_workbook(workspace.inbox / "s.csv.errors.xlsx")
    column = [cell.value for cell in book["jobs"][1]].index("platform") + 1
    book["jobs"].cell(row=2, column=column).value = "ecephys"
    book.save(tmp_path / "corrected.xlsx")
    again = converted(tmp_path / "corrected.xlsx", XLSX, tmp_path / "out")
    shutil.copy(again, workspace.inbox / "corrected.xlsx")
    workspace.until_idle()
    assert workspace.status("corrected.xlsx")["state"] == "succeeded", workspace.status("corrected.xlsx")
