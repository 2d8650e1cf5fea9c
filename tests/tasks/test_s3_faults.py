"""What goes wrong between a task and S3: its sentence, whether it may pass by itself, and what becomes of the task."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault, Proxy, proxied
from one_job import CONTENT, PREFIX, OneJob, write
from s3_server import Place

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks.bucket.s3 import PART_BYTES
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.sending import Patience

TASK = "upload_data_to_s3"
FILE = f"{PREFIX}/ecephys/empty.log"
BIG = f"{PREFIX}/ecephys/big.dat"
LISTING = "list-type=2"


@dataclass(frozen=True)
class Row:
    """One thing that goes wrong, for good and for a moment."""

    name: str
    act: str
    method: str
    key: str
    words: str
    passes: bool
    times: int = 1
    """So often it can go wrong, and the upload still succeeds; 0: never."""


OPERATOR = "An operator has to"
TABLE = (
    Row("the bucket is gone", "404 NoSuchBucket", "PUT", FILE, "there is no such bucket (404 NoSuchBucket)", False, 0),
    Row("denied", "403 AccessDenied", "PUT", FILE, "access is denied (403 AccessDenied)", False, 0),
    Row("denied, without a word", "403", "GET", LISTING, "access is denied (403", False, 0),
    Row("expired keys", "400 ExpiredToken", "PUT", FILE, "the credentials have expired", False, 0),
    Row("a wrong clock", "403 RequestTimeTooSkewed", "GET", LISTING, "the clocks of this machine", False, 0),
    Row("trouble inside", "500 InternalError", "PUT", FILE, "trouble of its own (500 InternalError)", True, 3),
    Row("trouble of a gateway", "502", "PUT", FILE, "the server has trouble of its own (502", True, 3),
    Row("too fast", "503 SlowDown", "PUT", FILE, "the server asks to be asked less often", True, 3),
    Row("throttled", "429", "GET", LISTING, "the server asks to be asked less often", True, 3),
    Row("cut in the middle of a body", "cut", "PUT", "continuous.dat", "the connection was cut", True, 2),
    Row("a part is cut", "cut", "PUT", "partNumber=2", "the connection was cut", True, 2),
    Row("half an answer", "half", "GET", LISTING, "the server has trouble of its own (500)", True, 2),
    Row("an answer that is not S3's", "junk", "GET", LISTING, "something that is no answer of S3", True, 2),
    Row("no answer in time", "slow", "PUT", FILE, "the server did not answer in time", True, 1),
    Row("altered on the way", "flip", "PUT", "continuous.dat", "what arrived is not what was sent", True, 2),
    Row("a part is altered", "flip", "PUT", "partNumber=1", "that what arrived is not what was sent", True, 2),
    Row("the end of the parts is refused", "500 InternalError", "POST", "uploadId=", "trouble of its own", True, 2),
)  # fmt: skip


@pytest.fixture
def staged(job: OneJob) -> OneJob:
    write(job.ecephys, {"big.dat": b"x" * (PART_BYTES + 1000)})
    job.staged()
    return job


def through(proxy: Proxy, place: Place, act: str = "", **changes: Any) -> dict[str, Any]:
    # A server on a busy machine may be slow as well: only one that is to be too slow is not waited for.
    seconds = 1.0 if act == "slow" else 60.0
    quick = {"endpoint_url": proxy.endpoint, "give_up_seconds": 0.5, "request_seconds": seconds, **changes}
    return {"bucket": place.address, "s3": place.access(**quick)}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_stays_wrong_is_told_and_nothing_is_called_an_upload(staged: OneJob, strict: Place, row: Row) -> None:
    with proxied(strict.server.endpoint) as proxy:
        proxy.faults.append(Fault(row.act, row.method, row.key))
        with pytest.raises(TaskFailed) as failed:
            staged.run(TASK, **through(proxy, strict, row.act))
    assert row.words in str(failed.value)
    assert str(failed.value).startswith(f"In the bucket {strict.address} at {proxy.endpoint}, ")
    assert failed.value.passes is row.passes
    assert ("When it is tried again later" if row.passes and row.act != "flip" else OPERATOR) in str(failed.value)
    assert not staged.run_folder.inventory.exists()
    assert strict.cut_off() == []


@pytest.mark.parametrize("row", [row for row in TABLE if row.times], ids=lambda row: row.name)
def test_what_passes_is_waited_for(staged: OneJob, strict: Place, row: Row) -> None:
    with proxied(strict.server.endpoint) as proxy:
        proxy.faults.append(Fault(row.act, row.method, row.key, times=row.times))
        assert staged.run(TASK, **through(proxy, strict, row.act, give_up_seconds=30.0)).state == "succeeded"
        assert proxy.faults[0].times == 0
    stored = strict.objects(f"{PREFIX}/")
    assert {key: stored[f"{PREFIX}/ecephys/{key}"] for key in CONTENT} == CONTENT
    assert strict.cut_off() == []


def test_a_server_that_cannot_be_reached_never_counts_as_an_empty_bucket(job: OneJob, tmp_path: Path) -> None:
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        access = {"endpoint_url": address, "credentials_file": str(keys), "give_up_seconds": 0.5}
        with pytest.raises(TaskFailed, match=f"s3://aind at {address}, .*: the server cannot be reached") as failed:
            job.run("check_s3_folder_exists", bucket="s3://aind", s3=access)
    assert failed.value.passes


@pytest.mark.parametrize(
    ("keys", "profile", "words"),
    [
        ("", None, "no credentials were found"),
        ("[default]\naws_access_key_id = AKID\n", None, "no credentials were found"),
        (
            "[default]\naws_access_key_id = A\naws_secret_access_key = s\n",
            "lab",
            "the profile or its file cannot be used",
        ),
    ],
)
def test_keys_that_are_not_there_are_told_without_asking_the_server(
    job: OneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str, profile: str | None, words: str
) -> None:
    # Otherwise the machine itself would be asked for a role.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "credentials"
    file.write_text(keys)
    access = {"endpoint_url": "http://127.0.0.1:9", "credentials_file": str(file), "profile": profile}
    message = job.failure("check_s3_folder_exists", bucket="s3://aind", s3=access)
    assert words in message
    assert "An operator has to give the agent's account valid keys" in message


def test_an_upload_that_takes_too_long_is_given_up(staged: OneJob, strict: Place) -> None:
    with proxied(strict.server.endpoint) as proxy:
        access = through(proxy, strict, deadline_hours=1e-9)
        with pytest.raises(TaskFailed, match=r"took longer than 1e-09 hours \(s3.deadline_hours\)") as failed:
            staged.run(TASK, **access)
    assert failed.value.passes


def test_an_upload_in_which_nothing_moves_is_given_up() -> None:
    now = [100.0]
    progress = Progress(clock=lambda: now[0])
    patience = Patience(progress, still_seconds=30, clock=lambda: now[0])
    now[0] += 29
    patience.check()
    progress.add(1)
    now[0] += 29
    patience.check()
    now[0] += 2
    with pytest.raises(TaskFailed, match="The upload stood still for 30 seconds and was given up") as failed:
        patience.check()
    assert failed.value.passes
