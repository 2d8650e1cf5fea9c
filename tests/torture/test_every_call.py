"""The agent is struck once at every system call by which it makes something last, and started again.

Each point is: a fresh site, a run that is struck at the N-th call of one kind, a clean run, and every invariant. What
was tried is noted in ``TORTURE_NOTES`` (a file), so that a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from faulty_share import require_faults
from under_fire import CALLS, SiteUnderFire

BLOWS = ("signal=SIGKILL", "error=ENOSPC", "error=EIO", "error=ESTALE")
SAMPLE = (("renameat", 12, "signal=SIGKILL"), ("pwrite64", 300, "signal=SIGKILL"), ("fsync", 30, "error=ENOSPC"))
"""What CI tries, in the midst of a run that makes 25, 620 and 56 such calls."""


def made(folder: Path) -> SiteUnderFire:
    require_faults()
    folder.mkdir()
    site = SiteUnderFire(folder)
    site.make()
    return site


def strike(folder: Path, call: str, number: int, blow: str) -> list[str]:
    """Return what is wrong after one blow and a clean run."""
    site = made(folder)
    site.struck(call, number, blow)
    done = site.run()
    wrong = site.what_is_wrong() if done.returncode == 0 else [done.stderr[-2000:]]
    return [f"{call} {number} {blow}: {text}" for text in wrong]


@pytest.mark.parametrize(("call", "number", "blow"), SAMPLE)
def test_a_sample_of_the_calls(tmp_path: Path, call: str, number: int, blow: str) -> None:
    site = made(tmp_path / "struck")
    struck = site.struck(call, number, blow)
    assert struck.returncode != 0 or "(INJECTED)" in site.calls.read_text(errors="replace")
    assert site.run().returncode == 0
    assert site.what_is_wrong() == []


@pytest.mark.torture
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("blow", BLOWS)
def test_every_call(tmp_path: Path, call: str, blow: str) -> None:
    notes = Path(os.environ.get("TORTURE_NOTES", tmp_path / "notes.json"))
    step = int(os.environ.get("TORTURE_STEP", "1"))
    count = made(tmp_path / "count").count(call)
    wrong = []
    for number in range(1, count + 1, step):
        point = f"{call} {number} {blow}"
        tried = json.loads(notes.read_text()) if notes.exists() else {}
        if point not in tried:
            tried[point] = strike(tmp_path / "struck", call, number, blow)
            shutil.rmtree(tmp_path / "struck")
            notes.write_text(json.dumps(tried, indent=0))
        wrong += tried[point]
    assert wrong == []
