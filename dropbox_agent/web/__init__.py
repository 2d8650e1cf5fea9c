"""The web pages: what the ledger and the presets say, read-only.

``app`` makes the FastAPI application; ``Reader`` is what it reads from.
"""

from dropbox_agent.web.site import Reader, app

__all__ = ["Reader", "app"]
