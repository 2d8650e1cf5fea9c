"""The main job, with the real command in a real folder: drop a manifest, get the data uploaded, read the answer."""

from __future__ import annotations

import csv
import email
import email.policy
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from workspace import QUICK, Workspace, a_row, an_entry, drop, wait_for, write_csv, write_xlsx

from dropbox_agent import demonstration
from dropbox_agent.model import asset_name

PREFIX = asset_name("ecephys", demonstration.SUBJECT, demonstration.ACQUIRED)


def as_json(value: Any) -> Callable[[Path], Any]:
    return lambda path: path.write_text(json.dumps(value, indent=1))


def as_yaml(value: Any) -> Callable[[Path], Any]:
    return lambda path: path.write_text(yaml.safe_dump(value, allow_unicode=True))


WRITERS: dict[str, Callable[[dict[str, Path]], Callable[[Path], Any]]] = {
    "session.xlsx": lambda sources: lambda path: write_xlsx(path, [a_row(sources)]),
    "session.csv": lambda sources: lambda path: write_csv(path, [a_row(sources)]),
    "session.yaml": lambda sources: as_yaml({"upload_jobs": [an_entry(sources)]}),
    "session.yml": lambda sources: as_yaml(an_entry(sources)),
    "session.json": lambda sources: as_json({"dag_id": "transform_and_upload_v2", "upload_jobs": [an_entry(sources)]}),
    "one job.json": lambda sources: as_json(an_entry(sources)),
    "Größe.CSV": lambda sources: lambda path: write_csv(path, [a_row(sources)]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_dropped_manifest_becomes_an_upload_and_answers_beside_it(
    workspace: Workspace, sources: dict[str, Path], name: str
) -> None:
    drop(workspace, name, WRITERS[name](sources))
    workspace.until_idle()
    status = workspace.status(name)
    assert (status["state"], [job["state"] for job in status["jobs"]]) == ("succeeded", ["succeeded"]), status
    count, _, wrong = demonstration.compare(sources, workspace.bucket / PREFIX)
    assert (count, wrong) == (13, [])
    assert (workspace.bucket / PREFIX / "ecephys" / "empty folder").is_dir()
    assert (workspace.inbox / f"{name}.status.html").read_text().startswith("<!doctype html>")
    assert workspace.mails(name) == ["01-begin.eml", "02-end.eml"]


def test_every_task_of_the_pipeline_has_a_state_in_the_status(workspace: Workspace, sources: dict[str, Path]) -> None:
    drop(workspace, "s.csv", WRITERS["session.csv"](sources))
    workspace.until_idle()
    (job,) = workspace.status("s.csv")["jobs"]
    name = {True: "{task_id}[{modality}]", False: "{task_id}"}
    states = {name[bool(t["modality"])].format(**t): t["state"] for t in job["tasks"]}
    assert states == {
        "send_job_start_email": "succeeded",
        "check_s3_folder_exists": "succeeded",
        "check_source_folders_exist": "succeeded",
        "create_staging_folder": "succeeded",
        "gather_preliminary_metadata": "succeeded",
        "modality_transformation_settings": "succeeded",
        "compress_data[behavior]": "succeeded",
        "compress_data[behavior-videos]": "succeeded",
        "compress_data[ecephys]": "succeeded",
        "copy_derivatives_folder": "skipped",
        "gather_final_metadata": "succeeded",
        "check_metadata_files": "succeeded",
        "upload_data_to_s3": "succeeded",
        "register_data_asset_to_codeocean": "skipped",
        "update_docdb_record": "skipped",
        "codeocean_pipeline_settings": "succeeded",
        "run_codeocean_pipeline": "skipped",
        "remove_staging_folder": "succeeded",
        "remove_source_folders": "skipped",
        "send_job_end_email": "succeeded",
    }
    reasons = {t["task_id"]: t["message"] for t in job["tasks"] if t["state"] == "skipped"}
    assert "codeocean.domain" in reasons["register_data_asset_to_codeocean"]
    assert "docdb.host" in reasons["update_docdb_record"]
    assert not (workspace.work / job["job_id"] / "staging").exists()
    listed = workspace.agent("inventory", job["job_id"], "--csv", "--config", str(workspace.config)).stdout
    asset = workspace.bucket / job["s3_prefix"]
    files = {str(path.relative_to(asset)): str(path.stat().st_size) for path in asset.rglob("*") if path.is_file()}
    rows = csv.DictReader(io.StringIO(listed.removeprefix("\ufeff")))
    assert {row["path"]: row["size"] for row in rows if not row["path"].endswith("/")} == files


def test_a_manifest_with_mistakes_is_answered_with_each_cell_and_nothing_runs(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    bad = a_row(sources, job_type="ecehpys", subject_id="../../x y", **{"modality0.input_source": "/not/there"})
    drop(workspace, "s.xlsx", lambda path: write_xlsx(path, [a_row(sources), bad]))
    workspace.until_idle()
    status = workspace.status("s.xlsx")
    assert (status["state"], status["jobs"]) == ("refused", [])
    cells = {(p["row"], p["column"], p["cell"], p["suggestion"]) for p in status["problems"] if p["level"] == "error"}
    assert {(3, "job_type", "A3", "ecephys"), (3, "subject_id", "D3", None)} <= cells
    assert workspace.mails("s.xlsx") == ["01-refused.eml"]
    assert list(workspace.work.glob("[!.]*")) == []


def test_a_missing_source_folder_is_answered_with_its_cell(workspace: Workspace, sources: dict[str, Path]) -> None:
    gone = str(sources["ecephys"]) + "_x"
    drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, **{"modality0.input_source": gone})]))
    workspace.until_idle()
    (problem,) = [p for p in workspace.status("s.csv")["problems"] if p["level"] == "error"]
    assert (problem["row"], problem["column"], problem["found"]) == (2, "modality0.input_source", gone)
    assert problem["suggestion"] == str(sources["ecephys"])


def test_one_bad_row_refuses_only_itself_when_the_site_says_so(workspace: Workspace, sources: dict[str, Path]) -> None:
    workspace.change(on_error="row")
    rows = [a_row(sources, **QUICK), a_row(sources, job_type="nonsense", subject_id="0013")]
    drop(workspace, "s.csv", lambda path: write_csv(path, rows))
    workspace.until_idle()
    status = workspace.status("s.csv")
    assert [job["s3_prefix"] for job in status["jobs"]] == [PREFIX]
    assert status["state"] == "succeeded"
    assert [(p["row"], p["column"]) for p in status["problems"] if p["level"] == "error"] == [(3, "job_type")]


def test_the_same_asset_from_another_manifest_is_refused_with_where_it_was_uploaded(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    drop(workspace, "one.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    workspace.until_idle()
    drop(workspace, "two.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    workspace.until_idle()
    status = workspace.status("two.csv")
    assert status["state"] == "refused"
    (problem,) = status["problems"]
    assert problem["message"].startswith(f"{PREFIX} was uploaded on ")
    assert "for one.csv, row 2" in problem["message"]


def test_what_lies_in_the_bucket_already_fails_at_the_check_and_is_not_written_over(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    present = workspace.bucket / PREFIX / "ecephys" / "settings.xml"
    present.parent.mkdir(parents=True)
    present.write_text("somebody else's")
    drop(workspace, "two.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    workspace.until_idle()
    (job,) = workspace.status("two.csv")["jobs"]
    failed = [task for task in job["tasks"] if task["state"] == "failed"]
    assert [task["task_id"] for task in failed] == ["check_s3_folder_exists"]
    assert present.read_text() == "somebody else's"
    assert workspace.mails("two.csv") == ["01-begin.eml", "02-fail.eml"]
    message = email.message_from_bytes(
        (workspace.inbox / "two.csv.02-fail.eml").read_bytes(), policy=email.policy.default
    )
    assert message["To"] == "you@example.org"
    text = message.get_body(("plain",))
    assert text is not None
    assert failed[0]["message"] in " ".join(text.get_content().split())


def test_the_same_file_dropped_again_runs_nothing_twice(workspace: Workspace, sources: dict[str, Path]) -> None:
    drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    workspace.until_idle()
    first = workspace.status("s.csv")
    workspace.until_idle()
    os.utime(workspace.inbox / "s.csv")
    workspace.until_idle()
    assert workspace.status("s.csv") == first
    assert len(list(workspace.work.glob("[!.]*"))) == 1


def test_a_refused_manifest_is_read_again_when_it_is_saved_again(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    later = Path(str(sources["ecephys"]) + " moved")
    row = a_row(sources, **QUICK, **{"modality0.input_source": str(later)})
    drop(workspace, "s.csv", lambda path: write_csv(path, [row]))
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "refused"
    sources["ecephys"].rename(later)
    os.utime(workspace.inbox / "s.csv", (1, 1))
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "succeeded"


# --- a task that waits for a gate, to look at the agent while work goes on -------------------------------------------

SLOW = """
description: Compresses as slowly as a gate says.
tasks:
  modality_transformation_settings:
    behavior:
      command_script: |
        #!/bin/bash
        echo $$ >> {folder}/pids
        while [ ! -e {folder}/gate ]; do sleep 0.05; done
        cp -r '%INPUT_SOURCE'/. '%OUTPUT_LOCATION'/
"""


@pytest.fixture
def gate(workspace: Workspace, tmp_path: Path, sources: dict[str, Path]) -> Path:
    """Drop a manifest whose compression waits until the gate is there; return the gate."""
    folder = tmp_path / "gate"
    folder.mkdir()
    # A script gets its folders as text: they must not mean anything to a shell.
    (tmp_path / "work").mkdir()
    workspace.change(work_dir=str(tmp_path / "work"))
    (workspace.folder / "job_types" / "slow.yaml").write_text(SLOW.format(folder=folder))
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "trials.csv").write_text("1,2\n")
    row = a_row({"behavior": plain, "metadata": sources["metadata"]}, job_type="slow", **QUICK)
    drop(workspace, "s.csv", lambda path: write_csv(path, [row]))
    return folder / "gate"


def pids(gate: Path) -> list[int]:
    path = gate.parent / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def tokens(workspace: Workspace) -> list[Path]:
    return list((workspace.work).glob("*/attempts/*/started"))


def test_killed_in_the_middle_of_a_task_the_next_agent_adopts_the_very_process(
    workspace: Workspace, gate: Path
) -> None:
    agent = workspace.start()
    (pid,) = wait_for(lambda: pids(gate))
    wait_for(lambda: (workspace.inbox / "s.csv.status.json").exists())
    agent.send_signal(signal.SIGKILL)
    agent.wait(20)
    before = psutil.Process(pid)
    started = before.create_time()
    second = workspace.start()
    wait_for(lambda: "running" in [t["state"] for job in workspace.status("s.csv")["jobs"] for t in job["tasks"]])
    assert psutil.Process(pid).create_time() == started
    gate.touch()
    wait_for(lambda: workspace.status("s.csv")["state"] in ("succeeded", "failed"))
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0
    assert workspace.status("s.csv")["state"] == "succeeded"
    assert pids(gate) == [pid]
    attempts = list((workspace.work).glob("*/attempts/*"))
    assert len(tokens(workspace)) == len(attempts)


def test_what_ended_while_no_agent_ran_is_found_at_the_next_start(workspace: Workspace, gate: Path) -> None:
    agent = workspace.start()
    (pid,) = wait_for(lambda: pids(gate))
    agent.send_signal(signal.SIGKILL)
    agent.wait(20)
    gate.touch()
    wait_for(lambda: not psutil.pid_exists(pid))
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "succeeded"
    assert pids(gate) == [pid]


def test_term_ends_the_agent_cleanly_and_what_runs_goes_on(workspace: Workspace, gate: Path) -> None:
    agent = workspace.start()
    (pid,) = wait_for(lambda: pids(gate))
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(20) == 0
    assert psutil.pid_exists(pid)
    gate.touch()
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "succeeded"


def test_a_second_agent_on_the_same_ledger_is_refused(workspace: Workspace, gate: Path) -> None:
    workspace.start()
    wait_for(lambda: pids(gate))
    second = workspace.agent("run", "--until-idle", "--config", str(workspace.config))
    assert second.returncode == 3
    assert "Another agent works on" in second.stderr
    gate.touch()


def test_two_manifests_for_one_asset_at_one_time_are_told_of_each_other(
    workspace: Workspace, gate: Path, sources: dict[str, Path]
) -> None:
    agent = workspace.start()
    wait_for(lambda: pids(gate))
    drop(workspace, "other.csv", WRITERS["session.csv"](sources))
    status = wait_for(lambda: (told := workspace.status("other.csv"))["state"] != "settling" and told)
    assert status["state"] == "refused"
    assert f"{PREFIX} is being uploaded now, for s.csv" in status["problems"][0]["message"]
    gate.touch()
    wait_for(lambda: workspace.status("s.csv")["state"] == "succeeded")
    agent.terminate()
    assert agent.wait(20) == 0


def test_a_cancelled_upload_ends_its_processes_and_goes_on_when_it_is_run_again(
    workspace: Workspace, gate: Path
) -> None:
    agent = workspace.start()
    (pid,) = wait_for(lambda: pids(gate))
    (workspace.inbox / "s.csv.cancel").touch()
    wait_for(lambda: (workspace.inbox / "s.csv.status.json").exists())
    wait_for(lambda: workspace.status("s.csv")["state"] == "cancelled")
    assert not psutil.pid_exists(pid)
    assert not (workspace.inbox / "s.csv.cancel").exists()
    assert "Cancelled by s.csv.cancel." in workspace.status("s.csv")["summary"]
    (cancelled,) = workspace.status("s.csv")["jobs"]
    assert "It was ended as ordered." in [task["message"] for task in cancelled["tasks"]]
    gate.touch()
    (workspace.inbox / "s.csv.retry").touch()
    wait_for(lambda: workspace.status("s.csv")["state"] == "succeeded")
    agent.terminate()
    assert agent.wait(20) == 0
    assert not (workspace.inbox / "s.csv.retry").exists()
    (job,) = workspace.status("s.csv")["jobs"]
    attempts = {task["task_id"]: task["attempt"] for task in job["tasks"]}
    assert (attempts["create_staging_folder"], attempts["compress_data"], attempts["upload_data_to_s3"]) == (1, 2, 1)
    assert workspace.mails("s.csv") == ["01-begin.eml", "02-end.eml", "03-retry.eml", "04-end.eml"]


def test_a_failed_upload_is_run_again_by_command_when_its_cause_is_mended(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    (workspace.bucket / PREFIX).mkdir()
    (workspace.bucket / PREFIX / "in the way").touch()
    drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, **QUICK)]))
    workspace.until_idle()
    (job,) = workspace.status("s.csv")["jobs"]
    assert job["state"] == "failed"
    config = ("--config", str(workspace.config))
    early = workspace.agent("cancel", job["job_id"], *config)
    assert (early.returncode, early.stderr.strip()) == (1, f"Job {job['job_id']} is failed.")
    (workspace.bucket / PREFIX / "in the way").unlink()
    (workspace.bucket / PREFIX).rmdir()
    ordered = workspace.agent("retry", job["job_id"], *config)
    assert ordered.returncode == 0, ordered.stderr
    workspace.until_idle()
    assert workspace.status("s.csv")["state"] == "succeeded"
    assert demonstration.compare(sources, workspace.bucket / PREFIX)[::2] == (13, [])


def test_a_killed_task_fails_its_job_in_words(workspace: Workspace, gate: Path) -> None:
    agent = workspace.start()
    (pid,) = wait_for(lambda: pids(gate))
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: (workspace.inbox / "s.csv.status.json").exists() and workspace.status("s.csv")["state"] == "failed"
    )
    agent.terminate()
    agent.wait(20)
    (job,) = workspace.status("s.csv")["jobs"]
    (failed,) = [task for task in job["tasks"] if task["state"] == "failed"]
    assert failed["task_id"] == "compress_data"
    assert Path(failed["log"]).is_file()
