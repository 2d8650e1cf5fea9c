"""What slurmrestd says, read: jobs, records of the accounting, partitions, and why it did not do something."""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from dropbox_agent.executors.slurm.jobs import JobRecord, Partition, SlurmJob

Json = Mapping[str, Any]

BEFORE_OTHERS = (
    "COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT",
    "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING",
)  # fmt: skip
"""Since v0.0.40 a job has a list of states: one, and what is done with it. squeue shows the first of these instead."""


LONGEST_MINUTES = 2**31
"""Slurm's "infinite" is larger."""


def jobs_in(answer: Json, account: str) -> list[SlurmJob]:
    """Return the jobs of an account, each as squeue would show it."""
    return [
        _job(one) for one in _list(answer, "jobs") if one.get("user_name") == account and _number(one.get("job_id"))
    ]


def _job(one: Json) -> SlurmJob:
    # As squeue: the reason in detail where there is one ("ReqNodeNotAvail, UnavailableNodes:n1").
    reason = one.get("state_description") or one.get("state_reason") or "None"
    return SlurmJob(
        # The id of an array, not of its element; 0 where it is none.
        job_id=str(_number(one.get("array_job_id")) or _number(one["job_id"])),
        name=str(one.get("name") or ""),
        state=state_in(one.get("job_state")),
        reason=str(reason),
        nodes=str(one.get("nodes") or ""),
        limit=_limit(one.get("time_limit")),
    )


def _limit(value: Any) -> timedelta | None:
    """Return how long a job may run; None for ever, which v0.0.38 writes as a number of its own."""
    minutes = _number(value)
    return None if minutes is None or minutes > LONGEST_MINUTES else timedelta(minutes=minutes)


def state_in(given: Any) -> str:
    """Return the one state that squeue would show."""
    states = [str(one) for one in given] if isinstance(given, list) else [str(given)]
    return next((state for state in BEFORE_OTHERS if state in states), next(iter(states), "UNKNOWN"))


def job_id_in(answer: Json) -> str | None:
    """Return the id of the job that was taken; None when none was.

    It counts whatever else is said: a job that has to wait is taken with an error that says why (measured on 22.05).
    """
    result = answer.get("result")
    places = (answer, result if isinstance(result, Mapping) else {})
    return next((str(number) for place in places if (number := _number(place.get("job_id")))), None)


def partitions_in(answer: Json) -> list[Partition]:
    """Return the partitions."""
    return [_partition(one) for one in _list(answer, "partitions")]


def _partition(one: Json) -> Partition:
    # A text in v0.0.38; since v0.0.40 partition.state, a list.
    inner = one.get("partition")
    state = inner.get("state") if isinstance(inner, Mapping) else one.get("state")
    flags = [str(flag).lower() for flag in one.get("flags") or ()]
    return Partition(str(one.get("name") or ""), state_in(state) == "UP", "default" in flags)


def qualities_in(answer: Json) -> list[str]:
    """Return the names of every QOS."""
    return [str(one["name"]) for key in ("qos", "QOS") for one in _list(answer, key) if one.get("name")]


def records_in(answer: Json, account: str) -> list[JobRecord]:
    """Return the jobs of an account as the accounting has them."""
    own = (one for one in _list(answer, "jobs") if one.get("user") == account)
    return [_record(one) for one in own if _number(one.get("job_id"))]


def _record(one: Json) -> JobRecord:
    state, times, ended = _group(one, "state"), _group(one, "time"), _group(one, "exit_code")
    by = one.get("kill_request_user")
    end = _number(times.get("end"))
    code, signal = _number(ended.get("return_code")) or 0, _number(_signal(ended)) or 0
    # Measured on 22.05: v0.0.38 says 0 of every job, also of one that failed with 3.
    is_known = state.get("current") in ("COMPLETED", ["COMPLETED"]) or code or signal
    return JobRecord(
        job_id=str(_number(one["job_id"])),
        name=str(one.get("name") or ""),
        state=state_in(state.get("current")),
        nodes="" if one.get("nodes") in (None, "None assigned") else str(one["nodes"]),
        exit_code=code if is_known else None,
        signal=signal if is_known else None,
        elapsed_seconds=_number(times.get("elapsed")),
        max_rss_bytes=max(_memory(one), default=0) or None,
        cancelled_by=_account_name(by) if by else None,
        ended=datetime.fromtimestamp(end, timezone.utc) if end else None,
    )


def _signal(ended: Json) -> Any:
    signal = ended.get("signal")
    return signal.get("signal_id", signal.get("id")) if isinstance(signal, Mapping) else None


def _memory(one: Json) -> Iterator[int]:
    """Yield the largest memory of each step, in bytes."""
    for step in _list(one, "steps"):
        for used in _list(_group(_group(step, "tres"), "requested"), "max"):
            if used.get("type") == "mem":
                yield _number(used.get("count")) or 0


def _account_name(by: Any) -> str:
    try:
        return pwd.getpwuid(int(by)).pw_name
    except (ValueError, KeyError, OverflowError):
        return str(by)


def words_in(answer: Json) -> str:
    """Return what slurmrestd complains about, on one line, without what it says of its own making."""
    said = [_words(one) for one in _list(answer, "errors")]
    plain = dict.fromkeys(words for words in said if words)
    meant = [words for words in plain if words not in ("Unspecified error", "Failure during parsing")]
    return "; ".join(meant or plain)[:500] or "it gave no reason"


def _words(one: Json) -> str:
    error, more = str(one.get("error") or "").strip(), str(one.get("description") or "").strip()
    return error if error and error != "Unspecified error" else more or error


def warnings_in(answer: Json) -> list[str]:
    """Return what slurmrestd passed over or read differently; since v0.0.40 it says so."""
    return [f"{one.get('source') or 'job'}: {one.get('description')}" for one in _list(answer, "warnings")]


def _list(group: Json, name: str) -> list[Json]:
    found = group.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _group(group: Json, name: str) -> Json:
    found = group.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> int | None:
    """Return a number; since v0.0.40 it may be written {set, infinite, number}."""
    if isinstance(value, Mapping):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
