"""A slurmrestd of a later version than the one that can be installed here, as its published schemas describe it.

It answers over HTTP, and takes a job only when each field is in the schema and has the schema's type.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "samples" / "slurmrestd"
SCHEMAS: Mapping[str, Any] = json.loads((RECORDED / "schemas.json").read_text())
ANSWERS: Mapping[str, Any] = json.loads((RECORDED / "answers.json").read_text())


def job_fields(version: str) -> dict[str, Any]:
    """Return the fields of a job's description in a version, each with its type."""
    fields = dict(SCHEMAS["v0.0.40"]["job_desc_msg"])
    for name in SCHEMAS.get(version, {}).get("without", ()):
        del fields[name]
    return fields


def misfits(version: str, job: Mapping[str, Any]) -> list[str]:
    """Return the fields that the schema does not have, or has with another type."""
    fields = job_fields(version)
    return [name for name, value in job.items() if name not in fields or not _fits(value, fields[name])]


def _fits(value: Any, kind: str | list[str]) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and set(value) <= set(kind)
    if kind == "strings":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if kind == "number":
        return isinstance(value, dict) and set(value) == {"set", "infinite", "number"} and type(value["number"]) is int
    return type(value) is {"string": str, "integer": int, "boolean": bool}[kind]


@dataclass
class Recorded:
    """What a recorded slurmrestd offers, and what it was asked."""

    versions: tuple[str, ...]
    url: str = ""
    accounting: bool = True
    answers: dict[str, Any] = field(default_factory=lambda: dict(ANSWERS))
    asked: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    token: str | None = None

    def specification(self) -> dict[str, Any]:
        paths = [f"/slurm/{one}/{name}" for one in self.versions for name in ("jobs/", "job/submit", "partitions/")]
        paths += [f"/slurmdb/{one}/{name}/" for one in self.versions for name in ("jobs", "qos") if self.accounting]
        schemas = {f"{one}_job_desc_msg": {"properties": job_fields(one)} for one in self.versions}
        return {"openapi": "3.0.3", "paths": {path: {} for path in paths}, "components": {"schemas": schemas}}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if path == "/openapi/v3":
            return 200, self.specification()
        part, version, *names = path.strip("/").split("/")
        if version not in self.versions:
            return 404, None
        if names == ["job", "submit"]:
            return self.submitted(version, body)
        if method == "DELETE":
            return 200, {"errors": [], "warnings": []}
        name = {("slurmdb", "jobs"): "records"}.get((part, names[0]), names[0])
        return 200, self.answers[name]

    def submitted(self, version: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        assert body["script"].startswith("#!"), body
        assert misfits(version, body["job"]) == []
        self.jobs.append(dict(body["job"]))
        refused = body["job"].get("partition") == "nope"
        return (500, self.answers["refused"]) if refused else (200, self.answers["submit"])


@contextmanager
def recorded_slurmrestd(*versions: str, **changes: Any) -> Iterator[Recorded]:
    """A slurmrestd that offers these versions, for the length of the block."""
    recorded = Recorded(versions, **changes)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            recorded.asked.append((self.command, self.path))
            recorded.token = self.headers.get("X-SLURM-USER-TOKEN")
            status, answer = recorded.answer(self.command, self.path, body)
            content = b"not found" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if answer is not None else "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield recorded
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
