"""A bucket in S3, or a share, that is away for hours: nobody has to come, and the upload goes on when it is back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from fault_proxy import Fault, Proxy
from faulty_share import faulty_share
from s3_server import KEY, SECRET, Place
from workspace import QUICK, Workspace, a_row, drop, wait_for, write_csv

from dropbox_agent import assembly, demonstration, settings
from dropbox_agent.agent import Agent
from dropbox_agent.model import JobStanding, TaskStanding, asset_name
from dropbox_agent.states import JobState, TaskState

NOW = datetime(2026, 1, 31, 22, tzinfo=timezone.utc)
PREFIX = asset_name("ecephys", demonstration.SUBJECT, demonstration.ACQUIRED)
ENVIRON = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
AWAY = "A service or share that it needs was away. It is run again by itself at"


@pytest.fixture
def site(workspace: Workspace, strict: Place, proxy: Proxy) -> Workspace:
    workspace.change(
        buckets={"default": strict.address},
        s3={"endpoint_url": proxy.endpoint, "give_up_seconds": 0.5, "connections": 1},
    )
    return workspace


class Night:
    """One site's agent, and what time it is."""

    def __init__(self, site: Workspace) -> None:
        self.site, self.settings = site, settings.load(site.config, {})
        self.agent = self.begun(NOW)

    def begun(self, now: datetime) -> Agent:
        return assembly.open_agent(self.settings, {**self.site.environment(), **ENVIRON}, now)

    def anew(self, now: datetime) -> None:
        """The agent dies and is started again."""
        self.agent.ledger.close()
        self.agent = self.begun(now)

    @property
    def job(self) -> JobStanding:
        return self.agent.ledger.jobs()[0]

    def task(self, name: str) -> TaskStanding:
        return {task.key: task for task in self.job.tasks}[name]

    def at(self, now: datetime, until: Callable[[], object]) -> None:
        """Let the agent work, from this time on, until something is so; what it tries again soon has its time."""
        began = time.monotonic()

        def worked() -> object:
            self.agent.tick(now + timedelta(seconds=min(50, time.monotonic() - began)))
            return until()

        wait_for(worked)

    def nothing_happens(self, now: datetime) -> None:
        before = self.agent.ledger.live_attempts(), self.job
        self.agent.tick(now)
        assert (self.agent.ledger.live_attempts(), self.job) == before


@pytest.fixture
def night(site: Workspace) -> Iterator[Night]:
    made = Night(site)
    yield made
    made.agent.ledger.close()


def waits(task: TaskStanding, clock: str) -> bool:
    return task.state is TaskState.WAITING and (task.message or "").startswith(f"{AWAY} {clock} UTC")


@pytest.mark.timeout(300)  # tasks are begun some thirty times, on a machine that may be busy
def test_a_bucket_that_is_away_for_hours_wakes_nobody(
    night: Night, site: Workspace, sources: dict[str, Path], proxy: Proxy, strict: Place
) -> None:
    proxy.faults.append(Fault("503 ServiceUnavailable"))
    one_modality = {name: sources[name] for name in ("metadata", "ecephys")}
    row = a_row(one_modality, **QUICK, email_notification_types="all")
    drop(site, "s.csv", lambda path: write_csv(path, [row]))
    night.agent.tick(NOW)
    settled = NOW + timedelta(seconds=5)
    night.at(settled, lambda: waits(night.task("check_s3_folder_exists"), "2026-01-31 22:15"))
    night.nothing_happens(NOW + timedelta(minutes=14))

    second = NOW + timedelta(minutes=16)
    night.at(second, lambda: waits(night.task("check_s3_folder_exists"), "2026-01-31 22:46"))
    night.anew(second + timedelta(minutes=1))
    night.nothing_happens(second + timedelta(minutes=29))

    # Somebody does not want to wait. It is back for the first look, and away again in the middle of the upload.
    proxy.faults[:] = [Fault("503 ServiceUnavailable", "PUT", "/ecephys/", skip=3)]
    third = second + timedelta(minutes=29)
    assert assembly.order(night.settings, "retry", night.job.job_id).startswith("Ordered: retry")
    night.at(third, lambda: waits(night.task("upload_data_to_s3"), "2026-01-31 23:00"))
    night.nothing_happens(third + timedelta(minutes=10))
    status = json.loads((site.inbox / "s.csv.status.json").read_text())
    assert status["state"] == "running"
    (upload,) = (task for task in status["jobs"][0]["tasks"] if task["task_id"] == "upload_data_to_s3")
    (earlier,) = upload["earlier_attempts"]
    assert (earlier["cause"], "503 ServiceUnavailable" in earlier["message"]) == ("service_away", True)

    proxy.faults.clear()
    arrived = {key for key in proxy.puts if "/ecephys/" in key and not key.endswith("/")}
    night.at(third + timedelta(minutes=16), lambda: night.job.state is JobState.SUCCEEDED)
    stored = strict.objects(f"{PREFIX}/")
    for path in (path for path in sources["ecephys"].rglob("*") if path.is_file()):
        assert stored[f"{PREFIX}/ecephys/{path.relative_to(sources['ecephys'])}"] == path.read_bytes()
    assert arrived
    assert {proxy.puts[key] for key in arrived} == {1}
    assert [len(night.task(name).earlier) for name in ("check_s3_folder_exists", "upload_data_to_s3")] == [2, 1]
    assert [name.split("-")[1] for name in site.mails("s.csv")] == [
        "begin.eml", "retry.eml", "retry.eml", "retry.eml", "end.eml",
    ]  # fmt: skip


def test_what_a_bucket_refuses_is_not_asked_for_again_by_itself(
    night: Night, site: Workspace, sources: dict[str, Path], proxy: Proxy
) -> None:
    proxy.faults.append(Fault("403 AccessDenied"))
    drop(site, "s.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    night.agent.tick(NOW)
    night.at(NOW + timedelta(seconds=5), lambda: night.job.state is JobState.FAILED)
    night.nothing_happens(NOW + timedelta(hours=24))


@pytest.mark.timeout(300)
def test_a_source_whose_share_does_not_answer_wakes_nobody_either(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "faulty").mkdir()
    with faulty_share(tmp_path / "faulty") as share:
        sources = demonstration.make_session(share.path / "data")
        share.set(errors=[{"path": "continuous.dat$", "call": ["read"], "errno": "EIO"}])
        night = Night(workspace)
        drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
        night.agent.tick(NOW)
        night.at(NOW + timedelta(seconds=5), lambda: waits(night.task("upload_data_to_s3"), "2026-01-31 22:15"))
        (earlier,) = night.task("upload_data_to_s3").earlier
        assert "could not be read (input/output error)" in (earlier.message or "")
        share.set()
        night.at(NOW + timedelta(minutes=16), lambda: night.job.state is JobState.SUCCEEDED)
        night.agent.ledger.close()
