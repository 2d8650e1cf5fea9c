"""What is written beside a manifest, what a mail says, and the README of an inbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dropbox_agent.model import Level, Mail, Standing
from dropbox_agent.report.pages import Pages
from dropbox_agent.report.sentences import failed_tasks, of_level, summary, tried_again
from dropbox_agent.report.status_json import status
from dropbox_agent.report.text import one_line
from dropbox_agent.states import DropState

RELOAD_SECONDS = 5
"""How often an open status page reloads itself while work goes on."""
LIVE = frozenset({DropState.SETTLING, DropState.ACCEPTED, DropState.RUNNING})


@dataclass(frozen=True)
class Report:
    """What is written beside a manifest."""

    status: dict[str, Any]
    """The content of status.json."""
    html: str
    """The content of status.html."""


@dataclass(frozen=True)
class MailText:
    """What one mail says."""

    subject: str
    text: str
    html: str


def render(standing: Standing, now: datetime, pages: Pages, copy: str | None = None) -> Report:
    """Return the two status files of a manifest; ``copy`` is the name of the annotated copy beside it."""
    html = pages.page(
        "status.html.j2",
        standing=standing,
        summary=summary(standing),
        errors=of_level(standing.problems, Level.ERROR),
        warnings=of_level(standing.problems, Level.WARNING),
        live=standing.state in LIVE,
        copy=copy,
        reload_seconds=RELOAD_SECONDS,
        now=now,
    )
    return Report(status(standing), html)


def mail(mail: Mail, standing: Standing, pages: Pages, copy: str | None = None) -> MailText:
    """Return what one mail says, as plain text and as HTML; ``copy`` names the annotated copy of the manifest."""
    jobs = tuple(job for job in standing.jobs if mail.job_id in (None, job.job_id))
    facts = {
        "kind": mail.kind,
        "standing": standing,
        "summary": summary(standing),
        "copy": copy,
        "jobs": jobs,
        "subject_of": jobs[0].s3_prefix if mail.job_id and jobs else standing.name,
        "failed_tasks": [task for job in jobs for task in failed_tasks(job)],
        "again_tasks": [task for job in jobs for task in tried_again(job)],
        "errors": of_level(standing.problems, Level.ERROR),
        "warnings": of_level(standing.problems, Level.WARNING),
    }
    words = f"email/{mail.kind}.txt.j2"
    subject, happened, todo = (one_line(pages.block(words, name, **facts)) for name in ("subject", "happened", "todo"))
    return MailText(
        subject=subject,
        text=pages.page("email/frame.txt.j2", happened=happened, todo=todo, **facts),
        html=pages.page("email/frame.html.j2", subject=subject, happened=happened, todo=todo, **facts),
    )


def readme(pages: Pages, inbox: Path) -> str:
    """Return the README.txt that tells people how to use an inbox."""
    return pages.page("README.txt.j2", inbox=inbox)
