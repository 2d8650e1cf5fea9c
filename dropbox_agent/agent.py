"""The whole path of a manifest, in one function: ``tick``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from dropbox_agent import deliver, plan, report
from dropbox_agent.errors import AgentError, InboxUnavailable, LedgerUnavailable, SubmitFailed
from dropbox_agent.examine import Examination, Examiner
from dropbox_agent.executors import Executor
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import DueMail, Ledger, Untold
from dropbox_agent.model import Attempt, Drop, Job, Level, Plan, Problem
from dropbox_agent.states import AttemptState

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""How often the folders of running attempts are looked at: a directory look each, no query."""
IDLE_SECONDS = 2.0
"""How long to wait when nothing runs and no event comes."""
DELIVERY_TRIES = 3
"""After how many failures ``run --until-idle`` no longer waits for a status or mail to be written."""


@dataclass
class Agent:
    """Everything one agent works with."""

    ledger: Ledger
    inboxes: Sequence[Inbox]
    examiner: Examiner
    executor: Executor
    pages: report.Pages
    sender: str
    """Who the mails come from."""
    task_context: plan.Context
    rows_alone: bool = False
    """on_error: row. A bad row refuses only itself."""
    furnish: Callable[[Inbox, datetime], None] = lambda inbox, now: None
    """Puts into an inbox what people find there (README, template); called whenever it becomes available."""
    _furnished: set[Path] = field(default_factory=set)
    _said: dict[str, str] = field(default_factory=dict)
    _wake: threading.Event = field(default_factory=threading.Event)

    # --- the path ----------------------------------------------------------------------------------------------------

    def tick(self, now: datetime) -> None:
        """Take every settled manifest one step, hand over what may run, look at what runs, answer.

        ======== ======================================================= ====================================
        step     what it does                                            when it fails
        ======== ======================================================= ====================================
        settle   the inbox yields files that have stopped changing       left alone, seen again next tick
        examine  read, validate, expand, judge; changes nothing          all problems of the file at once
        record   accept or refuse the drop, one transaction              nothing half recorded
        dispatch write the intent, hand the allocation over              found again by its key after a crash
        observe  one look at all that runs                               unknown stays unknown
        answer   status files and mails                                  tried again, with back-off
        ======== ======================================================= ====================================
        """
        for inbox, drop in self.settled(now):
            self.take(inbox, drop, now)
        self.observe(now)
        self.dispatch(now)
        self.answer(now)

    def settled(self, now: datetime) -> Iterator[tuple[Inbox, Drop]]:
        """Yield the drops of every inbox that can be listed; say which cannot."""
        for inbox in self.inboxes:
            try:
                for drop in inbox.settled(now, self.ledger.ledger_id):
                    yield inbox, drop
                self._furnish_once(inbox, now)
            except InboxUnavailable as error:
                inbox.trouble = str(error)
                self._furnished.discard(inbox.path)
            self._say(f"inbox {inbox.path}", inbox.trouble)

    def take(self, inbox: Inbox, drop: Drop, now: datetime) -> None:
        """Examine a drop and record what comes of it. What goes wrong here harms no other drop."""
        try:
            if self.ledger.is_news(drop):
                self.record(drop, self.examiner.examine(drop.spooled, drop.name, now), now)
            inbox.taken(drop)
        except LedgerUnavailable:
            raise
        except Exception:
            logger.exception("Drop %s (%s) could not be taken; it is tried again.", drop.name, drop.sha256[:12])

    def record(self, drop: Drop, examination: Examination, now: datetime) -> None:
        """Accept the drop's jobs, or refuse it, in one transaction."""
        examination = self._without_live_assets(examination)
        jobs = examination.acceptable()
        if jobs and (self.rows_alone or not examination.errors):
            self.ledger.accept(drop, jobs, examination.problems, now)
            logger.info("%s: accepted, %d jobs.", drop.name, len(jobs), extra={"action": "accepted", "drop": drop.name})
            return
        self.ledger.refuse(drop, examination.problems, self._who_is_told(examination), now)
        count = len(examination.errors)
        logger.info("%s: refused, %d errors.", drop.name, count, extra={"action": "refused", "drop": drop.name})

    def dispatch(self, now: datetime) -> None:
        """Hand over what is ready while there is room, intent first."""
        live = self.ledger.live_attempts()
        for attempt in live:
            if self._is_to_be_handed_over(attempt, now):
                self.hand_over(attempt, now)
        room = self.executor.room(len(live))
        for job_id, allocation in self.ledger.ready()[:room]:
            self.hand_over(self.ledger.submitting(job_id, allocation, now), now)

    def _is_to_be_handed_over(self, attempt: Attempt, now: datetime) -> bool:
        """An intent without an answer, or an attempt that was taken and never came to run (a restart in between)."""
        if attempt.state is AttemptState.SUBMITTING:
            return self.ledger.may_try(attempt, now) and self.executor.may_repeat(attempt, now)
        return attempt.first_missing_at is not None and self.executor.may_repeat(attempt, now)

    def hand_over(self, attempt: Attempt, now: datetime) -> None:
        """Give an attempt to the executor and write down its handle. A second copy of it would do nothing."""
        job = self.ledger.job(attempt.job_id)
        assert job is not None
        try:
            settings = {
                task.key: plan.task_settings(job, task, attempt.key, self.task_context) for task in attempt.tasks
            }
            handle = self.executor.submit(attempt, settings)
        except SubmitFailed as error:
            self._not_taken(attempt, error, now)
            return
        self.ledger.submitted(attempt, handle, now)
        logger.info(
            "%s: %s handed over as %s.", attempt.job_id, ", ".join(task.key for task in attempt.tasks), handle,
            extra={"action": "submitted", "job": attempt.job_id, "attempt": attempt.key},
        )  # fmt: skip

    def observe(self, now: datetime) -> None:
        """Look once at all that may run, and write down what was seen."""
        live = self.ledger.live_attempts()
        if live:
            self.ledger.observed(self.executor.observe(live, now), now)
            self._say("executor", self.executor.trouble)

    def answer(self, now: datetime) -> None:
        """Write the status files and mails that are due."""
        for untold in self.ledger.untold(now):
            self.tell(untold, now)
        for due in self.ledger.due_mails(now):
            self.mail(due, now)

    def tell(self, untold: Untold, now: datetime) -> None:
        """Write the status of one drop beside its manifest; an older version of a manifest is not told any more."""
        if not self.ledger.is_latest(untold.drop_id):
            self.ledger.told(untold, now)
            return
        standing = self.ledger.standing(untold.drop_id)
        try:
            deliver.status(standing.inbox, standing.name, report.render(standing, now, self.pages))
        except AgentError as error:
            self.ledger.not_told(untold, str(error), now)
            self._say(f"status of {standing.name}", str(error))
            return
        self.ledger.told(untold, now)
        self._say(f"status of {standing.name}", None)

    def mail(self, due: DueMail, now: datetime) -> None:
        """Send one mail."""
        standing = self.ledger.standing(due.mail.drop_id)
        try:
            text = report.mail(due.mail, standing, self.pages)
            deliver.email(standing.inbox, standing.name, due.mail, text, self.sender, standing.sha256)
        except AgentError as error:
            self.ledger.not_mailed(due.mail, str(error), now)
            self._say(f"mail {due.mail.mail_id}", str(error))
            return
        self.ledger.mailed(due.mail, now)
        self._say(f"mail {due.mail.mail_id}", None)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self, until_idle: bool = False, each_tick: Callable[[], None] | None = None) -> None:
        """Tick until ``stop`` is called, or until every manifest is answered and every job final."""
        stops = [inbox.listen(self._wake.set) for inbox in self.inboxes if inbox.path.is_dir()]
        try:
            while not self._stopping:
                self._wake.clear()
                now = datetime.now(timezone.utc)
                self._tick_or_say(now)
                if each_tick is not None:
                    each_tick()
                if until_idle and self.is_idle(now):
                    return
                if not self._stopping:
                    self._wake.wait(self._pause())
        finally:
            for stop in stops:
                stop()

    def stop(self) -> None:
        """End ``run`` after the present tick; what runs goes on and is found again at the next start."""
        self._stopping = True
        self._wake.set()

    _stopping: bool = False

    def is_idle(self, now: datetime) -> bool:
        """Return whether nothing is left to do but to wait for new manifests.

        A file that cannot settle before somebody acts, and an answer that could not be written three times, are not
        waited for.
        """
        if any(inbox.trouble is None and inbox.last_complete_scan is None for inbox in self.inboxes):
            return False
        if any(not waiting.may_wait_long for inbox in self.inboxes for waiting in inbox.waiting()):
            return False
        return self.ledger.is_idle(DELIVERY_TRIES)

    def notes(self) -> list[str]:
        """Return what a person who watches should know: files that wait, files left alone, troubles."""
        waiting = [f"{one.name}: {one.reason}" for inbox in self.inboxes for one in inbox.waiting()]
        left = [f"{name}: {reason}" for inbox in self.inboxes for name, reason in inbox.left_alone()]
        return [*self.trouble(), *waiting, *left]

    def trouble(self) -> list[str]:
        """Return what an operator has to act on, a sentence each."""
        inboxes = [inbox.trouble for inbox in self.inboxes if inbox.trouble]
        executor = [self.executor.trouble] if self.executor.trouble else []
        return [*inboxes, *executor, *(f"{name}: {error}" for name, error in self.ledger.undelivered())]

    # --- details -----------------------------------------------------------------------------------------------------

    def _tick_or_say(self, now: datetime) -> None:
        try:
            self.tick(now)
            self._say("ledger", None)
        except LedgerUnavailable as error:
            self._say("ledger", str(error))

    def _pause(self) -> float:
        busy = self.ledger.live_attempts() or any(inbox.waiting() for inbox in self.inboxes)
        return POLL_SECONDS if busy or not self.ledger.is_idle(DELIVERY_TRIES) else IDLE_SECONDS

    def _furnish_once(self, inbox: Inbox, now: datetime) -> None:
        if inbox.path in self._furnished:
            return
        self._furnished.add(inbox.path)
        try:
            self.furnish(inbox, now)
            self._say(f"README and template of {inbox.path}", None)
        except AgentError as error:
            self._say(f"README and template of {inbox.path}", str(error))

    def _not_taken(self, attempt: Attempt, error: SubmitFailed, now: datetime) -> None:
        if error.retry:
            self.ledger.not_submitted(attempt, str(error), now, unsure=error.unsure)
        else:
            self.ledger.gave_up(attempt, str(error), now)
        logger.error("%s: %s", attempt.job_id, error, extra={"action": "not_submitted", "attempt": attempt.key})

    def _without_live_assets(self, examination: Examination) -> Examination:
        """Add an error to each job whose asset another job uploads now (decision: one live job per asset)."""
        problems = [problem for job, made in examination.jobs if (problem := self._live_asset(job, made)) is not None]
        return Examination(examination.rows, examination.jobs, (*problems, *examination.problems))

    def _live_asset(self, job: Job, made: Plan) -> Problem | None:
        live = self.ledger.live_job_at(made.location)
        if live is None:
            return None
        return Problem(
            Level.ERROR,
            job.row.place,
            f"{job.s3_prefix} is being uploaded now, for {live[0]} (job {live[1]}). Wait until it has ended.",
            found=job.s3_prefix,
            outside=True,
        )

    def _who_is_told(self, examination: Examination) -> tuple[str, ...]:
        default = self.examiner.default_email
        return examination.addresses() or ((default,) if default else ())

    def _say(self, what: str, trouble: str | None) -> None:
        """Log a trouble once when it begins, and once when it is over."""
        before = self._said.get(what)
        if trouble is None and before is not None:
            del self._said[what]
            logger.info("%s: all right again.", what)
        elif trouble is not None and trouble != before:
            self._said[what] = trouble
            logger.error("%s: %s", what, trouble, extra={"action": "trouble"})


def database(state_dir: Path) -> Path:
    """Return where the ledger of an agent lies."""
    return state_dir / "ledger.sqlite"
