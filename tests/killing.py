"""Kill the agent at one of its submissions: before Slurm is asked, or after it has answered."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cluster import Cluster

SBATCH = """#!/bin/sh
# Stands before the real sbatch, and kills the agent once: at call number {number}, {when} it.
n=1; while ! mkdir {folder}/call-$n 2>/dev/null; do n=$((n + 1)); done
[ {when} = before ] && [ $n = {number} ] && kill -9 $PPID && exit 1
{sbatch} "$@" > {folder}/answer-$n
code=$?
[ {when} = after ] && [ $n = {number} ] && kill -9 $PPID && exit 1
cat {folder}/answer-$n
exit $code
"""


def killing_sbatch(folder: Path, when: str, number: int) -> dict[str, str]:
    """Return an environment whose sbatch kills who calls it."""
    own = folder / "bin" / "sbatch"
    own.parent.mkdir()
    own.write_text(SBATCH.format(when=when, number=number, folder=own.parent, sbatch=shutil.which("sbatch")))
    own.chmod(0o755)
    return {"PATH": f"{own.parent}:{os.environ['PATH']}"}


@contextmanager
def killing_proxy(cluster: Cluster, when: str, number: int, kill: Callable[[], None]) -> Iterator[str]:
    """Stand before the real slurmrestd, and kill the agent at one submission; yield where it listens."""
    calls = itertools.count(1)

    class Proxy(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            its_turn = self.path.endswith("/job/submit") and next(calls) == number
            if its_turn and when == "before":
                kill()
                return
            status, answer = forward(cluster.rest.address, self.command, self.path, dict(self.headers), body)
            if its_turn:
                kill()
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forward(address: str, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Ask the real one; return its status and what it answered."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, {**headers, "Host": address})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
