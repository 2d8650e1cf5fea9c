"""The way to a cluster by its own commands: for each, what is asked, how the answer is read, and one that runs it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dropbox_agent.executors.slurm.jobs import JobRequest, Refused, SlurmJob, Unanswered, Why
from dropbox_agent.executors.slurm.refusals import own_words, why_refused

COMMAND_SECONDS = 30.0
"""How long a command may take: sbatch itself would wait for two minutes when Slurm is busy."""
COMMENT_BYTES = 1024
"""Slurm takes no longer comment."""
HANDED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_JWT")
"""What the commands see of the agent's environment. SBATCH_... and SQUEUE_... would change what they do."""
COLUMNS = "%i|%A|%F|%K|%T|%r|%N|%j"
"""The name is last: only there may be a stroke in it."""


class SlurmCommands:
    """Slurm's command line on this machine."""

    def __init__(self, environ: Mapping[str, str], command_seconds: float = COMMAND_SECONDS) -> None:
        kept = {name: environ[name] for name in HANDED_ON if name in environ}
        self._environ = {**kept, "LC_ALL": "C"}
        self._seconds = command_seconds

    def submit(self, request: JobRequest) -> str:
        """Hand a job over; return its id. Raises Refused."""
        try:
            done = self._run(sbatch(request), request.script)
        except subprocess.TimeoutExpired:
            raise Refused(Why.UNSURE, f"sbatch did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise Refused(Why.UNREACHABLE, f"sbatch could not be started: {error.strerror}") from error
        if done.returncode != 0:
            raise Refused(why_refused(done.returncode, done.stderr), own_words(done.stderr))
        return job_id_in(done.stdout)

    def jobs(self) -> list[SlurmJob]:
        """Return every job of this account that Slurm still knows, ended ones too. Raises Unanswered."""
        try:
            done = self._run(squeue(), None)
        except subprocess.TimeoutExpired:
            raise Unanswered(f"squeue did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise Unanswered(f"squeue could not be started: {error.strerror}") from error
        if done.returncode != 0:
            raise Unanswered(own_words(done.stderr))
        return jobs_in(done.stdout)

    def cancel(self, name: str, hard: bool) -> None:
        """End every job of that name; ``hard``: without asking it first. Raises Unanswered."""
        try:
            done = self._run(scancel(name, hard), None)
        except (subprocess.TimeoutExpired, OSError) as error:
            raise Unanswered(f"scancel did not work: {error}") from error
        if done.returncode != 0:
            raise Unanswered(own_words(done.stderr))

    def _run(self, argv: Sequence[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            input=stdin or "",
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=self._seconds,
            check=False,
            cwd="/",
            env=self._environ,
        )


def sbatch(request: JobRequest) -> list[str]:
    """Return the command that submits a job; its script is read from standard input.

    --no-requeue: a second copy of a job would find the start token taken. --export=NONE: nothing of the agent's
    environment reaches a job. The wrapper changes folder itself, because Slurm runs a job in another folder when its
    own is missing.
    """
    return [
        "sbatch",
        "--parsable",
        *request.options,
        f"--job-name={request.name}",
        f"--comment={_cut(request.comment)}",
        "--no-requeue",
        "--export=NONE",
        "--chdir=/",
        "--open-mode=append",
        f"--output={file_pattern(request.log)}",
    ]


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:COMMENT_BYTES].decode("utf-8", "ignore")


def file_pattern(path: Path) -> str:
    """Return a path as --output takes it: ``%`` begins a replacement, unless there is a backslash anywhere."""
    text = str(path)
    return text.replace("\\", "\\\\") if "\\" in text else text.replace("%", "%%")


def job_id_in(output: str) -> str:
    """Return the job id that ``sbatch --parsable`` printed (``4711`` or ``4711;cluster``)."""
    found = re.search(r"^(\d+)(;\S*)?$", output, re.MULTILINE)
    if found is None:
        raise Refused(Why.UNSURE, f"sbatch printed no job id but {output.strip()[:200]!r}")
    return found[1]


def squeue() -> list[str]:
    """Return the command that lists all jobs of this account. Text, for --json says "no jobs" without a controller."""
    return ["squeue", "--me", "-h", "-t", "all", "-o", COLUMNS]


def scancel(name: str, hard: bool) -> list[str]:
    """Return the command that ends the jobs of a name. Slurm asks with TERM, and kills some time later."""
    return ["scancel", "--me", f"--name={name}", *(["--full", "--signal=KILL"] if hard else [])]


def jobs_in(output: str) -> list[SlurmJob]:
    """Return the jobs that squeue printed."""
    rows = (line.split("|", COLUMNS.count("|")) for line in output.splitlines())
    return [
        SlurmJob(job_id=row[1], name=row[7], state=row[4], reason=row[5], nodes=row[6])
        for row in rows
        if len(row) == 8 and row[1].isdigit()
    ]
