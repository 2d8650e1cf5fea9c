"""Real mail servers on loopback: one that works, with TLS and logins, and some that do not."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ports import free_ports

HOST = "127.0.0.1"
USERNAME, PASSWORD = "uploads", "geheim-7f3"


def certificate(folder: Path) -> Path:
    """Return a file with a key and a certificate for 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "mail.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(encoding))
    return file


@dataclass
class MailServer:
    """A server that takes mail, or answers as it is told to."""

    port: int = 0
    taken: list[Envelope] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """Recipient, or DATA -> what is said to it instead of yes."""
    may_answer: threading.Event = field(default_factory=threading.Event)
    """Until it is set, each message is thought over."""

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await asyncio.to_thread(self.may_answer.wait)
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.taken.append(envelope)
        return "250 OK"

    def messages(self) -> list[EmailMessage]:
        """Return what was taken, read as a mail program does."""
        read = []
        for envelope in self.taken:
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=default)
            assert isinstance(message, EmailMessage)
            read.append(message)
        return read


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    good = (data.login, data.password) == (USERNAME.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def running(
    port: int = 0, security: str = "none", pem: Path | None = None, login: bool = False, host: str = HOST
) -> Iterator[MailServer]:
    """Yield a mail server on loopback, ended afterwards."""
    server, context = MailServer(), None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    how: dict[str, Any] = {"tls_context": context, "require_starttls": True} if security == "starttls" else {}
    if login:
        how |= {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": security == "starttls"}
    loop = asyncio.new_event_loop()
    made = loop.run_until_complete(
        loop.create_server(
            lambda: SMTP(server, loop=loop, **how), host, port, ssl=context if security == "tls" else None
        )
    )
    server.port = made.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        server.may_answer.set()
        asyncio.run_coroutine_threadsafe(_ended(made), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended(made: asyncio.Server) -> None:
    made.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


# --- servers that do not work ----------------------------------------------------------------------------------------


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Take the call and say nothing."""
    over.wait()


def drips(connection: socket.socket, over: threading.Event) -> None:
    """Say something all the time, and never come to an end."""
    while not over.wait(0.02):
        connection.sendall(b"220-a moment, please\r\n")


def half_an_answer(connection: socket.socket, over: threading.Event) -> None:
    """Begin to greet, and hang up."""
    connection.sendall(b"220-welc")


def busy(connection: socket.socket, over: threading.Event) -> None:
    """Refuse the whole connection for now."""
    connection.sendall(b"421 4.7.0 Too many connections, come back later\r\n")


def hangs_up_at_data(connection: socket.socket, over: threading.Event) -> None:
    """Take everything but the end of the message."""
    file = connection.makefile("rwb")
    file.write(b"220 here\r\n")
    file.flush()
    for line in file:
        if line.upper().startswith(b"DATA"):
            return
        file.write(b"250 OK\r\n")
        file.flush()


@contextmanager
def broken(behaviour: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Yield the port of a server that treats every connection like this."""
    over, listener = threading.Event(), socket.create_server((HOST, 0))

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behaviour(connection, over)

    def serve() -> None:
        with suppress(OSError):
            while not over.is_set():
                threads.append(threading.Thread(target=one, args=(listener.accept()[0],)))
                threads[-1].start()

    threads: list[threading.Thread] = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)


def free_port() -> int:
    """Return a port that nothing listens on, and that stays so until a test lets something listen there."""
    return free_ports(1)[0]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
