"""The durable record (SQLite, on the agent's own disk): drops, jobs, tasks, attempts, mails; the only writer of states.

``Ledger`` (``record``) is the agent's: it writes, what is taken in (``drops``), what is handed over (``attempts``), how
jobs begin and end (``jobs``). ``Reader`` only reads, from any process, while the agent works.
``Audit`` is what must always be true. ``Lists`` are what pages and programs list of many.
"""

from dropbox_agent.ledger.audit import Audit
from dropbox_agent.ledger.inboxes import Over
from dropbox_agent.ledger.listing import Lists
from dropbox_agent.ledger.read import Reader
from dropbox_agent.ledger.record import DueMail, Ledger, Untold

__all__ = ["Audit", "DueMail", "Ledger", "Lists", "Over", "Reader", "Untold"]
