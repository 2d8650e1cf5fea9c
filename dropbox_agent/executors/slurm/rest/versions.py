"""Which version of slurmrestd's API is spoken: the newest that both sides know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPOKEN = ("v0.0.44", "v0.0.43", "v0.0.42", "v0.0.41", "v0.0.40", "v0.0.38")
"""The newest first. v0.0.39 (Slurm 23.02) is left out: it has a shape of its own, and 23.02 offers v0.0.38 too."""


@dataclass(frozen=True)
class Api:
    """One version of slurmrestd's API: the paths it has, and the fields of a job's description."""

    version: str
    paths: frozenset[str]
    fields: frozenset[str] = frozenset()
    """Empty where it does not say them all: v0.0.38 takes some that its own schema does not have."""

    @property
    def is_new(self) -> bool:
        """Return whether jobs are described with slurmrestd's own types (Slurm 23.11 and later)."""
        return self.version != "v0.0.38"

    def path(self, part: str, name: str) -> str | None:
        """Return the path of ``jobs`` in ``slurm`` or ``slurmdb``, in its own spelling; None when there is none."""
        wanted = f"/{part}/{self.version}/{name}"
        return next((path for path in (wanted, f"{wanted}/") if path in self.paths), None)


def agreed(specification: Mapping[str, Any]) -> Api | None:
    """Return the newest version that has all that is needed, from slurmrestd's OpenAPI document; None without one."""
    found = (_version(specification, version) for version in SPOKEN)
    return next((api for api in found if api.path("slurm", "jobs") and api.path("slurm", "job/submit")), None)


def _version(specification: Mapping[str, Any], version: str) -> Api:
    schemas = (specification.get("components") or {}).get("schemas") or {}
    fields = (schemas.get(f"{version}_job_desc_msg") or {}).get("properties") or {}
    return Api(version, frozenset(specification.get("paths") or ()), frozenset(fields))


def offered(specification: Mapping[str, Any]) -> list[str]:
    """Return the versions that a slurmrestd offers, for people."""
    return sorted({path.split("/")[2] for path in specification.get("paths") or () if path.startswith("/slurm/v")})
