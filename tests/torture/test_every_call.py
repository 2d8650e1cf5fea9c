"""The agent is struck once at every system call by which it makes something last, and started again.

Each point is: a fresh site, a run that is struck at the N-th call of one kind, a clean run, and every invariant. What
was tried is noted in ``TORTURE_NOTES`` (a file), so that a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from itertools import count, product
from pathlib import Path

import pytest
from under_fire import CALLS, SiteUnderFire
from warm_agent import WarmAgent

BLOWS = ("signal=SIGKILL", "error=ENOSPC", "error=EIO", "error=ESTALE")
SAMPLE = (("renameat", 12, "signal=SIGKILL"), ("pwrite64", 300, "signal=SIGKILL"), ("fsync", 30, "error=ENOSPC"))
"""What CI tries, in the midst of a run that makes 25, 615 and 56 such calls."""
PARTS = {"pwrite64": 12, "write": 2, "fsync": 2, "fdatasync": 2}
"""Into how many tests the points of a call are dealt, so that they can run side by side (``pytest -n 3``)."""

DEALT = [(blow, call, part + 1) for blow, call in product(BLOWS, CALLS) for part in range(PARTS.get(call, 1))]


def strike(agent: WarmAgent, folder: Path, call: str, number: int, blow: str) -> list[str] | None:
    """Return what is wrong after one blow and a clean run, or None if the run makes no such call any more."""
    folder.mkdir()
    site = SiteUnderFire(folder, agent)
    site.make()
    if not site.struck(call, number, blow):
        return None
    done = site.run()
    return site.what_is_wrong() if done.returncode == 0 else [done.stderr[-2000:]]


@pytest.mark.parametrize(("call", "number", "blow"), SAMPLE)
def test_a_sample_of_the_calls(tmp_path: Path, agent: WarmAgent, call: str, number: int, blow: str) -> None:
    assert strike(agent, tmp_path / "struck", call, number, blow) == []


@pytest.mark.torture
@pytest.mark.parametrize(("blow", "call", "first"), DEALT)
def test_every_call(tmp_path: Path, agent: WarmAgent, blow: str, call: str, first: int) -> None:
    notes = Path(os.environ.get("TORTURE_NOTES", tmp_path / "notes"))
    step = PARTS.get(call, 1) * int(os.environ.get("TORTURE_STEP", "1"))
    tried = dict(map(json.loads, notes.read_text().splitlines())) if notes.exists() else {}
    for number in count(first, step):
        point = f"{call} {number} {blow}"
        if point not in tried:
            tried[point] = strike(agent, tmp_path / "struck", call, number, blow)
            shutil.rmtree(tmp_path / "struck")
            with notes.open("a") as file:
                file.write(json.dumps([point, tried[point]]) + "\n")
        if tried[point] is None:
            break
    assert {point: wrong for point, wrong in tried.items() if wrong and point.endswith(blow)} == {}
