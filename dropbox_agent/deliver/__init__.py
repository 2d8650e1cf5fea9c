"""Tell people and programs: status files beside the manifest, and mails, as files or through a mail server."""

from dropbox_agent.deliver.files import (
    OWN_PREFIX,
    README,
    TEMPLATE,
    is_ours,
    is_temporary,
    remove_temporary,
    status,
    sweep,
    take_status_back,
    write,
)
from dropbox_agent.deliver.mails import message
from dropbox_agent.deliver.own import (
    digest_of,
    is_ours_whatever_it_says,
    is_unchanged,
    may_be_filled_in,
    take_back,
    write_own,
)
from dropbox_agent.deliver.post import Answer, FilePost, Letter, Post, write_beside
from dropbox_agent.deliver.smtp import PORTS, MailServer, SmtpPost, probe
from dropbox_agent.model import Names

__all__ = [
    "OWN_PREFIX",
    "PORTS",
    "README",
    "TEMPLATE",
    "Answer",
    "FilePost",
    "Letter",
    "MailServer",
    "Names",
    "Post",
    "SmtpPost",
    "digest_of",
    "is_ours",
    "is_ours_whatever_it_says",
    "is_temporary",
    "is_unchanged",
    "may_be_filled_in",
    "message",
    "probe",
    "remove_temporary",
    "status",
    "sweep",
    "take_back",
    "take_status_back",
    "write",
    "write_beside",
    "write_own",
]
