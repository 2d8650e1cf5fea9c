"""The empty workbook scientists fill in: every column, dropdowns where there is a choice, and what to write."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dropbox_agent.model import EMAIL_TYPES, Known

if TYPE_CHECKING:  # openpyxl takes its time; most commands never write a template.
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

VERSION = 2
"""Grows whenever the workbook looks different for the same names."""
OWN_SHEETS = frozenset({"lists", "instructions"})
"""Sheets that are no tables of sessions, though they name columns."""
LIST_SHEET = "What to fix"
"""The sheet that an annotated copy has besides."""
MODALITIES = 3
LAST_ROW = 1000
"""Down to here the dropdowns reach."""
FORMATS = MappingProxyType({"subject_id": "@", "acq_datetime": 'yyyy-mm-dd"T"hh:mm:ss'})
"""Subject ids are text, so that leading zeros stay."""

COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "job_type": ("yes", "What kind of session it is; it decides what is done with the data. Choose from the list."),
        "project_name": ("yes", "The project the session belongs to."),
        "subject_id": ("yes", "Letters, digits and dashes. Kept exactly as typed: 0012 stays 0012."),
        "acq_datetime": (
            "yes",
            "When the acquisition began, such as 2024-05-27T16:07:59, as the clock on the wall showed it.",
        ),
        "platform": ("", "The platform, if the name of the data is to begin with it. Choose from the list."),
        "s3_bucket": ("", "Where the data goes. Empty: default."),
        "user_email": ("", "Who is told how it went: one address."),
        "email_notification_types": ("", f"When: any of {', '.join(EMAIL_TYPES)}, with commas. Empty: fail."),
        "metadata_dir": ("", "The folder that holds the metadata files."),
        "derivatives_dir": ("", "A folder of derived data to be uploaded beside the raw data."),
        "force_cloud_sync": ("", "TRUE to upload although there is data of this name already. Empty: FALSE."),
        "modality0": (
            "yes",
            "The first kind of data. Choose from the list. modality1 and modality2 are for further kinds.",
        ),
        "modality0.input_source": ("yes", "The folder that holds the data of modality0."),
        "modality0.capsule_id": ("", "The Code Ocean capsule to run on the data of modality0."),
        "modality0.pipeline_id": ("", "The Code Ocean pipeline to run on the data of modality0."),
    }
)
"""Column -> whether it must be filled in, and what to write. ``modality0`` stands for all modalities."""

REQUIRED_COLOUR = "FFDCE6F1"
HOW = (
    "Fill in one row per session on sheet jobs, at least below the coloured headers; save, and put the file into the "
    "watched folder.",
    "A moment later a file of the same name ending in .status.html stands beside it and says what happens.",
    "If something is wrong, correct the cell it names and put the file there again.",
    "There may be more columns: modality3 and so on, modality0.job_settings.NAME, modality0.image_resources.NAME, "
    "and tasks.TASK.FIELD.",
)


def template_bytes(known: Known) -> bytes:
    """Return the workbook for what a site knows: no rows, so that dropping it as it is uploads nothing."""
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.worksheets[0])
    jobs = book.create_sheet("jobs")
    headers = _headers()
    _write_header(jobs, headers)
    _write_choices(book, jobs, headers, _choices(known))
    _write_instructions(book)
    book.move_sheet("lists", 1)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def make_bold(cell: Any, **font: Any) -> None:
    """Make a cell bold, in the font of its workbook: a font without a name is any program's own."""
    bold = copy(cell.font)
    for name, value in {"bold": True, **font}.items():
        setattr(bold, name, value)
    cell.font = bold


def fit_to_page(sheet: Worksheet) -> None:
    """Let a sheet be printed with all its columns on one page."""
    from openpyxl.worksheet.properties import PageSetupProperties

    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)


def _headers() -> list[str]:
    """Return every column, those of a modality once for each."""
    plain = [name for name in COLUMNS if not name.startswith("modality")]
    of_modality = [name for name in COLUMNS if name.startswith("modality")]
    return plain + [name.replace("modality0", f"modality{n}") for n in range(MODALITIES) for name in of_modality]


def _choices(known: Known) -> dict[str, Sequence[str]]:
    """Return column -> what may stand in it, where that is a list."""
    choices: dict[str, Sequence[str]] = {
        "job_type": known.job_types,
        "project_name": known.projects,
        "platform": known.platforms,
        "s3_bucket": known.buckets,
        "force_cloud_sync": ("TRUE", "FALSE"),
        "modality": known.modalities,
    }
    return {name: values for name, values in choices.items() if values}


def _write_header(sheet: Worksheet, headers: Sequence[str]) -> None:
    from openpyxl.styles import PatternFill
    from openpyxl.utils import get_column_letter

    for index, header in enumerate(headers, 1):
        cell = sheet.cell(row=1, column=index, value=header)
        make_bold(cell)
        if header in COLUMNS and COLUMNS[header][0]:
            cell.fill = PatternFill("solid", start_color=REQUIRED_COLOUR, end_color=REQUIRED_COLOUR)
        column = sheet.column_dimensions[get_column_letter(index)]
        column.width = max(14, len(header) + 3)
        column.number_format = FORMATS.get(header, "General")
    sheet.freeze_panes = "A2"


def _write_choices(
    book: Workbook, jobs: Worksheet, headers: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> None:
    """Write the choices into a hidden sheet: a list inside a rule ends at 255 characters."""
    from openpyxl.utils import get_column_letter

    lists = book.create_sheet("lists")
    lists.sheet_state = "hidden"
    for index, (name, values) in enumerate(choices.items(), 1):
        _write_text(lists, 1, index, name)
        for row, value in enumerate(values, 2):
            _write_text(lists, row, index, value)
        letter = get_column_letter(index)
        columns = [number for number, header in enumerate(headers, 1) if _chooses(header) == name]
        _add_dropdown(jobs, columns, f"lists!${letter}$2:${letter}${len(values) + 1}", name)


def _chooses(header: str) -> str:
    """Return the name of the list a column chooses from: all modalities share one."""
    return header.rstrip("0123456789") if header.startswith("modality") else header


def _add_dropdown(sheet: Worksheet, columns: Sequence[int], values: str, name: str) -> None:
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    rule = DataValidation(type="list", formula1=values, allow_blank=True)
    rule.showErrorMessage = True
    rule.errorTitle, rule.error = name, "Choose one from the list."
    sheet.add_data_validation(rule)
    for column in columns:
        rule.add(f"{get_column_letter(column)}2:{get_column_letter(column)}{LAST_ROW}")


def _write_instructions(book: Workbook) -> None:
    from openpyxl.styles import Alignment

    sheet = book.create_sheet("instructions")
    fit_to_page(sheet)
    for row, sentence in enumerate(HOW, 1):
        _write_text(sheet, row, 1, sentence)
    table = [("column", "must be filled in", "what to write"), *((name, *said) for name, said in COLUMNS.items())]
    for row, cells in enumerate(table, len(HOW) + 2):
        for column, text in enumerate(cells, 1):
            cell = _write_text(sheet, row, column, text)
            cell.alignment = Alignment(vertical="top", wrap_text=column == len(cells))
            if row == len(HOW) + 2:
                make_bold(cell)
    for letter, width in (("A", 28), ("B", 18), ("C", 90)):
        sheet.column_dimensions[letter].width = width


def _write_text(sheet: Worksheet, row: int, column: int, text: str) -> Any:
    """Write text as text: a name that begins with = is no formula."""
    cell: Any = sheet.cell(row=row, column=column, value=text)
    cell.data_type = "s"
    return cell
