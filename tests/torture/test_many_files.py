"""A hundred thousand old files in an inbox: what a scan costs, what is remembered, and how soon a new file is seen."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import yaml
from workspace import a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, settings

FILES = int(os.environ.get("TORTURE_FILES", "100000"))
START_SECONDS_PER_1000 = 6.0
"""How long a start may take to read all old files once, and again after the settle time."""
SCAN_SECONDS_PER_1000 = 0.15
NEW_FILE_SCANS = 2
"""How many listings a new file may take from the next look to its answer; the waits between the looks come on top."""
MEMORY_BYTES_PER_FILE = 3000
"""Bounds for a busy machine of two cores; measured values are in docs/reliability.md."""


@pytest.mark.torture
def test_many_old_files_cost_little_and_a_new_one_is_seen_at_once(tmp_path: Path) -> None:
    now = assembly.utc_now()
    file = founding.initialise(tmp_path / "site", now)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"executor": {"kind": "rehearsal"}}))
    site = settings.load(file, {})
    inbox = site.inboxes[0].path
    for number in range(FILES):
        (inbox / f"old {number}.csv").write_text(f"a,b\n{number},2\n")
    founding.adopt(site, inbox, "seen", now)
    agent = assembly.open_agent(site, os.environ, now)
    me, before = psutil.Process(), psutil.Process().memory_info().rss
    began = time.monotonic()
    for seconds in (0, 3, 6):
        agent.tick(now + timedelta(seconds=seconds))
    started = time.monotonic() - began
    remembered = me.memory_info().rss - before
    began = time.monotonic()
    agent.tick(now + timedelta(seconds=30))
    scan = time.monotonic() - began
    write_csv(inbox / "new.csv", [a_row(demonstration.make_session(tmp_path / "data"))])
    began = time.monotonic()
    for seconds in (60, 63, 64, 65):
        agent.tick(now + timedelta(seconds=seconds))
    new = time.monotonic() - began
    names = [standing.name for standing in agent.ledger.drops()]
    agent.ledger.close()
    print(
        f"{FILES} files: start {started:.1f} s, {remembered / 1e6:.0f} MB, a scan {scan:.2f} s, a new one {new:.2f} s"
    )
    assert names == ["new.csv"]
    assert len(list((site.state_dir / "spool").iterdir())) == 1
    assert started < START_SECONDS_PER_1000 * FILES / 1000 + 10
    assert scan < SCAN_SECONDS_PER_1000 * FILES / 1000 + 2
    assert new < NEW_FILE_SCANS * (SCAN_SECONDS_PER_1000 * FILES / 1000 + 2) + 10
    assert remembered < MEMORY_BYTES_PER_FILE * FILES + 50_000_000
