"""The room in which manifests are read: a process of its own. A parser that dies takes only its file with it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from dropbox_agent.errors import AgentError
from dropbox_agent.manifest.limits import LIMITS, Limits
from dropbox_agent.manifest.parse import MODULES, Found, as_problem, as_row, suffix_of
from dropbox_agent.manifest.problems import error
from dropbox_agent.model import Place, Problem

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(MODULES)
"""What a manifest's name ends in, in lower case; any case is read."""
START_SECONDS = 30.0
"""What a machine under load may need to start Python and import the parsers, besides the time of the file itself."""
END_SECONDS = 5.0


class Room:
    """Reads manifests in a process that is started once, kept warm, and started again when it died.

    The process forks a child for each file. It ends with ``close``, with this object, and when the agent dies.
    ``upstream`` reads as upstream does, with a warning for each difference.
    """

    def __init__(self, limits: Limits = LIMITS, *, upstream: bool = False, warm: bool = True) -> None:
        self._limits = limits
        self._upstream = upstream
        self._warm = warm
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Any = None
        self._one_at_a_time = threading.Lock()

    def read(self, path: Path, name: str) -> Found:
        """Return the rows of the manifest at ``path``, and every problem found while reading it.

        ``name`` is what the scientist called it: its suffix says the type, and problems are placed in it. Raises
        AgentError when no process can be had that reads it.
        """
        if refusal := _not_read(path.stat().st_size, name, self._limits):
            return (), (error(Place(name), refusal),)
        said = self._asked(path, name)
        if isinstance(said, _Died):
            logger.error("Reading %s ended badly: %s", name, said, extra={"action": "read", "drop": name})
            return (), (error(Place(name), _in_words(str(said), self._limits)),)
        answer = json.loads(said)
        return tuple(as_row(row) for row in answer["rows"]), tuple(as_problem(one) for one in answer["problems"])

    def annotated(self, path: Path, name: str, problems: Sequence[Problem]) -> bytes | None:
        """Return the annotated workbook of a table; None when the file is none, or when it cannot be made."""
        if suffix_of(name) not in (".xlsx", ".csv"):
            return None
        told = [{**problem.as_json(), "outside": problem.outside} for problem in problems]
        said = self._asked(path, name, problems=told)
        if isinstance(said, _Died):
            logger.info("No annotated copy of %s: %s", name, said, extra={"action": "annotate", "drop": name})
            return None
        return said

    def close(self) -> None:
        """End the process; the next file starts another."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def __enter__(self) -> Room:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- the process -------------------------------------------------------------------------------------------------

    def _asked(self, path: Path, name: str, **more: Any) -> bytes | _Died:
        request = {
            "path": os.path.abspath(path),
            "name": name.replace("\0", "?"),
            "limits": asdict(self._limits),
            "upstream": self._upstream,
            **more,
        }
        line = json.dumps(request).encode() + b"\n"
        with self._one_at_a_time:
            try:
                return self._answer(line)
            except (OSError, ValueError):
                self.close()
            # Whatever ended it (somebody, a machine without memory): the file may have nothing to do with it.
            try:
                return self._answer(line)
            except (OSError, ValueError) as wrong:
                self.close()
                # What a file does, it does to the child: that is told by a process that is still there.
                raise AgentError(
                    f"The process that reads manifests went away twice ({wrong}). Nothing is said of {name} until it "
                    f"can be read. To see why, run '{sys.executable} -m dropbox_agent.manifest --warm', and look at "
                    "this machine's memory; while this program is being installed anew, wait."
                ) from wrong

    def _answer(self, line: bytes) -> bytes | _Died:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        # The process keeps the time itself; should it hang as a whole, it goes.
        backstop = threading.Timer(self._limits.wall_seconds + START_SECONDS, _kill, [process])
        backstop.daemon = True
        backstop.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            how = json.loads(process.stdout.readline())
            said = process.stdout.read(how["bytes"])
            logger.debug("A manifest was read: %s", how, extra={"action": "read", **how})
        finally:
            backstop.cancel()
        return _understood(said, how, self._limits)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__.rpartition(".")[0], *(["--warm"] if self._warm else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise AgentError(
                f"The process that reads manifests could not be started: {error.strerror}. Nothing is said of the file "
                "until it can be; look at this machine's memory and processes."
            ) from error
        self._end = weakref.finalize(self, _ended, self._process)
        return self._process


class _Died(str):
    """Why a file was not read: ``memory``, ``time``, or words for the operator."""


def _understood(said: bytes, how: Mapping[str, Any], limits: Limits) -> bytes | _Died:
    if how["late"] or how["code"] == -signal.SIGXCPU:
        return _Died("time")
    if len(said) > limits.output_bytes:
        return _Died("memory")
    if how["code"] < 0:
        return _Died(f"the reader ended with signal {-how['code']}")
    if how["code"] > 0:
        return _Died(said.decode("utf-8", "replace") or f"the reader ended with {how['code']}")
    return said


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Let go of the process, which then ends by itself, or is ended."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # it died with something unread
                continue
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its child: they are a group of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _environment() -> Mapping[str, str]:
    """Return what the process needs to find this package, and nothing of what the agent knows."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(part for part in map(os.path.abspath, sys.path) if os.path.exists(part)),
        "PYTHONUTF8": "1",
        "PYTHONSAFEPATH": "1",
        "OPENPYXL_LXML": "False",  # defusedxml reads the parts of a workbook, lxml would not ask it.
        "OPENBLAS_NUM_THREADS": "1",  # A process with threads must not fork.
        "OMP_NUM_THREADS": "1",
    }


# --- words -----------------------------------------------------------------------------------------------------------


def _not_read(size: int, name: str, limits: Limits) -> str | None:
    if suffix_of(name) not in SUFFIXES:
        return f"This type of file is not read. A manifest ends in one of: {', '.join(sorted(SUFFIXES))}."
    if size == 0:
        return "The file is empty. Fill in the template, or write one job."
    if size > limits.file_bytes:
        return f"The file has {size:,} bytes; at most {limits.file_bytes:,} are read. Split it."
    return None


def _in_words(died: str, limits: Limits) -> str:
    """Return what a scientist is told of a reader that did not come back."""
    again = "Make the table anew from TEMPLATE.xlsx, with the same values."
    if died == "memory":
        return f"Reading this file needs more memory than a manifest ever should. {again}"
    if died == "time":
        return f"Reading this file takes longer than {limits.wall_seconds:.0f} seconds. {again}"
    return f"This file stops its reader, so it is damaged in a way that has no name. {again}"
