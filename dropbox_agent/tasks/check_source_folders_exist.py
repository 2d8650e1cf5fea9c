"""Look at every folder the job will read, and tell at once all that would stop or spoil the upload."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropbox_agent.model import TaskOutcome, TaskSettings
from dropbox_agent.tasks.bucket import folder_of
from dropbox_agent.tasks.names import counted, shown, size_shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.staging import DERIVATIVES, reserved_names
from dropbox_agent.tasks.tree import Allowed, EmptyFolder, File, Finding, Found, allowed, can_be_read, walk

MOST_IN_MESSAGE = 10
MOST_IN_FACTS = 1_000
MOST_IN_LOG = 100_000


@dataclass(frozen=True)
class Source:
    """A folder of the scientist's."""

    what: str
    """A modality, metadata_dir or derivatives_dir."""
    folder: Path
    key_prefix: str
    """Where in the bucket it will be."""
    deep: bool = True
    """Whether its sub-folders are read, too."""
    reserved: frozenset[str] = frozenset()
    """What its files may not be called, because folders of the asset are."""

    def finding(self, found: Found) -> Finding | None:
        """Return what is wrong with an entry, or None."""
        if isinstance(found, Finding):
            return found
        if found.name in self.reserved:
            return Finding(found.name, "this has the name of a folder of the asset; rename it")
        return can_be_read(found) if isinstance(found, File) else None


class _Findings:
    """Sentences, each logged as it is found; kept as far as somebody will read them."""

    def __init__(self) -> None:
        self.count = 0
        self.away = 0
        """How many a share is the cause of that does not answer."""
        self.kept: list[str] = []

    def add(self, sentence: str, away: bool = False) -> None:
        self.count += 1
        self.away += away
        if self.count <= MOST_IN_LOG:
            print(sentence)
        if len(self.kept) < MOST_IN_FACTS:
            self.kept.append(sentence)


def run(settings: TaskSettings, progress: Progress) -> TaskOutcome:
    """Return succeeded when every source folder can be uploaded as it is, else all findings."""
    progress.begin("Looks at the source folders")
    findings = _Findings()
    sources = sources_of(settings)
    for sentence in nested(settings):
        findings.add(sentence)
    may = allowed(settings)
    for source in sources:
        _look_at(source, may, progress, findings)
    facts: dict[str, object] = {"files": progress.done_files, "bytes": progress.done_bytes, "findings": findings.count}
    if findings.count:
        facts["problems"] = findings.kept
        if findings.away == findings.count:
            facts["passes"] = True
        return TaskOutcome(state="failed", message=_message(findings), facts=facts)
    message = (
        f"{counted(progress.done_files, 'file')} ({size_shown(progress.done_bytes)}) in"
        f" {counted(len(sources), 'folder')} can be uploaded.{_same_folders(settings)}"
    )
    return TaskOutcome(state="succeeded", message=message, facts=facts)


def sources_of(settings: TaskSettings) -> tuple[Source, ...]:
    """Return every folder the job reads, in the order people name them."""
    asset = settings.s3_prefix
    found = [Source(name, folder, f"{asset}/{name}/") for name, folder in settings.sources.items()]
    if settings.metadata_dir is not None:
        reserved = frozenset(reserved_names(settings))
        found.append(Source("metadata_dir", settings.metadata_dir, f"{asset}/", deep=False, reserved=reserved))
    if settings.derivatives_dir is not None:
        found.append(Source("derivatives_dir", settings.derivatives_dir, f"{asset}/{DERIVATIVES}/"))
    return tuple(found)


def _look_at(source: Source, may: Allowed, progress: Progress, findings: _Findings) -> None:
    progress.say(f"Looks at {source.what}")
    before = progress.done_files, findings.count
    holds_nothing = source.deep
    for found in walk(source.folder, may, source.key_prefix, deep=source.deep):
        finding = source.finding(found)
        holds_nothing = holds_nothing or (isinstance(found, EmptyFolder) and not found.name)
        if finding is not None:
            findings.add(f"{source.what}: {finding.sentence(source.folder)}", finding.away)
        elif isinstance(found, File):
            progress.add(found.stamp.size, 1)
    # A session's own folder may be its metadata_dir, with nothing at its top yet.
    if holds_nothing and (progress.done_files, findings.count) == before:
        findings.add(f"{source.what}: {shown(source.folder)}: this folder holds no file")
    print(f"{source.what}: looked at {progress.done_files - before[0]} files in {shown(source.folder)}.")


def nested(settings: TaskSettings) -> Iterator[str]:
    """Yield a sentence for each source folder inside another, or inside what the service itself writes."""
    # Two modalities may come from one and the same folder: upstream's own template has that.
    modalities = [(name, os.path.realpath(folder)) for name, folder in settings.sources.items()]
    for name, real in modalities:
        for other, outer in modalities:
            if _is_below(real, outer):
                yield f"{name}: {shown(real)}: this lies inside the folder of {other}; modalities may not be nested"
    everything = [*modalities, *_others(settings)]
    for what, place in _places_of_ours(settings):
        for name, real in everything:
            if real == place or _is_below(real, place):
                yield f"{name}: {shown(real)}: this lies inside {what}, which the service writes itself"
            elif _is_below(place, real) and name != "metadata_dir":
                yield f"{name}: {shown(real)}: this holds {what} ({shown(place)}), which the service writes itself"


def _others(settings: TaskSettings) -> Iterator[tuple[str, str]]:
    for name, folder in (("metadata_dir", settings.metadata_dir), ("derivatives_dir", settings.derivatives_dir)):
        if folder is not None:
            yield name, os.path.realpath(folder)


def _places_of_ours(settings: TaskSettings) -> Iterator[tuple[str, str]]:
    yield "the job's own folder", os.path.realpath(settings.run_folder)
    bucket = folder_of(settings.bucket)
    if bucket is not None:
        yield "the bucket's folder", os.path.realpath(bucket)


def _is_below(inner: str, outer: str) -> bool:
    return inner.startswith(outer.rstrip("/") + "/")


def _same_folders(settings: TaskSettings) -> str:
    names: dict[str, list[str]] = {}
    for name, folder in settings.sources.items():
        names.setdefault(os.path.realpath(folder), []).append(name)
    shared = [" and ".join(group) for group in names.values() if len(group) > 1]
    return "".join(f" Note: {group} are the same folder and are uploaded once each." for group in shared)


def _message(findings: _Findings) -> str:
    heading = f"{counted(findings.count, 'problem')} in the source folders; correct them, then retry the job:"
    return f"{heading} {_first(findings.kept, findings.count)}."


def _first(sentences: Sequence[str], count: int) -> str:
    shown_ones = "; ".join(sentences[:MOST_IN_MESSAGE])
    rest = count - min(count, MOST_IN_MESSAGE)
    return f"{shown_ones}; and {rest} more, all in the log" if rest else shown_ones
