"""What the other examples share: one job, and a request that is safe to send again."""

import os
import uuid

import httpx

from dropbox_agent import SubmitRequest, Task, UploadJob


def one_job(folder: str, subject: str, **changes) -> UploadJob:
    """Return the job of one ecephys session; ``tasks`` are added to its own."""
    tasks = {"modality_transformation_settings": {"ecephys": Task(job_settings={"input_source": folder})}}
    return UploadJob(
        **{
            "job_type": "ecephys",
            "project_name": "Ephys Platform",
            "subject_id": subject,
            "acq_datetime": "2023-04-03T18:17:07",
            "platform": {"abbreviation": "ecephys"},
            "modalities": [{"abbreviation": "ecephys"}],
            **changes,
            "tasks": {**tasks, **changes.get("tasks", {})},
        }
    )


def submit(service: str, *jobs: UploadJob, **changes) -> list[str]:
    """Submit jobs and return their ids. Under one key a request is done once, however often it is sent."""
    request = SubmitRequest(**{"user_email": "anna@example.org", "upload_jobs": list(jobs), **changes})
    headers = {
        "Authorization": f"Bearer {os.environ['DROPBOX_AGENT_TOKEN']}",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    # Only what was set is sent: naming a task must not switch on what its preset has switched off.
    body = request.model_dump(mode="json", exclude_unset=True)
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(transport=transport, headers=headers, timeout=60) as client:
        answer = client.post(f"{service}/api/v2/submit_jobs", json=body)
    if answer.status_code != 200:
        raise SystemExit(f"{answer.status_code} {answer.json()['message']}\n{answer.json()['data']['errors']}")
    return answer.json()["data"]["job_ids"]
