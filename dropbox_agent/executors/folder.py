"""Prepare an attempt's folder, and read what the wrapper left in it."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from dropbox_agent import plan
from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import elements
from dropbox_agent.executors.records import read_json, write
from dropbox_agent.model import Attempt, AttemptFacts, AttemptFolder, Observation, TaskObservation, TaskSettings
from dropbox_agent.states import FINAL_TASK_STATES, GOOD_ENDS, AttemptState, Cause, TaskState

ATTEMPT_VARIABLE = "DROPBOX_AGENT_ATTEMPT"
"""In the environment of every process of an attempt: its key, by which leftovers are recognised."""
VARIABLES_VARIABLE = "DROPBOX_AGENT_VARIABLES"
"""Names the variables that a task's resources set, so that its script gets them."""
FOLDER_VARIABLE = "DROPBOX_AGENT_STARTS_IN"
"""The folder in which a task's script is to start, where its resources name one."""
LOG_END_BYTES = 4096
LOG_END_LINES = 10
"""How much of the end of a failed task's log is shown."""
FOLDER_GRACE = timedelta(hours=1)
"""How long a run folder may be away from a work folder that is there before its attempt counts as lost."""
KILLED = (-9, 137)
"""Exit codes of what was killed, as a program and as a shell says it."""
KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR")
"""What a task sees of the agent's environment; nothing else is handed on but CREDENTIALS."""
CREDENTIALS = "AWS_"
"""How the names of variables begin that lead to keys. The built-in tasks get them from the environment they start in;
they are written nowhere, and no script gets them."""


@dataclass(frozen=True)
class Node:
    """What an attempt finds where it runs."""

    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=dict)
    """The environment tasks get, of which KEPT_VARIABLES are taken."""
    inherits: tuple[str, ...] = ()
    """Beginnings of the names of variables that a task gets from the place where it runs."""
    heartbeat_seconds: float | None = None
    """How often the wrapper shows that it lives; None where its process can be seen."""


def prepare(attempt: Attempt, settings: Mapping[str, TaskSettings], node: Node) -> AttemptFolder:
    """Write all an attempt needs into its folder and return it. Raises SubmitFailed when the folder cannot be written.

    Preparing it again writes the same, unless the attempt has started: then nothing is touched.
    """
    folder = AttemptFolder(attempt.folder)
    try:
        if folder.token.exists():
            return folder
        work_dir = work_dir_of(attempt)
        if not work_dir.is_dir():
            raise SubmitFailed(
                f"The work folder {work_dir} is not there, so nothing was started. It is tried again.", retry=True
            )
        folder.path.mkdir(parents=True, exist_ok=True)
        if elements.array_of(attempt):
            folder.elements.mkdir(exist_ok=True)
        for task in attempt.tasks:
            write(folder.settings(task.key), settings[task.key].model_dump_json(indent=1))
        write(folder.wrapper, resources.files(__package__).joinpath("wrapper.py").read_text("utf-8"))
        write(folder.allocation, json.dumps(_allocation(attempt, folder, node), indent=1))
    except OSError as error:
        raise SubmitFailed(
            f"The run folder {attempt.folder} could not be written: {error.strerror}. It is tried again.", retry=True
        ) from error
    return folder


def work_dir_of(attempt: Attempt) -> Path:
    """Return the folder that holds the run folders of all jobs."""
    return attempt.folder.parent.parent.parent


def _allocation(attempt: Attempt, folder: AttemptFolder, node: Node) -> dict[str, Any]:
    inside = {task.key for task in attempt.tasks}
    python = [node.python, "-I", "-m", "dropbox_agent.tasks"]
    return {
        "key": attempt.key,
        "job_id": attempt.job_id,
        "folder": str(folder.path),
        "token": str(folder.token),
        "end": str(folder.end),
        "heartbeat_seconds": node.heartbeat_seconds,
        "inherits": list(node.inherits),
        "environment": _environment(attempt, node.environ),
        "copies": plan.log_copies(resources_of(attempt)),
        **_elements(attempt, folder),
        "tasks": [
            {
                "key": task.key,
                "task_id": task.task_id,
                "argv": [*python, task.task_id, str(folder.settings(task.key))],
                "needs": [key for key in task.needs if key in inside],
                "log": str(folder.log(task.key)),
                "started": str(folder.started(task.key)),
                "ended": str(folder.ended(task.key)),
                "outcome": str(folder.outcome(task.key)),
            }
            for task in attempt.tasks
        ],
    }  # fmt: skip


def _elements(attempt: Attempt, folder: AttemptFolder) -> dict[str, Any]:
    array = elements.array_of(attempt)
    if array is None:
        return {}
    return {"elements": array.numbers, "at_once": array.at_once, "elements_in": str(folder.elements)}


def _environment(attempt: Attempt, environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: environ[name] for name in KEPT_VARIABLES if name in environ}
    asked = plan.resource_environment(resources_of(attempt))
    named = {VARIABLES_VARIABLE: ",".join(asked)} if asked else {}
    folder = plan.starts_in(resources_of(attempt))
    starts_in = {FOLDER_VARIABLE: folder} if folder else {}
    return {**kept, "LANG": "C.UTF-8", **asked, **named, **starts_in, ATTEMPT_VARIABLE: attempt.key}


def resources_of(attempt: Attempt) -> Mapping[str, Any]:
    """Return what an attempt asks of a cluster: what its tasks do, all the same, and what it was given more of."""
    return {**(attempt.tasks[0].settings.get("image_resources") or {}), **attempt.resources}


def look(attempt: Attempt) -> Observation:
    """Return what the attempt's folder says. ``seen`` is False when nothing shows that it ever started.

    Raises OSError when the folder does not answer: then nothing is known.
    """
    folder = AttemptFolder(attempt.folder)
    if not has_started(folder):
        return Observation(attempt, False, attempt.state)
    end = read_json(folder.end)
    tasks = tuple(seen for task in attempt.tasks if (seen := _task(folder, task.key)) is not None)
    found = Observation(attempt, True, AttemptState.RUNNING if end is None else AttemptState.ENDED, tasks)
    array = elements.array_of(attempt)
    found = found if array is None else elements.look(found, array)
    if found.state is AttemptState.RUNNING:
        return before_its_end(found)
    return _with_what_was_away(replace(found, facts=_facts(folder, end or {}, found.tasks)))


def before_its_end(seen: Observation) -> Observation:
    """Return an attempt as it stands before its end: who stopped a task, and whether that was its end, is not known.

    Slurm stops what has run out of time, or makes room; what was stopped so has failed, and may be run again.
    """
    return replace(seen, tasks=tuple(_before_its_end(task) for task in seen.tasks))


def _before_its_end(task: TaskObservation) -> TaskObservation:
    if task.state is not TaskState.CANCELLED:
        return task
    return replace(task, state=TaskState.RUNNING, ended=None, message=None, exit_code=None)


def _with_what_was_away(ended: Observation) -> Observation:
    """Only where nothing else failed as well: that would fail again."""
    failed = [task for task in ended.tasks if task.state is TaskState.FAILED]
    if not failed or not all(task.passes for task in failed):
        return ended
    return replace(ended, cause=Cause.SERVICE_AWAY, text=failed[0].message)


def _facts(folder: AttemptFolder, end: Mapping[str, Any], tasks: Sequence[TaskObservation]) -> AttemptFacts:
    took, most = end.get("elapsed_seconds"), end.get("max_rss_bytes")
    failed = next((task.key for task in tasks if task.state is TaskState.FAILED), None)
    return AttemptFacts(
        node=str(end["node"]) if end.get("node") else None,
        elapsed_seconds=float(took) if isinstance(took, (int, float)) else None,
        max_rss_bytes=most if isinstance(most, int) and 0 < most < 2**60 else None,
        log_end=last_lines(folder.log(failed)) if failed else None,
    )


def last_lines(log: Path) -> str | None:
    """Return the end of a log, or None when there is none; tasks write it, so it may be anything."""
    try:
        # A pipe would be waited for, and a link may lead anywhere.
        file = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        opened.seek(max(0, os.fstat(file).st_size - LOG_END_BYTES))
        text = opened.read(LOG_END_BYTES).decode("utf-8", "replace")
    return "\n".join(text.rstrip().splitlines()[-LOG_END_LINES:]) or None


def owner_of(attempt: Attempt) -> Mapping[str, Any] | None:
    """Return who took the attempt's start token, or None."""
    return read_json(AttemptFolder(attempt.folder).token / "owner.json")


def lost(seen: Observation, text: str, state: TaskState = TaskState.FAILED, cause: Cause | None = None) -> Observation:
    """Return the observation of an attempt that ended without saying how: the task it was in ended in ``state``.

    Where it was in none, its tasks had all ended by their own doing, or were not reached for that.
    """
    over = [task for task in seen.tasks if task.state is not TaskState.RUNNING and not was_killed(task)]
    unfinished = _unfinished(seen.attempt, over)
    tasks = list(over)
    if unfinished is not None:
        before = {task.key: task for task in seen.tasks}.get(unfinished, TaskObservation(unfinished, state))
        tasks.append(replace(before, state=state, message=text))
    folder = AttemptFolder(seen.attempt.folder)
    failed = unfinished or next((task.key for task in over if task.state is TaskState.FAILED), None)
    said = last_lines(folder.log(failed)) if failed is not None else None
    facts = replace(seen.facts or AttemptFacts(), log_end=said or last_lines(folder.wrapper_log))
    gone = replace(seen, seen=True, state=AttemptState.LOST, tasks=tuple(tasks), text=text, facts=facts)
    if unfinished is None:
        return _with_what_was_away(gone)
    array = elements.array_of(seen.attempt)
    return replace(gone if array is None else elements.given_up(gone, array), cause=cause)


def words_of_away(attempt: Attempt, error: OSError) -> str:
    """Return what is told of an attempt whose run folder is away."""
    return f"Its run folder {attempt.folder} does not answer ({error.strerror}): what it does is not known."


def is_gone(attempt: Attempt, error: OSError) -> bool:
    """Return whether only this run folder is away, and not the share that it lies on."""
    return isinstance(error, FileNotFoundError) and work_dir_of(attempt).is_dir()


def gone(away: Observation, now: datetime) -> Observation:
    """Return an attempt whose run folder is gone, and that nothing runs any more: lost, once it was so for long."""
    if now - (away.attempt.first_missing_at or now) < FOLDER_GRACE:
        return replace(away, seen=False)
    return lost(replace(away, seen=True), f"Its run folder {away.attempt.folder} was taken away.")


def _unfinished(attempt: Attempt, over: Sequence[TaskObservation]) -> str | None:
    """Return the first task that had not ended, and was not kept from starting by one that ended badly."""
    ended = {task.key: task.state in GOOD_ENDS for task in over}
    for task in attempt.tasks:
        if task.key not in ended:
            if all(ended.get(key, True) for key in task.needs):
                return task.key
            ended[task.key] = False
    return None


def was_stopped(seen: Observation) -> bool:
    """Return whether somebody asked an attempt to end: a task says so, or one was not reached though none failed."""
    states = {task.state for task in seen.tasks}
    return TaskState.CANCELLED in states or (
        len(seen.tasks) < len(seen.attempt.tasks) and TaskState.FAILED not in states
    )


def was_killed(task: TaskObservation) -> bool:
    """Return whether somebody killed a task who does not say why: Slurm does so, for its memory."""
    return task.state is TaskState.FAILED and task.exit_code in KILLED


def has_started(folder: AttemptFolder) -> bool:
    """Return whether the start token is taken. Raises OSError when the run folder is away: then nobody can say."""
    try:
        return stat.S_ISDIR(os.stat(folder.token).st_mode)
    except FileNotFoundError:
        os.stat(folder.path)
        return False


def close_to_late_copies(folder: AttemptFolder) -> bool:
    """Take the start token of an attempt that is given up, so that no late copy runs; False when one just started."""
    no_element_started = elements.close(folder)
    try:
        os.mkdir(folder.token)
    except FileExistsError:
        return False
    return no_element_started


def _task(folder: AttemptFolder, key: str) -> TaskObservation | None:
    end, start = read_json(folder.ended(key)), read_json(folder.started(key))
    state = _end_state(end)
    if end is None and start is None:
        return None
    record = (end if state is not TaskState.RUNNING else start) or {}
    code = record.get("exit_code")
    return TaskObservation(
        key=key,
        state=state,
        started=_time(record.get("started")),
        ended=_time(record.get("ended")),
        message=None if record.get("message") is None else str(record["message"]),
        exit_code=code if isinstance(code, int) and abs(code) < 2**31 else None,
        progress=read_json(folder.progress(key)),
        log=str(folder.log(key)),
        inventory_sha256=_inventory(record) if state is TaskState.SUCCEEDED else None,
        passes=state is TaskState.FAILED and _said(record).get("passes") is True,
    )


def _inventory(record: Mapping[str, Any]) -> str | None:
    said = _said(record).get("inventory_sha256")
    return said if isinstance(said, str) else None


def _said(record: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = record.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _end_state(end: dict[str, Any] | None) -> TaskState:
    """A record that says no end is none: it is not ours, and the wrapper's death will tell."""
    try:
        state = TaskState((end or {}).get("state"))
    except ValueError:
        return TaskState.RUNNING
    return state if state in FINAL_TASK_STATES else TaskState.RUNNING


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
        return found.astimezone(timezone.utc) if found.tzinfo is not None else None
    except (ValueError, OverflowError):  # in UTC it is before the first year, or after the last
        return None
