"""Whether a wrapper that Slurm has lost sight of still shows signs of life."""

from __future__ import annotations

from datetime import datetime

from dropbox_agent.executors.records import read_json
from dropbox_agent.model import Attempt, AttemptFolder


class Pulse:
    """Remembers when each heartbeat last changed, on this machine's clock: the clocks of nodes may differ."""

    def __init__(self) -> None:
        self._beats: dict[str, tuple[object, datetime]] = {}

    def last(self, attempt: Attempt, now: datetime) -> datetime | None:
        """Return when its heartbeat was last seen to change, the first look included; None when it has none."""
        try:
            beat = read_json(AttemptFolder(attempt.folder).heartbeat)
        except OSError:
            return now  # a share that is away says nothing
        if beat is None:
            return None
        known = self._beats.get(attempt.key)
        if known is None or known[0] != beat:
            self._beats[attempt.key] = known = (beat, now)
        return known[1]
