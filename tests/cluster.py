"""A real Slurm cluster on this machine: a controller and four nodes of its own, without touching the system's."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from cluster_ground import TURN, end_everything, end_jobs_on
from ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmrestd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
REST_USER = "nobody"
REST_USER_GROUP = "nogroup"
"""Who runs slurmrestd when the tests are run by root, as whom it refuses to run."""
PATIENCE_SECONDS = 240.0
"""How long something is waited for: it comes at once, unless the machine is very busy."""
NODES = ("n1", "n2", "n3", "n4")
CONFIG = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core,CR_LLN
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
SlurmdTimeout=300
MessageTimeout=10
KillWait=3
InactiveLimit=0
GetEnvTimeout=0
MinJobAge=300
MaxJobCount=20000
GresTypes=gpu
Licenses=toolbox:4
{nodes}
PartitionName=main Nodes=n[1-4] Default=YES MaxTime=3-0 State=UP
PartitionName=short Nodes=n[1-4] MaxTime=1 State=UP
PartitionName=down Nodes=n[1-4] State=DOWN
"""


def missing_programs() -> list[str]:
    """Return what of Slurm and munge is not installed here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class Cluster:
    """Slurm's daemons as child processes, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._has_forgotten = False
        self._usual: str | None = None
        """The settings, when a test has changed some."""
        for name in ("state", "rest", *(f"spool.{node}" for node in NODES)):
            (folder / name).mkdir()
        _secret(folder / "jwt.key", 32)
        _write_login_environment(folder / "state" / "env_cache")
        self.config.write_text(_config(folder))
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null,/dev/zero\n")
        self.rest = Rest(folder)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find this cluster."""
        return {"SLURM_CONF": str(self.config)}

    def boot(self) -> None:
        """Start every daemon, and wait until four nodes are idle."""
        self._start_munge()
        self._before_the_controller()
        self.start_controller("-c")
        for node in NODES:
            self.start_node(node)
        self.rest.token.write_text(self.new_token())
        self.start_rest()
        self.wait_for(lambda: self._idle_nodes() == len(NODES), "four idle nodes")

    def configure(self, **settings: int) -> None:
        """Change settings of a cluster that runs; ``mend`` takes that back."""
        text = self.config.read_text()
        self._usual = self._usual or text
        for name, value in settings.items():
            there = next(line for line in text.splitlines() if line.startswith(f"{name}="))
            text = text.replace(there, f"{name}={value}")
        self._reconfigure(text)

    def _reconfigure(self, text: str) -> None:
        self.config.write_text(text)
        if self.controller_runs():
            done = self.run("scontrol", "reconfigure")
            assert done.returncode == 0, done.stderr

    def mend(self) -> None:
        """Make the cluster whole and empty again, whatever a test did to it; if it cannot be mended, boot it anew."""
        try:
            self._mend()
        except AssertionError as broken:
            print(f"The cluster is booted anew: {broken}")
            self._boot_anew()

    def _boot_anew(self) -> None:
        self.shut_down()
        for node in NODES:
            shutil.rmtree(self.folder / f"spool.{node}")
            (self.folder / f"spool.{node}").mkdir()
        self._has_forgotten = False
        self.boot()

    def _mend(self) -> None:
        # A node does not start a job whose id it was told to end, also when the id was handed out again.
        assert not self._has_forgotten, "its ids were handed out twice"
        if self._usual is not None:
            self._reconfigure(self._usual)
            self._usual = None
        if not self.controller_runs():
            self.start_controller()
        for node in NODES:
            if self._daemons[node].poll() is not None:
                self.start_node(node)
        if not self.rest_runs():
            self.start_rest()
        self.let_start(True)
        self.cancel_everything()
        self.wait_for(lambda: self._idle_nodes() == len(NODES), "four idle nodes")

    def shut_down(self) -> None:
        """End every daemon of this cluster and every job, at once."""
        for daemon in self._daemons.values():
            daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait(60)
        # The end of a slurmd does not end the steps of its jobs.
        end_everything(self.folder)

    # --- daemons -----------------------------------------------------------------------------------------------------

    def start_controller(self, *options: str) -> None:
        """Start slurmctld and wait until it answers."""
        self._start("slurmctld", "slurmctld", "-D", *options)
        self.wait_for(lambda: self.run("scontrol", "ping").stdout.count(" UP") == 1, "the controller")

    def stop_controller(self, *, kill: bool = False) -> None:
        """End slurmctld: by itself, or with -9 at once."""
        daemon = self._daemons["slurmctld"]
        if kill:
            daemon.kill()
        else:
            daemon.terminate()
        daemon.wait(60)

    def wait_until_saved(self) -> None:
        """Wait until the controller has saved what it knows now: it does so some seconds after a change."""
        now = time.time()
        change = self.submit("true", "--hold")
        self.wait_for(lambda: self._saved_at() > now, "saved state")
        self.run("scancel", change)

    def _saved_at(self) -> float:
        with suppress(FileNotFoundError):  # for a moment, while a new one is put in its place
            return (self.folder / "state" / "job_state").stat().st_mtime
        return 0.0

    def forgetful_controller(self) -> Callable[[], None]:
        """Return what kills the controller and starts it again as if that were within the seconds in which what it
        has acknowledged since now is not yet saved."""
        self.stop_controller()
        state, saved = self.folder / "state", self.folder / "saved"
        shutil.rmtree(saved, ignore_errors=True)  # of a test that failed before it came to forget
        shutil.copytree(state, saved)
        self.start_controller()

        def forget() -> None:
            self._has_forgotten = True
            self.stop_controller(kill=True)
            shutil.rmtree(state)
            saved.rename(state)
            self.start_controller()

        return forget

    def controller_runs(self) -> bool:
        """Return whether slurmctld is there."""
        daemon = self._daemons.get("slurmctld")
        return daemon is not None and daemon.poll() is None

    @contextmanager
    def controller_stopped(self) -> Iterator[None]:
        """Let slurmctld hang: it takes connections and answers nothing."""
        process = psutil.Process(self._daemons["slurmctld"].pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def start_node(self, node: str) -> None:
        """Start one slurmd."""
        self._start(node, "slurmd", "-D", "-N", node)

    def stop_node(self, node: str, *, with_its_jobs: bool = False) -> None:
        """End one slurmd with -9; the jobs on it go on, unless they are to be lost with it."""
        self._daemons[node].kill()
        self._daemons[node].wait(60)
        if with_its_jobs:
            end_jobs_on(self.folder, node)

    def start_rest(self) -> None:
        """Start slurmrestd on a socket and on a port; who asks it has to show a token."""
        self.rest.socket.unlink(missing_ok=True)
        self._start_slurmrestd(
            "slurmrestd", "rest_auth/jwt", self.rest.socket_url, self.rest.address, SLURM_JWT="daemon"
        )
        self.wait_for(self.rest.answers, "slurmrestd")

    def start_local_rest(self) -> str:
        """Start a slurmrestd that asks for no token: its jobs are REST_USER's, or this user's. Return its URL."""
        url = f"unix:{self.folder}/rest/local.sock"
        self._start_slurmrestd("slurmrestd.local", "rest_auth/local", url)
        self.wait_for(lambda: listens(self.folder / "rest" / "local.sock"), "slurmrestd for this machine")
        return url

    def stop_rest(self) -> None:
        """End slurmrestd."""
        self._daemons["slurmrestd"].kill()
        self._daemons["slurmrestd"].wait(60)

    def rest_runs(self) -> bool:
        """Return whether slurmrestd is there."""
        return self._daemons["slurmrestd"].poll() is None

    def new_token(self, seconds: int = 86400) -> str:
        """Return what ``scontrol token`` prints: SLURM_JWT=..."""
        done = self.run("scontrol", "token", f"lifespan={seconds}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _start_slurmrestd(self, name: str, allowed: str, *listens: str, **environ: str) -> None:
        # Without slurmdbd it refuses to start with the part that would ask it.
        parts = "openapi/v0.0.38" + (",openapi/dbv0.0.38" if "slurmdbd" in self.config.read_text() else "")
        self._start(name, *_as_rest_user(), "slurmrestd", "-s", parts, "-a", allowed, *listens, **environ)

    def _before_the_controller(self) -> None:
        """What a cluster with more than this one needs comes here."""

    def _start_munge(self) -> None:
        _secret(self.folder / "munge.key", 128)
        files = [f"--{name}={self.folder}/munge.{name}" for name in ("socket",)]
        more = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._start("munged", "munged", "--foreground", "--force", *files, *more)
        self.wait_for(lambda: listens(self.folder / "munge.socket"), "munge")

    def _start(self, name: str, *argv: str, **environ: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._whole_environment(**environ)
            )

    # --- commands ----------------------------------------------------------------------------------------------------

    def run(self, *argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands in this cluster."""
        return subprocess.run(
            argv,
            input=stdin,
            env=self._whole_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def submit(self, script: str, *options: str) -> str:
        """Hand a shell script to Slurm; return its job id."""
        done = self.run("sbatch", "--parsable", "--output=/dev/null", *options, stdin=f"#!/bin/sh\n{script}\n")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self, *options: str) -> dict[str, tuple[str, str]]:
        """Return name and state of every job that Slurm knows, by job id."""
        done = self.run("squeue", "-h", "-t", "all", "-o", "%A|%T|%j", *options)
        assert done.returncode == 0, done.stderr
        rows = (line.split("|", 2) for line in done.stdout.splitlines())
        return {job_id: (name, state) for job_id, state, name in rows}

    def live_jobs(self) -> dict[str, str]:
        """Return the names of the jobs that wait or run, by job id."""
        done = self.run("squeue", "-h", "-o", "%A|%j")
        assert done.returncode == 0, done.stderr
        return dict(line.split("|", 1) for line in done.stdout.splitlines() if line)

    def cancel_everything(self) -> None:
        """Cancel what waits or runs, and wait until nothing does."""
        if live := self.live_jobs():
            self.run("scancel", *live)
            self.wait_for(lambda: not self.live_jobs(), "an empty queue")

    def let_start(self, yes: bool) -> None:
        """Let jobs of the default partition start, or keep them waiting."""
        done = self.run("scontrol", "update", "PartitionName=main", f"State={'UP' if yes else 'DOWN'}")
        assert done.returncode == 0, done.stderr

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Return the first true value of a condition; show the daemons' logs when it does not come."""
        until = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > until:
                raise AssertionError(f"no {what} within {seconds:g} s\n{self.logs()}")
            time.sleep(0.05)
        return value

    def logs(self, lines: int = 15) -> str:
        """Return the end of every log."""
        found = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out"), self.folder / "munge.log"])
        parts = [f"--- {log.name}\n{_tail(log, lines)}" for log in found if log.exists()]
        return "\n".join(parts)

    def as_it_is(self) -> str:
        """Return what a failed test says of its cluster: jobs, nodes and logs."""
        asked = (("squeue", "--states=all", "-o", "%i %j %T %r %N"), ("sinfo", "-N", "-o", "%N %T %E"))
        return "\n".join([*(self.run(*words).stdout for words in asked), self.logs()])

    def _idle_nodes(self) -> int:
        return self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").stdout.split().count("idle")

    def _whole_environment(self, **more: str) -> Mapping[str, str]:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8", **self.environment, **more}


SomeCluster = TypeVar("SomeCluster", bound=Cluster)


class Rest:
    """Where slurmrestd listens, and the file with a token that it takes."""

    def __init__(self, folder: Path) -> None:
        (self._port,) = free_ports(1)
        self.socket = folder / "rest" / "jwt.sock"
        self.token = folder / "token"
        if _as_rest_user():
            folder.chmod(0o711)
            shutil.chown(folder / "rest", REST_USER)

    @property
    def socket_url(self) -> str:
        return f"unix:{self.socket}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def answers(self) -> bool:
        """Return whether somebody listens at both places."""
        with socket.socket() as one:
            return listens(self.socket) and one.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def running_cluster(kind: Callable[[Path], SomeCluster]) -> Iterator[SomeCluster]:
    """A cluster that is there for the length of the block."""
    with TURN.own_folder() as folder:
        cluster = kind(folder)
        try:
            cluster.boot()
            yield cluster
        finally:
            cluster.shut_down()


def listens(file: Path) -> bool:
    """Return whether somebody listens at a socket: its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(file)) == 0


def _config(folder: Path) -> str:
    controller, *ports = free_ports(1 + len(NODES))
    host = socket.gethostname().partition(".")[0]
    nodes = [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=60000 TmpDisk=1000"
        " Gres=gpu:2 Feature=ssd State=UNKNOWN"
        for node, port in zip(NODES, ports, strict=True)
    ]
    user = psutil.Process().username()
    return CONFIG.format(
        host=host,
        controller_port=controller,
        user=user,
        folder=folder,
        nodes="\n".join(nodes),
    )


def _write_login_environment(folder: Path) -> None:
    """Write what a job finds that takes nothing of its submitter's (GetEnvTimeout=0: nobody is logged in for it).

    Logging in took 0.4 s for each job, and depends on what the account has in its shell's start files.
    """
    folder.mkdir()
    name = psutil.Process().username()
    entry = pwd.getpwnam(name)
    found = {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    (folder / name).write_text("".join(f"{key}={value}\n" for key, value in found.items()))


def _secret(file: Path, length: int) -> None:
    file.write_bytes(secrets.token_bytes(length))
    file.chmod(0o600)


def _as_rest_user() -> Sequence[str]:
    """Return what slurmrestd is run by: root it refuses to be."""
    return () if os.geteuid() else ("setpriv", f"--reuid={REST_USER}", f"--regid={REST_USER_GROUP}", "--clear-groups")


def _tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
