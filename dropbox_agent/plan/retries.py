"""What is run again by itself, how often, and with how much more: the ``retries`` of a job type.

A task that failed by its own doing is never run again by itself: it would fail again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from dropbox_agent.model import Presets, Retry
from dropbox_agent.plan.merging import chain, consulted, kind
from dropbox_agent.plan.properties import Unfit, megabytes, minutes
from dropbox_agent.states import Cause
from dropbox_agent.wording import counted

MOST_TIMES = 20
LARGEST_FACTOR = 16
DEFAULT_FACTOR = 2.0
FIRST_WAIT_MINUTES = 15
LONGEST_WAIT_MINUTES = 240
"""How long a service that is away is waited for, where a job type names only how often."""
LONGEST_WAIT = timedelta(days=1)
"""No job type may ask for more."""


@dataclass(frozen=True)
class _Amount:
    """Something there can be more of: the properties that ask for it, and how they are read and written."""

    names: tuple[str, ...]
    reads: Any
    unit: str
    in_words: str

    def number(self, value: Any) -> float:
        """Return an amount in megabytes or minutes; infinite when it has no end. Raises Unfit."""
        if isinstance(value, Mapping):
            value = "infinite" if value.get("infinite") is True else value.get("number")
        return _number(self.reads(value))


TIME = _Amount(("time", "time_limit"), minutes, "", "time")
GROWING: Mapping[Cause, _Amount] = {
    Cause.OUT_OF_MEMORY: _Amount(("memory", "memory_per_cpu", "memory_per_node"), megabytes, "M", "memory"),
    Cause.TIMEOUT: TIME,
}
"""Causes for which as much again would not be enough."""
WHY: Mapping[Cause, str] = {
    Cause.OUT_OF_MEMORY: "It used more memory than it had asked for.",
    Cause.TIMEOUT: "It reached its time limit.",
    Cause.NODE_FAILED: "The machine it ran on failed, or Slurm lost sight of it.",
    Cause.PREEMPTED: "It was stopped to make room for another job, or put back into the queue.",
    Cause.NOT_LAUNCHED: "It could not be started on its node.",
    Cause.SERVICE_AWAY: "A service or share that it needs was away.",
}
RETRIED = tuple(cause for cause in Cause if cause is not Cause.CANCELLED)


@dataclass(frozen=True)
class Again:
    """An attempt follows by itself."""

    words: str
    """``It used more memory than it had asked for. It is run again with 8192M of memory (1 of 2 times).``"""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """What it asks for instead of what its tasks do."""
    not_before: datetime | None = None


def again(
    policy: Mapping[str, Retry], cause: Cause, before: Sequence[Cause], asked: Mapping[str, Any], now: datetime
) -> Again | None:
    """Return how an attempt that ended for ``cause`` is followed by another, or None when it is not.

    ``before``: why the attempts of this task ended since somebody last ordered it, this one included. ``asked``: what
    this one asked of the cluster.
    """
    retry = policy.get(cause.value)
    used = sum(one is cause for one in before)
    if retry is None or used > retry.times:
        return None
    count = f"({used} of {retry.times} times)"
    if cause is Cause.SERVICE_AWAY:
        at = (now + _wait(retry, used)).astimezone(timezone.utc)
        return Again(f"{WHY[cause]} It is run again by itself at {at:%Y-%m-%d %H:%M} UTC {count}.", not_before=at)
    amount = GROWING.get(cause)
    if amount is None:
        return Again(f"{WHY[cause]} It is run again as it was {count}.")
    more = _more(amount, retry, asked)
    if more is None:
        return None
    name, value = more
    much = value if amount.unit else f"{value} min"
    return Again(f"{WHY[cause]} It is run again with {much} of {amount.in_words} {count}.", {name: value})


def retries_of(job_type: str, presets: Presets) -> dict[str, Retry]:
    """Return what is run again of a job: for each cause what the job type's own chain says, else ``default``."""
    found: dict[str, Retry] = {}
    for name in consulted(job_type):
        own = {cause: retry for one in chain(presets, name) for cause, retry in one.retries.items()}
        found = {**own, **found}
    return found


def unsaid_in(presets: Presets, cause: Cause) -> list[str]:
    """Return the job types that have presets, of which none says how often a task is run again after ``cause``."""
    names = (name for name in sorted(presets.job_types) if consulted(name))
    return [name for name in names if cause.value not in retries_of(name, presets)]


def in_words(cause: Cause, retry: Retry) -> str:
    """Return how often a task is run again after ``cause``, and with what: ``2 times, with 2 times as much memory``."""
    if retry.times == 0:
        return "never"
    often = counted(retry.times, "time")
    if cause is Cause.SERVICE_AWAY:
        first, most = (f"{TIME.number(one):g} min" for one in (retry.wait, retry.at_most))
        return f"{often}: after {first}, then {retry.factor:g} times as long each time, {most} at most"
    amount = GROWING.get(cause)
    if amount is None:
        return f"{often}, as it was"
    most = str(retry.at_most) if amount.unit else f"{TIME.number(retry.at_most):g} min"
    return f"{often}, with {retry.factor:g} times as much {amount.in_words} each time, {most} at most"


def _wait(retry: Retry, number: int) -> timedelta:
    first, most = TIME.number(retry.wait), TIME.number(retry.at_most)
    return timedelta(minutes=min(first * retry.factor ** (number - 1), most))


def _more(amount: _Amount, retry: Retry, asked: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the property to ask with and its new value; None when there cannot be more."""
    most = amount.number(retry.at_most)
    name = next((one for one in amount.names if asked.get(one) not in (None, {})), None)
    if name is None:
        return amount.names[0], _written(amount, most)
    now = amount.number(asked[name])
    if now >= most:
        return None
    return name, _written(amount, min(math.ceil(now * retry.factor), most))


def _written(amount: _Amount, number: float) -> Any:
    return f"{number:.0f}{amount.unit}" if amount.unit else int(number)


def _number(written: str) -> float:
    """Return megabytes for ``16G``, or minutes for ``90``, ``1:30:00``, ``2-12`` and ``UNLIMITED``."""
    if written == "UNLIMITED":
        return math.inf
    if found := re.fullmatch(r"(\d+)([KMGT])", written):
        return int(found[1]) * 1024.0 ** ("KMGT".index(found[2]) - 1)
    days, _, clock = written.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:  # D-H, D-H:M, D-H:M:S
        hours, mins, seconds = (*parts, 0, 0)[:3]
    else:  # M, M:S, H:M:S
        hours, mins, seconds = (0, *parts, 0)[:3] if len(parts) < 3 else parts
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


# --- reading ---------------------------------------------------------------------------------------------------------


def read_retries(given: Mapping[str, Any]) -> tuple[dict[str, Retry], tuple[tuple[tuple[str, ...], str], ...]]:
    """Return the retries of a job type as its file has them, and what is wrong: (path, words)."""
    found: dict[str, Retry] = {}
    faults: list[tuple[tuple[str, ...], str]] = []
    for name, value in given.items():
        wrong = list(_faults(name, value))
        faults += wrong
        if not wrong:
            found[name] = _retry(Cause(name), value)
    return found, tuple(faults)


def _retry(cause: Cause, value: Any) -> Retry:
    group = {**_unsaid(cause), **_group(value)}
    return Retry(
        group.get("times", 1), float(group.get("factor", DEFAULT_FACTOR)), group.get("at_most"), group.get("wait")
    )


def _unsaid(cause: Cause) -> Mapping[str, Any]:
    if cause is not Cause.SERVICE_AWAY:
        return {}
    return {"wait": FIRST_WAIT_MINUTES, "at_most": LONGEST_WAIT_MINUTES}


def _group(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"times": value}


def _fields(cause: Cause) -> tuple[str, ...]:
    if cause is Cause.SERVICE_AWAY:
        return ("times", "wait", "factor", "at_most")
    return ("times", "factor", "at_most") if cause in GROWING else ("times",)


def _faults(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if name not in {cause.value for cause in RETRIED}:
        yield (name,), f"{name} is never run again; known are {', '.join(cause.value for cause in RETRIED)}"
        return
    group, amount, known = _group(value), GROWING.get(Cause(name)), _fields(Cause(name))
    for one in group:
        if one not in known:
            yield (name, str(one)), f"{one} is not known for {name}; known are {', '.join(known)}"
    yield from _number_faults(name, group)
    if amount is not None and group.get("times", 1) != 0:
        yield from _limit_faults(name, group.get("at_most"), amount)
    if Cause(name) is Cause.SERVICE_AWAY:
        yield from _wait_faults(name, {**_unsaid(Cause.SERVICE_AWAY), **group})


def _number_faults(name: str, group: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    times, factor = group.get("times", 1), group.get("factor", DEFAULT_FACTOR)
    if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= MOST_TIMES:
        yield (name, "times"), f"times of {name} is {kind(times)}; write how often, 0 to {MOST_TIMES}"
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 < factor <= LARGEST_FACTOR:
        yield (name, "factor"), f"factor of {name} is no number above 1, and {LARGEST_FACTOR} at most"


def _limit_faults(name: str, most: Any, amount: _Amount) -> Iterator[tuple[tuple[str, ...], str]]:
    if most is None:
        yield (name,), f"{name} has no at_most: write how much {amount.in_words} a task may ask for in the end"
        return
    try:
        if not 0 < amount.number(most) < math.inf:
            yield (name, "at_most"), f"at_most of {name} has to be more than nothing, and to have an end"
    except Unfit as unfit:
        yield (name, "at_most"), f"at_most of {name} {unfit}"


def _wait_faults(name: str, group: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    longest = LONGEST_WAIT / timedelta(minutes=1)
    for one in ("wait", "at_most"):
        try:
            if not 0 < TIME.number(group[one]) <= longest:
                yield (name, one), f"{one} of {name} has to be more than nothing, and a day (1-00:00:00) at most"
        except Unfit as unfit:
            yield (name, one), f"{one} of {name} {unfit}"
