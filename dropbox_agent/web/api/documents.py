"""What the OpenAPI document says of each address: what is sent, what is answered, an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from dropbox_agent.model import SubmitRequest
from dropbox_agent.web.api import tidy

VERSION = "2.1.2"
"""Of upstream's models, whose shapes these are."""
OUR_VERSION = "1"
"""Of the tidy addresses; it changes when a client would have to."""
TITLE = "dropbox-agent"
DESCRIPTION = """\
Upload jobs as they stand, what would be done with a manifest, and (where the site has opened it) submitting and
cancelling. Reading needs no token. `/v1` and `/v2` have the addresses, shapes and codes of aind-data-transfer-service;
everything else is the tidier form of the same.
"""
REQUEST_EXAMPLE = {
    "user_email": "anna@example.org",
    "upload_jobs": [
        {
            "job_type": "ecephys",
            "project_name": "Ephys Platform",
            "platform": {"abbreviation": "ecephys"},
            "subject_id": "655019",
            "acq_datetime": "2023-04-03T18:17:07",
            "modalities": [{"abbreviation": "ecephys"}],
            "tasks": {
                "modality_transformation_settings": {
                    "ecephys": {"job_settings": {"input_source": "/data/ecephys/655019_2023-04-03_18-17-07"}}
                }
            },
        }
    ],
}
JOB_ID = "ecephys_655019_2023-04-03_18-17-07.k3v9qa"
PROBLEM_EXAMPLE: Any = {
    "level": "error",
    "file": "request.json",
    "sheet": None,
    "row": 5,
    "column": "upload_jobs.0.job_type",
    "cell": None,
    "found": "ephsy",
    "message": '"ephsy" is not a job type here. Did you mean "ecephys"?',
    "suggestion": "ecephys",
}


class Told(BaseModel):
    """Upstream's form of every answer: a message, and its data."""

    model_config = ConfigDict(extra="forbid")

    message: str
    data: dict[str, Any] | list[Any]


class ProblemTold(BaseModel):
    """What is wrong, where, what was found and what would be right; as ``dropbox-agent check --json`` prints it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": PROBLEM_EXAMPLE})

    level: str
    file: str
    sheet: str | None
    row: int | None
    column: str | None
    cell: str | None
    found: str | None
    message: str
    suggestion: str | None


class Trouble(BaseModel):
    """Why there is no answer, in words."""

    model_config = ConfigDict(extra="forbid")

    message: str
    problems: list[ProblemTold] = []


def _answers(*codes: int, model: type[BaseModel] = Told) -> dict[int | str, Any]:
    return {code: {"model": model, "description": MEANING[code]} for code in codes}


MEANING: Mapping[int, str] = {
    200: "Done.",
    202: "Taken; the agent carries it out.",
    400: "This is no such request.",
    401: "No token, or one that is not known.",
    403: "Submitting is closed here, or this is not yours.",
    404: "There is no such thing.",
    406: "Something in it is wrong: all problems at once.",
    408: "It took too long to arrive.",
    409: "It cannot be done as things stand.",
    413: "Too large.",
    415: "Not JSON.",
    422: "Something in it is wrong, or the Idempotency-Key was used for another request.",
    429: "Too many requests; Retry-After says when to come back.",
    500: "A fault of the service; its log has the details.",
    503: "Something the service needs is away.",
}


def native(*codes: int) -> dict[int | str, Any]:
    """Return the answers that tell a trouble, of the tidy addresses."""
    return _answers(*codes, 422, 500, 503, model=Trouble)


def _body(schema: Mapping[str, Any], kind: str = "application/json", example: Any = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"required": True, "content": {kind: content}}


def _request_schema() -> dict[str, Any]:
    """Return the schema of a request, its parts inside; clients may send keys of their own, which are passed over."""
    schema = SubmitRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request sent again under the same key is answered again and done once.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
BEARER: dict[str, Any] = {"security": [{"bearer": []}]}
UPSTREAM_TROUBLES = (408, 413, 415, 429, 500, 503)

VALIDATE_CSV: dict[str, Any] = {
    "summary": "Judge the form of a .csv or .xlsx manifest",
    "responses": _answers(200, 400, 406, *UPSTREAM_TROUBLES),
    "openapi_extra": {
        "requestBody": _body(
            {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            },
            "multipart/form-data",
        )
    },
}
VALIDATE_JSON: dict[str, Any] = {
    "summary": "Judge the form of a request",
    "responses": _answers(200, 406, *UPSTREAM_TROUBLES),
    "openapi_extra": {"requestBody": _body(_request_schema(), example=REQUEST_EXAMPLE)},
}
SUBMIT_JOBS: dict[str, Any] = {
    "summary": "Submit up to 50 jobs",
    "responses": _answers(200, 400, 401, 403, 406, 422, *UPSTREAM_TROUBLES),
    "openapi_extra": {
        **BEARER,
        "parameters": [KEY_HEADER],
        "requestBody": _body(_request_schema(), example=REQUEST_EXAMPLE),
    },
}
CANCEL_JOB: dict[str, Any] = {
    "summary": "End a job",
    "responses": _answers(200, 400, 401, 403, 404, 409, *UPSTREAM_TROUBLES),
    "openapi_extra": {
        **BEARER,
        "requestBody": _body(
            {
                "type": "object",
                "required": ["dag_run_id"],
                "properties": {
                    "dag_run_id": {"type": "string", "minLength": 1, "description": "The job's id."},
                    "dag_id": {"type": "string"},
                    "s3_prefix": {
                        "type": "string",
                        "description": "The job's name; nothing is cancelled when it is not.",
                    },
                    "partition": {"type": "string"},
                },
            },
            example={"dag_run_id": JOB_ID, "dag_id": "transform_and_upload_v2", "s3_prefix": JOB_ID.partition(".")[0]},
        ),
    },
}
READ: dict[str, Any] = {"responses": _answers(200, 404, 406, 500, 503)}
TEMPLATE: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "The workbook.",
            "content": {
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": {
                    "schema": {"type": "string", "format": "binary"}
                }
            },
        },
        **_answers(500, 503),
    },
}
NATIVE_CANCEL: dict[str, Any] = {
    "tags": ["jobs"],
    "responses": {
        202: {"model": tidy.Ordered, "description": MEANING[202]},
        **_answers(401, 403, 404, 409, 422, 429, 500, 503, model=Trouble),
    },
    "openapi_extra": BEARER,
}
NATIVE_SUBMIT: dict[str, Any] = {
    "tags": ["manifests"],
    "summary": "Submit up to 50 jobs",
    "responses": {
        202: {"model": tidy.Submitted, "description": MEANING[202]},
        **_answers(400, 401, 403, 408, 413, 415, 422, 429, 500, 503, model=Trouble),
    },
    "openapi_extra": SUBMIT_JOBS["openapi_extra"],
}
NATIVE_CHECK: dict[str, Any] = {
    "tags": ["manifests"],
    "summary": "Judge the form of a request",
    "responses": {
        200: {"model": tidy.Checked, "description": MEANING[200]},
        **_answers(408, 413, 415, 429, 500, 503, model=Trouble),
    },
    "openapi_extra": VALIDATE_JSON["openapi_extra"],
}


def complete(document: dict[str, Any]) -> None:
    """Add what FastAPI cannot know: how a token is sent, and the parts of a request."""
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of 'dropbox-agent token NAME'."}
    }
    for operation in (one for path in document["paths"].values() for one in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]  # what does not fit is 406 at upstream's addresses
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    parts = SubmitRequest.model_json_schema(ref_template="#/components/schemas/{model}").get("$defs", {})
    components.setdefault("schemas", {}).update(parts)
