"""Tell people and programs: status files beside the manifest, and mails."""

from dropbox_agent.deliver.files import OWN_PREFIX, README, TEMPLATE, Names, is_ours, status, sweep, write
from dropbox_agent.deliver.mails import email, message
from dropbox_agent.deliver.own import is_ours_whatever_it_says, is_unchanged, take_back, write_own

__all__ = [
    "OWN_PREFIX",
    "README",
    "TEMPLATE",
    "Names",
    "email",
    "is_ours",
    "is_ours_whatever_it_says",
    "is_unchanged",
    "message",
    "status",
    "sweep",
    "take_back",
    "write",
    "write_own",
]
