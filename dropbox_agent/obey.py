"""Carry out orders: an empty file beside a manifest, or a command, cancels jobs or lets them run again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent import orders, rewriting
from dropbox_agent.errors import OrderRefused
from dropbox_agent.executors import Executor
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import Attempt, JobStanding, Observation, Order, Standing, TaskObservation, slurm_job_id
from dropbox_agent.states import AttemptState, DropState, JobState, TaskState

logger = logging.getLogger(__name__)

STOP_SECONDS = 30
"""How long a task may take to end once it was asked to; then it is killed."""
LIVE = frozenset({JobState.ACCEPTED, JobState.RUNNING})
MAY_RUN_AGAIN = frozenset({JobState.FAILED, JobState.CANCELLED})


def asked(inbox: Inbox, ledger: Ledger, now: datetime) -> list[Order]:
    """Write down what is ordered by files in an inbox; return all of that which is not carried out yet.

    Raises InboxUnavailable.
    """
    known = {order.by for order in ledger.asked(inbox.path)}
    new = {order.by: order for order in _listed(inbox, ledger, now) if order.by not in known}
    if new:
        ledger.ask([new[file] for file in inbox.still_ordered(new, ledger.ledger_id)])
    return ledger.asked(inbox.path)


def _listed(inbox: Inbox, ledger: Ledger, now: datetime) -> Iterator[Order]:
    waiting = {one.name for one in inbox.waiting()}
    for file, manifest, act in inbox.orders():
        if act == "cancel" and manifest in waiting and not _has_its_word(ledger.latest(inbox.path, manifest)):
            continue  # It means what has not been taken yet.
        yield Order.model_validate({"act": act, "inbox": inbox.path, "manifest": manifest, "asked": now, "by": file})


def obey(inbox: Inbox, order: Order, ledger: Ledger, now: datetime) -> None:
    """Remove the file of an order that was asked, and carry the order out. Raises InboxUnavailable.

    One whose file stays is not carried out: it would be for ever. Nor is one whose file says something by now: the next
    listing tells of it.
    """
    is_meant = inbox.obeyed(order.by, ledger.ledger_id)
    with ledger.done_with(order):
        is_read_again = is_meant and _carry_out(order, ledger, now)
    if is_read_again:  # Only once that is recorded: what is not is carried out anew.
        _read_again(order, [inbox])


def carry_out(path: Path, order: Order, ledger: Ledger, inboxes: Sequence[Inbox], now: datetime) -> None:
    """Carry out an order that a command wrote down, once. Raises OrderRefused."""
    with ledger.carrying_out(path.stem, now) as is_new:
        is_read_again = is_new and _carry_out(order, ledger, now)
    if is_read_again:
        _read_again(order, inboxes)
    orders.put_away(path)


def _carry_out(order: Order, ledger: Ledger, now: datetime) -> bool:
    """Carry out an order in the ledger, and note what came of it; return whether the manifest is to be read again."""
    if _lets_a_new_version_run(order, ledger, now):
        return True
    told: dict[int, dict[str, None]] = {}
    for drop_id, job_id in _meant(order, ledger):
        told.setdefault(drop_id, {})[_carried_out(order, job_id, ledger, now)] = None
    if not told and (refused := _refused(order, ledger)) is not None:
        if order.act == "cancel":
            told[refused.drop_id] = {f"{order.by} was not carried out: nothing of this manifest runs.": None}
        else:
            ledger.ask_again(refused.drop_id)
    elif not told:
        what = order.job_id or order.manifest
        logger.warning("%s: nothing is known of %s, so nothing was done.", order.by, what, extra={"action": order.act})
    for drop_id, sentences in told.items():
        ledger.note(drop_id, rewriting.still(ledger.standing(drop_id), " ".join(sentences)), now)
    return not told


def end_what_is_cancelled(ledger: Ledger, executor: Executor, now: datetime) -> None:
    """Ask the attempts of cancelled jobs to end, and kill those that do not."""
    for attempt in ledger.live_attempts():
        if attempt.stop_at is None:
            continue
        hard = now - attempt.stop_at > timedelta(seconds=STOP_SECONDS)
        if executor.stop(attempt, hard):
            text = f"It was cancelled before it started{_with_its_job(attempt)}."
            tasks = tuple(TaskObservation(task.key, TaskState.CANCELLED, message=text) for task in attempt.tasks)
            ledger.observed([Observation(attempt, True, AttemptState.ENDED, tasks, text=text)], now)


def as_ordered(seen: Observation) -> Observation:
    """Return the observation; what was ordered to end says so, also when it ended without saying how."""
    if seen.attempt.stop_at is None or seen.state not in (AttemptState.ENDED, AttemptState.LOST):
        return seen
    words = f"It was ended as ordered{_with_its_job(seen.attempt)}."
    cut_off = TaskState.FAILED if seen.state is AttemptState.LOST else TaskState.CANCELLED
    tasks = [replace(t, state=TaskState.CANCELLED, message=words) if t.state is cut_off else t for t in seen.tasks]
    return replace(seen, tasks=tuple(tasks), text=words if tasks != list(seen.tasks) else seen.text)


def _with_its_job(attempt: Attempt) -> str:
    number = slurm_job_id(attempt.handle)
    return f", and Slurm job {number} with it" if number else ""


def _lets_a_new_version_run(order: Order, ledger: Ledger, now: datetime) -> bool:
    """Let a version be taken that waits for somebody to say so; return whether the order meant that."""
    if order.act != "retry" or order.inbox is None or order.manifest is None:
        return False
    standing = ledger.latest(order.inbox, order.manifest)
    if standing is None or standing.state in rewriting.LIVE or not rewriting.is_held(standing):
        return False
    rewriting.release(standing, ledger, now)
    return True


def _has_its_word(standing: Standing | None) -> bool:
    """Return whether an order for a manifest that changes just now is one for the version before."""
    return standing is not None and (standing.state in rewriting.LIVE or rewriting.is_held(standing))


def _refused(order: Order, ledger: Ledger) -> Standing | None:
    """Return the refused manifest that an order is about, or None."""
    if order.inbox is None or order.manifest is None:
        return None
    standing = ledger.latest(order.inbox, order.manifest)
    return standing if standing is not None and standing.state is DropState.REFUSED else None


def _meant(order: Order, ledger: Ledger) -> list[tuple[int, str]]:
    """Return (drop, job) of the jobs an order is about; of a manifest's, those that it can do something with.

    What is cancelled are the jobs of its latest version that has any that run. What comes of it is told of the latest.
    """
    if order.job_id is not None:
        job = ledger.job(order.job_id)
        return [] if job is None else [(job.drop_id, job.job_id)]
    if order.inbox is None or order.manifest is None:
        return []
    standing = ledger.latest(order.inbox, order.manifest)
    if standing is None:
        return []
    chosen = [job.job_id for job in standing.jobs if _is_wanted(order, job, ledger)]
    if not chosen and order.act == "cancel":
        chosen = ledger.live_jobs_of(order.inbox, order.manifest)
    return [(standing.drop_id, job_id) for job_id in chosen or [job.job_id for job in standing.jobs]]


def _is_wanted(order: Order, job: JobStanding, ledger: Ledger) -> bool:
    if order.act == "cancel":
        return job.state in LIVE
    return job.state in MAY_RUN_AGAIN or (job.state in LIVE and ledger.waits_to_run_again(job.job_id))


def _carried_out(order: Order, job_id: str, ledger: Ledger, now: datetime) -> str:
    """Carry an order out for one job; return what came of it."""
    try:
        if order.act == "cancel":
            ledger.cancel(job_id, f"Cancelled by {order.by}.", now)
            sentence = f"Cancelled by {order.by}."
        else:
            ledger.retry(job_id, order.from_task, now)
            sentence = f"Run again by {order.by}; what had succeeded is kept."
    except OrderRefused as error:
        sentence = f"{order.by} was not carried out: {error}"
    logger.info("%s: %s", job_id, sentence, extra={"action": order.act, "job": job_id})
    return sentence


def _read_again(order: Order, inboxes: Sequence[Inbox]) -> None:
    """A refused manifest has no job: to run it again is to read it again."""
    for inbox in inboxes:
        if order.act == "retry" and inbox.path == order.inbox and order.manifest is not None:
            inbox.read_again(order.manifest)
