"""How long reading takes: figures to look at, printed; nothing here fails because a machine is busy."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from dropbox_agent.manifest import LIMITS, Room, workbook

ROWS = 1000
SAMPLE = Path(__file__).parents[1] / "samples" / "session.xlsx"


def long_workbook() -> bytes:
    """The sample's two sessions, over and over, each with a subject of its own."""
    book = openpyxl.load_workbook(SAMPLE)
    sheet = book.worksheets[0]
    header, row = (list(cells) for cells in sheet.iter_rows(min_row=1, max_row=2, values_only=True))
    subject = header.index("subject_id")
    for number in range(ROWS - 2):
        sheet.append([*row[:subject], f"{number:04d}", *row[subject + 1 :]])
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Return the processor time of the quickest of some runs."""
    took = []
    for _ in range(times):
        begun = time.process_time()
        work()
        took.append(time.process_time() - begun)
    return min(took)


def test_a_long_workbook_is_read_in_about_the_time_openpyxl_takes(capsys: pytest.CaptureFixture[str]) -> None:
    content = long_workbook()

    def bare() -> None:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True)
        for sheet in book.worksheets:
            for _ in sheet.iter_rows():
                pass
        book.close()

    rows, problems = workbook.read(content, "s.xlsx", LIMITS)
    assert (len(rows), problems) == (ROWS, ())
    alone, ours = seconds(bare), seconds(lambda: workbook.read(content, "s.xlsx", LIMITS))
    with capsys.disabled():
        print(f"\n{ROWS} rows: openpyxl {alone:.3f} s, with rows and places {ours:.3f} s: {ours / alone:.2f} times")


def test_a_good_file_costs_milliseconds_in_a_warm_room(capsys: pytest.CaptureFixture[str]) -> None:
    with Room() as room:
        room.read(SAMPLE, SAMPLE.name)
        begun = time.perf_counter()
        for _ in range(10):
            room.read(SAMPLE, SAMPLE.name)
        took = (time.perf_counter() - begun) / 10
    with capsys.disabled():
        print(f"\na small workbook in a warm room: {took * 1000:.0f} ms")
