"""Code Ocean: data assets and computations, by its API version 1.

Paths and values are those of its own SDK, which has no limits of time and repeats nothing; a test compares the two.
"""

from __future__ import annotations

import base64
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from dropbox_agent.errors import AgentError, TaskFailed, TaskSkipped
from dropbox_agent.model import CodeOceanAccess, RunFolder, TaskSettings
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import read_json, write_json
from dropbox_agent.tasks.service import Service, looked_for

MIN_SERVER_VERSION = "4.8.0"
NOT_CONFIGURED = "Code Ocean is not configured (codeocean.domain in agent.yaml)."
ASSET_STATES = {"draft": None, "ready": True, "failed": False}
"""How an asset stands -> whether it is good; None: not yet."""
FIRST_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class CodeOcean:
    """One Code Ocean, asked with the site's token."""

    service: Service
    hours: float
    """How long anything is waited for."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def asset_at(self, name: str, bucket: str, prefix: str, untold: str | None) -> dict[str, Any] | None:
        """Return the asset of that name whose data lies there; one that failed only where it is ``untold``."""
        for one in self._found(name):
            source = one.get("source_bucket") or {}
            if _counts(one, untold) and (source.get("bucket"), source.get("prefix")) == (bucket, prefix):
                return one
        return None

    def asset_of(self, name: str, computation: str, untold: str | None) -> dict[str, Any] | None:
        """Return the asset of that name that holds the results of a computation, likewise."""
        for one in self._found(name):
            if _counts(one, untold) and (one.get("provenance") or {}).get("computation") == computation:
                return one
        return None

    def make_asset(self, look: Callable[[], dict[str, Any] | None], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the asset that ``look`` finds, or a new one."""
        return _identified(
            looked_for(
                self.service.name,
                look,
                lambda: self.service.ask("POST", "data_assets", value=params, repeatable=False),
            )
        )

    def ready(
        self,
        asset: Mapping[str, Any],
        progress: Progress,
        every_seconds: float,
        most_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Return the asset once Code Ocean can use it. Raises TaskFailed, also when that takes too long."""

        def look() -> dict[str, Any]:
            return _object(self.service.ask("GET", f"data_assets/{asset['id']}"))

        what = f"the data asset {asset.get('name')}"
        found = self._waited(look, _asset_is_good, progress, every_seconds, what, most_seconds)
        if found is None:
            raise TaskFailed(
                f"{self.service.name}: {shown(what)} was not ready after {most_seconds:g} s (data_asset_ready_timeout)."
                " Retry the job to go on waiting for it, or allow it more.",
                passes=True,
            )
        if found.get("state") != "ready":
            reason = found.get("failure_reason") or "it gave no reason"
            raise TaskFailed(
                f"{self.service.name} could not use the data asset {shown(str(found.get('name')))}:"
                f" {shown(str(reason))}. Correct it there, then retry the job."
            )
        return found

    def share(self, asset_id: str, permissions: Mapping[str, Any]) -> None:
        """Say who may see an asset."""
        self.service.ask("POST", f"data_assets/{asset_id}/permissions", value=permissions)

    def run(
        self, look: Callable[[], dict[str, Any] | None], params: Mapping[str, Any], *, look_first: bool
    ) -> dict[str, Any]:
        """Return the computation that ``look`` finds, or a new one."""
        return _identified(
            looked_for(
                self.service.name,
                look,
                lambda: self.service.ask("POST", "computations", value=params, repeatable=False),
                look_first=look_first,
            )
        )

    def computation(self, identity: str) -> dict[str, Any]:
        """Return how a computation stands."""
        return _object(self.service.ask("GET", f"computations/{identity}"))

    def computations_of(self, kind: str, identity: str) -> list[dict[str, Any]]:
        """Return the computations of a capsule (``capsules``) or a pipeline (``pipelines``)."""
        found = self.service.ask("GET", f"{kind}/{identity}/computations")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def ended(
        self, identity: str, progress: Progress, every_seconds: float, most_seconds: float | None = None
    ) -> dict[str, Any] | None:
        """Return a computation once it has ended, well or badly; None when that takes more than ``most_seconds``.

        Raises TaskFailed when it takes longer than the site waits.
        """
        what = f"the computation {identity}"
        return self._waited(lambda: self.computation(identity), has_ended, progress, every_seconds, what, most_seconds)

    def stop(self, identity: str) -> None:
        """End a computation. Raises TaskFailed."""
        self.service.ask("DELETE", f"computations/{identity}", good=(404,))

    def _found(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = None
        while True:
            value = {"query": f'name:"{name}"', "limit": 100, "next_token": token}
            page = _object(self.service.ask("POST", "data_assets/search", value=value))
            found += [one for one in page.get("results") or [] if isinstance(one, dict) and one.get("name") == name]
            following = page.get("next_token")
            if not page.get("has_more") or following in (None, token):
                return found
            token = following

    def _waited(
        self,
        look: Callable[[], dict[str, Any]],
        is_over: Callable[[Mapping[str, Any]], bool],
        progress: Progress,
        every_seconds: float,
        what: str,
        most_seconds: float | None = None,
    ) -> dict[str, Any] | None:
        """Look ever less often, until it is over; return None when that takes more than ``most_seconds``."""
        begun, wait = self.clock(), min(FIRST_LOOK_SECONDS, every_seconds)
        end, limit = begun + self.hours * 3600, math.inf if most_seconds is None else begun + most_seconds
        while not is_over(found := look()):
            if self.clock() >= limit:
                return None
            if self.clock() + wait > end:
                raise TaskFailed(
                    f"{self.service.name}: {what} is still {found.get('state')} after {self.hours:g} hours"
                    " (codeocean.hours in agent.yaml). It goes on there; retry the job to go on waiting for it.",
                    passes=True,
                )
            progress.begin(f"Waits for Code Ocean: {found.get('state')}")
            self.sleep(min(wait, max(0.0, limit - self.clock())))
            wait = min(wait * 1.5, every_seconds)
        return found


def opened(settings: TaskSettings, environ: Mapping[str, str] = os.environ) -> CodeOcean:
    """Return the site's Code Ocean. Raises TaskSkipped where there is none, TaskFailed without a token."""
    access = settings.codeocean
    if access is None:
        raise TaskSkipped(NOT_CONFIGURED)
    return CodeOcean(service(access, token(access, environ)), access.hours)


def service(access: CodeOceanAccess, secret: str) -> Service:
    """Return Code Ocean's API."""
    proof = base64.b64encode(f"{secret}:".encode()).decode()

    def sign(request: httpx.Request) -> None:
        request.headers["Authorization"] = f"Basic {proof}"

    base, headers = f"{access.domain}/api/v1/", {"Min-Server-Version": MIN_SERVER_VERSION}
    return Service(f"Code Ocean ({access.domain})", base, "codeocean", headers, sign, (secret, proof))


def token(access: CodeOceanAccess, environ: Mapping[str, str] = os.environ) -> str:
    """Return the site's token. Raises TaskFailed, which names only its place."""
    try:
        return access.token.read(environ)
    except AgentError as error:
        raise TaskFailed(f"{error} On a cluster, only a file is seen by every node. Then retry the job.") from error


def _counts(asset: Mapping[str, Any], untold: str | None) -> bool:
    return asset.get("state") != "failed" or asset.get("id") == untold


def _asset_is_good(asset: Mapping[str, Any]) -> bool:
    return ASSET_STATES.get(str(asset.get("state"))) is not None


def has_ended(computation: Mapping[str, Any]) -> bool:
    """Return whether a computation will not change any more."""
    return computation.get("state") in ("completed", "failed")


def has_succeeded(computation: Mapping[str, Any]) -> bool:
    """Return whether a computation ended well: completed alone does not say so."""
    return (
        computation.get("state") == "completed"
        and computation.get("end_status") in (None, "succeeded")
        and computation.get("exit_code") in (None, 0)
    )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TaskFailed("Code Ocean answered something that is no object. An operator has to look.")
    return value


def _identified(value: Any) -> dict[str, Any]:
    found = _object(value)
    if not isinstance(found.get("id"), str):
        raise TaskFailed("Code Ocean answered something that has no id. An operator has to look.")
    return found


# --- what is known of this job there ---------------------------------------------------------------------------------


def record_of(settings: TaskSettings, name: str = "codeocean") -> Path:
    """Return the file that remembers what this job has in Code Ocean."""
    return RunFolder(settings.run_folder).path / f"{name}.json"


def asset_id(settings: TaskSettings) -> str | None:
    """Return the id of this job's data asset, once it is registered."""
    known = (read_json(record_of(settings)) or {}).get("asset_id")
    return known if isinstance(known, str) else None


def remember(settings: TaskSettings, facts: Mapping[str, Any], name: str = "codeocean") -> None:
    """Write down what this job has in Code Ocean."""
    write_json(record_of(settings, name), facts)


def untold(settings: TaskSettings, name: str = "codeocean") -> str | None:
    """Return the id of what this job has begun there and nobody was told the end of.

    If it ended badly, that is told first: only who retries after that wants another one, and not what is run again by
    itself.
    """
    known = (read_json(record_of(settings, name)) or {}).get("untold")
    return known if isinstance(known, str) else None


def told(settings: TaskSettings, identity: str, name: str = "codeocean") -> None:
    """Write down that the end of this is told."""
    record = read_json(record_of(settings, name)) or {}
    if record.get("untold") == identity:
        remember(settings, {key: value for key, value in record.items() if key != "untold"}, name)


@contextmanager
def telling(settings: TaskSettings, identity: str, name: str = "codeocean") -> Iterator[None]:
    """Write down that the end is told, unless what is raised passes by itself."""
    try:
        yield
    except TaskFailed as failed:
        if not failed.passes:
            told(settings, identity, name)
        raise
    told(settings, identity, name)


def s3_place(settings: TaskSettings) -> tuple[str, str]:
    """Return bucket and prefix of the asset. Raises TaskSkipped where Code Ocean cannot read it."""
    parts = urlsplit(f"{settings.bucket}/{settings.s3_prefix}")
    if parts.scheme != "s3":
        raise TaskSkipped(f"The data is in a folder ({shown(settings.bucket)}), and Code Ocean reads from S3 only.")
    return parts.netloc, parts.path.strip("/")
