"""The services a site uses: whether they answer, and with what the agent says to them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from dropbox_agent import assembly, deliver
from dropbox_agent.doctor.findings import Finding, Site, Verdict
from dropbox_agent.errors import AgentError

LONGEST_SECONDS = 15.0
"""How long one service is waited for."""


def projects(at: Site) -> Iterator[Finding]:
    """The list of projects."""
    names = assembly.project_names(at.settings)
    if names is None:
        known = len(at.settings.projects)
        words = f"{known} names in the settings." if known else "Any well-formed name is accepted."
        yield Finding("projects", Verdict.NOT_CONFIGURED, f"No projects_url is set. {words}")
        return
    try:
        answer = names()
    except AgentError as error:
        yield Finding("projects", Verdict.FAILED, str(error), "Correct projects_url: no manifest is taken in.")
        return
    if answer.trouble:
        yield Finding("projects", Verdict.WARNING, answer.trouble, "New projects are not known until it answers.")
    else:
        words = f"{len(answer.value)} names from {at.settings.projects_url}."
        yield Finding("projects", Verdict.OK, words)


def code_ocean(at: Site) -> Iterator[Finding]:
    """Code Ocean's token: there, and nobody else's to read. Code Ocean itself is asked by the tasks."""
    access = assembly.code_ocean(at.settings.codeocean)
    if access is None or access.token.file is None:
        words = "Its tasks are skipped (codeocean.domain is not set)."
        yield Finding("code ocean", Verdict.NOT_CONFIGURED, words)
        return
    access.token.read(at.environ)
    if access.token.file.stat().st_mode & 0o077:
        words = f"{access.token.file} (codeocean.token_file) can be read by other users of this machine."
        yield Finding("code ocean", Verdict.WARNING, words, f"chmod 600 {access.token.file}")
        return
    yield Finding("code ocean", Verdict.OK, f"The token for {access.domain} is there; tasks use it.")


def metadata(at: Site) -> Iterator[Finding]:
    """The metadata service: it answers."""
    address = at.settings.metadata.service_url
    if address is None:
        yield Finding("metadata service", Verdict.NOT_CONFIGURED, "Metadata come from metadata_dir and presets.")
        return
    try:
        httpx.get(address, timeout=LONGEST_SECONDS)
    except httpx.HTTPError as error:
        words = f"The metadata service {address} cannot be reached ({error or type(error).__name__})."
        yield Finding("metadata service", Verdict.FAILED, words, "Correct metadata.service_url, or have it started.")
        return
    yield Finding("metadata service", Verdict.OK, f"The metadata service {address} answers.")


def mail(at: Site) -> Iterator[Finding]:
    """The mail server: it answers, is who it says, and takes the login; no mail is sent."""
    server = assembly.mail_server(at.settings.mail)
    if server is None:
        words = "Mails are written beside the manifests (mail.kind: file)."
        yield Finding("mail", Verdict.NOT_CONFIGURED, words)
        return
    trouble = deliver.probe(server, at.environ, LONGEST_SECONDS)
    if trouble is not None:
        advice = "Correct 'mail'. Until then mails wait in the ledger, and none is lost."
        yield Finding("mail", Verdict.FAILED, trouble, advice)
        return
    login = f" and takes the login of {server.username}" if server.username else ""
    yield Finding("mail", Verdict.OK, f"The mail server {server} answers ({server.security}){login}.")
