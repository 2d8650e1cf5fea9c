"""A password or token: known by where it is, read when it is used, never shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from dropbox_agent.errors import AgentError

LARGEST_BYTES = 64 * 1024
"""A larger file holds no password."""


class Secret(BaseModel):
    """Where a password or token is; the thing itself is in no setting, no log and no run folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What it is, for a person: the setting without its ending, as ``mail.password``."""
    file: Path | None = None
    variable: str | None = None

    def read(self, environ: Mapping[str, str]) -> str:
        """Return it, without the line break a file ends with. Raises AgentError, which names only the place."""
        value = self._of_file(self.file) if self.file is not None else environ.get(self.variable or "", "")
        if not value:
            raise AgentError(f"{self.name} is not there: {self._where()} is empty or missing.")
        if not value.isprintable():
            raise AgentError(f"{self.name} cannot be used: {self._where()} holds more than one line of plain text.")
        return value

    def _of_file(self, file: Path) -> str:
        try:
            with file.open("rb") as opened:
                return opened.read(LARGEST_BYTES).decode("utf-8").rstrip("\r\n")
        except OSError as error:
            raise AgentError(f"{self.name} cannot be read: {self._where()}: {error.strerror}.") from error
        except UnicodeDecodeError:
            raise AgentError(f"{self.name} cannot be used: {self._where()} is not UTF-8.") from None

    def _where(self) -> str:
        if self.file is not None:
            return f"the file {self.file} ({self.name}_file)"
        return f"the environment variable {self.variable} ({self.name}_env)"
