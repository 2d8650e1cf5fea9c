"""The site itself: settings, folders, inboxes, job types."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dropbox_agent import assembly, concerns, inbox, plan
from dropbox_agent.doctor import mounts, s3
from dropbox_agent.doctor.findings import Finding, Site, Verdict
from dropbox_agent.errors import AgentError, InboxUnavailable, LedgerUnavailable
from dropbox_agent.states import Cause

LITTLE_BYTES = 1_000_000_000
"""Less free space than this is worth a warning."""
RETRIES_ADVICE = (
    "Such a task fails for good. Write a line service_away below 'retries' of default, or of these (docs/retries.md); "
    "'service_away: 0' says that it is meant."
)
PREFIX = ".dropbox-agent-"
"""So begin the agent's own files in an inbox; they are never taken for manifests, and swept when it starts."""


def settings(at: Site) -> Iterator[Finding]:
    """What the settings file is, and what in it is worth a second look."""
    yield Finding("settings", Verdict.OK, f"{at.settings.origin} can be used.")
    for warning in concerns.doubts(at.settings):
        yield Finding("settings", Verdict.WARNING, warning)


def state_dir(at: Site) -> Iterator[Finding]:
    """Ledger and spool: writable, and on a disk of this machine."""
    found = _folder(
        "state_dir", at.settings.state_dir, "Make it, or correct state_dir; 'dropbox-agent init' makes one."
    )
    mount = mounts.mount_of(at.settings.state_dir, mounts.here())
    if found.verdict is Verdict.OK and mount is not None and mount.is_network:
        words = f"{at.settings.state_dir} lies on a network share ({mount.kind} at {mount.point})."
        advice = "Move it to a disk of this machine: locks on shares do not keep two agents apart, nor a ledger whole."
        found = Finding("state_dir", Verdict.FAILED, words, advice)
    yield found


def work_dir(at: Site) -> Iterator[Finding]:
    """The run folders: writable."""
    yield _folder(
        "work_dir", at.settings.work_dir, "Make it, mount it, or correct work_dir: nothing starts without it."
    )


def inboxes(at: Site) -> Iterator[Finding]:
    """Each watched folder: there, bound to this ledger, writable."""
    if not at.settings.inboxes:
        yield Finding("inboxes", Verdict.FAILED, "No inbox is set.", "Name the watched folders in 'inboxes'.")
        return
    try:
        reader = assembly.open_reader(at.settings)
        ledger_id = reader.ledger_id
        reader.close()
    except LedgerUnavailable as error:
        yield Finding("ledger", Verdict.FAILED, str(error), "'dropbox-agent init' or 'adopt' makes a ledger.")
        return
    for one in at.settings.inboxes:
        yield _inbox(one.path, ledger_id)


def _inbox(path: Path, ledger_id: str) -> Finding:
    name = f"inbox {path}"
    try:
        inbox.guard(path, ledger_id)
    except InboxUnavailable as error:
        return Finding(name, Verdict.FAILED, str(error))
    advice = "Let the agent's account write there: answers are put beside the manifests."
    return _folder(name, path, advice)


def buckets(at: Site) -> Iterator[Finding]:
    """Each bucket: a folder that can be written, or S3 that answers, lists, stores and checks."""
    for name, address in sorted(at.settings.buckets.items()):
        folder = assembly.bucket_folder(address)
        if folder is not None:
            yield _folder(f"bucket {name}", folder, "Make it, mount it, or correct 'buckets': no upload can go there.")
        else:
            yield s3.bucket(f"bucket {name}", address, assembly.s3_access(at.settings, name), at.environ)


def job_types(at: Site) -> Iterator[Finding]:
    """The presets: readable, each of them usable."""
    chosen = at.settings.presets
    where = str(chosen.folder) if chosen.kind == "yaml" else f"the Parameter Store below {chosen.prefix}/v2"
    try:
        stored = assembly.job_types(at.settings)()
    except AgentError as error:
        yield Finding("job types", Verdict.FAILED, str(error))
        return
    if stored.trouble is not None:
        advice = "Nothing stops meanwhile. Job types that change there are not seen until it answers."
        yield Finding("job types", Verdict.WARNING, stored.trouble, advice)
    else:
        names = ", ".join(sorted(stored.job_types))
        yield Finding("job types", Verdict.OK, f"{len(stored.job_types)} in {where}: {names}.")
    for name, reason in sorted(stored.broken.items()):
        advice = f"Correct its {'file' if chosen.kind == 'yaml' else 'parameter'}."
        yield Finding(f"job type {name}", Verdict.WARNING, f"It cannot be used: {reason}", advice)
    if unsaid := plan.unsaid_in(stored, Cause.SERVICE_AWAY):
        names = ", ".join(unsaid)
        words = f"Nothing says whether a task is run again after a service or share was away, in jobs of {names}."
        yield Finding("retries", Verdict.WARNING, words, RETRIES_ADVICE)


# --- folders ---------------------------------------------------------------------------------------------------------


def _folder(name: str, folder: Path, advice: str) -> Finding:
    """Return whether a folder is there and takes a file, and on which file system it lies."""
    if not folder.is_dir():
        return Finding(name, Verdict.FAILED, f"{folder} is not there.", advice)
    try:
        # Permissions alone do not tell: shares have minds of their own.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=PREFIX, suffix=".tmp") as file:
            file.write(b"written by dropbox-agent doctor\n")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        words = f"{folder} does not take a file: {error.strerror or error}."
        return Finding(name, Verdict.FAILED, words, advice)
    mount = mounts.mount_of(folder, mounts.here())
    where = f"{mount.kind} at {mount.point}" if mount else "a file system that is not named here"
    words = f"{folder} can be written; it lies on {where}, with {free / 1e9:.1f} GB free."
    if free < LITTLE_BYTES:
        return Finding(name, Verdict.WARNING, words, "Make room: on a full disk nothing goes on.")
    return Finding(name, Verdict.OK, words)
