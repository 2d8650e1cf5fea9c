"""A job as slurmrestd takes it: what ``image_resources`` asks for, and what this service decides."""

from __future__ import annotations

from typing import Any

from dropbox_agent import plan
from dropbox_agent.executors.slurm.commands import cut_comment, file_pattern
from dropbox_agent.executors.slurm.jobs import JobRequest
from dropbox_agent.executors.slurm.rest.shapes import as_types
from dropbox_agent.executors.slurm.rest.texts import CannotAsk, as_texts
from dropbox_agent.executors.slurm.rest.versions import Api

LOGIN_ENVIRONMENT = {"SLURM_GET_USER_ENV": "1"}
"""What ``sbatch --export=NONE`` sends: the node makes the environment that the account has when it logs in."""


def body(api: Api, request: JobRequest) -> dict[str, Any]:
    """Return what is posted to submit a job. Raises CannotAsk: what is not known is passed over, with a warning."""
    job = _new_job(request) if api.is_new else _old_job(request)
    for name in job:
        if api.fields and name not in api.fields:
            raise CannotAsk(f"slurmrestd {api.version} cannot be asked for {name}; take it out")
    return {"script": request.script, "job": job}


def _old_job(request: JobRequest) -> dict[str, Any]:
    return {
        **as_texts(plan.resource_options(request.resources)),
        "name": request.name,
        "comment": cut_comment(request.comment),
        # Measured on 22.05: with "requeue": false a job is requeued all the same.
        "no_requeue": True,
        "environment": LOGIN_ENVIRONMENT,
        "current_working_directory": "/",
        "open_mode": "append",
        "standard_output": file_pattern(request.log),
    }


def _new_job(request: JobRequest) -> dict[str, Any]:
    return {
        **as_types(request.resources),
        "name": request.name,
        "comment": cut_comment(request.comment),
        "requeue": False,
        "environment": [f"{name}={value}" for name, value in LOGIN_ENVIRONMENT.items()],
        "current_working_directory": "/",
        "open_mode": ["APPEND"],
        "standard_output": file_pattern(request.log),
    }
