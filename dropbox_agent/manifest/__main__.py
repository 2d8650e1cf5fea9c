"""The child process: ``python -m dropbox_agent.manifest PATH NAME [LIMITS]`` prints rows and problems as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dropbox_agent.manifest.limits import Limits
from dropbox_agent.manifest.parse import parse, reader


def main(arguments: Sequence[str]) -> int:
    """Read one manifest within its limits; what goes wrong is said on the pipe, for the operator."""
    path, name, *rest = arguments
    limits = Limits(**json.loads(rest[0])) if rest else Limits()
    reader(name)  # What is imported is ours: the limits are for the file.
    limits.apply()
    try:
        rows, problems = parse(Path(path), name, limits)
        answer = json.dumps({"rows": rows, "problems": problems}, default=vars)
    except MemoryError:
        answer = json.dumps({"died": "memory"})
    except Exception as wrong:  # A hostile file may find a fault in any parser: it takes only itself with it.
        answer = json.dumps({"died": f"{type(wrong).__name__}: {wrong}"[:1000]})
    sys.stdout.write(answer)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
