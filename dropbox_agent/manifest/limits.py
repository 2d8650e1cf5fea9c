"""How much of a hostile file the reader takes before it says no."""

from __future__ import annotations

import resource
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Caps on one manifest, and on the process that reads it."""

    file_bytes: int = 10 * MIB
    text_bytes: int = MIB
    """For csv, yaml and json: nobody types a megabyte."""
    unpacked_bytes: int = 64 * MIB
    """All parts of a workbook together, as its directory declares them; zipfile inflates no more than that."""
    zip_entries: int = 1000
    rows: int = 2000
    columns: int = 300
    cell_characters: int = 8192
    depth: int = 40
    """Nesting of yaml and json, and of dotted headers."""
    nodes: int = 100_000
    """Values in one yaml or json file."""
    problems: int = 500
    """Told at once; a file with more has one cause."""
    memory_mib: int = 512
    """Address space of the child; 2,000 rows of 17 columns take 256."""
    cpu_seconds: int = 20
    wall_seconds: float = 30.0
    output_bytes: int = 64 * MIB
    open_files: int = 64

    def apply(self) -> None:
        """Hold this process to the limits, for good."""
        _set(resource.RLIMIT_AS, self.memory_mib * MIB)
        _set(resource.RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds + 1)  # first a signal that says why, then the end
        _set(resource.RLIMIT_NOFILE, self.open_files)
        _set(resource.RLIMIT_FSIZE, 0)
        _set(resource.RLIMIT_CORE, 0)


LIMITS = Limits()


def _set(what: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit; one that is lower already stays."""
    _, present = resource.getrlimit(what)
    hard = soft if hard is None else hard
    if present != resource.RLIM_INFINITY:
        hard = min(hard, present)
    resource.setrlimit(what, (min(soft, hard), hard))
