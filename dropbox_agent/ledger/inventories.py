"""Keep what uploads stored, file by file: run folders do not stay for ever."""

from __future__ import annotations

import hashlib
import zlib
from datetime import datetime

from dropbox_agent.ledger.database import as_text
from dropbox_agent.ledger.write import Writer


class Inventories(Writer):
    """The inventories of uploads."""

    def has_inventory(self, job_id: str, sha256: str) -> bool:
        """Return whether this very inventory of a job is kept."""
        return self._one("SELECT 1 FROM inventories WHERE job_id = ? AND sha256 = ?", (job_id, sha256)) is not None

    def keep_inventory(self, job_id: str, content: bytes, now: datetime) -> None:
        """Keep the inventory of a job's upload, as it lies beside the data; the last one counts."""
        with self._transaction():
            self._do(
                "INSERT OR REPLACE INTO inventories (job_id, sha256, content, kept) VALUES (?, ?, ?, ?)",
                (job_id, hashlib.sha256(content).hexdigest(), zlib.compress(content), as_text(now)),
            )
