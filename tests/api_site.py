"""A site with its API open, asked without a network between; and its agent, which runs nothing (rehearsal)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from fastapi import FastAPI

from dropbox_agent import assembly, demonstration, founding, serving
from dropbox_agent import settings as site
from dropbox_agent.web.api.access import fingerprint

TOKEN, OTHER_TOKEN, KEEPER_TOKEN = "token-of-rig-3", "token-of-bo", "token-of-the-keeper"
TOKENS = [
    {"name": "rig-3", "sha256": fingerprint(TOKEN), "user_email": "rig3@example.org"},
    {"name": "bo", "sha256": fingerprint(OTHER_TOKEN), "user_email": "bo@example.org"},
    {"name": "keeper", "sha256": fingerprint(KEEPER_TOKEN), "may_cancel": "all"},
]


def bearer(token: str = TOKEN, key: str | None = None) -> dict[str, str]:
    """Return the headers of somebody with a token."""
    return {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})


@dataclass
class ApiSite:
    """A workspace whose API is asked."""

    folder: Path
    session: Path
    """A folder of data to upload."""
    _app: FastAPI | None = None

    @classmethod
    def made(cls, parent: Path, **changes: Any) -> ApiSite:
        """Return a new site; ``changes`` are merged into its settings."""
        file = founding.initialise(parent / "site", assembly.utc_now())
        made = cls(file.parent, demonstration.make_session(parent / "data")["ecephys"])
        settings = {"executor": {"kind": "rehearsal"}, "api": {"submit": True, "tokens": TOKENS}}
        made.change(**{**settings, **changes})
        return made

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    def change(self, **changes: Any) -> None:
        """Change the settings; the API is asked anew with them."""
        file = self.folder / "agent.yaml"
        stored = yaml.safe_load(file.read_text())
        for name, value in changes.items():
            stored[name] = {**stored[name], **value} if isinstance(value, dict) else value
        stored["inboxes"] = [{"path": str(self.inbox), "settle_seconds": 0.05, "scan_seconds": 1}]
        file.write_text(yaml.safe_dump(stored))
        self._app = None

    @property
    def settings(self) -> site.Settings:
        return site.load(self.folder / "agent.yaml", {})

    @property
    def app(self) -> FastAPI:
        self._app = self._app or serving.web_app(self.settings)
        return self._app

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.ask("GET", path, params=params)

    def post(self, path: str, body: Any, token: str = TOKEN, key: str | None = None) -> httpx.Response:
        return self.ask("POST", path, json=body, headers=bearer(token, key))

    def ask(self, method: str, path: str, peer: str = "127.0.0.1", **more: Any) -> httpx.Response:
        return asyncio.run(self._asked(method, path, peer, more))

    async def _asked(self, method: str, path: str, peer: str, more: Mapping[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://agent.test") as client:
            return await client.request(method, path, **more)

    def run(self) -> None:
        """Let the agent do all there is to do."""
        agent = assembly.open_agent(self.settings, {}, assembly.utc_now())
        try:
            agent.run(until_idle=True)
        finally:
            agent.ledger.close()

    def manifests(self) -> list[str]:
        """Return the manifests in the inbox."""
        return sorted(path.name for path in self.inbox.glob("api-*.json") if path.suffixes == [".json"])

    def request(self, *subjects: str, **changes: Any) -> dict[str, Any]:
        """Return a request for one job of each subject."""
        jobs = [self.job(subject, **changes) for subject in subjects or ("655019",)]
        return {"dag_id": "transform_and_upload_v2", "upload_jobs": jobs}

    def job(self, subject: str = "655019", **changes: Any) -> dict[str, Any]:
        return {
            "job_type": "ecephys",
            "project_name": "Ephys Platform",
            "platform": {"name": "Electrophysiology platform", "abbreviation": "ecephys"},
            "modalities": [{"name": "Extracellular electrophysiology", "abbreviation": "ecephys"}],
            "subject_id": subject,
            "acq_datetime": "2023-04-03T18:17:07",
            "tasks": {
                "modality_transformation_settings": {
                    "ecephys": {"skip_task": False, "job_settings": {"input_source": str(self.session)}}
                }
            },
            **changes,
        }
