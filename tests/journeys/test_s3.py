"""The main job with a bucket in S3: dropped, uploaded, killed in the middle, gone on with, and the sources removed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
from ending import end_until_none_is_left, processes, words_of
from fault_proxy import Fault, Proxy
from s3_server import KEY, SECRET, Place
from workspace import PATIENCE_SECONDS, QUICK, Workspace, a_row, drop, wait_for, write_csv

from dropbox_agent import demonstration
from dropbox_agent.model import asset_name
from dropbox_agent.tasks.bucket.s3 import PART_BYTES

PREFIX = asset_name("ecephys", demonstration.SUBJECT, demonstration.ACQUIRED)


@pytest.fixture
def site(workspace: Workspace, strict: Place, proxy: Proxy) -> Workspace:
    """A workspace whose uploads go to S3, with the keys in the agent's environment and nowhere else."""
    workspace.change(
        buckets={"default": strict.address},
        s3={"endpoint_url": proxy.endpoint, "connections": 4, "give_up_seconds": 20},
    )
    workspace.environ = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return workspace


@pytest.mark.timeout(600)  # five steps that are waited for, on a machine that may be busy
def test_a_manifest_is_uploaded_to_s3_and_killed_in_the_middle_goes_on_without_sending_a_file_twice(
    site: Workspace, sources: dict[str, Path], strict: Place, proxy: Proxy
) -> None:
    (sources["ecephys"] / "zz big.dat").write_bytes(b"\x07" * (3 * PART_BYTES))
    # The third part is refused as long as it is asked for, so that the process waits in the middle of the file.
    site.change(s3={"give_up_seconds": PATIENCE_SECONDS})
    proxy.faults.append(Fault("503 SlowDown", "PUT", "partNumber=3"))
    drop(site, "s.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    agent = site.start()
    journal = wait_for(lambda: next(site.work.glob("*/upload.journal"), None))
    wait_for(lambda: strict.cut_off() and journal.read_text().count('"receipt"') >= 5)
    _kill_the_upload(site)
    proxy.faults.clear()
    status = wait_for(lambda: _when_final(site))
    assert status["state"] == "failed"
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=30)
    noted = {json.loads(line)["name"] for line in journal.read_text().splitlines() if '"receipt"' in line}
    sent = dict(proxy.puts)
    (job,) = status["jobs"]
    assert site.agent("retry", job["job_id"], "--config", str(site.config)).returncode == 0
    site.until_idle()
    (job,) = site.status("s.csv")["jobs"]
    assert (job["state"], job["location"]) == ("succeeded", f"{strict.address}/{PREFIX}")
    again = {key.removeprefix(f"{PREFIX}/") for key, count in proxy.puts.items() if count > sent.get(key, 0)}
    assert not again & noted
    assert strict.cut_off() == []
    _require_every_byte(sources, strict)
    _require_no_secret(site)


def _kill_the_upload(site: Workspace) -> None:
    """Kill the task and its wrapper, as a machine that loses its power does; the agent lives."""
    end_until_none_is_left(lambda: _processes_in(site.work))


def _processes_in(folder: Path) -> list[psutil.Process]:
    """Return what was called with a file of a folder, wrappers first: one that lives writes down how its task ended."""
    words = {one: " ".join(words_of(one)) for one in processes()}
    found = [one for one in words if f"{folder}/" in words[one]]
    return sorted(found, key=lambda one: "wrapper.py" not in words[one])


def _when_final(site: Workspace) -> dict[str, object] | None:
    status = site.status("s.csv")
    return status if status["state"] in ("failed", "succeeded") else None


def _require_every_byte(sources: dict[str, Path], place: Place) -> None:
    stored = place.objects(f"{PREFIX}/")
    for name in ("ecephys", "behavior", "behavior-videos"):
        for path in sources[name].rglob("*"):
            if path.is_file():
                assert stored[f"{PREFIX}/{name}/{path.relative_to(sources[name])}"] == path.read_bytes()


def _require_no_secret(site: Workspace) -> None:
    """The keys are in no run folder, no log, no status, no mail and no ledger."""
    for path in site.folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_sources_are_removed_after_the_upload_where_site_and_job_ask_for_it(
    site: Workspace, sources: dict[str, Path], strict: Place
) -> None:
    root = sources["ecephys"].parent.parent
    site.change(policy={"source_roots": [str(root)], "source_removal": True, "quarantine_days": 1})
    asked = {"skip_task": "false", "job_settings.dry_run": "false"}
    columns = {f"tasks.remove_source_folders.{name}": value for name, value in asked.items()}
    kept = sorted(path.name for path in sources["metadata"].iterdir())
    drop(site, "s.csv", lambda path: write_csv(path, [a_row(sources, **QUICK, **columns)]))
    site.until_idle()
    (job,) = site.status("s.csv")["jobs"]
    task = next(task for task in job["tasks"] if task["task_id"] == "remove_source_folders")
    assert (job["state"], task["state"]) == ("succeeded", "succeeded"), task
    assert "moved to quarantine" in task["message"]
    waiting = root / ".dropbox-agent-quarantine" / job["job_id"]
    assert {path.name for path in waiting.iterdir() if path.is_dir()} == {"ecephys", "behavior", "behavior-videos"}
    assert not sources["ecephys"].exists()
    assert sorted(path.name for path in sources["metadata"].iterdir()) == kept
