"""Check that what must always be true of an installation is true, and mend what follows from the rest.

The ledger is the truth; status files, temporary files and the bytes in the spool that nothing names are derived from
it. An invariant of the ledger itself that is broken is told and never mended: somebody has to look.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from dropbox_agent import assembly, deliver, pulse
from dropbox_agent.agent import database
from dropbox_agent.errors import AgentError
from dropbox_agent.inbox import guard
from dropbox_agent.ledger import Audit
from dropbox_agent.model import RunFolder
from dropbox_agent.settings import Settings


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be."""

    invariant: str
    """Which rule it breaks: ``status``, ``spool``, ``history``, ..."""
    what: str
    sentence: str
    mended: bool = False
    """Whether it is all right again, or will be once the agent runs."""


def look(settings: Settings) -> list[Finding]:
    """Return what is wrong; changes nothing. Raises LedgerUnavailable when there is no ledger to compare with."""
    audit = Audit.of(database(settings.state_dir))
    try:
        return list(_found(settings, audit))
    finally:
        audit.close()


def look_twice(settings: Settings, now: datetime, pause: Callable[[], None]) -> list[Finding]:
    """Return what is wrong, and, where an agent works, still is after a pause; changes nothing.

    What an agent is just writing looks like what a killed one left. Raises as ``look`` does.
    """
    found = look(settings)
    said = pulse.read(settings.state_dir)
    if not found or said is None or not said.is_alive(now):
        return found
    pause()
    return [finding for finding in look(settings) if finding in found]


def mend(settings: Settings, now: datetime) -> list[Finding]:
    """Mend what is derived and return all that was found. Raises LedgerInUse while an agent works."""
    ledger = assembly.open_ledger(settings, now)
    try:
        return [_mended(finding, ledger.tell_again) for finding in look(settings)]
    finally:
        ledger.close()


def _found(settings: Settings, audit: Audit) -> Iterator[Finding]:
    for sentence in audit.damage():
        yield Finding("ledger", "ledger.sqlite", sentence)
    for what, sentence in audit.broken_rules():
        yield Finding("history", what, sentence)
    yield from _spool(settings.state_dir / "spool", audit.contents(_kept_since(settings)))
    yield from _run_folders(settings.work_dir, audit)
    for inbox in settings.inboxes:
        yield from _inbox(inbox.path, audit)


def _kept_since(settings: Settings) -> datetime | None:
    days = settings.keep.spool_days
    return None if days is None else assembly.utc_now() - timedelta(days=days)


# --- spool and run folders -------------------------------------------------------------------------------------------


def _spool(spool: Path, wanted: Mapping[str, str]) -> Iterator[Finding]:
    """Each content that a manifest was taken as is there, whole; nothing else is."""
    there = {path.name: path for path in spool.iterdir()} if spool.is_dir() else {}
    for sha256, manifest in sorted(wanted.items()):
        if sha256 not in there:
            yield Finding("spool", manifest, f"What {manifest} said ({sha256}) is no longer in {spool}.")
        elif deliver.digest_of(there[sha256]) != sha256:
            yield Finding("spool", manifest, f"{there[sha256]} no longer has the content that {manifest} had.")
    for name in sorted(there.keys() - wanted.keys()):
        yield Finding("left over", str(there[name]), "No manifest was recorded with this content.")


def _run_folders(work_dir: Path, audit: Audit) -> Iterator[Finding]:
    """Nothing has started that the ledger does not know."""
    for job_id in audit.job_ids() if work_dir.is_dir() else ():
        attempts = RunFolder(work_dir / job_id).attempts
        known = audit.attempt_keys(job_id)
        for folder in sorted(attempts.iterdir()) if attempts.is_dir() else ():
            if folder.name not in known:
                yield Finding("attempts", job_id, f"{folder} is no attempt that the ledger knows.")


# --- inboxes ---------------------------------------------------------------------------------------------------------


def _inbox(inbox: Path, audit: Audit) -> Iterator[Finding]:
    try:
        guard(inbox, audit.ledger_id)
        names = sorted(os.listdir(inbox))
    except (AgentError, OSError) as error:
        yield Finding("inbox", str(inbox), str(error))
        return
    for name in names:
        if deliver.is_temporary(name):
            yield Finding("left over", str(inbox / name), "A temporary file of an agent that was killed.")
    for drop_id, name, state in audit.told_in(inbox):
        if name not in names:
            continue
        said = _said_in(inbox / deliver.Names(name).status_json)
        if said != state:
            sentence = f"Its status beside it says {said or 'nothing'}; the ledger says {state}."
            yield Finding("status", str(drop_id), f"{name}: {sentence}")


def _said_in(path: Path) -> str | None:
    try:
        status = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return str(status.get("state")) if isinstance(status, dict) else None


# --- mending ---------------------------------------------------------------------------------------------------------


def _mended(finding: Finding, tell_again: Callable[[int], None]) -> Finding:
    if finding.invariant == "status":
        tell_again(int(finding.what))
        return replace(finding, mended=True)
    if finding.invariant == "left over":
        Path(finding.what).unlink(missing_ok=True)
        return replace(finding, mended=True)
    return finding
