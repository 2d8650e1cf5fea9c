"""The web pages: what the ledger and the presets say, read-only; other routers (the API) stand beside them.

``app`` makes the FastAPI application of ``Parts``. One module per page; ``answers`` says how pages and troubles are
told, ``guard`` what every answer forbids and which requests are not taken.
"""

from dropbox_agent.web.parts import Parts
from dropbox_agent.web.site import app
from dropbox_agent.web.written import Written

__all__ = ["Parts", "Written", "app"]
