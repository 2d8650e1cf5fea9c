"""The power fails at every call that changes or syncs something on the agent's disk, and the agent is started again.

One run on a disk that notes its calls (``losing_disk``) gives all points. Each state that a power failure at one of
them may leave is put in its place, a clean run follows, and then every invariant must hold. The inbox lies on a share
that goes on, or on the same disk.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from itertools import product
from pathlib import Path

import pytest
import yaml
from losing_disk import LosingDisk
from under_fire import EXPECTED, MAILS, SiteUnderFire
from warm_agent import WarmAgent
from what_is_kept import Model
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly
from dropbox_agent.executors import wrapper
from dropbox_agent.executors.records import read_json
from dropbox_agent.inbox.lease import LEASE
from dropbox_agent.model import Standing

MODELS: tuple[Model, ...] = ("strict", "ordered")
SHARE, DISK = ("inbox",), ()
"""What lies on a server that goes on: the inbox, or nothing."""
SEEDS = int(os.environ.get("TORTURE_SEEDS", "5"))
"""How many states are tried for each point, as far as they differ."""
SAMPLE = 8
"""How many points CI tries, spread over the run."""
HOW_FAR = {"settling": 0, "accepted": 1, "running": 2}
"""How far a manifest has come; all that is not here is an end."""


@dataclass(frozen=True)
class SiteInTheDark(SiteUnderFire):
    """A site whose disk may lose what was not synced; one of its four manifests is cancelled before it runs."""

    attempts: int = 1
    """How many a task may have had in the end."""

    def make(self, share_seconds: float | None = None) -> None:
        super().make(share_seconds)
        (self.inbox / "stopped.csv").write_text((self.inbox / "one.csv").read_text().replace("0012", "0014"))
        (self.inbox / "stopped.csv.cancel").touch()

    def started_again(self, made: Sequence[Path] = ()) -> list[str]:
        """Start the agent, and return everything that is not as it must be; ``made``: what folders had been made."""
        forgotten, out = self._what_is_forgotten(), self._messages()
        self.wait_for_no_lease()
        try:
            done = self.run()
        except subprocess.TimeoutExpired:
            return [*forgotten, "it did not become idle"]
        if done.returncode != 0:
            return [*forgotten, done.stderr[-2000:]]
        jobs = [job for drop in self._drops(self.settings().state_dir).values() for job in drop.jobs]
        again = [job.job_id for job in jobs if any(task.attempt > self.attempts for task in job.tasks)]
        twice = [token.parent.name for token in made if _owner_of(token).get("boot") == wrapper.boot_id()]
        others = out.items() - self._messages().items()
        return forgotten + self.what_is_wrong() + [f"again or another: {one}" for one in (*again, *twice, *others)]

    def wait_for_no_lease(self) -> None:
        """Let the minute be over for which an agent of another boot is waited for: it might be another machine's."""
        (self.inbox / LEASE).unlink(missing_ok=True)

    def _what_is_forgotten(self) -> list[str]:
        """Return the manifests whose status says more than the ledger knows, before the agent is started."""
        copied = self.folder / "copied state"
        shutil.copytree(self.settings().state_dir, copied)
        known = {name: drop.state.value for name, drop in self._drops(copied).items()}
        shutil.rmtree(copied)
        found = []
        for name in self.expected:
            said, knows = self.said_beside(name), known.get(name, "settling")
            ends = said not in HOW_FAR and said != knows
            if said is not None and (ends or HOW_FAR.get(said, 3) > HOW_FAR.get(knows, 3)):
                found.append(f"the status of {name} says {said}, the ledger {knows}")
        return found

    def _drops(self, state_dir: Path) -> dict[str, Standing]:
        reader = assembly.open_reader(self.settings().model_copy(update={"state_dir": state_dir}))
        drops = {drop.name: drop for drop in reader.drops()}
        reader.close()
        return drops

    def _messages(self) -> dict[str, str]:
        """Return the Message-ID of each mail that is out."""
        mails = sorted(self.inbox.glob("*.eml"))
        return {mail.name: message_from_bytes(mail.read_bytes(), policy=policy.SMTP)["Message-ID"] for mail in mails}


def _owner_of(token: Path) -> dict[str, object]:
    """Return who took a start token, in words; nobody when it is none, or is lost."""
    return read_json(token / "owner.json") or {}


@dataclass(frozen=True)
class SiteAtWork(SiteInTheDark):
    """A site that uploads one session on this machine; what runs when the power fails is tried once more."""

    attempts: int = 2

    def make(self, share_seconds: float | None = None) -> None:
        super().make(share_seconds)
        for manifest in (*self.inbox.glob("*.csv*"), self.inbox / "two.yaml"):
            manifest.unlink()
        self.config.write_text(self.config.read_text().replace("kind: rehearsal", "kind: local"))
        preset = self.folder / "site" / "job_types" / "ecephys.yaml"
        stored = yaml.safe_load(preset.read_text())
        stored["tasks"]["modality_transformation_settings"]["behavior"] = {"command_script": COPY}
        preset.write_text(yaml.safe_dump(stored))
        write_csv(self.inbox / "one.csv", [a_row(self._sources(), **QUICK)])

    def _sources(self) -> dict[str, Path]:
        return {"metadata": self.folder / "data" / "metadata", "behavior": self.folder / "data" / "behavior_data"}

    def what_is_wrong(self) -> list[str]:
        return [*super().what_is_wrong(), *self._what_did_not_arrive()]

    def mails_beside(self, name: str) -> Sequence[str]:
        """Return the mails but for the one that says that it is tried again."""
        mails = super().mails_beside(name)
        return self.mails[name] if mails == ["01-begin", "02-retry", "03-end"] else mails

    def _what_did_not_arrive(self) -> list[str]:
        assets = list((self.folder / "site" / "buckets" / "default").glob("ecephys*"))
        if len(assets) != 1:
            return [f"in the bucket are {assets}"]
        (asset,) = assets
        sources = self._sources()
        pairs = [
            (file, asset / ("" if name == "metadata" else name) / file.relative_to(source))
            for name, source in sources.items()
            for file in source.rglob("*")
        ]
        alike = [(a.is_dir() and b.is_dir()) or (b.is_file() and a.read_bytes() == b.read_bytes()) for a, b in pairs]
        return [f"{b} is not {a}" for (a, b), is_alike in zip(pairs, alike, strict=True) if not is_alike]


COPY = "cp -r %INPUT_SOURCE/. %OUTPUT_LOCATION"
"""A script that syncs nothing, as most do not."""
BEFORE = "00000000-0000-4000-8000-000000000000"
"""The id of the boot that the power failure ended."""


def noted(site: SiteInTheDark) -> LosingDisk:
    """Make a site; return the disk on which one whole run of its agent was noted."""
    site.make()
    disk = LosingDisk(site.folder / "site", site.folder / "aside", (wrapper.boot_id() or "", BEFORE))
    with disk.running():
        done = site.run(boot=BEFORE)
        assert done.returncode == 0, done.stderr
        assert site.what_is_wrong() == []
    return disk


def dark_site(folder: Path, agent: WarmAgent) -> SiteInTheDark:
    mails = {**MAILS, "stopped.csv": ["01-begin", "02-end"]}
    return SiteInTheDark(folder, agent, {**EXPECTED, "stopped.csv": "cancelled"}, mails)


@pytest.fixture(scope="module")
def dark(agent: WarmAgent, tmp_path_factory: pytest.TempPathFactory) -> tuple[SiteInTheDark, LosingDisk]:
    site = dark_site(tmp_path_factory.mktemp("dark"), agent)
    return site, noted(site)


@pytest.fixture(scope="module")
def at_work(agent: WarmAgent, tmp_path_factory: pytest.TempPathFactory) -> tuple[SiteAtWork, LosingDisk]:
    folder = tmp_path_factory.mktemp("work")
    site = SiteAtWork(folder, agent, {"one.csv": "succeeded"}, {"one.csv": MAILS["one.csv"]})
    return site, noted(site)


def at_every_point(site: SiteInTheDark, disk: LosingDisk, model: Model, keeps: tuple[str, ...]) -> dict[str, list[str]]:
    """Return what is wrong after each power failure, of those that are tried."""
    points, tried, wrong = disk.points()[:: int(os.environ.get("TORTURE_STEP", "1"))], set[str](), {}
    for point, seed in product(points, range(SEEDS)):
        left = disk.fail(point, model, seed, keeps)
        if left not in tried and (found := site.started_again(disk.made(point))):
            wrong[f"{point} ({disk.call(point)}), seed {seed}"] = found
            print(model, keeps, point, disk.call(point), seed, found, flush=True)
        tried.add(left)
    print(f"{model}, {' and '.join(keeps) or 'nothing'} kept: {len(points)} points, {len(tried)} states")
    return wrong


@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_power_failure_at_some_points(dark: tuple[SiteInTheDark, LosingDisk], number: int) -> None:
    site, disk = dark
    points = disk.points()
    point, keeps = points[len(points) * (number + 1) // (SAMPLE + 1)], (SHARE, SHARE, DISK)[number % 3]
    disk.fail(point, MODELS[number % 2], number // 2, keeps)
    assert site.started_again() == [], f"after {disk.call(point)}"


@pytest.mark.parametrize("model", MODELS)
def test_an_order_whose_file_was_just_taken_is_carried_out(
    dark: tuple[SiteInTheDark, LosingDisk], model: Model
) -> None:
    site, disk = dark
    disk.fail(disk.last("remove /inbox/stopped.csv.cancel"), model, 0, SHARE)
    assert site.started_again() == []


@pytest.mark.torture
@pytest.mark.parametrize("keeps", [SHARE, DISK], ids=["inbox on a share", "inbox on the disk"])
@pytest.mark.parametrize("model", MODELS)
def test_a_power_failure_at_every_point(
    dark: tuple[SiteInTheDark, LosingDisk], model: Model, keeps: tuple[str, ...]
) -> None:
    assert at_every_point(*dark, model, keeps) == {}


@pytest.mark.torture
def test_a_power_failure_while_tasks_run(at_work: tuple[SiteAtWork, LosingDisk]) -> None:
    assert at_every_point(*at_work, "ordered", SHARE) == {}


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(20))
def test_the_power_fails_again_while_the_agent_recovers(tmp_path: Path, agent: WarmAgent, seed: int) -> None:
    lot, site = random.Random(seed), dark_site(tmp_path, agent)
    site.make()
    disk = LosingDisk(site.folder / "site", site.folder / "aside")
    for turn in range(3):
        with disk.running():
            site.wait_for_no_lease()
            site.run()
        points = disk.points()
        disk.fail(lot.choice(points[: 1 + len(points) // 2]), MODELS[seed % 2], seed + turn, SHARE)
    assert site.started_again() == []
