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
SAMPLE = (
    ("write", 0.9, "signal=SIGKILL"),
    ("pwrite64", 0.3, "signal=SIGKILL"),
    ("pwrite64", 0.7, "error=EIO"),
    ("fdatasync", 0.5, "signal=SIGKILL"),
    ("rename", 0.5, "signal=SIGKILL"),
    ("fsync", 0.6, "error=ENOSPC"),
)
"""What CI tries: (call, how far through the run, blow)."""


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


def test_a_sample_of_the_calls(tmp_path: Path) -> None:
    counts = {call: made(tmp_path / f"count {call}").count(call) for call in dict.fromkeys(s[0] for s in SAMPLE)}
    wrong = [
        text
        for call, part, blow in SAMPLE
        for text in strike(tmp_path / f"{call} {blow} {part}", call, max(1, int(counts[call] * part)), blow)
    ]
    assert wrong == []


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
