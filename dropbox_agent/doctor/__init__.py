"""Look at all a site needs before it is needed: ``dropbox-agent doctor``.

``CHECKS`` is the list; each check yields findings and changes nothing that stays. ``findings`` is what a check says,
``place`` looks at the settings, folders and job types, ``measure`` at what the shares do (``beacon`` is what another
machine writes meanwhile), ``cluster`` at what runs the tasks (``probe`` on a node), ``services`` at the others it talks
to; ``table`` shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dropbox_agent import settings as site
from dropbox_agent.doctor import cluster, measure, place, services
from dropbox_agent.doctor.beacon import WRITTEN_SECONDS
from dropbox_agent.doctor.beacon import write as write_into
from dropbox_agent.doctor.findings import Check, Finding, Site, Verdict, as_json, exit_code
from dropbox_agent.doctor.table import show
from dropbox_agent.errors import AgentError, SettingsError

CHECKS: tuple[Check, ...] = (
    place.settings,
    place.state_dir,
    place.work_dir,
    place.inboxes,
    measure.folders,
    place.buckets,
    place.job_types,
    cluster.executor,
    services.projects,
    services.mail,
    services.code_ocean,
    services.docdb,
    services.metadata,
)
"""Every check, in the order in which they are shown. To add one: a function that yields findings, and a line here."""


def look(config: Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is found at a site, one after the other; settings that are wrong are a finding, and the only one."""
    try:
        settings = site.load(config, environ)
    except SettingsError as error:
        yield Finding("settings", Verdict.UNUSABLE, str(error), "Correct the settings, then ask again.")
        return
    for check in CHECKS:
        yield from _found_by(check, Site(settings, environ))


def _found_by(check: Check, at: Site) -> Iterator[Finding]:
    """A check that goes wrong itself is a finding, and stops no other."""
    name = check.__name__.replace("_", " ")
    try:
        yield from check(at)
    except AgentError as error:
        yield Finding(name, Verdict.FAILED, str(error))
    except Exception as error:
        words = f"This could not be looked at: {type(error).__name__}: {error}"
        yield Finding(name, Verdict.FAILED, words, "Report it, with the settings file.")


__all__ = [
    "CHECKS",
    "WRITTEN_SECONDS",
    "Check",
    "Finding",
    "Site",
    "Verdict",
    "as_json",
    "exit_code",
    "look",
    "show",
    "write_into",
]
