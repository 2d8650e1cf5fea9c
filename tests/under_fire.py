"""A site whose agent is killed, failed and stopped at a chosen system call, and what must be true afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from warm_agent import WarmAgent
from workspace import QUICK, a_row, write_csv

from dropbox_agent import assembly, demonstration, founding, fsck, settings

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "mkdir", "unlink", "unlinkat", "ftruncate")
"""Every kind of system call by which the agent makes something last."""
EXPECTED = {"bad.csv": "refused", "one.csv": "succeeded", "two.yaml": "succeeded"}
MAILS = {"bad.csv": ["01-refused"], "one.csv": ["01-begin", "02-end"], "two.yaml": ["01-begin", "02-end"]}


@dataclass(frozen=True)
class SiteUnderFire:
    """A site in a folder of its own, on the rehearsal executor, with three manifests in its inbox."""

    folder: Path
    agent: WarmAgent
    expected: Mapping[str, str] = field(default_factory=lambda: EXPECTED)
    """Manifest -> how it ends."""
    mails: Mapping[str, Sequence[str]] = field(default_factory=lambda: MAILS)

    @property
    def inbox(self) -> Path:
        return self.folder / "site" / "inbox"

    @property
    def config(self) -> Path:
        return self.folder / "site" / "agent.yaml"

    @property
    def calls(self) -> Path:
        """What strace wrote of the last run under it."""
        return self.folder / "calls"

    def settings(self) -> settings.Settings:
        return settings.load(self.config, {})

    def make(self, share_seconds: float | None = None) -> None:
        """Make the site. Without share_seconds everything happens in one thread, one call after the other."""
        file = founding.initialise(self.folder / "site", assembly.utc_now())
        stored = yaml.safe_load(file.read_text())
        stored |= {"executor": {"kind": "rehearsal"}, "share_seconds": share_seconds}
        stored["inboxes"] = [{"path": str(self.inbox), "settle_seconds": 0.05, "scan_seconds": 0.2}]
        file.write_text(yaml.safe_dump(stored))
        row = a_row(demonstration.make_session(self.folder / "data"), **QUICK)
        write_csv(self.inbox / "one.csv", [row])
        write_csv(self.inbox / "bad.csv", [{**row, "subject_id": "../x"}])
        (self.inbox / "two.yaml").write_text(yaml.safe_dump({**row, "subject_id": "0013"}))

    def run(self, tracer: tuple[str, ...] = (), boot: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the agent until it is idle, under strace with the arguments of ``tracer`` if there are any.

        ``boot``: what it takes for the id of this boot of the machine.
        """
        return self.agent.run(["run", "--until-idle", "--config", str(self.config)], self.folder, tracer, boot)

    def struck(self, call: str, number: int, blow: str) -> bool:
        """Run the agent with a blow (``signal=SIGKILL``, ``error=EIO``) at the so-manieth call of a kind.

        Return whether it came to so many calls.
        """
        inject = f"inject={call}:{blow}:when={number}"
        done = self.run(("-qq", "-o", str(self.calls), "-e", f"trace={call}", "-e", inject))
        return done.returncode == -signal.SIGKILL or "(INJECTED)" in self.calls.read_text(errors="replace")

    def what_is_wrong(self) -> list[str]:
        """Return everything that is not as it must be once a clean run has been idle."""
        found = [f"{one.invariant}: {one.sentence} ({one.what})" for one in fsck.look(self.settings())]
        reader = assembly.open_reader(self.settings())
        drops = {drop.name: drop.state.value for drop in reader.drops()}
        versions = [drop.name for drop in reader.drops(1000)]
        jobs = reader.count_jobs()
        reader.close()
        if drops != self.expected or len(versions) != len(self.expected):
            found.append(f"the ledger has {drops}, {versions}")
        ends = list(self.expected.values())
        if jobs["succeeded"] != ends.count("succeeded") or sum(jobs.values()) != len(ends) - ends.count("refused"):
            found.append(f"jobs: {dict(jobs)}")
        found += [text for name in self.expected if (text := self._wrong_beside(name)) is not None]
        strays = [path.name for path in self.inbox.glob(".dropbox-agent-*")]
        return found + [f"left behind: {name}" for name in strays]

    def said_beside(self, name: str) -> str | None:
        """Return what state the status beside a manifest says, if there is one."""
        try:
            return str(json.loads((self.inbox / f"{name}.status.json").read_text())["state"])
        except FileNotFoundError:
            return None

    def mails_beside(self, name: str) -> Sequence[str]:
        return sorted(path.name.split(".")[-2] for path in self.inbox.glob(f"{name}.*.eml"))

    def _wrong_beside(self, name: str) -> str | None:
        said, mails = self.said_beside(name), self.mails_beside(name)
        if said != self.expected[name] or mails != self.mails[name]:
            return f"beside {name} stands {said}, with the mails {mails}"
        return None
