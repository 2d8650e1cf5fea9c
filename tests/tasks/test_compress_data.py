"""A modality is linked as it is, or made by the preset's script; nothing half done ever has the modality's name."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import one_job
import pytest
from losing_disk import LosingDisk
from one_job import CONTENT, PREFIX, OneJob, Ran, tree, write
from what_is_kept import NAMES, NOTHING, Model
from workspace import wait_for

from dropbox_agent.model import RunFolder, TaskOutcome
from dropbox_agent.tasks import compress_data
from dropbox_agent.tasks import script as scripts

TASK = "compress_data"
KEY = "compress_data[ecephys]"


@pytest.fixture
def ready(job: OneJob) -> OneJob:
    """A job whose staging folder stands."""
    job.run("create_staging_folder")
    return job


def scripted(job: OneJob, script: str) -> Ran:
    return job.command(TASK, modality="ecephys", script="#!/bin/bash\n" + script)


def partials(job: OneJob) -> list[str]:
    return sorted(path.name for path in job.run_folder.staging.iterdir() if ".partial" in path.name)


# --- linked ----------------------------------------------------------------------------------------------------------


def test_without_a_script_the_asset_links_to_the_source(ready: OneJob) -> None:
    ran = ready.command(TASK, modality="ecephys")
    assert ran.outcome == TaskOutcome(
        state="succeeded",
        message=f"ecephys is uploaded as it is, from {ready.ecephys}.",
        facts={"kind": "link", "source": str(ready.ecephys)},
    )
    assert os.readlink(ready.content / "ecephys") == str(ready.ecephys)
    assert partials(ready) == []


def test_linking_twice_is_linking_once(ready: OneJob) -> None:
    for _ in range(2):
        assert ready.run(TASK, modality="ecephys").state == "succeeded"
    assert [path.name for path in ready.content.iterdir()] == ["ecephys"]


@pytest.mark.parametrize("kind", ["link", "folder", "file"])
def test_anything_else_in_its_place_fails_and_is_left_alone(ready: OneJob, kind: str) -> None:
    place = ready.content / "ecephys"
    if kind == "link":
        os.symlink("/somewhere/else", place)
    else:
        write(ready.content, {"ecephys/x" if kind == "folder" else "ecephys": b"x"})
    message = ready.failure(TASK, modality="ecephys")
    assert "a link to /somewhere/else" in message if kind == "link" else "something that is no link" in message
    assert os.path.lexists(place)


def test_a_source_that_is_gone_fails_and_makes_nothing(ready: OneJob) -> None:
    message = ready.failure(TASK, modality="ecephys", sources={"ecephys": ready.folder / "gone"})
    assert "gone is no folder, or is gone" in message
    assert list(ready.content.iterdir()) == []


def test_a_modality_without_a_source_says_what_to_set(ready: OneJob) -> None:
    assert "Set its input_source" in ready.failure(TASK, modality="behavior")


# --- made by a script ------------------------------------------------------------------------------------------------


def test_a_script_runs_in_the_place_that_its_output_location_names(ready: OneJob) -> None:
    place = compress_data.output_location(ready.run_folder.path, PREFIX, "ecephys", ready.attempt)
    assert place == RunFolder(ready.run_folder.path).partial(PREFIX, "ecephys", ready.attempt)
    ran = scripted(ready, "pwd > 'made 1'")
    assert ran.outcome == TaskOutcome(
        state="succeeded",
        message=f"The script of ecephys made 1 file ({len(str(place)) + 1} bytes) of ecephys.",
        facts={"kind": "script", "files": 1, "bytes": len(str(place)) + 1},
    )
    assert tree(ready.content) == {"ecephys/made 1": f"{place}\n".encode()}
    assert partials(ready) == []


def test_a_script_starts_in_the_folder_that_its_job_type_names(ready: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    place = compress_data.output_location(ready.run_folder.path, PREFIX, "ecephys", ready.attempt)
    write_there = f"pwd > {shlex.quote(str(place))}/where"
    monkeypatch.setitem(one_job.ENVIRONMENT, "DROPBOX_AGENT_STARTS_IN", str(ready.folder))
    assert scripted(ready, write_there).code == 0
    assert tree(ready.content) == {"ecephys/where": f"{ready.folder}\n".encode()}
    monkeypatch.setitem(one_job.ENVIRONMENT, "DROPBOX_AGENT_STARTS_IN", "/not/there")
    assert scripted(ready, write_there).message == (
        f"The folder /not/there, in which the script was to start, is not on {os.uname().nodename}. Correct"
        " current_working_directory in image_resources of the job type, or have an operator make the folder."
    )


def test_what_it_prints_is_in_the_log_and_the_script_is_kept(ready: OneJob) -> None:
    ran = scripted(ready, "echo to the log; echo and this >&2; echo x > x")
    assert "to the log\nand this\n" in ran.log
    kept = ready.attempt_folder.path / "compress_data.ecephys.script.sh"
    assert kept.read_text() == "#!/bin/bash\necho to the log; echo and this >&2; echo x > x"
    assert f"Runs bash {kept} in " in ran.log


def test_a_script_sees_little_of_the_environment(ready: OneJob) -> None:
    scripted(ready, "env > env")
    names = {line.partition("=")[0] for line in (ready.content / "ecephys" / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "LANG"}


def test_a_script_sees_what_its_cluster_and_its_preset_say() -> None:
    told = {"SLURM_CPUS_PER_TASK": "4", "CUDA_VISIBLE_DEVICES": "1", "THREADS": "8"}
    environ = {**told, "SECRET": "x", "DROPBOX_AGENT_VARIABLES": "THREADS"}
    assert scripts.environment(environ) == {**told, "LANG": "C.UTF-8"}


def test_a_script_that_fails_is_told_with_its_exit_code_and_last_lines(ready: OneJob) -> None:
    ran = scripted(ready, "seq 1 100; echo 'no such probe\x1b[31m' >&2; echo half > half; exit 7")
    assert ran.code == 1
    assert ran.message == (
        "The script of ecephys for ecephys failed with exit code 7; its output was not used."
        " Its last lines: 97 | 98 | 99 | 100 | no such probe\\x1b[31m"
    )
    assert list(ready.content.iterdir()) == []


def test_a_script_that_is_killed_says_by_which_signal(ready: OneJob) -> None:
    assert "failed with signal 9" in scripted(ready, "kill -9 $$").message


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("true", "there is no file"),
        ("mkdir empty", "there is no file"),
        ("echo x > good; : > bad.mp4", "bad.mp4 is empty"),
        ("echo x > good; ln -s nowhere link", "link: this link leads nowhere"),
        ("echo x > good; ln -s /etc/passwd link", "link: this link leads to /etc/passwd, outside the folders"),
    ],
)
def test_output_that_is_not_whole_is_not_used(ready: OneJob, script: str, words: str) -> None:
    ran = scripted(ready, script)
    assert ran.code == 1
    assert "ended well, but what it made is not whole" in ran.message
    assert words in ran.message
    assert list(ready.content.iterdir()) == []


def test_a_file_that_was_empty_before_may_be_empty_after(ready: OneJob) -> None:
    assert scripted(ready, f"cp -r {shlex.quote(str(ready.ecephys))}/. .").code == 0
    assert tree(ready.content / "ecephys") == {**CONTENT, "empty folder": None}


def test_links_to_the_source_may_stay(ready: OneJob) -> None:
    assert scripted(ready, f"echo x > x; ln -s {shlex.quote(str(ready.ecephys))}/'probe A' .").code == 0


@pytest.mark.parametrize(("model", "seed"), [("ordered", NAMES), ("strict", NOTHING)])
def test_what_a_script_made_outlasts_a_power_failure(ready: OneJob, model: Model, seed: int) -> None:
    disk = LosingDisk(ready.run_folder.path, ready.folder / "aside")
    with disk.running():
        assert scripted(ready, f"cp -r {shlex.quote(str(ready.ecephys))}/. .").code == 0
    disk.fail(disk.points()[-1], model, seed)
    assert tree(ready.content / "ecephys") == tree(ready.ecephys)


def test_a_link_to_the_source_outlasts_a_power_failure(ready: OneJob) -> None:
    disk = LosingDisk(ready.run_folder.path, ready.folder / "aside")
    with disk.running():
        assert ready.command(TASK, modality="ecephys").code == 0
    disk.fail(disk.points()[-1], "strict", NOTHING)
    assert os.readlink(ready.content / "ecephys") == str(ready.ecephys)


def test_the_bytes_a_script_writes_are_its_progress(ready: OneJob) -> None:
    ran = scripted(ready, "head -c 1000 /dev/zero > one; mkdir a; head -c 234 /dev/zero > a/two")
    assert ran.code == 0
    progress = ready.progress(KEY)
    assert (progress["done_bytes"], progress["done_files"]) == (1234, 2)


def test_what_an_earlier_attempt_left_half_done_is_removed(ready: OneJob) -> None:
    write(ready.run_folder.staging, {"ecephys.partial-dbx-earlier/half": b"x", "ecephys.partial-dbx-e.old/x": b""})
    scripted(ready, "echo whole > whole")
    assert partials(ready) == []
    assert tree(ready.content) == {"ecephys/whole": b"whole\n"}


def test_what_an_earlier_attempt_made_is_replaced_as_a_whole(ready: OneJob) -> None:
    scripted(ready, "echo one > one")
    ready.attempt = "dbx-bbbbbbbbbbbbbbbbbbbb"
    scripted(ready, "echo two > two")
    assert tree(ready.content) == {"ecephys/two": b"two\n"}
    assert partials(ready) == []


# --- its processes ---------------------------------------------------------------------------------------------------


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] != b"Z"
    except OSError:
        return False


def test_sigterm_ends_the_script_and_all_it_started(ready: OneJob) -> None:
    pids = ready.folder / "pids"
    script = f"cd {shlex.quote(str(ready.folder))}\n(trap '' TERM; setsid sleep 300 & echo $! > pids; wait)\n"
    child = ready.start(TASK, modality="ecephys", script=script)
    started = int(wait_for(lambda: pids.exists() and pids.read_text().strip()))
    child.send_signal(signal.SIGTERM)
    log, _ = child.communicate(timeout=60)
    assert child.returncode == 1, log
    outcome = ready.outcome(KEY)
    assert outcome is not None
    assert outcome.message == "compress_data was cancelled: it was told to stop before it was done."
    assert not is_running(started)
    assert list(ready.content.iterdir()) == []


def test_what_a_script_leaves_running_cannot_go_on_writing(ready: OneJob) -> None:
    ran = scripted(ready, "sleep 300 & echo $! > pid; disown")
    assert ran.code == 0
    assert "Ended 1 process that the script left." in ran.log
    assert not is_running(int((ready.content / "ecephys" / "pid").read_text()))


def test_the_script_is_in_the_process_group_of_the_task(ready: OneJob) -> None:
    scripted(ready, "read -r line < /proc/$$/stat; echo ${line##*) } > stat")
    _, _, group, *_ = (ready.content / "ecephys" / "stat").read_text().split()
    assert int(group) == os.getpgid(0)
