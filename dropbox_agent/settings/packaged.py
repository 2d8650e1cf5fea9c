"""Where the templates, the example settings and the job types lie that come with the program."""

from __future__ import annotations

from pathlib import Path


def packaged(*parts: str) -> Path:
    """Return a path below the folder that holds ``templates`` and ``config``.

    A wheel carries them inside the package; a checkout has them at its top, where sites edit them.
    """
    package = Path(__file__).resolve().parent.parent
    carried = package / "_site"
    return (carried if carried.is_dir() else package.parent).joinpath(*parts)
