"""aind-metadata-mapper is run where a job has settings for it: installed, or in its image, within its bounds."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from http_server import Faulty, Reply
from losing_disk import LosingDisk
from metadata_server import FUNDER, KNOWN
from one_job import PREFIX, OneJob, tree, write
from what_is_kept import NAMES

from dropbox_agent.model import Container
from dropbox_agent.tasks import mapper

GATHER = "gather_preliminary_metadata"
MAPPER = "aind_metadata_mapper"
ACQUISITION = {
    "object_type": "Acquisition", "subject_id": "0012", "instrument_id": "323",
    "acquisition_start_time": "2026-01-30T14:05:09", "schema_version": "2.6.2",
}  # fmt: skip
QUICK = {"enrichment_settings": {"enabled": False}}
"""It asks for more than there is here, and again and again."""
SETTINGS = {
    "instrument_settings": {"instrument_id": "323"},
    "data_description_settings": {"tags": ["bright"]},
    **QUICK,
}


@pytest.fixture
def ready(job: OneJob, metadata_server: Faulty) -> OneJob:
    if importlib.util.find_spec(MAPPER) is None:
        pytest.skip("the extra [metadata] is not installed, or there is no such package for this Python")
    job.changes = {"metadata_service": metadata_server.url, "metadata_required": True, "metadata_dir": job.metadata}
    write(job.metadata, {"acquisition.json": json.dumps(ACQUISITION).encode(), "notes.txt": b"dim"})
    job.run("create_staging_folder")
    return job


def test_it_makes_what_is_missing_and_keeps_what_was_brought(ready: OneJob) -> None:
    before = tree(ready.metadata)
    outcome = ready.run(GATHER, job_settings=SETTINGS)
    assert "aind-metadata-mapper made acquisition.json, data_description.json, instrument.json" in outcome.message
    described = ready.metadata_file("data_description.json")
    assert (described["subject_id"], described["tags"]) == ("0012", ["bright"])
    assert (described["project_name"], described["funding_source"][0]["funder"]) == ("Ephys Platform", FUNDER)
    assert described["name"] == PREFIX.removeprefix("ecephys_")
    assert ready.metadata_file("instrument.json")["instrument_id"] == "323"
    assert ready.metadata_file("subject.json") == KNOWN["subject/0012"]
    assert ready.metadata_file("original_metadata/uploaded_json/acquisition.json") == ACQUISITION
    assert outcome.facts["missing"] == []
    assert tree(ready.metadata) == before, "it writes among the files it is given, and these are a copy"
    assert sorted(path.name for path in ready.content.iterdir()) == [
        "acquisition.json", "data_description.json", "instrument.json", "notes.txt", "original_metadata",
        "procedures.json", "subject.json",
    ]  # fmt: skip
    assert not (ready.run_folder.staging / "mapper").exists()
    again = ready.run(GATHER, job_settings=SETTINGS)
    assert again.message == outcome.message


def test_what_it_made_outlasts_a_power_failure(ready: OneJob) -> None:
    disk = LosingDisk(ready.run_folder.path, ready.folder / "aside")
    with disk.running():
        assert ready.command(GATHER, job_settings=SETTINGS).code == 0
        made = tree(ready.content)
    disk.fail(disk.points()[-1], "ordered", NAMES)
    assert tree(ready.content) == made


def test_a_job_without_settings_for_it_does_without_it(ready: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper, "run", lambda *_: pytest.fail("it was run"))
    described = {"institution": "AIND", "funders": ["AI"], "investigators": ["Ada Lovelace"]}
    assert "mapper" not in ready.run(GATHER, job_settings={"data_description_settings": described}).message


def test_it_sees_the_jobs_own_folders_and_the_sites_own_service(
    ready: OneJob, metadata_server: Faulty, tmp_path: Path
) -> None:
    hostile = {
        "output_dir": str(tmp_path / "out"),
        "metadata_dir": "/etc",
        "metadata_service_url": "http://127.0.0.1:1",
    }
    ready.run(GATHER, job_settings={**SETTINGS, **hostile, "subject_id": "9"})
    assert not (tmp_path / "out").exists()
    assert ready.metadata_file("data_description.json")["subject_id"] == "0012"
    assert "/api/v2/instrument/323" in "".join(request.path for request in metadata_server.asked)


def test_no_variable_of_the_environment_is_a_setting_of_it(ready: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGS", '["leaked"]')
    monkeypatch.setenv("RESTRICTIONS", "leaked")
    ready.run(GATHER, job_settings=QUICK)
    assert "leaked" not in (ready.content / "data_description.json").read_text()


def test_what_it_objects_to_fails_in_its_words(ready: OneJob) -> None:
    other = {**ACQUISITION, "subject_id": "13"}
    write(ready.metadata, {"acquisition.json": json.dumps(other).encode()})
    said = ready.failure(GATHER, job_settings={**SETTINGS, "raise_if_invalid": True})
    assert said.startswith(
        "aind-metadata-mapper failed with exit code 1; nothing it made was used. Correct the metadata"
    )
    assert "instrument_settings, enrichment_settings, raise_if_invalid" in said
    assert "subject_id from acquisition metadata (13) does not match" in said
    assert ready.metadata_file("acquisition.json") == other


def test_an_institution_it_cannot_know_is_told(ready: OneJob) -> None:
    said = ready.failure(GATHER, job_settings={**QUICK, "data_description_settings": {"institution": "ADIN"}})
    assert '"ADIN" is no organization that the schema knows, neither as abbreviation nor as name' in said


def test_one_that_takes_too_long_is_ended(
    ready: OneJob, metadata_server: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapper, "LONGEST_SECONDS", 0.1)
    metadata_server.always = Reply(after_seconds=1)
    assert "aind-metadata-mapper was ended after 0 s" in ready.failure(GATHER, job_settings=SETTINGS)


def test_without_a_service_it_asks_nobody(ready: OneJob) -> None:
    described = {"institution": "AIND", "funders": ["AI"], "investigators": ["Ada Lovelace"]}
    settings = {**QUICK, "data_description_settings": described}
    outcome = ready.run(GATHER, metadata_service=None, metadata_required=False, job_settings=settings)
    assert "data_description.json was made from the manifest and the settings." in outcome.message
    assert outcome.facts["missing"] == ["subject.json", "procedures.json", "instrument.json or rig.json"]


def test_settings_for_it_where_it_is_not_are_told(ready: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MAPPER, None)
    words = (
        "instrument_settings, enrichment_settings had no effect: aind-metadata-mapper is neither installed"
        " (dropbox-agent[metadata]) nor run in an image (containers)."
    )
    assert ready.failure(GATHER, job_settings=SETTINGS) == (
        f"{words} This site requires it (metadata.required): put one into metadata_dir."
    )
    write(ready.metadata, {"data_description.json": b"{}"})
    assert words in ready.run(GATHER, job_settings=SETTINGS, metadata_required=False).message


@pytest.fixture
def image(images: Path, tmp_path: Path) -> Container:
    """The small image, with this machine's Python shown in it: what an image of aind-metadata-mapper has of its own."""
    root = tmp_path / "images" / "lab" / "mapper_1.4"
    shutil.copytree(images / "lab/tools_1.0", root, symlinks=True)
    program = root / "usr/local/sbin/python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!{shutil.which("bash")}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    python = Path(os.path.realpath(sys.executable))
    reads = [Path(sys.prefix), python.parent.parent, Path("/usr/lib"), Path("/lib"), Path("/lib64")]
    return Container(kind="charliecloud", program="ch-run", image=str(root), reads=reads)


def test_in_its_image_it_does_the_same(ready: OneJob, image: Container) -> None:
    ran = ready.command(GATHER, container=image, job_settings=QUICK)
    assert ran.outcome is not None, ran.log
    assert ran.code == 0, ran.log
    assert "aind-metadata-mapper made acquisition.json, data_description.json" in ran.message
    assert ready.metadata_file("data_description.json")["name"] == PREFIX.removeprefix("ecephys_")
