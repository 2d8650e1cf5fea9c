"""Send what a walk finds to a bucket, several files at a time, each once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import S3Access
from dropbox_agent.tasks import tree
from dropbox_agent.tasks.bucket import Bucket, Stored
from dropbox_agent.tasks.crew import Crew
from dropbox_agent.tasks.inventory import Sent
from dropbox_agent.tasks.journal import Journal
from dropbox_agent.tasks.names import shown
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.tree import EmptyFolder, File, Finding, SourceTrouble

MARGIN = 2.0
"""A request that is tried again until it is time to give up says more than this does, so it goes first."""


@dataclass
class Patience:
    """When an upload that does not get on is given up."""

    progress: Progress
    still_seconds: float | None = None
    """How long nothing may move."""
    whole_seconds: float | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._begun = self.clock()

    @classmethod
    def of(cls, access: S3Access | None, progress: Progress) -> Patience:
        """Return as much patience as a bucket in S3 asks for; a folder's own system knows when it is lost."""
        if access is None:
            return cls(progress)
        still = MARGIN * access.give_up_seconds + access.request_seconds
        return cls(progress, still, access.deadline_hours * 3600)

    def check(self) -> None:
        """Raise TaskFailed when it is time."""
        now = self.clock()
        if self.still_seconds is not None and now - max(self.progress.moved_at, self._begun) > self.still_seconds:
            raise TaskFailed(
                f"The upload stood still for {self.still_seconds:.0f} seconds and was given up. When it is tried"
                " again later, what has arrived is not sent again.",
                passes=True,
            )
        if self.whole_seconds is not None and now - self._begun > self.whole_seconds:
            raise TaskFailed(
                f"The upload took longer than {self.whole_seconds / 3600:g} hours (s3.deadline_hours) and was given"
                " up. Retry the job; what has arrived is not sent again.",
                passes=True,
            )


class Sender:
    """Sends the files of one asset; what an earlier attempt has stored, and nobody has changed, is passed over."""

    def __init__(self, bucket: Bucket, asset: str, journal: Journal, progress: Progress, patience: Patience) -> None:
        self._bucket = bucket
        self._asset = asset
        self._journal = journal
        self._progress = progress
        self._patience = patience
        self._stored: Mapping[str, Stored] = {}
        self._sent: dict[str, Sent] = {}
        self._trouble: list[SourceTrouble] = []

    def send(self, found: Iterable[File | EmptyFolder | Finding]) -> tuple[dict[str, Sent], list[SourceTrouble]]:
        """Return what the bucket now holds of the files, and what could not be read in peace."""
        self._stored = dict(self._bucket.listing(self._asset)) if self._journal.entries else {}
        with Crew(self._bucket.hands, self._patience.check) as crew:
            for one in found:
                if isinstance(one, EmptyFolder):
                    crew.give(partial(self._bucket.put_folder, f"{self._asset}/{one.name}"))
                elif isinstance(one, File) and not self._is_there(one):
                    crew.give(partial(self._send, one.kept(), crew))
                elif isinstance(one, Finding):
                    self._trouble.append(SourceTrouble(f"{shown(one.name)}: {one.reason}", away=one.away))
            crew.finish()
        return self._sent, self._trouble

    def _is_there(self, file: File) -> bool:
        before = self._journal.entries.get(file.name)
        if before is None or before.stamp != file.stamp:
            return False
        stored = self._stored.get(f"{self._asset}/{file.name}")
        if stored is None or (stored.size, stored.etag) != (file.stamp.size, before.receipt.etag):
            return False
        self._progress.passed_over(file.stamp.size)
        self._sent[file.name] = Sent(file.name, file.stamp.mtime_ns, before.receipt)
        return True

    def _send(self, file: File, crew: Crew) -> None:
        try:
            content = self._counted(tree.content(file), crew)
            receipt = self._bucket.put(f"{self._asset}/{file.name}", content, file.stamp.size)
        except SourceTrouble as error:
            self._trouble.append(error)
            return
        finally:
            file.let_go()
        self._progress.add(done_files=1)
        self._journal.add(file.name, file.stamp, receipt)
        self._sent[file.name] = Sent(file.name, file.stamp.mtime_ns, receipt)

    def _counted(self, chunks: Iterator[bytes], crew: Crew) -> Iterator[bytes]:
        for chunk in chunks:
            if crew.gave_up:
                raise TaskFailed("The upload was given up.")
            self._progress.add(len(chunk))
            yield chunk
