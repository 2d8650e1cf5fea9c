"""The commands that change nothing or little: check, presets, template, submit, init."""

from __future__ import annotations

import csv
import io
import json
import logging
from importlib import metadata
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from api_site import ApiSite
from filled_ledger import INVENTORY, NOW, a_job, accepted
from typer.testing import CliRunner, Result
from workspace import a_row, an_entry, write_csv

from dropbox_agent import assembly, demonstration
from dropbox_agent.cli import OneLine, app
from dropbox_agent.errors import AgentError, NoInventory, SettingsError, WrongUse
from dropbox_agent.settings import load
from dropbox_agent.web.api.access import fingerprint


def agent(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DROPBOX_AGENT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert agent("init", tmp_path / "site").exit_code == 0
    return tmp_path / "site"


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    return demonstration.make_session(tmp_path / "data")


def checked(site: Path, file: Path) -> dict[str, Any]:
    result = agent("check", file, "--json", "--config", site / "agent.yaml")
    value: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if value["ok"] else 1)
    return value


def test_the_version_is_that_of_the_installed_program() -> None:
    result = agent("--version")
    assert (result.exit_code, result.stdout) == (0, f"dropbox-agent {metadata.version('dropbox-agent')}\n")


def test_init_makes_a_workspace_only_where_nothing_is(site: Path) -> None:
    assert sorted(path.name for path in site.iterdir()) == [
        "agent.yaml",
        "buckets",
        "inbox",
        "job_types",
        "state",
        "work",
    ]
    result = agent("init", site)
    assert isinstance(result.exception, SettingsError)
    assert result.exception.exit_code == 2


def test_check_prints_the_plan_with_the_origin_of_each_value(site: Path, sources: dict[str, Path]) -> None:
    write_csv(site / "s.csv", [a_row(sources)])
    result = agent("check", site / "s.csv", "--config", site / "agent.yaml")
    assert result.exit_code == 0, result.output
    assert "All right: 1 upload would start." in result.stdout
    assert "compress_data[behavior-videos]" in result.stdout
    assert f"job_settings.input_source = {sources['ecephys']}   from manifest" in result.stdout


def test_check_says_where_what_was_found_and_what_to_write(site: Path, tmp_path: Path) -> None:
    header = "job_type,project_name,subject_id,acq_datetime,modality0,modality0.input_source,user_email"
    (tmp_path / "data").mkdir()
    (tmp_path / "s.csv").write_text(f"{header}\ndefault,P,13 b,45439,ecephys,{tmp_path / 'data'},a@example.org\n")
    (tmp_path / "notes.txt").write_text("x")
    said = agent("check", tmp_path / "s.csv", "--config", site / "agent.yaml").stdout
    assert [line.partition(": ")[::2] for line in said.splitlines() if line.startswith("error")] == [
        (
            "error   row 2, subject_id (C2)",
            "A subject id is made of letters, digits and dashes, at most 64. It names folders, so nothing else goes."
            " Found: 13 b",
        ),
        (
            "error   row 2, acq_datetime (D2)",
            "This is a number. If it is a date of Excel, it is the one to be written: format the cell as a date."
            " Found: 45439 Write: 2024-05-27T00:00:00",
        ),
    ]
    said = agent("check", tmp_path / "notes.txt", "--config", site / "agent.yaml").stdout
    assert said.startswith("error   notes.txt: This type of file is not read.")


def test_check_for_programs_has_the_shape_of_the_contract(site: Path, sources: dict[str, Path]) -> None:
    write_csv(site / "s.csv", [a_row(sources, project_name="", **{"modality0.input_source": "/not/there"})])
    found = checked(site, site / "s.csv")
    assert set(found) == {"ok", "jobs", "problems"}
    assert found["ok"] is False
    assert {
        "level", "file", "sheet", "row", "column", "cell", "found", "message", "suggestion"
    } == set(found["problems"][0])  # fmt: skip


def test_problems_are_told_in_the_order_one_reads_a_table(site: Path) -> None:
    header = [f"modality{number}{rest}" for number in range(11) for rest in ("", ".input_source")]
    columns = ["job_type", "subject_id", *header, "acq_datetime", "s3_bucket", "project_name"]
    wrong = dict.fromkeys(columns, "") | {
        "job_type": "?",
        "subject_id": "a b",
        "acq_datetime": "soon",
        "s3_bucket": "?",
    }
    wrong["modality0"] = "?"
    write_csv(site / "wrong.csv", [wrong])
    problems = checked(site, site / "wrong.csv")["problems"]
    cells = [problem["cell"] for problem in problems if problem["level"] == "error"]
    assert cells == ["A2", "B2", "C2", "Y2", "Z2", "AA2"]


def test_a_row_that_only_the_outside_world_objects_to_stays_in_jobs(site: Path, sources: dict[str, Path]) -> None:
    write_csv(site / "s.csv", [a_row(sources, **{"modality0.input_source": "/not/there"})])
    found = checked(site, site / "s.csv")
    (job,) = found["jobs"]
    assert (job["s3_prefix"], job["bucket"], job["job_type"]) == (
        "ecephys_0012_2026-01-30_14-05-09",
        "default",
        "ecephys",
    )
    assert job["plan"][0]["task_id"] == "send_job_start_email"
    assert found["ok"] is False


def test_check_works_without_any_settings_file(tmp_path: Path, sources: dict[str, Path], site: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps(an_entry(sources)))
    result = agent("check", file, "--json")
    assert json.loads(result.stdout)["jobs"][0]["s3_prefix"] == "ecephys_0012_2026-01-30_14-05-09"


def test_a_file_that_is_not_there_is_wrong_use(site: Path) -> None:
    result = agent("check", site / "nothing.csv", "--config", site / "agent.yaml")
    assert result.exit_code == 2


def test_presets_lists_the_job_types(site: Path) -> None:
    result = agent("presets", "--config", site / "agent.yaml")
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["HCR", "SmartSPIM", "behavior", "behavior-videos", "custom", "default", "ecephys"]


def test_the_template_offers_this_sites_names(site: Path, tmp_path: Path) -> None:
    result = agent("template", tmp_path / "t.xlsx", "--config", site / "agent.yaml")
    assert result.exit_code == 0
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").active
    assert sheet is not None
    assert "job_type" in [cell.value for cell in next(sheet.iter_rows(max_row=1))]


def test_submit_drops_a_manifest_whole_and_never_over_another(site: Path, sources: dict[str, Path]) -> None:
    write_csv(site / "s.csv", [a_row(sources)])
    assert agent("submit", site / "s.csv", "--config", site / "agent.yaml").exit_code == 0
    assert (site / "inbox" / "s.csv").read_bytes() == (site / "s.csv").read_bytes()
    again = agent("submit", site / "s.csv", "--config", site / "agent.yaml")
    assert isinstance(again.exception, AgentError)
    assert "There is a s.csv in" in str(again.exception)


@pytest.mark.parametrize("name", [".s.csv", "~$s.csv", "s.csv:x.csv", "s.csv.errors.xlsx", "template.xlsx", "s.txt"])
def test_what_an_inbox_would_pass_over_is_not_submitted(site: Path, name: str) -> None:
    (site / name).write_text("x")
    refused = agent("submit", site / name, "--config", site / "agent.yaml").exception
    assert isinstance(refused, WrongUse)
    assert refused.exit_code == 2
    assert [path.name for path in (site / "inbox").iterdir()] == [".dropbox-agent"]


def test_an_inbox_that_was_adopted_as_seen_can_be_processed_after_all(site: Path) -> None:
    (site / "inbox" / "s.json").write_text("{}")
    run = ("run", "--until-idle", "--config", site / "agent.yaml")
    adopt = ("adopt", site / "inbox", "--config", site / "agent.yaml", "--baseline")
    answer = site / "inbox" / "s.json.status.json"
    assert (agent(*adopt, "seen").exit_code, agent(*run).exit_code, answer.exists()) == (0, 0, False)
    assert (agent(*adopt, "process").exit_code, agent(*run).exit_code, answer.exists()) == (0, 0, True)


def test_status_is_shown_while_the_presets_are_away(site: Path) -> None:
    (site / "job_types").rename(site / "away")
    result = agent("status", "--json", "--config", site / "agent.yaml")
    assert result.exit_code == 0, result.exception
    assert any("job_types" in trouble for trouble in json.loads(result.stdout)["troubles"])


def test_a_name_in_the_log_cannot_look_like_a_line_of_the_log() -> None:
    name = "s\n2026-01-31 ERROR forged\x1b[31m\u202e.csv"
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s: accepted für dich.", (name,), None)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line == "INFO s\\n2026-01-31 ERROR forged\\x1b[31m\\u202e.csv: accepted für dich."


# --- inventory -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(site: Path) -> tuple[str, str]:
    """A job that has uploaded, and one that has not."""
    ledger = assembly.open_ledger(load(site / "agent.yaml", {}), NOW)
    accepted(ledger, "s.csv", [a_job("stored_1"), a_job("not_yet_2", row=3)])
    ids = {job.s3_prefix: job.job_id for job in ledger.jobs()}
    ledger.keep_inventory(ids["stored_1"], json.dumps(INVENTORY).encode(), NOW)
    ledger.close()
    return ids["stored_1"], ids["not_yet_2"]


def test_what_an_upload_stored_is_listed_for_people_programs_and_spreadsheets(
    site: Path, stored: tuple[str, str]
) -> None:
    asked = ("inventory", stored[0], "--config", site / "agent.yaml")
    lines = [line.split() for line in agent(*asked).stdout.splitlines()]
    assert lines == [
        ["file", "bytes", "crc64nvme"],
        ["ecephys/=a.dat", "2500000", "Zg18frZsEn4="],
        ["subject.json", "0", "AAAAAAAAAAA="],
        ["ecephys/empty/", "an", "empty", "folder"],
        [],
        ["2", "files,", "2.5", "MB,", "in", "s3://lab-data/x"],
    ]
    assert json.loads(agent(*asked, "--json").stdout) == INVENTORY
    rows = list(csv.DictReader(io.StringIO(agent(*asked, "--csv").stdout.removeprefix("\ufeff"))))
    assert [(row["path"], row["size"], row["crc64nvme"]) for row in rows] == [
        ("ecephys/=a.dat", "2500000", "Zg18frZsEn4="),
        ("subject.json", "0", "AAAAAAAAAAA="),
        ("ecephys/empty/", "", ""),
    ]


def test_a_job_without_an_inventory_is_told_from_one_that_is_not_there(site: Path, stored: tuple[str, str]) -> None:
    for job_id, words in (
        (stored[1], f"Job {stored[1]} is accepted and has no inventory: it is kept once upload_data_to_s3 has"),
        ("nothing.like", "There is no job nothing.like. 'dropbox-agent status' lists the jobs."),
    ):
        result = agent("inventory", job_id, "--config", site / "agent.yaml")
        assert isinstance(result.exception, NoInventory)
        assert (words in str(result.exception), result.exception.exit_code) == (True, 1)


# --- summary, token --------------------------------------------------------------------------------------------------


def test_summary_counts_by_day_and_by_job_type(tmp_path: Path, one_room: None) -> None:
    made = ApiSite.made(tmp_path)
    made.post("/api/manifests", made.request("1", "2"))
    made.run()
    config = made.folder / "agent.yaml"
    counts = {"accepted": 0, "running": 0, "succeeded": 2, "failed": 0, "cancelled": 0}
    told = json.loads(agent("summary", "--json", "--config", config).stdout)
    assert (list(told["days"].values()), told["job_types"]) == ([counts], {"ecephys": counts})
    shown = agent("summary", "--config", config).stdout
    assert "job type accepted running succeeded failed cancelled" in " ".join(shown.split())
    assert [line.split() for line in shown.splitlines() if line.startswith("ecephys")] == [["ecephys", "2"]]


def test_summary_says_when_there_is_nothing_to_count(site: Path) -> None:
    assert "No job was submitted in this time." in agent("summary", "--config", site / "agent.yaml").stdout


def test_a_token_is_shown_once_with_the_lines_that_the_settings_get(site: Path) -> None:
    shown = agent("token", "rig-3", "--email", "rig3@example.org").stdout
    token = next(line.strip() for line in shown.splitlines() if line.startswith("  ") and len(line.strip()) == 43)
    lines = shown[shown.index("  tokens:") :]
    settings = yaml.safe_load((site / "agent.yaml").read_text())
    settings["api"] = {"submit": True, **yaml.safe_load(lines)}
    (site / "agent.yaml").write_text(yaml.safe_dump(settings))
    (entry,) = load(site / "agent.yaml", {}).api.tokens
    assert (entry.name, entry.user_email, entry.sha256) == ("rig-3", "rig3@example.org", fingerprint(token))
    assert token not in (site / "agent.yaml").read_text()
    assert agent("token", "rig-3").stdout.splitlines()[2] != shown.splitlines()[2]


def test_a_token_is_for_a_name_that_fits(site: Path) -> None:
    result = agent("token", "Rig 3")
    assert result.exit_code == 2
    assert "at most 40 lower-case letters" in " ".join(result.output.replace("│", " ").split())
