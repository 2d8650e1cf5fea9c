"""Hand attempts to Slurm, and say what becomes of them.

The files in an attempt's folder decide: its start token and its end records. Slurm is asked what no file says: why an
attempt waits, and whether one that has left no end record can still leave one. A job is known by its name, which is the
attempt's key; a bare id is never believed, because a controller that lost its memory hands ids out again.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from dropbox_agent import plan
from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors.folder import (
    Node,
    close_to_late_copies,
    has_started,
    look,
    lost,
    owner_of,
    prepare,
    resources_of,
    work_dir_of,
)
from dropbox_agent.executors.slurm.jobs import JobRequest, Refused, SlurmJob, Unanswered, Why
from dropbox_agent.executors.slurm.states import CANNOT_START, LATE_RECORDS, STATES, UNKNOWN, Stand, sentence, state_of
from dropbox_agent.model import SLURM_HANDLE, Attempt, AttemptFolder, Observation, TaskSettings, slurm_job_id
from dropbox_agent.states import AttemptState, TaskState

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""How many jobs are submitted in one tick; the manifests that came meanwhile are then looked at."""
SLOWEST_POLL = timedelta(seconds=30)
LATE_RECORD_GRACE = timedelta(minutes=5)
"""How long a job whose node failed may still leave an end record: its process can outlive the connection."""
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SLURM", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL",
)  # fmt: skip
"""What a task sees of the environment that Slurm gives its job."""


class Cluster(Protocol):
    """A way to a cluster."""

    def submit(self, request: JobRequest) -> str:
        """Hand a job over; return its id. Raises Refused."""

    def jobs(self) -> list[SlurmJob]:
        """Return every job that Slurm still knows. Raises Unanswered."""

    def cancel(self, name: str, hard: bool) -> None:
        """End every job of that name. Raises Unanswered."""


@dataclass(frozen=True)
class Asked:
    """What a site asks for each job, unless its task asks for something else."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None

    def options(self) -> tuple[str, ...]:
        """Return the options of sbatch."""
        given = {"--partition": self.partition, "--account": self.account, "--qos": self.qos}
        return tuple(f"{option}={value}" for option, value in given.items() if value is not None)


class SlurmExecutor:
    """One Slurm job for each attempt."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        slots: int,
        python: str,
        asked: Asked | None = None,
        poll_seconds: float = 2.0,
        grace_seconds: float = 60.0,
    ) -> None:
        self.trouble: str | None = None
        self._cluster = cluster
        self._slots = slots
        self._node = Node(python, inherits=INHERITED)
        self._asked = asked or Asked()
        self._grace = timedelta(seconds=grace_seconds)
        self._pace = _Pace(timedelta(seconds=poll_seconds))
        self._known: dict[str, tuple[SlurmJob, ...]] = {}
        """The jobs of the last answer, by name."""
        self._absent: dict[str, datetime] = {}
        """Which attempts the last answer did not have, and when that was."""
        self._refused: set[str] = set()
        """Attempts that Slurm is known not to have: each time they were asked for, it said no."""
        self._met: set[str] = set()
        """Attempts that were found in the ledger: somebody may have asked for them before."""
        self._unreachable = False
        self._told: set[str] = set()
        self._stopped: set[tuple[str, bool]] = set()

    # --- handing over ------------------------------------------------------------------------------------------------

    def room(self, live: int) -> int:
        """Return how many more jobs may be submitted now; none while nobody answers."""
        return 0 if self._unreachable else max(0, min(AT_ONCE, self._slots - live))

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        """Submit the attempt's wrapper as a Slurm job; return ``slurm:id:name``."""
        if self._unreachable:
            self._note_refusal(attempt, Why.UNREACHABLE)
            raise SubmitFailed("Slurm does not answer; it is tried again once it does.", retry=True)
        request = self._request(attempt, settings)
        try:
            job_id = self._cluster.submit(request)
        except Refused as refused:
            self._note_refusal(attempt, refused.why)
            if refused.why is Why.NEVER and not _close(attempt):
                refused = Refused(Why.UNSURE, refused.words)
            raise _submit_failed(refused) from refused
        self._forget(attempt)
        self._pace.hurry()
        return _handle(job_id, attempt)

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Return whether Slurm has no job of this attempt, and none of it ever ran.

        Slurm may take a job some time after sbatch gave up, and forget one that it took. So an attempt has to be
        missing for a while, in answers at its beginning and its end; since when it is missing is in the ledger.
        """
        if self._unreachable or attempt.state is AttemptState.RUNNING or _may_have_started(attempt):
            return False
        if attempt.key in self._refused:
            return True
        absent, since = self._absent.get(attempt.key), attempt.first_missing_at
        return absent is not None and since is not None and absent - since >= self._grace

    def _request(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> JobRequest:
        folder = prepare(attempt, settings, self._node)
        command = shlex.join([self._node.python, "-I", str(folder.wrapper), str(folder.allocation)])
        return JobRequest(
            name=attempt.key,
            comment=f"{attempt.key} {attempt.job_id} {' '.join(task.key for task in attempt.tasks)}",
            script=f"#!/bin/sh\nexec {command}\n",
            log=folder.wrapper_log,
            # Of two options that say the same, sbatch takes the last.
            options=(*self._asked.options(), *plan.resource_options(resources_of(attempt))),
        )

    def _note_refusal(self, attempt: Attempt, why: Why) -> None:
        self._unreachable = self._unreachable or why is Why.UNREACHABLE
        first_time = attempt.key not in self._met
        self._forget(attempt)
        if why is not Why.UNSURE and (first_time or attempt.key in self._refused):
            self._refused.add(attempt.key)
        else:
            self._refused.discard(attempt.key)

    def _forget(self, attempt: Attempt) -> None:
        """What was known of an attempt is no longer so once it is asked for again."""
        self._absent.pop(attempt.key, None)
        self._known.pop(attempt.key, None)

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        """Take the start token of an attempt that has not started, and end its Slurm jobs.

        A job that is not reached then finds the token taken, and ends by itself.
        """
        never_ran = _close(attempt)
        if (attempt.key, hard) not in self._stopped and not self._unreachable:
            try:
                self._cluster.cancel(attempt.key, hard)
            except Unanswered as unanswered:
                self.trouble = f"Slurm did not end {attempt.key}: {unanswered}."
                self._unreachable = True
            else:
                self._stopped.add((attempt.key, hard))
        return never_ran

    # --- looking -----------------------------------------------------------------------------------------------------

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        """Return what the folders say of each attempt and, as often as that is due, what Slurm says."""
        self._met = {attempt.key for attempt in attempts}
        self._refused &= self._met
        looks = [self._look(attempt) for attempt in attempts]
        open_looks = [seen for seen in looks if not _says_all(seen) and not _is_away(seen)]
        fresh = bool(open_looks or self._unreachable) and self._pace.is_due(now) and self._ask(now)
        if fresh:
            self._pace.asked(now, self._is_calm(open_looks))
        judged = (self._judged(seen, now, fresh) for seen in looks)
        return [observation for observation in judged if observation is not None]

    def _look(self, attempt: Attempt) -> Observation:
        try:
            seen = look(attempt)
            owner = owner_of(attempt) if seen.seen and attempt.handle is None else None
        except OSError as error:
            if attempt.handle is None:
                return Observation(attempt, False, attempt.state)
            text = f"Its run folder {attempt.folder} does not answer ({error.strerror}): what it does is not known."
            return Observation(attempt, True, attempt.state, text=text)
        job_id = (owner or {}).get("slurm_job_id")
        return replace(seen, handle=_handle(str(job_id), attempt)) if job_id else seen

    def _ask(self, now: datetime) -> bool:
        """Ask Slurm for its jobs; return whether it answered."""
        try:
            jobs = self._cluster.jobs()
        except Unanswered as unanswered:
            self.trouble = (
                f"Slurm does not say which jobs there are: {unanswered}. What runs goes on; it is asked again."
            )
            self._pace.unanswered(now)
            return False
        self.trouble = None
        self._unreachable = False
        known: dict[str, tuple[SlurmJob, ...]] = {}
        for job in jobs:
            if job.name in self._met:
                known[job.name] = (*known.get(job.name, ()), job)
        self._known = known
        self._absent = {key: now for key in self._met if key not in known}
        return True

    def _is_calm(self, looks: Sequence[Observation]) -> bool:
        """Return whether nothing calls for asking again soon."""
        jobs = (self._job_of(seen.attempt) for seen in looks)
        states = tuple((job.name, job.state) if job is not None else None for job in jobs)
        changed, self._states = states != self._states, states
        over = any(state is None or STATES.get(state[1], UNKNOWN).stand is Stand.OVER for state in states)
        return not changed and not over

    _states: tuple[tuple[str, str] | None, ...] = ()

    # --- judging -----------------------------------------------------------------------------------------------------

    def _judged(self, seen: Observation, now: datetime, fresh: bool) -> Observation | None:
        """Return what is to be written down of one attempt, or None when there is no news."""
        if _says_all(seen) or _is_away(seen):
            return seen
        if not fresh:
            return self._between_answers(seen)
        job = self._job_of(seen.attempt)
        if _has_ended(seen):
            return _with_cause(seen, job)
        if job is None:
            return self._missing(seen, now)
        seen = replace(seen, handle=_handle(job.job_id, seen.attempt))
        return self._over(seen, job, now) if state_of(job).stand is Stand.OVER else self._alive(seen, job)

    def _between_answers(self, seen: Observation) -> Observation | None:
        """The files alone: only of what runs is there ever news."""
        if not seen.seen or _has_ended(seen) or seen.attempt.first_missing_at is not None:
            return None
        job = self._job_of(seen.attempt)
        return seen if job is None else self._alive(seen, job)

    def _alive(self, seen: Observation, job: SlurmJob) -> Observation:
        started = seen.seen or seen.attempt.state is AttemptState.RUNNING
        state = state_of(job)
        text = sentence(job)
        if state.stand is Stand.UNKNOWN:
            self._tell_once(f"{job.name} {job.state}", f"Slurm job {job.job_id} ({job.name}): {text}")
        if started and state.stand is Stand.WAITS:
            text = None
        if not started and state.stand is Stand.RUNS:
            text = text or f"It starts on {job.nodes}."
        waits = state.stand is not Stand.UNKNOWN and not (text or "").startswith(CANNOT_START)
        now_is = AttemptState.RUNNING if started else AttemptState.SUBMITTED
        return replace(seen, seen=True, state=now_is, text=text, waits=waits)

    def _missing(self, seen: Observation, now: datetime) -> Observation | None:
        attempt = seen.attempt
        if not seen.seen and attempt.state is not AttemptState.RUNNING:
            return replace(seen, text=None if attempt.handle is None else MISSING, waits=True)
        return self._without_record(seen, now, GONE, TaskState.FAILED, self._grace)

    def _over(self, seen: Observation, job: SlurmJob, now: datetime) -> Observation | None:
        """Slurm says it has ended, and there is no end record: one may be on its way."""
        started = seen.seen or seen.attempt.state is AttemptState.RUNNING
        words = sentence(job) or GONE
        if not started and not job.nodes:
            return _given_up(seen, words, state_of(job).ends_as)
        grace = max(self._grace, LATE_RECORD_GRACE) if job.state in LATE_RECORDS else self._grace
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

    def _job_of(self, attempt: Attempt) -> SlurmJob | None:
        """Return the Slurm job of an attempt: the one that lives, else the one of its handle, else the latest."""
        jobs = self._known.get(attempt.key, ())
        own = slurm_job_id(attempt.handle)
        order = [(state_of(job).stand is not Stand.OVER, job.job_id == own, int(job.job_id)) for job in jobs]
        return jobs[order.index(max(order))] if jobs else None

    def _tell_once(self, what: str, words: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s", words, extra={"action": "slurm"})


MISSING = "Slurm does not know it any more; unless it turns up, it is handed over again."
GONE = "Slurm does not know it any more, and it left no end record."


@dataclass
class _Pace:
    """How often Slurm is asked: soon after something happened, then ever less often."""

    quickest: timedelta
    _wait: timedelta | None = None
    _last: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to ask; a clock that was set back counts as time."""
        return self._last is None or self._wait is None or not timedelta(0) <= now - self._last < self._wait

    def asked(self, now: datetime, calm: bool) -> None:
        """Slurm answered."""
        self._last = now
        self._wait = min(self._wait * 1.5, SLOWEST_POLL) if calm and self._wait else self.quickest

    def unanswered(self, now: datetime) -> None:
        """Slurm did not answer, which may have taken long."""
        self._last = now
        self._wait = min((self._wait or self.quickest) * 2, SLOWEST_POLL)

    def hurry(self) -> None:
        """Something happened."""
        self._wait = self.quickest


def _may_have_started(attempt: Attempt) -> bool:
    """Return whether the start token is taken, or cannot be seen; what was never handed over may have no folder."""
    try:
        return has_started(AttemptFolder(attempt.folder))
    except OSError:
        return attempt.handle is not None


def _close(attempt: Attempt) -> bool:
    """Take the start token, so that no late copy runs; False when something has taken it, or nobody can say."""
    try:
        if work_dir_of(attempt).is_dir():
            attempt.folder.mkdir(parents=True, exist_ok=True)
        return close_to_late_copies(AttemptFolder(attempt.folder))
    except OSError:
        return False


def _given_up(seen: Observation, words: str, ends_as: TaskState) -> Observation | None:
    """Return the end of an attempt that left no end record; None when it starts after all, or has just ended."""
    if not seen.seen and not _close(seen.attempt):
        return None
    return lost(seen, words, ends_as)


def _is_away(seen: Observation) -> bool:
    """Return whether its run folder does not answer: then nothing is concluded."""
    return seen.seen and seen.text is not None


def _says_all(seen: Observation) -> bool:
    """Return whether the end record says how it ended; who stopped it only Slurm knows, unless it was ordered."""
    return _has_ended(seen) and (seen.attempt.stop_at is not None or not _was_stopped(seen))


def _has_ended(seen: Observation) -> bool:
    return seen.seen and seen.state is AttemptState.ENDED


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


def _submit_failed(refused: Refused) -> SubmitFailed:
    said = refused.words.rstrip(".")
    if refused.why is Why.NEVER:
        return SubmitFailed(
            f"Slurm refused it: {said}. What it asks of the cluster has to be changed (image_resources in the job type,"
            " executor in agent.yaml).",
            retry=False,
        )
    ends = {
        Why.UNSURE: "It is looked for, and handed over again if Slurm has not taken it after all.",
        Why.UNREACHABLE: "It is handed over once Slurm answers.",
        Why.FULL: "It is handed over again when there is room.",
    }
    return SubmitFailed(
        f"Slurm did not take it: {said}. {ends[refused.why]}", retry=True, unsure=refused.why is Why.UNSURE
    )


def _handle(job_id: str, attempt: Attempt) -> str:
    return f"{SLURM_HANDLE}:{job_id}:{attempt.key}"
