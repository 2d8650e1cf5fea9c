"""The services a site uses: whether they answer, and with what the agent says to them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dropbox_agent import assembly, deliver
from dropbox_agent.doctor.as_a_task import looked
from dropbox_agent.doctor.findings import Finding, Site, Verdict
from dropbox_agent.errors import AgentError

LOOK = "dropbox_agent.tasks.look"
LONGEST_SECONDS = 15.0
"""How long the mail server is waited for."""


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
    """Code Ocean: it takes the token, which is nobody else's to read."""
    access = assembly.code_ocean(at.settings.codeocean)
    if access is None or access.token.file is None:
        words = "Its tasks are skipped (codeocean.domain is not set)."
        yield Finding("code ocean", Verdict.NOT_CONFIGURED, words)
        return
    access.token.read(at.environ)
    trouble = _trouble(at, "Code Ocean", "codeocean", access.model_dump_json())
    if trouble is not None:
        yield Finding("code ocean", Verdict.FAILED, trouble, "Correct 'codeocean'; uploads go on, its tasks fail.")
    elif access.token.file.stat().st_mode & 0o077:
        words = f"{access.token.file} (codeocean.token_file) can be read by other users of this machine."
        yield Finding("code ocean", Verdict.WARNING, words, f"chmod 600 {access.token.file}")
    else:
        yield Finding("code ocean", Verdict.OK, f"Code Ocean ({access.domain}) answers, and takes the token.")


def docdb(at: Site) -> Iterator[Finding]:
    """DocDB: it answers, and there is something to sign with; nothing is written."""
    access = assembly.doc_db(at.settings.docdb)
    if access is None:
        yield Finding("docdb", Verdict.NOT_CONFIGURED, "Its task is skipped (docdb.host is not set).")
        return
    trouble = _trouble(at, "DocDB", "docdb", access.model_dump_json())
    if trouble is not None:
        yield Finding("docdb", Verdict.FAILED, trouble, "Correct 'docdb'; uploads go on, its task fails.")
        return
    words = f"DocDB ({access.host}) answers, and writing can be signed; whether it is allowed was not tried."
    yield Finding("docdb", Verdict.OK, words)


def metadata(at: Site) -> Iterator[Finding]:
    """The metadata service: it answers, and is one."""
    address = at.settings.metadata.service_url
    if address is None:
        yield Finding("metadata service", Verdict.NOT_CONFIGURED, "Metadata come from metadata_dir and presets.")
        return
    trouble = _trouble(at, "The metadata service", "metadata", json.dumps(address))
    if trouble is not None:
        advice = "Correct metadata.service_url, or have it started."
        yield Finding("metadata service", Verdict.FAILED, trouble, advice)
        return
    yield Finding("metadata service", Verdict.OK, f"The metadata service {address} answers.")


def _trouble(at: Site, name: str, section: str, given: str) -> str | None:
    """Return why a service that tasks use cannot be used from this machine."""
    trouble: str | None = looked(name, LOOK, (section, given), at.environ)["failed"]
    return trouble


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
