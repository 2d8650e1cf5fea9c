"""The whole path of a manifest, in one function: ``tick``."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from dropbox_agent import deliver, obey, orders, rewriting, settling
from dropbox_agent.answer import Answerer
from dropbox_agent.beside import Beside
from dropbox_agent.dispatch import Dispatcher
from dropbox_agent.errors import AgentError, InboxUnavailable, LedgerUnavailable
from dropbox_agent.examine import Examination, Examiner, with_claims
from dropbox_agent.executors import Executor
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Drop, Level, Place, Problem
from dropbox_agent.observe import Observer
from dropbox_agent.patience import Places
from dropbox_agent.retention import Retention
from dropbox_agent.troubles import TRIES, Troubles
from dropbox_agent.wording import counted

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""How often the folders of running attempts are looked at: a directory look each, no query."""
SHOWN_FILES = 10
"""How many files that are left alone are named at once."""
CLOCK_SECONDS = 1.0
"""What the clock may be ahead or behind between two looks without having been set."""
LAST_MAILS_SECONDS = 5.0
"""How long the agent waits at its end for a mail server that has not answered."""
IDLE_SECONDS = 2.0
"""How long to wait when nothing runs and no event comes."""
NEWS_PER_TICK = 10
"""How many new manifests of one inbox are examined before what runs is looked at again."""

ORDERS_PER_TICK = 50
"""How many orders beside the manifests of one inbox are carried out before what runs is looked at again."""


@dataclass
class Agent:
    """Everything one agent works with."""

    ledger: Ledger
    inboxes: Sequence[Inbox]
    examiner: Examiner
    executor: Executor
    dispatcher: Dispatcher
    observer: Observer
    answerer: Answerer
    beside: Beside
    """How something is written into an inbox."""
    places: Places
    """How long the shares are waited for."""
    troubles: Troubles
    orders_folder: Path
    """Where orders to cancel or to run again are written down, on the agent's own disk."""
    rows_alone: bool = False
    """on_error: row. A bad row refuses only itself."""
    on_rewrite: rewriting.Policy = "refuse"
    """What becomes of a manifest that is changed while its jobs run."""
    furnish: Callable[[Inbox, datetime], None] = lambda inbox, now: None
    """Puts into an inbox what people find there (README, template); called whenever it becomes available."""
    retention: Retention | None = None
    _telling: settling.Telling = field(default_factory=settling.Telling)
    _furnished: set[Path] = field(default_factory=set)
    _bound: dict[Path, str] = field(default_factory=dict)
    """Inbox -> the id that its marker has."""
    _not_examined: dict[Path, int] = field(default_factory=dict)
    """File -> how many times examining it went wrong without an answer."""
    # Of all queues and events only this one may be used by a signal handler, whatever the main thread is in.
    _wake: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    _stopping: bool = False
    _clock: tuple[datetime, float] | None = None
    """The time at the last look, by the clock and by one that nobody sets."""

    # --- the path ----------------------------------------------------------------------------------------------------

    def tick(self, now: datetime) -> None:
        """Take every settled manifest one step, look at what runs, hand over what may run, answer.

        ======== ======================================================= ====================================
        step     what it does                                            when it fails
        ======== ======================================================= ====================================
        settle   the inbox yields files that have stopped changing       left alone, seen again next tick
        examine  read, validate, expand, judge; changes nothing          all problems of the file at once
        record   accept or refuse the drop, one transaction              nothing half recorded
        obey     orders to cancel or to run again                        refused in words
        observe  one look at all that runs                               unknown stays unknown
        dispatch write the intent, hand the allocation over              found again by its key after a crash
        answer   status files and mails                                  tried again, with back-off
        put away archive, run folders and spooled copies, when asked to  tried again, an hour later
        ======== ======================================================= ====================================
        """
        for inbox in self.inboxes:
            with self.troubles.alone(f"taking in from {inbox.path}"):
                self.take_in(inbox, now)
        with self.troubles.alone("carrying out orders"):
            self.obey(now)
        self.dispatcher.hear(self.executor, now)
        with self.troubles.alone("looking at what runs"):
            self.observer.observe(self.executor, now)
        with self.troubles.alone("handing over"):
            self.dispatcher.dispatch(self.executor, now)
        self.answerer.answer(now)
        if self.retention is not None:
            with self.troubles.alone("putting away what is over"):
                self.retention.put_away(self.ledger, self.inboxes, self.beside, now)

    def take_in(self, inbox: Inbox, now: datetime) -> None:
        """Take the drops of one inbox, not too many at a time; say when it cannot be listed."""
        news, waited = 0, inbox.elsewhere is not None
        try:
            bind = partial(self._bind, inbox)
            for drop in inbox.settled(now, self.ledger.ledger_id, bind, self.ledger.is_news):
                news += self.take(inbox, drop, now)
                if news >= NEWS_PER_TICK:
                    break
        except InboxUnavailable as error:
            inbox.trouble = str(error)
        if waited and inbox.elsewhere is None:
            self.ledger.answers_here(inbox.path)
        self.troubles.say(f"inbox {inbox.path}", inbox.trouble)
        self.troubles.say(f"left alone in {inbox.path}", self._left_alone(inbox), logging.WARNING)
        self._furnish_once(inbox, now)
        if inbox.trouble is None:
            self._telling.tell(inbox, self.ledger, self.answerer.write_status, self.beside, now)
            if self.on_rewrite != "refuse":
                rewriting.forget_what_is_gone(inbox, self.ledger, now)
            if left := inbox.left_over(now):
                with suppress(AgentError):
                    self.beside(inbox.path, lambda: deliver.remove_temporary(inbox.path, left))

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
            trouble = self.troubles.in_words(error)
            self.troubles.say(f"examining {file}", trouble)
            if tries < TRIES or isinstance(error, AgentError):
                inbox.not_taken(drop, trouble, now, tries >= TRIES)
                return True
            self.record(drop, _examined_in_vain(drop, error), now)
        if not news:
            self._tell_where_nothing_stands(inbox, drop, now)
        inbox.taken(drop)
        self._not_examined.pop(file, None)
        self.troubles.say(f"examining {file}", None)
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
            if inbox.trouble is None:
                with self.troubles.alone(f"orders in {inbox.path}"):
                    self._obey_in(inbox, now)
        with self.troubles.alone("reading orders"):
            for path, order in orders.given(self.orders_folder):
                with self.troubles.alone(f"order {path.name}"):
                    obey.carry_out(path, order, self.ledger, self.inboxes, now)
        obey.end_what_is_cancelled(self.ledger, self.executor, now)

    def _obey_in(self, inbox: Inbox, now: datetime) -> None:
        asked = obey.asked(inbox, self.ledger, now)
        # What could not be carried out before comes last: it keeps no other from its turn.
        asked.sort(key=lambda order: self.troubles.said(f"order {inbox.path / order.by}") is not None)
        for order in asked[:ORDERS_PER_TICK]:
            with self.troubles.alone(f"order {inbox.path / order.by}"):
                obey.obey(inbox, order, self.ledger, now)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self, until_idle: bool = False, each_tick: Callable[[], None] | None = None) -> None:
        """Tick until ``stop`` is called, or until every manifest is answered and every job final.

        Raises AgentError with ``until_idle`` when ticks keep going wrong; else they are tried for ever.
        """
        stops = [inbox.listen(self._wake_up) for inbox in self.inboxes]
        failures = 0
        try:
            while not self._stopping:
                now = datetime.now(timezone.utc)
                self.mind_the_clock(now, time.monotonic())
                trouble = self._tick_or_say(now, each_tick)
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

    def mind_the_clock(self, now: datetime, passed: float) -> None:
        """Let files settle anew when the clock was set; ``passed`` are the seconds of one that nobody sets."""
        if self._clock is not None:
            told, elapsed = (now - self._clock[0]).total_seconds(), passed - self._clock[1]
            if abs(told - elapsed) > CLOCK_SECONDS:
                for inbox in self.inboxes:
                    inbox.settle_anew(now)
        self._clock = now, passed

    def stop(self) -> None:
        """End ``run`` after the present tick; what runs goes on and is found again at the next start."""
        self._stopping = True
        self._wake_up()

    def _last_answers(self) -> None:
        """Wait a moment for the mails under way; what has no answer by then is sent again at the next start."""
        self.answerer.post.close(LAST_MAILS_SECONDS)
        if self.retention is not None:
            self.retention.close(LAST_MAILS_SECONDS)
        with suppress(LedgerUnavailable):
            self.answerer.hear(datetime.now(timezone.utc))

    def _leave(self) -> None:
        for inbox in self.inboxes:
            with suppress(OSError, InboxUnavailable):
                inbox.leave()

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
        if None in self._kept_from_obeying(watched):
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
        files = [f"{file}: {self.troubles.said(f'examining {file}')}" for file in self._not_examined]
        undone = [*self.ledger.not_taken(), *self.ledger.undelivered()]
        executor = [self.executor.trouble] if self.executor.trouble else []
        orders = [trouble for trouble in self._kept_from_obeying(self.inboxes) if trouble is not None]
        return [*inboxes, *executor, *files, *orders, *(f"{name}: {error}" for name, error in undone)]

    def _kept_from_obeying(self, inboxes: Sequence[Inbox]) -> list[str | None]:
        """Return, of each order that was asked beside a manifest, what keeps it from being carried out, if anything."""
        asked = [inbox.path / order.by for inbox in inboxes for order in self.ledger.asked(inbox.path)]
        return [self.troubles.said(f"order {file}") for file in asked]

    # --- details -----------------------------------------------------------------------------------------------------

    def _tick_or_say(self, now: datetime, each_tick: Callable[[], None] | None) -> str | None:
        """Tick, and show it; return what went wrong. Nothing that goes wrong in a tick ends the agent."""
        trouble = None
        try:
            self.tick(now)
            if each_tick is not None:
                each_tick()
        except Exception as error:
            trouble = self.troubles.in_words(error)
        self.troubles.say("the last tick", trouble)
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
            self.troubles.say(f"README and template of {inbox.path}", None)
        except AgentError as error:
            self.troubles.say(f"README and template of {inbox.path}", str(error))

    def _who_is_told(self, examination: Examination) -> tuple[str, ...]:
        default = self.examiner.default_email
        return examination.addresses() or ((default,) if default else ())


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
