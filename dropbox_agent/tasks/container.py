"""Run a script on the node itself or in a container: what is started, with which environment."""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import Container
from dropbox_agent.tasks.names import shown

IMAGE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a Charliecloud image has its programs, unless it says itself."""
OF_THE_NODE = ("PATH", "HOME", "TMPDIR")
"""Variables that mean something on the node, and nothing in an image."""


@dataclass(frozen=True)
class Start:
    """What is started."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Where it starts; None: in its output folder."""


@contextmanager
def start_of(file: Path, output: Path, container: Container | None, environ: Mapping[str, str]) -> Iterator[Start]:
    """Yield what runs a script, with what it needs for as long as the block lasts. Raises TaskFailed.

    ``environ`` is what the script is to see. In a container it sees its image, what the container lists (read-only) and
    its output folder, each under its own path, and a /tmp of its own on the node.
    """
    if container is None:
        yield Start(("bash", str(file)), environ)
        return
    _require(container)
    scratch = Path(tempfile.mkdtemp(prefix="dropbox-agent-"))
    try:
        yield _in_container(file, output, container, environ, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _in_container(file: Path, output: Path, container: Container, environ: Mapping[str, str], scratch: Path) -> Start:
    command = ("env", *_given_inside(environ), "bash", str(file))
    reads = [path for path in (*container.reads, file) if path.exists()]
    if container.kind == "charliecloud":
        argv = _charliecloud(container, output, reads, command, scratch)
    else:
        argv = _apptainer(container, output, reads, command, scratch)
    return Start(argv, {**environ, "USER": _user(), "HOME": environ.get("HOME", "/")})


def _given_inside(environ: Mapping[str, str]) -> list[str]:
    """Variables travel as arguments of ``env``: these programs would look for $ and commas in what they are told."""
    return [f"{name}={value}" for name, value in environ.items() if name not in OF_THE_NODE]


def _require(container: Container) -> None:
    if shutil.which(container.program) is None:
        raise TaskFailed(
            f"{container.program} is not on {os.uname().nodename}, so the script was not run in its image. An operator"
            " has to install it there, or correct containers.program."
        )
    if "://" not in container.image and not os.path.exists(container.image):
        raise TaskFailed(
            f"The image {shown(container.image)} is not on {os.uname().nodename}, so the script was not run. An"
            " operator has to put it there, or correct containers.images."
        )


def _user() -> str:
    """ch-run asks for a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


# --- apptainer and singularity ---------------------------------------------------------------------------------------


def _apptainer(
    container: Container, output: Path, reads: list[Path], command: tuple[str, ...], scratch: Path
) -> tuple[str, ...]:
    """Return ``apptainer exec``: nothing of the node but what is mounted; /tmp and home are in the scratch folder."""
    mounts = [_mount(path, "ro") for path in reads] + [_mount(output)]
    options = ["--cleanenv", "--contain", "--no-home", f"--workdir={scratch}", f"--pwd={output}"]
    return (container.program, "exec", *options, *(f"--mount={mount}" for mount in mounts), container.image, *command)


def _mount(path: Path, *more: str) -> str:
    """Return a mount as --mount takes it: one line of CSV, so that commas and colons in a path mean nothing."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={path}", f"destination={path}", *more])
    return line.getvalue()


# --- charliecloud ----------------------------------------------------------------------------------------------------


def _charliecloud(
    container: Container, output: Path, reads: list[Path], command: tuple[str, ...], scratch: Path
) -> tuple[str, ...]:
    """Return the program that puts a root together for ``ch-run``, and becomes it (see private_root)."""
    root, tmp, spec = scratch / "root", scratch / "tmp", scratch / "spec.json"
    root.mkdir()
    tmp.mkdir()
    image = Path(container.image)
    own = ["--set-env"] if (image / "ch/environment").is_file() else []
    passwd = [] if (image / "etc/passwd").is_file() and (image / "etc/group").is_file() else ["--no-passwd"]
    environment = ["--unset-env=*", f"--set-env=PATH={IMAGE_PATH}", *own, "--set-env=HOME=/tmp"]
    argv = [container.program, *passwd, *environment, f"--cd={output}", str(root), "--", *command]
    made_of = {"root": str(root), "image": str(image), "tmp": str(tmp)}
    shown_inside = {"reads": [str(path) for path in reads], "writes": [str(output)], "argv": argv}
    spec.write_text(json.dumps({**made_of, **shown_inside}), encoding="utf-8")
    return (sys.executable, "-I", "-m", "dropbox_agent.tasks.private_root", str(spec))
