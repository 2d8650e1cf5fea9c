"""Slurm's words for where a job stands, and ours: one table of states, one of reasons, each with its sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dropbox_agent.executors.slurm.jobs import SlurmJob
from dropbox_agent.states import Cause, TaskState


class Stand(Enum):
    """What a state of Slurm's means here."""

    WAITS = "waits"
    RUNS = "runs"
    OVER = "over"
    UNKNOWN = "unknown"
    """A word this program does not know: the attempt is kept, shown and logged, never guessed."""


@dataclass(frozen=True)
class State:
    """One line of the table of states."""

    stand: Stand
    words: str | None = None
    """The sentence for it; None where the reason, or the node, says it."""
    ends_as: TaskState = TaskState.FAILED
    """How a task ends that left no end record."""
    cause: Cause | None = None
    """Why, where that is not the task's own doing."""


TOO_MUCH_MEMORY = "It used more memory than it asked for. Ask for more (memory_per_cpu in image_resources)."
STATES: Mapping[str, State] = {
    "PENDING": State(Stand.WAITS),
    "CONFIGURING": State(Stand.WAITS, "Its node is being made ready."),
    "REQUEUED": State(Stand.WAITS, "It was put back into the queue."),
    "REQUEUE_FED": State(Stand.WAITS, "It was put back into the queue."),
    "REQUEUE_HOLD": State(Stand.WAITS, "It was put back into the queue and is held; an operator has to release it."),
    "SPECIAL_EXIT": State(Stand.WAITS, "It was put back into the queue and is held; an operator has to release it."),
    "RESV_DEL_HOLD": State(Stand.WAITS, "It is held because its reservation was deleted; an operator has to act."),
    "RUNNING": State(Stand.RUNS),
    "COMPLETING": State(Stand.RUNS),
    "SIGNALING": State(Stand.RUNS),
    "STAGE_OUT": State(Stand.RUNS, "Its files are being brought back."),
    "RESIZING": State(Stand.RUNS, "Its number of nodes is being changed."),
    "SUSPENDED": State(Stand.RUNS, "It is suspended; Slurm or an operator resumes it."),
    "STOPPED": State(Stand.RUNS, "It is stopped; an operator resumes it."),
    "COMPLETED": State(Stand.OVER, "Slurm says it completed, but it left no end record, so how it ended is not known."),
    "FAILED": State(Stand.OVER, "Slurm says it failed ({reason}), and it left no end record."),
    "CANCELLED": State(Stand.OVER, "It was cancelled in Slurm.", TaskState.CANCELLED, Cause.CANCELLED),
    "REVOKED": State(Stand.OVER, "It was taken back by Slurm.", TaskState.CANCELLED, Cause.CANCELLED),
    "TIMEOUT": State(
        Stand.OVER, "It reached its time limit. Ask for more time (time_limit in image_resources).", cause=Cause.TIMEOUT
    ),
    "DEADLINE": State(Stand.OVER, "It could not end before its deadline (deadline in image_resources)."),
    "OUT_OF_MEMORY": State(Stand.OVER, TOO_MUCH_MEMORY, cause=Cause.OUT_OF_MEMORY),
    "PREEMPTED": State(Stand.OVER, "It was stopped to make room for a job of higher priority.", cause=Cause.PREEMPTED),
    "NODE_FAIL": State(Stand.OVER, "Its node {nodes} failed.", cause=Cause.NODE_FAILED),
    "BOOT_FAIL": State(Stand.OVER, "Its node {nodes} could not be started.", cause=Cause.NOT_LAUNCHED),
    "LAUNCH_FAILED": State(Stand.OVER, "It could not be started on {nodes}.", cause=Cause.NOT_LAUNCHED),
    "RECONFIG_FAIL": State(Stand.OVER, "Its node {nodes} could not be made ready.", cause=Cause.NOT_LAUNCHED),
}
UNKNOWN = State(Stand.UNKNOWN, "Slurm says {state}, which this program does not know; it is kept and looked at again.")

CANNOT_START = "It cannot start as it is: "
REASONS: Mapping[str, str] = {
    "None": "It is about to be scheduled.",
    "Resources": "It waits for a free node.",
    "Priority": "It waits behind jobs of higher priority.",
    "BeginTime": "It waits until its begin time.",
    "Licenses": "It waits for a license.",
    "Reservation": "It waits for its reservation to begin.",
    "ReqNodeNotAvail": "The nodes it asks for are not available now.",
    "NodeDown": "A node it needs is down.",
    "BurstBufferResources": "It waits for space in the burst buffer.",
    "Cleaning": "What is left of an earlier run is being cleaned up.",
    "Prolog": "Its node is being made ready.",
    "JobHeldUser": "It is held; release it with scontrol release {job_id}.",
    "JobHeldAdmin": "It is held by an administrator.",
    "PartitionInactive": CANNOT_START + "its partition takes no jobs now.",
    "PartitionDown": CANNOT_START + "its partition is down. It starts once the partition is up.",
    "PartitionConfig": CANNOT_START + "it asks for more than any node of its partition has.",
    "PartitionNodeLimit": CANNOT_START + "it asks for more nodes than its partition gives one job.",
    "PartitionTimeLimit": CANNOT_START + "it asks for more time than its partition gives.",
    "BadConstraints": CANNOT_START + "no node is as it asks for.",
    "AccountNotAllowed": CANNOT_START + "its account may not use the partition.",
    "QOSNotAllowed": CANNOT_START + "its QOS may not be used in the partition.",
    "InvalidAccount": CANNOT_START + "its account is not known.",
    "InvalidQOS": CANNOT_START + "its QOS is not known.",
    "AssociationJobLimit": "It waits because its account has reached its limit of jobs.",
    "AssociationTimeLimit": CANNOT_START + "its account has used up its time.",
    "AssociationResourceLimit": "It waits because its account has reached its limit.",
    "QOSJobLimit": "It waits because its QOS has reached its limit of jobs.",
    "QOSTimeLimit": CANNOT_START + "its QOS has used up its time.",
    "QOSResourceLimit": "It waits because its QOS has reached its limit.",
    "ReservationDeleted": CANNOT_START + "its reservation was deleted.",
    "DeadLine": CANNOT_START + "it could not end before its deadline.",
    "Dependency": "It waits for another job.",
    "DependencyNeverSatisfied": CANNOT_START + "what it waits for can never be.",
    "launch failed requeued held": "It could not be started on its node and is held; an operator has to release it with"
    " scontrol release {job_id}.",
}  # fmt: skip
"""Reason of a waiting job -> sentence. Limits of accounts and QOS have dozens of names: see FAMILIES."""
FAMILIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(QOS|Assoc)Max\w+Per(Job|Node)\w*"),
        CANNOT_START + "it asks for more than its QOS or account gives one job.",
    ),
    # What running jobs may still use ("RunMinutes") comes back when they end; what was used does not.
    (
        re.compile(r"(QOS|Assoc)(Grp|Max)(?!\w*RunMin)\w*Min(utes)?\w*"),
        CANNOT_START + "what its QOS or account was given to use is used up.",
    ),
    (re.compile(r"QOS\w*(PerUser|PerUserLimit|PU)\w*"), "It waits because this account's share of its QOS is in use."),
    (re.compile(r"(QOS|MaxQOS)\w*"), "It waits because a limit of its QOS is reached."),
    (re.compile(r"Assoc\w*"), "It waits because a limit of its account is reached."),
    (re.compile(r"Max\w*PerAccount"), "It waits because a limit of its account is reached."),
    (re.compile(r"BurstBuffer\w*"), "It waits for the burst buffer."),
)
WHY_FAILED: Mapping[str, str] = {
    "JobLaunchFailure": "Slurm could not start it: on {nodes} its log could not be opened, or its account is not known."
    " The work folder (work_dir in agent.yaml) must be reachable from every node.",
    "BadConstraints": CANNOT_START + "no node is as it asks for.",
    "OutOfMemory": TOO_MUCH_MEMORY,
}
"""Reason of a failed job -> sentence; for others the table of states has one."""


def state_of(job: SlurmJob) -> State:
    """Return the table's line for a job; UNKNOWN when there is none."""
    return STATES.get(job.state, UNKNOWN)


def cause_of(job: SlurmJob) -> Cause | None:
    """Return why a job ended, where that is not its own doing."""
    return Cause.OUT_OF_MEMORY if job.state == "FAILED" and job.reason == "OutOfMemory" else state_of(job).cause


def sentence(job: SlurmJob) -> str | None:
    """Return what to tell people of a job; None when it simply runs."""
    state = state_of(job)
    if job.state == "CANCELLED" and job.by is not None:
        when = f" at {job.ended:%Y-%m-%d %H:%M} UTC" if job.ended is not None else ""
        return f"It was cancelled in Slurm by {_plain(job.by)}{when}."
    words = WHY_FAILED.get(job.reason, state.words) if job.state == "FAILED" else state.words
    if words is None and state.stand is Stand.WAITS:
        words = _why_it_waits(job.reason)
    if words is None:
        return None
    nodes = _plain(job.nodes) or "its node"
    return words.format(reason=_plain(job.reason), nodes=nodes, job_id=job.job_id, state=_plain(job.state))


def _why_it_waits(reason: str) -> str:
    # "ReqNodeNotAvail, UnavailableNodes:n1"; some versions put underscores where others have blanks.
    name = reason.partition(",")[0].strip()
    known = REASONS.get(name) or REASONS.get(name.replace("_", " "))
    if known is not None:
        return known
    family = next((words for pattern, words in FAMILIES if pattern.fullmatch(name)), "It waits in the queue.")
    return f"{family[:-1]} ({_plain(name)})."


def _plain(name: str) -> str:
    """Return Slurm's word without what could mean something elsewhere."""
    return re.sub(r"[^\w .:,\[\]-]", "", name)[:60]
