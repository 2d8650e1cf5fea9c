"""Remove source folders of which the bucket holds every byte; first into quarantine, then for good.

Nothing is removed unless all of it is proven: where the folder lies, whose it is, that each file in it is in the
inventory of this job's own upload with the same size, time and checksum, read again now, and that the bucket holds
each of them now. A file that nobody uploaded, a link or a mount keeps the whole folder where it is.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import Removal, TaskOutcome, TaskSettings
from dropbox_agent.tasks import proof, quarantine, removing
from dropbox_agent.tasks.bucket import Bucket, open_bucket
from dropbox_agent.tasks.checksum import Checksum
from dropbox_agent.tasks.inventory import Sent
from dropbox_agent.tasks.names import counted, shown, size_shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.proof import STAYS
from dropbox_agent.tasks.removing import Contents, NotSafe


@dataclass
class Proven:
    """A source folder, open, of which every file is proven to be in the bucket."""

    modality: str
    folder: Path
    root: Path
    parent: int
    descriptor: int
    contents: Contents


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when the sources are in quarantine or gone; failed, with nothing removed, without proof."""
    now = datetime.now(timezone.utc)
    rules = _rules(settings)
    with closing(open_bucket(settings.bucket, proof.thorough(settings.s3))) as bucket, ExitStack() as stack:
        sent = proof.of_the_upload(settings, bucket)
        proven = [
            found
            for modality, folder in settings.sources.items()
            if (found := _proven(settings, rules, modality, folder, sent, progress, stack)) is not None
        ]
        _compare(settings, bucket, proven, sent, progress)
        if _is_dry(settings):
            return _dry(settings, proven)
        return _remove(settings, rules, proven, now, progress)


def _rules(settings: TaskSettings) -> Removal:
    if settings.removal is None or not settings.removal.roots:
        raise TaskFailed(
            f"{STAYS} This site does not say below which folders sources may be removed. An operator has to set"
            " policy.source_removal and policy.source_roots in agent.yaml."
        )
    real = [os.path.realpath(folder) for folder in settings.sources.values()]
    if len(set(real)) < len(real):
        raise TaskFailed(f"{STAYS} One folder is the source of two modalities; remove it by hand.")
    return settings.removal


def _is_dry(settings: TaskSettings) -> bool:
    return str(settings.job_settings.get("dry_run", True)).lower() != "false"


# --- proving ---------------------------------------------------------------------------------------------------------


def _proven(
    settings: TaskSettings,
    rules: Removal,
    modality: str,
    folder: Path,
    sent: dict[str, Sent],
    progress: Progress,
    stack: ExitStack,
) -> Proven | None:
    """Return a source with its proof; None when it is gone already. Raises TaskFailed."""
    try:
        root = _root_of(folder, rules, settings)
        try:
            parent, descriptor, _ = removing.open_below(root, folder, stack)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_uid not in rules.owners:
            raise NotSafe(f"it belongs to another account ({os.fstat(descriptor).st_uid}) than the manifest")
        found = removing.contents(descriptor, frozenset(rules.owners))
        if found.findings:
            raise NotSafe("; ".join(found.findings[:10]))
        _compare_with_inventory(modality, descriptor, found, sent, progress)
    except NotSafe as reason:
        raise TaskFailed(
            f"{STAYS} {modality}: {shown(folder)} stays, because {reason}. If it is to go, remove it by hand."
        ) from reason
    return Proven(modality, folder, root, parent, descriptor, found)


def _root_of(folder: Path, rules: Removal, settings: TaskSettings) -> Path:
    plain = Path(os.path.normpath(folder))
    for root in rules.roots:
        if root in plain.parents:
            break
    else:
        raise NotSafe("it does not lie below one of the folders that sources may be removed from")
    if any(plain == own or own in plain.parents or plain in own.parents for own in settings.protected):
        raise NotSafe("it is, or holds, a folder of the service itself")
    if plain != folder or ".." in folder.parts:
        raise NotSafe("its path is not written plainly")
    return root


def _compare_with_inventory(
    modality: str, folder: int, found: Contents, sent: dict[str, Sent], progress: Progress
) -> None:
    progress.begin(f"Compares {modality} with what was uploaded", found.size, len(found.files))
    wrong = []
    for path, stamp in found.files.items():
        uploaded = sent.get(f"{modality}/{path}")
        if uploaded is None:
            wrong.append(f"{shown(path)} was not uploaded")
        elif (stamp.size, stamp.mtime_ns) != (uploaded.receipt.size, uploaded.mtime_ns):
            wrong.append(f"{shown(path)} was written to since the upload")
        else:
            checksum = Checksum()
            for chunk in checksum.of(removing.content_of(folder, path, stamp)):
                progress.add(len(chunk))
            if checksum.text() != uploaded.receipt.crc64nvme:
                wrong.append(f"{shown(path)} has another content than what was uploaded")
        progress.add(done_files=1)
    if wrong:
        raise NotSafe("; ".join(wrong[:10]))


def _compare(
    settings: TaskSettings, bucket: Bucket, proven: list[Proven], sent: dict[str, Sent], progress: Progress
) -> None:
    progress.say("Compares the inventory with the bucket")
    wanted = [sent[f"{one.modality}/{path}"] for one in proven for path in one.contents.files]
    try:
        proof.compare_with_bucket(settings, bucket, wanted)
    except NotSafe as reason:
        raise TaskFailed(f"{STAYS} {reason}. An operator has to look at the bucket before anything is removed.") from (
            reason
        )


# --- removing --------------------------------------------------------------------------------------------------------


def _dry(settings: TaskSettings, proven: list[Proven]) -> TaskOutcome:
    for one in proven:
        print(f"Would remove {shown(one.folder)}:", *sorted(map(shown, one.contents.files)), sep="\n  ")
    return TaskOutcome(
        state="succeeded",
        message=f"Nothing was removed (dry_run). It would be: {_in_words(proven)}; each is proven to be in the bucket.",
        facts={**_facts(proven), "dry_run": True},
    )


def _remove(
    settings: TaskSettings, rules: Removal, proven: list[Proven], now: datetime, progress: Progress
) -> TaskOutcome:
    progress.say("Removes the source folders")
    try:
        if rules.quarantine_days > 0:
            for one in proven:
                to = quarantine.Place(one.root, settings.job_id, one.modality)
                quarantine.take_in(to, one.folder, one.descriptor, one.contents, now)
            message = (
                f"{_in_words(proven)} moved to quarantine ({quarantine.NAME} in the folder's root), where it stays for"
                f" {rules.quarantine_days:g} days."
            )
            left: list[str] = []
        else:
            left = [path for one in proven for path in _removed_at_once(one)]
            message = f"{_in_words(proven)} removed; each file was proven to be in the bucket."
    except (NotSafe, OSError) as reason:
        raise TaskFailed(
            f"The source folders were not all removed: {reason}. An operator has to look at it."
        ) from reason
    swept = [quarantine.sweep(root, rules.quarantine_days, now) for root in rules.roots]
    if any(swept):
        print(f"Removed {counted(sum(swept), 'folder')} whose time in quarantine was over.")
    if left:
        message += f" Left alone, because it came or changed meanwhile: {', '.join(map(shown, left[:10]))}."
    if not proven:
        message = "The source folders are gone already."
    return TaskOutcome(state="succeeded", message=message, facts={**_facts(proven), "left": len(left)})


def _removed_at_once(one: Proven) -> list[str]:
    left = removing.remove_verified(one.descriptor, one.contents)
    try:
        os.rmdir(one.folder.name, dir_fd=one.parent)
    except OSError:
        left = left or [str(one.folder)]
    return left


def _in_words(proven: list[Proven]) -> str:
    files = sum(len(one.contents.files) for one in proven)
    size = sum(one.contents.size for one in proven)
    return (
        f"{counted(files, 'file')} ({size_shown(size)}) in {', '.join(shown(one.folder) for one in proven) or 'none'}"
    )


def _facts(proven: list[Proven]) -> dict[str, object]:
    return {
        "folders": [str(one.folder) for one in proven],
        "files": sum(len(one.contents.files) for one in proven),
        "bytes": sum(one.contents.size for one in proven),
    }
