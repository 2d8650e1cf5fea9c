"""A proxy before an S3 server that counts what passes, and goes wrong when it is told to."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


@dataclass
class Fault:
    """What goes wrong with requests that match, so many times."""

    act: str
    """An HTTP answer (``503 SlowDown``), or: cut, flip, half, slow, junk."""
    method: str = ""
    key: str = ""
    """A part of the path and query."""
    times: int = 1_000_000
    skip: int = 0
    """So many that match are let through first."""
    then: Callable[[], None] = lambda: None
    """What happens at the moment it goes wrong."""


@dataclass
class Proxy:
    """The proxy, as a test sees it."""

    upstream: str
    endpoint: str = ""
    faults: list[Fault] = field(default_factory=list)
    puts: Counter[str] = field(default_factory=Counter)
    """How often the server took a key (its bucket left out)."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each method was asked for, whatever became of it."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.asked[method] += 1
            for fault in self.faults:
                if fault.method in ("", method) and fault.key in unquote(path) and fault.times > 0:
                    if fault.skip > 0:
                        fault.skip -= 1
                        return None
                    fault.times -= 1
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: the client's delayed acknowledgement would cost 40 ms for each answer.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: botocore waits for this word."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def do_any(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        fault = proxy.fault_for(self.command, self.path)
        if fault is not None:
            fault.then()
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.act == "cut":
            self.rfile.read(length // 2)
            self.hang_up()
            return
        body = self.rfile.read(length)
        act = fault.act if fault is not None else ""
        if act[:1].isdigit():
            self.answer_with(act)
            return
        if act == "flip" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if act == "slow":
            time.sleep(1.5)
        self.pass_on(proxy, body, act)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815

    def pass_on(self, proxy: Proxy, body: bytes, act: str) -> None:
        at = urlsplit(proxy.upstream)
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if self.command == "PUT" and answer.status == 200:
            with proxy.lock:
                proxy.puts[unquote(urlsplit(self.path).path).split("/", 2)[2]] += 1
        self.answer(answer.status, answer.headers, content, act)

    def answer(self, status: int, headers: http.client.HTTPMessage, content: bytes, act: str) -> None:
        if act == "junk":
            content = b"<html>a proxy of the campus asks you to log in</html>"
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if act == "half" else content)
        self.wfile.flush()
        if act == "half":
            self.hang_up()

    def answer_with(self, act: str) -> None:
        status, _, code = act.partition(" ")
        content = f"<Error><Code>{code}</Code><Message>made by the test</Message></Error>".encode() if code else b""
        self.send_response_only(int(status))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """Yield a proxy before a server."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.proxy = Proxy(upstream, f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.proxy  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
