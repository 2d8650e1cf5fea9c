"""What the doctor says of a site: everything it needs, whether it is there, and what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from faulty_share import faulty_share
from s3_server import Place
from typer.testing import CliRunner
from workspace import Workspace, wait_for

from dropbox_agent import doctor, founding, settings
from dropbox_agent.cli import app
from dropbox_agent.doctor import Finding, Site, Verdict, beacon, measure, mounts
from dropbox_agent.doctor.mounts import Mount, mount_of

MOUNTS = """
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
90 22 0:60 / /srv/lab\\040data rw,relatime - nfs4 server:/export rw,vers=4.2
91 90 0:61 / /srv/lab\\040data/fast rw - tmpfs tmpfs rw
92 22 0:62 / /home/me/far rw - fuse.sshfs me@far:/ rw
93 22 0:63 / /over rw - fuse.fuse-overlayfs overlay rw
"""


@pytest.fixture
def site(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "a site's folder")
    founding.initialise(made.folder, datetime(2026, 3, 1, tzinfo=timezone.utc))
    (tmp_path / "work").mkdir()
    # A folder that means nothing to a shell.
    made.change(policy={"source_roots": ["/data"]}, work_dir=str(tmp_path / "work"))
    return made


def verdicts(site: Workspace, environ: Mapping[str, str] | None = None) -> dict[str, Finding]:
    return {found.name: found for found in doctor.look(site.config, environ or {})}


def asked(site: Workspace, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", "--config", str(site.config), *words])
    return result.exit_code, result.stdout


def asked_as_json(site: Workspace) -> dict[str, Any]:
    code, said = asked(site, "--json")
    found: dict[str, Any] = json.loads(said)
    assert (found["ok"], found["exit_code"]) == (code == 0, code)
    return found


def test_of_a_site_in_order_all_is_well(site: Workspace) -> None:
    found = asked_as_json(site)
    assert {one["name"]: one["verdict"] for one in found["checks"]} == {
        "settings": "ok",
        "state_dir": "ok",
        "work_dir": "ok",
        f"inbox {site.inbox}": "ok",
        f"inbox {site.inbox}, measured": "ok",
        "work_dir, measured": "ok",
        "bucket default": "ok",
        "bucket open": "ok",
        "bucket private": "ok",
        "job types": "ok",
        "executor": "ok",
        "containers": "not configured",
        "projects": "not configured",
        "mail": "not configured",
        "code ocean": "not configured",
        "docdb": "not configured",
        "metadata service": "not configured",
    }
    assert set(found["checks"][0]) == {"name", "verdict", "sentence", "advice"}
    code, said = asked(site)
    assert (code, said.splitlines()[-1]) == (0, "All is well.")


def test_what_a_folder_does_is_measured(site: Workspace) -> None:
    said = verdicts(site)[f"inbox {site.inbox}, measured"].sentence
    assert re.fullmatch(
        r"A file is written and read back in \S+ m?s\. Its clock is ours\. File events arrive in [\d.]+ m?s\."
        r" Folders and files are made, and files replaced, in one step\.",
        said.replace("less than 1 ms", "1 ms"),
    )


@pytest.mark.parametrize(
    ("switches", "usable", "words"),
    [
        ({"skew": 86400}, True, "s ahead of ours."),
        ({"skew": -7200}, True, "s behind ours."),
        ({"granularity": 2}, True, "Its clock is ours."),
        (
            {"doubts": [{"call": ["mkdir"], "errno": "EEXIST", "path": "folder 3$"}]},
            False,
            "Of several that make the same folder or file at once, not just one is told that it succeeded.",
        ),
        (
            {"errors": [{"call": ["open"], "errno": "ENOENT", "path": "/replaced$", "odds": 0.3}]},
            True,
            "A file that is replaced is not there for a moment, or is read in parts.",
        ),
    ],
)
def test_what_a_faulty_share_does_is_measured(
    tmp_path: Path, switches: Mapping[str, Any], usable: bool, words: str
) -> None:
    with faulty_share(tmp_path) as share:
        share.set(**switches)
        (found,) = measure.folders(on(share.path, tmp_path))
        share.set()
        assert (found.verdict is not Verdict.FAILED, words in found.sentence) == (usable, True), found.sentence
        assert list(share.path.iterdir()) == []


def test_a_share_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PATIENCE_SECONDS", 1.0)
    with faulty_share(tmp_path) as share:
        share.set(delay=600)
        (found,) = measure.folders(on(share.path, tmp_path, share_seconds=1.0))
        assert found.verdict is Verdict.FAILED
        assert "does not answer" in found.sentence


def test_how_late_what_another_machine_writes_is_seen_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share keeps sizes for 3 s and names not at all; its events are not those of the folder below it."""
    monkeypatch.setattr(beacon, "WATCHED_SECONDS", 8.0)
    with faulty_share(tmp_path, cache_seconds=3) as share, written_into(share.below):
        found = measure.measured(share.path)
        (said,) = measure.folders(on(share.path, tmp_path))
    assert found.elsewhere is not None
    assert found.elsewhere.facts_seconds > max(2, found.elsewhere.names_seconds)
    assert not found.elsewhere.heard
    assert "file events of it do not arrive" in said.sentence
    assert list(share.below.iterdir()) == []


def test_what_is_written_here_is_heard_of(tmp_path: Path) -> None:
    with written_into(tmp_path):
        seen = wait_for(lambda: beacon.watch(tmp_path, 2))
    assert seen.heard


@contextmanager
def written_into(folder: Path) -> Iterator[None]:
    """Let the command write into a folder, in a process of its own, as on another machine."""
    argv = [sys.executable, "-m", "dropbox_agent", "doctor", "--write-into", str(folder)]
    writer = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: (folder / beacon.FOLDER / "steps").exists())
        yield
    finally:
        writer.send_signal(signal.SIGINT)
        assert writer.wait(30) == 0


def test_the_latest_sight_tells_how_old_facts_may_be_and_the_soonest_how_far_the_clocks_are_apart() -> None:
    written = [1000.0, 1001.0, 1002.0, 1003.0]
    names, facts = {1: 1100.5, 2: 1101.5, 3: 1102.5, 4: 1103.5}, {0: 1100.0, 4: 1104.0}
    assert beacon.told(names, facts, written, heard=False) == beacon.Elsewhere(0.0, 3.5, False, -100.5)


def test_what_stands_still_says_nothing_of_another_machine(tmp_path: Path) -> None:
    """One that was killed has left it."""
    place = tmp_path / beacon.FOLDER
    place.mkdir()
    (place / "7").touch()
    (place / "steps").write_bytes(b"1764000000.000000000000\n" * 7)
    assert beacon.watch(tmp_path, 0.2) is None
    assert beacon.watch(place, 0.2) is None


def test_a_folder_into_which_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--write-into", str(tmp_path / "away")])
    assert str(result.exception) == f"{tmp_path / 'away'} cannot be written: No such file or directory."


def on(work_dir: Path, folder: Path, **changes: Any) -> Site:
    """Return a site whose only folder to be measured is this one."""
    chosen = settings.load(founding.initialise(folder / "site", datetime(2026, 3, 1, tzinfo=timezone.utc)), {})
    return Site(chosen.model_copy(update={"work_dir": work_dir, "inboxes": (), **changes}), {})


@pytest.mark.parametrize(
    ("kind", "options", "seconds"),
    [
        ("nfs4", "rw,vers=4.2", 60),
        ("nfs", "rw,acregmax=10,acdirmax=30", 30),
        ("nfs", "rw,noac", 0),
        ("cifs", "rw,actimeo=5", 5),
        ("cifs", "rw", 1),
        ("fuse.sshfs", "rw", None),
    ],
)
def test_how_long_names_and_sizes_are_kept_is_read_from_the_mount(
    kind: str, options: str, seconds: float | None
) -> None:
    mount = mount_of(Path("/srv/data"), f"90 22 0:60 / /srv rw,relatime - {kind} server:/export {options}")
    assert mount is not None
    assert mount.cache_seconds == seconds


def test_it_leaves_nothing_behind(site: Workspace) -> None:
    before = sorted(site.folder.rglob("*"))
    asked(site)
    assert sorted(site.folder.rglob("*")) == before


def test_a_doubt_is_a_warning_and_ends_with_1(site: Workspace) -> None:
    site.change(policy={"source_roots": []})
    code, said = asked(site)
    assert (code, said.splitlines()[-1]) == (1, "It works; 1 thing to look at.")
    assert "policy.source_roots is empty" in said


def test_folders_that_are_away_are_failures_all_at_once(site: Workspace) -> None:
    shutil.rmtree(site.work)
    shutil.rmtree(site.inbox)
    shutil.rmtree(site.bucket)
    code, said = asked(site)
    assert (code, said.splitlines()[-1]) == (3, "3 things do not work.")
    found = verdicts(site)
    assert {name for name, one in found.items() if one.verdict is Verdict.FAILED} == {
        "work_dir",
        f"inbox {site.inbox}",
        "bucket default",
    }
    assert found["work_dir"].sentence == f"{site.work} is not there."
    assert "nothing starts without it" in found["work_dir"].advice


def test_an_inbox_of_another_ledger_is_a_failure(site: Workspace) -> None:
    (site.inbox / ".dropbox-agent/inbox.json").write_text('{"ledger_id": "somebody else\'s"}')
    found = verdicts(site)[f"inbox {site.inbox}"]
    assert found.verdict is Verdict.FAILED
    assert "belongs to another ledger" in found.sentence


def test_a_site_without_a_ledger_is_told_how_to_make_one(site: Workspace) -> None:
    shutil.rmtree(site.folder / "state")
    found = verdicts(site)
    assert (found["state_dir"].verdict, found["ledger"].verdict) == (Verdict.FAILED, Verdict.FAILED)
    assert "adopt" in found["ledger"].advice


def test_a_job_type_that_cannot_be_used_is_named(site: Workspace) -> None:
    (site.folder / "job_types/odd.yaml").write_text("tasks: 7\n")
    found = verdicts(site)
    assert found["job types"].verdict is Verdict.OK
    assert found["job type odd"].verdict is Verdict.WARNING
    assert "odd.yaml, line 1" in found["job type odd"].sentence


def test_job_types_that_do_not_say_what_becomes_of_a_task_whose_service_was_away_are_named(site: Workspace) -> None:
    folder = site.folder / "job_types"
    default, shipped = folder / "default.yaml", (folder / "default.yaml").read_text()
    default.write_text(re.sub("  service_away: .*\n", "", shipped))
    (folder / "ecephys.yaml").write_text("retries: {service_away: 0}\n")
    (folder / "HCR.yaml").write_text("inherits: ecephys\n")
    found = verdicts(site)["retries"]
    assert found.verdict is Verdict.WARNING
    assert found.sentence.endswith(", in jobs of SmartSPIM, behavior, behavior-videos, default.")
    assert "Write a line service_away below 'retries' of default" in found.advice
    default.write_text(re.sub("  service_away: .*\n", "  service_away: 0\n", shipped))
    assert "retries" not in verdicts(site)


def test_a_folder_of_job_types_that_is_away_is_a_failure(site: Workspace) -> None:
    shutil.rmtree(site.folder / "job_types")
    assert verdicts(site)["job types"].verdict is Verdict.FAILED


def test_settings_that_cannot_be_read_are_the_only_finding(site: Workspace) -> None:
    site.config.write_text("inboxs: []\n")
    found = asked_as_json(site)
    assert [(one["name"], one["verdict"]) for one in found["checks"]] == [("settings", "unusable")]
    assert found["exit_code"] == 2
    assert "inboxes" in found["checks"][0]["sentence"]


def test_a_check_that_goes_wrong_is_a_finding_and_stops_no_other(
    site: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd_thing(at: Site) -> Iterator[Finding]:
        yield Finding("before", Verdict.OK, f"{at.settings.origin} was read.")
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(doctor, "CHECKS", (odd_thing, *doctor.CHECKS))
    found = verdicts(site)
    assert found["odd thing"].sentence == "This could not be looked at: ZeroDivisionError: by nothing"
    assert (found["odd thing"].verdict, found["work_dir"].verdict) == (Verdict.FAILED, Verdict.OK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_file_is_a_failure(site: Workspace) -> None:
    site.work.chmod(0o500)
    assert "does not take a file: Permission denied" in verdicts(site)["work_dir"].sentence


def test_a_folder_in_proc_takes_no_file(site: Workspace) -> None:
    """As root too, so that this is seen in CI."""
    site.change(work_dir="/proc/self/task")
    assert verdicts(site)["work_dir"].verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("folder", "mount", "is_network"),
    [
        ("/srv/lab data/work", Mount("/srv/lab data", "nfs4"), True),
        ("/srv/lab data/fast/work", Mount("/srv/lab data/fast", "tmpfs"), False),
        ("/srv/lab database", Mount("/", "ext4"), False),
        ("/home/me/far", Mount("/home/me/far", "fuse.sshfs"), True),
        ("/over/all", Mount("/over", "fuse.fuse-overlayfs"), False),
    ],
)
def test_the_file_system_of_a_folder(folder: str, mount: Mount, is_network: bool) -> None:
    assert mount_of(Path(folder), MOUNTS) == mount
    assert mount.is_network is is_network


def test_a_ledger_on_a_share_is_a_failure(site: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "here", lambda: MOUNTS.replace("/srv/lab\\040data ", f"{_escaped(site)} "))
    found = verdicts(site)["state_dir"]
    assert found.verdict is Verdict.FAILED
    assert "network share (nfs4" in found.sentence


def _escaped(site: Workspace) -> str:
    return os.path.realpath(site.folder).replace(" ", "\\040")


# --- buckets in S3 ---------------------------------------------------------------------------------------------------


def with_s3(site: Workspace, place: Place, **settings: Any) -> None:
    """Send what goes to the default bucket to S3."""
    reached = {"endpoint_url": place.server.endpoint, "credentials_file": str(place.credentials), **settings}
    site.change(buckets={"default": f"{place.address}/lab"}, s3=reached)


def test_a_bucket_in_s3_is_listed_written_read_and_asked_whether_it_checks(site: Workspace, place: Place) -> None:
    with_s3(site, place)
    found = verdicts(site)["bucket default"]
    if place.server.checks_checksums:
        words = "can be listed, written and read; refuses what arrives with a wrong checksum."
        assert (found.verdict, found.sentence) == (Verdict.OK, f"{place.address}/lab {words}")
    else:
        assert (found.verdict, found.sentence) == (
            Verdict.WARNING, f"{place.address}/lab answers, but takes what arrives with a wrong checksum."
        )  # fmt: skip
        with_s3(site, place, compare="content")
        assert verdicts(site)["bucket default"].verdict is Verdict.OK
    assert place.keys() == ["lab/.dropbox-agent/doctor"]


def test_a_bucket_in_s3_that_is_not_there_is_a_failure(site: Workspace, strict: Place) -> None:
    with_s3(site, strict)
    site.change(buckets={"default": "s3://not-there"})
    found = verdicts(site)["bucket default"]
    assert (found.verdict, "there is no such bucket" in found.sentence) == (Verdict.FAILED, True)


# --- where tasks run -------------------------------------------------------------------------------------------------


IMAGED = {"modality_transformation_settings": {"ecephys": {"image": "lab/tools", "command_script": "tool"}}}


def test_a_rehearsal_is_told(site: Workspace) -> None:
    site.change(executor={"kind": "rehearsal"})
    assert verdicts(site)["executor"].verdict is Verdict.WARNING


def test_a_cluster_that_cannot_be_asked_is_a_failure(site: Workspace) -> None:
    site.change(executor={"kind": "slurm"})
    found = verdicts(site, {"PATH": "/nowhere"})["cluster"]
    assert found.verdict is Verdict.FAILED
    assert found.sentence == "The cluster does not answer: sinfo could not be started: No such file or directory."


def test_a_program_for_containers_that_is_not_there_is_a_failure(site: Workspace, tmp_path: Path) -> None:
    site.change(containers={"kind": "apptainer", "program": "/opt/away/apptainer"})
    assert verdicts(site)["containers"] == Finding(
        "containers",
        Verdict.FAILED,
        "This machine does not find /opt/away/apptainer.",
        "Install it there, or set containers.program to its path.",
    )
    site.change(containers={"program": "/bin/sh", "images": str(tmp_path / "away")})
    assert "does not see the images" in verdicts(site)["containers"].sentence


def test_a_job_type_whose_image_cannot_be_run_is_named(site: Workspace, tmp_path: Path) -> None:
    (site.folder / "job_types/imaged.yaml").write_text(json.dumps({"tasks": IMAGED}))
    assert "containers.kind" in verdicts(site)["image of imaged"].sentence
    (tmp_path / "images").mkdir()
    site.change(containers={"kind": "apptainer", "program": "/bin/sh", "images": str(tmp_path / "images")})
    found = verdicts(site)
    assert found["containers"].verdict is Verdict.OK
    assert found["image of imaged"].sentence == f"Its image is not there: {tmp_path}/images/lab/tools.sif."
