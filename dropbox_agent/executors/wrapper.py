"""Run the tasks of one allocation, one after the other, at most once. Copied into each attempt's folder.

Standard library only, one file: it must run on a node that has nothing but Python. Called as ``wrapper.py
allocation.json``. Its first act takes the start token (``mkdir``); a second copy exits with 75 and does nothing. Each
task leaves a start record and an end record; the last act is the end record of the allocation.

An array task is one task whose script runs once for each element. On a cluster each element is a process of its own
(``wrapper.py allocation.json ELEMENT``); elsewhere the wrapper starts them. The one that ends last ends the task.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from typing import Any, BinaryIO

BEGAN = time.monotonic()
TAKEN = 75
"""Exit code of a copy that found the start token taken (EX_TEMPFAIL)."""
ENDS = ("succeeded", "skipped", "failed", "cancelled")
PATIENCE_SECONDS = (1, 5, 15, 60, 300, 300)
"""How long to wait between the tries to write an end record."""


def main(allocation_path: str, element: str | None = None) -> int:
    with open(allocation_path, encoding="utf-8") as file:
        allocation = json.load(file)
    os.chdir(allocation["folder"])
    run = Run()
    environment = {**inherited(allocation.get("inherits", [])), **allocation["environment"]}
    if "elements" in allocation:
        show_life(allocation)
        array = Array(allocation, allocation_path, run, environment)
        return array.run_all() if element is None else array.run_one(int(element))
    if not take_token(allocation["token"]):
        return TAKEN
    show_life(allocation)
    ended: dict[str, str] = {}
    for task in allocation["tasks"]:
        if run.stopped_by or any(ended.get(key) not in ("succeeded", "skipped") for key in task["needs"]):
            continue
        ended[task["key"]] = run.task(task, environment)
        copy_log(allocation, task["log"], ended[task["key"]])
    keep_writing(allocation["end"], {"key": allocation["key"], "ended": now(), "tasks": ended, **what_it_took()})
    return 0 if all(state in ("succeeded", "skipped") for state in ended.values()) else 1


def take_token(token: str) -> bool:
    """Return whether this copy is the one that runs. mkdir is atomic on every share we know."""
    try:
        os.mkdir(token)
    except FileExistsError:
        print(f"The start token {token} is taken: another copy runs or ran this attempt.")
        return False
    owner = {"pid": os.getpid(), "start": process_start(os.getpid()), "boot": boot_id(), "host": os.uname().nodename}
    owner["slurm_job_id"] = os.environ.get("SLURM_JOB_ID")
    owner["node"] = node()
    write_record(os.path.join(token, "owner.json"), owner)
    # What begins now must not begin once more after a power failure.
    sync_folder(os.path.dirname(os.path.abspath(token)))
    return True


def show_life(allocation: dict[str, Any]) -> None:
    """Write a heartbeat now, and again and again as long as this process lives.

    By a signal, not in a thread, for this process starts others with fork.
    """
    seconds = allocation.get("heartbeat_seconds")
    if not seconds:
        return
    path = os.path.join(allocation["folder"], "heartbeat.json")

    def beat(_number: int, _frame: object) -> None:
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump({"at": now(), "every_seconds": seconds}, file)
            os.replace(temporary, path)
        except OSError:
            pass  # a share that is away: the next beat may reach it

    beat(signal.SIGALRM, None)  # whoever looks after this process died soon sees that it had lived
    signal.signal(signal.SIGALRM, beat)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def what_it_took() -> dict[str, Any]:
    """Return where this ran, how long, and the memory of the largest process it started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"node": node(), "elapsed_seconds": time.monotonic() - BEGAN, "max_rss_bytes": usage.ru_maxrss * 1024}


def node() -> str:
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename


def inherited(beginnings: list[str]) -> dict[str, str]:
    """Return what a task sees of the node's own environment: the variables whose names begin like this."""
    return {name: value for name, value in os.environ.items() if name.startswith(tuple(beginnings))}


class Run:
    """The task that runs now, and whether somebody asked to stop."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped_by: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.stop)

    def stop(self, number: int, _frame: object) -> None:
        self.stopped_by = number
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def task(self, task: dict[str, Any], environment: dict[str, str]) -> str:
        """Run one task; return its state."""
        # The end of an array is run when its elements have: the task began with the first of them.
        started = str(read_record(task["started"]).get("started") or now())
        with open(task["log"], "ab") as log:
            write_record(task["started"], {"key": task["key"], "started": started})
            code, reason = self.process_of(task, environment, log)
        record = end_record(task, started, code, reason, self.stopped_by)
        keep_writing(task["ended"], record)
        return str(record["state"])

    def process_of(
        self, task: dict[str, Any], environment: dict[str, str], log: BinaryIO
    ) -> tuple[int | None, str | None]:
        # A signal between the fork and the assignment would find no process to pass it on to.
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            if self.stopped_by:
                return None, "stopped before it started"
            self.process = subprocess.Popen(
                task["argv"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals),
            )  # fmt: skip
        except OSError as error:
            return None, f"{task['argv'][0]} could not be started: {error.strerror}"
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return self.process.wait(), None


class Array:
    """An array task: one script, run once for each element. Every element leaves a record named after how it ended."""

    def __init__(self, allocation: dict[str, Any], path: str, run: Run, environment: dict[str, str]) -> None:
        self.allocation = allocation
        self.path = path
        self.run = run
        self.task = allocation["tasks"][0]
        self.numbers: list[int] = allocation["elements"]
        first, last = str(min(self.numbers)), str(max(self.numbers))
        told = {"COUNT": str(len(self.numbers)), "MIN": first, "MAX": last}
        # As Slurm says it; where there is Slurm, it says so itself.
        self.environment = {**{f"SLURM_ARRAY_TASK_{name}": text for name, text in told.items()}, **environment}

    def run_all(self) -> int:
        """Start each element as a process of its own, not too many at a time; end the others when one ends badly."""
        if not take_token(self.allocation["token"]):
            return TAKEN
        waiting = list(self.numbers)
        living: list[subprocess.Popen[bytes]] = []
        told: set[int] = set()
        at_once = self.allocation["at_once"] or os.cpu_count() or 1
        while living or (waiting and not self.is_over()):
            while waiting and len(living) < at_once and not self.is_over():
                argv = [sys.executable, "-I", os.path.abspath(__file__), self.path, str(waiting.pop(0))]
                living.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
            for child in living if self.is_over() else ():
                if child.pid not in told:
                    child.send_signal(signal.SIGTERM)
                told.add(child.pid)
            time.sleep(0.1)
            living = [child for child in living if child.poll() is None]
        for number in waiting:
            if take_token(self.file(number, "started")):
                self.leave(number, {"state": "cancelled", "message": "It was not started any more."})
        return self.conclude()

    def run_one(self, number: int) -> int:
        """Run one element, unless another copy does."""
        if not take_token(self.file(number, "started")):
            return TAKEN
        os.makedirs(self.allocation["token"], exist_ok=True)
        started = now()
        if not os.path.exists(self.task["started"]):
            write_record(self.task["started"], {"key": self.task["key"], "started": started})
        if self.is_over():
            self.leave(number, {"state": "cancelled", "message": "Another element had ended badly before it started."})
            return self.conclude()
        files = {"log": self.file(number, "log"), "outcome": self.file(number, "outcome.json")}
        task = {**self.task, **files, "argv": [*self.task["argv"], str(number)]}
        with open(task["log"], "ab") as log:
            environment = {**self.environment, "SLURM_ARRAY_TASK_ID": str(number)}
            code, reason = self.run.process_of(task, environment, log)
        record = end_record(task, started, code, reason, self.run.stopped_by)
        self.leave(number, record)
        copy_log(self.allocation, task["log"], record["state"], str(number))
        return self.conclude()

    def leave(self, number: int, record: dict[str, Any]) -> None:
        keep_writing(self.file(number, f"{record['state']}.json"), {"element": number, **record})

    def conclude(self) -> int:
        """End the task when every element has ended: the program once more when all ended well, else its end record."""
        ended = self.ended()
        if len(ended) < len(self.numbers):
            return 0 if not self.is_over() else 1
        try:
            os.mkdir(os.path.join(self.allocation["elements_in"], "concluded"))
        except FileExistsError:
            return 0
        if all(state in ("succeeded", "skipped") for state in ended.values()):
            state = self.run.task(self.task, self.environment)
            copy_log(self.allocation, self.task["log"], state)
        else:
            state = self.end_badly(ended)
        tasks = {self.task["key"]: state}
        keep_writing(self.allocation["end"], {"key": self.allocation["key"], "ended": now(), "tasks": tasks})
        return 0 if state in ("succeeded", "skipped") else 1

    def end_badly(self, ended: dict[int, str]) -> str:
        state = "failed" if "failed" in ended.values() else "cancelled"
        number = min(number for number, one in ended.items() if one == state)
        message = read_outcome(self.file(number, f"{state}.json")).get("message", state)
        record = {"key": self.task["key"], "task_id": self.task["task_id"], "state": state, "ended": now()}
        record["message"] = f"Element {number} of {len(self.numbers)} {state}: {message}"
        keep_writing(self.task["ended"], {**record, "exit_code": None, "facts": {}})
        return state

    def ended(self) -> dict[int, str]:
        """Return how each element ended that has."""
        names = (name.split(".") for name in os.listdir(self.allocation["elements_in"]))
        return {int(name[0]): name[1] for name in names if len(name) == 3 and name[1] in ENDS and name[2] == "json"}

    def is_over(self) -> bool:
        """Return whether no more elements are to be run: one ended badly, or somebody asked to stop."""
        return bool(self.run.stopped_by) or not set(self.ended().values()) <= {"succeeded", "skipped"}

    def file(self, number: int, what: str) -> str:
        return os.path.join(self.allocation["elements_in"], f"{number}.{what}")


def end_record(
    task: dict[str, Any], started: str, code: int | None, reason: str | None, stopped_by: int | None
) -> dict[str, Any]:
    outcome = read_outcome(task["outcome"])
    record = {"key": task["key"], "task_id": task["task_id"], "started": started, "ended": now(), "exit_code": code}
    record["facts"] = outcome.get("facts", {})
    if stopped_by and code != 0:
        return dict(record, state="cancelled", message=f"Stopped by signal {stopped_by}.")
    if code == 0 and outcome.get("state") in ("succeeded", "skipped"):
        return dict(record, state=outcome["state"], message=outcome["message"])
    return dict(record, state="failed", message=failure(task, code, reason, outcome))


def failure(task: dict[str, Any], code: int | None, reason: str | None, outcome: dict[str, Any]) -> str:
    if reason is not None:
        return f"{task['task_id']}: {reason}."
    if outcome.get("state") == "failed":
        return str(outcome["message"])
    if code is not None and code < 0:
        return f"{task['task_id']} was ended by signal {-code}. Its log: {task['log']}"
    return f"{task['task_id']} ended with exit code {code} and left no outcome. Its log: {task['log']}"


def read_outcome(path: str) -> dict[str, Any]:
    outcome = read_record(path)
    return outcome if isinstance(outcome.get("message"), str) else {}


def read_record(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def copy_log(allocation: dict[str, Any], log: str, state: str, element: str = "") -> None:
    """Add the log of what has ended to the files that its resources name; a file that takes nothing harms nothing."""
    for name, pattern in allocation.get("copies", {}).items():
        if name == "standard_error" and state != "failed":
            continue
        path = file_named(pattern, allocation["key"], element)
        try:
            with open(log, "rb") as found, open(path, "ab") as copy:
                while part := found.read(65536):
                    copy.write(part)
        except OSError as error:
            print(f"{path} ({name}) does not take a copy of {log}: {error.strerror}.", flush=True)


def file_named(pattern: str, key: str, element: str) -> str:
    """Return the path that a pattern of sbatch's stands for; elsewhere the attempt's key is the job's number."""
    number = os.environ.get("SLURM_JOB_ID") or key
    meant = {"x": key, "j": number, "J": number, "A": os.environ.get("SLURM_ARRAY_JOB_ID") or number, "a": element}
    meant.update({"N": node(), "u": os.environ.get("USER", ""), "%": "%"})

    def written(found: re.Match[str]) -> str:
        text = meant.get(found[2], found[0])
        return text.zfill(min(int(found[1] or 0), 10)) if text.isdigit() else text

    return re.sub(r"%(\d*)(.)", written, pattern)


def keep_writing(path: str, record: dict[str, Any]) -> None:
    """Write an end record; hours of work are not lost because a share is away or full for some minutes."""
    for seconds in PATIENCE_SECONDS:
        try:
            write_record(path, record)
            return
        except OSError as error:
            print(f"{path} could not be written ({error.strerror}); it is tried again in {seconds} s.", flush=True)
            time.sleep(seconds)
    write_record(path, record)


def write_record(path: str, record: dict[str, Any]) -> None:
    """Temporary name, fsync, rename, fsync of the folder: a reader sees all of it or nothing."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(os.path.dirname(os.path.abspath(path)))


def sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def process_start(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: with the boot id it tells this process from a later one of the same pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


if __name__ == "__main__":
    try:
        code = main(*sys.argv[1:])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # its handler goes before the process does
    sys.exit(code)
