"""Which version of slurmrestd's API is spoken: the newest that both sides know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OLDEST_NEW = "v0.0.40"
"""From here on (Slurm 23.11), jobs are described and shown as upstream's presets have them."""
SPOKEN = ("v0.0.44", "v0.0.43", "v0.0.42", "v0.0.41", OLDEST_NEW, "v0.0.38")
"""The newest first. v0.0.39 (Slurm 23.02) has a shape of its own; every slurmrestd that has it can offer another."""


@dataclass(frozen=True)
class Api:
    """One version of slurmrestd's API, and the paths it has."""

    version: str
    paths: frozenset[str]

    @property
    def is_new(self) -> bool:
        """Return whether jobs are described with slurmrestd's own types, and not as texts for sbatch's options."""
        return self.version != "v0.0.38"

    def path(self, part: str, name: str) -> str | None:
        """Return the path of ``jobs`` in ``slurm`` or ``slurmdb``, in its own spelling; None when there is none."""
        wanted = f"/{part}/{self.version}/{name}"
        return next((path for path in (wanted, f"{wanted}/") if path in self.paths), None)


def agreed(paths: Iterable[str]) -> Api | None:
    """Return the newest version that has all that is needed; None when there is none."""
    there = frozenset(paths)
    found = (Api(version, there) for version in SPOKEN)
    return next((api for api in found if api.path("slurm", "jobs") and api.path("slurm", "job/submit")), None)


def offered(paths: Iterable[str]) -> list[str]:
    """Return the versions that a slurmrestd offers, for people."""
    return sorted({path.split("/")[2] for path in paths if path.startswith("/slurm/v")})
