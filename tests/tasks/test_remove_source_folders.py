"""A source folder goes when the bucket provably holds all of it, and whatever is not proven stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from one_job import CONTENT, JOB, PREFIX, OneJob, tree, write
from s3_server import Place

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks import quarantine, records, removing

TASK = "remove_source_folders"
QUARANTINE = ".dropbox-agent-quarantine"
DAY = timedelta(days=1)


def rules(job: OneJob, **changes: Any) -> dict[str, Any]:
    """Return the settings of a site that lets the sources of this job be removed at once."""
    removal = {"roots": [str(root(job))], "owners": [os.geteuid()], "quarantine_days": 0}
    changed = {name: changes.pop(name) for name in tuple(changes) if name in removal}
    return {"removal": {**removal, **changed}, "job_settings": {"dry_run": False}, **changes}


def root(job: OneJob) -> Path:
    return job.folder / "data"


@pytest.fixture
def uploaded(job: OneJob) -> OneJob:
    """A job whose upload has ended well, beside the data of somebody else."""
    write(root(job) / "of somebody else", {"precious": b"precious"})
    return with_upload(job)


def with_upload(job: OneJob, **settings: Any) -> OneJob:
    job.staged()
    facts = job.run("upload_data_to_s3", **settings).facts
    job.ended("upload_data_to_s3")
    record = job.attempt_folder.ended("upload_data_to_s3")
    record.write_text(json.dumps({**json.loads(record.read_text()), "facts": facts}))
    return job


def stays(job: OneJob, **settings: Any) -> str:
    """Run the removal, which has to fail; require that not a byte of anybody's data is gone. Return its sentence."""
    before = tree(root(job))
    message = job.failure(TASK, **{**rules(job), **settings})
    assert tree(root(job)) == before
    assert message.startswith("Nothing was removed. "), message
    return message


# --- what goes -------------------------------------------------------------------------------------------------------


def test_a_proven_folder_is_removed_and_nothing_beside_it(uploaded: OneJob) -> None:
    outcome = uploaded.run(TASK, **rules(uploaded))
    assert outcome.message == (
        f"4 files (600.0 kB) in {uploaded.ecephys} removed; each file was proven to be in the bucket."
    )
    assert tree(root(uploaded)) == {"of somebody else/precious": b"precious"}
    assert uploaded.run(TASK, **rules(uploaded)).message == "The source folders are gone already."


def test_a_dry_run_shows_what_would_go_and_touches_nothing(uploaded: OneJob) -> None:
    before = tree(root(uploaded))
    ran = uploaded.command(TASK, **rules(uploaded, job_settings={"dry_run": True}))
    assert ran.message == (
        f"Nothing was removed (dry_run). It would be: 4 files (600.0 kB) in {uploaded.ecephys};"
        " each is proven to be in the bucket."
    )
    assert "probe A/continuous.dat" in ran.log
    assert tree(root(uploaded)) == before


def test_a_removed_folder_waits_in_quarantine_and_can_be_moved_back(uploaded: OneJob) -> None:
    before = tree(root(uploaded))
    outcome = uploaded.run(TASK, **rules(uploaded, quarantine_days=14))
    assert "moved to quarantine" in outcome.message
    assert "for 14 days" in outcome.message
    waiting = root(uploaded) / QUARANTINE / JOB / "ecephys"
    assert not uploaded.ecephys.exists()
    assert (root(uploaded) / QUARANTINE).stat().st_mode & 0o777 == 0o700
    waiting.rename(uploaded.ecephys)
    shutil.rmtree(root(uploaded) / QUARANTINE)
    assert tree(root(uploaded)) == before


def test_what_has_been_in_quarantine_long_enough_is_removed_and_what_was_put_there_stays(uploaded: OneJob) -> None:
    uploaded.run(TASK, **rules(uploaded, quarantine_days=14))
    waiting = root(uploaded) / QUARANTINE / JOB / "ecephys"
    now = datetime.now(timezone.utc)
    assert quarantine.sweep(root(uploaded), 14, now + 13 * DAY) == 0
    assert {name for name, content in tree(waiting).items() if content is not None} == set(CONTENT)
    write(waiting, {"put here later": b"new", "empty.log": b"written to"})
    assert quarantine.sweep(root(uploaded), 14, now + 15 * DAY) == 0
    assert tree(waiting) == {"put here later": b"new", "empty.log": b"written to"}
    shutil.rmtree(waiting)
    assert quarantine.sweep(root(uploaded), 14, now + 15 * DAY) == 1
    assert tree(root(uploaded) / QUARANTINE) == {".": None}


def test_quarantine_is_emptied_by_a_process_of_its_own(uploaded: OneJob) -> None:
    uploaded.run(TASK, **rules(uploaded, quarantine_days=14))
    gone, place = str(uploaded.folder / "gone"), str(root(uploaded))
    argv = [sys.executable, "-I", "-m", "dropbox_agent.tasks.quarantine"]
    early = subprocess.run([*argv, "14", gone, place], capture_output=True, text=True, check=True)
    assert (early.stdout, (root(uploaded) / QUARANTINE / JOB / "ecephys").is_dir()) == ("", True)
    (record,) = (root(uploaded) / QUARANTINE).glob("*/*.json")
    record.write_text(record.read_text().replace(str(datetime.now(timezone.utc).year), "2001", 1))
    late = subprocess.run([*argv, "14", gone, place], capture_output=True, text=True, check=True)
    assert late.stdout == f"{place}: removed 1 folder whose time in quarantine was over.\n"
    assert tree(root(uploaded)) == {"of somebody else/precious": b"precious", QUARANTINE: None}


def test_the_sources_of_an_asset_in_s3_go_too(job: OneJob, place: Place) -> None:
    settings = {"bucket": place.address, "s3": place.access()}
    with_upload(job, **settings)
    assert job.run(TASK, **rules(job), **settings).state == "succeeded"
    assert not job.ecephys.exists()


# --- what stays ------------------------------------------------------------------------------------------------------


def test_a_site_that_names_no_roots_removes_nothing(uploaded: OneJob) -> None:
    assert "policy.source_removal and policy.source_roots" in stays(uploaded, removal=None)
    assert "policy.source_removal and policy.source_roots" in stays(uploaded, **rules(uploaded, roots=[]))


@pytest.mark.parametrize("inside", ["", "..", "data/ecephys data", "data/ecephys data/probe A"])
def test_a_folder_that_is_not_below_a_root_stays(uploaded: OneJob, inside: str) -> None:
    roots = [str(uploaded.folder / inside)] if inside.startswith("data") else [str(uploaded.folder / "elsewhere")]
    assert "does not lie below one of the folders" in stays(uploaded, **rules(uploaded, roots=roots))


def test_a_folder_that_holds_what_is_the_service_s_own_stays(uploaded: OneJob) -> None:
    message = stays(uploaded, **rules(uploaded, protected=[str(uploaded.ecephys / "probe A")]))
    assert "it is, or holds, a folder of the service itself" in message


def test_data_of_another_account_stays(uploaded: OneJob) -> None:
    assert "it belongs to another account" in stays(uploaded, **rules(uploaded, owners=[54321]))
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(uploaded.ecephys / "probe A" / ".zattrs", 54321, 54321)
    assert "probe A/.zattrs belongs to another account (54321)" in stays(uploaded)
    assert uploaded.run(TASK, **rules(uploaded, owners=[os.geteuid(), 54321])).state == "succeeded"


def rewrite_with_the_same_size_and_time(job: OneJob) -> None:
    file = job.ecephys / "probe A" / ".zattrs"
    facts = file.stat()
    file.write_bytes(b"[]\n")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[OneJob], object], str]] = {
    "a file added": (lambda job: write(job.ecephys, {"new": b""}), "new was not uploaded"),
    "a hidden file added": (lambda job: write(job.ecephys, {"probe A/.x": b""}), "probe A/.x was not uploaded"),
    "a file that grew": (lambda job: write(job.ecephys, {"empty.log": b"1"}), "empty.log was written to since"),
    "a file that was touched": (lambda job: os.utime(job.ecephys / "empty.log", (1, 1)), "empty.log was written to"),
    "another content": (rewrite_with_the_same_size_and_time, "probe A/.zattrs has another content"),
    "a link": (lambda job: os.symlink("empty.log", job.ecephys / "l"), "l is a link"),
    "a link to a folder": (lambda job: os.symlink("/etc", job.ecephys / "l"), "l is a link"),
    "a pipe": (lambda job: os.mkfifo(job.ecephys / "p"), "p is neither a file nor a folder"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_folder_that_is_not_what_was_uploaded_stays_whole(uploaded: OneJob, what: str) -> None:
    change, words = CHANGES[what]
    change(uploaded)
    if what == "a pipe":
        assert words in uploaded.failure(TASK, **rules(uploaded))
        assert (uploaded.ecephys / "empty.log").exists()
    else:
        assert words in stays(uploaded)


def test_a_parent_that_became_a_link_leads_nowhere(uploaded: OneJob) -> None:
    victim = uploaded.folder / "victim"
    shutil.copytree(uploaded.ecephys, victim / "ecephys data")
    moved = uploaded.folder / "moved"
    root(uploaded).rename(moved)
    os.symlink(victim, root(uploaded))
    settings = rules(uploaded, roots=[str(uploaded.folder)])
    message = uploaded.failure(TASK, **settings)
    assert "data on the way to it is a link" in message
    assert len(tree(victim)) == len(CONTENT) + 1
    assert len([name for name, content in tree(moved / "ecephys data").items() if content is not None]) == len(CONTENT)


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, Path], None]]:
    """Mount one folder at another; undone at the end."""
    made: list[Path] = []

    def mount(source: Path, at: Path) -> None:
        at.mkdir(exist_ok=True)
        if subprocess.run(["mount", "--bind", source, at], capture_output=True, check=False).returncode != 0:
            pytest.skip("this user may not mount")
        made.append(at)

    yield mount
    for at in reversed(made):
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_a_mount_inside_keeps_the_folder(job: OneJob, mounted: Callable[[Path, Path], None]) -> None:
    victim = job.folder / "victim"
    write(victim, {"file": b"of somebody"})
    mounted(victim, job.ecephys / "mounted")
    with_upload(job)
    assert "mounted is a mount of something else" in stays(job)
    assert tree(victim) == {"file": b"of somebody"}


def test_a_folder_that_is_a_mount_itself_stays(job: OneJob, mounted: Callable[[Path, Path], None]) -> None:
    other = job.folder / "another disk"
    shutil.copytree(job.ecephys, other)
    mounted(other, job.ecephys)
    with_upload(job)
    assert "is a mount of its own" in stays(job)


def test_a_folder_on_the_way_that_is_a_mount_is_not_gone_through(
    job: OneJob, mounted: Callable[[Path, Path], None]
) -> None:
    root(job).rename(job.folder / "another disk")
    mounted(job.folder / "another disk", root(job))
    with_upload(job)
    message = stays(job, **rules(job, roots=[str(job.folder)]))
    assert f"{root(job)} is a mount of its own; what lies in it can go when policy.source_roots names it" in message
    assert job.run(TASK, **rules(job)).state == "succeeded"


# --- the bucket ------------------------------------------------------------------------------------------------------


def test_one_object_missing_or_altered_in_a_folder_bucket_keeps_everything(uploaded: OneJob) -> None:
    stored = uploaded.asset / "ecephys" / "probe A" / "continuous.dat"
    content = stored.read_bytes()
    stored.write_bytes(b"\xff" + content[1:])
    assert "probe A/continuous.dat has CRC64NVME" in stays(uploaded)
    stored.unlink()
    assert "probe A/continuous.dat is missing in the bucket" in stays(uploaded)
    stored.write_bytes(content)
    assert uploaded.run(TASK, **rules(uploaded)).state == "succeeded"


@pytest.mark.parametrize("compare", ["receipts", "content"])
def test_one_object_missing_or_altered_in_s3_keeps_everything(job: OneJob, place: Place, compare: str) -> None:
    settings = {"bucket": place.address, "s3": place.access(compare=compare)}
    with_upload(job, **settings)
    key = f"{PREFIX}/ecephys/probe A/.zattrs"
    place.client.put_object(Bucket=place.name, Key=key, Body=b"[]\n")
    assert "probe A/.zattrs is another object" in stays(job, **settings)
    place.client.delete_object(Bucket=place.name, Key=key)
    assert "probe A/.zattrs is missing in the bucket" in stays(job, **settings)


def test_a_bucket_that_does_not_answer_keeps_everything(uploaded: OneJob) -> None:
    before = tree(root(uploaded))
    uploaded.bucket.rename(uploaded.folder / "unmounted")
    assert "cannot be opened" in uploaded.failure(TASK, **rules(uploaded))
    assert tree(root(uploaded)) == before


def test_without_the_inventory_of_its_own_upload_nothing_goes(uploaded: OneJob) -> None:
    beside = uploaded.records / "inventory.json"
    written = beside.read_bytes()
    beside.write_bytes(written.replace(b"ecephys", b"ECEPHYS"))
    assert "The inventory beside the data is missing, or is another one" in stays(uploaded)
    beside.write_bytes(written)
    uploaded.run_folder.inventory.write_bytes(written + b" ")
    assert "is not the one that its upload left" in stays(uploaded)
    uploaded.run_folder.inventory.unlink()
    assert "inventory cannot be read" in stays(uploaded)
    uploaded.run_folder.inventory.write_bytes(written)
    uploaded.ended("upload_data_to_s3", state="failed")
    assert "is not the one that its upload left" in stays(uploaded)


# --- races -----------------------------------------------------------------------------------------------------------


def test_a_file_that_comes_after_the_proof_stays_and_is_told(uploaded: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = removing.remove_verified

    def late(folder: int, verified: removing.Contents) -> list[str]:
        write(uploaded.ecephys, {"probe A/late": b"late", "empty.log": b"written to"})
        return remove(folder, verified)

    monkeypatch.setattr(removing, "remove_verified", late)
    outcome = uploaded.run(TASK, **rules(uploaded))
    assert "Left alone, because it came or changed meanwhile: empty.log, probe A." in outcome.message
    assert tree(uploaded.ecephys) == {"probe A/late": b"late", "empty.log": b"written to"}


def test_a_folder_that_is_swapped_for_a_link_loses_nothing(uploaded: OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = uploaded.folder / "victim"
    remove = removing.remove_verified

    def swap(folder: int, verified: removing.Contents) -> list[str]:
        shutil.copytree(uploaded.ecephys / "probe A", victim)
        (uploaded.ecephys / "probe A").rename(uploaded.folder / "away")
        os.symlink(victim, uploaded.ecephys / "probe A")
        return remove(folder, verified)

    monkeypatch.setattr(removing, "remove_verified", swap)
    assert "Left alone" in uploaded.run(TASK, **rules(uploaded)).message
    assert set(tree(victim)) == {"continuous.dat", ".zattrs"}


def test_another_folder_in_its_place_is_put_back_and_not_quarantined(
    uploaded: OneJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record = records.write_json

    def swap(path: Path, value: Any) -> None:
        uploaded.ecephys.rename(uploaded.folder / "away")
        write(uploaded.ecephys, {"another": b"one"})
        write_record(path, value)

    monkeypatch.setattr("dropbox_agent.tasks.quarantine.write_json", swap)
    with pytest.raises(TaskFailed, match=r"another folder stood at .* it was put back"):
        uploaded.run(TASK, **rules(uploaded, quarantine_days=14))
    assert tree(uploaded.ecephys) == {"another": b"one"}


def test_a_quarantine_that_somebody_else_made_is_not_used(uploaded: OneJob) -> None:
    planted = root(uploaded) / QUARANTINE
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    message = uploaded.failure(TASK, **rules(uploaded, quarantine_days=14))
    assert "is not a folder of this service alone" in message
    assert (uploaded.ecephys / "empty.log").exists()
    planted.rmdir()
    os.symlink(uploaded.folder, planted)
    assert "is not a folder of this service alone" in uploaded.failure(TASK, **rules(uploaded, quarantine_days=14))


def test_a_retry_after_the_move_finds_it_done(uploaded: OneJob) -> None:
    uploaded.run(TASK, **rules(uploaded, quarantine_days=14))
    again = uploaded.run(TASK, **rules(uploaded, quarantine_days=14))
    assert again.message == "The source folders are gone already."
    assert (root(uploaded) / QUARANTINE / JOB / "ecephys" / "empty.log").exists()
