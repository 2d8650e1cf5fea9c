"""Tell people and programs: status files beside the manifest, and mails, as files or through a mail server."""

from dropbox_agent.deliver.files import README, TEMPLATE, Names, is_ours, status, sweep, write
from dropbox_agent.deliver.mails import message
from dropbox_agent.deliver.post import Answer, FilePost, Letter, Post, write_beside
from dropbox_agent.deliver.smtp import PORTS, MailServer, SmtpPost, probe

__all__ = [
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
    "is_ours",
    "message",
    "probe",
    "status",
    "sweep",
    "write",
    "write_beside",
]
