"""Upload all that was staged, compare what the bucket then holds with what was read, and leave an inventory.

A file is sent once: what an earlier attempt of this job stored, and what has not changed since, is only compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks import inventory
from dropbox_agent.tasks.bucket import NO_OBJECT, Bucket, Stored, open_bucket
from dropbox_agent.tasks.crew import Crew
from dropbox_agent.tasks.inventory import Sent
from dropbox_agent.tasks.journal import Journal
from dropbox_agent.tasks.names import counted, listed, shown, size_shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import as_bytes, read_json, write_json
from dropbox_agent.tasks.sending import Patience, Sender
from dropbox_agent.tasks.staging import content_of, full_or_unwritable
from dropbox_agent.tasks.tree import EmptyFolder, File, Finding, SourceTrouble, Stamp, allowed, walk


@dataclass
class Staged:
    """What is to be uploaded, as one walk saw it."""

    files: dict[str, Stamp] = field(default_factory=dict)
    empty_folders: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(stamp.size for stamp in self.files.values())


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when the bucket holds every byte; the inventory is written as the last act."""
    content = content_of(settings)
    with closing(open_bucket(settings.bucket, settings.s3)) as bucket:
        return _upload(settings, content, bucket, progress)


def _upload(settings: TaskSettings, content: Path, bucket: Bucket, progress: Progress) -> TaskOutcome:
    progress.begin("Counts what is to be uploaded")
    staged = _look(settings, content)
    _refuse_findings(staged, content)
    _refuse_foreign(settings, bucket)
    print(f"Uploads {len(staged.files)} files, {staged.size} bytes, to {settings.bucket}/{settings.s3_prefix}.")
    progress.begin("Uploads", staged.size, len(staged.files))
    _claim(settings, bucket)
    with Journal(_journal_path(settings)) as journal:
        sender = Sender(bucket, settings.s3_prefix, journal, progress, Patience.of(settings.s3, progress))
        sent, trouble = sender.send(_walk(settings, content))
        after = _look(settings, content)
        _refuse_away(trouble, after)
        _refuse_changed([*map(str, trouble), *_changed(staged, after)] or _not_sent(staged, sent))
        extra = _compare(settings, bucket, sent, staged.empty_folders, journal, progress)
    digest = _write_inventory(settings, bucket, sent, staged)
    return _outcome(settings, sent, staged, extra, digest, progress, bucket)


def _claim(settings: TaskSettings, bucket: Bucket) -> None:
    """Leave the job's marker; what an earlier attempt of this very job left half sent is removed."""
    ours = inventory.owner(bucket, inventory.marker_key(settings.s3_prefix)) == settings.job_id
    if ours and (count := bucket.forget_cut_off(settings.s3_prefix)):
        print(f"Removed {counted(count, 'file')} that an earlier attempt had sent in part.")
    _put_json(bucket, inventory.marker_key(settings.s3_prefix), _marker(settings))


def _look(settings: TaskSettings, content: Path) -> Staged:
    seen = Staged()
    for found in _walk(settings, content):
        if isinstance(found, File):
            seen.files[found.name] = found.stamp
        elif isinstance(found, EmptyFolder):
            seen.empty_folders.add(found.name)
        else:
            seen.findings.append(found)
    return seen


def _walk(settings: TaskSettings, content: Path) -> Iterator[File | EmptyFolder | Finding]:
    return walk(content, allowed(settings).and_also(content), f"{settings.s3_prefix}/")


def _refuse_findings(staged: Staged, content: Path) -> None:
    sentences = [finding.sentence(content) for finding in staged.findings]
    print(*sentences, sep="\n", end="\n" if sentences else "")
    if sentences:
        raise TaskFailed(
            f"Nothing was uploaded, because {counted(len(sentences), 'thing')} cannot be:"
            f" {'; '.join(sentences[:10])}{_more(sentences)}. Correct this in the source folder, then retry the job.",
            passes=all(finding.away for finding in staged.findings),
        )
    if not staged.files:
        raise TaskFailed(f"Nothing was uploaded: there is no file in {shown(content)}.")


def _refuse_foreign(settings: TaskSettings, bucket: Bucket) -> None:
    """What was free when the job looked, and is not now, is somebody else's; a job that did not look overwrites."""
    if not bucket.holds_anything(settings.s3_prefix):
        return
    owner = inventory.owner(bucket, inventory.marker_key(settings.s3_prefix))
    if owner == settings.job_id:
        return
    place = shown(f"{settings.bucket}/{settings.s3_prefix}")
    if _was_checked(settings):
        raise TaskFailed(
            f"{place} was free when this job looked, and now somebody else has put files there. Nothing was"
            " overwritten. Find out who did, before you upload it again with force_cloud_sync."
        )
    print(f"{place} exists (from {shown(owner) if owner else 'somebody else'}); the job asked to upload over it.")


def _was_checked(settings: TaskSettings) -> bool:
    records = RunFolder(settings.run_folder).attempts.glob("*/check_s3_folder_exists.end.json")
    return any((read_json(path) or {}).get("state") == "succeeded" for path in records)


# --- comparing -------------------------------------------------------------------------------------------------------


def _changed(before: Staged, after: Staged) -> list[str]:
    """Return a sentence for each file that is not what it was at the beginning."""
    return [
        *(f"{shown(name)} is gone" for name in sorted(before.files.keys() - after.files.keys())),
        *(f"{shown(name)} is new" for name in sorted(after.files.keys() - before.files.keys())),
        *(
            f"{shown(name)} {_difference(stamp, after.files[name])}"
            for name, stamp in sorted(before.files.items())
            if name in after.files and stamp != after.files[name]
        ),
        *(f"the empty folder {shown(name)} is no longer so" for name in before.empty_folders - after.empty_folders),
        *(f"the empty folder {shown(name)} is new" for name in after.empty_folders - before.empty_folders),
        *(f"{shown(finding.name)}: {finding.reason}" for finding in after.findings),
    ]


def _not_sent(staged: Staged, sent: Mapping[str, Sent]) -> list[str]:
    return [f"{shown(name)} was not seen when it was to be sent" for name in sorted(staged.files.keys() - sent.keys())]


def _difference(before: Stamp, after: Stamp) -> str:
    if before.size != after.size:
        return f"{'grew' if after.size > before.size else 'shrank'} from {before.size} to {after.size} bytes"
    return "was written to"


def _refuse_away(trouble: Sequence[SourceTrouble], after: Staged) -> None:
    """What a share does not tell is no change; with a part of it away, nothing can be said of the rest."""
    sentences = list(dict.fromkeys([*(str(one) for one in trouble if one.away), *_away(after)]))
    print(*sentences, sep="\n", end="\n" if sentences else "")
    if sentences:
        raise TaskFailed(
            f"The source folders could not be read to their end: {'; '.join(sentences[:10])}{_more(sentences)}."
            " When their share is back and it is tried again, what has arrived is not sent again.",
            passes=True,
        )


def _away(after: Staged) -> list[str]:
    return [f"{shown(finding.name)}: {finding.reason}" for finding in after.findings if finding.away]


def _refuse_changed(trouble: Sequence[str]) -> None:
    if not trouble:
        return
    sentences = list(dict.fromkeys(trouble))
    print(*sentences, sep="\n")
    raise TaskFailed(
        f"The source folders changed while they were uploaded, so the upload is not complete:"
        f" {'; '.join(sentences[:10])}{_more(sentences)}."
        " Wait until nothing writes there any more, then retry the job; what has not changed is not sent again."
    )


def _compare(
    settings: TaskSettings,
    bucket: Bucket,
    sent: Mapping[str, Sent],
    empty_folders: set[str],
    journal: Journal,
    progress: Progress,
) -> list[str]:
    """Read back every file; return what else lies in the asset. Raises TaskFailed when something is not as sent."""
    asset = settings.s3_prefix
    listing = {key.removeprefix(f"{asset}/"): stored for key, stored in bucket.listing(asset)}
    wrong: list[str] = []
    with Crew(bucket.hands) as crew:
        looks = [
            (one, crew.give(partial(_bucket_differs, bucket, f"{asset}/{one.path}", one, listing.get(one.path))))
            for one in _said(sent.values(), progress)
        ]
        crew.finish()
    for one, look in looks:
        if (difference := look.result()) is not None:
            wrong.append(f"{shown(one.path)} {difference}")
            journal.forget(one.path)
    wrong += [f"the empty folder {shown(name)} is missing" for name in sorted(empty_folders - listing.keys())]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    if wrong:
        raise TaskFailed(
            f"The bucket does not hold what was sent: {'; '.join(wrong[:10])}{_more(wrong)}."
            " Retry the job, so that these are sent again; if it happens twice, an operator has to look at the bucket."
        )
    return sorted(listing.keys() - sent.keys() - empty_folders)


def _said(sent: Collection[Sent], progress: Progress) -> Iterator[Sent]:
    for number, one in enumerate(sent):
        progress.say(f"Compares what the bucket holds: {number} of {len(sent)} files")
        yield one


def _bucket_differs(bucket: Bucket, key: str, one: Sent, stored: Stored | None) -> str | None:
    if stored is None or stored.size == NO_OBJECT or stored.size is None:
        return "is missing" if stored is None else "is no file there"
    if stored.size != one.receipt.size:
        return f"has {stored.size} bytes instead of {one.receipt.size}"
    return bucket.difference(key, one.receipt, stored=stored)


# --- what is left behind ---------------------------------------------------------------------------------------------


def _write_inventory(settings: TaskSettings, bucket: Bucket, sent: Mapping[str, Sent], staged: Staged) -> str:
    """Write the inventory beside the data and into the run folder; return its sha256, which the ledger keeps."""
    folder = RunFolder(settings.run_folder)
    written = inventory.as_json(settings, sent.values(), staged.empty_folders, datetime.now(timezone.utc))
    try:
        write_json(folder.inventory, written)
    except OSError as error:
        raise full_or_unwritable(error, folder.path, "The inventory") from error
    _put_json(bucket, inventory.inventory_key(settings.s3_prefix), written)
    bucket.settle()
    return hashlib.sha256(as_bytes(written)).hexdigest()


def _outcome(
    settings: TaskSettings,
    sent: Mapping[str, Sent],
    staged: Staged,
    extra: Sequence[str],
    digest: str,
    progress: Progress,
    bucket: Bucket,
) -> TaskOutcome:
    message = (
        f"{counted(len(sent), 'file')} ({size_shown(staged.size)}) arrived in"
        f" {shown(f'{settings.bucket}/{settings.s3_prefix}')}; {bucket.compared}."
    )
    if extra:
        also = listed([shown(name) for name in extra])
        message += f" Also there, not from this upload and left alone: {also}."
    progress.say("Done")
    facts = {
        "files": len(sent),
        "bytes": staged.size,
        "empty_folders": len(staged.empty_folders),
        "not_from_this_upload": len(extra),
        "inventory": str(RunFolder(settings.run_folder).inventory),
        "inventory_sha256": digest,
    }
    return TaskOutcome(state="succeeded", message=message, facts=facts)


def _marker(settings: TaskSettings) -> dict[str, str]:
    begun = datetime.now(timezone.utc).isoformat()
    return {"job_id": settings.job_id, "s3_prefix": settings.s3_prefix, "attempt": settings.attempt_key, "begun": begun}


def _journal_path(settings: TaskSettings) -> Path:
    return settings.run_folder / "upload.journal"


def _put_json(bucket: Bucket, key: str, value: object) -> None:
    content = as_bytes(value)
    bucket.put(key, [content], len(content))


def _more(sentences: Sequence[str]) -> str:
    return f"; and {len(sentences) - 10} more, all in the log" if len(sentences) > 10 else ""
