"""What an operator is told when something outside a manifest is wrong.

A scientist never sees these: what is wrong with a manifest is a ``model.Problem``. Each message says what was done,
with what, what came back, and what happens next.
"""

from __future__ import annotations

from pathlib import Path


class AgentError(Exception):
    """Something the agent needs is wrong; the message says what to do."""

    exit_code = 3


class WrongUse(AgentError):
    """A command was asked for what it cannot do; the message says what would be right."""

    exit_code = 2


class SettingsError(AgentError):
    """The settings file is wrong; every finding names its line and what would be right."""

    exit_code = 2

    def __init__(self, file: Path | str, findings: tuple[str, ...]) -> None:
        self.file = str(file)
        self.findings = findings
        super().__init__("\n".join(f"{file}: {finding}" for finding in findings))


class InboxUnavailable(AgentError):
    """The inbox is not there, cannot be read, or belongs to another ledger; nothing is concluded from it."""


class NoAnswer(AgentError):
    """A share took too long to answer; nothing is concluded from that, and it is asked again."""


class WorkFolderUnavailable(AgentError):
    """The work folder is missing, full or not writable; nothing new is started until it is back."""


class LedgerUnavailable(AgentError):
    """The ledger cannot be opened or written; nothing is taken in until it can."""


class PagesNotServed(AgentError):
    """The address of the pages cannot be listened on."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"The pages cannot be served at {host}, port {port}: {reason}. Name another address: --host and --port, or"
            " web.host and web.port in agent.yaml."
        )


class LedgerInUse(AgentError):
    """Another agent works on this ledger."""


class MoveRefused(AgentError):
    """A state was asked to go where it may not go (see states.py)."""


class OrderRefused(AgentError):
    """A job cannot be cancelled or run again as it is; nothing was changed."""

    exit_code = 1


class NoInventory(AgentError):
    """Of a job that is not there, or has uploaded nothing yet, it is not known what was stored."""

    exit_code = 1


class SubmitFailed(AgentError):
    """An executor did not take an attempt. ``retry`` says whether trying again can help.

    ``unsure``: it may have been taken all the same, so it is looked for before it is handed over again.
    """

    def __init__(self, message: str, *, retry: bool, unsure: bool = False) -> None:
        self.retry = retry
        self.unsure = unsure
        super().__init__(message)


class TemplateUnusable(AgentError):
    """A template is missing or wrong; the message names file and line."""


class DeliveryFailed(AgentError):
    """A file could not be written beside a manifest; it is tried again."""

    def __init__(self, folder: Path, name: str, reason: str) -> None:
        self.folder = folder
        self.name = name
        self.reason = reason
        super().__init__(f"Could not write {name} into {folder}: {reason}. It will be tried again.")


class TaskFailed(Exception):
    """A built-in task ended badly. The message is for the scientist: what happened, what to do.

    ``passes``: what was in the way may pass by itself, so that the same task may succeed later.
    """

    def __init__(self, message: str, *, passes: bool = False) -> None:
        self.passes = passes
        super().__init__(message)


class TaskSkipped(Exception):
    """A built-in task had nothing to do. The message says why, and which setting would change that."""
