"""The way to a cluster by its own commands: for each, what is asked, how the answer is read, and one that runs it."""

from __future__ import annotations

import pwd
import re
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dropbox_agent import plan
from dropbox_agent.executors.slurm.jobs import (
    JobRecord,
    JobRequest,
    NoAccounting,
    Partition,
    Refused,
    SlurmJob,
    Unanswered,
    Why,
)
from dropbox_agent.executors.slurm.refusals import own_words, why_refused

COMMAND_SECONDS = 30.0
"""How long a command may take: sbatch itself would wait for two minutes when Slurm is busy."""
COMMENT_BYTES = 1024
"""Slurm takes no longer comment."""
HANDED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LD_LIBRARY_PATH", "TZ", "SLURM_CONF", "SLURM_JWT")
"""What the commands see of the agent's environment. SBATCH_... and SQUEUE_... would change what they do."""
NO_ACCOUNTS = ("accounting storage is disabled", "not running a supported accounting_storage plugin")
"""What sacct and sacctmgr say on a cluster without slurmdbd."""
COLUMNS = "%i|%A|%F|%K|%T|%r|%N|%l|%j"
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
        return jobs_in(self._answer(squeue()))

    def cancel(self, name: str, hard: bool) -> None:
        """End every job of that name; ``hard``: without asking it first. Raises Unanswered."""
        self._answer(scancel(name, hard))

    def records(self, names: Collection[str], since: datetime) -> list[JobRecord]:
        """Return what the accounting has of the jobs of these names. Raises Unanswered, or NoAccounting."""
        return records_in(self._answer(sacct(names, since)))

    def partitions(self) -> list[Partition]:
        """Return the partitions. Raises Unanswered."""
        return partitions_in(self._answer(sinfo()))

    def qualities(self) -> list[str]:
        """Return the names of every QOS. Raises Unanswered, or NoAccounting."""
        return self._answer(sacctmgr()).split()

    def _answer(self, argv: Sequence[str]) -> str:
        """Run a command that asks; return what it prints. Raises Unanswered."""
        try:
            done = self._run(argv, None)
        except subprocess.TimeoutExpired:
            raise Unanswered(f"{argv[0]} did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise Unanswered(f"{argv[0]} could not be started: {error.strerror}") from error
        if done.returncode == 0:
            return done.stdout
        if any(words in done.stderr for words in NO_ACCOUNTS):
            raise NoAccounting(own_words(done.stderr))
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
        *plan.resource_options(request.resources),
        f"--job-name={request.name}",
        f"--comment={cut_comment(request.comment)}",
        "--no-requeue",
        "--export=NONE",
        "--chdir=/",
        "--open-mode=append",
        f"--output={file_pattern(request.log)}",
    ]


def cut_comment(text: str) -> str:
    """Return the text as far as Slurm takes it."""
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


RECORD_FIELDS = "JobIDRaw,State,ExitCode,NodeList,ElapsedRaw,MaxRSS,End,JobName"


def sacct(names: Collection[str], since: datetime) -> list[str]:
    """Return the command that asks the accounting. Its times are those of this machine's clock."""
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since.timestamp()))
    wanted = f"--name={','.join(sorted(names))}"
    return ["sacct", "--noheader", "--parsable2", "--duplicates", f"--starttime={begin}", wanted, "-o", RECORD_FIELDS]


def sinfo() -> list[str]:
    """Return the command that lists the partitions; the default one has a star."""
    return ["sinfo", "-h", "-o", "%P|%a"]


def sacctmgr() -> list[str]:
    """Return the command that lists every QOS."""
    return ["sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=name"]


def jobs_in(output: str) -> list[SlurmJob]:
    """Return the jobs that squeue printed."""
    rows = (line.split("|", COLUMNS.count("|")) for line in output.splitlines())
    return [
        # The id of an array, not of its element.
        SlurmJob(row[2], name=row[8], state=row[4], reason=row[5], nodes=row[6], limit=_length(row[7]))
        for row in rows
        if len(row) == 9 and row[2].isdigit()
    ]


def _length(text: str) -> timedelta | None:
    """Return the length of time that squeue writes as ``1-02:03:04`` or ``5:00``; None for UNLIMITED and the like."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def records_in(output: str) -> list[JobRecord]:
    """Return the jobs that sacct printed, each with the memory of its largest step."""
    found: dict[tuple[str, int], JobRecord] = {}
    times: Counter[str] = Counter()
    for line in output.splitlines():
        row = line.split("|", RECORD_FIELDS.count(","))
        if len(row) != 8:
            continue
        job_id, _, step = row[0].partition(".")
        times[job_id] += not step
        key = (job_id, times[job_id])
        if step and key in found:
            largest = max(found[key].max_rss_bytes or 0, bytes_of(row[5]) or 0)
            found[key] = replace(found[key], max_rss_bytes=largest or None)
        elif not step:
            found[key] = _record(job_id, row)
    return list(found.values())


def _record(job_id: str, row: Sequence[str]) -> JobRecord:
    state, _, by = row[1].partition(" by ")
    code, _, signal = row[2].partition(":")
    return JobRecord(
        job_id=job_id,
        name=row[7],
        state=state,
        nodes="" if row[3] == "None assigned" else row[3],
        exit_code=int(code) if code.isdigit() else None,
        signal=int(signal) if signal.isdigit() else None,
        elapsed_seconds=int(row[4]) if row[4].isdigit() else None,
        cancelled_by=_account_name(by) if by else None,
        ended=_local_time(row[6]),
    )


def bytes_of(size: str) -> int | None:
    """Return the bytes of ``432120K``."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", size)
    return None if found is None else int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def _account_name(uid: str) -> str:
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (ValueError, KeyError, OverflowError):
        return uid


def _local_time(text: str) -> datetime | None:
    """Slurm's commands write the time of this machine's clock; "Unknown" while a job has not ended."""
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc)
    except ValueError:
        return None


def partitions_in(output: str) -> list[Partition]:
    """Return the partitions that sinfo printed."""
    rows = (line.partition("|") for line in output.splitlines())
    return [Partition(name.rstrip("*"), state == "up", name.endswith("*")) for name, _, state in rows if name]
