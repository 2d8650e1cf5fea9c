"""Where the parts of a picture go: days as bars, a pipeline as a graph, the time of its tasks. Templates draw them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dropbox_agent.model import JobStanding, PlannedTask, TaskStanding
from dropbox_agent.states import JobState, TaskState

DAYS = 28
"""How many days the chart of the jobs shows."""
DAY_WIDTH, DAY_GAP, DAYS_HEIGHT = 36, 6, 72
SMALLEST = 3.0
"""No part of a bar is lower: one failed job among a thousand is seen."""
STACK = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.ACCEPTED, JobState.RUNNING, JobState.FAILED)
"""From the ground up."""
NODE_WIDTH, NODE_HEIGHT, NODE_GAP, LEVEL_GAP = 300, 32, 24, 20


@dataclass(frozen=True)
class Part:
    """The jobs of one state on one day."""

    state: JobState
    count: int
    y: float
    height: float


@dataclass(frozen=True)
class Day:
    """One bar."""

    day: date
    x: int
    total: int
    parts: tuple[Part, ...]

    @property
    def words(self) -> str:
        """What the bar says: ``2026-01-30: 5 jobs, 1 failed, 4 succeeded``."""
        parts = ", ".join(f"{part.count} {part.state.value}" for part in reversed(self.parts))
        return f"{self.day}: {self.total} job{'' if self.total == 1 else 's'}{', ' if parts else ''}{parts}"


@dataclass(frozen=True)
class DaysChart:
    """How many jobs were submitted each day."""

    width: int
    height: int
    bar: int
    gap: int
    days: tuple[Day, ...]
    most: int


def days_chart(found: Mapping[date, Mapping[JobState, int]], today: date) -> DaysChart:
    """Return the chart of the last days up to today."""
    days = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    most = max((sum(found.get(day, {}).values()) for day in days), default=0)
    bars = tuple(
        Day(day, number * DAY_WIDTH, sum(found.get(day, {}).values()), _stacked(found.get(day, {}), most))
        for number, day in enumerate(days)
    )
    return DaysChart(DAYS * DAY_WIDTH, DAYS_HEIGHT, DAY_WIDTH - DAY_GAP, DAY_GAP, bars, most)


def _stacked(counts: Mapping[JobState, int], most: int) -> tuple[Part, ...]:
    parts, below = [], 0.0
    for state in STACK:
        if count := counts.get(state, 0):
            height = max(count / most * (DAYS_HEIGHT - len(STACK) * SMALLEST), SMALLEST)
            below += height
            parts.append(Part(state, count, round(DAYS_HEIGHT - below, 1), round(height, 1)))
    return tuple(parts)


# --- the pipeline ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """One task in the graph."""

    key: str
    x: float
    y: float
    task: TaskStanding


@dataclass(frozen=True)
class Graph:
    """The tasks of a job that run, and which waits for which."""

    width: float
    height: float
    node_width: int
    node_height: int
    nodes: tuple[Node, ...]
    edges: tuple[str, ...]
    """Each the path of a line, as SVG writes it."""


def graph(job: JobStanding) -> Graph:
    """Return the pipeline of a job, from the top down; tasks that do not wait for one another stand side by side."""
    tasks = [task for task in job.plan.tasks if task.skip is None]
    rows = _levels(tasks)
    widest = max((len(row) for row in rows), default=1)
    width = widest * (NODE_WIDTH + NODE_GAP) - NODE_GAP
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        free = width - (len(row) * (NODE_WIDTH + NODE_GAP) - NODE_GAP)
        for place, key in enumerate(row):
            places[key] = (free / 2 + place * (NODE_WIDTH + NODE_GAP), number * (NODE_HEIGHT + LEVEL_GAP) + 1.0)
    standings = {task.key: task for task in job.tasks}
    nodes = tuple(Node(key, *places[key], standings[key]) for key in places if key in standings)
    edges = tuple(_line(places[a], places[b]) for a, b in _needed(tasks) if a in places and b in places)
    return Graph(width, len(rows) * (NODE_HEIGHT + LEVEL_GAP) - LEVEL_GAP + 2.0, NODE_WIDTH, NODE_HEIGHT, nodes, edges)


def _levels(tasks: Sequence[PlannedTask]) -> list[list[str]]:
    """Return the keys in rows: each task below all it needs, and what needs nothing just above what needs it."""
    level: dict[str, int] = {}
    for task in tasks:
        level[task.key] = max((level[key] + 1 for key in task.needs if key in level), default=0)
    users: dict[str, list[int]] = {}
    for task in tasks:
        for key in task.needs:
            users.setdefault(key, []).append(level[task.key])
    last = max(level.values(), default=0)
    for task in reversed(tasks):
        if not any(key in level for key in task.needs):
            # Nothing above it: it comes as late as it may. What nobody needs (the last mail) ends the graph.
            level[task.key] = min(users[task.key]) - 1 if task.key in users else last + 1
    rows: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for key, number in level.items():
        rows[number].append(key)
    return [row for row in rows if row]


def _needed(tasks: Iterable[PlannedTask]) -> list[tuple[str, str]]:
    """Return (needed, task) of each need that does not follow from another one."""
    above: dict[str, set[str]] = {}
    pairs = []
    for task in tasks:
        through = {far for key in task.needs for far in above.get(key, ())}
        above[task.key] = {*task.needs, *through}
        pairs += [(key, task.key) for key in task.needs if key not in through]
    return pairs


def _line(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    x1, y1 = upper[0] + NODE_WIDTH / 2, upper[1] + NODE_HEIGHT
    x2, y2 = lower[0] + NODE_WIDTH / 2, lower[1]
    middle = (y1 + y2) / 2
    return f"M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"


# --- its time --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """When a task ran, in thousandths of the job's time."""

    start: float
    length: float


def spans(job: JobStanding, now: datetime) -> Mapping[str, Span]:
    """Return when each task that has started ran, as part of the whole time of the job until now."""
    times = {task.key: (task.started, task.ended or now) for task in job.tasks if task.started is not None}
    times = {key: (start, max(start, end)) for key, (start, end) in times.items()}
    if not times:
        return {}
    # What the agent did itself before (the first mail) was done the moment the job was recorded.
    first = job.started or min(start for start, _ in times.values())
    whole = max(end for _, end in times.values()) - first
    seconds = max(whole.total_seconds(), 0.001)
    return {key: _span((start - first).total_seconds(), (end - start).total_seconds(), seconds)
            for key, (start, end) in times.items()}  # fmt: skip


def _span(start: float, length: float, whole: float) -> Span:
    shown = min(max(length / whole * 1000, 4.0), 1000.0)
    return Span(round(min(max(start / whole * 1000, 0.0), 1000.0 - shown), 1), round(shown, 1))


def remaining(task: TaskStanding, share: float | None, now: datetime) -> timedelta | None:
    """Return how long a running task will still take, if it goes on as it did; None while that cannot be told."""
    if task.state is not TaskState.RUNNING or task.started is None or share is None or not 0.01 < share < 1:
        return None
    return (now - task.started) * ((1 - share) / share)
