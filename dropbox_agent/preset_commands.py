"""The commands that list the job types, and copy them between a folder and an AWS Parameter Store."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dropbox_agent import assembly, examine, presets
from dropbox_agent import settings as site
from dropbox_agent.errors import AgentError, WrongUse
from dropbox_agent.model import Presets
from dropbox_agent.settings import Settings

commands = typer.Typer(
    help="List the job types, and those that cannot be used with the reason; copy them between folder and store.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
Config = Annotated[Path | None, typer.Option("--config", help="The settings file.")]
Folder = Annotated[Path, typer.Argument(help="A folder with one file per job type.")]


@commands.callback(invoke_without_command=True)
def listed(context: typer.Context, config: Config = None) -> None:
    """List the job types, and those that cannot be used with the reason."""
    if context.invoked_subcommand is None:
        _show(assembly.job_types(_settings(config))())


@commands.command()
def check(
    folder: Annotated[Path | None, typer.Argument(help="Default: the store.")] = None, config: Config = None
) -> None:
    """Say what is wrong with the job types of a folder, or with those in the store as they are now."""
    settings = _settings(config)
    if folder is not None:
        _show(examine.presets_in(folder)())
    store = _store(settings)
    _show(examine.presets_from(store.prefix, [one.as_json() for one in store.read()]))


@commands.command()
def diff(folder: Folder, config: Config = None) -> None:
    """Show what is not the same in a folder and in the store: + only in the folder, - only in the store, ~ different.

    Exit codes: 0 nothing differs, 1 something does.
    """
    found = presets.differences(_of_folder(folder), _store(_settings(config)).read())
    for difference in found:
        for line in difference.lines():
            _console().print(Text(line), soft_wrap=True)
    raise typer.Exit(1 if found else 0)


@commands.command()
def push(
    folder: Folder,
    config: Config = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also delete what is only in the store.")] = False,
) -> None:
    """Write the job types of a folder to the store: what differs, nothing else, and nothing if one of them is wrong."""
    store = _store(_settings(config))
    for line in presets.push(store, _of_folder(folder), store.read(), delete):
        print(line, flush=True)


@commands.command()
def pull(
    folder: Folder,
    config: Config = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there and differ.")] = False,
) -> None:
    """Write the job types of the store into a folder, one file each, and nothing if one of them is wrong."""
    store = _store(_settings(config))
    stored = examine.presets_from(store.prefix, [one.as_json() for one in store.read()])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError(f"The folder {folder} cannot be made: {error.strerror}. Nothing was written.") from error
    for line in presets.pull(stored, folder, overwrite):
        print(line, flush=True)


def _show(stored: Presets) -> None:
    console = _console()
    for name, job_type in sorted(stored.job_types.items()):
        console.print(Text(f"{name:20} {job_type.description}"), soft_wrap=True)
    for name, reason in sorted(stored.broken.items()):
        console.print(Text(f"{name:20} cannot be used: {reason}", style="bold red"), soft_wrap=True)
    if stored.trouble:
        console.print(Text(stored.trouble, style="bold red"), soft_wrap=True)
    raise typer.Exit(1 if stored.broken else 0)


def _of_folder(folder: Path) -> Presets:
    return examine.presets_in(folder)()


def _store(settings: Settings) -> presets.Store:
    store = assembly.preset_store(settings.presets)
    if store is None:
        raise WrongUse(f"{settings.origin}: no Parameter Store is named (presets.prefix).")
    return store


def _settings(config: Path | None) -> Settings:
    return site.load(config, os.environ)


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=max(160, shutil.get_terminal_size().columns))
