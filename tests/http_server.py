"""HTTP on loopback that misbehaves as it is told to: alone, or in front of a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """What somebody asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Hang up after this many bytes of the body."""
    after_seconds: float = 0.0
    """Only answer when this much time has passed, or the server ends."""
    byte_seconds: float = 0.0
    """How long each byte of the body takes, until the server ends."""


Answers = Callable[[Request], Reply]


@dataclass
class Faulty:
    """A server: what it was asked, and what it does with the next requests before it behaves."""

    behaves: Answers
    url: str = ""
    asked: list[Request] = field(default_factory=list)
    faults: list[Reply] = field(default_factory=list)
    """Answers of the next requests, instead of good ones."""
    always: Reply | None = None
    """The answer of every request, while it is set."""
    over: threading.Event = field(default_factory=threading.Event)

    def reply(self, request: Request) -> Reply:
        self.asked.append(request)
        if self.always is not None:
            return self.always
        return self.faults.pop(0) if self.faults else self.behaves(request)


@contextmanager
def serving(behaves: Answers) -> Iterator[Faulty]:
    """Yield a server on loopback that answers like this, ended afterwards."""
    faulty = Faulty(behaves)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
            reply = faulty.reply(request)
            faulty.over.wait(reply.after_seconds)
            self.send_response(reply.status)
            for name, value in {"Content-Type": reply.kind, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            for place in range(len(reply.body) if reply.byte_seconds else 0):
                self.wfile.write(reply.body[place : place + 1])
                faulty.over.wait(reply.byte_seconds)
            self.wfile.write(b"" if reply.byte_seconds else reply.body[: reply.cut_after])
            if reply.cut_after is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Callers that hang up are part of the tests."""

    server = Server((HOST, 0), Handler)
    faulty.url = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield faulty
    finally:
        faulty.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def passed_on(address: str) -> Answers:
    """Return what asks a real server and answers what it said."""

    def ask(request: Request) -> Reply:
        parts = urlsplit(address)
        connection = HTTPConnection(parts.hostname or HOST, parts.port, timeout=20)
        try:
            connection.request(request.method, request.path, request.body, dict(request.headers))
            came = connection.getresponse()
            return Reply(came.status, came.read(), came.headers.get("Content-Type", "application/json"))
        finally:
            with suppress(OSError):
                connection.close()

    return ask
