"""Every folder a job reads is looked at before anything is done, and all findings are told at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from one_job import CONTENT, PREFIX, OneJob, without_override, write

from dropbox_agent.model import TaskOutcome

TASK = "check_source_folders_exist"


def findings(job: OneJob, **changes: object) -> list[str]:
    """Return what the task finds, each sentence without the folder's name."""
    outcome = job.run(TASK, **changes)
    assert outcome.state == "failed", outcome
    assert outcome.facts["findings"] == len(outcome.facts["problems"])
    return [sentence.replace(str(job.folder), "HERE") for sentence in outcome.facts["problems"]]


def test_a_good_folder_is_counted(job: OneJob) -> None:
    ran = job.command(TASK)
    size = sum(map(len, CONTENT.values()))
    assert ran.outcome == TaskOutcome(
        state="succeeded",
        message="4 files (600.0 kB) in 1 folder can be uploaded.",
        facts={"files": 4, "bytes": size, "findings": 0},
    )
    assert job.progress(TASK)["done_bytes"] == size


def test_everything_that_is_wrong_is_told_at_once(job: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    source = job.ecephys
    monkeypatch.chdir(source)  # a socket's address has at most 107 bytes, and so must be relative
    os.symlink("nowhere", source / "broken link")
    os.symlink("/etc/hostname/x", source / "link through a file")
    os.symlink("self", source / "self")
    os.symlink("..", source / "probe A" / "up")
    os.symlink("/etc", source / "etc")
    os.symlink("/etc/passwd", source / "passwd")
    os.mkfifo(source / "pipe")
    (source / "back\\slash").touch()
    (source / "bell\a").touch()
    (source / "line\nbreak and\ttab").touch()
    (source / os.fsdecode(b"caf\xe9")).touch()
    (source / "u\u0308ber").touch()
    (source / "\u00fcber").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    assert findings(job) == [
        f"ecephys: HERE/data/ecephys data/{text}"
        for text in (
            "u\u0308ber: 'u\\u0308ber' and '\\xfcber' look the same; rename all but one",
            "back\\slash: its name has a backslash, which buckets take for a folder; rename it",
            "bell\\x07: its name has a control character; rename it",
            "broken link: this link leads nowhere; remove it, or bring back what it leads to",
            "caf\\xe9: its name is not valid UTF-8; rename it",
            "etc: this link leads to /etc, outside the folders that may be uploaded",
            "link through a file: this link leads nowhere; remove it, or bring back what it leads to",
            "passwd: this link leads to /etc/passwd, outside the folders that may be uploaded",
            "pipe: this is a pipe (FIFO), not a file",
            "probe A/up: this link leads back to a folder it lies in, without end; remove it",
            "self: this link leads to itself; remove it",
            "socket: this is a socket, not a file",
        )
    ]


def test_the_message_has_the_count_and_the_first_ten_and_the_log_has_all(job: OneJob) -> None:
    for number in range(25):
        os.symlink("nowhere", job.ecephys / f"link {number:02}")
    ran = job.command(TASK)
    assert ran.code == 1
    assert ran.message.startswith("25 problems in the source folders; correct them, then retry the job: ecephys: ")
    assert "link 09: this link" in ran.message
    assert "link 10" not in ran.message
    assert ran.message.endswith("; and 15 more, all in the log.")
    assert all(f"link {number:02}: this link leads nowhere" in ran.log for number in range(25))


def test_a_missing_folder_a_file_and_an_empty_folder(job: OneJob) -> None:
    write(job.folder, {"file": b"", "other": b""})
    (job.folder / "empty").mkdir()
    (job.folder / "hollow" / "inside").mkdir(parents=True)
    names = ("missing", "file", "other/below", "empty", "hollow")
    sources = {f"m{number}": job.folder / name for number, name in enumerate(names)}
    assert findings(job, sources=sources) == [
        "m0: HERE/missing: there is no such folder; correct the path, or copy the data there",
        "m1: HERE/file: this is not a folder",
        "m2: HERE/other/below: there is no such folder: a part of its path is a file",
        "m3: HERE/empty: this folder holds no file",
        "m4: HERE/hollow: this folder holds no file",
    ]


def test_metadata_and_derivatives_are_looked_at_too(job: OneJob) -> None:
    write(job.metadata, {"subject.json": b"{}", "sub/never read.json": b"{}"})
    os.symlink("nowhere", job.metadata / "rig.json")
    os.symlink("nowhere", job.metadata / "sub" / "link")
    gone = job.folder / "derivatives"
    assert findings(job, metadata_dir=job.metadata, derivatives_dir=gone) == [
        "metadata_dir: HERE/data/metadata/rig.json: this link leads nowhere; remove it, or bring back what it leads to",
        "derivatives_dir: HERE/derivatives: there is no such folder; correct the path, or copy the data there",
    ]


def test_a_metadata_file_with_the_name_of_a_modality_is_told(job: OneJob) -> None:
    write(job.metadata, {"ecephys": b"", "derivatives": b""})
    assert findings(job, metadata_dir=job.metadata) == [
        f"metadata_dir: HERE/data/metadata/{name}: this has the name of a folder of the asset; rename it"
        for name in ("derivatives", "ecephys")
    ]


def test_what_may_not_be_read_is_told(job: OneJob) -> None:
    (job.ecephys / "probe A").chmod(0)
    (job.ecephys / "empty.log").chmod(0)
    ran = job.command(TASK, *without_override())
    may_not = "the upload service may not read it; give it read permission"
    assert ran.message.count(may_not) == 2, ran
    assert f"ecephys data/probe A: this folder cannot be read: {may_not}" in ran.message
    assert f"ecephys data/empty.log: this file cannot be read: {may_not}" in ran.message


def test_a_path_that_is_too_long_for_a_bucket_is_told(job: OneJob) -> None:
    room = 1024 - len(f"{PREFIX}/ecephys/")
    folder = job.ecephys / "/".join(["d" * 199] * 4)
    fits = room - len(str(folder.relative_to(job.ecephys))) - 1
    write(folder, {"f" * fits: b"", "g" * (fits + 1): b""})
    (sentence,) = findings(job)
    assert "its path in the bucket would have 1025 bytes, and 1024 is the most; shorten its names" in sentence


def test_links_may_lead_into_the_jobs_own_folders(job: OneJob) -> None:
    other = job.folder / "data" / "behavior"
    write(other, {"trials.csv": b"1,2\n"})
    os.symlink(other, job.ecephys / "behavior")
    os.symlink(other / "trials.csv", job.ecephys / "trials.csv")
    outcome = job.run(TASK, sources={"ecephys": job.ecephys, "behavior": other})
    assert (outcome.state, outcome.facts["files"]) == ("succeeded", 7)


def test_links_may_lead_into_the_sites_roots_and_sources_must_lie_in_them(job: OneJob) -> None:
    root = job.folder / "root"
    write(root, {"shared/file": b"x"})
    os.symlink(root / "shared", job.ecephys / "shared")
    inside = [job.folder / "data", root]
    assert job.run(TASK, allowed_roots=inside).state == "succeeded"
    os.symlink(job.ecephys, root / "alias")
    (sentence,) = findings(job, sources={"ecephys": root / "alias"}, allowed_roots=[root])
    assert sentence == (
        "ecephys: HERE/root/alias: it really is HERE/data/ecephys data, outside the folders that may be uploaded"
    )


def test_links_may_not_lead_into_what_is_the_services_own(job: OneJob) -> None:
    write(job.folder / "work" / "another job", {"log": b"x"})
    write(job.folder / "state", {"ledger.db": b"x"})
    os.symlink(job.folder / "work" / "another job", job.ecephys / "job")
    os.symlink(job.folder / "state" / "ledger.db", job.ecephys / "ledger")
    assert findings(job, allowed_roots=[job.folder], protected=[job.folder / "state"]) == [
        f"ecephys: HERE/data/ecephys data/{link}, outside the folders that may be uploaded"
        for link in (
            "job: this link leads to HERE/work/another job",
            "ledger: this link leads to HERE/state/ledger.db",
        )
    ]


def test_a_root_that_is_a_link_itself_counts_as_what_it_is(job: OneJob) -> None:
    os.symlink(job.folder / "data", job.folder / "mounted")
    assert job.run(TASK, allowed_roots=[job.folder / "mounted"]).state == "succeeded"


def test_a_folder_whose_name_only_begins_like_a_root_is_outside(job: OneJob) -> None:
    beside = job.folder / "data2"
    write(beside, {"file": b"x"})
    assert findings(job, sources={"ecephys": beside}, allowed_roots=[job.folder / "data"]) == [
        "ecephys: HERE/data2: it really is HERE/data2, outside the folders that may be uploaded"
    ]


def test_modalities_may_not_be_nested(job: OneJob) -> None:
    sources = {"ecephys": job.ecephys, "behavior": job.ecephys / "probe A"}
    assert findings(job, sources=sources) == [
        "behavior: HERE/data/ecephys data/probe A: this lies inside the folder of ecephys; modalities may not be nested"
    ]


def test_two_modalities_may_come_from_the_same_folder_and_it_is_told(job: OneJob) -> None:
    outcome = job.run(TASK, sources={"behavior-videos": job.ecephys, "behavior": job.ecephys})
    assert outcome.state == "succeeded"
    assert outcome.message.endswith(
        "Note: behavior-videos and behavior are the same folder and are uploaded once each."
    )


@pytest.mark.parametrize("inside", ["staging/x", "attempts", "."])
def test_nothing_of_the_jobs_own_folder_can_be_a_source(job: OneJob, inside: str) -> None:
    source = job.run_folder.path / inside
    write(source, {"file": b"x"})
    assert (
        "this lies inside the job's own folder, which the service writes itself"
        in findings(job, sources={"ecephys": source})[0]
    )


def test_a_source_that_holds_the_bucket_or_the_jobs_folder_is_refused(job: OneJob) -> None:
    message = job.failure(TASK, sources={"ecephys": job.folder})
    assert "this holds the job's own folder" in message
    assert "this holds the bucket's folder" in message


def test_a_sessions_folder_with_nothing_at_its_top_may_be_its_metadata_dir(job: OneJob) -> None:
    assert job.run(TASK, metadata_dir=job.ecephys.parent).state == "succeeded"
    (job.folder / "empty").mkdir()
    assert findings(job, metadata_dir=job.folder / "empty") == ["metadata_dir: HERE/empty: this folder holds no file"]


def test_metadata_may_lie_at_the_top_of_the_session(job: OneJob) -> None:
    write(job.ecephys.parent, {"subject.json": b"{}"})
    outcome = job.run(TASK, metadata_dir=job.ecephys.parent)
    assert (outcome.state, outcome.facts["files"]) == ("succeeded", 5)


def test_folders_of_links_to_folders_of_links_come_to_an_end(job: OneJob, tmp_path: Path) -> None:
    for level in range(30):
        folder = job.ecephys / f"level {level}"
        folder.mkdir()
        for name in ("a", "b"):
            os.symlink(f"../level {level + 1}", folder / name)
    write(job.ecephys, {"level 30/file": b"x"})
    outcome = job.run(TASK)
    assert outcome.state == "failed"
    assert "more than 10000 links to folders are followed on the way here" in outcome.message
