"""Hand mails to a mail server, in a thread of its own: however slow the server is, nothing waits for it."""

from __future__ import annotations

import queue
import smtplib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dropbox_agent.deliver.mails import NOBODY
from dropbox_agent.deliver.post import Answer, Letter, write_beside
from dropbox_agent.errors import AgentError
from dropbox_agent.model import Secret
from dropbox_agent.report import one_line

PORTS: Mapping[str, int] = {"starttls": 587, "tls": 465, "none": 25}
"""Where a server listens, when no port is set."""
LONGEST_SECONDS = 200.0
"""How long one lot of letters may take before it is cut off; less than the ledger waits before they are due again."""
FAILED_CONNECTIONS = 2
"""How many connections one lot may lose before the rest of it waits."""
SHOWN_CHARACTERS = 200
READY = 220
"""What a server says first when it takes mail."""
OWN_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class MailServer:
    """A server and the way to it."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    """The authority whose certificates are trusted; None: those this machine trusts."""
    timeout_seconds: float = 30.0
    """How long one answer of the server is waited for."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass
class SmtpPost:
    """Hands letters to a mail server, one lot at a time."""

    server: MailServer
    environ: Mapping[str, str]
    """Where a password may be, if the settings say so."""
    longest_seconds: float = LONGEST_SECONDS
    put: Callable[[Letter], object] = lambda letter: write_beside(letter)
    """Writes beside its manifest what nobody will ever take. Raises AgentError."""
    _answers: queue.SimpleQueue[Answer] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None

    def has_room(self) -> bool:
        """Return whether the last lot is answered; so no letter is ever under way twice."""
        return (self._thread is None or not self._thread.is_alive()) and self._answers.empty()

    def send(self, letters: Sequence[Letter]) -> None:
        """Start to hand the letters over; what comes of them is in ``answers`` later."""
        if letters:
            # A server that never answers must not keep the agent from ending.
            self._thread = threading.Thread(target=self._deliver, args=(tuple(letters),), name="mail", daemon=True)
            self._thread.start()

    def answers(self) -> list[Answer]:
        """Return what came of letters since this was asked last."""
        answers = []
        with suppress(queue.Empty):
            while True:
                answers.append(self._answers.get_nowait())
        return answers

    def close(self, seconds: float) -> None:
        """Wait for the lot that is under way, at most this long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _deliver(self, letters: Sequence[Letter]) -> None:
        waiting, lost = deque(letters), 0
        until = time.monotonic() + self.longest_seconds
        while waiting:
            begun = False
            try:
                with connected(self.server, self.environ, until - time.monotonic()) as connection:
                    begun = True
                    while waiting:
                        self._answers.put(_handed_over(connection, waiting[0], self))
                        waiting.popleft()
            except Exception as error:  # whatever it is, every letter gets its answer
                lost += 1
                if not begun or lost >= FAILED_CONNECTIONS or time.monotonic() >= until:
                    self._give_back(waiting, error)
                elif waiting:
                    # It may be this letter that the server chokes on: the others get a connection of their own.
                    self._give_back(waiting, error, 1)

    def _give_back(self, waiting: deque[Letter], error: Exception, number: int | None = None) -> None:
        trouble = f"{came_back(self.server, error)} It will be tried again."
        for _ in range(number or len(waiting)):
            letter = waiting.popleft()
            self._answers.put(Answer(letter, f"{_named(letter)}: {trouble}"))


# --- one connection --------------------------------------------------------------------------------------------------


@contextmanager
def connected(server: MailServer, environ: Mapping[str, str], seconds: float) -> Iterator[smtplib.SMTP]:
    """Yield a connection that is secured and logged in; it is cut after this many seconds, whatever it is doing.

    Raises AgentError, OSError, smtplib.SMTPException.
    """
    timeout, trust = max(0.1, min(server.timeout_seconds, seconds)), _trusted(server)
    connection = (
        smtplib.SMTP_SSL(timeout=timeout, context=trust) if server.security == "tls" else smtplib.SMTP(timeout=timeout)
    )
    # A server that sends a byte now and then would never run into the timeout of a single answer.
    cut = threading.Timer(max(0.1, seconds), _cut, (connection,))
    cut.daemon = True
    cut.start()
    try:
        # smtplib looks for the name to check the certificate against here, and sets it only in its constructor.
        connection._host = server.host  # type: ignore[attr-defined]
        code, words = connection.connect(server.host, server.port)
        if code != READY:
            raise smtplib.SMTPConnectError(code, words)
        if server.security == "starttls":
            connection.starttls(context=trust)
        _log_in(connection, server, environ)
        yield connection
        with suppress(smtplib.SMTPException, OSError):
            connection.quit()
    finally:
        cut.cancel()
        connection.close()


def _trusted(server: MailServer) -> ssl.SSLContext | None:
    if server.security == "none":
        return None
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise AgentError(f"mail.ca_file ({server.ca_file}) cannot be used: {error.strerror or error}.") from error


def _log_in(connection: smtplib.SMTP, server: MailServer, environ: Mapping[str, str]) -> None:
    if server.username is None or server.password is None:
        return
    if server.security == "none" and server.host not in OWN_MACHINE:
        raise AgentError("The password is not sent over a connection anybody can read: set mail.security to starttls.")
    connection.login(server.username, server.password.read(environ))


def _cut(connection: smtplib.SMTP) -> None:
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _handed_over(connection: smtplib.SMTP, letter: Letter, post: SmtpPost) -> Answer:
    """Return what the server said to one letter. Raises what ends the connection."""
    if letter.message["To"] == NOBODY:
        return _kept_beside(letter, f"{_named(letter)}: {one_line(letter.mail.to, 80)!r} is no mail address.", post)
    try:
        sender, recipient = (letter.message[name].addresses[0].addr_spec for name in ("From", "To"))
        connection.sendmail(sender, [recipient], bytes(letter.message))
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as refused:
        trouble = f"{_named(letter)}: {came_back(post.server, refused)}"
        if code_of(refused) >= 500:
            return _kept_beside(letter, trouble, post)
        return Answer(letter, f"{trouble} It will be tried again.")
    return Answer(letter)


def _kept_beside(letter: Letter, trouble: str, post: SmtpPost) -> Answer:
    """Return the answer for a letter that nobody will ever take: it can still be read beside the manifest."""
    try:
        post.put(letter)
    except AgentError as error:
        return Answer(letter, f"{trouble} {error}")
    return Answer(letter, f"{trouble} The mail is kept as {letter.file}.", final=True)


def _named(letter: Letter) -> str:
    return f"The mail '{letter.mail.kind}' to {one_line(letter.mail.to, 80)}"


# --- what came back, in words ----------------------------------------------------------------------------------------


def code_of(error: Exception) -> int:
    """Return the code a server refused with, 0 when there is none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=0)
    return error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0


def came_back(server: MailServer, error: Exception) -> str:
    """Return one sentence on what went wrong with a mail server; it never holds a password."""
    if isinstance(error, AgentError):
        return str(error)
    return f"The mail server {server} {_did(server, error)}."


def _did(server: MailServer, error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"does not take mail for this address ({_said(*next(iter(error.recipients.values())))})"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"does not accept mail.username and mail.password ({_said(error.smtp_code, error.smtp_error)})"
    if isinstance(error, smtplib.SMTPSenderRefused):
        return f"does not take mail from mail.sender ({_said(error.smtp_code, error.smtp_error)})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"refused ({_said(error.smtp_code, error.smtp_error)})"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"cannot do what mail.security and mail.username ask for ({one_line(str(error), SHOWN_CHARACTERS)})"
    if isinstance(error, smtplib.SMTPServerDisconnected) and not isinstance(error.__context__, TimeoutError):
        return "closed the connection in the middle"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted ({error.verify_message}); mail.ca_file names who is"
    if isinstance(error, ssl.SSLError):
        return f"does not speak TLS as mail.security ({server.security}) says ({error.reason or error.strerror})"
    if isinstance(error, TimeoutError | smtplib.SMTPServerDisconnected):
        return f"did not answer within {server.timeout_seconds:g} s"
    if isinstance(error, socket.gaierror):
        return f"is not known by that name ({error.strerror})"
    if isinstance(error, OSError):
        return f"cannot be reached ({error.strerror or error})"
    return f"could not be talked to ({type(error).__name__})"


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return one_line(f"{code} {words}", SHOWN_CHARACTERS)


def probe(server: MailServer, environ: Mapping[str, str], seconds: float) -> str | None:
    """Return why the server cannot be used now, or None; connects and logs in, and sends nothing."""
    try:
        with connected(server, environ, seconds) as connection:
            connection.noop()
    except Exception as error:
        return came_back(server, error)
    return None
