"""Upload one session: the usual case.

python plain.py SERVICE DATA_FOLDER        # the token is in DROPBOX_AGENT_TOKEN
"""

import os
import sys

import httpx

from dropbox_agent import SubmitRequest, Task, UploadJob


def main(service: str, folder: str) -> None:
    source = Task(job_settings={"input_source": folder})
    job = UploadJob(
        job_type="ecephys",
        project_name="Ephys Platform",
        subject_id="655019",
        acq_datetime="2023-04-03T18:17:07",
        platform={"abbreviation": "ecephys"},
        modalities=[{"abbreviation": "ecephys"}],
        tasks={"modality_transformation_settings": {"ecephys": source}},
    )
    request = SubmitRequest(user_email="anna@example.org", upload_jobs=[job])
    answer = httpx.post(
        f"{service}/api/v2/submit_jobs",
        json=request.model_dump(mode="json", exclude_unset=True),
        headers={"Authorization": f"Bearer {os.environ['DROPBOX_AGENT_TOKEN']}"},
        timeout=60,
    )
    print(answer.status_code, answer.json()["message"])
    print(*answer.json()["data"].get("job_ids") or [answer.json()["data"]["errors"]], sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
