"""A Code Ocean on loopback, made from the models of its own SDK: what they do not know, it does not take or say."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from codeocean.models.components import Permissions
from codeocean.models.computation import (
    Computation,
    ComputationEndStatus,
    ComputationState,
    InputDataAsset,
    RunParams,
)
from codeocean.models.data_asset import (
    DataAsset,
    DataAssetOrigin,
    DataAssetParams,
    DataAssetSearchParams,
    DataAssetSearchResults,
    DataAssetState,
    DataAssetType,
    Provenance,
    SourceBucket,
)
from http_server import Faulty, Reply, Request, serving

TOKEN = "cop_s3cr3t"


def exactly(model: Any, body: bytes) -> Any:
    """Return a body as the SDK's model has it; refuse what the model would lose."""
    value = json.loads(body)
    read = model.from_dict(value)
    if value != _without_nothing(read.to_dict(), value):
        raise ValueError(f"{model.__name__} does not have all of {value}")
    return read


def _without_nothing(known: Any, given: Any) -> Any:
    """Leave out what is null and was not given."""
    if isinstance(known, dict) and isinstance(given, dict):
        kept = {name: _without_nothing(part, given.get(name)) for name, part in known.items()}
        return {name: part for name, part in kept.items() if part is not None or name in given}
    if isinstance(known, list) and isinstance(given, list) and len(known) == len(given):
        return [_without_nothing(one, other) for one, other in zip(known, given, strict=True)]
    return known


@dataclass
class CodeOceanServer:
    """What it holds, and how long things take: in looks, not in seconds."""

    url: str = ""
    assets: dict[str, DataAsset] = field(default_factory=dict)
    computations: dict[str, tuple[RunParams, Computation]] = field(default_factory=dict)
    shared: dict[str, Permissions] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    looks_needed: int = 2
    asset_ends: DataAssetState = DataAssetState.Ready
    ends: ComputationEndStatus = ComputationEndStatus.Succeeded
    exit_code: int = 0
    now: int = field(default_factory=lambda: int(time.time()))
    lose_answers: int = 0
    """The next answers to POST get lost after the work was done."""
    faulty: Faulty = field(default_factory=lambda: Faulty(lambda request: Reply()))

    def answer(self, request: Request) -> Reply:
        """Answer as Code Ocean does."""
        if request.headers.get("Authorization") != f"Basic {base64.b64encode(f'{TOKEN}:'.encode()).decode()}":
            return Reply(401, b'{"message": "Unauthorized"}')
        method, _, path = request.method, *request.path.partition("/api/v1/")[1:]
        try:
            value = self._value(method, path.split("/"), request.body)
        except (ValueError, KeyError, TypeError) as error:
            return Reply(400, json.dumps({"message": str(error)}).encode())
        if value is None:
            return Reply(404, b'{"message": "Not found"}')
        lost = method == "POST" and path in ("data_assets", "computations") and self.lose_answers > 0
        self.lose_answers -= lost
        body = json.dumps(value).encode()
        return Reply(body=body + b" " * 50, cut_after=5 if lost else None)

    def _value(self, method: str, parts: list[str], body: bytes) -> Any:
        routes: dict[tuple[str, ...], Callable[[], Any]] = {
            ("POST", "data_assets"): lambda: self.make(exactly(DataAssetParams, body)).to_dict(),
            ("POST", "data_assets", "search"): lambda: self.search(exactly(DataAssetSearchParams, body)).to_dict(),
            ("POST", "computations"): lambda: self.start(exactly(RunParams, body)).to_dict(),
        }
        if (method, *parts) in routes:
            return routes[(method, *parts)]()
        if method == "GET" and parts[0] == "data_assets" and parts[1] in self.assets:
            return self.look_at_asset(parts[1]).to_dict()
        if method == "GET" and parts[0] == "computations" and parts[1] in self.computations:
            return self.look_at_computation(parts[1]).to_dict()
        if method == "DELETE" and parts[0] == "computations" and parts[1] in self.computations:
            params, found = self.computations[parts[1]]
            stopped = replace(found, state=ComputationState.Failed, end_status=ComputationEndStatus.Stopped)
            self.computations[parts[1]] = (params, stopped)
            return {}
        if method == "GET" and parts[0] in ("capsules", "pipelines") and parts[2:] == ["computations"]:
            run = self.computations.values()
            return [one.to_dict() for params, one in run if parts[1] in (params.capsule_id, params.pipeline_id)]
        if method == "POST" and parts[0] == "data_assets" and parts[2:] == ["permissions"]:
            self.shared[parts[1]] = exactly(Permissions, body)
            return {}
        return None

    def make(self, params: DataAssetParams) -> DataAsset:
        aws = params.source.aws if params.source else None
        of = params.source.computation if params.source else None
        made = DataAsset(
            id=f"asset-{len(self.assets) + 1}", created=self.now, name=params.name, mount=params.mount, last_used=0,
            owner="me", state=DataAssetState.Draft, type=DataAssetType.Result if of else DataAssetType.Dataset,
            tags=params.tags, custom_metadata=params.custom_metadata,
            provenance=Provenance(computation=of.id) if of else None,
            source_bucket=SourceBucket(DataAssetOrigin.AWS, aws.bucket, aws.prefix, True) if aws else None,
        )  # fmt: skip
        self.assets[made.id] = made
        return made

    def search(self, params: DataAssetSearchParams) -> DataAssetSearchResults:
        """One asset a page, and those whose name merely begins alike, too."""
        name = (params.query or "").removeprefix('name:"').removesuffix('"')
        found = [one for one in self.assets.values() if one.name.startswith(name)]
        start = int(params.next_token or 0)
        more = len(found) > start + 1
        return DataAssetSearchResults(
            has_more=more, results=found[start : start + 1], next_token=str(start + 1) if more else None
        )

    def start(self, params: RunParams) -> Computation:
        inputs = [InputDataAsset(one.id, one.mount) for one in params.data_assets or []]
        made = Computation(
            id=f"run-{len(self.computations) + 1}", created=self.now, name="Run", owner="me", run_time=0,
            state=ComputationState.Initializing, data_assets=inputs,
        )  # fmt: skip
        self.computations[made.id] = (params, made)
        return made

    def look_at_asset(self, identity: str) -> DataAsset:
        self.looks[identity] = self.looks.get(identity, 0) + 1
        if self.looks[identity] >= self.looks_needed:
            reason = "the bucket is empty" if self.asset_ends is DataAssetState.Failed else None
            self.assets[identity] = replace(self.assets[identity], state=self.asset_ends, failure_reason=reason)
        return self.assets[identity]

    def look_at_computation(self, identity: str) -> Computation:
        params, found = self.computations[identity]
        self.looks[identity] = self.looks.get(identity, 0) + 1
        if self.looks[identity] >= self.looks_needed and found.end_status is None:
            done = ComputationState.Completed
            found = replace(found, state=done, end_status=self.ends, exit_code=self.exit_code, has_results=True)
            self.computations[identity] = (params, found)
        return found


@contextmanager
def running() -> Iterator[CodeOceanServer]:
    """Yield a Code Ocean with nothing in it, ended afterwards."""
    server = CodeOceanServer()
    with serving(server.answer) as faulty:
        server.faulty, server.url = faulty, faulty.url
        yield server
