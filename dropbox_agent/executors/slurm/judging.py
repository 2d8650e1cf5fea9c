"""Conclude from the files of an attempt and the answer of Slurm what has become of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dropbox_agent.executors.folder import close_to_late_copies, lost, work_dir_of
from dropbox_agent.executors.slurm.jobs import SlurmJob
from dropbox_agent.executors.slurm.states import CANNOT_START, LATE_RECORDS, Stand, sentence, state_of
from dropbox_agent.model import SLURM_HANDLE, Attempt, AttemptFolder, Observation
from dropbox_agent.states import AttemptState, TaskState

LATE_RECORD_GRACE = timedelta(minutes=5)
"""How long a job whose node failed may still leave an end record: its process can outlive the connection."""
MISSING = "Slurm does not know it any more; unless it turns up, it is handed over again."
GONE = "Slurm does not know it any more, and it left no end record."


@dataclass(frozen=True)
class Judge:
    """What is concluded, and how long an end record is waited for."""

    grace: timedelta

    def after_answer(self, seen: Observation, job: SlurmJob | None, now: datetime) -> Observation | None:
        """Return what is to be written down of an attempt, or None when there is no news. ``job``: Slurm's answer."""
        if says_all(seen) or is_away(seen):
            return seen
        if has_ended(seen):
            return _with_cause(seen, job)
        if job is None:
            return self._missing(seen, now)
        seen = replace(seen, handle=handle_of(job.job_id, seen.attempt))
        return self._over(seen, job, now) if state_of(job).stand is Stand.OVER else _alive(seen, job)

    def between_answers(self, seen: Observation, job: SlurmJob | None) -> Observation | None:
        """Return the news that the files alone have. ``job``: what Slurm said last."""
        if says_all(seen) or is_away(seen):
            return seen
        if not seen.seen or has_ended(seen) or seen.attempt.first_missing_at is not None:
            return None
        return seen if job is None else _alive(seen, job)

    def _missing(self, seen: Observation, now: datetime) -> Observation | None:
        attempt = seen.attempt
        if not seen.seen and attempt.state is not AttemptState.RUNNING:
            return replace(seen, text=None if attempt.handle is None else MISSING, waits=True)
        return self._without_record(seen, now, GONE, TaskState.FAILED, self.grace)

    def _over(self, seen: Observation, job: SlurmJob, now: datetime) -> Observation | None:
        """Slurm says it has ended, and there is no end record: one may be on its way."""
        started = seen.seen or seen.attempt.state is AttemptState.RUNNING
        words = sentence(job) or GONE
        if not started and not job.nodes:
            return _given_up(seen, words, state_of(job).ends_as)
        grace = max(self.grace, LATE_RECORD_GRACE) if job.state in LATE_RECORDS else self.grace
        return self._without_record(seen, now, words, state_of(job).ends_as, grace)

    def _without_record(
        self, seen: Observation, now: datetime, words: str, ends_as: TaskState, grace: timedelta
    ) -> Observation | None:
        since = seen.attempt.first_missing_at or now
        if now - since < grace:
            return replace(
                seen, seen=False, text=f"{words} Waiting for an end record until {since + grace:%H:%M:%S} UTC."
            )
        log = AttemptFolder(seen.attempt.folder).wrapper_log
        return _given_up(seen, f"{words} See {log}.", ends_as)


def badness(job: SlurmJob) -> int:
    """Return how badly a job ended, for comparing; 0 when it lives, or ended well."""
    if state_of(job).stand is not Stand.OVER or job.state == "COMPLETED":
        return 0
    return {"CANCELLED": 1, "FAILED": 2}.get(job.state, 3)


def is_away(seen: Observation) -> bool:
    """Return whether its run folder does not answer: then nothing is concluded."""
    return seen.seen and seen.text is not None


def says_all(seen: Observation) -> bool:
    """Return whether the end record says how it ended; who stopped it only Slurm knows, unless it was ordered."""
    return has_ended(seen) and (seen.attempt.stop_at is not None or not _was_stopped(seen))


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


def _given_up(seen: Observation, words: str, ends_as: TaskState) -> Observation | None:
    """Return the end of an attempt that left no end record; None when it starts after all, or has just ended."""
    if not seen.seen and not close(seen.attempt):
        return None
    return lost(seen, words, ends_as)


def _was_stopped(seen: Observation) -> bool:
    states = {task.state for task in seen.tasks}
    return TaskState.CANCELLED in states or (
        len(seen.tasks) < len(seen.attempt.tasks) and TaskState.FAILED not in states
    )


def _with_cause(seen: Observation, job: SlurmJob | None) -> Observation | None:
    """Return the end of an attempt that was stopped, with who stopped it; None while that is not settled."""
    if job is None or job.state in ("COMPLETED", "FAILED"):
        return seen
    if state_of(job).stand is not Stand.OVER:
        return None
    words, ends_as = sentence(job), state_of(job).ends_as
    tasks = [
        replace(task, state=ends_as, message=words) if task.state is TaskState.CANCELLED else task
        for task in seen.tasks
    ]
    if all(task.state is not TaskState.CANCELLED for task in seen.tasks):
        ended = lost(replace(seen, tasks=tuple(tasks)), words or GONE, ends_as)
        return replace(ended, state=AttemptState.ENDED)
    return replace(seen, tasks=tuple(tasks), text=words)
