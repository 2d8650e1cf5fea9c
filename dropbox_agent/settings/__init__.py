"""Every setting of a site, declared once: name, default, unit and one sentence.

Read at the front door (``cli``, ``demonstration``, ``assembly``) and handed down as plain values.
"""

from dropbox_agent.settings.api import TOKEN_NAME, Api, Proxy, Token
from dropbox_agent.settings.packaged import packaged
from dropbox_agent.settings.read import load
from dropbox_agent.settings.sections import (
    Containers,
    Executor,
    Inbox,
    Metadata,
    Policy,
    Presets,
    Settings,
    Site,
    Web,
)
from dropbox_agent.settings.services import CodeOcean, DocDb, Mail
from dropbox_agent.settings.write import as_markdown, as_yaml, write_workspace

__all__ = [
    "TOKEN_NAME",
    "Api",
    "CodeOcean",
    "Containers",
    "DocDb",
    "Executor",
    "Inbox",
    "Mail",
    "Metadata",
    "Policy",
    "Presets",
    "Proxy",
    "Settings",
    "Site",
    "Token",
    "Web",
    "as_markdown",
    "as_yaml",
    "load",
    "packaged",
    "write_workspace",
]
