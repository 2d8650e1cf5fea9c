"""The commands.

Exit codes: 0 done; 1 the manifest or job has problems; 2 wrong use or configuration; 3 something the agent needs is
not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from dropbox_agent import (
    assembly,
    concerns,
    demonstration,
    doctor,
    examine,
    founding,
    preset_commands,
    report,
    serving,
    submission,
    terminal,
)
from dropbox_agent import settings as site
from dropbox_agent.agent import Agent
from dropbox_agent.errors import AgentError, WrongUse
from dropbox_agent.model import JobSearch, Standing, read_inventory
from dropbox_agent.settings import Settings
from dropbox_agent.states import FINAL_DROP_STATES, DropState, JobState
from dropbox_agent.web import exports

SHOWN_MANIFESTS = 15
AGAIN_SECONDS = 15
"""After how long what a working agent may be just writing is looked at again."""
LOOK_SECONDS = 0.5
"""How often a manifest that is followed is looked at."""
NOBODY_SECONDS = 15.0
"""After how long a manifest that nobody has recorded is worth a word."""

app = typer.Typer(
    help="Drop a filled spreadsheet into a watched folder: it is checked, uploaded, verified and answered beside it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Config = Annotated[
    Path | None,
    typer.Option("--config", help="The settings file. Default: $DROPBOX_AGENT_CONFIG, config/agent.yaml, packaged."),
]


class Baseline(str, Enum):
    """What to do with the files that lie in an inbox when it is adopted."""

    SEEN = "seen"
    PROCESS = "process"


def main() -> None:
    """Run the command line; every expected trouble is a sentence on standard error and an exit code."""
    try:
        app()
    except AgentError as error:
        Console(stderr=True).print(Text(str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (head, less): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"dropbox-agent {metadata.version('dropbox-agent')}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before the command."""


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Argument(help="Where to make the workspace (missing or empty).")] = None,
) -> None:
    """Make a small workspace, drop a filled workbook into it, upload it, and check every byte."""
    raise typer.Exit(demonstration.run(folder, Console(), os.environ))


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="A missing or empty folder.")]) -> None:
    """Make a workspace: agent.yaml, job_types/, inbox, work and state folders."""
    file = founding.initialise(folder, assembly.utc_now())
    console = Console()
    console.print(Text(f"Made {file}. Look through it, then: dropbox-agent run --config {file}"), soft_wrap=True)


@app.command()
def run(
    config: Config = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End once everything is answered and done.")] = False,
) -> None:
    """Watch the inboxes and do the work, until stopped (Ctrl-C or SIGTERM; what runs goes on and is found again)."""
    console = Console(stderr=True)
    _log_to(console)
    settings = _settings(config)
    agent = assembly.open_agent(settings, os.environ, assembly.utc_now())
    try:
        with serving.served_beside(settings) if settings.web.in_run else nullcontext():
            work(agent, settings, console, until_idle)
    finally:
        agent.ledger.close()


def work(agent: Agent, settings: Settings, console: Console, until_idle: bool) -> None:
    """Run an agent in the foreground, showing what it does. Raises what keeps every inbox from being watched."""
    trouble = assembly.first_trouble(agent)
    if trouble is not None and until_idle:
        raise trouble
    for warning in concerns.warnings(settings):
        logging.getLogger(__name__).warning(warning)
    heartbeat = serving.heartbeat(agent, settings)
    with _stopped_by_signals(agent.stop), terminal.Follower(console) as follower, heartbeat as beat:

        def each_tick() -> None:
            beat()
            if console.is_terminal:
                follower.show(agent.ledger.drops(SHOWN_MANIFESTS), agent.notes())

        agent.run(until_idle, each_tick)
    undone = agent.trouble() if until_idle else []
    if undone:
        raise AgentError("\n".join(undone))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A manifest: .xlsx, .csv, .yaml, .yml or .json.")],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Say what is wrong with a manifest, and what would be done with it. Changes nothing."""
    settings = _settings(config)
    if not file.is_file():
        raise typer.BadParameter(f"{file} is not a file.")
    by = assembly.examiner(settings)
    found = by.examine(file, file.name, assembly.utc_now())
    if trouble := by.load_presets().trouble:
        Console(stderr=True).print(Text(trouble), soft_wrap=True)
    if as_json:
        print(json.dumps(examine.as_json(found), indent=1, default=str))
    else:
        terminal.examination(found, _console())
    raise typer.Exit(1 if found.errors else 0)


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="A manifest.")],
    config: Config = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show what becomes of it, until it has ended.")] = False,
) -> None:
    """Drop a manifest into the (first) inbox, whole or not at all. A running agent takes it from there."""
    settings = _settings(config)
    if not file.is_file():
        raise typer.BadParameter(f"{file} is not a file.")
    if not settings.inboxes:
        raise WrongUse(f"{settings.origin}: no inbox is set ('inboxes').")
    if not follow:
        print(submission.drop(file, settings.inboxes[0].path))
        return
    reader = assembly.open_reader(settings)
    try:
        following = submission.Following(reader, file, settings.inboxes[0].path)
        print(submission.drop(file, settings.inboxes[0].path), flush=True)
        ended = _followed(following)
        print(f"{ended.name}: {report.summary(ended)}")
        raise typer.Exit(0 if ended.state is DropState.SUCCEEDED else 1)
    finally:
        reader.close()


def _followed(following: submission.Following) -> Standing:
    """Show how a manifest stands until it has ended; return how it ended. Ctrl-C ends the showing, not the work."""
    waited = 0.0
    with terminal.Follower(_console()) as follower:
        while True:
            standing = following.standing()
            if standing is not None:
                follower.show([standing])
                if standing.state in FINAL_DROP_STATES:
                    return standing
            elif waited == NOBODY_SECONDS:
                follower.say("Nobody has taken it so far. If no agent runs, 'dropbox-agent run' starts one.")
            time.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS


@app.command()
def summary(
    config: Config = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days back.")] = 14,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Count the jobs by state: of each day, and of each job type."""
    lists = assembly.open_lists(_settings(config))
    try:
        since = (assembly.utc_now() - timedelta(days=days - 1)).date()
        by_day = sorted(lists.days(JobSearch(), since).items())
        found = {
            "days": {day.isoformat(): _by_name(counts) for day, counts in by_day},
            "job_types": {name: _by_name(counts) for name, counts in lists.job_types(since).items()},
        }
    finally:
        lists.close()
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        terminal.summary(found, _console())


def _by_name(counts: Mapping[JobState, int]) -> dict[str, int]:
    """Every state has its number, also 0: a program need not ask whether it is there."""
    return {state.value: counts.get(state, 0) for state in JobState}


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Whom it is for: a person, a rig, a script.")],
    email: Annotated[str | None, typer.Option(help="Who is told about jobs that name no address.")] = None,
) -> None:
    """Make a token with which somebody may submit through the API. It is shown this once and kept nowhere."""
    if not site.TOKEN_NAME.fullmatch(name):
        raise typer.BadParameter(f"{name} is no name for a token: at most 40 lower-case letters, digits and dashes.")
    made = secrets.token_urlsafe(32)
    entry = {"name": name, "sha256": hashlib.sha256(made.encode()).hexdigest(), "user_email": email}
    print(f"The token for {name}. It is not shown again:\n\n  {made}\n")
    print("What agent.yaml gets, below 'api:' (with 'submit: true'), before serve is started again:\n\n  tokens:")
    print("    - " + "\n      ".join(f"{key}: {value}" for key, value in entry.items() if value))


@app.command()
def status(
    config: Config = None, as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False
) -> None:
    """Show how the newest manifests and their uploads stand, and what an operator has to act on."""
    settings = _settings(config)
    reader = assembly.open_reader(settings)
    try:
        if as_json:
            print(json.dumps(concerns.state_of_the_site(reader, settings), indent=1))
            return
        console = _console()
        console.print(terminal.overview(reader.drops(SHOWN_MANIFESTS)))
        for line in concerns.troubles(reader, settings):
            console.print(Text(line, style="bold red"), soft_wrap=True)
    finally:
        reader.close()


@app.command()
def inventory(
    job: Annotated[str, typer.Argument(help="The job's id, as status shows it.")],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the inventory.json of the upload.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print for spreadsheets.")] = False,
) -> None:
    """List every file that a job's upload stored, with its size and checksum."""
    content = assembly.inventory(_settings(config), job)
    if as_json:
        print(content.decode())
    elif as_csv:
        print("".join(exports.inventory_lines(read_inventory(content))), end="")
    else:
        terminal.inventory(read_inventory(content), _console())


@app.command()
def retry(
    job: Annotated[str, typer.Argument(help="The job's id, as status shows it.")],
    config: Config = None,
    from_task: Annotated[str | None, typer.Option("--from", help="Also what succeeded, from this task on.")] = None,
) -> None:
    """Run a failed or cancelled job again; what succeeded is kept, and a half upload goes on where it stopped.

    What is to be run again by itself later is run now.
    """
    print(assembly.order(_settings(config), "retry", job, from_task))


@app.command()
def cancel(
    job: Annotated[str, typer.Argument(help="The job's id, as status shows it.")], config: Config = None
) -> None:
    """End a job: what waits is not started, what runs is ended."""
    print(assembly.order(_settings(config), "cancel", job))


@app.command(name="doctor")
def look_after(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
    write_into: Annotated[
        Path | None,
        typer.Option(help="Only write there: another machine that sees the share can then be measured."),
    ] = None,
) -> None:
    """Look at all this site needs (folders, inboxes, presets, ...), and say what to do. Ends with 3 if anything fails.

    Exit codes: 0 all is well, 1 something to look at, 2 unusable settings, 3 something the agent needs is not there.
    """
    if write_into is not None:
        _write_into(write_into)
        return
    found = list(doctor.look(config, os.environ))
    if as_json:
        print(json.dumps(doctor.as_json(found), indent=1))
    else:
        doctor.show(found, _console())
    raise typer.Exit(doctor.exit_code(found))


def _write_into(folder: Path) -> None:
    print(
        f"Writing into {folder} for {doctor.WRITTEN_SECONDS / 60:.0f} minutes. Now ask 'dropbox-agent doctor' on the "
        "machine of the agent how late it sees that. Ctrl-C ends this."
    )
    stop = threading.Event()
    try:
        with _stopped_by_signals(stop.set):
            doctor.write_into(folder, stop)
    except OSError as error:
        raise WrongUse(f"{folder} cannot be written: {error.strerror}.") from error


app.add_typer(preset_commands.commands, name="presets")


@app.command()
def template(
    file: Annotated[Path, typer.Argument(help="Where to write the workbook.")] = Path("TEMPLATE.xlsx"),
    config: Config = None,
) -> None:
    """Write an empty workbook to fill in, with this site's job types, projects and buckets to choose from."""
    print(assembly.write_template(file, assembly.examiner(_settings(config)), assembly.utc_now()))


@app.command()
def schema(config: Config = None) -> None:
    """Print the JSON Schema of .yaml and .json manifests, for editors that complete and check while one types."""
    print(json.dumps(assembly.manifest_schema(assembly.examiner(_settings(config)), assembly.utc_now()), indent=1))


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. Default: web.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port to listen on. Default: web.port.")
    ] = None,
) -> None:
    """Serve the web page: jobs, manifests, presets. Read-only; needs neither inbox nor a running agent."""
    serving.serve(
        _settings(config), host, port,
        lambda place: print(f"The pages are at {place}, the API at {place}/api. Ctrl-C ends it.", flush=True),
    )  # fmt: skip


@app.command()
def adopt(
    inbox: Annotated[Path, typer.Argument(help="An existing folder that 'inboxes' names.")],
    baseline: Annotated[Baseline, typer.Option(help="Leave alone what lies there (seen), or process it.")],
    config: Config = None,
) -> None:
    """Bind an existing folder to this agent's ledger, and say what to do with the files in it."""
    left = founding.adopt(_settings(config), inbox, baseline.value, assembly.utc_now())
    print(f"{inbox} is now watched by this agent; {left} files in it are left alone as they are.")


@app.command()
def fsck(
    config: Config = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is derived; no agent may run meanwhile.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Check that what must always be true of ledger, spool, run folders and status files is true."""
    from dropbox_agent import fsck as check  # needed by no other command

    settings, now = _settings(config), assembly.utc_now()
    found = check.mend(settings, now) if repair else check.look_twice(settings, now, _pause)
    if as_json:
        print(json.dumps([vars(one) for one in found], indent=1))
    for one in found if not as_json else ():
        print(f"{'mended' if one.mended else 'WRONG':7} {one.invariant}: {one.sentence} ({one.what})")
    raise typer.Exit(0 if all(one.mended for one in found) else 1)


def _pause() -> None:
    print(f"An agent is at work. What it may be just writing is looked at again in {AGAIN_SECONDS} s.", file=sys.stderr)
    time.sleep(AGAIN_SECONDS)


def _settings(config: Path | None) -> Settings:
    return site.load(config, os.environ)


def _console() -> Console:
    """Piped output is not cut at 80 columns: nobody reads it through a window."""
    return Console() if sys.stdout.isatty() else Console(width=max(160, shutil.get_terminal_size().columns))


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class OneLine(logging.Formatter):
    """Writes each message as one line: names come from whoever can drop a file, and must not look like our lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        record.message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in record.message)
        return super().formatMessage(record)


def _log_to(console: Console) -> None:
    if console.is_terminal:
        handler: logging.Handler = RichHandler(console=console, show_path=False, markup=False)
        handler.setFormatter(OneLine("%(message)s"))
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    # It would write a line for each question to slurmrestd.
    logging.getLogger("httpx").setLevel(logging.WARNING)
