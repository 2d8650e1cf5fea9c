"""Say what a node sees; copied into the work folder and run there by a job that takes a second.

Standard library only: ``python probe.py FOLDER [PROGRAM [IMAGES]]`` writes ``seen.json`` into the folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys


def main(folder: str, program: str = "", images: str = "") -> None:
    seen = {
        "host": os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
        "python": sys.version.split()[0],
        "has_package": importlib.util.find_spec("dropbox_agent") is not None,
        "program": shutil.which(program) if program else None,
        "has_images": os.path.isdir(images) if images else None,
    }
    temporary = os.path.join(folder, "seen.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(seen, file)
    os.replace(temporary, os.path.join(folder, "seen.json"))


if __name__ == "__main__":
    main(*sys.argv[1:])
