"""Turn what the ledger knows of a manifest into words: the status files beside it, the mails, the inbox's README.

Everything a person reads is a template; a site's own folder replaces the packaged templates file by file.
"""

from dropbox_agent.report.figures import fraction, job_progress, progress_text, size_text, time_text, took
from dropbox_agent.report.origins import effective, settings_with_origin
from dropbox_agent.report.pages import Pages
from dropbox_agent.report.rendering import LIVE, MailText, Report, mail, readme, render
from dropbox_agent.report.sentences import failed_tasks, summary, where
from dropbox_agent.report.status_json import job_status, status
from dropbox_agent.report.text import SHOWN_CHARACTERS, one_line, value_text

__all__ = [
    "LIVE",
    "SHOWN_CHARACTERS",
    "MailText",
    "Pages",
    "Report",
    "effective",
    "failed_tasks",
    "fraction",
    "job_progress",
    "job_status",
    "mail",
    "one_line",
    "progress_text",
    "readme",
    "render",
    "settings_with_origin",
    "size_text",
    "status",
    "summary",
    "time_text",
    "took",
    "value_text",
    "where",
]
