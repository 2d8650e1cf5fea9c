"""Runs of the agent that need not import it first: a process that has, and forks an agent for each.

A proof of thousands of runs spends most of its time on importing. ``WarmAgent().run(argv, ...)`` is a new process all
the same, in a session of its own; what strikes it is attached before it does anything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from workspace import wait_for

SECONDS = 120.0
"""How long a run may take."""


class WarmAgent:
    """A process that forks agents, one at a time, until it is closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(
        self, argv: list[str], folder: Path, tracer: tuple[str, ...] = (), boot: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``dropbox-agent argv`` in a folder, under strace with the arguments of ``tracer`` if there are any.

        ``boot``: what it takes for the id of this boot of the machine.
        Raises TimeoutExpired after ``SECONDS``, when it is killed.
        """
        log = folder / "log"
        asked = {"argv": argv, "folder": str(folder), "log": str(log), "waits": bool(tracer), "boot": boot}
        pid = int(self._ask(asked))
        limit = threading.Timer(SECONDS, os.kill, (pid, signal.SIGKILL))
        limit.start()
        try:
            strace = self._traced(pid, tracer) if tracer else None
            code = int(self._answer())
            if strace is not None:
                strace.wait(SECONDS)
            if not limit.is_alive():
                raise subprocess.TimeoutExpired(argv, SECONDS)
        finally:
            limit.cancel()
        return subprocess.CompletedProcess(argv, code, "", log.read_text("utf-8", "replace"))

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _traced(self, pid: int, tracer: tuple[str, ...]) -> subprocess.Popen[bytes]:
        """Attach strace to a process once it has stopped itself, and let it go on."""
        wait_for(lambda: "\tT (stopped)" in status_of(pid))
        strace = subprocess.Popen(["strace", *tracer, "-p", str(pid)])
        wait_for(lambda: "TracerPid:\t0\n" not in status_of(pid))
        os.kill(pid, signal.SIGCONT)
        return strace

    def _ask(self, what: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def serve() -> None:
    """Fork an agent for each line of standard input; print its process id, and how it ended."""
    from dropbox_agent import cli

    sys.dont_write_bytecode = True
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(cli.app, asked)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(app: Any, asked: dict[str, Any]) -> None:
    """Be an agent, and end."""
    from dropbox_agent.executors import wrapper

    if asked["boot"] is not None:
        wrapper.boot_id = lambda: asked["boot"]
    os.setsid()
    os.chdir(asked["folder"])
    log = os.open(asked["log"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for stream, number in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(stream, number)
    if asked["waits"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    code = 1
    try:
        app(asked["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
