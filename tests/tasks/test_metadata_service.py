"""What the metadata service knows fills the gaps, what is brought wins, and what it does not know is said."""

from __future__ import annotations

import pytest
from http_server import Faulty, Reply
from metadata_server import FUNDER, KNOWN
from one_job import OneJob, write

from dropbox_agent.tasks import metadata_service

GATHER = "gather_preliminary_metadata"


@pytest.fixture
def ready(job: OneJob, metadata_server: Faulty) -> OneJob:
    job.changes = {"metadata_service": metadata_server.url, "metadata_required": True}
    job.run("create_staging_folder")
    return job


def test_what_was_not_brought_comes_from_the_service(ready: OneJob) -> None:
    write(ready.metadata, {"data_description.json": b"{}"})
    outcome = ready.run(GATHER, metadata_dir=ready.metadata)
    assert ready.metadata_file("subject.json") == KNOWN["subject/0012"]
    assert ready.metadata_file("procedures.json") == KNOWN["procedures/0012"], "also where its schema objects"
    assert "subject.json comes from the metadata service." in outcome.message
    assert outcome.facts["missing"] == ["instrument.json or rig.json", "acquisition.json or session.json"]


def test_what_was_brought_wins(ready: OneJob, metadata_server: Faulty) -> None:
    brought = {"data_description.json": b"{}", "subject.json": b'{"mine": 1}', "procedures.json": b"{}"}
    write(ready.metadata, brought)
    ready.run(GATHER, metadata_dir=ready.metadata)
    assert ready.metadata_file("subject.json") == {"mine": 1}
    assert metadata_server.asked == []


def test_a_subject_it_does_not_know_is_said(ready: OneJob, metadata_server: Faulty) -> None:
    write(ready.metadata, {"data_description.json": b"{}"})
    words = f"subject.json was not made: The metadata service ({metadata_server.url}) knows no subject of 9."
    said = ready.failure(GATHER, metadata_dir=ready.metadata, subject_id="9")
    assert said == f"{words} This site requires it (metadata.required): put one into metadata_dir."
    told = ready.run(GATHER, metadata_dir=ready.metadata, subject_id="9", metadata_required=False)
    assert words in told.message


def test_a_project_has_its_funding_and_investigators(metadata_server: Faulty) -> None:
    asked = metadata_service.service(metadata_server.url)
    funding = metadata_service.of_project(asked, "funding", "Ephys Platform")
    people = metadata_service.of_project(asked, "investigators", "Ephys Platform")
    assert (funding, people) == (KNOWN["funding/Ephys%20Platform"], KNOWN["investigators/Ephys%20Platform"])
    assert metadata_service.of_project(asked, "funding", "../subject/0012") == []


def test_data_description_is_made_of_what_it_knows_of_the_project(ready: OneJob) -> None:
    ready.run(GATHER, job_settings={"data_description_settings": {"institution": "AIND"}})
    made = ready.metadata_file("data_description.json")
    assert (made["project_name"], made["subject_id"]) == ("Ephys Platform", "0012")
    assert made["funding_source"][0]["funder"] == FUNDER
    assert made["investigators"][0]["name"] == "Ada Lovelace"


def test_another_subject_s_answer_is_not_taken(ready: OneJob, metadata_server: Faulty) -> None:
    metadata_server.always = Reply(body=b'{"subject_id": "13"}')
    write(ready.metadata, {"data_description.json": b"{}"})
    said = ready.failure(GATHER, metadata_dir=ready.metadata)
    assert said.startswith(
        f"The metadata service ({metadata_server.url}) answered something else than the subject of 0012: "
    )
