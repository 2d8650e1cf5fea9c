"""The JSON Schema of .yaml and .json manifests, for editors: they complete names and mark what is not known.

It is written in draft 7, which most editors read. A file that keeps to it can still be refused (dates, folders,
sessions uploaded already); one that does not keep to it may still be read, with warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dropbox_agent.manifest.columns import OF_MODALITY
from dropbox_agent.manifest.template import COLUMNS
from dropbox_agent.model import EMAIL_TYPES, Known, Task

TEXT = {"type": ["string", "number"]}
EMAIL_LIST = {
    "description": COLUMNS["email_notification_types"][1],
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"enum": list(EMAIL_TYPES)}}],
}


def json_schema(known: Known) -> dict[str, Any]:
    """Return the schema of a manifest at a site: a request with ``upload_jobs``, or one job alone."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A manifest for dropbox-agent",
        "if": {"type": "object", "required": ["upload_jobs"]},
        "then": {"$ref": "#/definitions/request"},
        "else": {"$ref": "#/definitions/job"},
        "definitions": {"request": _request(), "job": _job(known), "task": _task(), "named": _named()},
    }


def _request() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["upload_jobs"],
        "additionalProperties": False,
        "properties": {
            "dag_id": {"type": "string"},
            "user_email": {"type": "string", "description": "Who is told, for every job that does not say it."},
            "email_notification_types": EMAIL_LIST,
            "upload_jobs": {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/job"}},
        },
    }


def _job(known: Known) -> dict[str, Any]:
    required = [name for name, (must, _) in COLUMNS.items() if must and not name.startswith("modality")]
    return {
        "type": "object",
        "required": required,
        "anyOf": [{"required": ["modalities"]}, {"required": ["modality0"]}],
        "additionalProperties": False,
        "properties": {**_fields(known), "modalities": _modalities(known), "tasks": _tasks(known)},
        "patternProperties": {
            r"^modality[0-9]{1,2}$": _one_of(known.modalities, COLUMNS["modality0"][1]),
            rf"^modality[0-9]{{1,2}}\.({'|'.join(OF_MODALITY)})$": TEXT,
            r"^modality[0-9]{1,2}\.[^.]+(\.[^.]+)*$": {"description": "A setting of this modality's first task."},
            r"^tasks\.[^.]+(\.[^.]+)+$": {"description": "tasks.TASK.FIELD or tasks.TASK.MODALITY.FIELD"},
        },
    }


def _fields(known: Known) -> dict[str, Any]:
    """Return the plain columns of tables, which are the fields of a job under the same names."""
    choices: dict[str, Sequence[str]] = {
        "job_type": known.job_types,
        "project_name": known.projects,
        "s3_bucket": known.buckets,
    }
    plain = {name: said for name, (_, said) in COLUMNS.items() if not name.startswith("modality")}
    fields = {name: _one_of(choices.get(name, ()), said) for name, said in plain.items()}
    switch = {"type": ["boolean", "string"], "description": plain["force_cloud_sync"]}
    platform = {"anyOf": [_one_of(known.platforms, plain["platform"]), {"$ref": "#/definitions/named"}]}
    sent = {"type": "string", "description": "The name a client expects; it is compared, never used."}
    more = {"force_cloud_sync": switch, "platform": platform, "email_notification_types": EMAIL_LIST}
    return {**fields, **more, "s3_prefix": sent}


def _one_of(choices: Sequence[str], description: str) -> dict[str, Any]:
    return {"enum": list(choices), "description": description} if choices else {**TEXT, "description": description}


def _modalities(known: Known) -> dict[str, Any]:
    one = {"anyOf": [{"enum": list(known.modalities)}, {"$ref": "#/definitions/named"}]}
    return {"type": "array", "minItems": 1, "items": one}


def _tasks(known: Known) -> dict[str, Any]:
    """Return the tasks by every accepted name, each as a whole or per modality."""
    one = {"$ref": "#/definitions/task"}
    per_modality = {"type": "object", "propertyNames": {"enum": list(known.modalities)}, "additionalProperties": one}
    either = {"anyOf": [one, per_modality]}
    return {"type": "object", "properties": dict.fromkeys(sorted(known.task_ids), either)}


def _task() -> dict[str, Any]:
    """Return what may be set of one task, with the descriptions of ``model.Task``."""
    kinds = {"skip_task": ["boolean", "string"], "image_resources": ["object"], "job_settings": ["object"]}
    fields = {
        name: {"type": [*kinds.get(name, ["string", "number"]), "null"], "description": field.description}
        for name, field in Task.model_fields.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": fields}


def _named() -> dict[str, Any]:
    """Return a modality or platform as upstream's clients send it."""
    return {"type": "object", "required": ["abbreviation"], "properties": {"abbreviation": {"type": "string"}}}
