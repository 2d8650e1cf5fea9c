"""A DocDB on loopback: its paths and answers, and the signature of every writer checked as AWS does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from http_server import Faulty, Reply, Request, serving

KEY, SECRET, REGION = "AKIATESTTESTTESTTEST", "secret-key-of-the-tests", "us-west-2"


def is_signed(request: Request, url: str) -> bool:
    """Return whether a request carries the signature that its content makes."""
    stamp = request.headers.get("X-Amz-Date", "")
    headers = {"Content-Type": request.headers.get("Content-Type", ""), "Host": urlsplit(url).netloc}
    again = AWSRequest(request.method, url + request.path, headers=headers, data=request.body)
    again.context["timestamp"] = stamp
    again.headers["X-Amz-Date"] = stamp
    auth = SigV4Auth(Credentials(KEY, SECRET), "execute-api", REGION)
    signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    return bool(stamp) and request.headers.get("Authorization", "").endswith(f"Signature={signature}")


@dataclass
class DocDbServer:
    """The records it holds."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    faulty: Faulty = field(default_factory=lambda: Faulty(lambda request: Reply()))
    lose_answers: int = 0
    """The next answers to writing get lost after it was done."""

    @property
    def url(self) -> str:
        return self.faulty.url

    def answer(self, request: Request) -> Reply:
        """Answer as DocDB's gateway does."""
        parts = urlsplit(request.path)
        act = parts.path.removeprefix("/v2/metadata_index/data_assets/")
        if request.method == "GET" and act == "find":
            asked = {name: value[0] for name, value in parse_qs(parts.query).items()}
            wanted = json.loads(asked["filter"])
            found = [one for one in self.records.values() if wanted.items() <= one.items()]
            shown = json.loads(asked["projection"])
            start, most = int(asked["skip"]), int(asked["limit"])
            page = [{name: one[name] for name in shown if name in one} for one in found[start : start + most]]
            return Reply(body=json.dumps(page).encode())
        if not is_signed(request, self.url):
            return Reply(403, b'{"message": "The request signature we calculated does not match"}')
        reply = self.write(act, json.loads(request.body))
        if self.lose_answers and reply.status == 200:
            self.lose_answers -= 1
            return Reply(body=b" " * 50, cut_after=5)
        return reply

    def write(self, act: str, value: dict[str, Any]) -> Reply:
        if act == "insert_one":
            if value["_id"] in self.records:
                return Reply(500, b'{"message": "E11000 duplicate key"}')
            self.records[value["_id"]] = value
            return Reply(body=json.dumps({"acknowledged": True, "inserted_id": value["_id"]}).encode())
        if act == "update_one" and value.keys() == {"filter", "update", "upsert"} and value["upsert"] == "True":
            self.records[value["filter"]["_id"]].update(value["update"]["$set"])
            return Reply(body=b'{"acknowledged": true}')
        return Reply(404, b'{"message": "Not found"}')


@contextmanager
def running() -> Iterator[DocDbServer]:
    """Yield a DocDB with nothing in it, ended afterwards."""
    server = DocDbServer()
    with serving(server.answer) as faulty:
        server.faulty = faulty
        yield server
