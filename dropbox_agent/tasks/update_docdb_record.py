"""Write the asset into the metadata database (DocDB): its metadata, and the id Code Ocean knows it by.

Asked as its own client does: reading is open, writing is signed for AWS. Done twice, it writes the same.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from dropbox_agent.errors import TaskFailed, TaskSkipped
from dropbox_agent.model import DocDbAccess, RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks import code_ocean
from dropbox_agent.tasks.core_files import METADATA, Malformed, kept_metadata, parsed
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.service import Service, Unsure

NOT_CONFIGURED = "DocDB is not configured (docdb.host in agent.yaml)."
TRIES = 3
IDENTIFIERS = {"v1": "external_links", "v2": "other_identifiers"}
"""Where a record has the ids of other services, in each version of the schema."""
NOWHERE = uuid.UUID("9d2f3ad4-1c2e-4a0d-8b8e-6d0f5a3f7c11")
"""Makes the id of a record from its location, so that two writers make one record."""


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded once the record has the id; skipped where there is no DocDB."""
    if settings.docdb is None:
        raise TaskSkipped(NOT_CONFIGURED)
    return recorded(settings, progress, service(settings.docdb))


def recorded(settings: TaskSettings, progress: Progress, database: Service) -> TaskOutcome:
    """Write the record with a given DocDB."""
    assert settings.docdb is not None
    progress.begin("Writes the record into DocDB")
    location, known = f"{settings.bucket}/{settings.s3_prefix}", code_ocean.asset_id(settings)
    field, words = IDENTIFIERS[settings.docdb.version], ""
    for _ in range(TRIES):
        try:
            identity = _written(settings, database, location, field, known)
        except Unsure as unsure:
            words = unsure.words  # It may be written; the next look tells.
            continue
        with_id = f", with Code Ocean's {known}" if known else ""
        message = f"{database.name} has the record {identity}{with_id}."
        return TaskOutcome(state="succeeded", message=message, facts={"record_id": identity, "asset_id": known})
    sentence = f"{database.name} {words}, {TRIES} times. Retry the job when it is back; nothing is done twice."
    raise TaskFailed(sentence, passes=True)


def _written(settings: TaskSettings, database: Service, location: str, field: str, known: str | None) -> str:
    there = records(database, location, field)
    if len(there) > 1:
        ids = ", ".join(str(one.get("_id")) for one in there)
        raise TaskFailed(
            f"{database.name} has more than one record of {location} ({shown(ids)}), and none of them was changed."
            " An operator has to remove one, then retry the job."
        )
    if not there:
        return _inserted(settings, database, location, field, known)
    record = there[0]
    identifiers = record.get(field) if isinstance(record.get(field), dict) else {}
    merged = _with_id(identifiers, known)
    if merged != identifiers:
        update = {"$set": {"_id": record["_id"], field: merged}}
        value = {"filter": {"_id": record["_id"]}, "update": update, "upsert": "True"}
        database.ask("POST", "update_one", value=value)
    return str(record["_id"])


def records(database: Service, location: str, field: str) -> list[dict[str, Any]]:
    """Return the records of a location, two at most: their ids and one field."""
    params = {
        "limit": "2",
        "skip": "0",
        "filter": json.dumps({"location": location}),
        "projection": json.dumps({"_id": 1, "location": 1, field: 1}),
    }
    found = database.ask("GET", "find", params=params)
    if not isinstance(found, list):
        raise TaskFailed(f"{database.name} answered a search with something that is no list. An operator has to look.")
    return [one for one in found if isinstance(one, dict) and "_id" in one]


def _inserted(settings: TaskSettings, database: Service, location: str, field: str, known: str | None) -> str:
    identity = str(uuid.uuid5(NOWHERE, location))
    metadata = _metadata(settings)
    record = {**metadata, "_id": identity, "location": location, field: _with_id(metadata.get(field), known)}
    database.ask("POST", "insert_one", value=record, repeatable=False)
    return identity


def _with_id(identifiers: Any, known: str | None) -> dict[str, Any]:
    """Return the identifiers with Code Ocean's among them; others stay."""
    kept = dict(identifiers) if isinstance(identifiers, Mapping) else {}
    before = kept.get("Code Ocean")
    ids = {str(one) for one in before} if isinstance(before, list) else set()
    if known is not None:
        kept["Code Ocean"] = sorted(ids | {known})
    return kept


def _metadata(settings: TaskSettings) -> dict[str, Any]:
    folder = RunFolder(settings.run_folder)
    for file in (folder.content(settings.s3_prefix) / METADATA, kept_metadata(folder.path)):
        try:
            return parsed(file.read_bytes())
        except OSError:
            continue
        except Malformed as error:
            words = f"{METADATA} cannot be written into DocDB: {error}."
            raise TaskFailed(f"{words} Retry the job from gather_final_metadata.") from error
    return {"name": settings.s3_prefix}


def service(access: DocDbAccess) -> Service:
    """Return DocDB's API."""
    root = access.host if "://" in access.host else f"https://{access.host}"
    base = f"{root}/{access.version}/metadata_index/data_assets/"
    return Service(f"DocDB ({access.host})", base, "docdb", sign=lambda request: signed(request, access))


def signed(request: httpx.Request, access: DocDbAccess) -> None:
    """Sign what writes, as AWS wants it (Signature Version 4 for execute-api). Raises TaskFailed."""
    if request.method == "GET":
        return
    import boto3
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(profile_name=access.profile, region_name=access.region)
        credentials, region = session.get_credentials(), session.region_name
    except BotoCoreError as error:
        raise TaskFailed(f"DocDB cannot be written: {error}. Correct docdb.profile, then retry the job.") from error
    if credentials is None or region is None:
        lacks = "AWS credentials" if credentials is None else "AWS region (docdb.region)"
        raise TaskFailed(f"DocDB cannot be written: no {lacks} is known on this node. Then retry the job.")
    headers = {"Content-Type": "application/json", "Host": request.url.netloc.decode()}
    asked = AWSRequest(request.method, str(request.url), headers=headers, data=request.content)
    SigV4Auth(credentials, "execute-api", region).add_auth(asked)
    request.headers.update(dict(asked.headers.items()))
