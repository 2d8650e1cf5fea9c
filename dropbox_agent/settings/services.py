"""The sections of the services that a site may have, and what goes together in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dropbox_agent.settings.kinds import (
    DocDbHost,
    Folder,
    MailAddress,
    Port,
    Seconds,
    Section,
    ServiceAddress,
    Switch,
    Text,
    VariableName,
)

if TYPE_CHECKING:
    from dropbox_agent.settings.sections import Settings


class Mail(Section):
    """How people are told."""

    kind: Literal["file", "smtp"] = Field(
        "file",
        description="file writes every mail as an .eml file beside the manifest; smtp hands it to a mail server.",
    )
    sender: MailAddress = Field("dropbox-agent@localhost", description="The address mails come from.")
    default_to: MailAddress | None = Field(
        None, description="Who is told about jobs that name no address; null: nobody, with a warning."
    )
    host: Text | None = Field(None, description="The mail server (smtp).")
    port: Port | None = Field(None, description="Its port; null: 587 with starttls, 465 with tls, 25 with none.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is secured: starttls, tls from the first byte, or none."
    )
    username: Text | None = Field(None, description="The name to log in with; null: no login.")
    password_file: Folder | None = Field(None, description="The file that holds the password, and nothing else.")
    password_env: VariableName | None = Field(
        None, description="Or the environment variable of the agent that holds it."
    )
    ca_file: Folder | None = Field(
        None, description="The authority (PEM) the server's certificate comes from; null: those this machine trusts."
    )
    timeout_seconds: Seconds = Field(30.0, description="How long one answer of the mail server is waited for.")


class CodeOcean(Section):
    """Where uploaded data is registered and processed."""

    domain: ServiceAddress | None = Field(
        None, description="The address of Code Ocean; null: its tasks are skipped, with this reason."
    )
    token_file: Folder | None = Field(
        None,
        description="The file that holds the access token, and nothing else; tasks on every node read it.",
    )
    public: Switch = Field(False, description="Whether Code Ocean reads the buckets without access of its own.")
    hours: Seconds = Field(72.0, description="How long an asset or a computation is waited for, in hours.")


class DocDb(Section):
    """The database of all metadata records."""

    host: DocDbHost | None = Field(
        None, description="The host of its API, as api.example.org; null: its task is skipped, with this reason."
    )
    version: Literal["v1", "v2"] = Field("v2", description="The version of the metadata schema its records have.")
    region: Text | None = Field(None, description="The AWS region that writing is signed for; null: that of AWS's own.")
    profile: Text | None = Field(None, description="The profile in ~/.aws to use; null: the default one.")


def faults(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place and the sentence of each setting of a service that lacks another, or excludes it."""
    yield from _mail_faults(settings.mail)
    if (settings.codeocean.domain is None) != (settings.codeocean.token_file is None):
        yield ("codeocean", "domain"), "codeocean: domain and token_file belong together; set both."
    if settings.presets.kind == "ssm" and settings.presets.prefix is None:
        yield ("presets", "kind"), "presets.kind: ssm needs the beginning of the parameters' names (presets.prefix)."


def _mail_faults(mail: Mail) -> Iterator[tuple[tuple[str, ...], str]]:
    if mail.kind == "smtp" and mail.host is None:
        yield ("mail", "kind"), "mail.kind: smtp needs the mail server (mail.host)."
    if mail.kind == "file" and mail.host is not None:
        yield ("mail", "host"), "mail.host: no mail server is used while mail.kind is file; write kind: smtp."
    given = [mail.password_file, mail.password_env]
    if all(given):
        yield ("mail", "password_env"), "mail.password_env: there is mail.password_file too; keep one of them."
    if mail.username and not any(given):
        yield ("mail", "username"), "mail.username needs a password: mail.password_file or mail.password_env."
    if any(given) and not mail.username:
        yield ("mail", "username"), "mail.username is not set, and there is a password; a login needs both."
