"""The states of a manifest, a job, a task and an attempt, and which may follow which.

The same moves are enforced by triggers in schema.sql; a test compares the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class DropState(str, Enum):
    """Where one drop (one settled version of a manifest) stands."""

    SETTLING = "settling"
    """Seen in the inbox, not yet known to be whole; nothing is recorded for it."""
    REFUSED = "refused"
    """Read and found wrong; its problems are written beside it. Nothing of it runs."""
    ACCEPTED = "accepted"
    """Recorded with its jobs; none of them has started."""
    RUNNING = "running"
    """At least one of its jobs has started and not all have ended."""
    SUCCEEDED = "succeeded"
    """Every job ended well."""
    FAILED = "failed"
    """Every job ended and at least one failed."""
    CANCELLED = "cancelled"
    """Every job ended, none failed, at least one was cancelled."""


class JobState(str, Enum):
    """Where the upload of one data acquisition session stands."""

    ACCEPTED = "accepted"
    """Recorded; no task has been handed to an executor."""
    RUNNING = "running"
    """A task has been handed over."""
    SUCCEEDED = "succeeded"
    """Every task succeeded or was skipped."""
    FAILED = "failed"
    """A task failed; what depends on it was not run."""
    CANCELLED = "cancelled"
    """Somebody ended it."""


class TaskState(str, Enum):
    """Where one task of a job stands."""

    WAITING = "waiting"
    """What it needs has not ended well yet."""
    SUBMITTED = "submitted"
    """Its allocation has been handed to the executor."""
    RUNNING = "running"
    """Its process runs."""
    SUCCEEDED = "succeeded"
    """It ended well."""
    FAILED = "failed"
    """It ended badly; its message says why and what to do."""
    SKIPPED = "skipped"
    """It was not asked for, or is not configured; its message says which."""
    CANCELLED = "cancelled"
    """It was ended, or never reached because a task it needs failed."""


class AttemptState(str, Enum):
    """Where one try at running an allocation stands."""

    SUBMITTING = "submitting"
    """The intent is written down; the executor may or may not have been told."""
    SUBMITTED = "submitted"
    """The executor confirmed it and gave a handle."""
    RUNNING = "running"
    """Its start token is taken."""
    ENDED = "ended"
    """Every task of it has an end record, or was not reached."""
    LOST = "lost"
    """It started, its process is gone, and it left no end record."""


class Cause(str, Enum):
    """Why an attempt ended where that was not its tasks' own doing."""

    OUT_OF_MEMORY = "out_of_memory"
    """It used more memory than it had asked for."""
    TIMEOUT = "timeout"
    """It reached its time limit."""
    NODE_FAILED = "node_failed"
    """The machine it ran on went away under it, or its controller forgot it while it ran."""
    PREEMPTED = "preempted"
    """It had to make room for another job, or was put back into the queue."""
    NOT_LAUNCHED = "not_launched"
    """Its node could not be made ready, or could not start it."""
    SERVICE_AWAY = "service_away"
    """A service or share that it needs was away."""
    CANCELLED = "cancelled"
    """Somebody ended it there where it ran."""


DROP_MOVES: Mapping[DropState, frozenset[DropState]] = MappingProxyType(
    {
        DropState.SETTLING: frozenset(),
        DropState.REFUSED: frozenset(),
        DropState.ACCEPTED: frozenset({DropState.RUNNING, DropState.SUCCEEDED, DropState.FAILED, DropState.CANCELLED}),
        DropState.RUNNING: frozenset({DropState.SUCCEEDED, DropState.FAILED, DropState.CANCELLED}),
        DropState.SUCCEEDED: frozenset(),
        DropState.FAILED: frozenset(),
        DropState.CANCELLED: frozenset(),
    }
)
JOB_MOVES: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.ACCEPTED: frozenset({JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
        JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
        JobState.SUCCEEDED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.CANCELLED: frozenset(),
    }
)
TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.WAITING: frozenset(
            {TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.SKIPPED, TaskState.CANCELLED}
        ),
        TaskState.SUBMITTED: frozenset(
            {TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED}
        ),
        TaskState.RUNNING: frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED}),
        TaskState.SUCCEEDED: frozenset(),
        TaskState.FAILED: frozenset(),
        TaskState.SKIPPED: frozenset(),
        TaskState.CANCELLED: frozenset(),
    }
)
ATTEMPT_MOVES: Mapping[AttemptState, frozenset[AttemptState]] = MappingProxyType(
    {
        AttemptState.SUBMITTING: frozenset(
            {AttemptState.SUBMITTED, AttemptState.RUNNING, AttemptState.ENDED, AttemptState.LOST}
        ),
        AttemptState.SUBMITTED: frozenset({AttemptState.RUNNING, AttemptState.ENDED, AttemptState.LOST}),
        AttemptState.RUNNING: frozenset({AttemptState.ENDED, AttemptState.LOST}),
        AttemptState.ENDED: frozenset(),
        AttemptState.LOST: frozenset(),
    }
)

JOB_RETRY_MOVES: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {state: frozenset({JobState.RUNNING}) for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)}
)
"""Moves that only an explicit order to run again may make."""
DROP_RETRY_MOVES: Mapping[DropState, frozenset[DropState]] = MappingProxyType(
    {state: frozenset({DropState.RUNNING}) for state in (DropState.SUCCEEDED, DropState.FAILED, DropState.CANCELLED)}
)
TASK_RETRY_MOVES: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        state: frozenset({TaskState.WAITING})
        for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED)
    }
)

GOOD_ENDS = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED})
"""Ends of a task after which the tasks that need it may run."""
FINAL_TASK_STATES = frozenset(state for state, moves in TASK_MOVES.items() if not moves)
FINAL_JOB_STATES = frozenset(state for state, moves in JOB_MOVES.items() if not moves)
FINAL_DROP_STATES = frozenset({DropState.REFUSED, DropState.SUCCEEDED, DropState.FAILED, DropState.CANCELLED})
