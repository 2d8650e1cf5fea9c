"""The API: upstream's addresses and shapes, and tidier ones of our own; submitting is off unless the site opens it.

``application(parts)`` makes a FastAPI application of its own, with its own document and errors; it is mounted at /api.
"""

from dropbox_agent.web.api.access import Access, Proxy, Submitter, Token
from dropbox_agent.web.api.application import application
from dropbox_agent.web.api.parts import ApiParts
from dropbox_agent.web.api.rates import Rates
from dropbox_agent.web.api.receipts import Receipts
from dropbox_agent.web.api.submitting import Desk

__all__ = ["Access", "ApiParts", "Desk", "Proxy", "Rates", "Receipts", "Submitter", "Token", "application"]
