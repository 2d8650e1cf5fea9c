"""The same uploads on three S3 servers: what arrives, what is sent again, what is left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault, proxied
from one_job import ATTEMPT, CONTENT, JOB, PREFIX, OneJob, write
from s3_server import KEY, SECRET, Place, Server, wait_until_ready

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.bucket.s3 import PART_BYTES
from dropbox_agent.tasks.progress import Progress

TASK = "upload_data_to_s3"
RECORDS = f".dropbox-agent/{PREFIX}"
ODD = {
    ".hidden/.zattrs": b"{}",
    "0.0": b"chunk",
    "plus + percent %20 % & ; ' \" # ? = @ , ~": b"1",
    "Größe 日本 \N{MICROSCOPE}": b"2",
    " leading and trailing ": b"3",
    "[1] * {a,b}": b"4",
    "folder with + in it/..two dots": b"5",
    "-rf": b"6",
}
BROKEN_LINES = {"a line\nbreak and a\ttab": b"7"}


def into(place: Place, **access: Any) -> dict[str, Any]:
    """Return the settings that lead a task to a bucket in S3."""
    return {"bucket": place.address, "s3": place.access(**access)}


def arrived(place: Place) -> dict[str, bytes]:
    return {key.removeprefix(f"{PREFIX}/"): content for key, content in place.objects(f"{PREFIX}/").items()}


def folder_mark(place: Place, name: str) -> str:
    return name if place.server.name == "rclone" else f"{name}/"


def test_a_server_that_took_a_bucket_and_no_object_yet_is_waited_for(seaweedfs: Server) -> None:
    with proxied(seaweedfs.endpoint) as proxy:
        proxy.faults.append(Fault("500 InternalError", "PUT", "/ready-bucket/ready", times=1))
        wait_until_ready(replace(seaweedfs, endpoint=proxy.endpoint))
        assert proxy.puts["ready"] == 1


def test_every_name_arrives_as_it_is(job: OneJob, place: Place) -> None:
    odd = {**ODD, **(BROKEN_LINES if place.server.keeps_odd_names else {})}
    write(job.ecephys, odd)
    (job.ecephys / "linked").symlink_to("probe A")
    job.staged()
    outcome = job.run(TASK, **into(place))
    linked = {name.replace("probe A", "linked"): content for name, content in CONTENT.items() if "probe A/" in name}
    files = {f"ecephys/{name}": content for name, content in {**CONTENT, **odd, **linked}.items()}
    assert arrived(place) == {**files, f"ecephys/{folder_mark(place, 'empty folder')}": b""}
    assert outcome.message == (
        f"{len(files)} files (1.2 MB) arrived in {place.address}/{PREFIX};"
        " each was listed back with the size and the receipt that S3 gave for the checked content."
    )
    assert place.keys(".dropbox-agent/") == [f"{RECORDS}/inventory.json", f"{RECORDS}/job.json"]


def test_the_inventory_has_the_receipt_of_every_file(job: OneJob, place: Place) -> None:
    job.staged()
    outcome = job.run(TASK, **into(place))
    written = json.loads(job.run_folder.inventory.read_text())
    listed = place.client.list_objects_v2(Bucket=place.name, Prefix=f"{PREFIX}/")["Contents"]
    etags = {one["Key"].removeprefix(f"{PREFIX}/").rstrip("/"): one["ETag"].strip('"') for one in listed}
    assert {one["path"]: one["etag"] for one in written["files"]}.items() <= etags.items()
    assert written["empty_folders"] == ["ecephys/empty folder"]
    assert json.loads(place.objects(f"{RECORDS}/inventory.json")[f"{RECORDS}/inventory.json"]) == written
    assert len(outcome.facts["inventory_sha256"]) == 64


def test_a_large_file_arrives_in_parts_with_one_checksum_over_all_of_it(job: OneJob, place: Place) -> None:
    content = bytes(range(256)) * ((2 * PART_BYTES + 100_000) // 256)
    write(job.ecephys, {"big.dat": content})
    job.staged()
    assert job.run(TASK, **into(place)).state == "succeeded"
    assert arrived(place)["ecephys/big.dat"] == content
    assert place.cut_off() == []
    assert job.run(TASK, **into(place, compare="checksums")).state == "succeeded"
    assert job.run(TASK, **into(place, compare="content")).state == "succeeded"


def test_a_prefix_of_the_bucket_is_the_whole_bucket_to_a_job(job: OneJob, place: Place) -> None:
    job.staged()
    into_prefix = {**into(place), "bucket": f"{place.address}/lab/raw"}
    assert job.run("check_s3_folder_exists", **into_prefix).facts == {"resumes": False}
    job.run(TASK, **into_prefix)
    keys = place.keys()
    assert all(key.startswith(("lab/raw/.dropbox-agent/", f"lab/raw/{PREFIX}/ecephys/")) for key in keys)
    assert job.run("check_s3_folder_exists", **into_prefix).facts == {"resumes": True}


def test_an_asset_of_another_job_is_refused_and_one_with_a_longer_name_is_no_obstacle(
    job: OneJob, place: Place
) -> None:
    place.client.put_object(Bucket=place.name, Key=f"{PREFIX}_processed_2026/x", Body=b"")
    assert job.run("check_s3_folder_exists", **into(place)).facts == {"resumes": False}
    place.client.put_object(Bucket=place.name, Key=f"{PREFIX}/x", Body=b"")
    assert "exists already, and nothing was overwritten" in job.failure("check_s3_folder_exists", **into(place))


def test_force_cloud_sync_overwrites_and_never_deletes(job: OneJob, place: Place) -> None:
    for key, content in {f"{PREFIX}/ecephys/empty.log": b"old", f"{PREFIX}/old": b"kept"}.items():
        place.client.put_object(Bucket=place.name, Key=key, Body=content)
    job.staged()
    outcome = job.run(TASK, **into(place))
    assert outcome.message.endswith(" Also there, not from this upload and left alone: old.")
    assert (arrived(place)["ecephys/empty.log"], arrived(place)["old"]) == (b"", b"kept")


class StopAfter(Progress):
    """Loses the bucket once so many files are done."""

    def __init__(self, files: int) -> None:
        super().__init__()
        self._left = files

    def add(self, done_bytes: int = 0, done_files: int = 0) -> None:
        super().add(done_bytes, done_files)
        self._left -= done_files
        if self._left <= 0:
            raise TaskFailed("interrupted")


def test_an_upload_goes_on_where_it_was_interrupted_and_sends_no_finished_file_again(job: OneJob, place: Place) -> None:
    write(job.ecephys, {f"chunk {number}": b"%d" % number for number in range(40)})
    job.staged()
    with proxied(place.server.endpoint) as proxy:
        settings = into(place, endpoint_url=proxy.endpoint)
        from dropbox_agent.tasks import upload_data_to_s3

        with pytest.raises(TaskFailed, match="interrupted"):
            upload_data_to_s3.run(job.settings(TASK, **settings), StopAfter(20))
        journal = (job.run_folder.path / "upload.journal").read_text().splitlines()
        noted = {json.loads(line)["name"] for line in journal if line}
        assert len(noted) >= 15
        proxy.puts.clear()
        assert job.run(TASK, **settings).state == "succeeded"
        again = {key.removeprefix(f"{PREFIX}/") for key in proxy.puts if key.startswith(f"{PREFIX}/")}
        assert not again & noted
        assert set(proxy.puts.values()) == {1}
        proxy.puts.clear()
        assert job.run(TASK, **settings).state == "succeeded"
        assert {key for key in proxy.puts if not key.endswith("/")} == {
            f"{RECORDS}/job.json",
            f"{RECORDS}/inventory.json",
        }


def test_uploads_in_parts_that_a_killed_attempt_left_are_ended_by_the_next(job: OneJob, place: Place) -> None:
    place.client.put_object(Bucket=place.name, Key=f"{RECORDS}/job.json", Body=json.dumps({"job_id": JOB}).encode())
    for key in (f"{PREFIX}/ecephys/left", f"{PREFIX}_processed/of somebody else"):
        place.client.create_multipart_upload(Bucket=place.name, Key=key)
    job.staged()
    job.run(TASK, **into(place))
    assert place.cut_off() == [f"{PREFIX}_processed/of somebody else"]


@pytest.mark.parametrize("compare", ["receipts", "checksums", "content"])
def test_what_the_bucket_lost_or_somebody_overwrote_is_found_and_sent_again(
    job: OneJob, place: Place, compare: str
) -> None:
    job.staged()
    settings = into(place, compare=compare)
    job.run(TASK, **settings)
    place.client.delete_object(Bucket=place.name, Key=f"{PREFIX}/ecephys/probe A/.zattrs")
    other = b"\xff" + CONTENT["probe A/continuous.dat"][1:]
    place.client.put_object(Bucket=place.name, Key=f"{PREFIX}/ecephys/probe A/continuous.dat", Body=other)
    assert job.run(TASK, **settings).state == "succeeded"
    assert arrived(place)["ecephys/probe A/.zattrs"] == CONTENT["probe A/.zattrs"]
    assert arrived(place)["ecephys/probe A/continuous.dat"] == CONTENT["probe A/continuous.dat"]


def test_the_keys_are_in_no_file_and_in_no_sentence(job: OneJob, strict: Place) -> None:
    job.staged()
    assert job.command(TASK, **into(strict)).code == 0
    assert job.command(TASK, **{**into(strict), "bucket": "s3://not-there"}).code == 1
    strict.credentials.write_text(strict.credentials.read_text().replace(SECRET, "wrong"))
    assert "An operator has to give the agent's account valid keys" in job.command(TASK, **into(strict)).message
    files = [path for path in job.run_folder.path.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
        assert KEY.encode() not in path.read_bytes(), path
    assert ATTEMPT


def test_the_real_command_reaches_a_bucket_with_a_file_of_keys(job: OneJob, place: Place, tmp_path: Path) -> None:
    job.staged()
    ran = job.command(TASK, **into(place))
    assert ran.code == 0, ran.log
    assert len(arrived(place)) == len(CONTENT) + 1
