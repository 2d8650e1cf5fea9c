"""Lists of jobs and of stored files for spreadsheets. Text stays text: what begins with = never becomes a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from dropbox_agent.model import Inventory, JobLine

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
COLUMNS = (
    "job_id", "job", "state", "subject_id", "project_name", "job_type", "platform", "modalities", "user_email",
    "bucket", "acq_datetime", "submitted", "started", "ended", "manifest", "row", "tasks_done", "tasks",
)  # fmt: skip
FILE_COLUMNS = ("path", "size", "modified", "crc64nvme", "etag", "version_id")
WIDTHS = {"job_id": 46, "job": 38, "project_name": 24, "user_email": 26, "manifest": 28, "acq_datetime": 20,
          "submitted": 20, "started": 20, "ended": 20}  # fmt: skip
"""Of the columns of a workbook that are wider than most, in characters."""
CSV_JOBS = 1_000_000
XLSX_JOBS = 20_000
"""How many jobs an export holds at most: a workbook takes a millisecond a row to write."""
IN_MEMORY = 4_000_000
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What some program takes for the beginning of a formula; the last four are wide ones."""
NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no workbook can hold."""
CELL_CHARACTERS = 32_767
"""How much text one cell of a workbook holds."""


def values(job: JobLine) -> tuple[Any, ...]:
    """Return one row; times are texts in UTC, as everywhere."""
    return (
        job.job_id, job.s3_prefix, job.state.value, job.subject_id, job.project_name, job.job_type, job.platform or "",
        " ".join(job.modalities), job.user_email or "", job.bucket, job.acq_datetime.isoformat(), _time(job.created),
        _time(job.started), _time(job.ended), job.manifest, job.row or "", job.done, job.total,
    )  # fmt: skip


def csv_lines(jobs: Iterable[JobLine]) -> Iterator[str]:
    """Yield the lines of a CSV file, its header first."""
    return _table(COLUMNS, map(values, jobs))


def inventory_lines(stored: Inventory) -> Iterator[str]:
    """Yield the lines of a CSV file with every file of an upload, and with each empty folder: its name and a slash."""
    files = (
        (file.path, file.size, _time(file.modified), file.crc64nvme, file.etag, file.version_id)
        for file in stored.files
    )
    folders = ((f"{name}/", "", "", "", "", "") for name in stored.empty_folders)
    return _table(FILE_COLUMNS, chain(files, folders))


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    # Excel takes a file for UTF-8 only when it begins with this mark.
    yield "\ufeff" + _csv_line(columns)
    for row in rows:
        yield _csv_line([_no_formula(value) for value in row])


def workbook(jobs: Iterable[JobLine]) -> Iterator[bytes]:
    """Yield the bytes of an .xlsx file."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("jobs")
    _make_readable(sheet)
    sheet.append([_heading(sheet, name) for name in COLUMNS])
    for job in jobs:
        sheet.append([_cell(sheet, value) for value in values(job)])
    with SpooledTemporaryFile(IN_MEMORY) as file:
        book.save(file)
        file.seek(0)
        while block := file.read(65_536):
            yield block


def _make_readable(sheet: Any) -> None:
    """Let the names of the columns stay in sight, and what is in them be read without pulling them wider."""
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(COLUMNS))}{XLSX_JOBS + 1}"
    for number, name in enumerate(COLUMNS, 1):
        sheet.column_dimensions[get_column_letter(number)].width = WIDTHS.get(name, 14)


def _heading(sheet: Any, name: str) -> Any:
    cell = WriteOnlyCell(sheet, name)
    cell.font = Font(bold=True)
    return cell


def _csv_line(fields: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    return line.getvalue()


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # Half a character, from a file name in another encoding, cannot be sent as UTF-8.
    text = value.encode("utf-8", "replace").decode()
    return f"'{text}" if (text.lstrip(" ") or text).startswith(FORMULA_SIGNS) else text


def _cell(sheet: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    cell = WriteOnlyCell(sheet, NOT_IN_XML.sub("\ufffd", value)[:CELL_CHARACTERS])
    cell.data_type = "s"  # Neither "=1+1" nor "#N/A" is what it looks like.
    return cell


def _time(moment: Any) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
