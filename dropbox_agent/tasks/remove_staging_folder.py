"""Remove the job's staging folder: only a folder that holds this job's marker, and never what a link leads to."""

from __future__ import annotations

import os

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.staging import remove, require_ours


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when no staging folder is left."""
    staging = RunFolder(settings.run_folder).staging
    # Its marker goes with it, so it gets another name first: a removal that was interrupted is known by it.
    leaving = staging.with_name("staging.leaving")
    was_there = os.path.lexists(staging)
    try:
        remove(leaving)
        if was_there:
            require_ours(staging, settings.job_id)
            staging.rename(leaving)
            remove(leaving)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TaskFailed(
            f"The staging folder {shown(staging)} could not be removed ({reason}: {shown(error.filename or '')})."
            " The upload itself is not touched by this; an operator has to remove the folder."
        ) from error
    message = "The staging folder is removed." if was_there else "There was no staging folder left to remove."
    return TaskOutcome(state="succeeded", message=message, facts={"removed": was_there})
