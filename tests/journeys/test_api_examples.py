"""The scripts of docs/examples, run as they are against a real server, with a real agent behind it."""

from __future__ import annotations

import re
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from workspace import Workspace, wait_for

from dropbox_agent.web.api.access import fingerprint

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TOKEN = "a-token-of-the-examples"
SHARED = ("submitting.py", "follow.py")
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in SHARED)

JOB_ID = re.compile(r"ecephys_\d+_[\d_-]+\.[a-z2-7]{6}")


@pytest.fixture
def service(workspace: Workspace, sources: dict[str, Path]) -> Iterator[str]:
    """The address of a running service that takes requests."""
    token = {"name": "examples", "sha256": fingerprint(TOKEN), "user_email": None}
    workspace.change(
        executor={"kind": "rehearsal"},
        api={"submit": True, "tokens": [token]},
        policy={"manifests_may_set": "all", "source_roots": [str(sources["ecephys"].parent)]},
    )
    server = workspace.start("serve", "--port", "0")
    assert server.stdout is not None
    address = next(found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    threading.Thread(target=server.stdout.read, daemon=True).start()  # or it would wait for somebody to read
    yield address


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs an example as ``python SCRIPT WORDS`` does, without the second Python takes to start; returns its lines."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("DROPBOX_AGENT_TOKEN", TOKEN)

    def run(script: str, *words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [script, *words])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.timeout(300)  # a server and an agent start, on a machine that may be busy
def test_every_example_submits_jobs_that_end_well(
    workspace: Workspace, sources: dict[str, Path], service: str, run: Callable[..., list[str]]
) -> None:
    folder = str(sources["ecephys"])
    printed = {script: run(script, service, folder) for script in SCRIPTS}
    assert printed["plain.py"][0] == "200 Submitted request to airflow"
    ids = [line for lines in printed.values() for line in lines if JOB_ID.fullmatch(line)]
    assert len(ids) == len(SCRIPTS) + 1  # the one about notifications submits two
    workspace.start()
    assert run("follow.py", service, ids[0])[-1] == f"{ids[0]}: succeeded"
    listed = wait_for(lambda: (found := states(service)) and set(found.values()) == {"succeeded"} and found)
    assert set(listed) == set(ids)


def states(service: str) -> dict[str, str]:
    jobs = httpx.get(f"{service}/api/jobs", timeout=60).json()["jobs"]
    return {job["job_id"]: job["state"] for job in jobs}


def test_an_example_whose_folder_is_not_there_says_what_is_wrong(
    workspace: Workspace, sources: dict[str, Path], service: str, run: Callable[..., list[str]]
) -> None:
    words = run("plain.py", service, str(sources["ecephys"]) + "x")
    assert words[0] == "406 There were validation errors"
    assert "is not there. Check the spelling" in words[1]
