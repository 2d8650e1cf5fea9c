"""What the terminal shows: a table of manifests and jobs that follows the work, and problems as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dropbox_agent import report
from dropbox_agent.examine import Examination
from dropbox_agent.model import Inventory, JobStanding, Level, Plan, PlannedTask, Problem, Standing
from dropbox_agent.states import JobState, TaskState
from dropbox_agent.wording import counted, printable

STYLES = {"succeeded": "green", "failed": "bold red", "refused": "bold red", "running": "cyan", "cancelled": "yellow"}
SHOWN_JOBS = 20


def overview(standings: Sequence[Standing]) -> RenderableType:
    """Return the manifests with their jobs, the newest first."""
    table = Table(box=None, pad_edge=False, expand=True)
    for heading, ratio in (("manifest / upload", 5), ("state", 2), ("progress", 3), ("now", 6)):
        table.add_column(heading, ratio=ratio, overflow="fold", header_style="dim")
    for standing in standings:
        _add_manifest(table, standing)
    return table


def _add_manifest(table: Table, standing: Standing) -> None:
    table.add_row(Text(standing.name, style="bold"), _state(standing.state.value), "", Text(report.summary(standing)))
    for job in standing.jobs[:SHOWN_JOBS]:
        done, _, _ = report.job_progress(job)
        bar = ProgressBar(total=1.0, completed=done, width=24)
        table.add_row(Text(f"  {job.s3_prefix}"), _state(job.state.value), bar, Text(now_doing(job)))
    if len(standing.jobs) > SHOWN_JOBS:
        table.add_row(Text(f"  and {len(standing.jobs) - SHOWN_JOBS} more"), "", "", "")


def _state(state: str) -> Text:
    return Text(state, style=_style(state))


def _style(state: str) -> str:
    return STYLES.get(state, "")


def now_doing(job: JobStanding) -> str:
    """Return what a job does now, in a few words; where its data is once it is done."""
    if job.state is JobState.SUCCEEDED:
        return job.location
    failed = report.failed_tasks(job)
    if failed:
        return f"{failed[0].key}: {failed[0].message or ''}"
    running = [task for task in job.tasks if task.state is TaskState.RUNNING]
    if running:
        return ", ".join(f"{task.key} {report.progress_text(task.progress)}".strip() for task in running)
    waiting = [task for task in job.tasks if task.state is TaskState.SUBMITTED]
    return waiting[0].message or f"{waiting[0].key} is about to start" if waiting else ""


def problem_lines(problems: Sequence[Problem]) -> list[Text]:
    """Return one line per problem: place, what is wrong, what was found, what to write."""
    return [_problem_line(problem) for problem in problems]


def _problem_line(problem: Problem) -> Text:
    wrong = problem.level is Level.ERROR
    line = Text(f"{problem.level.value:7} ", style="bold red" if wrong else "yellow")
    line.append(f"{report.where(problem.place) or printable(problem.place.file)}: ", style="bold")
    line.append(problem.message, style="default")
    for what, said in (("Found", problem.found), ("Write", problem.suggestion)):
        if said and said not in problem.message:
            line.append(f" {what}: {said}", style="default")
    return line


def examination(found: Examination, console: Console) -> None:
    """Print what would be done with a manifest: its problems, then each job's plan with the origin of each value."""
    for line in problem_lines(found.problems):
        console.print(line, soft_wrap=True)
    for job, made in found.jobs:
        console.print()
        console.print(Text(f"{job.s3_prefix} -> {made.location}", style="bold"), soft_wrap=True)
        for line in plan_lines(made):
            console.print(line, soft_wrap=True)
    errors = len(found.errors)
    console.print()
    if errors:
        console.print(
            Text(f"{errors} error{'s'[: errors != 1]}: as it is, this manifest would be refused.", "bold red")
        )
    else:
        console.print(Text(f"All right: {len(found.jobs)} upload{'s'[: len(found.jobs) != 1]} would start.", "green"))


def plan_lines(made: Plan) -> list[Text]:
    """Return the tasks of a plan in order, each with its effective settings and where each value comes from."""
    return [line for task in made.tasks for line in _task_lines(task)]


def _task_lines(task: PlannedTask) -> list[Text]:
    if task.skip is not None:
        return [Text(f"  {task.key}: not run. {task.skip}", style="dim")]
    lines = [Text(f"  {task.key}", style="bold")]
    for path, value, origin in report.effective(task):
        line = Text(f"      {path} = {report.value_text(value)}")
        lines.append(line.append(f"   from {origin}", style="dim"))
    return lines


def summary(found: Mapping[str, Mapping[str, Mapping[str, int]]], console: Console) -> None:
    """Print how many jobs there are of each state, by day and by job type."""
    for heading in ("days", "job_types"):
        table = Table(box=None, pad_edge=False)
        table.add_column({"days": "submitted on (UTC)", "job_types": "job type"}[heading], header_style="dim")
        for state in JobState:
            table.add_column(state.value, justify="right", header_style="dim")
        for name, counts in found[heading].items():
            numbers = [
                Text(str(n) if (n := counts[state.value]) else "", style=_style(state.value)) for state in JobState
            ]
            table.add_row(Text(name), *numbers)
        console.print(table if found[heading] else Text("No job was submitted in this time."))
        console.print()


def inventory(stored: Inventory, console: Console) -> None:
    """Print every file of an upload with its size and checksum."""
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold", header_style="dim")
    for heading in ("bytes", "crc64nvme"):
        table.add_column(heading, justify="right", no_wrap=True, header_style="dim")
    for file in stored.files:
        table.add_row(Text(printable(file.path)), Text(str(file.size)), Text(file.crc64nvme))
    for name in stored.empty_folders:
        table.add_row(Text(f"{printable(name)}/"), Text("an empty folder", style="dim"), "")
    console.print(table)
    size, count = report.size_text(stored.size), counted(len(stored.files), "file")
    console.print(Text(f"\n{count}, {size}, in {printable(stored.location)}"), soft_wrap=True)


class Follower:
    """Shows standings live while an agent works; plain lines where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._last: dict[str, str] = {}

    def __enter__(self) -> Follower:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, standings: Sequence[Standing], notes: Sequence[str] = ()) -> None:
        """Show how things stand now."""
        if self._console.is_terminal:
            said = [Text(note, style="yellow") for note in notes]
            self._live.update(Group(overview(standings), *said))
            return
        for standing in standings:
            self._print_news(standing)

    def say(self, words: str) -> None:
        """Print a line for whoever watches."""
        self._console.print(Text(words, style="yellow"), soft_wrap=True)

    def _print_news(self, standing: Standing) -> None:
        lines = {standing.name: f"{standing.name}: {report.summary(standing)}"}
        for job in standing.jobs:
            for task in job.tasks:
                if task.state in (TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED):
                    lines[f"{job.job_id}/{task.key}"] = f"{job.s3_prefix} {task.key}: {task.state.value}"
        for what, line in lines.items():
            if self._last.get(what) != line:
                self._last[what] = line
                self._console.print(Text(line), soft_wrap=True)
