"""Several agents with copies of one ledger, each seeing the same share through a mount of its own; and their user.

The jobs count themselves: each adds a line with its asset and its attempt to a file that no agent writes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from arrayed import LIGHT
from workspace import a_row

from dropbox_agent import assembly, demonstration, founding, fsck, settings

SKIPPED = ("upload_data_to_s3",)
JOB_TYPE = """
description: Counts itself.
tasks:
  modality_transformation_settings:
    command_script: |
      echo "%S3_LOCATION $DROPBOX_AGENT_ATTEMPT" >> {runs}
      echo counted > '%OUTPUT_LOCATION'/counted
"""
AGENT = """
import sys
from dropbox_agent.inbox import lease
patience = float(sys.argv[1])
lease.PATIENCE_SECONDS, lease.RENEWED_EVERY_SECONDS = patience, patience / 4
if not patience:
    lease.Lease.hold = lambda self: None
from dropbox_agent.cli import main
sys.argv = ["dropbox-agent", *sys.argv[2:]]
main()
"""
"""An agent that takes over sooner than one outside a test does; 0: one that knows no lease."""


@dataclass
class OneAgent:
    """One agent: its mount, its copy of the ledger, its process."""

    mount: Path
    config: Path
    log: Path
    patience: float
    process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", AGENT, str(self.patience), "run", *words, "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.process

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def until_idle(self) -> list[str]:
        """Run it alone until it is idle; return what is wrong with it then."""
        if (code := self.start("--until-idle").wait(3600)) != 0:
            return [f"{self.config.name} ended with {code}: {self.log.read_text()[-2000:]}"]
        return [f"{self.config.name}: {one.invariant}: {one.sentence}" for one in fsck.look(self.settings())]

    def settings(self) -> settings.Settings:
        return settings.load(self.config, {})

    def states(self) -> dict[str, str]:
        reader = assembly.open_reader(self.settings())
        try:
            return {drop.name: drop.state.value for drop in reader.drops(1_000_000)}
        finally:
            reader.close()


@dataclass
class Site:
    """A share, its mounts, and the agents on them."""

    folder: Path
    agents: list[OneAgent] = field(default_factory=list)

    @property
    def below(self) -> Path:
        return self.folder / "below"

    @property
    def inbox(self) -> Path:
        return self.below / "inbox"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def make(self, count: int, patience: float) -> dict[str, str]:
        """Make the site with so many agents; return the row of a manifest."""
        file = founding.initialise(self.folder / "site", assembly.utc_now())
        stored = yaml.safe_load(file.read_text())
        self.below.mkdir()
        shutil.move(stored["inboxes"][0]["path"], self.inbox)
        shutil.move(stored["work_dir"], self.below / "work")
        (self.folder / "site" / "job_types" / "counted.yaml").write_text(JOB_TYPE.format(runs=self.runs))
        for number in range(count):
            self._add(number, stored, patience)
        skipped = {f"tasks.{name}.skip_task": "true" for name in SKIPPED}
        data = demonstration.make_session(self.folder / "data")
        sources = {name: data[name] for name in ("ecephys", "metadata")}
        row = a_row(sources, **LIGHT, **skipped, job_type="counted", user_email="")
        return {name: value for name, value in row.items() if value}

    def _add(self, number: int, stored: Mapping[str, object], patience: float) -> None:
        mount, state = self.folder / f"mount-{number}", self.folder / f"state-{number}"
        mount.mkdir()
        subprocess.run(["bindfs", str(self.below), str(mount)], check=True)
        shutil.copytree(str(stored["state_dir"]), state)
        config = self.folder / "site" / f"agent-{number}.yaml"
        inbox = {"path": str(mount / "inbox"), "settle_seconds": 0.3, "scan_seconds": 1.0}
        changed = {"inboxes": [inbox], "work_dir": str(mount / "work"), "state_dir": str(state)}
        config.write_text(yaml.safe_dump({**stored, **changed, "executor": {"kind": "local", "slots": 3}}))
        self.agents.append(OneAgent(mount, config, self.folder / f"agent-{number}.log", patience))

    def end(self) -> None:
        for agent in self.agents:
            agent.kill()
            subprocess.run(["fusermount3", "-uz", str(agent.mount)], check=False, capture_output=True)

    def counted(self) -> Counter[str]:
        """Return how often a job ran for each subject."""
        lines = self.runs.read_text().splitlines() if self.runs.exists() else []
        return Counter(line.split()[0].rpartition("/")[2].split("_")[1] for line in lines)


@dataclass
class User:
    """Somebody who drops, copies slowly, saves as Excel does, rewrites and deletes, at random."""

    inbox: Path
    row: Mapping[str, str]
    chance: random.Random
    names: int
    """How many manifests there are at most, by name."""
    written: int = 0
    complete: set[str] = field(default_factory=set)
    """The subject of every version that was whole at some time."""
    lying: dict[str, str] = field(default_factory=dict)
    """Manifest -> the subject of the version that lies there."""
    _busy: dict[str, Iterator[None]] = field(default_factory=dict)
    """What is being written right now, a step at a time."""

    def step(self) -> None:
        """Go on with all that is being written, and perhaps begin something."""
        for name, writing in list(self._busy.items()):
            if next(writing, StopIteration) is StopIteration:
                del self._busy[name]
        name = f"m{self.chance.randrange(self.names)}.json"
        if name in self._busy:
            return
        if name in self.lying and self.chance.random() < 0.1:
            (self.inbox / name).unlink()
            del self.lying[name]
            return
        how = self.chance.choice([self._at_once, self._slowly, self._with_its_size_first, self._as_excel_does])
        self.written += 1
        self._busy[name] = how(name, f"s{self.written:06d}")

    def finish(self) -> None:
        """Write to the end what was begun."""
        for writing in self._busy.values():
            for _ in writing:
                time.sleep(0.01)
        self._busy.clear()

    def _content(self, subject: str) -> bytes:
        return json.dumps({**self.row, "subject_id": subject}).encode()

    def _is_whole(self, name: str, subject: str) -> None:
        self.complete.add(subject)
        self.lying[name] = subject

    def _at_once(self, name: str, subject: str) -> Iterator[None]:
        outside = self.inbox.parent / f"outside {name}"
        outside.write_bytes(self._content(subject))
        os.rename(outside, self.inbox / name)
        self._is_whole(name, subject)
        yield

    def _slowly(self, name: str, subject: str, preallocated: bool = False) -> Iterator[None]:
        content = self._content(subject)
        self.lying.pop(name, None)
        with (self.inbox / name).open("wb", buffering=0) as file:
            if preallocated:
                file.truncate(len(content))
            for begin in range(0, len(content), 1 + len(content) // 4):
                file.write(content[begin : begin + 1 + len(content) // 4])
                yield
        self._is_whole(name, subject)

    def _with_its_size_first(self, name: str, subject: str) -> Iterator[None]:
        return self._slowly(name, subject, preallocated=True)

    def _as_excel_does(self, name: str, subject: str) -> Iterator[None]:
        lock, temporary = self.inbox / f"~${name}", self.inbox / f"{self.chance.getrandbits(32):08X}"
        lock.touch()
        yield
        temporary.write_bytes(self._content(subject))
        yield
        (self.inbox / name).unlink(missing_ok=True)
        self.lying.pop(name, None)
        yield
        temporary.rename(self.inbox / name)
        self._is_whole(name, subject)
        lock.unlink()


@dataclass
class Trouble:
    """Kills and stops agents at random, and starts them again."""

    agents: list[OneAgent]
    chance: random.Random
    kills: int = 0
    stops: int = 0
    _stopped: dict[int, float] = field(default_factory=dict)

    def step(self) -> None:
        number = self.chance.randrange(len(self.agents))
        agent, now = self.agents[number], time.monotonic()
        if agent.process is None or agent.process.poll() is not None:
            agent.start()
            return
        if number in self._stopped:
            if now > self._stopped[number]:
                self.go_on(number)
            return
        if self.chance.random() < 0.5:
            agent.kill()
            self.kills += 1
        else:
            agent.process.send_signal(signal.SIGSTOP)
            self._stopped[number] = now + self.chance.uniform(0, 4 * max(agent.patience, 0.5))
            self.stops += 1

    def go_on(self, number: int) -> None:
        process = self.agents[number].process
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
        del self._stopped[number]

    def end(self) -> None:
        for number in list(self._stopped):
            self.go_on(number)
        for agent in self.agents:
            agent.kill()


def what_is_wrong(site: Site, user: User) -> list[str]:
    """Let each agent run alone until it is idle; return all that is not as it must be."""
    wrong: list[str] = []
    for agent in site.agents:
        wrong += agent.until_idle()
        states = agent.states()
        bad = {name: states.get(name) for name in user.lying if states.get(name) != "succeeded"}
        wrong += [f"{agent.config.name} lost {name}: {state}" for name, state in bad.items()]
        said = {name: _said(site.inbox / f"{name}.status.json") for name in user.lying}
        wrong += [f"beside {name} stands {state}" for name, state in said.items() if state != "succeeded"]
        counted = site.counted()
        wrong += [f"{subject} ran {times} times" for subject, times in counted.items() if times != 1]
        wrong += [f"{subject} ran and was never whole" for subject in counted.keys() - user.complete]
        wrong += [f"{subject} lies there and never ran" for subject in set(user.lying.values()) - counted.keys()]
    wrong += [f"left behind: {path}" for path in site.inbox.glob(".dropbox-agent-*")]
    wrong += [f"left behind: {path}" for path in (site.inbox / ".dropbox-agent").glob("lease*")]
    return wrong


def _said(status: Path) -> str:
    try:
        return str(json.loads(status.read_text())["state"])
    except (OSError, ValueError, KeyError) as error:
        return repr(error)
