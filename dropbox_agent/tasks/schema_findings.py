"""What the schema objects to in an asset's metadata, asked once: its answer takes seconds and 120 MB to get."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder
from dropbox_agent.tasks import aind_schema
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.records import read_json, write_json

Findings = Mapping[str, list[str]]
"""Stem of a core file -> what the schema objects to."""


def of(folder: RunFolder, core: Mapping[str, Any]) -> Findings:
    """Return the findings about these very core files: kept ones, else freshly asked for."""
    kept = read_json(_file(folder)) or {}
    found: Findings = kept["findings"] if kept.get("about") == _hash(core) else _asked(core)
    return dict(found)


def keep(folder: RunFolder, core: Mapping[str, Any], findings: Findings) -> None:
    """Keep what was found out on the way, for the task that needs it."""
    write_json(_file(folder), {"about": _hash(core), "findings": findings})


def _asked(core: Mapping[str, Any]) -> Findings:
    answer = aind_schema.ask("findings", core)
    if "value" not in answer:
        raise TaskFailed(f"aind-data-schema could not judge the metadata: {shown(str(answer.get('error')))}.")
    return dict(answer["value"])


def _file(folder: RunFolder) -> Path:
    return folder.staging / "schema-findings.json"


def _hash(core: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()
