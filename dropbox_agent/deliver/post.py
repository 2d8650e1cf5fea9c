"""What takes mails: a post. This one writes them beside the manifest; ``smtp`` hands them to a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

from dropbox_agent.deliver.files import write
from dropbox_agent.errors import AgentError
from dropbox_agent.model import Mail, Names


@dataclass(frozen=True)
class Letter:
    """A mail on its way: the same mail is the same message, however often it is sent."""

    mail: Mail
    folder: Path
    """The inbox of its manifest."""
    manifest: str
    message: EmailMessage

    @property
    def file(self) -> str:
        """What it is called as a file beside its manifest."""
        return Names(self.manifest).mail(self.mail.number, self.mail.kind)


@dataclass(frozen=True)
class Answer:
    """What came of a letter."""

    letter: Letter
    trouble: str | None = None
    """Why it is not out, a sentence; None when it is."""
    final: bool = False
    """Whether the trouble stays the same, however often it is tried."""


class Post(Protocol):
    """Where mails are handed in. Whatever happens to one, there is an answer for it in the end."""

    def has_room(self) -> bool:
        """Return whether letters may be handed in now."""

    def send(self, letters: Sequence[Letter]) -> None:
        """Take letters; return at once."""

    def answers(self) -> list[Answer]:
        """Return what came of letters since this was asked last."""

    def close(self, seconds: float) -> None:
        """Wait for what is under way, at most this long."""


@dataclass
class FilePost:
    """Writes every mail as an .eml file beside its manifest."""

    put: Callable[[Letter], object] = lambda letter: write_beside(letter)
    """Writes one letter. Raises AgentError."""
    _answers: list[Answer] = field(default_factory=list)

    def has_room(self) -> bool:
        """Return True: a file is written at once."""
        return True

    def send(self, letters: Sequence[Letter]) -> None:
        """Write the files."""
        for letter in letters:
            try:
                self.put(letter)
            except AgentError as error:
                self._answers.append(Answer(letter, str(error)))
            else:
                self._answers.append(Answer(letter))

    def answers(self) -> list[Answer]:
        """Return what came of the letters."""
        answers, self._answers = self._answers, []
        return answers

    def close(self, seconds: float) -> None:
        """Do nothing: no file is under way."""


def write_beside(letter: Letter) -> Path:
    """Write a letter as an .eml file beside its manifest and return its path. Raises DeliveryFailed."""
    write(letter.folder, letter.file, bytes(letter.message))
    return letter.folder / letter.file
