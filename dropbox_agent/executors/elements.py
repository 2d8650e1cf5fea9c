"""The elements of an array attempt, as the files in its folder have them.

Each element takes a start token of its own and leaves a record whose name says how it ended, so that one listing of a
folder tells how all of them stand.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dropbox_agent import plan
from dropbox_agent.executors.records import read_json, write
from dropbox_agent.model import Attempt, AttemptFolder, Observation, TaskObservation
from dropbox_agent.states import FINAL_TASK_STATES, GOOD_ENDS, AttemptState, TaskState

NAME = re.compile(r"(\d+)\.(started|[a-z]+)(?:\.json)?")
"""``3.started`` is a start token, ``3.succeeded.json`` a record."""
CLOSED = "closed"
"""A file beside them: no element is started any more."""
NOT_STARTED = "It was not started any more."


def array_of(attempt: Attempt) -> plan.Array | None:
    """Return the elements of an attempt; None when it is no array. An array task has an attempt of its own."""
    return plan.array_of(attempt.tasks[0].settings.get("image_resources") or {})


def states(folder: AttemptFolder, array: plan.Array) -> dict[int, TaskState]:
    """Return how each element stands. Raises OSError when the folder does not answer."""
    found = dict.fromkeys(array.numbers, TaskState.WAITING)
    for name in _listing(folder):
        match = NAME.fullmatch(name)
        if match is None or int(match[1]) not in found:
            continue
        state = TaskState.RUNNING if match[2] == "started" else _final(match[2])
        if state in FINAL_TASK_STATES or (state is not None and found[int(match[1])] is TaskState.WAITING):
            found[int(match[1])] = state
    return found


def _listing(folder: AttemptFolder) -> list[str]:
    try:
        return os.listdir(folder.elements)
    except FileNotFoundError:
        return []


def _final(word: str) -> TaskState | None:
    return next((state for state in FINAL_TASK_STATES if state.value == word), None)


def look(seen: Observation, array: plan.Array) -> Observation:
    """Return what was seen of an array attempt, with how its elements stand.

    It has ended once each element has, and one of them not well; when all end well, the last one leaves the record.
    """
    folder = AttemptFolder(seen.attempt.folder)
    now_are = states(folder, array)
    key = seen.attempt.tasks[0].key
    task = next(iter(seen.tasks), TaskObservation(key, TaskState.RUNNING, log=str(folder.elements)))
    task = replace(task, progress=progress(now_are))
    if _ended_badly(now_are):
        end = _end(folder, now_are)
        # The last element may have been killed before it could say so for all.
        task = replace(task, log=end["log"]) if seen.state is AttemptState.ENDED else replace(task, **end)
        seen = replace(seen, state=AttemptState.ENDED)
    return replace(seen, tasks=(task,))


def progress(now_are: Mapping[int, TaskState]) -> dict[str, Any]:
    """Return how the elements stand, for programs and for people: ``{"elements": {"succeeded": "0-2", ...}}``."""
    groups = {state: [number for number, is_ in now_are.items() if is_ is state] for state in TaskState}
    text = ", ".join(f"{len(numbers)} {state.value}" for state, numbers in groups.items() if numbers)
    return {
        "text": f"{len(now_are)} elements: {text}",
        "done_elements": len(groups[TaskState.SUCCEEDED]),
        "total_elements": len(now_are),
        "elements": {state.value: plan.in_ranges(numbers) for state, numbers in groups.items() if numbers},
    }


def given_up(seen: Observation, array: plan.Array) -> Observation:
    """Return an attempt that ended without saying how, with no element that still waits or runs."""
    try:
        now_are = states(AttemptFolder(seen.attempt.folder), array)
    except OSError:
        return seen
    ended = {number: is_ if is_ in FINAL_TASK_STATES else TaskState.CANCELLED for number, is_ in now_are.items()}
    return replace(seen, tasks=tuple(replace(task, progress=progress(ended)) for task in seen.tasks))


def are_failing(seen: Observation) -> bool:
    """Return whether one element has ended badly while others may still run."""
    (task,) = seen.tasks or (None,)
    stand = (task.progress or {}).get("elements", {}) if task is not None else {}
    return seen.state is AttemptState.RUNNING and bool({"failed", "cancelled"} & set(stand))


def _ended_badly(now_are: Mapping[int, TaskState]) -> bool:
    ended = set(now_are.values())
    return ended <= FINAL_TASK_STATES and not ended <= GOOD_ENDS


def _end(folder: AttemptFolder, now_are: Mapping[int, TaskState]) -> dict[str, Any]:
    """Return how the task of an array ended whose elements did not all end well."""
    worst = TaskState.FAILED if TaskState.FAILED in now_are.values() else TaskState.CANCELLED
    number = min(number for number, state in now_are.items() if state is worst)
    record = read_json(folder.element(number, f"{worst.value}.json")) or {}
    message = f"Element {number} of {len(now_are)} {worst.value}: {record.get('message') or worst.value}"
    return {"state": worst, "message": message, "log": str(folder.element(number, "log"))}


def close(folder: AttemptFolder) -> bool:
    """Take the start token of each element that has not started; return whether none had."""
    if folder.element(CLOSED, "txt").exists():
        return False
    numbers = (read_json(folder.allocation) or {}).get("elements", [])
    taken = [_close_one(folder, number) for number in numbers]
    if numbers:
        write(folder.element(CLOSED, "txt"), NOT_STARTED + "\n")
    return all(taken)


def _close_one(folder: AttemptFolder, number: int) -> bool:
    try:
        os.mkdir(folder.element(number, "started"))
    except FileExistsError:
        return False
    record = {"element": number, "state": TaskState.CANCELLED.value, "message": NOT_STARTED}
    write(folder.element(number, f"{TaskState.CANCELLED.value}.json"), json.dumps(record))
    return True
