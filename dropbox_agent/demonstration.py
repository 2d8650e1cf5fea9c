"""The main job on made-up data: drop a filled workbook, watch it being uploaded, and compare every byte."""

from __future__ import annotations

import filecmp
import json
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dropbox_agent import assembly, deliver, founding, submission, terminal
from dropbox_agent import settings as site
from dropbox_agent.agent import Agent
from dropbox_agent.errors import AgentError
from dropbox_agent.model import Standing
from dropbox_agent.states import DropState

DATA_DESCRIPTION = """
  # What a data_description needs and no manifest says; with it, data_description.json is made where it is missing.
  gather_preliminary_metadata:
    job_settings:
      data_description_settings:
        institution: AIND
        funding_source: [AI]
        investigators: [Ada Lovelace]
"""
"""What the demo's site adds to its preset ``default``."""
DEFAULT_FOLDER = "demo-workspace"
SUBJECT = "0012"
ACQUIRED = datetime(2026, 1, 30, 14, 5, 9)  # noqa: DTZ001 - the wall clock of the rig, as a scientist types it
SETTLE_SECONDS = 0.3
"""Nobody types into the demo's workbook while it runs."""
ROW = {
    "job_type": "ecephys",
    "project_name": "Ephys Platform",
    "platform": "ecephys",
    "subject_id": SUBJECT,
    "acq_datetime": "2026-01-30T14:05:09",
    "user_email": "you@example.org",
    "email_notification_types": "all",
}


def run(folder: Path | None, console: Console, environ: Mapping[str, str]) -> int:
    """Do the main job in a new workspace; return 0 when every source file arrived byte for byte, else 1."""
    workspace = (folder or _free_folder(Path.cwd())).absolute()
    now = assembly.utc_now()
    settings = site.load(founding.initialise(workspace, now), {})
    with (settings.presets.folder / "default.yaml").open("a", encoding="utf-8") as preset:
        preset.write(DATA_DESCRIPTION)
    sources = make_session(workspace / "data" / f"session_{SUBJECT}_2026-01-30")
    console.print(
        Text(f"Made a workspace in {workspace}: made-up data of one session, and the settings."), soft_wrap=True
    )
    with _agent(settings, environ, now) as agent:
        workbook = make_manifest(agent, sources, workspace / "session.xlsx", now)
        dropped = submission.drop(workbook, settings.inboxes[0].path)
        console.print(Text(f"Dropped {dropped.name} into {dropped.parent}. Working:\n"), soft_wrap=True)
        standing = _work(agent, console)
    return _tell(standing, sources, workspace, console)


def make_session(folder: Path) -> dict[str, Path]:
    """Make the data of one session, a few MB with the odd names real sessions have; return modality -> folder."""
    content = random.Random(12)
    files = {
        "ecephys_data/probe A/continuous.dat": content.randbytes(2_500_000),
        "ecephys_data/probe A/.zattrs": b'{"sampling_rate": 30000}\n',
        "ecephys_data/probe B/Größe & Maß.bin": content.randbytes(600_000),
        "ecephys_data/settings.xml": b"<settings/>\n",
        "ecephys_data/empty.log": b"",
        "behavior_data/trials.csv": b"".join(b"%d,%d\n" % (n, content.randrange(9)) for n in range(20_000)),
        "behavior_data/.hidden/notes.txt": "Maus war müde.\n".encode(),
        "behavior_videos/side camera/side 1.avi": content.randbytes(1_500_000),
        "behavior_videos/side camera/side 1.csv": b"frame,time\n0,0.0\n",
        "metadata/subject.json": _core("subject", {"subject_id": SUBJECT}),
        "metadata/procedures.json": _core("procedures", {"subject_id": SUBJECT, "subject_procedures": []}),
        "metadata/instrument.json": _core("instrument", {"instrument_id": "323_EPHYS1"}),
        "metadata/acquisition.json": _core("acquisition", {"subject_id": SUBJECT, "instrument_id": "323_EPHYS1"}),
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "ecephys_data" / "empty folder").mkdir()
    return {
        "ecephys": folder / "ecephys_data",
        "behavior": folder / "behavior_data",
        "behavior-videos": folder / "behavior_videos",
        "metadata": folder / "metadata",
    }


def _core(name: str, facts: dict[str, object]) -> bytes:
    return json.dumps({"object_type": name.capitalize(), **facts}, indent=1).encode() + b"\n"


def make_manifest(agent: Agent, sources: Mapping[str, Path], path: Path, now: datetime) -> Path:
    """Fill one row of the site's own template, as a scientist would; return the workbook."""
    import openpyxl  # takes a while to import, and no other command needs it here

    assembly.write_template(path, agent.examiner, now)
    workbook = openpyxl.load_workbook(path)
    sheet = workbook.active
    assert sheet is not None
    columns = {cell.value: number for number, cell in enumerate(next(sheet.iter_rows(max_row=1)), start=1)}
    modalities = [name for name in sources if name != "metadata"]
    row: dict[str, str] = {**ROW, "metadata_dir": str(sources["metadata"])}
    for number, modality in enumerate(modalities):
        row[f"modality{number}"] = modality
        row[f"modality{number}.input_source"] = str(sources[modality])
    for name, value in row.items():
        sheet.cell(row=2, column=columns[name], value=value)
    workbook.save(path)
    workbook.close()
    return path


@contextmanager
def _agent(settings: site.Settings, environ: Mapping[str, str], now: datetime) -> Iterator[Agent]:
    agent = assembly.open_agent(settings, environ, now)
    for inbox in agent.inboxes:
        inbox.settle_seconds = SETTLE_SECONDS
    try:
        yield agent
    finally:
        agent.ledger.close()


def _work(agent: Agent, console: Console) -> Standing:
    with terminal.Follower(console) as follower:
        agent.run(until_idle=True, each_tick=lambda: follower.show(agent.ledger.drops()))
    standings = agent.ledger.drops()
    if not standings:
        raise AgentError("The agent saw no manifest in the demo's inbox. " + " ".join(agent.trouble()))
    return standings[0]


def _tell(standing: Standing, sources: Mapping[str, Path], workspace: Path, console: Console) -> int:
    if standing.state is not DropState.SUCCEEDED:
        console.print(Text(f"\nThe upload did not succeed: {standing.state.value}."), soft_wrap=True)
        for line in terminal.problem_lines(standing.problems):
            console.print(line, soft_wrap=True)
        return 1
    (job,) = standing.jobs
    uploaded = assembly.bucket_folder(job.location)
    assert uploaded is not None
    count, size, wrong = compare(sources, uploaded)
    for difference in wrong:
        console.print(Text(difference, style="bold red"), soft_wrap=True)
    names = deliver.Names(standing.name)
    mails = sorted(path.name for path in standing.inbox.glob(f"{standing.name}.*.eml"))
    console.print(f"\nAll {count} source files ({size / 1e6:.1f} MB) arrived byte for byte." if not wrong else "")
    for what, where in (
        ("status page", standing.inbox / names.status_html),
        ("mails", standing.inbox / f"{{{','.join(mails)}}}" if len(mails) > 1 else standing.inbox / "".join(mails)),
        ("uploaded files", uploaded),
        ("settings", workspace / "agent.yaml"),
    ):
        console.print(Text(f"  {what + ':':16}{where}"), soft_wrap=True)
    return 1 if wrong else 0


def compare(sources: Mapping[str, Path], uploaded: Path) -> tuple[int, int, list[str]]:
    """Return how many source files and bytes there are, and a line for each that did not arrive as it is."""
    count, size, wrong = 0, 0, []
    for modality, folder in sources.items():
        target = uploaded if modality == "metadata" else uploaded / modality
        for path in _files(folder):
            arrived = target / path.relative_to(folder)
            count, size = count + 1, size + path.stat().st_size
            if not arrived.is_file():
                wrong.append(f"{path} did not arrive at {arrived}.")
            elif not filecmp.cmp(path, arrived, shallow=False):
                wrong.append(f"{arrived} differs from {path}.")
    return count, size, wrong


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)


def _free_folder(parent: Path) -> Path:
    """Return the first of demo-workspace, demo-workspace-2, ... that is free: nothing of an earlier demo is removed."""
    number = 1
    while True:
        folder = parent / (DEFAULT_FOLDER if number == 1 else f"{DEFAULT_FOLDER}-{number}")
        if not folder.exists():
            return folder
        number += 1
