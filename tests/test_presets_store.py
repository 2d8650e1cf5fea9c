"""Job types in a real Parameter Store (moto's server): read, remembered while it is away, compared, copied."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aws_server
import boto3
import pytest
import yaml
from http_server import Faulty, Reply, passed_on, serving
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from typer.testing import CliRunner

from dropbox_agent import assembly, doctor, examine, founding, presets, settings
from dropbox_agent.cli import app
from dropbox_agent.doctor import Verdict
from dropbox_agent.errors import AgentError
from dropbox_agent.model import JobType, Presets
from dropbox_agent.presets import Parameter, Store
from dropbox_agent.presets import store as parameter_store

PREFIX = "/lab/dev/airflow/variables/job_types"
SETTINGS = "modality_transformation_settings"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
ECEPHYS = {"image": "ghcr.io/lab/compress", "image_version": "1.10", "job_settings": {"level": 3}}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with aws_server.running() as address:
        yield address


@pytest.fixture
def faulty(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """AWS as these tests see it: moto's server, empty, behind what can make it misbehave."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in aws_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parameter_store, "TRIES", 2)
    ssm = client(aws)
    pages = ssm.get_paginator("describe_parameters").paginate()
    names = [one["Name"] for page in pages for one in page["Parameters"]]
    for start in range(0, len(names), 10):
        ssm.delete_parameters(Names=names[start : start + 10])
    with serving(passed_on(aws)) as server:
        yield server


def client(aws: str) -> Any:
    return boto3.client("ssm", endpoint_url=aws, region_name="us-west-2")


@pytest.fixture
def store(faulty: Faulty) -> Store:
    return Store(PREFIX, "us-west-2", None, faulty.url)


def put(aws: str, name: str, value: Any, kind: str = "String") -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    client(aws).put_parameter(Name=f"{PREFIX}/v2/{name}", Value=text, Type=kind, Overwrite=True)


def read(store: Store) -> Presets:
    return examine.presets_from(store.prefix, [one.as_json() for one in store.read()])


# --- what is read ----------------------------------------------------------------------------------------------------


def test_job_types_are_read_as_upstream_stores_them(aws: str, store: Store) -> None:
    put(aws, "default/tasks/remove_source_folders", {"skip_task": True})
    put(aws, f"ecephys/tasks/{SETTINGS}/ecephys", ECEPHYS)
    put(aws, "ecephys/tasks/register_data_asset", {"skip_task": True})
    put(aws, "custom/tasks/check_s3_folder_exists", {})
    client(aws).put_parameter(Name=f"{PREFIX}/ecephys/tasks/of_version_1", Value="{}", Type="String")
    put(aws, "ecephys/notes", "Anything.")
    assert read(store) == Presets(
        {
            "custom": JobType("custom", "", None, {("check_s3_folder_exists", None): {}}),
            "default": JobType("default", "", None, {("remove_source_folders", None): {"skip_task": True}}),
            "ecephys": JobType(
                "ecephys",
                "",
                None,
                {
                    (SETTINGS, "ecephys"): ECEPHYS,
                    ("register_data_asset_to_codeocean", None): {"skip_task": True},
                },
            ),
        },
        {},
    )


def test_every_page_is_read(aws: str, store: Store, faulty: Faulty) -> None:
    for number in range(27):
        put(aws, f"type-{number:02}/tasks/check_metadata_files", {"skip_task": True})
    assert len(read(store).job_types) == 27
    assert len(faulty.asked) == 3


def test_a_secure_string_is_read_and_its_value_never_written_or_shown(aws: str, store: Store, tmp_path: Path) -> None:
    put(aws, f"ecephys/tasks/{SETTINGS}/ecephys", {"job_settings": {"token": "s3cr3t"}}, "SecureString")
    put(aws, "wrong/tasks/check_metadata_files", {"skip_task": "s3cr3t"}, "SecureString")
    found = read(store)
    assert found.job_types["ecephys"].tasks == {(SETTINGS, "ecephys"): {"job_settings": {"token": "s3cr3t"}}}
    assert found.broken == {
        "wrong": f"{PREFIX}/v2/wrong/tasks/check_metadata_files: a value of it cannot be used; what it is, is not shown"
        " (SecureString)."
    }
    kept = presets.to_keep([one.as_json() for one in store.read()])
    assert "s3cr3t" not in json.dumps(kept)
    assert examine.presets_from(PREFIX, kept).broken["ecephys"] == (
        f"{PREFIX}/v2/ecephys/tasks/{SETTINGS}/ecephys: it is a SecureString, which is kept nowhere: it cannot be used"
        " until AWS is back."
    )


WRONG: list[tuple[str, Any, str]] = [
    ("tasks/check_metadata_files", "{skip_task: true}", "its value is not JSON (Expecting property name enclosed in"
     " double quotes: line 1 column 2 (char 1))."),
    ("tasks/check_metadata_files", '{"image": "a", "image": "b"}', 'its value is not JSON ("image" is there twice).'),
    ("tasks/check_metadata_files", "[]", "its value is a list; a group of names and values is needed."),
    ("tasks/check_metadata_files", {"skip_tsk": True}, "skip_tsk is not a field of a task; did you mean skip_task?"),
    ("tasks/check_metadata_files", {"skip_task": "soon"}, "skip_task is 'soon'; write true or false."),
    ("tasks/chek_metadata_files", {}, "chek_metadata_files is not a task; did you mean check_metadata_files?"),
    (f"tasks/{SETTINGS}/behaviour", {}, f"{SETTINGS} has nothing for behaviour; did you mean behavior?"),
    ("about", {"inherit": "default"}, "inherit is not known here."),
    ("about", {"inherits": "nobody"}, "wrong inherits nobody, which is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_parameter_stops_its_own_job_type_only(name: str, value: Any, words: str) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    parameters = [Parameter(f"wrong/{name}", text), Parameter("right/tasks/check_metadata_files", "{}")]
    found = examine.presets_from(PREFIX, [one.as_json() for one in parameters])
    assert set(found.job_types) == {"right"}
    assert found.broken["wrong"].startswith(f"{PREFIX}/v2/wrong/{name}: {words}")


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=40)), max_size=5))
@how(max_examples=60, deadline=None)
def test_no_parameter_breaks_the_reading(found: list[tuple[str, str]]) -> None:
    parameters = [{"name": name, "value": value, "secure": False} for name, value in found]
    assert isinstance(examine.presets_from(PREFIX, parameters), Presets)


# --- when it does not answer -----------------------------------------------------------------------------------------


def refusal(code: str, words: str, status: int = 400) -> Reply:
    return Reply(status, json.dumps({"__type": code, "message": words}).encode(), "application/x-amz-json-1.1")


SLOW = Reply(after_seconds=60)
FAULTS: list[tuple[str, Reply, str]] = [
    ("throttled", refusal("ThrottlingException", "Rate exceeded"),
     "AWS asks to be asked less often, after 2 tries (ThrottlingException)"),
    ("refused", refusal("AccessDeniedException", "not authorized"), "these credentials may not do it; they need"
     " ssm:GetParametersByPath (and kms:Decrypt for SecureString) (not authorized)"),
    ("credentials", refusal("UnrecognizedClientException", "bad token"),
     "AWS does not accept the credentials (UnrecognizedClientException: bad token)"),
    ("5xx", refusal("InternalServerError", "oh", 500), "AWS answered InternalServerError: oh"),
    ("slow", SLOW, "AWS did not answer within 0.5 s, after 2 tries"),
    ("half an answer", Reply(body=b'{"Parameters": [{"Name"' + b" " * 90, cut_after=20),
     "what came back cannot be used"),
    ("garbage", Reply(body=b"<html>", kind="text/html"), "what came back cannot be used"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "words"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_what_came_back_is_said(
    store: Store, faulty: Faulty, reply: Reply, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.always = reply
    if reply is SLOW:
        monkeypatch.setattr(parameter_store, "ANSWER_SECONDS", 0.5)
    with pytest.raises(AgentError) as said:
        store.read()
    assert str(said.value).startswith(f"The Parameter Store below {PREFIX}/v2 could not be read: {words}")


def test_what_passes_is_waited_for(aws: str, store: Store, faulty: Faulty) -> None:
    put(aws, "default/tasks/remove_source_folders", {"skip_task": True})
    faulty.faults = [refusal("ThrottlingException", "Rate exceeded")]
    assert set(read(store).job_types) == {"default"}


def test_nothing_there_and_no_credentials_are_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AgentError, match="AWS cannot be reached"):
        Store(PREFIX, "us-west-2", None, "http://127.0.0.1:9").read()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AgentError, match=r"there are no AWS credentials in the environment or in ~/\.aws"):
        store.read()


# --- a site with a store ---------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, faulty: Faulty) -> Path:
    config = founding.initialise(tmp_path / "site", NOW)
    stored = yaml.safe_load(config.read_text())
    stored["presets"] = {"kind": "ssm", "prefix": PREFIX, "region": "us-west-2", "endpoint_url": faulty.url}
    config.write_text(yaml.safe_dump(stored))
    return config


def test_while_the_store_is_away_the_last_job_types_are_used(aws: str, faulty: Faulty, site: Path) -> None:
    put(aws, f"ecephys/tasks/{SETTINGS}/ecephys", ECEPHYS)
    loaded = settings.load(site, {})
    first = assembly.job_types(loaded, keeps=True)()
    assert (set(first.job_types), first.trouble) == ({"ecephys"}, None)
    faulty.always = refusal("AccessDeniedException", "no")
    assert assembly.job_types(loaded)() == first, "what the agent has read a moment ago is not asked for again"
    (file,) = loaded.state_dir.glob("parameters-*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    aged = {**json.loads(file.read_text()), "as_of": "2026-01-31T12:00:00+00:00"}
    file.write_text(json.dumps(aged))
    found = assembly.job_types(loaded)()
    assert found.job_types == first.job_types
    trouble = (
        f"The Parameter Store below {PREFIX}/v2 could not be read: these credentials may not do it; they need"
        " ssm:GetParametersByPath (and kms:Decrypt for SecureString) (no). What it said on 2026-01-31 12:00 UTC is"
        " used."
    )
    assert found.trouble == trouble
    looked = {one.name: one for one in doctor.look(site, {})}
    assert (looked["job types"].verdict, looked["job types"].sentence) == (Verdict.WARNING, trouble)
    assert trouble in asked("presets", "--config", str(site))[1]
    assert trouble in asked("status", "--config", str(site))[1]
    (site.parent / "a.json").write_text("{}")
    assert trouble in asked("check", str(site.parent / "a.json"), "--config", str(site))[1]
    file.unlink()
    with pytest.raises(AgentError, match="these credentials may not do it"):
        assembly.job_types(loaded)()


def test_a_slow_store_does_not_keep_the_agent_waiting(aws: str, faulty: Faulty, site: Path) -> None:
    put(aws, f"ecephys/tasks/{SETTINGS}/ecephys", ECEPHYS)
    loaded = settings.load(site, {"DROPBOX_AGENT_PRESETS__REFRESH_SECONDS": "0.001"})
    load = assembly.job_types(loaded, keeps=True)
    first = load()
    faulty.always = SLOW
    assert load().job_types == first.job_types


# --- between folder and store ----------------------------------------------------------------------------------------


def asked(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, AgentError):
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.output


def command(act: str, folder: Path, site: Path, *more: str) -> tuple[int, list[str]]:
    code, said = asked("presets", act, str(folder), "--config", str(site), *more)
    return code, said.splitlines()


def test_pushed_pulled_and_compared_the_job_types_are_the_same(site: Path, tmp_path: Path, store: Store) -> None:
    shipped = settings.packaged("config", "job_types")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ephys.yaml").write_text(
        'description: "Grüße: 12:00"\ninherits: default\ntasks:\n'
        '  compress_data: {image: "1.10", image_version: "yes"}\n'
        "  check_metadata_files: {}\n"
        f"  {SETTINGS}:\n    ecephys:\n      job_settings: {{a: 1.5, b: [null, x]}}\n"
        "      command_script: |\n        #!/bin/bash\n        run ' %JOB_SETTINGS '\n"
        "retries: {out_of_memory: {times: 2, at_most: 64G}, node_failed: 1}\n"
    )
    for file in shipped.glob("*.yaml"):
        (tmp_path / "mine" / file.name).write_text(file.read_text())
    code, said = command("push", tmp_path / "mine", site)
    assert code == 0
    assert {line.partition(" ")[0] for line in said} == {"made"}
    assert read(store) == examine.presets_in(tmp_path / "mine")()
    assert command("push", tmp_path / "mine", site) == (0, [])
    assert command("diff", tmp_path / "mine", site) == (0, [])
    assert command("pull", tmp_path / "pulled", site)[0] == 0
    assert examine.presets_in(tmp_path / "pulled")() == examine.presets_in(tmp_path / "mine")()
    assert command("pull", tmp_path / "pulled", site) == (0, [])
    assert asked("presets", "check", "--config", str(site))[0] == 0


def test_what_differs_is_shown_and_only_that_is_written(aws: str, site: Path, tmp_path: Path, faulty: Faulty) -> None:
    put(aws, f"ecephys/tasks/{SETTINGS}/ecephys", '{"job_settings": {"level": 2}, "image": "a"}')
    put(aws, "ecephys/tasks/check_metadata_files", {"skip_task": True})
    put(aws, "old/tasks/check_metadata_files", {"skip_task": True})
    (tmp_path / "ecephys.yaml").write_text(
        f"tasks:\n  {SETTINGS}: {{ecephys: {{image: a, job_settings: {{level: 3}}}}}}\n"
        "  check_metadata_files: {skip_task: true}\n  compress_data: {image: b}\n"
    )
    code, said = command("diff", tmp_path, site)
    assert (code, said) == (1, [
        "+ ecephys/tasks/compress_data", "    +{", '    + "image": "b"', "    +}",
        f"~ ecephys/tasks/{SETTINGS}/ecephys", '      "job_settings": {', '    -  "level": 2', '    +  "level": 3',
        "      }",
        "- old/tasks/check_metadata_files", "    -{", '    - "skip_task": true', "    -}",
    ])  # fmt: skip
    assert command("push", tmp_path, site) == (
        0, ["made ecephys/tasks/compress_data", f"replaced ecephys/tasks/{SETTINGS}/ecephys"]
    )  # fmt: skip
    assert [line for line in command("diff", tmp_path, site)[1] if line[0] != " "] == [
        "- old/tasks/check_metadata_files"
    ]
    assert command("push", tmp_path, site, "--delete") == (0, ["deleted old/tasks/check_metadata_files"])
    assert command("diff", tmp_path, site) == (0, [])


def test_nothing_wrong_is_copied_and_nothing_secure_replaced(aws: str, site: Path, tmp_path: Path) -> None:
    put(aws, "ecephys/tasks/compress_data", {"image": "s3cr3t"}, "SecureString")
    good, wrong, long = (tmp_path / name for name in ("good", "wrong", "long"))
    for folder in (good, wrong, long):
        folder.mkdir()
    (good / "ecephys.yaml").write_text("tasks: {compress_data: {image: b}}")
    (wrong / "a.yaml").write_text("tasks: {compress_dta: {}}")
    (long / "a.yaml").write_text(f"tasks: {{compress_data: {{image: {'x' * 9000}}}}}")
    assert command("push", good, site) == (
        2, ["SecureString in the store, which is not replaced: ecephys/tasks/compress_data. Nothing was written."]
    )  # fmt: skip
    assert command("diff", good, site) == (
        1, ["~ ecephys/tasks/compress_data (SecureString: its value is not shown)"]
    )  # fmt: skip
    code, (said,) = command("push", wrong, site)
    assert (code, "compress_dta is not a task" in said) == (2, True)
    code, (said,) = command("push", long, site)
    assert said == "Longer than the 8192 bytes a parameter may have: a/tasks/compress_data. Nothing was written."
    (good / "ecephys.yaml").write_text("tasks: {}")
    code, (said,) = command("pull", good, site)
    assert (code, "--overwrite replaces them" in said, (good / "ecephys.yaml").read_text()) == (2, True, "tasks: {}")
    assert command("pull", good, site, "--overwrite") == (0, ["replaced ecephys.yaml"])


def test_who_may_not_write_is_told_what_is_needed(site: Path, tmp_path: Path, faulty: Faulty) -> None:
    (tmp_path / "a.yaml").write_text("description: x")
    passing = faulty.behaves

    def behaves(request: Any) -> Reply:
        is_write = "PutParameter" in request.headers.get("X-Amz-Target", "")
        return refusal("AccessDeniedException", "no") if is_write else passing(request)

    faulty.behaves = behaves
    code, (said,) = command("push", tmp_path, site)
    assert (code, said) == (
        3,
        f"The parameter {PREFIX}/v2/a/about could not be written: these credentials may not do it; they need"
        " ssm:PutParameter and ssm:DeleteParameter (no).",
    )
