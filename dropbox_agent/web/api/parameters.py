"""The job types and their tasks at upstream's addresses, and the workbook to fill in. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Response

from dropbox_agent.web.api import documents
from dropbox_agent.web.api.answers import message, told
from dropbox_agent.web.api.parts import ApiParts

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
VERSION = "v2"
"""Of the layout of the names."""


def router(parts: ApiParts) -> APIRouter:
    """Return what tells the presets."""
    made = APIRouter(tags=["upstream"])

    @made.get("/v2/parameters", summary="List the tasks of every job type", **documents.READ)
    def parameters() -> Response:
        """List each stored task: of which job type, and of which modality."""
        return told(200, "Retrieved job parameters", list(_listed(parts)))

    @made.get("/v2/parameters/job_types/{job_type}/tasks/{task_id}", summary="Read a stored task", **documents.READ)
    def parameter(job_type: str, task_id: str) -> Response:
        """Read one stored task, as its file has it."""
        return _stored(parts, job_type, task_id, None)

    @made.get(
        "/v2/parameters/job_types/{job_type}/tasks/{task_id}/{modality}",
        summary="Read a stored task of a modality",
        **documents.READ,
    )
    def parameter_of_modality(job_type: str, task_id: str, modality: str) -> Response:
        """Read one stored task of one modality, as its file has it."""
        return _stored(parts, job_type, task_id, modality)

    @made.get("/job_upload_template", summary="Download the workbook to fill in", **documents.TEMPLATE)
    def job_upload_template() -> Response:
        """Return an empty workbook with this site's job types, projects and buckets to choose from."""
        headers = {"Content-Disposition": "attachment; filename=job_upload_template.xlsx"}
        return Response(parts.template(), media_type=XLSX, headers=headers)

    return made


def _listed(parts: ApiParts) -> Iterator[dict[str, Any]]:
    for name, job_type in sorted(parts.presets().job_types.items()):
        changed = parts.changed(name)
        for task_id, modality in sorted(job_type.tasks, key=lambda key: (key[0], key[1] or "")):
            yield {
                "name": _name(name, task_id, modality),
                "last_modified": changed.isoformat() if changed else None,
                "job_type": name,
                "task_id": task_id,
                "modality": modality,
                "version": VERSION,
            }


def _stored(parts: ApiParts, job_type: str, task_id: str, modality: str | None) -> Response:
    name = _name(job_type, task_id, modality)
    stored = parts.presets().job_types.get(job_type)
    task = None if stored is None else stored.tasks.get((task_id, modality))
    if task is None:
        return message(404, f"Error retrieving parameter {name}", error=f"There is no parameter {name}.")
    return told(200, f"Retrieved parameter for {name}", dict(task))


def _name(job_type: str, task_id: str, modality: str | None) -> str:
    return f"/job_types/{VERSION}/{job_type}/tasks/{task_id}" + (f"/{modality}" if modality else "")
