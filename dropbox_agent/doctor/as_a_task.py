"""Look as a task would: in a process of its own, with what a task on this machine has of the environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

WHOLE_SECONDS = 60.0


def looked(what: str, module: str, words: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``python -m module words`` found; ``failed`` in it is None, or a sentence about ``what``."""
    argv = [sys.executable, "-I", "-m", module, *words]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=WHOLE_SECONDS, env=_environment(environ), check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"{what} did not answer within {WHOLE_SECONDS:.0f} seconds."}
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        return {"failed": f"{what} could not be looked at: {last[0]}"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name in ("PATH", "HOME") or name.startswith("AWS_")}
    return {**kept, "LANG": "C.UTF-8"}
