"""Hand attempts to Slurm, and say what becomes of them.

The files in an attempt's folder decide: its start token and its end records. Slurm is asked what no file says: why an
attempt waits, and whether one that has left no end record can still leave one. A job is known by its name, which is the
attempt's key; a bare id is never believed, because a controller that lost its memory hands ids out again.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import elements
from dropbox_agent.executors.folder import (
    CREDENTIALS,
    Node,
    has_started,
    is_gone,
    look,
    owner_of,
    prepare,
    resources_of,
    words_of_away,
)
from dropbox_agent.executors.slurm import judging
from dropbox_agent.executors.slurm.jobs import Cluster, JobRequest, Refused, SlurmJob, Unanswered, Why
from dropbox_agent.executors.slurm.line import Line, is_answered
from dropbox_agent.executors.slurm.pace import Pace
from dropbox_agent.executors.slurm.states import STATES, UNKNOWN, Stand, sentence, state_of
from dropbox_agent.executors.slurm.witness import Witness, explained, with_facts
from dropbox_agent.model import Attempt, AttemptFolder, Observation, TaskSettings, slurm_job_id
from dropbox_agent.states import GOOD_ENDS, AttemptState, Cause

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""How many jobs are submitted in one tick; the manifests that came meanwhile are then looked at."""
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SLURM", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL", CREDENTIALS,
)  # fmt: skip
"""What a task sees of the environment that Slurm gives its job."""
BEATS_IN_GRACE = 4
PATIENCE_SECONDS = 1.0
"""How long a tick waits for an answer of the cluster; what comes later is taken at a later tick."""


SURVIVED = "The try before, of which Slurm had lost sight, ended well after all; this one was not needed."
SHORTEST_MEMORY = timedelta(minutes=2)
"""How long Slurm at least still knows a job that has ended (MinJobAge: 5 minutes, unless a site sets it)."""


@dataclass(frozen=True)
class Asked:
    """What a site asks for each job, unless its task asks for something else."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None

    def resources(self) -> dict[str, Any]:
        """Return them in the words of ``image_resources``."""
        given = {"partition": self.partition, "account": self.account, "qos": self.qos}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class _Asked:
    """A job the cluster was asked to take, and has not answered yet."""

    attempt: Attempt
    answer: Future[str]
    first_time: bool
    """Nobody can have asked for it before."""


@dataclass(frozen=True)
class _Poll:
    """A question for all jobs, and whom its answer is about."""

    answer: Future[list[SlurmJob]]
    keys: set[str]
    at: datetime


class SlurmExecutor:
    """One Slurm job for each attempt. The cluster has a line of its own, so that no call holds a tick up for long."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        slots: int,
        python: str,
        asked: Asked | None = None,
        poll_seconds: float = 2.0,
        grace_seconds: float = 60.0,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.trouble: str | None = None
        self._cluster = cluster
        self._line = Line()
        self._patience = patience_seconds
        self._witness = Witness(cluster, self._line, patience_seconds)
        self._slots = slots
        # Often enough for its silence to be believed after the grace.
        self._node = Node(python, inherits=INHERITED, heartbeat_seconds=grace_seconds / BEATS_IN_GRACE)
        self._asked = asked or Asked()
        self._judge = judging.Judge(timedelta(seconds=grace_seconds))
        self._pace = Pace(timedelta(seconds=poll_seconds))
        self._known: dict[str, tuple[SlurmJob, ...]] = {}
        """The jobs of the last answer, by name."""
        self._ended_by: dict[str, datetime] = {}
        """When the end record of an attempt was first seen."""
        self._answered_at: datetime | None = None
        self._forgotten: set[str] = set()
        """Attempts that lived by an answer or were taken, and that the next answer, soon after, did not know at all."""
        self._absent: dict[str, datetime] = {}
        """Which attempts the last answer did not have, and when that was asked."""
        self._refused: set[str] = set()
        """Attempts that Slurm is known not to have: each time they were asked for, it said no."""
        self._met: set[str] = set()
        """Attempts that were found in the ledger: somebody may have asked for them before."""
        self._taken_at: dict[str, datetime | None] = {}
        """When Slurm took each of them, where it has said so."""
        self._under_way: dict[str, _Asked] = {}
        self._poll: _Poll | None = None
        self._unreachable = False
        self._told: set[str] = set()
        self._ending: dict[tuple[str, bool], Future[None]] = {}
        self._stopped: set[tuple[str, bool]] = set()

    # --- handing over ------------------------------------------------------------------------------------------------

    def room(self, live: int) -> int:
        """Return how many more jobs may be submitted now; none while nobody answers."""
        return 0 if self._unreachable or self._under_way else max(0, min(AT_ONCE, self._slots - live))

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str | None:
        """Submit the attempt's wrapper as a Slurm job; return ``slurm:id:name``, or None: the answer comes later."""
        first_time = attempt.key not in self._met
        if self._unreachable or self._under_way:
            self._note_refusal(attempt, Why.UNREACHABLE, first_time)
            raise SubmitFailed("Slurm does not answer; it is tried again once it does.", retry=True)
        request = self._request(attempt, settings)
        self._forget(attempt)
        asked = _Asked(attempt, self._line.ask(lambda: self._cluster.submit(request)), first_time)
        if not is_answered(asked.answer, self._patience):
            self._under_way[attempt.key] = asked
            return None
        return self._answer(asked)

    def answered(self) -> list[tuple[Attempt, str | Exception]]:
        """Return the attempts whose ``submit`` returned None and that have an answer now: a handle, or what failed."""
        done = [asked for asked in self._under_way.values() if asked.answer.done()]
        for asked in done:
            del self._under_way[asked.attempt.key]
        return [(asked.attempt, self._answer_or_error(asked)) for asked in done]

    def _answer_or_error(self, asked: _Asked) -> str | Exception:
        try:
            return self._answer(asked)
        except Exception as error:
            return error

    def _answer(self, asked: _Asked) -> str:
        try:
            job_id = asked.answer.result()
        except Refused as refused:
            self._note_refusal(asked.attempt, refused.why, asked.first_time)
            if refused.why is Why.NEVER and not judging.close(asked.attempt):
                refused = Refused(Why.UNSURE, refused.words)
            raise _submit_failed(refused) from refused
        self._forget(asked.attempt)
        self._pace.hurry()
        return judging.handle_of(job_id, asked.attempt)

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Return whether Slurm has no job of this attempt, and none of it ever ran.

        Slurm may take a job some time after sbatch gave up, and forget one that it took. So an attempt has to be
        missing for a while, in answers at its beginning and its end; since when it is missing is in the ledger.
        """
        if self._unreachable or self._under_way or attempt.state is AttemptState.RUNNING:
            return False
        if _may_have_started(attempt):
            return False
        if attempt.key in self._refused:
            return True
        if any(self._witness.about(attempt, now)):
            return False
        absent, since = self._absent.get(attempt.key), attempt.first_missing_at
        return absent is not None and since is not None and absent - since >= self._judge.grace

    def _request(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> JobRequest:
        folder = prepare(attempt, settings, self._node)
        command = shlex.join([self._node.python, "-I", str(folder.wrapper), str(folder.allocation)])
        element = ' "$SLURM_ARRAY_TASK_ID"' if elements.array_of(attempt) else ""
        return JobRequest(
            name=attempt.key,
            comment=f"{attempt.key} {attempt.job_id} {' '.join(task.key for task in attempt.tasks)}",
            script=f"#!/bin/sh\nexec {command}{element}\n",
            log=folder.wrapper_log,
            resources={**self._asked.resources(), **resources_of(attempt)},
        )

    def _note_refusal(self, attempt: Attempt, why: Why, first_time: bool) -> None:
        self._unreachable = self._unreachable or why is Why.UNREACHABLE
        self._forget(attempt)
        if why is not Why.UNSURE and (first_time or attempt.key in self._refused):
            self._refused.add(attempt.key)
        else:
            self._refused.discard(attempt.key)

    def _forget(self, attempt: Attempt) -> None:
        """What was known of an attempt is no longer so once it is asked for again."""
        self._absent.pop(attempt.key, None)
        self._known.pop(attempt.key, None)
        self._forgotten.discard(attempt.key)
        self._witness.forget(attempt.key)
        if self._poll is not None:
            self._poll.keys.discard(attempt.key)

    def stop(self, attempt: Attempt, hard: bool) -> bool:
        """Take the start token of an attempt that has not started, and end its Slurm jobs.

        A job that is not reached then finds the token taken, and ends by itself.
        """
        never_ran = judging.close(attempt)
        order = (attempt.key, hard)
        if order not in self._stopped and not self._unreachable:
            self._end(order)
        return never_ran

    def _end(self, order: tuple[str, bool]) -> None:
        patience = 0.0
        if order not in self._ending:
            self._ending[order] = self._line.ask(lambda: self._cluster.cancel(*order))
            patience = self._patience
        answer = self._ending[order]
        if not is_answered(answer, patience):
            return
        del self._ending[order]
        try:
            answer.result()
        except Unanswered as unanswered:
            self.trouble = f"Slurm did not end {order[0]}: {unanswered}."
            self._unreachable = True
        else:
            self._stopped.add(order)

    # --- looking -----------------------------------------------------------------------------------------------------

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        """Return what the folders say of each attempt and, as often as that is due, what Slurm says."""
        self._met = {attempt.key for attempt in attempts}
        self._taken_at = {attempt.key: attempt.submitted_at for attempt in attempts}
        self._refused &= self._met
        self._witness.forget_all_but(self._met)
        looks = [self._look(attempt) for attempt in attempts]
        open_looks = [seen for seen in looks if not judging.says_all(seen) and not judging.is_away(seen)]
        poll = self._polled(bool(open_looks or self._unreachable), now)
        if poll is not None:
            self._pace.asked(now, self._is_calm(open_looks))
        for seen in looks:
            self._end_siblings(seen)
        judged = [self._judged(seen, now, poll) for seen in looks]
        self._ended_by = {
            seen.attempt.key: self._ended_by.get(seen.attempt.key, now) for seen in looks if judging.has_ended(seen)
        }
        return [observation for observation in judged if observation is not None]

    def _end_siblings(self, seen: Observation) -> None:
        """One element that ended badly ends the others of its array, also one that Slurm killed without a record."""
        if elements.array_of(seen.attempt) is None or judging.has_ended(seen):
            return
        killed = any(judging.badness(job) for job in self._known.get(seen.attempt.key, ()))
        if killed or elements.are_failing(seen):
            self.stop(seen.attempt, hard=False)

    def _judged(self, seen: Observation, now: datetime, poll: _Poll | None) -> Observation | None:
        job = self._job_of(seen.attempt)
        if poll is None or seen.attempt.key not in poll.keys:
            return self._judge.between_answers(seen, job)
        if job is not None and state_of(job).stand is Stand.UNKNOWN:
            self._tell_once(f"{job.name} {job.state}", f"Slurm job {job.job_id} ({job.name}): {sentence(job)}")
        record = None
        if not judging.says_all(seen) and not judging.is_away(seen) and _is_over(job):
            record, awaited = self._witness.about(seen.attempt, now)
            if awaited:
                return None
        forgotten = seen.attempt.key in self._forgotten
        ended_by = self._ended_by.get(seen.attempt.key)
        late = ended_by is not None and poll.at > ended_by
        judged = self._judge.after_answer(seen, explained(job, record), now, forgotten=forgotten, late=late)
        if judged is not None and judged.cause is Cause.PREEMPTED and not _is_over(job):
            self._end((seen.attempt.key, False))  # the copy that Slurm has put back would find the start token taken
        return with_facts(judged, record)

    def _look(self, attempt: Attempt) -> Observation:
        try:
            if (survived := self._survived(attempt)) is not None:
                return survived
            seen = look(attempt)
            owner = owner_of(attempt) if seen.seen and attempt.handle is None else None
        except OSError as error:
            if attempt.handle is None:
                return Observation(attempt, False, attempt.state)
            is_there = not is_gone(attempt, error)
            return Observation(attempt, is_there, attempt.state, text=words_of_away(attempt, error))
        job_id = (owner or {}).get("slurm_job_id")
        return replace(seen, handle=judging.handle_of(str(job_id), attempt)) if job_id else seen

    def _survived(self, attempt: Attempt) -> Observation | None:
        """Return the end of an attempt that is not needed: one whose node had failed ended well after all.

        Raises OSError when a folder does not answer.
        """
        if not attempt.survivors or has_started(AttemptFolder(attempt.folder)):
            return None
        keys = {task.key for task in attempt.tasks}
        for folder in attempt.survivors:
            before = look(replace(attempt, folder=folder))
            good = {task.key for task in before.tasks if task.state in GOOD_ENDS}
            if judging.has_ended(before) and keys <= good and judging.close(attempt):
                self._end((attempt.key, False))
                tasks = tuple(task for task in before.tasks if task.key in keys)
                return Observation(attempt, True, AttemptState.ENDED, tasks, text=SURVIVED, facts=before.facts)
        return None

    def _polled(self, wanted: bool, now: datetime) -> _Poll | None:
        """Ask Slurm for its jobs when that is due; return the poll that was answered since the last look, or None."""
        patience = 0.0
        if self._poll is None and wanted and self._pace.is_due(now):
            self._poll = _Poll(self._line.ask(self._cluster.jobs), set(self._met), now)
            patience = self._patience
        if self._poll is None or not is_answered(self._poll.answer, patience):
            return None
        poll, self._poll = self._poll, None
        try:
            self._learn(poll, poll.answer.result())
        except Unanswered as unanswered:
            self.trouble = (
                f"Slurm does not say which jobs there are: {unanswered}. What runs goes on; it is asked again."
            )
            self._pace.unanswered(now)
            return None
        return poll

    def _learn(self, poll: _Poll, jobs: Sequence[SlurmJob]) -> None:
        self.trouble = None
        self._unreachable = False
        known: dict[str, tuple[SlurmJob, ...]] = {}
        for job in jobs:
            if job.name in poll.keys:
                known[job.name] = (*known.get(job.name, ()), job)
        self._note_forgotten(poll, known)
        self._known = known
        self._absent = {key: poll.at for key in poll.keys & self._met if key not in known}

    def _note_forgotten(self, poll: _Poll, known: Mapping[str, Sequence[SlurmJob]]) -> None:
        """A controller that has its memory still knows for a while what has ended."""
        last, self._answered_at = self._answered_at, poll.at
        lived = {key for key, at in self._taken_at.items() if _is_remembered(at, poll.at)}
        if _is_remembered(last, poll.at):
            lived |= {key for key, jobs in self._known.items() if any(not _is_over(job) for job in jobs)}
        self._forgotten = (self._forgotten | lived & poll.keys) & self._met - set(known)

    def _is_calm(self, looks: Sequence[Observation]) -> bool:
        """Return whether nothing calls for asking again soon."""
        jobs = (self._job_of(seen.attempt) for seen in looks)
        states = tuple((job.name, job.state) if job is not None else None for job in jobs)
        changed, self._states = states != self._states, states
        over = any(state is None or STATES.get(state[1], UNKNOWN).stand is Stand.OVER for state in states)
        return not changed and not over

    _states: tuple[tuple[str, str] | None, ...] = ()

    def _job_of(self, attempt: Attempt) -> SlurmJob | None:
        """Return the Slurm job of an attempt: the one that lives, else the one of its handle, else the latest.

        The elements of an array are jobs of one id: of those that are over, the one that ended worst.
        """
        jobs = self._known.get(attempt.key, ())
        own = slurm_job_id(attempt.handle)
        order = [
            (state_of(job).stand is not Stand.OVER, job.job_id == own, int(job.job_id), judging.badness(job))
            for job in jobs
        ]
        return jobs[order.index(max(order))] if jobs else None

    def _tell_once(self, what: str, words: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s", words, extra={"action": "slurm"})


def _is_remembered(at: datetime | None, now: datetime) -> bool:
    """Return whether Slurm must still know now what lived then, whatever became of it."""
    return at is not None and timedelta(0) <= now - at < SHORTEST_MEMORY


def _is_over(job: SlurmJob | None) -> bool:
    """Return whether the controller has said all it knows."""
    return job is None or state_of(job).stand is Stand.OVER


def _may_have_started(attempt: Attempt) -> bool:
    """Return whether the start token is taken, or cannot be seen; what was never handed over may have no folder."""
    try:
        return has_started(AttemptFolder(attempt.folder))
    except OSError:
        return attempt.handle is not None


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
