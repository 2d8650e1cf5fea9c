"""A new workspace, and an existing folder that becomes an inbox: ledger and marker are made together."""

from __future__ import annotations

import hashlib
import os
import stat
from datetime import datetime
from pathlib import Path

from dropbox_agent import assembly
from dropbox_agent import settings as site
from dropbox_agent.errors import InboxUnavailable, WrongUse
from dropbox_agent.executors import bound
from dropbox_agent.inbox import Inbox, mark, open_regular
from dropbox_agent.settings import Settings


def initialise(folder: Path, now: datetime) -> Path:
    """Make a workspace (settings, presets, folders, ledger, marker) in a missing or empty folder; return agent.yaml."""
    file = site.write_workspace(folder)
    settings = site.load(file, {})
    ledger = assembly.open_ledger(settings, now)
    try:
        bound.bind(settings.work_dir, ledger.ledger_id)
        for inbox in settings.inboxes:
            ledger.bind(mark(inbox.path, ledger.ledger_id), inbox.path, ())
    finally:
        ledger.close()
    return file


def adopt(settings: Settings, folder: Path, baseline: str, now: datetime) -> int:
    """Bind an existing inbox (or the work folder) to this site's ledger; return how many files in it are left alone."""
    if folder.resolve() == settings.work_dir.resolve():
        return _adopt_work_dir(settings, now)
    known = {inbox.path.resolve(): inbox for inbox in assembly.inboxes(settings)}
    inbox = known.get(folder.resolve())
    if inbox is None:
        raise WrongUse(f"{folder} is not one of the inboxes in {settings.origin}. Add it to 'inboxes' first.")
    if not inbox.path.is_dir():
        raise InboxUnavailable(f"The inbox {inbox.path} is not there, and it is never made silently. Make it first.")
    ledger = assembly.open_ledger(settings, now)
    try:
        present = _present(inbox) if baseline == "seen" else []
        if baseline == "process":
            ledger.leave_nothing_alone(inbox.path)
        ledger.leave_alone(inbox.path, present)
        ledger.bind(mark(inbox.path, ledger.ledger_id), inbox.path, ())
    finally:
        ledger.close()
    return len(present)


def _adopt_work_dir(settings: Settings, now: datetime) -> int:
    ledger = assembly.open_ledger(settings, now)
    try:
        bound.bind(settings.work_dir, ledger.ledger_id)
    finally:
        ledger.close()
    return 0


def _present(inbox: Inbox) -> list[tuple[str, str]]:
    """Return (name, sha256) of what lies there. Raises InboxUnavailable: what cannot be read would be run later."""
    found = []
    for name in sorted(os.listdir(inbox.path)):
        path = inbox.path / name
        if not inbox.is_candidate(name):
            continue
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open_regular(path) as file:
                    found.append((name, hashlib.sha256(file.read(inbox.max_bytes + 1)).hexdigest()))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InboxUnavailable(
                f"{path} cannot be read ({error.strerror}), so it could not be left alone once it can be. Nothing was "
                "adopted. Make it readable, or take it away; then try again."
            ) from error
    return found
