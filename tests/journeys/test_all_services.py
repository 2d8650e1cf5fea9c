"""One manifest through all services at once: S3, metadata service, Code Ocean, DocDB and a mail server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import code_ocean_server
import docdb_server
import mail_server
import metadata_server
import pytest
from code_ocean_server import TOKEN, CodeOceanServer
from docdb_server import DocDbServer
from http_server import Faulty, Reply, Request, serving
from mail_server import HOST, PASSWORD, USERNAME, MailServer, certificate
from s3_server import SECRET, Place
from workspace import Workspace, an_entry, drop

from dropbox_agent import assembly, demonstration, settings
from dropbox_agent.model import asset_name

PREFIX = asset_name("ecephys", demonstration.SUBJECT, demonstration.ACQUIRED)
RUN = {
    "run_params": {"pipeline_id": "line"},
    "capture_settings": {"process_name_suffix": "sorted", "tags": ["derived"]},
    "computation_polling_interval": 1,
}


@dataclass
class Lab:
    """A site and the services it uses."""

    site: Workspace
    place: Place
    metadata: Faulty
    ocean: CodeOceanServer
    database: DocDbServer
    mail: MailServer


def knows(request: Request) -> Reply:
    """The metadata service knows the demonstration's subject as it knows its own."""
    path = request.path.removeprefix("/api/v2/")
    what, _, name = path.partition("/")
    if what in ("subject", "procedures") and name == demonstration.SUBJECT:
        return Reply(body=json.dumps({"subject_id": name}).encode())
    known = {"funding": "funding/Ephys%20Platform", "investigators": "investigators/Ephys%20Platform"}
    return metadata_server.answer(Request("GET", f"/api/v2/{known.get(what, path)}", {}, b""))


@pytest.fixture
def lab(workspace: Workspace, strict: Place, tmp_path: Path) -> Iterator[Lab]:
    secrets = {"codeocean": TOKEN, "mail": PASSWORD}
    for name, value in secrets.items():
        (tmp_path / name).write_text(f"{value}\n")
        (tmp_path / name).chmod(0o600)
    pem = certificate(tmp_path)
    with (
        serving(knows) as metadata,
        code_ocean_server.running() as ocean,
        docdb_server.running() as database,
        mail_server.running(security="starttls", pem=pem, login=True) as mail,
    ):
        workspace.change(
            buckets={"default": strict.address},
            # The keys of S3 are in a file, those of DocDB in the environment.
            s3={"endpoint_url": strict.server.endpoint, "credentials_file": str(strict.credentials)},
            metadata={"service_url": metadata.url},
            codeocean={"domain": ocean.url, "token_file": str(tmp_path / "codeocean")},
            docdb={"host": database.url, "region": docdb_server.REGION},
            mail={
                "kind": "smtp", "host": HOST, "port": mail.port, "security": "starttls", "ca_file": str(pem),
                "username": USERNAME, "password_file": str(tmp_path / "mail"),
            },
        )  # fmt: skip
        workspace.environ = {
            "AWS_ACCESS_KEY_ID": docdb_server.KEY,
            "AWS_SECRET_ACCESS_KEY": docdb_server.SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        ocean.looks_needed = 1
        yield Lab(workspace, strict, metadata, ocean, database, mail)


def test_a_session_goes_through_every_service_and_leaves_no_secret(lab: Lab, sources: dict[str, Path]) -> None:
    entry = an_entry(sources, user_email="anna@example.org", email_notification_types=["all"])
    entry["tasks"]["codeocean_pipeline_settings"] = {"ecephys": {"job_settings": {"pipeline_monitor_settings": RUN}}}
    described = {"data_description_settings": {"institution": "AIND"}}
    entry["tasks"]["gather_preliminary_metadata"]["job_settings"] |= described
    of_the_rig = {"instrument.json": {"instrument_id": "323"}, "acquisition.json": {"instrument_id": "323"}}
    for file in sources["metadata"].iterdir():
        file.unlink()
    for name, value in of_the_rig.items():
        (sources["metadata"] / name).write_text(json.dumps(value))
    request = {"upload_jobs": [entry]}
    drop(lab.site, "s.json", lambda path: path.write_text(json.dumps(request)))
    lab.site.until_idle()
    assert lab.site.status("s.json")["jobs"], lab.site.status("s.json")["problems"]
    (job,) = lab.site.status("s.json")["jobs"]
    ended = {task["task_id"]: (task["state"], task["message"]) for task in job["tasks"]}
    assert {name: state for name, (state, _) in ended.items() if state != "succeeded"} == {
        "copy_derivatives_folder": "skipped", "remove_source_folders": "skipped",
    }, ended  # fmt: skip
    dataset, result = lab.ocean.assets.values()
    assert dataset.source_bucket is not None
    assert (dataset.name, dataset.source_bucket.bucket, dataset.source_bucket.prefix) == (
        PREFIX,
        lab.place.name,
        PREFIX,
    )
    assert result.name.startswith(f"{PREFIX}_sorted_")
    (record,) = lab.database.records.values()
    assert (record["location"], record["other_identifiers"]) == (
        f"{lab.place.address}/{PREFIX}", {"Code Ocean": [dataset.id]},
    )  # fmt: skip
    stored = lab.place.objects(f"{PREFIX}/")
    assert json.loads(stored[f"{PREFIX}/subject.json"]) == {"subject_id": demonstration.SUBJECT}
    assert record["subject"] == {"subject_id": demonstration.SUBJECT}
    reader = assembly.open_reader(settings.load(lab.site.config, {}))
    assert (
        reader.inventory(job["job_id"])
        == lab.place.objects(".dropbox-agent/")[f".dropbox-agent/{PREFIX}/inventory.json"]
    )
    reader.close()
    assert [message["To"] for message in lab.mail.messages()] == ["anna@example.org"] * 2
    secrets = [value.encode() for value in (SECRET, TOKEN, docdb_server.SECRET, PASSWORD)]
    for path in lab.site.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [secret for secret in secrets if secret in content] == [], path
