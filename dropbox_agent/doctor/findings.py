"""What a check says: a name, a verdict, a sentence, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dropbox_agent.settings import Settings


class Verdict(str, Enum):
    """How one thing stands."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should look at it."""
    FAILED = "failed"
    """Something the agent needs is not there, or does not work."""
    UNUSABLE = "unusable"
    """The settings cannot be read, so nothing else was looked at."""
    NOT_CONFIGURED = "not configured"
    """The site does not use it; nothing was looked at."""


EXIT_CODES: Mapping[Verdict, int] = {Verdict.UNUSABLE: 2, Verdict.FAILED: 3, Verdict.WARNING: 1}
"""The worst verdict decides, in this order; else 0."""


@dataclass(frozen=True)
class Finding:
    """What was found of one thing."""

    name: str
    """What was looked at, as the settings call it: ``work_dir``, ``inbox /srv/inbox``."""
    verdict: Verdict
    sentence: str
    """What was found."""
    advice: str = ""
    """What to do; empty when there is nothing to do."""


@dataclass(frozen=True)
class Site:
    """What a check is given."""

    settings: Settings
    environ: Mapping[str, str]


Check = Callable[[Site], Iterator[Finding]]


def exit_code(found: Sequence[Finding]) -> int:
    """Return 0 when all is well, 1 when there are warnings, 2 for unusable settings, 3 when something failed."""
    verdicts = {finding.verdict for finding in found}
    return next((code for verdict, code in EXIT_CODES.items() if verdict in verdicts), 0)


def as_json(found: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings for programs."""
    checks = [
        {"name": one.name, "verdict": one.verdict.value, "sentence": one.sentence, "advice": one.advice}
        for one in found
    ]
    return {"ok": exit_code(found) == 0, "exit_code": exit_code(found), "checks": checks}
