"""What an operator should know of a site: before an agent runs, and now."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from dropbox_agent import assembly, report
from dropbox_agent.errors import AgentError, NoAnswer
from dropbox_agent.inbox import guard
from dropbox_agent.ledger import Reader
from dropbox_agent.patience import Places
from dropbox_agent.settings import Settings

SHELL_SAFE = re.compile(r"[A-Za-z0-9/._-]+")
LOOK_SECONDS = 5.0
"""How long `status` waits for a share to answer."""


def warnings(settings: Settings) -> list[str]:
    """Return what an operator should know before an agent runs, a sentence each."""
    return [*doubts(settings), *_preset_troubles(settings), *_project_troubles(settings)]


def doubts(settings: Settings) -> list[str]:
    """Return what in the settings is worth a second look, a sentence each."""
    found = []
    if not settings.policy.source_roots:
        found.append(
            "policy.source_roots is empty: any folder that this account can read may be uploaded. Name the folders "
            "that scientists keep their data in."
        )
    if not SHELL_SAFE.fullmatch(str(settings.work_dir)):
        found.append(
            f"work_dir ({settings.work_dir}) has characters that mean something to a shell: job types whose "
            "command_script uses %OUTPUT_LOCATION will be refused. Choose a path of letters, digits and /._-"
        )
    return found


def troubles(reader: Reader, settings: Settings) -> list[str]:
    """Return what an operator has to act on now, a sentence each."""
    found, shares = [], Places(LOOK_SECONDS)
    for inbox in settings.inboxes:
        try:
            shares.ask(inbox.path, partial(guard, inbox.path, reader.ledger_id))
        except AgentError as error:
            found.append(str(error))
    if not _is_there(settings.work_dir, shares):
        found.append(f"The work folder {settings.work_dir} is not there: nothing new is started until it is back.")
    found += [f"{name}: {error}" for name, error in [*reader.not_taken(), *reader.undelivered()]]
    return [*found, *_preset_troubles(settings), *_project_troubles(settings)]


def state_of_the_site(reader: Reader, settings: Settings) -> dict[str, Any]:
    """Return counts, the newest manifests and the troubles, for programs."""
    return {
        "jobs": dict(reader.count_jobs()),
        "manifests": [report.status(standing) for standing in reader.drops()],
        "troubles": troubles(reader, settings),
    }


def _preset_troubles(settings: Settings) -> list[str]:
    try:
        found = assembly.job_types(settings)()
    except AgentError as error:
        return [str(error)]
    broken = [f"Job type {name} cannot be used: {reason}" for name, reason in sorted(found.broken.items())]
    return [found.trouble, *broken] if found.trouble else broken


def _project_troubles(settings: Settings) -> list[str]:
    names = assembly.project_names(settings)
    if names is None:
        return []
    try:
        trouble = names().trouble
    except AgentError as error:
        return [f"{error} Until it can, no manifest is taken in."]
    return [trouble] if trouble else []


def _is_there(folder: Path, shares: Places) -> bool:
    try:
        return shares.ask(folder, folder.is_dir)
    except NoAnswer:
        return False
