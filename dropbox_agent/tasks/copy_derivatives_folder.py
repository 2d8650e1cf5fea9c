"""Copy the derivatives folder into the asset, where it is called ``derivatives``."""

from __future__ import annotations

from pathlib import Path

from dropbox_agent.errors import TaskFailed, TaskSkipped
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks.copying import copy_file
from dropbox_agent.tasks.names import counted, size_shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.staging import DERIVATIVES, content_of, full_or_unwritable, put_in_place, remove_partials
from dropbox_agent.tasks.tree import Allowed, EmptyFolder, File, Finding, allowed, walk


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when the asset holds a copy of every file; skipped when no folder is named."""
    source = settings.derivatives_dir
    if source is None:
        raise TaskSkipped("No derivatives folder is named (derivatives_dir in the manifest).")
    content, may = content_of(settings), allowed(settings)
    _count(source, may, progress)
    remove_partials(settings, DERIVATIVES)
    partial = RunFolder(settings.run_folder).partial(settings.s3_prefix, DERIVATIVES, settings.attempt_key)
    try:
        partial.mkdir(mode=0o770)
        _copy(source, partial, may, progress)
        put_in_place(partial, content / DERIVATIVES)
    except OSError as error:
        raise full_or_unwritable(error, partial.parent, "The copy of the derivatives folder") from error
    message = f"{counted(progress.done_files, 'file')} ({size_shown(progress.done_bytes)}) copied."
    facts = {"files": progress.done_files, "bytes": progress.done_bytes}
    return TaskOutcome(state="succeeded", message=message, facts=facts)


def _count(source: Path, may: Allowed, progress: Progress) -> None:
    progress.begin("Counts what is to be copied")
    files = size = 0
    findings = []
    for found in walk(source, may):
        if isinstance(found, Finding):
            findings.append(found)
        elif isinstance(found, File):
            files, size = files + 1, size + found.stamp.size
    sentences = [finding.sentence(source) for finding in findings]
    print(*sentences, sep="\n", end="\n" if sentences else "")
    if sentences:
        more = f"; and {len(sentences) - 10} more, all in the log" if len(sentences) > 10 else ""
        reason = f"The derivatives folder cannot be copied: {'; '.join(sentences[:10])}{more}."
        raise TaskFailed(reason, passes=all(finding.away for finding in findings))
    progress.begin("Copies", size, files)


def _copy(source: Path, partial: Path, may: Allowed, progress: Progress) -> None:
    for found in walk(source, may):
        target = partial / found.name
        if isinstance(found, Finding):
            reason = f"The derivatives folder changed while it was copied: {found.sentence(source)}."
            raise TaskFailed(reason, passes=found.away)
        if isinstance(found, EmptyFolder):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(found, target, progress)
