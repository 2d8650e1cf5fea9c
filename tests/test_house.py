"""The house keeps its own rules: who imports whom, what is documented, what never happens at import."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "dropbox_agent"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "_site" not in path.parts)
LONGEST_FUNCTION_LINES = 60

FLOORS: tuple[tuple[str, ...], ...] = (
    ("states", "errors", "wording", "yaml_lines", "lasting"),
    ("patience", "remembered", "troubles"),
    ("model", "settings"),
    ("validate", "plan", "policy", "report"),
    ("inbox", "manifest", "presets", "projects", "ledger", "executors", "deliver", "orders", "pulse"),
    ("beside", "rewriting"),
    ("answer", "dispatch", "examine", "obey", "retention", "settling"),
    ("furnish", "observe"),
    ("agent", "web", "submission"),
    ("assembly", "terminal"),
    ("concerns", "founding", "serving"),
    ("demonstration", "doctor", "fsck", "preset_commands"),
    ("cli",),
    ("__main__",),
)
"""The rooms of the house, from the ground up."""
FRONT_DOOR = (
    "assembly",
    "concerns",
    "founding",
    "serving",
    "demonstration",
    "doctor",
    "fsck",
    "preset_commands",
    "cli",
    "__main__",
)
"""Who may read the settings."""
FOR_TASKS = ("model", "states", "errors")
"""What a task may import."""
ROOMS = (*(room for floor in FLOORS for room in floor), "tasks")


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def may_import(importer: str, imported: str) -> bool:
    if importer == "tasks":
        return imported in FOR_TASKS
    if imported == "tasks" or (imported == "settings" and importer not in FRONT_DOOR):
        return False
    return floor_of(importer) > floor_of(imported)


FORBIDDEN = [(a, b) for a in ROOMS for b in ROOMS if a != b and not may_import(a, b)]


# --- who imports whom ------------------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # The folder it runs in comes first on its path, before the installed package.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    # Wide enough for the longest sentence: one that is broken into lines is not found.
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=wide)


def test_every_room_is_on_a_floor() -> None:
    rooms = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if is_room(path)}
    assert rooms == set(ROOMS)


def test_the_import_contracts_hold() -> None:
    result = lint_imports(REPOSITORY)
    assert result.returncode == 0, result.stdout


def test_every_forbidden_import_is_reported(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "dropbox_agent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for importer, imported in FORBIDDEN:
        with front_file(tmp_path / "dropbox_agent", importer).open("a", encoding="utf-8") as file:
            file.write(f"\nimport dropbox_agent.{imported}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    reported = re.findall(r"dropbox_agent\.(\w+) is not allowed to import dropbox_agent\.(\w+)", result.stdout)
    assert sorted(set(FORBIDDEN) - set(reported)) == []
    assert result.stdout.count("BROKEN") == 4


def test_the_wrapper_needs_nothing_but_the_standard_library() -> None:
    imported = set(imports_of(PACKAGE / "executors/wrapper.py"))
    assert imported <= sys.stdlib_module_names


def is_room(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()


def front_file(package: Path, room: str) -> Path:
    module = package / f"{room}.py"
    return module if module.is_file() else package / room / "__init__.py"


def imports_of(file: Path) -> Iterator[str]:
    """Yield the first part of every module a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or ".").partition(".")[0]


# --- what never happens at import ------------------------------------------------------------------------------------

FOREIGN = "logging, pydantic_settings, yaml, jinja2, typer, rich.live, watchdog.observers, openpyxl, fastapi, sqlite3"
"""Libraries that do as they like when they are imported: they are, before the trap is set."""

TRAP = """
import importlib, os, sys, threading
import {foreign}

package, names, done = sys.argv[1], sys.argv[2].split(","), []

def by_us():
    # Who called: the nearest frame that is neither this trap nor os nor the import system.
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(("<", os.__file__)):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(package)

class Environment(dict):
    def __getitem__(self, name):
        if by_us():
            done.append(f"reads {name}")
        return super().__getitem__(name)
    def get(self, name, default=None):
        if by_us():
            done.append(f"reads {name}")
        return super().get(name, default)
    def __iter__(self):
        if by_us():
            done.append("reads the environment")
        return super().__iter__()

def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        done.append(f"writes {os.path.basename(args[0])}")
    if event in ("subprocess.Popen", "os.mkdir", "os.remove", "os.rename", "socket.connect", "sqlite3.connect"):
        done.append(f"{event} {os.fsdecode(args[0])}" if isinstance(args[0], (bytes, str)) else event)

threads = threading.active_count()
os.environ = Environment(os.environ)
sys.addaudithook(watch)
for name in names:
    importlib.import_module(name)
if threading.active_count() > threads:
    done.append("starts a thread")
print(*done, sep=chr(10))
"""


def what_happens_at_import(modules: Sequence[str], package: Path, folder: Path) -> list[str]:
    """Return what importing the modules of a package does besides defining names."""
    result = subprocess.run(
        [sys.executable, "-B", "-c", TRAP.replace("{foreign}", FOREIGN), str(package), ",".join(modules)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split("\n")[:-1] if result.stdout.strip() else []


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    modules = [module_name(file) for file in SOURCES if file.stem != "__main__"]
    assert what_happens_at_import(modules, PACKAGE, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_happens_at_import_would_be_noticed(tmp_path: Path) -> None:
    package = tmp_path / "busy"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, sqlite3, subprocess, sys, threading\n"
        "os.environ.get('A'), os.getenv('B'), list(os.environ)\n"
        "open('file', 'w').close(); os.mkdir('folder'); sqlite3.connect(':memory:').close()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    assert what_happens_at_import(["busy"], package, tmp_path) == [
        "reads A",
        "reads B",
        "reads the environment",
        "writes file",
        "os.mkdir folder",
        "sqlite3.connect :memory:",
        "starts a thread",
    ]


def module_name(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- how the code reads ----------------------------------------------------------------------------------------------


def test_no_module_is_named_after_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "misc"}
    assert [file for file in SOURCES if nothing & {file.stem, file.parent.name}] == []


def test_every_module_says_what_it_is_for() -> None:
    missing = [file for file in SOURCES if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))]
    assert missing == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b")
    found = [
        f"{file.relative_to(REPOSITORY)}:{number}"
        for file in [*SOURCES, *(REPOSITORY / "tests").rglob("*.py")]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if later.search(line) and file != Path(__file__)
    ]
    assert found == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{file.relative_to(REPOSITORY)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION_LINES
    ]
    assert long == []


# --- what is documented ----------------------------------------------------------------------------------------------


def test_the_map_in_the_readme_names_every_module_and_nothing_else() -> None:
    """The map is a code block; its lines are ``dropbox_agent/inbox.py   what it is for``."""
    named = re.findall(r"^ *(dropbox_agent/\S+) +\S", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M)
    rooms = {f"dropbox_agent/{path.name}{'/' if path.is_dir() else ''}" for path in PACKAGE.iterdir() if is_room(path)}
    rooms.discard("dropbox_agent/__main__.py")  # nothing to find in it: python -m dropbox_agent is the command
    assert sorted(rooms - set(named)) == [], "not on the map"
    assert [name for name in named if not (REPOSITORY / name).exists()] == [], "on the map, and not there"
    assert len(named) == len(set(named))


def links_in(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    yield from re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("*.md")) + sorted((REPOSITORY / "docs").glob("*.md")), ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    local = [link for link in links_in(page) if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_lock_has_a_version_for_everything_and_no_host() -> None:
    lines = (REPOSITORY / ".ci/lock.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.match(r"[a-z0-9.-]+==[^ ;]+( ; .+)?$", line)] == []
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    wanted = {name.lower().replace("_", "-") for name in re.findall(r'^  "([A-Za-z0-9_-]+)(?:\[\w+\])?>=', text, re.M)}
    assert len(wanted) > 25
    assert wanted - {line.partition("==")[0] for line in lines} == set()


def test_every_dependency_has_a_lower_bound() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    entries = re.findall(r'"([^"]+)"', block)
    assert len(entries) > 25
    assert [entry for entry in entries if ">=" not in entry] == []


def test_every_test_that_the_table_of_failures_names_is_there() -> None:
    text = (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for file in (REPOSITORY / "tests").rglob("*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M)
    }
    assert len(named) > 40
    assert sorted(named - there) == []
