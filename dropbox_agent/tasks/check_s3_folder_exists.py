"""Make sure that the bucket has nothing of this name yet, or only what this very job began to upload."""

from __future__ import annotations

from contextlib import closing

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import TaskOutcome, TaskSettings
from dropbox_agent.tasks.bucket import Bucket, open_bucket
from dropbox_agent.tasks.inventory import inventory_key, marker_key, owner
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when nothing would be overwritten."""
    with closing(open_bucket(settings.bucket, settings.s3)) as bucket:
        return _look(settings, bucket, progress)


def _look(settings: TaskSettings, bucket: Bucket, progress: Progress) -> TaskOutcome:
    place = shown(f"{settings.bucket}/{settings.s3_prefix}")
    progress.say(f"Looks for {place}")
    if not bucket.holds_anything(settings.s3_prefix):
        return TaskOutcome(state="succeeded", message=f"{place} is free.", facts={"resumes": False})
    if owner(bucket, marker_key(settings.s3_prefix)) != settings.job_id:
        raise TaskFailed(
            f"{place} exists already, and nothing was overwritten. If it holds this session, you are done; if the"
            " session is another one, correct subject_id or acq_datetime. To upload over it, set force_cloud_sync to"
            " TRUE (check_s3_folder_exists: skip_task: true) and drop the manifest again."
        )
    if owner(bucket, inventory_key(settings.s3_prefix)) == settings.job_id:
        message = f"{place} was uploaded by this job already; it is compared once more."
    else:
        message = f"{place} was begun by this job and is not finished; the upload goes on from there."
    return TaskOutcome(state="succeeded", message=message, facts={"resumes": True})
