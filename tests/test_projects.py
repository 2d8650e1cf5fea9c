"""The list of projects from a web address: read, remembered while it is away, and what is said then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from http_server import Faulty, Reply, serving

from dropbox_agent import assembly, concerns, doctor, founding, projects, settings
from dropbox_agent.doctor import Verdict
from dropbox_agent.errors import AgentError

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAMES = Reply(body=b'["Ephys Platform", "Behavior Platform", "Ephys Platform"]')


@pytest.fixture
def service() -> Iterator[Faulty]:
    with serving(lambda request: NAMES) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, service: Faulty) -> Path:
    config = founding.initialise(tmp_path / "site", NOW)
    stored = yaml.safe_load(config.read_text())
    stored["projects"] = ["Another"]
    stored["projects_url"] = f"{service.url}/api/v2/project_names"
    config.write_text(yaml.safe_dump(stored))
    return config


def test_the_names_are_read(service: Faulty) -> None:
    assert projects.fetch(service.url) == ["Behavior Platform", "Ephys Platform"]


FAULTS = [
    ("4xx", Reply(404), "it answered 404 Not Found"),
    ("throttled", Reply(429), "it answered 429 Too Many Requests"),
    ("5xx", Reply(503), "it answered 503 Service Unavailable"),
    ("slow", Reply(after_seconds=20), "it did not answer within 0.3 s"),
    ("half an answer", Reply(body=NAMES.body, cut_after=20), "it cannot be reached, or hung up (peer closed"),
    ("garbage", Reply(body=b"<html>"), "what came back is not JSON"),
    ("another shape", Reply(body=b'{"names": []}'), "what came back is no list of texts"),
    ("nothing", Reply(body=b"[]"), "the list that came back is empty"),
    ("too much", Reply(body=b"[" + b" " * 5_000_001), "more than 5000000 bytes came back"),
]


@pytest.mark.parametrize(("reply", "words"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_what_came_back_is_said(service: Faulty, reply: Reply, words: str) -> None:
    service.always = reply
    with pytest.raises(AgentError) as said:
        projects.fetch(service.url, seconds=0.3)
    begin = f"The list of projects at {service.url} (projects_url) could not be read: "
    assert str(said.value).startswith(begin + words)


def test_nobody_there_is_said() -> None:
    with pytest.raises(AgentError, match="it cannot be reached, or hung up"):
        projects.fetch("http://127.0.0.1:9/")


def test_while_it_is_away_the_last_names_are_known(site: Path, service: Faulty) -> None:
    loaded = settings.load(site, {})
    known = assembly.project_names(loaded, keeps=True)
    assert known is not None
    assert known().value == ["Behavior Platform", "Ephys Platform"]
    by = assembly.examiner(loaded)
    assert by.known(by.load_presets(), NOW).projects == ("Another", "Behavior Platform", "Ephys Platform")
    (file,) = loaded.state_dir.glob("projects-*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "as_of": "2026-01-31T12:00:00+00:00"}))
    service.always = Reply(503)
    by = assembly.examiner(loaded)
    assert by.known(by.load_presets(), NOW).projects == ("Another", "Behavior Platform", "Ephys Platform")
    trouble = (
        f"The list of projects at {loaded.projects_url} (projects_url) could not be read: it answered 503 Service"
        " Unavailable. What it said on 2026-01-31 12:00 UTC is used."
    )
    assert concerns.warnings(loaded)[-1] == trouble
    looked = {one.name: one for one in doctor.look(site, {})}
    assert (looked["projects"].verdict, looked["projects"].sentence) == (Verdict.WARNING, trouble)


def test_before_the_first_answer_no_manifest_is_judged(site: Path, service: Faulty) -> None:
    service.always = Reply(503)
    by = assembly.examiner(settings.load(site, {}))
    with pytest.raises(AgentError, match="it answered 503"):
        by.known(by.load_presets(), NOW)
    looked = {one.name: one for one in doctor.look(site, {})}
    assert looked["projects"].verdict is Verdict.FAILED


def test_the_doctor_names_the_projects(site: Path) -> None:
    looked = {one.name: one for one in doctor.look(site, {})}
    assert (looked["projects"].verdict, looked["projects"].sentence[:14]) == (Verdict.OK, "2 names from h")
