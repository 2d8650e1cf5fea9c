"""How long the list of jobs takes with 100,000 jobs in the ledger, as a ratio to an empty one, while an agent writes.

Figures to look at, printed; nothing here fails because a machine is busy. ``make benchmark`` runs it.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from filled_ledger import NOW, a_job, accepted, hand_over, see

from dropbox_agent import assembly, founding, serving
from dropbox_agent import settings as sites
from dropbox_agent.ledger import Ledger
from dropbox_agent.settings import Settings
from dropbox_agent.states import TaskState

JOBS = int(os.environ.get("BENCHMARK_JOBS", "2000"))
PER_MANIFEST = 500
PAGES = (PER_MANIFEST + (JOBS // PER_MANIFEST - 1) * PER_MANIFEST * 49 // 50) // 50
"""How many whole pages the list has: of each copied manifest the forty-ninth part of fifty has ended."""
TIMES = int(os.environ.get("BENCHMARK_TIMES", "20"))
ASKED = {
    "the first page": "/jobs",
    "a search": "/jobs?q=7001+behavior",
    "a filter": "/jobs?project=slap2&state=succeeded&modality=ecephys",
    "sorted by subject": "/jobs?sort=subject&way=up",
    "the last page": f"/jobs?page={PAGES}",
    "manifests": "/manifests",
    "the API, a search": "/api/jobs?q=7001+behavior",
}
PROJECTS = ("Ephys Platform", "Behavior Platform", "Ophys Platform - SLAP2", "SmartSPIM")


def test_the_list_of_a_long_ledger_is_quick_while_the_agent_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with site(tmp_path / "empty") as (address, _):
        empty = {name: measured(address + path) for name, path in ASKED.items()}
    with site(tmp_path / "long") as (address, ledger):
        fill(ledger)
        with at_work(ledger) as steps:
            long = {name: measured(address + path) for name, path in ASKED.items()}
        assert steps  # The agent wrote all the time.
    with capsys.disabled():
        print(f"\n{JOBS:,} jobs: milliseconds p50 / p99, those of an empty ledger, ratios; {len(steps)} writes")
        for name in ASKED:
            (e50, e99), (l50, l99) = empty[name], long[name]
            ratios = f"{l50 / e50:5.1f} / {l99 / e99:5.1f}"
            print(f"{name:20} {l50:7.1f} / {l99:7.1f}   empty {e50:6.1f} / {e99:6.1f}   {ratios}")
        longest = max(steps)
        print(f"a write of the agent  p50 {percentile(steps, 50):.1f}, longest {longest:.1f}")


@contextmanager
def site(folder: Path) -> Iterator[tuple[str, Ledger]]:
    """Yield the address of a served site, and its ledger."""
    settings: Settings = sites.load(founding.initialise(folder, NOW), {})
    settings = settings.model_copy(update={"web": settings.web.model_copy(update={"port": 0})})
    ledger = assembly.open_ledger(settings, NOW)
    with serving.served_beside(settings) as address:
        yield address, ledger
    ledger.close()


def fill(ledger: Ledger) -> None:
    """Put JOBS jobs into a ledger: PER_MANIFEST are accepted, one in fifty of them goes on; the others are copies."""
    chosen = random.Random(0)
    kinds = [chosen.choice(["ecephys", "behavior", "SmartSPIM"]) for _ in range(PER_MANIFEST)]
    jobs = [
        a_job(
            f"{kind}_{700000 + number}_2026-01-31_12-00-00",
            row=number + 2,
            subject_id=str(700000 + number),
            project_name=chosen.choice(PROJECTS),
            job_type=kind,
            user_email=f"user{number % 40}@example.org",
        )
        for number, kind in enumerate(kinds)
    ]
    accepted(ledger, "manifest 0.xlsx", jobs)
    connection = ledger._connection
    connection.executescript(
        "BEGIN; UPDATE tasks SET state = 'succeeded' WHERE state = 'waiting'"
        " AND job_id IN (SELECT job_id FROM jobs WHERE rowid % 50 > 0);"
        " UPDATE jobs SET state = iif(rowid % 20, 'succeeded', 'failed') WHERE rowid % 50 > 0; COMMIT;"
    )
    connection.execute("BEGIN")
    for number in range(1, JOBS // PER_MANIFEST):
        copied(connection, number)
    connection.execute("COMMIT")


def copied(connection: sqlite3.Connection, number: int) -> None:
    """Copy what has ended of the first manifest, as if it had been dropped under another name, a while before."""
    when = (NOW - timedelta(minutes=20 * number)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    ended = "job_id IN (SELECT job_id FROM jobs WHERE drop_id = 1 AND state IN ('succeeded', 'failed'))"
    again = {
        "drops": {"drop_id": f"{number + 1}", "name": f"'manifest {number}.xlsx'", "noticed": f"'{when}'"},
        "jobs": {
            "job_id": f"job_id || '.{number}'",
            "drop_id": f"{number + 1}",
            "s3_prefix": f"replace(s3_prefix, '_2026', '{number}_2026')",
            "subject_id": f"subject_id || '{number}'",
            "location": f"location || '{number}'",
            "created": f"'{when}'",
        },
        "tasks": {"job_id": f"job_id || '.{number}'"},
    }
    for table, changes in again.items():
        columns = [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(changes.get(column, column) for column in columns)
        where = "drop_id = 1" if table == "drops" else ended
        connection.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE {where}")


@contextmanager
def at_work(ledger: Ledger) -> Iterator[list[float]]:
    """Let an agent write all the time; yield how long each of its steps took, in milliseconds."""
    over, steps = threading.Event(), list[float]()
    live = [job_id for job_id, _ in ledger.ready(NOW, 10)[:50]]

    def work() -> None:
        while not over.is_set():
            for job_id in live:
                begun = time.perf_counter()
                for attempt in hand_over(ledger, job_id, NOW)[:1]:
                    see(ledger, attempt, TaskState.RUNNING, NOW, NOW, progress={"done_bytes": len(steps)})
                for attempt in ledger.live_attempts()[:5]:
                    see(ledger, attempt, TaskState.RUNNING, NOW, NOW, progress={"done_bytes": len(steps)})
                steps.append((time.perf_counter() - begun) * 1000)
                if over.wait(0.2):
                    return

    thread = threading.Thread(target=work)
    thread.start()
    yield steps
    over.set()
    thread.join()


def measured(address: str) -> tuple[float, float]:
    """Return p50 and p99 of the milliseconds a page takes."""
    took = []
    for _ in range(TIMES + 1):
        begun = time.perf_counter()
        with urllib.request.urlopen(address, timeout=60) as answer:
            answer.read()
        took.append((time.perf_counter() - begun) * 1000)
    return percentile(took[1:], 50), percentile(took[1:], 99)


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value that this share of all is not above."""
    return sorted(values)[min(len(values) * share // 100, len(values) - 1)]
