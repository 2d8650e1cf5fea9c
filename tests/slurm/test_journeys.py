"""Manifests go through a real cluster of four nodes, whatever is killed, hangs, forgets or is full meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster import NODES, Cluster
from cluster_site import GATED, MODALITIES, Site, a_site, write_job_type
from fault_proxy import Fault, Proxy
from killing import killing_proxy, killing_sbatch
from s3_server import Place
from workspace import PATIENCE_SECONDS, QUICK, Workspace, a_row, drop, wait_for, write_csv, write_xlsx

from dropbox_agent import demonstration

UPLOAD = ("tasks.check_s3_folder_exists.skip_task", "tasks.upload_data_to_s3.skip_task")


@pytest.fixture(params=["cli", "rest"])
def way(request: pytest.FixtureRequest) -> str:
    """Every journey is made by each way to the cluster: Slurm's commands, and slurmrestd."""
    return str(request.param)


@pytest.fixture
def site(workspace: Workspace, cluster: Cluster, tmp_path: Path, way: str) -> Iterator[Site]:
    made = a_site(workspace, cluster, tmp_path, way)
    yield made
    # What a test left running must not keep the cluster from being empty.
    made.gate.touch()


# --- the way through -------------------------------------------------------------------------------------------------


def test_a_session_is_uploaded_from_a_work_folder_whose_name_means_something_to_everybody(
    site: Site, workspace: Workspace, sources: dict[str, Path], tmp_path: Path
) -> None:
    work = tmp_path / "100% of a site's \\work"
    work.mkdir()
    workspace.change(work_dir=str(work))
    drop(workspace, "s.xlsx", lambda path: write_xlsx(path, [a_row(sources, **QUICK)]))
    workspace.until_idle()
    status = workspace.status("s.xlsx")
    assert status["state"] == "succeeded", status
    (job,) = status["jobs"]
    assert demonstration.compare(sources, workspace.bucket / job["s3_prefix"])[::2] == (13, [])
    ids = {task["task_id"]: task["slurm_job_id"] for task in job["tasks"] if task["attempt"] and not task["modality"]}
    assert ids["check_s3_folder_exists"] == ids["create_staging_folder"] != ids["upload_data_to_s3"]
    assert set(site.job_count().values()) == {1}


def test_the_demo_session_goes_through_with_its_modalities_side_by_side_on_different_nodes(
    site: Site, workspace: Workspace, tmp_path: Path
) -> None:
    sources = demonstration.make_session(tmp_path / "session")
    drop(workspace, "s.csv", lambda path: write_csv(path, [a_row(sources, job_type="gated")]))
    workspace.start()
    runs = wait_for(lambda: len(site.runs()) == 3 and site.runs())
    assert len({node for _, _, node in runs}) == 3
    assert {node for _, _, node in runs} <= set(NODES)
    names = [f"compress_data[{modality}]" for modality in MODALITIES]
    wait_for(lambda: [site.tasks()[name]["state"] for name in names] == ["running"] * 3)
    assert {site.tasks()[name]["slurm_job_id"] for name in names} == {job_id for _, job_id, _ in runs}
    site.gate.touch()
    site.wait_for_state("succeeded", "failed")
    (job,) = site.status()["jobs"]
    assert demonstration.compare(sources, workspace.bucket / job["s3_prefix"])[::2] == (13, [])
    site.each_attempt_started_once()
    owners = [json.loads(path.read_text()) for path in workspace.work.glob("*/attempts/*/started/owner.json")]
    assert {owner["slurm_job_id"] for owner in owners} == {task["slurm_job_id"] for task in site.tasks().values()}


# --- killed around a submission --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "when", "number"),
    [("cli", "before", 1), ("cli", "after", 1), ("cli", "after", 3), ("rest", "before", 1), ("rest", "after", 1)],
)
def test_killed_around_a_submission_nothing_is_lost_and_nothing_starts_twice(
    site: Site, tmp_path: Path, way: str, when: str, number: int
) -> None:
    site.gate.touch()
    site.drop()
    if way == "cli":
        site.workspace.environ.update(killing_sbatch(tmp_path, when, number))
        assert site.workspace.start().wait(PATIENCE_SECONDS) == -signal.SIGKILL
    else:
        with killing_proxy(site.cluster, when, number, lambda: site.workspace.children[0].kill()) as url:
            site.workspace.change(executor={"url": url})
            assert site.workspace.start().wait(PATIENCE_SECONDS) == -signal.SIGKILL
        site.workspace.change(executor={"url": site.cluster.rest.url})
    site.workspace.until_idle()
    assert site.status()["state"] == "succeeded", site.status()
    assert len(site.runs()) == 3
    site.each_attempt_started_once()
    # What had been submitted was found by its name; nothing was submitted a second time.
    assert set(site.job_count().values()) == {1}
    assert all(task["attempt"] == 1 and task["slurm_job_id"] for task in site.tasks().values())


KILLER = """
import os, signal, sys
from dropbox_agent.executors.slurm import executor
from dropbox_agent.ledger import Ledger

def die(*words, **more):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(act):
    return lambda *words, **more: die(act(*words, **more))

point = sys.argv.pop(1)
if point == "intent written":
    Ledger.submitting = then_die(Ledger.submitting)
elif point == "folder prepared":
    executor.prepare = then_die(executor.prepare)
elif point == "taken, not written down":
    Ledger.submitted = die
elif point == "end not written down":
    Ledger._record_end = die
from dropbox_agent.cli import main
main()
"""


def test_killed_at_every_point_of_a_hand_over_each_attempt_starts_once(site: Site) -> None:
    site.gate.touch()
    site.drop()
    for point in ("intent written", "folder prepared", "taken, not written down", "end not written down"):
        argv = [sys.executable, "-c", KILLER, point, "run", "--config", str(site.workspace.config)]
        done = subprocess.run(
            argv, env=site.workspace.environment(), capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert done.returncode == -signal.SIGKILL, (point, done)
    site.workspace.until_idle()
    assert site.status()["state"] == "succeeded", site.status()
    assert len(site.runs()) == 3
    site.each_attempt_started_once()
    assert set(site.job_count().values()) == {1}
    assert all(task["attempt"] == 1 for task in site.tasks().values())


# --- what a controller does ------------------------------------------------------------------------------------------


def test_a_controller_that_forgets_and_hands_an_id_out_again_fools_nobody(site: Site) -> None:
    site.cluster.let_start(False)
    forget = site.cluster.forgetful_controller()
    agent = psutil.Process(site.workspace.start().pid)
    site.gate.touch()
    site.drop()
    before = wait_for(site.cluster.live_jobs)
    # The agent would hand its job over again, and get the id that another is to have.
    agent.suspend()
    forget()
    another = site.cluster.submit("sleep 600", "--job-name=another")
    assert another in before, "the id was not handed out again"
    assert site.cluster.live_jobs() == {another: "another"}
    site.cluster.let_start(True)
    agent.resume()
    site.wait_for_state("succeeded", "failed")
    assert site.status()["state"] == "succeeded", site.status()
    site.each_attempt_started_once()
    site.cluster.wait_for(lambda: site.cluster.live_jobs() == {another: "another"}, "end of the other jobs")


def test_a_controller_that_is_killed_and_started_again_goes_on_with_what_runs(site: Site) -> None:
    site.workspace.start()
    site.drop("ecephys", "behavior")
    wait_for(lambda: len(site.runs()) == 2)
    site.cluster.wait_until_saved()
    site.cluster.stop_controller(kill=True)
    site.gate.touch()
    wait_for(lambda: [task["state"] for task in site.tasks().values()].count("succeeded") == 3)
    site.cluster.start_controller()
    site.wait_for_state("succeeded", "failed", "cancelled")
    assert site.status()["state"] == "succeeded", site.status()
    site.each_attempt_started_once()
    assert all(task["attempt"] == 1 for task in site.tasks().values())


def test_what_runs_and_is_ended_by_a_controller_that_forgot_it_is_run_again(site: Site) -> None:
    forget = site.cluster.forgetful_controller()
    site.workspace.start()
    site.drop("ecephys")
    ((first, job_id, _),) = wait_for(site.runs)
    forget()
    wait_for(lambda: len(site.runs()) == 2)
    site.gate.touch()
    site.wait_for_state("succeeded", "failed", "cancelled")
    assert site.status()["state"] == "succeeded", site.status()
    task = site.tasks()["compress_data[ecephys]"]
    (before,) = task["earlier_attempts"]
    assert (task["attempt"], before["cause"], before["slurm_job_id"]) == (2, "node_failed", job_id)
    assert before["message"].startswith("The controller of Slurm lost its memory of it while it ran.")
    assert [key for key, _, _ in site.runs()].count(first) == 1


def test_manifests_that_come_while_the_controller_is_down_are_answered_and_run_later(site: Site) -> None:
    site.cluster.stop_controller()
    site.workspace.start()
    site.gate.touch()
    site.drop("ecephys")
    site.wait_for_message("Unable to contact slurm controller (connect failure). It is handed over once Slurm answers.")
    assert site.status()["state"] == "running"
    site.cluster.start_controller()
    site.wait_for_state("succeeded", "failed")
    assert site.status()["state"] == "succeeded", site.status()
    site.each_attempt_started_once()


def test_a_job_that_a_hanging_controller_takes_after_all_is_not_submitted_twice(site: Site) -> None:
    site.gate.touch()
    site.workspace.start()
    with site.cluster.controller_stopped():
        site.drop("ecephys")
        site.wait_for_message("Socket timed out on send/recv operation. It is looked for")
    site.wait_for_state("succeeded", "failed")
    assert site.status()["state"] == "succeeded", site.status()
    site.each_attempt_started_once()
    assert set(site.job_count().values()) == {1}


def test_what_slurm_has_forgotten_is_settled_by_its_end_records(site: Site) -> None:
    site.cluster.configure(MinJobAge=2)
    site.drop("ecephys")
    agent = site.workspace.start()
    ((key, job_id, _),) = wait_for(site.runs)
    agent.kill()
    agent.wait(20)
    site.gate.touch()
    site.cluster.wait_for(lambda: job_id not in site.cluster.jobs(), "forgetting")
    site.workspace.until_idle()
    assert site.status()["state"] == "succeeded", site.status()
    assert [run[0] for run in site.runs()] == [key]


def test_a_node_that_fails_under_a_task_does_not_end_what_still_runs_there(site: Site) -> None:
    site.cluster.configure(SlurmdTimeout=6)
    site.workspace.start()
    site.drop("ecephys")
    ((_, job_id, node),) = wait_for(site.runs)
    site.cluster.stop_node(node)
    site.wait_for_message(f"Its node {node} failed. Its process still shows signs of life")
    site.gate.touch()
    site.wait_for_state("succeeded", "failed")
    assert site.status()["state"] == "succeeded", site.status()
    assert site.cluster.jobs()[job_id][1] == "NODE_FAIL"
    assert len(site.runs()) == 1


def test_what_died_with_its_node_is_run_again_on_another(site: Site) -> None:
    site.cluster.configure(SlurmdTimeout=6)
    site.workspace.start()
    site.drop("ecephys", email_notification_types="all")
    ((first, job_id, node),) = wait_for(site.runs)
    site.cluster.stop_node(node, with_its_jobs=True)
    site.gate.touch()
    site.wait_for_state("succeeded", "failed", "cancelled")
    assert site.status()["state"] == "succeeded", site.status()
    (_, (second, _, other)) = site.runs()
    assert (second != first, other != node) == (True, True)
    (before,) = site.tasks()["compress_data[ecephys]"]["earlier_attempts"]
    assert (before["cause"], before["slurm_job_id"]) == ("node_failed", job_id)
    assert before["message"].startswith(f"Its node {node} failed.")
    assert [name for name in site.workspace.mails("s.csv") if "retry" in name] == ["02-retry.eml"]


def test_a_bucket_that_is_away_is_waited_for_and_then_the_job_goes_on(site: Site, strict: Place, proxy: Proxy) -> None:
    write_job_type(site, GATED + "retries: {{service_away: {{times: 9, wait: '0:02'}}}}\n")
    proxy.faults.append(Fault("503 ServiceUnavailable"))
    keys = {"credentials_file": str(strict.credentials), "give_up_seconds": 0.5}
    site.workspace.change(buckets={"default": strict.address}, s3={"endpoint_url": proxy.endpoint, **keys})
    site.gate.touch()
    site.drop("ecephys", **dict.fromkeys(UPLOAD, "false"))
    site.workspace.start()
    site.wait_for_message("A service or share that it needs was away. It is run again by itself at")
    proxy.faults.clear()
    site.wait_for_state("succeeded", "failed", "cancelled")
    (job,) = site.status()["jobs"]
    assert (job["state"], list(strict.objects(f"{job['s3_prefix']}/ecephys/").values())) == (
        "succeeded",
        [b"ecephys\n"],
    )
    assert {one["cause"] for one in site.tasks()["check_s3_folder_exists"]["earlier_attempts"]} == {"service_away"}
    site.each_attempt_started_once()


def test_what_an_administrator_puts_back_into_the_queue_is_run_again_as_a_new_try(site: Site) -> None:
    """Slurm refuses to put it back, unless somebody changes the job first."""
    site.workspace.start()
    site.drop("ecephys")
    ((_, job_id, _),) = wait_for(site.runs)
    assert "presently disabled" in site.cluster.run("scontrol", "requeue", job_id).stderr
    assert site.cluster.run("scontrol", "update", f"JobId={job_id}", "Requeue=1").returncode == 0
    assert site.cluster.run("scontrol", "requeue", job_id).returncode == 0
    wait_for(lambda: len(site.runs()) == 2)
    site.gate.touch()
    site.wait_for_state("succeeded", "failed", "cancelled")
    assert site.status()["state"] == "succeeded", site.status()
    (before,) = site.tasks()["compress_data[ecephys]"]["earlier_attempts"]
    assert (before["cause"], before["slurm_job_id"]) == ("preempted", job_id)
    assert before["message"] == "It was stopped in Slurm and put back into the queue there."
    site.each_attempt_started_once()
    site.cluster.wait_for(lambda: not site.cluster.live_jobs(), "an empty queue")


def test_a_work_folder_that_is_away_when_its_job_starts_fails_it_with_what_to_do(site: Site) -> None:
    site.cluster.let_start(False)
    site.workspace.start()
    site.drop("ecephys")
    site.wait_for_message("It cannot start as it is: its partition is down.")
    (job_id,) = site.cluster.live_jobs()
    away = site.workspace.work.rename(site.folder / "away")
    site.cluster.let_start(True)
    site.cluster.wait_for(lambda: site.cluster.jobs()[job_id][1] == "FAILED", "failed launch")
    away.rename(site.workspace.work)
    site.wait_for_state("succeeded", "failed")
    task = site.tasks()["create_staging_folder"]
    assert (task["state"], task["attempt"], task["slurm_job_id"]) == ("failed", 1, job_id)
    assert "its log could not be opened" in task["message"]
    assert "The work folder (work_dir in agent.yaml) must be reachable from every node." in task["message"]


# --- what people and limits do ---------------------------------------------------------------------------------------


def test_who_cancelled_is_told_and_what_ran_out_of_time_is_run_again_with_more(site: Site) -> None:
    site.workspace.start()
    site.drop("ecephys", "behavior")
    wait_for(lambda: len(site.runs()) == 2)
    wait_for(lambda: [task["state"] for task in site.tasks().values()] == ["succeeded", "running", "running"])
    limited, cancelled = (site.tasks()[f"compress_data[{name}]"]["slurm_job_id"] for name in ("ecephys", "behavior"))
    assert site.cluster.run("scontrol", "update", f"JobId={limited}", "EndTime=now").returncode == 0
    site.cluster.run("scancel", cancelled)
    wait_for(lambda: site.tasks()["compress_data[ecephys]"]["attempt"] == 2)
    site.gate.touch()
    site.wait_for_state("cancelled", "failed", "succeeded")
    told = {name: (task["state"], task["attempt"], task["message"]) for name, task in site.tasks().items()}
    assert told["compress_data[behavior]"] == ("cancelled", 1, "It was cancelled in Slurm.")
    # As the default job type says: once more, with more time.
    assert told["compress_data[ecephys]"][:2] == ("succeeded", 2)
    (before,) = site.tasks()["compress_data[ecephys]"]["earlier_attempts"]
    assert (before["attempt"], before["cause"], before["slurm_job_id"]) == (1, "timeout", limited)
    assert before["message"].startswith("It reached its time limit.")
    site.each_attempt_started_once()


def test_a_job_that_is_cancelled_in_slurm_before_it_starts_is_shown_as_cancelled(site: Site) -> None:
    site.cluster.let_start(False)
    site.workspace.start()
    site.drop("ecephys")
    site.wait_for_message("It cannot start as it is: its partition is down.")
    (job_id,) = site.cluster.live_jobs()
    site.cluster.run("scancel", job_id)
    site.wait_for_state("cancelled", "failed", "succeeded")
    assert site.status()["state"] == "cancelled"
    task = site.tasks()["create_staging_folder"]
    assert (task["state"], task["message"], task["slurm_job_id"]) == (
        "cancelled",
        "It was cancelled in Slurm.",
        job_id,
    )


def order(site: Site, *words: str) -> None:
    job_id = site.status()["jobs"][0]["job_id"]
    done = site.workspace.agent(words[0], job_id, *words[1:], "--config", str(site.workspace.config))
    assert done.returncode == 0, done.stderr


def test_a_job_that_is_cancelled_here_ends_in_slurm_too_and_is_run_again_from_where_it_was(site: Site) -> None:
    site.workspace.start()
    site.drop("ecephys", "behavior")
    wait_for(lambda: len(site.runs()) == 2)
    wait_for(lambda: [task["state"] for task in site.tasks().values()].count("running") == 2)
    jobs = {name: task["slurm_job_id"] for name, task in site.tasks().items()}
    order(site, "cancel")
    site.wait_for_state("cancelled", "failed", "succeeded")
    assert "Cancelled by dropbox-agent cancel." in site.status()["summary"]
    ended = {name: f"It was ended as ordered, and Slurm job {number} with it." for name, number in jobs.items()}
    ended["create_staging_folder"] = "The staging folder is made."
    assert {name: task["message"] for name, task in site.tasks().items()} == ended
    site.cluster.wait_for(lambda: not site.cluster.live_jobs(), "empty queue")
    site.gate.touch()
    order(site, "retry")
    site.wait_for_state("succeeded", "failed")
    assert {name: (task["state"], task["attempt"]) for name, task in site.tasks().items()} == {
        "create_staging_folder": ("succeeded", 1),
        "compress_data[behavior]": ("succeeded", 2),
        "compress_data[ecephys]": ("succeeded", 2),
    }
    (before,) = site.tasks()["compress_data[ecephys]"]["earlier_attempts"]
    assert before["message"] == ended["compress_data[ecephys]"]
    assert before["slurm_job_id"] == jobs["compress_data[ecephys]"]
    site.each_attempt_started_once()


def test_a_job_that_waits_in_slurm_is_cancelled_there_and_run_again_from_a_task(site: Site) -> None:
    site.gate.touch()
    write_job_type(site, GATED + "    image_resources: {{partition: down}}\n")
    site.workspace.start()
    site.drop("ecephys")
    site.wait_for_message("It cannot start as it is: its partition is down.")
    waiting = site.tasks()["compress_data[ecephys]"]["slurm_job_id"]
    order(site, "cancel")
    site.wait_for_state("cancelled", "failed", "succeeded")
    words = f"It was cancelled before it started, and Slurm job {waiting} with it."
    assert site.tasks()["compress_data[ecephys]"]["message"] == words
    site.cluster.wait_for(lambda: not site.cluster.live_jobs(), "empty queue")
    site.cluster.run("scontrol", "update", "PartitionName=down", "State=UP")
    try:
        order(site, "retry", "--from", "create_staging_folder")
        site.wait_for_state("succeeded", "failed")
    finally:
        site.cluster.run("scontrol", "update", "PartitionName=down", "State=DOWN")
    assert {name: (task["state"], task["attempt"]) for name, task in site.tasks().items()} == {
        "create_staging_folder": ("succeeded", 2),
        "compress_data[ecephys]": ("succeeded", 2),
    }


def test_a_partition_that_is_not_there_fails_the_job_in_slurms_own_words(site: Site) -> None:
    resources = "    image_resources: {{partition: purple, cpus: 2}}\n"
    write_job_type(site, GATED + resources)
    site.drop("ecephys")
    site.workspace.until_idle()
    task = site.tasks()["compress_data[ecephys]"]
    assert site.status()["state"] == task["state"] == "failed"
    assert task["message"].startswith("Slurm refused it: ")
    assert "Invalid partition name specified. What it asks of the cluster has to be changed" in task["message"]


def test_what_a_task_asks_for_is_what_its_job_gets(site: Site) -> None:
    write_job_type(site, GATED + "    image_resources: {{cpus: 3, memory: 500M, time: 90, name: x}}\n")
    site.workspace.change(executor={"partition": "short"})
    site.workspace.start()
    site.drop("ecephys")
    light = wait_for(lambda: next((task["slurm_job_id"] for task in site.tasks().values()), None))
    assert "Partition=short" in site.cluster.run("scontrol", "show", "job", light).stdout
    site.wait_for_message("It cannot start as it is: it asks for more time than its partition gives.")
    job_id = site.tasks()["compress_data[ecephys]"]["slurm_job_id"]
    shown = site.cluster.run("scontrol", "show", "job", job_id).stdout
    for words in ("CPUs/Task=3", "MinMemoryNode=500M", "TimeLimit=01:30:00", "Requeue=0", "Comment=dbx-"):
        assert words in shown, shown
    comment = next(line for line in shown.splitlines() if "Comment=" in line)
    assert "compress_data[ecephys]" in comment


def test_a_copy_of_the_log_goes_where_a_job_type_wants_it_and_its_script_starts_where_it_says(site: Site) -> None:
    site.gate.touch()
    (site.folder / "logs").mkdir()
    asked = 'standard_output: "{folder}/logs/%x_%j.out", current_working_directory: "{folder}/logs"'
    text = GATED.replace("cp -r", "pwd; cp -r") + f"    image_resources: {{{{{asked}}}}}\n"
    write_job_type(site, text)
    site.drop("ecephys")
    site.workspace.until_idle()
    assert site.status()["state"] == "succeeded", site.status()
    task = site.tasks()["compress_data[ecephys]"]
    ((key, _, _),) = site.runs()
    (copy,) = (site.folder / "logs").iterdir()
    assert copy.name == f"{key}_{task['slurm_job_id']}.out"
    assert copy.read_text() == Path(task["log"]).read_text()
    assert f"\n{site.folder}/logs\n" in copy.read_text()
