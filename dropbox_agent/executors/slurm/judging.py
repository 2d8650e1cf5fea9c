"""Conclude from the files of an attempt and the answer of Slurm what has become of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dropbox_agent.executors.folder import (
    close_to_late_copies,
    gone,
    last_lines,
    lost,
    was_killed,
    was_stopped,
    work_dir_of,
)
from dropbox_agent.executors.slurm.jobs import SlurmJob
from dropbox_agent.executors.slurm.pulse import Pulse
from dropbox_agent.executors.slurm.states import CANNOT_START, TOO_MUCH_MEMORY, Stand, cause_of, sentence, state_of
from dropbox_agent.model import SLURM_HANDLE, Attempt, AttemptFolder, Observation
from dropbox_agent.states import AttemptState, Cause, TaskState

LATE_RECORD_GRACE = timedelta(minutes=5)
"""How long a job whose node failed may still leave an end record: its process can outlive the connection."""
MISSING = "Slurm does not know it any more; unless it turns up, it is handed over again."
STILL_ALIVE = "Its process still shows signs of life, so its end is waited for."
TOO_LARGE = re.compile(r"(?i)slurmstepd.*(exceeded (job |step )?memory limit|oom[-_ ]?kill)")
"""What the log of a job says that used too much memory."""
GONE = "Slurm does not know it any more, and it left no end record."
PUT_BACK = "It was stopped in Slurm and put back into the queue there."
FORGOTTEN = "The controller of Slurm lost its memory of it while it ran."
"""It then ends what it does not know, one process after the other: hardly ever is an end record left."""


@dataclass(frozen=True)
class Judge:
    """What is concluded, and how long an end record is waited for."""

    grace: timedelta
    pulse: Pulse = field(default_factory=Pulse)

    def after_answer(
        self, seen: Observation, job: SlurmJob | None, now: datetime, *, forgotten: bool = False, late: bool = False
    ) -> Observation | None:
        """Return what is to be written down of an attempt, or None when there is no news.

        ``job``: Slurm's answer; ``forgotten``: it ran a moment ago, and Slurm does not know it at all; ``late``: Slurm
        was asked after the end record had been seen.
        """
        if says_all(seen) or is_away(seen):
            return seen
        if has_ended(seen):
            by_it = job is None and forgotten and _was_killed(seen)
            return _ended_by(seen, End(FORGOTTEN, cause=Cause.NODE_FAILED)) if by_it else _with_cause(seen, job, late)
        if _is_gone(seen) and (job is None or state_of(job).stand is Stand.OVER):
            return gone(seen, now)
        if job is None:
            return self._missing(seen, now, End(FORGOTTEN, cause=Cause.NODE_FAILED) if forgotten else End(GONE))
        seen = replace(seen, handle=handle_of(job.job_id, seen.attempt))
        return self._over(seen, job, now) if state_of(job).stand is Stand.OVER else _alive(seen, job)

    def between_answers(self, seen: Observation, job: SlurmJob | None) -> Observation | None:
        """Return the news that the files alone have. ``job``: what Slurm said last."""
        if says_all(seen) or is_away(seen):
            return seen
        if not seen.seen or has_ended(seen) or seen.attempt.first_missing_at is not None:
            return None
        return seen if job is None else _alive(seen, job)

    def _missing(self, seen: Observation, now: datetime, end: End) -> Observation | None:
        attempt = seen.attempt
        if not seen.seen and attempt.state is not AttemptState.RUNNING:
            return replace(seen, text=None if attempt.handle is None else MISSING, waits=True)
        return self._unless_alive(seen, None, end, now, self.grace)

    def _over(self, seen: Observation, job: SlurmJob, now: datetime) -> Observation | None:
        """Slurm says it has ended, and there is no end record: one may be on its way."""
        started = seen.seen or seen.attempt.state is AttemptState.RUNNING
        end = end_of(job, seen.attempt)
        if not started and not job.nodes:
            return _given_up(seen, end)
        if end.cause is Cause.NODE_FAILED:
            return self._unless_alive(seen, job, end, now, max(self.grace, LATE_RECORD_GRACE))
        return self._without_record(seen, now, end, self.grace)

    def _unless_alive(
        self, seen: Observation, job: SlurmJob | None, end: End, now: datetime, unheard: timedelta
    ) -> Observation | None:
        """Slurm has lost sight of it, and it may be alive: not before it is silent is it given up.

        ``unheard`` is how long an end record of one without heartbeat is waited for.
        """
        beat = self.pulse.last(seen.attempt, now)
        if beat is None:
            return self._without_record(seen, now, end, unheard)
        if now - beat < self.grace and not _is_out_of_time(seen, job, now - self.grace):
            return replace(seen, seen=False, text=f"{end.words} {STILL_ALIVE}")
        return self._without_record(seen, now, end, self.grace)

    def _without_record(self, seen: Observation, now: datetime, end: End, grace: timedelta) -> Observation | None:
        since = seen.attempt.first_missing_at or now
        if now - since < grace:
            return replace(
                seen, seen=False, text=f"{end.words} Waiting for an end record until {since + grace:%H:%M:%S} UTC."
            )
        log = AttemptFolder(seen.attempt.folder).wrapper_log
        return _given_up(seen, replace(end, words=f"{end.words} See {log}."))


@dataclass(frozen=True)
class End:
    """How an attempt ended that left no end record, by what Slurm says."""

    words: str
    ends_as: TaskState = TaskState.FAILED
    cause: Cause | None = None


def end_of(job: SlurmJob, attempt: Attempt) -> End:
    """Return how a job that is over ended. Without cgroups Slurm only says in its log what used too much memory."""
    if job.state == "FAILED" and TOO_LARGE.search(last_lines(AttemptFolder(attempt.folder).wrapper_log) or ""):
        return End(TOO_MUCH_MEMORY, cause=Cause.OUT_OF_MEMORY)
    return End(sentence(job) or GONE, state_of(job).ends_as, cause_of(job))


def badness(job: SlurmJob) -> int:
    """Return how badly a job ended, for comparing; 0 when it lives, or ended well."""
    if state_of(job).stand is not Stand.OVER or job.state == "COMPLETED":
        return 0
    return {"CANCELLED": 1, "FAILED": 2}.get(job.state, 3)


def is_away(seen: Observation) -> bool:
    """Return whether its run folder does not answer: then nothing is concluded."""
    return seen.seen and seen.text is not None


def _is_gone(seen: Observation) -> bool:
    """Return whether its run folder is no longer there, though others are."""
    return not seen.seen and seen.text is not None


def says_all(seen: Observation) -> bool:
    """Return whether the end record says how it ended; who stopped it only Slurm knows, unless it was ordered."""
    return has_ended(seen) and (seen.attempt.stop_at is not None or not (was_stopped(seen) or _was_killed(seen)))


def has_ended(seen: Observation) -> bool:
    """Return whether there is an end record."""
    return seen.seen and seen.state is AttemptState.ENDED


def handle_of(job_id: str, attempt: Attempt) -> str:
    """Return how a Slurm job is named in the ledger."""
    return f"{SLURM_HANDLE}:{job_id}:{attempt.key}"


def close(attempt: Attempt) -> bool:
    """Take the start token, so that no late copy runs; False when something has taken it, or nobody can say."""
    try:
        if work_dir_of(attempt).is_dir():
            attempt.folder.mkdir(parents=True, exist_ok=True)
        return close_to_late_copies(AttemptFolder(attempt.folder))
    except OSError:
        return False


def _alive(seen: Observation, job: SlurmJob) -> Observation:
    started = seen.seen or seen.attempt.state is AttemptState.RUNNING
    state = state_of(job)
    text = sentence(job)
    if started and state.stand is Stand.WAITS:
        text = None
    if not started and state.stand is Stand.RUNS:
        text = text or f"It starts on {job.nodes}."
    waits = state.stand is not Stand.UNKNOWN and not (text or "").startswith(CANNOT_START)
    now_is = AttemptState.RUNNING if started else AttemptState.SUBMITTED
    return replace(seen, seen=True, state=now_is, text=text, waits=waits)


def _given_up(seen: Observation, end: End) -> Observation | None:
    """Return the end of an attempt that left no end record; None when it starts after all, or has just ended."""
    if not seen.seen and not close(seen.attempt):
        return None
    return lost(seen, end.words, end.ends_as, end.cause)


def _is_out_of_time(seen: Observation, job: SlurmJob | None, now: datetime) -> bool:
    """Return whether its time limit has passed, which nobody enforces on a node that is out of sight."""
    started = min((task.started for task in seen.tasks if task.started is not None), default=None)
    limit = None if job is None else job.limit
    return started is not None and limit is not None and now - started > limit


def _was_killed(seen: Observation) -> bool:
    return any(was_killed(task) for task in seen.tasks)


def _with_cause(seen: Observation, job: SlurmJob | None, late: bool) -> Observation | None:
    """Return the end of an attempt that was stopped, with who stopped it; None while that is not settled."""
    if job is None or job.state in ("COMPLETED", "FAILED"):
        return seen
    put_back = late and state_of(job).stand is Stand.WAITS
    if state_of(job).stand is not Stand.OVER and not put_back:
        return None
    end = End(PUT_BACK, cause=Cause.PREEMPTED) if put_back else end_of(job, seen.attempt)
    if _was_killed(seen) and end.cause is not Cause.OUT_OF_MEMORY and not put_back:
        return seen
    return _ended_by(seen, end)


def _ended_by(seen: Observation, end: End) -> Observation:
    """Return the end of an attempt with why Slurm stopped or killed what of it was."""
    stopped = [task for task in seen.tasks if task.state is TaskState.CANCELLED or was_killed(task)]
    tasks = [replace(task, state=end.ends_as, message=end.words) if task in stopped else task for task in seen.tasks]
    if not stopped:
        ended = lost(replace(seen, tasks=tuple(tasks)), end.words, end.ends_as, end.cause)
        return replace(ended, state=AttemptState.ENDED)
    return replace(seen, tasks=tuple(tasks), text=end.words, cause=end.cause)
