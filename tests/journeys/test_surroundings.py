"""What surrounds the agent is wrong: it says so in words, harms nothing, and goes on when it is mended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import QUICK, Workspace, a_row, drop, wait_for, write_csv

from dropbox_agent.inbox import MARKER


def drop_good(workspace: Workspace, sources: dict[str, Path], name: str = "s.csv", **changes: str) -> None:
    drop(workspace, name, lambda path: write_csv(path, [a_row(sources, **{**QUICK, **changes})]))


def state_of(workspace: Workspace, name: str = "s.csv") -> str | None:
    try:
        return str(workspace.status(name)["state"])
    except FileNotFoundError:
        return None


def test_an_unknown_setting_names_its_line_and_the_nearest_known_name(workspace: Workspace) -> None:
    workspace.config.write_text(workspace.config.read_text() + "\nsetle_seconds: 3\nproyects: [a]\n")
    lines = workspace.config.read_text().splitlines()
    done = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert done.returncode == 2
    assert f"line {lines.index('setle_seconds: 3') + 1}" in done.stderr
    assert f"line {lines.index('proyects: [a]') + 1}" in done.stderr
    assert "projects" in done.stderr


def test_an_inbox_that_is_not_there_is_never_made(workspace: Workspace) -> None:
    shutil.rmtree(workspace.inbox)
    done = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert (done.returncode, workspace.inbox.exists()) == (3, False)
    assert f"The inbox {workspace.inbox} is not there." in done.stderr


def test_a_running_agent_waits_for_an_inbox_that_went_away(workspace: Workspace, sources: dict[str, Path]) -> None:
    agent = workspace.start()
    wait_for(lambda: (workspace.inbox / "README.txt").exists())
    away = workspace.folder / "away"
    workspace.inbox.rename(away)
    workspace.inbox.mkdir()
    write_csv(workspace.inbox / "s.csv", [a_row(sources)])
    status = wait_for(lambda: workspace.agent("status", "--json", "--config", str(workspace.config)).stdout)
    assert any("has no marker" in trouble for trouble in json.loads(status)["troubles"])
    assert sorted(path.name for path in workspace.inbox.iterdir()) == ["s.csv"]
    shutil.rmtree(workspace.inbox)
    away.rename(workspace.inbox)
    drop_good(workspace, sources)
    wait_for(lambda: state_of(workspace) == "succeeded")
    agent.terminate()
    assert agent.wait(20) == 0


def test_a_preset_that_does_not_parse_stops_only_its_own_job_type(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    (workspace.folder / "job_types" / "torn.yaml").write_text(
        "description: x\ntasks: {upload_data_to_s3: {skip_tsk: 1}\n"
    )
    drop_good(workspace, sources)
    drop_good(workspace, sources, "t.csv", job_type="torn", subject_id="0013")
    done = workspace.until_idle()
    assert (state_of(workspace), state_of(workspace, "t.csv")) == ("succeeded", "refused")
    (problem,) = [p for p in workspace.status("t.csv")["problems"] if p["level"] == "error"]
    assert "torn.yaml" in problem["message"]
    assert "torn.yaml" in done.stderr
    status = workspace.agent("status", "--config", str(workspace.config))
    assert "torn.yaml" in status.stdout
    listed = workspace.agent("presets", "--config", str(workspace.config))
    assert (listed.returncode, "torn.yaml" in listed.stdout) == (1, True)


def test_a_missing_work_folder_is_said_at_the_start(workspace: Workspace) -> None:
    shutil.rmtree(workspace.work)
    done = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert done.returncode == 3
    assert "work_dir" in done.stderr


def test_a_work_folder_that_went_away_is_waited_for(workspace: Workspace, sources: dict[str, Path]) -> None:
    agent = workspace.start()
    wait_for(lambda: (workspace.inbox / "README.txt").exists())
    work = workspace.work
    work.rename(workspace.folder / "elsewhere")
    drop_good(workspace, sources)
    told = wait_for(
        lambda: [
            task["message"]
            for task in workspace.status("s.csv")["jobs"][0]["tasks"]
            if task["state"] == "submitted" and task["message"]
        ]
    )
    assert "is not there, so nothing was started" in told[0]
    (workspace.folder / "elsewhere").rename(work)
    wait_for(lambda: state_of(workspace) == "succeeded")
    agent.terminate()
    assert agent.wait(20) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "small disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_bucket_fails_the_job_in_words(workspace: Workspace, sources: dict[str, Path], small_disk: Path) -> None:
    workspace.change(buckets={"default": small_disk.as_uri()})
    drop_good(workspace, sources)
    workspace.until_idle()
    (job,) = workspace.status("s.csv")["jobs"]
    (failed,) = [task for task in job["tasks"] if task["state"] == "failed"]
    assert failed["task_id"] == "upload_data_to_s3"
    assert "full" in failed["message"] or "No space left" in failed["message"]
    assert str(small_disk) in failed["message"]
    assert all(path.exists() for path in sources.values())


def test_a_full_disk_under_the_inbox_is_said_and_the_work_goes_on(
    workspace: Workspace, sources: dict[str, Path], small_disk: Path
) -> None:
    (small_disk / MARKER).parent.mkdir()
    shutil.copy(workspace.inbox / MARKER, small_disk / MARKER)
    workspace.change(inboxes=[{"path": str(small_disk), "settle_seconds": 0.2, "scan_seconds": 1}])
    write_csv(small_disk / "s.csv", [a_row(sources, **QUICK)])
    (small_disk / "ballast").write_bytes(b"x" * 1_000_000)
    with (small_disk / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    done = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert done.returncode == 3
    assert "the disk is full" in done.stderr
    assert list((workspace.bucket).glob("*/ecephys/settings.xml"))
    (small_disk / "ballast").unlink()
    again = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert again.returncode == 0, again.stderr
    assert json.loads((small_disk / "s.csv.status.json").read_text())["state"] == "succeeded"


def test_an_inbox_that_cannot_be_written_is_said_and_the_work_goes_on(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("a read-only mount needs root")
    drop_good(workspace, sources)
    subprocess.run(["mount", "--bind", str(workspace.inbox), str(workspace.inbox)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(workspace.inbox)], check=True)
    try:
        done = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    finally:
        subprocess.run(["umount", "--lazy", str(workspace.inbox)], check=True)
    assert done.returncode == 3
    assert "read-only" in done.stderr
    assert list((workspace.bucket).glob("*/ecephys/settings.xml"))
    workspace.until_idle()
    assert state_of(workspace) == "succeeded"


def test_a_folder_full_of_files_is_watched_only_after_somebody_said_what_to_do_with_them(
    workspace: Workspace, sources: dict[str, Path], tmp_path: Path
) -> None:
    old = tmp_path / "old inbox"
    old.mkdir()
    write_csv(old / "before.csv", [a_row(sources)])
    workspace.change(inboxes=[{"path": str(old), "settle_seconds": 0.2, "scan_seconds": 1}])
    done = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert done.returncode == 3
    assert "dropbox-agent adopt" in done.stderr
    adopted = workspace.agent("adopt", str(old), "--baseline", "seen", "--config", str(workspace.config))
    assert adopted.returncode == 0, adopted.stderr
    write_csv(old / "after.csv", [a_row(sources, subject_id="0013", **QUICK)])
    workspace.until_idle()
    assert not (old / "before.csv.status.json").exists()
    assert (old / "after.csv.status.json").exists()


def test_a_link_in_the_data_to_the_services_own_folders_is_not_followed(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    """With all of a disk allowed, the ledger on it still is nobody's data."""
    workspace.change(policy={"source_roots": [str(workspace.folder.parent)]})
    (sources["ecephys"] / "innocent").symlink_to(workspace.folder / "state")
    drop_good(workspace, sources)
    workspace.until_idle()
    (job,) = workspace.status("s.csv")["jobs"]
    (failed,) = [task for task in job["tasks"] if task["state"] == "failed"]
    assert failed["task_id"] == "check_source_folders_exist"
    assert "innocent" in failed["message"]
    assert list(workspace.bucket.glob("*/ecephys")) == []


def test_what_never_settles_is_not_waited_for(workspace: Workspace, sources: dict[str, Path]) -> None:
    os.mkfifo(workspace.inbox / "pipe.csv")
    (workspace.inbox / "link.csv").symlink_to("/etc/hostname")
    drop_good(workspace, sources)
    workspace.until_idle()
    assert state_of(workspace) == "succeeded"
    for name in ("pipe.csv", "link.csv"):
        assert workspace.status(name)["state"] == "settling"
        assert "not a plain file" in workspace.status(name)["summary"]


def test_what_the_agent_writes_is_never_taken_for_a_manifest(workspace: Workspace, sources: dict[str, Path]) -> None:
    drop_good(workspace, sources)
    workspace.until_idle()
    workspace.until_idle()
    names = sorted(path.name for path in workspace.inbox.iterdir() if not path.name.startswith("."))
    assert names == [
        "README.txt",
        "TEMPLATE.xlsx",
        "s.csv",
        "s.csv.01-begin.eml",
        "s.csv.02-end.eml",
        "s.csv.status.html",
        "s.csv.status.json",
    ]


def test_the_page_shows_the_jobs_while_no_agent_runs(workspace: Workspace, sources: dict[str, Path]) -> None:
    drop_good(workspace, sources)
    workspace.until_idle()
    page = workspace.start("serve", "--port", "0")
    assert page.stdout is not None
    line = next(line for line in page.stdout if "The pages are at" in line)
    address = next(word for word in line.split() if word.startswith("http://")).rstrip(",")
    with urllib.request.urlopen(f"{address}/jobs", timeout=20) as answer:
        text = answer.read().decode()
    assert "ecephys_0012_2026-01-30_14-05-09" in text
    with urllib.request.urlopen(f"{address}/job_params", timeout=20) as answer:
        assert "SmartSPIM" in answer.read().decode()
    page.send_signal(signal.SIGTERM)
    page.wait(20)


def test_an_address_that_is_taken_or_not_of_this_machine_is_said(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        asked = (("--port", port), ("--host", "192.0.2.1", "--port", "0"), ("--port", "80999"))
        done = [workspace.agent("serve", *words, "--config", str(workspace.config)) for words in asked]
    assert [one.returncode for one in done] == [3, 3, 2]
    assert f"The pages cannot be served at 127.0.0.1, port {port}: Address already in use." in done[0].stderr
    assert "Name another address: --host and --port" in done[1].stderr


def test_a_page_without_a_ledger_says_what_to_do(tmp_path: Path) -> None:
    made = Workspace(tmp_path)
    config = tmp_path / "agent.yaml"
    config.write_text("state_dir: nothing\n")
    done = made.agent("serve", "--config", str(config))
    assert done.returncode == 3
    assert "There is no ledger at" in done.stderr
