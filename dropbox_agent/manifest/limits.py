"""How much of a hostile file the reader takes before it says no."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

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
    """Sessions in one file."""
    columns: int = 300
    cell_characters: int = 8192
    depth: int = 40
    """Nesting of yaml and json, and of dotted headers."""
    nodes: int = 100_000
    """Values in one yaml or json file."""
    problems: int = 500
    """Told at once; a file with more has one cause."""
    memory_mib: int = 160
    """What reading may add to the address space of the child, which brings 90 MiB of Python and parsers with it."""
    cpu_seconds: int = 10
    wall_seconds: float = 10.0
    output_bytes: int = 64 * MIB
    open_files: int = 64

    @property
    def lines(self) -> int:
        """Rows of a table that are not blank: the sessions, and room for titles and header."""
        return self.rows + 20

    def apply(self) -> None:
        """Hold this process to the limits, for good."""
        _set(resource.RLIMIT_AS, _address_space() + self.memory_mib * MIB)
        _set(resource.RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds + 1)  # first a signal that says why, then the end
        _set(resource.RLIMIT_NOFILE, self.open_files)
        _set(resource.RLIMIT_FSIZE, 0)
        _set(resource.RLIMIT_CORE, 0)


LIMITS = Limits()


def _address_space() -> int:
    """Return how much address space this process takes now; nothing where that cannot be told (not on Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _set(what: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit; one that is lower already stays."""
    _, present = resource.getrlimit(what)
    hard = soft if hard is None else hard
    if present != resource.RLIM_INFINITY:
        hard = min(hard, present)
    resource.setrlimit(what, (min(soft, hard), hard))
