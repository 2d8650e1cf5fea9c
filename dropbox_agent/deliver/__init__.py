"""Tell people and programs: status files beside the manifest, and mails."""

from dropbox_agent.deliver.files import README, TEMPLATE, Names, is_ours, status, sweep, write
from dropbox_agent.deliver.mails import email, message

__all__ = ["README", "TEMPLATE", "Names", "email", "is_ours", "message", "status", "sweep", "write"]
