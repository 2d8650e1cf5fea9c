"""Ask a place that may never answer (a share that hangs), for so long and no longer.

A call into the kernel that hangs cannot be ended, only left behind. Each place has a thread of its own that does the
asking, so what hangs is that thread; while it does, every further question to the place fails at once.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from dropbox_agent.errors import NoAnswer

T = TypeVar("T")

OWN_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay", "squashfs"})
"""Kinds of file systems that answer without a network, or another process."""
MOST_LINKS = 40
"""Of more links in a row, Linux does not follow the last."""


@dataclass
class Question(Generic[T]):
    """One thing to be done at a place, and what came of it."""

    act: Callable[[], T]
    over: bool = False
    answers: list[T] = field(default_factory=list)
    error: BaseException | None = None
    # Cheaper than an event: a listing of many files asks often.
    _done: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)

    def put(self) -> None:
        """Do it."""
        try:
            self.answers.append(self.act())
        except BaseException as error:
            self.error = error
        self.over = True
        self._done.put(None)

    def is_answered(self, seconds: float) -> bool:
        """Wait for an answer; return whether it came."""
        try:
            self._done.get(timeout=seconds)
        except queue.Empty:
            return False
        return True

    def result(self) -> T:
        """Return what the act returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.answers[0]


class Place:
    """One share, asked with patience; one question at a time."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self._seconds = name, seconds
        self._hanging: Question[Any] | None = None
        self._questions: queue.SimpleQueue[Question[Any]] | None = None

    def ask(self, act: Callable[[], T]) -> T:
        """Return what ``act`` returns. Raises what it raises, and NoAnswer when that takes too long."""
        if self._hanging is not None and not self._hanging.over:
            raise NoAnswer(self._no_answer())
        question: Question[T] = Question(act)
        self._thread().put(question)
        if not question.is_answered(self._seconds):
            self._hanging = question
            raise NoAnswer(self._no_answer())
        return question.result()

    def _no_answer(self) -> str:
        return (
            f"{self.name} does not answer ({self._seconds:g} s and more). Nothing is concluded from that; it is asked "
            "again. If it is a share, look at its server."
        )

    def _thread(self) -> queue.SimpleQueue[Question[Any]]:
        if self._questions is None:
            self._questions = queue.SimpleQueue()
            # A daemon: a thread that hangs in the kernel must not keep the agent from ending.
            threading.Thread(target=_answer, args=(self._questions,), name=f"asks {self.name}", daemon=True).start()
        return self._questions


def _answer(questions: queue.SimpleQueue[Question[Any]]) -> None:
    while True:
        questions.get().put()


class Places:
    """Places by the mount they lie on: what hangs is a mount, and others go on."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        """None: asked without a limit."""
        self._places: dict[str, Place] = {}

    def ask(self, path: str | Path, act: Callable[[], T]) -> T:
        """Return what ``act``, which looks at ``path``, returns. Raises what it raises, and NoAnswer."""
        if self._seconds is None:
            return act()
        point = mount_point(str(path), _mounts_here())
        place = self._places.setdefault(point, Place(point, self._seconds))
        return place.ask(act)


def mount_point(path: str, mounts: str) -> str:
    """Return where the file system of a path is mounted; links are followed on this machine's own disks only.

    Looking anywhere else could hang.
    """
    points = _points(mounts)
    point, here, ahead, links = "/", "/", _names_in(path), 0
    while ahead:
        here = os.path.join(here, ahead.pop())
        if here in points:
            point = here
        elif points.get(point) in OWN_DISKS and links < MOST_LINKS and (target := _target_of(here)):
            links += 1
            ahead += _names_in(os.path.join(os.path.dirname(here), target))
            point, here = "/", "/"
    return point


def _names_in(path: str) -> list[str]:
    """Return the names that a path goes through, the last one first."""
    return [name for name in reversed(os.path.abspath(path).split("/")) if name]


def _target_of(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


@lru_cache(maxsize=1)
def _points(mounts: str) -> dict[str, str]:
    """Return mount point -> kind of file system."""
    lines = (line.split(" ") for line in mounts.splitlines() if " - " in line)
    return {_unescaped(words[4]): words[words.index("-", 6) + 1] for words in lines}


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _mounts_here() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
