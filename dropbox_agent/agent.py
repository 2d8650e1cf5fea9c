"""The whole path of a manifest, in one function: ``tick``."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TypeVar

from dropbox_agent import deliver, manifest, obey, plan, report, rewriting, settling
from dropbox_agent.errors import AgentError, InboxUnavailable, LedgerUnavailable, SubmitFailed
from dropbox_agent.examine import Examination, Examiner, with_claims
from dropbox_agent.executors import Executor
from dropbox_agent.inbox import Inbox, beside
from dropbox_agent.ledger import DueMail, Ledger, Untold
from dropbox_agent.model import Attempt, Drop, Level, Observation, Place, Problem, RunFolder, Standing
from dropbox_agent.patience import Places
from dropbox_agent.retention import Retention
from dropbox_agent.states import AttemptState, DropState, JobState
from dropbox_agent.wording import counted

T = TypeVar("T")
logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""How often the folders of running attempts are looked at: a directory look each, no query."""
SHOWN_FILES = 10
"""How many files that are left alone are named at once."""
LAST_MAILS_SECONDS = 5.0
"""How long the agent waits at its end for a mail server that has not answered."""
IDLE_SECONDS = 2.0
"""How long to wait when nothing runs and no event comes."""
TRIES = 3
"""After how many failures of one act ``run --until-idle`` no longer waits for it, and a fault of ours is told."""
NEWS_PER_TICK = 10
"""How many new manifests of one inbox are examined before what runs is looked at again."""


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
    orders_folder: Path
    """Where orders to cancel or to run again are written down, on the agent's own disk."""
    post: deliver.Post = field(default_factory=deliver.FilePost)
    """Where the mails are handed in."""
    wave: int = 50
    """How many jobs of one manifest are worked on at a time; the others wait for their turn."""
    rows_alone: bool = False
    """on_error: row. A bad row refuses only itself."""
    on_rewrite: rewriting.Policy = "refuse"
    """What becomes of a manifest that is changed while its jobs run."""
    annotate: Callable[[Path, str, Sequence[Problem]], bytes | None] = manifest.annotated
    """Makes the annotated copy of a refused table; None where there is none to be made."""
    furnish: Callable[[Inbox, datetime], None] = lambda inbox, now: None
    """Puts into an inbox what people find there (README, template); called whenever it becomes available."""
    places: Places = field(default_factory=lambda: Places(None))
    """How long the shares are waited for."""
    retention: Retention | None = None
    _telling: settling.Telling = field(default_factory=settling.Telling)
    _furnished: set[Path] = field(default_factory=set)
    _bound: dict[Path, str] = field(default_factory=dict)
    """Inbox -> the id that its marker has."""
    _copies: dict[int, str | None] = field(default_factory=dict)
    """Refused drops -> the name of their annotated copy, once that was tried."""
    _said: dict[str, str] = field(default_factory=dict)
    _faults: set[str] = field(default_factory=set)
    """What nobody thought of, as it was logged."""
    _not_handed_over: dict[str, int] = field(default_factory=dict)
    """Key of an attempt -> how many times handing it over went wrong in a way that nobody thought of."""
    _not_examined: dict[Path, int] = field(default_factory=dict)
    """File -> how many times examining it went wrong without an answer."""
    # Of all queues and events only this one may be used by a signal handler, whatever the main thread is in.
    _wake: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)

    # --- the path ----------------------------------------------------------------------------------------------------

    def tick(self, now: datetime) -> None:
        """Take every settled manifest one step, hand over what may run, look at what runs, answer.

        ======== ======================================================= ====================================
        step     what it does                                            when it fails
        ======== ======================================================= ====================================
        settle   the inbox yields files that have stopped changing       left alone, seen again next tick
        examine  read, validate, expand, judge; changes nothing          all problems of the file at once
        record   accept or refuse the drop, one transaction              nothing half recorded
        obey     orders to cancel or to run again                        refused in words
        dispatch write the intent, hand the allocation over              found again by its key after a crash
        observe  one look at all that runs                               unknown stays unknown
        answer   status files and mails                                  tried again, with back-off
        ======== ======================================================= ====================================
        """
        for inbox in self.inboxes:
            with self._alone(f"taking in from {inbox.path}"):
                self.take_in(inbox, now)
        with self._alone("carrying out orders"):
            self.obey(now)
        self.hear(now)
        self.observe(now)
        with self._alone("handing over"):
            self.dispatch(now)
        self.answer(now)
        if self.retention is not None:
            with self._alone("putting away what is over"):
                self.retention.put_away(self.ledger, self.inboxes, self.beside, now)

    def take_in(self, inbox: Inbox, now: datetime) -> None:
        """Take the drops of one inbox, not too many at a time; say when it cannot be listed."""
        news = 0
        try:
            bind = partial(self._bind, inbox)
            for drop in inbox.settled(now, self.ledger.ledger_id, bind, self.ledger.is_news):
                news += self.take(inbox, drop, now)
                if news >= NEWS_PER_TICK:
                    break
        except InboxUnavailable as error:
            inbox.trouble = str(error)
        self._say(f"inbox {inbox.path}", inbox.trouble)
        self._say(f"left alone in {inbox.path}", self._left_alone(inbox), logging.WARNING)
        self._furnish_once(inbox, now)
        if inbox.trouble is None:
            self._telling.tell(inbox, self.ledger, self._write_settling, self.beside, now)
            if left := inbox.left_over(now):
                with suppress(AgentError):
                    self.beside(inbox.path, lambda: deliver.remove_temporary(inbox.path, left))

    def _write_settling(self, standing: Standing, now: datetime) -> None:
        told = report.render(standing, now, self.pages)
        self.beside(standing.inbox, lambda: deliver.status(standing.inbox, standing.name, told))

    def _bind(self, inbox: Inbox, inbox_id: str) -> None:
        if self._bound.get(inbox.path) != inbox_id:
            self.ledger.bind(inbox_id, inbox.path, [one.path for one in self.inboxes])
            self._bound[inbox.path] = inbox_id

    def take(self, inbox: Inbox, drop: Drop, now: datetime) -> bool:
        """Examine a drop and record what comes of it; return whether it was news."""
        file, news = inbox.path / drop.name, self.ledger.is_news(drop)
        if news and (waits := rewriting.holds_back(self.on_rewrite, drop, self.ledger, now)):
            inbox.not_taken(drop, waits[0], now, needs_somebody=waits[1])
            return False
        try:
            if news:
                self.record(drop, self.examiner.examine(drop.spooled, drop.name, now), now)
        except LedgerUnavailable:
            raise
        except Exception as error:
            tries = self._not_examined[file] = self._not_examined.get(file, 0) + 1
            trouble = self._in_words(error)
            self._say(f"examining {file}", trouble)
            if tries < TRIES or isinstance(error, AgentError):
                inbox.not_taken(drop, trouble, now, tries >= TRIES)
                return True
            self.record(drop, _examined_in_vain(drop, error), now)
        if not news:
            self._tell_where_nothing_stands(inbox, drop, now)
        inbox.taken(drop)
        self._not_examined.pop(file, None)
        self._say(f"examining {file}", None)
        return news

    def _tell_where_nothing_stands(self, inbox: Inbox, drop: Drop, now: datetime) -> None:
        """A manifest that is brought back (from an archive, without its status) is answered, though it is no news."""
        latest = self.ledger.latest(inbox.path, drop.name)
        if latest is not None:
            rewriting.release(latest, self.ledger, now)
            status = inbox.path / deliver.Names(drop.name).status_json
            if not self.places.ask(inbox.path, lambda: os.path.lexists(status)):
                self.ledger.tell_again(latest.drop_id, now)

    def record(self, drop: Drop, examination: Examination, now: datetime) -> None:
        """Accept the drop's jobs, or refuse it, in one transaction."""
        examination = with_claims(examination, self.ledger)
        jobs = examination.acceptable()
        if jobs and (self.rows_alone or not examination.errors):
            self.ledger.accept(drop, jobs, examination.problems, now)
            count = counted(len(jobs), "job")
            logger.info("%s: accepted, %s.", drop.name, count, extra={"action": "accepted", "drop": drop.name})
            return
        self.ledger.refuse(drop, examination.problems, self._who_is_told(examination), now)
        count = counted(len(examination.errors), "error")
        logger.info("%s: refused, %s.", drop.name, count, extra={"action": "refused", "drop": drop.name})

    def obey(self, now: datetime) -> None:
        """Carry out what people ordered: to cancel a job, or to run it again."""
        for inbox in self.inboxes:
            for file, trouble in obey.write_down(inbox, self.orders_folder, now):
                self._say(f"order {file}", trouble)
        obey.carry_out(self.orders_folder, self.ledger, self.inboxes, now)
        obey.end_what_is_cancelled(self.ledger, self.executor, now)

    def dispatch(self, now: datetime) -> None:
        """Hand over what is ready while there is room, intent first."""
        live = self.ledger.live_attempts()
        for attempt in live:
            if self._is_to_be_handed_over(attempt, now):
                self.hand_over(attempt, now)
        room = self.executor.room(len(live))
        ready = self.ledger.ready(self.wave) if room else []
        for number, (job_id, allocation) in enumerate(ready[:room]):
            if not self.executor.room(len(live) + number):
                break  # it is busy with what it was given, or does not answer
            with self._alone(f"starting {job_id}"):
                self.hand_over(self.ledger.submitting(job_id, allocation, now), now)

    def _is_to_be_handed_over(self, attempt: Attempt, now: datetime) -> bool:
        """An intent without an answer, or an attempt that was taken and never came to run (a restart in between)."""
        if attempt.stop_at is not None:
            return False
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
        except Exception as error:
            self._handed_over(attempt, error, now)
            return
        if handle is not None:
            self._handed_over(attempt, handle, now)

    def _after_a_fault(self, attempt: Attempt, error: Exception, now: datetime) -> SubmitFailed:
        """Return what to make of a fault that nobody thought of: the attempt may have been taken all the same.

        It is tried again under the same key. Only one that can be kept from ever starting is given up in the end.
        """
        tries = self._not_handed_over[attempt.key] = self._not_handed_over.get(attempt.key, 0) + 1
        is_over = tries >= TRIES and self.executor.may_repeat(attempt, now) and self.executor.stop(attempt, hard=False)
        return SubmitFailed(self._in_words(error), retry=not is_over, unsure=True)

    def hear(self, now: datetime) -> None:
        """Write down what executors answered late."""
        for attempt, answer in self.executor.answered():
            with self._alone(f"handing over {attempt.key}"):
                found = attempt.handle is None and self.ledger.attempt(attempt.key).handle is not None
                if not (found and isinstance(answer, SubmitFailed)):
                    self._handed_over(attempt, answer, now)

    def _handed_over(self, attempt: Attempt, answer: str | Exception, now: datetime) -> None:
        if isinstance(answer, SubmitFailed):
            self._not_taken(attempt, answer, now)
        elif isinstance(answer, Exception):
            self._not_taken(attempt, self._after_a_fault(attempt, answer, now), now)
        else:
            self._not_handed_over.pop(attempt.key, None)
            self.ledger.submitted(attempt, answer, now)
            logger.info(
                "%s: %s handed over as %s.", attempt.job_id, ", ".join(task.key for task in attempt.tasks), answer,
                extra={"action": "submitted", "job": attempt.job_id, "attempt": attempt.key},
            )  # fmt: skip

    def observe(self, now: datetime) -> None:
        """Look once at all that may run, and write down what was seen."""
        with self._alone("looking at what runs"):
            observations = [obey.as_ordered(one) for one in self.executor.observe(self.ledger.live_attempts(), now)]
            self._say("executor", self.executor.trouble)
            for one in observations:
                self._keep_inventory(one, now)
            self._record(observations, now)
            for one in observations:
                self._say_of(one)
            self._say_what_ended(observations)

    def _keep_inventory(self, seen: Observation, now: datetime) -> None:
        """Keep what an upload left, before its end is recorded: what has ended is not looked at again."""
        job_id = seen.attempt.job_id
        said = next((one.inventory_sha256 for one in seen.tasks if one.inventory_sha256), None)
        if said is None or self.ledger.has_inventory(job_id, said):
            return
        file = RunFolder(seen.attempt.folder.parent.parent).inventory
        with self._alone(f"keeping the inventory of {job_id}"):
            content = self.places.ask(file, file.read_bytes)
            if hashlib.sha256(content).hexdigest() != said:
                raise AgentError(f"{file} is not the inventory that the upload left; the one beside the data stays.")
            self.ledger.keep_inventory(job_id, content, now)

    def _record(self, observations: Sequence[Observation], now: datetime) -> None:
        """All at once; one by one when one of them cannot be recorded, so that it stops no other."""
        try:
            self.ledger.observed(observations, now)
        except LedgerUnavailable:
            raise
        except Exception:
            for one in observations:
                with self._alone(f"recording attempt {one.attempt.key}"):
                    self.ledger.observed([one], now)

    def _say_of(self, one: Observation) -> None:
        what = f"{one.attempt.job_id}, attempt {one.attempt.key}"
        self._say(what, None if one.waits else one.text, logging.WARNING)
        if one.state in (AttemptState.ENDED, AttemptState.LOST):
            self._said.pop(what, None)

    def _say_what_ended(self, observations: Sequence[Observation]) -> None:
        over = (AttemptState.ENDED, AttemptState.LOST)
        for job_id in dict.fromkeys(one.attempt.job_id for one in observations if one.state in over):
            job = self.ledger.job(job_id)
            if job is not None and job.ended is not None:
                level = logging.WARNING if job.state is JobState.FAILED else logging.INFO
                logger.log(level, "%s: %s.", job_id, job.state.value, extra={"action": "ended", "job": job_id})

    def answer(self, now: datetime) -> None:
        """Write the status files and mails that are due."""
        for untold in self.ledger.untold(now):
            self.tell(untold, now)
        self.mails(now)

    def tell(self, untold: Untold, now: datetime) -> None:
        """Write the status of one drop beside its manifest; an older version of a manifest is not told any more."""
        if not self.ledger.is_latest(untold.drop_id):
            self.ledger.told(untold, now)
            return
        standing = self.ledger.standing(untold.drop_id)
        try:
            told = report.render(standing, now, self.pages, self._copy_beside(standing))
            self.beside(standing.inbox, lambda: deliver.status(standing.inbox, standing.name, told))
        except Exception as error:
            trouble = self._in_words(error)
            self.ledger.not_told(untold, trouble, now)
            self._say(f"status of {standing.name}", trouble)
            return
        self._take_copy_back(standing)
        self.ledger.told(untold, now)
        self._say(f"status of {standing.name}", None)

    def mails(self, now: datetime) -> None:
        """Hand the mails that are due to the post, intent first, and write down what came of those before."""
        self._mailed(now)
        if not self.post.has_room():
            return
        letters = [letter for due in self.ledger.due_mails(now) if (letter := self._letter(due, now)) is not None]
        if letters:
            self.ledger.mailing([letter.mail for letter in letters], now)
            self.post.send(letters)
            self._mailed(now)

    def _letter(self, due: DueMail, now: datetime) -> deliver.Letter | None:
        """Return a mail as it is sent, or None when it cannot be written, which is noted."""
        standing = self.ledger.standing(due.mail.drop_id, due.mail.job_id)
        thread = f"{self.ledger.ledger_id} {standing.inbox} {standing.name}"
        if trouble := self._elsewhere(standing.inbox):
            self.ledger.not_mailed(due.mail, trouble, now)
            return None
        try:
            text = report.mail(due.mail, standing, self.pages, self._copy_beside(standing))
            message = deliver.message(due.mail, text, self.sender, thread)
        except Exception as error:
            trouble = self._in_words(error)
            self.ledger.not_mailed(due.mail, trouble, now)
            self._say(f"mail {due.mail.mail_id}", trouble)
            return None
        return deliver.Letter(due.mail, standing.inbox, standing.name, message)

    def _mailed(self, now: datetime) -> None:
        for answer in self.post.answers():
            mail = answer.letter.mail
            if answer.trouble is None:
                self.ledger.mailed(mail, now)
            elif answer.final:
                self.ledger.never_mailed(mail, answer.trouble, now)
            else:
                self.ledger.not_mailed(mail, answer.trouble, now)
            self._say(f"mail {mail.mail_id}", answer.trouble)

    def beside(self, inbox: Path, write: Callable[[], T]) -> T:
        """Write something into an inbox. Raises what that raises, InboxUnavailable, and NoAnswer."""
        if trouble := self._elsewhere(inbox):
            raise InboxUnavailable(trouble)
        return beside(self.places, inbox, self.ledger.ledger_id, write)

    def _elsewhere(self, inbox: Path) -> str | None:
        """Return which other agent answers in an inbox; None: this one does."""
        return next((one.elsewhere for one in self.inboxes if one.path == inbox), None)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self, until_idle: bool = False, each_tick: Callable[[], None] | None = None) -> None:
        """Tick until ``stop`` is called, or until every manifest is answered and every job final.

        Raises AgentError with ``until_idle`` when ticks keep going wrong; else they are tried for ever.
        """
        stops = [inbox.listen(self._wake_up) for inbox in self.inboxes]
        failures = 0
        try:
            while not self._stopping:
                trouble = self._tick_or_say(datetime.now(timezone.utc), each_tick)
                failures = failures + 1 if trouble else 0
                if until_idle and failures >= TRIES:
                    raise AgentError(trouble)
                if until_idle and not trouble and self.is_idle():
                    return
                self._rest(failures)
        finally:
            for stop in stops:
                stop()
            self._last_answers()
            self._leave()

    def stop(self) -> None:
        """End ``run`` after the present tick; what runs goes on and is found again at the next start."""
        self._stopping = True
        self._wake_up()

    def _last_answers(self) -> None:
        """Wait a moment for the mails under way; what has no answer by then is sent again at the next start."""
        self.post.close(LAST_MAILS_SECONDS)
        if self.retention is not None:
            self.retention.close(LAST_MAILS_SECONDS)
        with suppress(LedgerUnavailable):
            self._mailed(datetime.now(timezone.utc))

    def _leave(self) -> None:
        for inbox in self.inboxes:
            with suppress(OSError, InboxUnavailable):
                inbox.leave()

    _stopping: bool = False

    def is_idle(self) -> bool:
        """Return whether nothing is left to do but to wait for new manifests, or for somebody to act.

        An inbox in trouble, a file that cannot settle before somebody acts, and what went wrong three times are not
        waited for; an inbox whose lease may be over is.
        """
        if any(inbox.lease is not None and inbox.lease.may_be_over for inbox in self.inboxes):
            return False
        watched = [inbox for inbox in self.inboxes if inbox.trouble is None]
        if any(inbox.last_complete_scan is None for inbox in watched):
            return False
        if any(not waiting.may_wait_long for inbox in watched for waiting in inbox.waiting()):
            return False
        return self.ledger.is_idle(TRIES)

    def notes(self) -> list[str]:
        """Return what a person who watches should know: files that wait, files left alone, troubles."""
        waiting = [f"{one.name}: {one.reason}" for inbox in self.inboxes for one in inbox.waiting()]
        left = [text for inbox in self.inboxes if (text := self._left_alone(inbox)) is not None]
        return [*self.trouble(), *waiting, *left]

    def trouble(self) -> list[str]:
        """Return what an operator has to act on, a sentence each."""
        inboxes = [inbox.trouble for inbox in self.inboxes if inbox.trouble]
        files = [f"{file}: {self._said[f'examining {file}']}" for file in self._not_examined]
        undone = [*self.ledger.not_taken(), *self.ledger.undelivered()]
        executor = [self.executor.trouble] if self.executor.trouble else []
        return [*inboxes, *executor, *files, *(f"{name}: {error}" for name, error in undone)]

    # --- details -----------------------------------------------------------------------------------------------------

    def _tick_or_say(self, now: datetime, each_tick: Callable[[], None] | None) -> str | None:
        """Tick, and show it; return what went wrong. Nothing that goes wrong in a tick ends the agent."""
        trouble = None
        try:
            self.tick(now)
            if each_tick is not None:
                each_tick()
        except Exception as error:
            trouble = self._in_words(error)
        self._say("the last tick", trouble)
        return trouble

    def _rest(self, failures: int) -> None:
        """Wait until it is time for the next tick, or something happens."""
        busy = not failures and not self._is_quiet()
        with suppress(queue.Empty):
            self._wake.get(timeout=0 if self._stopping else POLL_SECONDS if busy else IDLE_SECONDS)
            while True:
                self._wake.get_nowait()

    def _is_quiet(self) -> bool:
        with suppress(LedgerUnavailable):
            return not any(inbox.waiting() for inbox in self.inboxes) and self.ledger.is_idle(TRIES)
        return True

    def _wake_up(self) -> None:
        self._wake.put(None)

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """What goes wrong inside is said once, tried again at the next tick, and harms nothing else."""
        trouble = None
        try:
            yield
        except LedgerUnavailable:
            raise
        except Exception as error:
            trouble = self._in_words(error)
        self._say(what, trouble)

    def _in_words(self, error: Exception) -> str:
        """Return what to say of a failure; of one that nobody thought of, the log has the details, once."""
        if isinstance(error, AgentError):
            return str(error)
        words = f"A fault of the agent itself: {type(error).__name__}: {error}"
        if words not in self._faults:
            self._faults.add(words)
            logger.error("%s", words, exc_info=error, extra={"action": "fault"})
        return words

    def _left_alone(self, inbox: Inbox) -> str | None:
        return "; ".join(f"{name}: {reason}" for name, reason in inbox.left_alone()[:SHOWN_FILES]) or None

    def _furnish_once(self, inbox: Inbox, now: datetime) -> None:
        if inbox.trouble is not None:
            self._furnished.discard(inbox.path)
            return
        if inbox.path in self._furnished and not inbox.is_gone(deliver.TEMPLATE):
            return
        self._furnished.add(inbox.path)
        try:
            self.beside(inbox.path, lambda: self.furnish(inbox, now))
            self._say(f"README and template of {inbox.path}", None)
        except AgentError as error:
            self._say(f"README and template of {inbox.path}", str(error))

    def _not_taken(self, attempt: Attempt, error: SubmitFailed, now: datetime) -> None:
        if error.retry:
            self.ledger.not_submitted(attempt, str(error), now, unsure=error.unsure)
        else:
            self.ledger.gave_up(attempt, str(error), now)
        logger.error("%s: %s", attempt.job_id, error, extra={"action": "not_submitted", "attempt": attempt.key})

    def _copy_beside(self, standing: Standing) -> str | None:
        """Return the name of the annotated copy beside a refused manifest, made once; None when there is none."""
        if standing.state is not DropState.REFUSED:
            return None
        if standing.drop_id not in self._copies:
            self._copies[standing.drop_id] = self._annotated(standing)
        return self._copies[standing.drop_id]

    def _annotated(self, standing: Standing) -> str | None:
        """Write the annotated copy. The status says all of it too, so nothing waits for a copy that cannot be made."""
        spool = next((inbox.spool for inbox in self.inboxes if inbox.path == standing.inbox), None)
        if spool is None:
            return None
        try:
            copy = self.annotate(spool / standing.sha256, standing.name, standing.problems)
            if copy is None:
                return None
            name = deliver.Names(standing.name).errors_xlsx
            if not self.beside(standing.inbox, lambda: deliver.write_own(standing.inbox, name, copy)):
                return None
        except Exception as error:
            logger.warning("%s: no annotated copy: %s", standing.name, error, extra={"action": "annotate"})
            return None
        return name

    def _take_copy_back(self, standing: Standing) -> None:
        """What an earlier version had wrong is no longer so; a copy that somebody corrected in place stays."""
        if standing.state is not DropState.REFUSED:
            name = deliver.Names(standing.name).errors_xlsx
            with suppress(OSError, AgentError):
                self.beside(standing.inbox, lambda: deliver.take_back(standing.inbox, name))

    def _who_is_told(self, examination: Examination) -> tuple[str, ...]:
        default = self.examiner.default_email
        return examination.addresses() or ((default,) if default else ())

    def _say(self, what: str, trouble: str | None, level: int = logging.ERROR) -> None:
        """Log a trouble once when it begins, and once when it is over."""
        before = self._said.get(what)
        if trouble is None and before is not None:
            del self._said[what]
            logger.info("%s: all right again.", what)
        elif trouble is not None and trouble != before:
            self._said[what] = trouble
            logger.log(level, "%s: %s", what, trouble, extra={"action": "trouble"})


def _examined_in_vain(drop: Drop, error: Exception) -> Examination:
    """Return what is told of a file that the agent cannot examine, however often it tries."""
    message = (
        "This file could not be examined, because of a fault of the agent itself. Nothing of it was started. Tell the "
        f"people who run the agent ({type(error).__name__}; its log has the details); once it is mended, save the file "
        "here again."
    )
    return Examination((), (), (Problem(Level.ERROR, Place(drop.name), message),))


def database(state_dir: Path) -> Path:
    """Return where the ledger of an agent lies."""
    return state_dir / "ledger.sqlite"
