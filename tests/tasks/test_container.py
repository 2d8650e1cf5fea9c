"""A script runs in its image: it sees the image, its sources and its output, and writes its output only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ending import words_of
from images import MARK
from one_job import OneJob, Ran, tree
from workspace import wait_for

from dropbox_agent.model import Container
from dropbox_agent.tasks import private_root
from dropbox_agent.tasks.container import start_of
from dropbox_agent.tasks.private_root import Entry, Spec, entries
from dropbox_agent.tasks.script import environment

NOBODY = 65534


@pytest.fixture
def ready(job: OneJob) -> OneJob:
    job.run("create_staging_folder")
    return job


@pytest.fixture
def tools(images: Path, ready: OneJob) -> Container:
    return Container(kind="charliecloud", program="ch-run", image=str(images / "lab/tools_1.0"), reads=[ready.ecephys])


def scripted(job: OneJob, script: str, container: Container) -> Ran:
    return job.command("compress_data", modality="ecephys", script=f"#!/bin/bash\n{script}", container=container)


# --- charliecloud, for real ------------------------------------------------------------------------------------------


def test_a_script_sees_its_image_and_its_source_and_writes_its_output(ready: OneJob, tools: Container) -> None:
    script = f"cat /etc/image /etc/link > image; cp '{ready.ecephys / 'probe A/.zattrs'}'* .; pwd > pwd"
    # The source's path has a quote in it.
    ran = scripted(ready, script.replace("lab's", "lab'\\''s"), tools)
    output = ready.run_folder.partial(ready.asset.name, "ecephys", ready.attempt)
    assert ran.outcome is not None, ran.log
    assert (ran.outcome.state, ran.code) == ("succeeded", 0), ran.log
    assert tree(ready.content) == {
        "ecephys/image": (MARK * 2).encode(),
        "ecephys/.zattrs": b"{}\n",
        "ecephys/pwd": f"{output}\n".encode(),
    }
    assert f"in the image {tools.image}" in ran.log


def test_it_can_write_nothing_else(ready: OneJob, tools: Container) -> None:
    before = tree(Path(tools.image)), tree(ready.ecephys)
    tried = [f'"{ready.ecephys}/x"', f'"{ready.ecephys}/empty.log"', "/x", "/etc/x", "/home/x", f'"{ready.folder}/x"']
    ran = scripted(ready, "".join(f"echo x > {path}; " for path in tried) + "touch /tmp/t && echo x > made", tools)
    assert ran.log.count("Read-only file system") == 5, ran.log
    assert (tree(Path(tools.image)), tree(ready.ecephys)) == before
    assert not (ready.folder / "x").exists()
    assert list(tree(ready.content)) == ["ecephys/made"]


def test_it_sees_no_other_folder_of_the_machine(ready: OneJob, tools: Container) -> None:
    scripted(ready, f'ls / > root; ls /home > home; ls "{ready.folder}" "{ready.folder}/work" > folder', tools)
    seen = {name: set(text.decode().split("\n")) for name, text in tree(ready.content / "ecephys").items() if text}
    assert seen["root"] - {"", "usr", "bin", "sbin", "lib", "lib64"} == {"dev", "etc", "home", "proc", "sys", "tmp"}
    assert seen["home"] == {"", "of the image"}
    assert "buckets" not in seen["folder"]


def test_it_sees_a_clean_environment(ready: OneJob, tools: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SECRET", "x")
    monkeypatch.setitem(os.environ, "SLURM_CPUS_PER_TASK", "4")
    monkeypatch.setitem(os.environ, "DROPBOX_AGENT_VARIABLES", "ODD")
    monkeypatch.setitem(os.environ, "ODD", "$HOME, `id` 'and' \"so\" on")
    ready.run("compress_data", modality="ecephys", script="env > env", container=tools)
    lines = (ready.content / "ecephys/env").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    for name in ("PWD", "SHLVL", "_", "CH_RUNNING"):
        seen.pop(name, None)
    assert seen == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "SLURM_CPUS_PER_TASK": "4",
        "ODD": "$HOME, `id` 'and' \"so\" on",
    }


def test_its_exit_code_and_last_words_are_told(ready: OneJob, tools: Container) -> None:
    ran = scripted(ready, "echo no such probe; exit 7", tools)
    assert "failed with exit code 7; its output was not used. Its last lines: no such probe" in ran.message


def test_a_stopped_task_stops_what_runs_in_the_container(ready: OneJob, tools: Container) -> None:
    child = ready.start(
        "compress_data", modality="ecephys", script="echo x > started; sleep 61 & sleep 62", container=tools
    )
    partial = ready.run_folder.partial(ready.asset.name, "ecephys", ready.attempt)
    wait_for((partial / "started").exists)
    inside = wait_for(lambda: _below(child.pid, "sleep 61", "sleep 62"))
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert psutil.wait_procs(inside, timeout=10)[1] == []


def _below(pid: int, *words: str) -> list[psutil.Process]:
    """Return all processes that came from this one, once those that were called so are among them."""
    found = psutil.Process(pid).children(recursive=True)
    return found if {*words} <= {" ".join(words_of(one)) for one in found} else []


def test_nothing_is_left_of_a_container_on_the_node(
    ready: OneJob, tools: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch of the node"
    scratch.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(scratch))
        ready.run("compress_data", modality="ecephys", script="touch /tmp/x; echo x > made", container=tools)
    assert list(scratch.iterdir()) == []


def test_an_image_that_is_not_there_is_told_with_the_machine(ready: OneJob, tools: Container) -> None:
    away = tools.model_copy(update={"image": "/images/away_1.0"})
    message = ready.failure("compress_data", modality="ecephys", script="true", container=away)
    assert message.startswith(f"The image /images/away_1.0 is not on {os.uname().nodename}")


def test_a_program_that_is_not_there_is_told_with_the_machine(ready: OneJob, tools: Container) -> None:
    away = tools.model_copy(update={"program": "/opt/away/ch-run"})
    message = ready.failure("compress_data", modality="ecephys", script="true", container=away)
    assert message.startswith(f"/opt/away/ch-run is not on {os.uname().nodename}")


@pytest.mark.skipif(os.geteuid() != 0, reason="this user is one without rights: every other test here shows it")
def test_a_user_without_rights_can_do_it_too(images: Path) -> None:
    """The program alone, as somebody else, in a folder that everybody may enter: all it needs is in its one file."""
    with tempfile.TemporaryDirectory(prefix="container-", dir="/tmp") as folder:
        place = Path(folder)
        shutil.copytree(images, place / "images", symlinks=True)
        for name in ("root", "tmp", "out"):
            (place / name).mkdir()
        argv = ["ch-run", "--no-passwd", f"{place}/root", "--", "touch", f"{place}/out/made"]
        spec = {"root": f"{place}/root", "image": f"{place}/images/lab/tools_1.0", "tmp": f"{place}/tmp", "reads": []}
        (place / "spec.json").write_text(json.dumps({**spec, "writes": [f"{place}/out"], "argv": argv}))
        shutil.copy(private_root.__file__, place / "program.py")
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", place], check=True)
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3"]
        environ = {"PATH": os.environ["PATH"], "USER": "nobody"}
        done = subprocess.run([*command, f"{place}/program.py", f"{place}/spec.json"], env=environ, check=False)
        assert done.returncode == 0
        assert (place / "out" / "made").stat().st_uid == NOBODY


# --- the root of a container -----------------------------------------------------------------------------------------


def test_the_root_holds_the_image_and_makes_way_for_what_is_shown(tmp_path: Path) -> None:
    image = tmp_path / "image"
    for folder in ("usr", "data/own", "proc"):
        (image / folder).mkdir(parents=True)
    (image / "bin").symlink_to("usr/bin")
    made = Spec(str(tmp_path), str(image), "/scratch", reads=("/data/lab/s 1",), writes=("/data/lab/s 1/out",), argv=())
    assert list(entries(made)) == [
        Entry("/"),
        Entry("/bin", link="usr/bin"),
        Entry("/proc", f"{image}/proc"),
        Entry("/usr", f"{image}/usr"),
        Entry("/data"),
        Entry("/data/own", f"{image}/data/own"),
        Entry("/data/lab"),
        Entry("/dev"),
        Entry("/sys"),
        Entry("/tmp", "/scratch", writable=True),
        Entry("/data/lab/s 1", "/data/lab/s 1"),
        Entry("/data/lab/s 1/out", "/data/lab/s 1/out", writable=True),
    ]


# --- apptainer and singularity ---------------------------------------------------------------------------------------

STAND_IN = """#!/usr/bin/env python3
import csv, json, os, sys
argv = sys.argv[1:]
assert argv.pop(0) == "exec", argv
options = []
while argv[0].startswith("--"):
    options.append(argv.pop(0))
image, command = argv[0], argv[1:]
flags = {one for one in options if "=" not in one}
values = [one.split("=", 1) for one in options if "=" in one]
assert flags == {"--cleanenv", "--contain", "--no-home"}, flags
assert {name for name, _ in values} == {"--workdir", "--pwd", "--mount"}, values
mounts = [next(csv.reader([value])) for name, value in values if name == "--mount"]
with open(os.environ["HOME"] + "/said.json", "w") as file:
    json.dump({"image": image, "mounts": mounts, "command": command, "environ": dict(os.environ)}, file)
os.chdir(dict(values)["--pwd"])
os.execvpe(command[0], command, {"PATH": os.environ["PATH"], "HOME": "/root"})
"""
"""It has the options of apptainer that are used here, reads --mount as CSV as apptainer does, and runs the command
on the node: apptainer itself is not in Debian."""


@pytest.fixture
def apptainer(tmp_path: Path) -> Iterator[Path]:
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN.replace("/usr/bin/env python3", sys.executable))
    program.chmod(0o755)
    yield program


@pytest.mark.parametrize("kind", ["apptainer", "singularity"])
def test_apptainer_is_asked_for_a_contained_run_with_sources_read_only(
    ready: OneJob, apptainer: Path, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "a, b: 'c' \"d\""
    source.mkdir()
    container = Container.model_validate(
        {"kind": kind, "program": str(apptainer), "image": "docker://lab/tools:1.0", "reads": [source, "/not/there"]}
    )
    output, file = tmp_path / "out", tmp_path / "s.sh"
    output.mkdir()
    file.write_text("env > env; exit 3")
    told = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SLURM_JOB_ID": "7", "ODD": "a,b $(id)"}
    with start_of(file, output, container, environment({**told, "DROPBOX_AGENT_VARIABLES": "ODD"})) as start:
        assert psutil.Popen(start.argv, env=dict(start.environ)).wait(20) == 3
        scratch = next(word for word in start.argv if word.startswith("--workdir=")).partition("=")[2]
        assert Path(scratch).is_dir()
    assert not Path(scratch).exists()
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["image"] == "docker://lab/tools:1.0"
    assert said["mounts"] == [
        ["type=bind", f"source={source}", f"destination={source}", "ro"],
        ["type=bind", f"source={file}", f"destination={file}", "ro"],
        ["type=bind", f"source={output}", f"destination={output}"],
    ]
    assert said["command"][-2:] == ["bash", str(file)]
    seen = dict(line.split("=", 1) for line in (output / "env").read_text().splitlines())
    assert {name: seen[name] for name in ("SLURM_JOB_ID", "ODD", "LANG", "HOME")} == {
        "SLURM_JOB_ID": "7",
        "ODD": "a,b $(id)",
        "LANG": "C.UTF-8",
        "HOME": "/root",
    }


def test_a_whole_task_runs_through_apptainer(ready: OneJob, apptainer: Path) -> None:
    sif = ready.folder / "tools_1.0.sif"
    sif.write_bytes(b"SIF")
    home = ready.folder / "home"
    home.mkdir()
    container = Container(kind="apptainer", program=str(apptainer), image=str(sif), reads=[ready.ecephys])
    settings = ready.write_settings("compress_data", modality="ecephys", script="echo x > made", container=container)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    assert psutil.Popen(ready.argv(settings), env=environ).wait(60) == 0
    assert tree(ready.content) == {"ecephys/made": b"x\n"}
    assert json.loads((home / "said.json").read_text())["image"] == str(sif)
