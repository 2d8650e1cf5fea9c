"""The elements of an array task, each with a log of its own: how they stand, and which is most worth reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dropbox_agent import executors, plan
from dropbox_agent.errors import NoAnswer
from dropbox_agent.model import AttemptFolder, JobStanding
from dropbox_agent.states import TaskState

Standing = Mapping[int, TaskState]


def standing(
    ask: Callable[[Callable[[], Standing]], Standing], job: JobStanding, key: str, folder: AttemptFolder
) -> Standing:
    """Return how each element of a task stands, as the folder of an attempt has it; empty for what is no array.

    ``ask`` asks the share the folder lies on.
    """
    array = _array(job, key)
    if array is None:
        return {}
    try:
        return ask(lambda: executors.element_states(folder, array))
    except (OSError, NoAnswer):
        return {}  # Its log itself says what is wrong with its share.


def _array(job: JobStanding, key: str) -> plan.Array | None:
    planned = next((task for task in job.plan.tasks if task.key == key), None)
    return None if planned is None else plan.array_of(planned.settings.get("image_resources") or {})


def worth_reading(elements: Mapping[int, TaskState]) -> int | None:
    """Return the first element that failed, else the last one that runs, else the last one that left something."""
    failed = [number for number, state in elements.items() if state is TaskState.FAILED]
    running = [number for number, state in elements.items() if state is TaskState.RUNNING]
    ended = [number for number, state in elements.items() if state is TaskState.SUCCEEDED]
    return next(iter([*failed[:1], *running[-1:], *ended[-1:], *list(elements)[:1]]), None)
