"""Plans as JSON: what the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dropbox_agent.model import Plan, PlannedTask, Retry
from dropbox_agent.plan.merging import canonical_hash, plain


def to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain values; ``from_json`` gives the equal plan back."""
    return {
        "job_type": plan.job_type,
        "s3_prefix": plan.s3_prefix,
        "bucket": plan.bucket,
        "location": plan.location,
        "preset_hash": plan.preset_hash,
        "tasks": [
            {
                "key": task.key,
                "task_id": task.task_id,
                "modality": task.modality,
                "needs": list(task.needs),
                "allocation": task.allocation,
                "skip": task.skip,
                "settings": plain(task.settings),
                "origin": dict(task.origin),
            }
            for task in plan.tasks
        ],
        **({"retries": {cause: asdict(retry) for cause, retry in plan.retries.items()}} if plan.retries else {}),
    }


def from_json(value: Mapping[str, Any]) -> Plan:
    """Return the plan that ``to_json`` wrote."""
    tasks = tuple(PlannedTask(**{**task, "needs": tuple(task["needs"])}) for task in value["tasks"])
    retries = {cause: Retry(**retry) for cause, retry in value.get("retries", {}).items()}
    return Plan(**{**value, "tasks": tasks, "retries": retries})


def plan_hash(plan: Plan) -> str:
    """Return the sha256 of a plan: equal plans, and only those, have equal ones."""
    return canonical_hash(to_json(plan))
