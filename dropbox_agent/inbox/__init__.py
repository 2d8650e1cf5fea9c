"""The watched folders: list them, wait until a file has settled, and copy it once into the spool.

A listing decides; file events only wake the scanner (on NFS and SMB nothing that another host writes makes an event).
Nothing is concluded from an inbox whose marker is missing or names another ledger: that is a share that went away.
"""

from dropbox_agent.inbox.files import open_regular, sweep_spool
from dropbox_agent.inbox.hints import heard, listen
from dropbox_agent.inbox.lease import Lease, myself
from dropbox_agent.inbox.listing import is_passed_over
from dropbox_agent.inbox.marker import MARKER, beside, guard, mark
from dropbox_agent.inbox.sightings import Waiting
from dropbox_agent.inbox.watch import Inbox

__all__ = [
    "MARKER",
    "Inbox",
    "Lease",
    "Waiting",
    "beside",
    "guard",
    "heard",
    "is_passed_over",
    "listen",
    "mark",
    "myself",
    "open_regular",
    "sweep_spool",
]
