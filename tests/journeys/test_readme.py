"""The commands of the README do what it says, in the order in which it gives them."""

from __future__ import annotations

import configparser
import re
import shlex
import signal
import subprocess
from pathlib import Path

from workspace import COMMAND, a_row, wait_for, write_csv

from dropbox_agent import demonstration, settings

README = Path(__file__).parents[2] / "README.md"
LASTING = ("run", "serve")
"""Commands that go on until they are stopped."""
LOOKED_AT = 1
"""What the doctor of a new site ends with: its settings do not name the folders that data may come from yet."""


def commands() -> list[list[str]]:
    """Return every ``dropbox-agent ...`` line of the README's shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text("utf-8"), re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("dropbox-agent ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def run(words: list[str], folder: Path) -> str:
    if words[0] not in LASTING or "--until-idle" in words:
        done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == (LOOKED_AT if words[0] == "doctor" else 0), (words, done.stdout, done.stderr)
        return done.stdout
    port = ["--port", "0"] if words[0] == "serve" else []
    child = subprocess.Popen(
        [*COMMAND, *words, *port], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        if words[0] == "serve":
            next(line for line in child.stdout if "The pages are at" in line)
        else:
            wait_for((folder / "site" / "inbox" / "TEMPLATE.xlsx").exists)
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=20)
    return ""


def test_every_command_of_the_readme_works_as_it_stands_there(tmp_path: Path) -> None:
    found = commands()
    assert [words[0] for words in found] == [
        "init",
        "run",
        "doctor",
        "fsck",
        "status",
        "serve",
        "submit",
        "summary",
        "run",
        "adopt",
    ]
    for words in found[:-1]:
        if words[0] != "submit":  # it follows what a running agent does: test_submit.py
            run(words, tmp_path)


def test_a_folder_that_has_files_already_is_adopted_as_the_readme_says(tmp_path: Path) -> None:
    run(["init", "site"], tmp_path)
    config = tmp_path / "site" / "agent.yaml"
    words = [word.replace("FOLDER", str(tmp_path / "site" / "inbox")) for word in commands()[-1]]
    assert "is now watched by this agent" in run([*words, "--config", str(config)], tmp_path)


def test_the_systemd_unit_starts_the_agent_and_stops_nothing_else(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.read(README.parent / "config" / "examples" / "dropbox-agent.service")
    assert (unit["Service"]["KillMode"], unit["Service"]["Restart"]) == ("process", "always")
    program, *words = unit["Service"]["ExecStart"].split()
    assert (Path(program).name, words.pop()) == ("dropbox-agent", "/etc/dropbox-agent/agent.yaml")
    run(["init", "site"], tmp_path)
    run([*words, "site/agent.yaml", "--until-idle"], tmp_path)


def test_the_settings_of_the_readme_are_settings(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text("utf-8"), re.S)
    assert len(blocks) == 1
    (tmp_path / "agent.yaml").write_text(blocks[0])
    assert settings.load(tmp_path / "agent.yaml", {}).executor.kind == "slurm"


def test_the_first_drop_goes_as_the_readme_says(tmp_path: Path) -> None:
    run(["init", "site"], tmp_path)
    sources = demonstration.make_session(tmp_path / "data")
    write_csv(tmp_path / "s.csv", [a_row(sources)])
    printed = run(["check", "s.csv", "--config", "site/agent.yaml"], tmp_path)
    assert "All right: 1 upload would start." in printed
