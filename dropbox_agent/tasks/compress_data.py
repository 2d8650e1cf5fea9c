"""Bring one modality into the asset: by a link where it is uploaded as it is, else by the preset's script."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks.away import is_away
from dropbox_agent.tasks.names import counted, shown, size_shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.script import run_script
from dropbox_agent.tasks.staging import content_of, full_or_unwritable, put_in_place, remove_partials, sync_all
from dropbox_agent.tasks.tree import Allowed, File, Finding, allowed, walk


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when the asset has the modality's folder, whole."""
    modality = settings.modality
    if not modality:
        raise TaskFailed("compress_data runs once for each modality, and was given none. An operator has to look.")
    content = content_of(settings)
    partial = output_location(settings.run_folder, settings.s3_prefix, modality, settings.attempt_key)
    try:
        if settings.script is not None and settings.element is not None:
            return _element(settings, settings.script, modality, partial, progress)
        if settings.script is not None and settings.elements:
            return _put_together(settings, modality, content / modality, partial, progress)
        remove_partials(settings, modality)
        if settings.script is None:
            return _link(settings, modality, content / modality, partial, progress)
        return _transform(settings, settings.script, modality, content / modality, partial, progress)
    except OSError as error:
        raise full_or_unwritable(error, content, f"The folder of {modality}") from error


def output_location(run_folder: Path, s3_prefix: str, modality: str, attempt_key: str) -> Path:
    """Return where an attempt's script writes: what %OUTPUT_LOCATION stands for."""
    return RunFolder(run_folder).partial(s3_prefix, modality, attempt_key)


# --- uploaded as it is -----------------------------------------------------------------------------------------------


def _link(settings: TaskSettings, modality: str, target: Path, partial: Path, progress: Progress) -> TaskOutcome:
    source = settings.sources.get(modality)
    if source is None:
        raise TaskFailed(f"{modality} has no source folder. Set its input_source, then drop the manifest again.")
    _require_folder(source, modality)
    progress.begin(f"Links {modality}")
    if not _is_linked(target, source, modality):
        os.symlink(source, partial)
        put_in_place(partial, target)
    message = f"{modality} is uploaded as it is, from {shown(source)}."
    return TaskOutcome(state="succeeded", message=message, facts={"kind": "link", "source": shown(source)})


def _require_folder(source: Path, modality: str) -> None:
    away = False
    try:
        if stat.S_ISDIR(os.stat(source).st_mode):
            return
    except OSError as error:
        away = is_away(error)
    reason = "does not answer" if away else "is no folder, or is gone"
    raise TaskFailed(f"{modality}: {shown(source)} {reason}. Bring it back, then retry the job.", passes=away)


def _is_linked(target: Path, source: Path, modality: str) -> bool:
    """Return whether an earlier attempt made this very link; anything else in its place fails."""
    if not os.path.lexists(target):
        return False
    found = f"a link to {shown(os.readlink(target))}" if target.is_symlink() else "something that is no link"
    if target.is_symlink() and os.readlink(target) == str(source):
        return True
    raise TaskFailed(
        f"{modality}: in the staging folder there is {found}, where a link to {shown(source)} should be. It was left"
        " alone; an operator has to look at it."
    )


# --- changed by a script ---------------------------------------------------------------------------------------------


def _transform(
    settings: TaskSettings, script: str, modality: str, target: Path, partial: Path, progress: Progress
) -> TaskOutcome:
    partial.mkdir(mode=0o770)
    progress.begin(f"Runs the script of {settings.job_type} for {modality}")
    run_script(settings, script, partial, progress)
    return _made(settings, modality, target, partial, progress)


def _element(settings: TaskSettings, script: str, modality: str, partial: Path, progress: Progress) -> TaskOutcome:
    """Run the script of one element; all of them write into one folder, which is judged when the last has ended."""
    partial.mkdir(mode=0o770, exist_ok=True)
    progress.begin(f"Runs the script of {settings.job_type} for {modality}, element {settings.element}")
    run_script(settings, script, partial, progress)
    return TaskOutcome(state="succeeded", message=f"Element {settings.element} of {modality} ended well.")


def _put_together(
    settings: TaskSettings, modality: str, target: Path, partial: Path, progress: Progress
) -> TaskOutcome:
    """Bring an array task to its end: every element has ended well."""
    remove_partials(settings, modality, but=partial)
    return _made(settings, modality, target, partial, progress)


def _made(settings: TaskSettings, modality: str, target: Path, partial: Path, progress: Progress) -> TaskOutcome:
    """Give what a script made its own name, once it is seen to be whole."""
    may = allowed(settings).and_also(partial)
    made, size = _judged(modality, partial, settings.sources.get(modality), may)
    progress.reached(size, made)
    sync_all(partial)
    put_in_place(partial, target)
    message = f"The script of {settings.job_type} made {counted(made, 'file')} ({size_shown(size)}) of {modality}."
    return TaskOutcome(state="succeeded", message=message, facts={"kind": "script", "files": made, "bytes": size})


def _judged(modality: str, output: Path, source: Path | None, may: Allowed) -> tuple[int, int]:
    """Return how many files and bytes a script made. Raises TaskFailed when they cannot be all it should have made."""
    sizes: dict[str, int] = {}
    wrong: list[str] = []
    for found in walk(output, may):
        if isinstance(found, File):
            sizes[found.name] = found.stamp.size
        elif isinstance(found, Finding):
            wrong.append(f"{shown(found.name)}: {found.reason}")
    empty = [name for name, size in sizes.items() if size == 0 and not _was_empty(source, name)]
    wrong += [f"{shown(name)} is empty" for name in empty]
    if not sizes:
        wrong.append("there is no file")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    if wrong:
        more = f"; and {len(wrong) - 10} more, all in the log" if len(wrong) > 10 else ""
        raise TaskFailed(
            f"The script for {modality} ended well, but what it made is not whole: {'; '.join(wrong[:10])}{more}."
            " An operator has to look at its log."
        )
    return len(sizes), sum(sizes.values())


def _was_empty(source: Path | None, name: str) -> bool:
    """An empty file that was empty before is as it should be."""
    try:
        facts = os.stat(source / name) if source is not None else None
    except OSError:
        return False
    return facts is not None and stat.S_ISREG(facts.st_mode) and facts.st_size == 0
