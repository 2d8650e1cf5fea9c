"""What people find in an inbox: README.txt and TEMPLATE.xlsx, made anew when the site's job types change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dropbox_agent import deliver, report
from dropbox_agent.errors import DeliveryFailed
from dropbox_agent.examine import Examiner
from dropbox_agent.inbox import Inbox, open_regular
from dropbox_agent.manifest import template

FINGERPRINT = ".dropbox-agent/template.sha256"
"""What the TEMPLATE.xlsx in an inbox was made from; it is made anew only when that changes."""
FILLED_IN = "somebody filled it in, so it is read as a manifest; a new one is put there once it has another name"


def furnishing(how: report.Pages, by: Examiner) -> Callable[[Inbox, datetime], None]:
    """Return what puts README.txt and TEMPLATE.xlsx into an inbox and sweeps what a killed agent left there.

    It raises DeliveryFailed, the README renewed all the same, when somebody filled the template in where it lies.
    """

    def furnish(inbox: Inbox, now: datetime) -> None:
        deliver.sweep(inbox.path)
        is_ours = _put_template(inbox.path, by, now)
        _put_readme(inbox.path, how)  # It names the template.
        if not is_ours:
            raise DeliveryFailed(inbox.path, deliver.TEMPLATE, FILLED_IN)

    return furnish


def _put_readme(folder: Path, how: report.Pages) -> None:
    text = report.readme(how, folder).encode()
    if _stored(folder / deliver.README, len(text)) != text:
        deliver.write(folder, deliver.README, text)


def _stored(path: Path, limit: int) -> bytes | None:
    """Return what stands in a plain file of the inbox, up to one byte more than the limit; never follows a link."""
    try:
        with open_regular(path) as file:
            return file.read(limit + 1)
    except OSError:
        return None


def _put_template(folder: Path, by: Examiner, now: datetime) -> bool:
    """Put the template of this site's names there, if there is none; return False when somebody's work stands there."""
    known = by.known(by.load_presets(), now)
    names = (known.job_types, known.projects, known.platforms, known.modalities, known.buckets)
    fingerprint = hashlib.sha256(repr((template.VERSION, names)).encode()).hexdigest()
    kept = folder / FINGERPRINT
    there = _stored(folder / deliver.TEMPLATE, 0) is not None
    if there and _stored(kept, len(fingerprint)) == fingerprint.encode():
        return True
    if not deliver.write_own(folder, deliver.TEMPLATE, template.template_bytes(known)):
        return False
    deliver.write(kept.parent, kept.name, fingerprint.encode(), by_way_of=folder)
    return True
