"""Answer people: the status beside each manifest, the annotated copy of a refused one, and the mails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dropbox_agent import deliver, report
from dropbox_agent.beside import Beside
from dropbox_agent.errors import AgentError
from dropbox_agent.ledger import DueMail, Ledger, Untold
from dropbox_agent.model import Problem, Standing
from dropbox_agent.states import DropState
from dropbox_agent.troubles import TRIES, Troubles

logger = logging.getLogger(__name__)


@dataclass
class Answerer:
    """Writes what the ledger knows for those who wait for it."""

    ledger: Ledger
    pages: report.Pages
    beside: Beside
    troubles: Troubles
    sender: str
    """Who the mails come from."""
    post: deliver.Post
    """Where the mails are handed in."""
    annotate: Callable[[Path, str, Sequence[Problem]], bytes | None]
    """Makes the annotated copy of a refused table; None where there is none to be made."""
    _copies: dict[int, str | None] = field(default_factory=dict)
    """Refused drops -> the name of their annotated copy, once it was made; None where there is none to be made."""
    _not_copied: dict[int, int] = field(default_factory=dict)
    """Refused drops -> how many times their annotated copy could not be made."""
    _heard: list[deliver.Answer] = field(default_factory=list)
    """What came of mails and is not in the ledger yet."""

    def answer(self, now: datetime) -> None:
        """Write the status files and mails that are due."""
        for untold in self.ledger.untold(now):
            self._tell(untold, now)
        self._send_mails(now)

    def write_status(self, standing: Standing, now: datetime, copy: str | None = None) -> None:
        """Write a status beside a manifest; ``copy`` is the name of its annotated copy. Raises AgentError."""
        told = report.render(standing, now, self.pages, copy)
        self.beside(standing.inbox, lambda: deliver.status(standing.inbox, standing.name, told))

    def hear(self, now: datetime) -> None:
        """Write down what came of the mails that were handed in; what the ledger does not take now, the next time."""
        self._heard += self.post.answers()
        while self._heard:
            self._write_down(self._heard[0], now)
            del self._heard[0]

    def _write_down(self, answer: deliver.Answer, now: datetime) -> None:
        mail = answer.letter.mail
        if answer.trouble is None:
            self.ledger.mailed(mail, now)
        elif answer.final:
            self.ledger.never_mailed(mail, answer.trouble, now)
        else:
            self.ledger.not_mailed(mail, answer.trouble, now)
        self.troubles.say(f"mail {mail.mail_id}", answer.trouble)

    # --- status files ------------------------------------------------------------------------------------------------

    def _tell(self, untold: Untold, now: datetime) -> None:
        """Write the status of one drop beside its manifest; an older version of a manifest is not told any more."""
        if not self.ledger.is_latest(untold.drop_id):
            self.ledger.told(untold, now)
            return
        standing = self.ledger.standing(untold.drop_id)
        try:
            self.write_status(standing, now, self._copy_beside(standing))
        except Exception as error:
            trouble = self.troubles.in_words(error)
            self.ledger.not_told(untold, trouble, now)
            self.troubles.say(f"status of {standing.name}", trouble)
            return
        self._take_copy_back(standing)
        self.ledger.told(untold, now)
        self.troubles.say(f"status of {standing.name}", None)

    def _copy_beside(self, standing: Standing) -> str | None:
        """Return the name of the annotated copy beside a refused manifest, made once; None when there is none.

        Raises what kept it from being made, the first times.
        """
        if standing.state is not DropState.REFUSED:
            return None
        if standing.drop_id not in self._copies:
            try:
                self._copies[standing.drop_id] = self._annotated(standing)
            except Exception as error:
                tries = self._not_copied[standing.drop_id] = self._not_copied.get(standing.drop_id, 0) + 1
                if tries < TRIES:
                    raise
                # The status says all of it too, and waits no longer.
                logger.warning("%s: no annotated copy: %s", standing.name, error, extra={"action": "annotate"})
        return self._copies.get(standing.drop_id)

    def _annotated(self, standing: Standing) -> str | None:
        """Write the annotated copy, where there is one to be made. Raises AgentError when it cannot be written now."""
        spool = next((inbox.spool for inbox in self.beside.inboxes if inbox.path == standing.inbox), None)
        copy = None if spool is None else self.annotate(spool / standing.sha256, standing.name, standing.problems)
        if copy is None:
            return None
        name = deliver.Names(standing.name).errors_xlsx
        return name if self.beside(standing.inbox, lambda: deliver.write_own(standing.inbox, name, copy)) else None

    def _take_copy_back(self, standing: Standing) -> None:
        """What an earlier version had wrong is no longer so; a copy that somebody corrected in place stays."""
        if standing.state is not DropState.REFUSED:
            name = deliver.Names(standing.name).errors_xlsx
            with suppress(OSError, AgentError):
                self.beside(standing.inbox, lambda: deliver.take_back(standing.inbox, name))

    # --- mails -------------------------------------------------------------------------------------------------------

    def _send_mails(self, now: datetime) -> None:
        """Hand the mails that are due to the post, intent first, and write down what came of those before."""
        self.hear(now)
        if not self.post.has_room():
            return
        letters = [letter for due in self.ledger.due_mails(now) if (letter := self._letter(due, now)) is not None]
        if letters:
            self.ledger.mailing([letter.mail for letter in letters], now)
            self.post.send(letters)
            self.hear(now)

    def _letter(self, due: DueMail, now: datetime) -> deliver.Letter | None:
        """Return a mail as it is sent, or None when it cannot be written, which is noted."""
        standing = self.ledger.standing(due.mail.drop_id, due.mail.job_id)
        thread = f"{self.ledger.ledger_id} {standing.inbox} {standing.name}"
        if trouble := self.beside.elsewhere(standing.inbox):
            self.ledger.not_mailed(due.mail, trouble, now)
            return None
        try:
            text = report.mail(due.mail, standing, self.pages, self._copy_beside(standing))
            message = deliver.message(due.mail, text, self.sender, thread)
        except Exception as error:
            trouble = self.troubles.in_words(error)
            self.ledger.not_mailed(due.mail, trouble, now)
            self.troubles.say(f"mail {due.mail.mail_id}", trouble)
            return None
        return deliver.Letter(due.mail, standing.inbox, standing.name, message)
