"""The template: every column the reader knows, dropdowns that reach the reader, and no rows."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import Any

import openpyxl
import pytest

from dropbox_agent.manifest import LIMITS, workbook
from dropbox_agent.manifest.columns import FIELDS, REQUIRED, SHORTCUTS, meaning
from dropbox_agent.manifest.template import template_bytes
from dropbox_agent.model import Known

KNOWN = Known(
    job_types=("default", "ecephys"),
    broken_job_types={},
    projects=("=HYPERLINK(1)", "Ephys Platform"),
    platforms=("ecephys",),
    modalities=("behavior-videos", "ecephys"),
    buckets=("default", "private"),
    task_ids={},
    default_email=None,
    now=datetime(2024, 6, 1, tzinfo=timezone.utc),
)


@pytest.fixture
def template() -> Any:
    return openpyxl.load_workbook(io.BytesIO(template_bytes(KNOWN)))


def headers(book: Any) -> list[str]:
    return [cell.value for cell in book.active[1]]


def test_its_first_sheet_is_the_one_that_is_read(template: Any) -> None:
    assert [(sheet.title, sheet.sheet_state) for sheet in template] == [
        ("jobs", "visible"),
        ("instructions", "visible"),
        ("lists", "hidden"),
    ]
    assert template.active.title == "jobs"


def test_every_header_is_a_column_the_reader_knows_and_none_is_missing(template: Any) -> None:
    written = headers(template)
    assert [header for header in written if meaning(header) is None] == []
    assert {*FIELDS, *SHORTCUTS, "modality0", "modality2.input_source", "modality0.capsule_id"} <= set(written)
    assert all(cell.font.bold for cell in template.active[1])


def test_the_headers_of_what_must_be_filled_in_are_coloured(template: Any) -> None:
    coloured = [cell.value for cell in template.active[1] if cell.fill.fill_type == "solid"]
    assert coloured == list(REQUIRED)


def test_every_letter_is_of_the_font_that_the_workbook_has_anyway(template: Any) -> None:
    usual = openpyxl.Workbook().create_sheet()["A1"].font.name
    assert {cell.font.name for sheet in template for row in sheet for cell in row} == {usual}


def test_dropped_as_it_is_it_uploads_nothing() -> None:
    rows, problems = workbook.read(template_bytes(KNOWN), "TEMPLATE.xlsx", LIMITS)
    assert rows == ()
    assert [problem.message for problem in problems] == [
        "There is a header, but no row below it. Fill in one row per session."
    ]


def test_the_dropdowns_offer_what_the_site_knows(template: Any) -> None:
    offered = {}
    for rule in template.active.data_validations.dataValidation:
        sheet, cells = rule.formula1.split("!")
        values = [row[0].value for row in template[sheet][cells.replace("$", "")]]
        for area in rule.sqref.ranges:
            offered[template.active.cell(row=1, column=area.min_col).value] = values
    assert offered == {
        "job_type": ["default", "ecephys"],
        "project_name": ["=HYPERLINK(1)", "Ephys Platform"],
        "platform": ["ecephys"],
        "s3_bucket": ["default", "private"],
        "force_cloud_sync": ["TRUE", "FALSE"],
        "modality0": ["behavior-videos", "ecephys"],
        "modality1": ["behavior-videos", "ecephys"],
        "modality2": ["behavior-videos", "ecephys"],
    }


def test_a_project_that_looks_like_a_formula_is_text(template: Any) -> None:
    kinds = {cell.data_type for row in template["lists"] for cell in row if cell.value is not None}
    assert kinds == {"s"}


def test_a_filled_row_is_read(template: Any) -> None:
    values = {"job_type": "ecephys", "subject_id": "0012", "modality0": "ecephys", "modality0.input_source": "/data/a"}
    for name, value in values.items():
        template.active.cell(row=2, column=headers(template).index(name) + 1, value=value)
    written = io.BytesIO()
    template.save(written)
    rows, problems = workbook.read(written.getvalue(), "s.xlsx", LIMITS)
    assert problems == ()
    assert [row.entry["subject_id"] for row in rows] == ["0012"]
