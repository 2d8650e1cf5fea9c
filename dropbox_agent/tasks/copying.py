"""Copy a scientist's files into the staging folder.

A copy that is interrupted stays there half done: the task that makes it has not ended well then, so nothing after it
runs, and its next attempt begins anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.staging import full_or_unwritable
from dropbox_agent.tasks.tree import File, SourceTrouble, content


def copy_file(file: File, target: Path, progress: Progress) -> None:
    """Make ``target`` the file as it was seen, times included. Raises TaskFailed when it changes meanwhile."""
    try:
        with target.open("wb") as writer:
            for chunk in content(file):
                writer.write(chunk)
                progress.add(len(chunk))
            writer.flush()
            os.fsync(writer.fileno())
        os.utime(target, ns=(file.stamp.mtime_ns, file.stamp.mtime_ns))
    except SourceTrouble as trouble:
        advice = "Wait until nothing writes there any more, then retry the job."
        raise TaskFailed(f"{trouble}. {advice}", passes=trouble.away) from trouble
    except OSError as error:
        raise full_or_unwritable(error, target.parent, shown(target.name)) from error
    progress.add(done_files=1)
