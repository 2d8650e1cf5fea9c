"""The process in which manifests are read: a forked child for each file, held to its limits, gone after it.

Requests come as lines of JSON on standard input, answers go out on standard output as one line of JSON and then that
many bytes. This process reads no file itself, so that nothing of one can get into another. It ends when its input
does: when the agent lets go of it, or dies.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.parse import MODULES, as_problem, parse, reader

PACKAGE = "dropbox_agent.manifest"
BLOCK = 1 << 16
DIED = 3
"""What a child ends with that says why itself."""


def main(arguments: Sequence[str]) -> int:
    """Answer requests until there are no more."""
    requests, answers = os.dup(0), os.fdopen(os.dup(1), "wb")
    _nothing_at(0, 1)
    if "--warm" in arguments:
        for module in ("marking", *MODULES.values()):
            import_module(f"{PACKAGE}.{module}")
        gc.freeze()  # What is shared with the children stays shared.
    with os.fdopen(requests, "rb") as lines:
        while line := lines.readline():
            answer(json.loads(line), requests, answers)
    return 0


def _nothing_at(*descriptors: int) -> None:
    """Parsers that print or ask must not reach the pipes."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def answer(request: Mapping[str, Any], requests: int, answers: BinaryIO) -> None:
    """Let a child carry out one request, and pass on what it says and how it ended."""
    limits = Limits(**request["limits"])
    pipe, child_pipe = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(pipe)
        os.close(requests)
        os.close(answers.fileno())
        _be_the_child(request, limits, child_pipe)
    os.close(child_pipe)
    said, late = _listen(pipe, requests, limits)
    os.close(pipe)
    if late or len(said) > limits.output_bytes:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    said = said[: limits.output_bytes + 1]
    how = {
        "code": os.waitstatus_to_exitcode(status),
        "late": late,
        "bytes": len(said),
        "peak_mib": used.ru_maxrss >> 10,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
    }
    answers.write(json.dumps(how).encode() + b"\n" + said)
    answers.flush()


def _listen(pipe: int, requests: int, limits: Limits) -> tuple[bytes, bool]:
    """Return what the child says, and whether it was still busy when its time was over."""
    said = bytearray()
    until = time.monotonic() + limits.wall_seconds
    while len(said) <= limits.output_bytes:
        # Nobody asks twice at a time: something on the requests' side is its end, and then nobody listens either.
        ready, _, _ = select.select([pipe, requests], [], [], max(until - time.monotonic(), 0))
        if pipe in ready:
            block = os.read(pipe, BLOCK)
            if not block:
                return bytes(said), False
            said += block
        else:
            return bytes(said), True
    return bytes(said), False


# --- the child -------------------------------------------------------------------------------------------------------


def _be_the_child(request: Mapping[str, Any], limits: Limits, pipe: int) -> None:
    """Do what is asked and end, whatever happens: nothing above may run twice."""
    code = DIED
    try:
        try:
            gc.disable()  # A third of the time of a long table; the child is soon gone, and its memory is limited.
            said = _carried_out(request, limits)
            code = 0
        except MemoryError:
            said = b"memory"
        except Exception as wrong:  # A hostile file may find a fault in any parser: it takes only itself with it.
            said = f"{type(wrong).__name__}: {wrong}"[:1000].encode("utf-8", "replace")
        _write(pipe, said)
    finally:
        os._exit(code)


def _carried_out(request: Mapping[str, Any], limits: Limits) -> bytes:
    path, name = Path(request["path"]), request["name"]
    if "problems" in request:
        annotate = import_module(f"{PACKAGE}.marking").annotated
        told = [as_problem(problem) for problem in request["problems"]]
        limits.apply()
        return bytes(annotate(path.read_bytes(), name, told, limits))
    reader(name)  # What is imported is ours: the limits are for the file.
    limits.apply()
    rows, problems = parse(path, name, limits, request["upstream"])
    return json.dumps({"rows": rows, "problems": problems}, default=vars).encode()


def _write(pipe: int, said: bytes) -> None:
    view = memoryview(said)
    while view:
        view = view[os.write(pipe, view[:BLOCK]) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
