"""Reading a manifest: in a child process with limits, whatever the file is."""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dropbox_agent import manifest
from dropbox_agent.errors import AgentError
from dropbox_agent.manifest import Limits, Room, room
from dropbox_agent.manifest.parse import parse
from dropbox_agent.model import Level, Place, Problem

SAMPLES = Path(__file__).parent / "samples"
ALL_SAMPLES = sorted(SAMPLES.glob("session.*"))


@pytest.mark.parametrize("sample", ALL_SAMPLES, ids=lambda path: path.name)
def test_the_child_says_what_the_reader_found(sample: Path) -> None:
    found = manifest.read(sample, sample.name)
    assert found == parse(sample, sample.name, Limits())
    assert len(found[0]) == 2
    assert found[1] == ()


def test_the_name_says_the_type_in_any_case_and_the_spooled_copy_needs_no_suffix(tmp_path: Path) -> None:
    spooled = tmp_path / "3f2a"
    spooled.write_bytes((SAMPLES / "session.csv").read_bytes())
    rows, problems = manifest.read(spooled, "Tuesday's sessions.CSV")
    assert problems == ()
    assert [row.place for row in rows] == [
        Place("Tuesday's sessions.CSV", row=2),
        Place("Tuesday's sessions.CSV", row=3),
    ]


@pytest.mark.parametrize("name", ["-h.csv", "sp ace\nline.csv", "naïve-\udcff.csv", "null\0byte.csv"])
def test_an_odd_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    spooled = tmp_path / "-spooled"
    spooled.write_bytes((SAMPLES / "session.csv").read_bytes())
    rows, problems = manifest.read(spooled, name)
    assert problems == ()
    assert {row.place.file for row in rows} == {name.replace("\0", "?")}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"x", "A manifest ends in one of: .csv, .json, .xlsx, .yaml, .yml."),
        ("no suffix", b"x", "A manifest ends in one of"),
        ("empty.xlsx", b"", "The file is empty."),
        ("large.xlsx", b"x" * 3000, "3,000 bytes; at most 2,000"),
        ("long.yaml", b"x" * 1500, "1,500 bytes; at most 1,000"),
    ],
)
def test_a_file_that_is_not_read_is_refused_with_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(content)
    rows, problems = manifest.read(spooled, name, Limits(file_bytes=2000, text_bytes=1000))
    assert rows == ()
    assert len(problems) == 1
    assert (problems[0].level, problems[0].place) == (Level.ERROR, Place(name))
    assert words in problems[0].message


def test_a_missing_file_is_the_operators_affair(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        manifest.read(tmp_path / "gone", "gone.csv")


def refused(path: Path, limits: Limits) -> Problem:
    rows, problems = manifest.read(path, path.name, limits)
    assert rows == ()
    assert len(problems) == 1
    assert problems[0].place == Place(path.name)
    return problems[0]


def test_a_reader_that_takes_too_long_is_ended_and_the_file_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        problem = refused(SAMPLES / "session.csv", Limits(wall_seconds=0.001))
    assert "takes longer than" in problem.message
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_reader_that_computes_too_long_is_ended_and_the_file_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.yaml"
    path.write_text("a: [" + ",".join(f"{{b: {n}}}" for n in range(400_000)) + "]")
    allowed = Limits(text_bytes=10_000_000, nodes=10_000_000, memory_mib=4000, wall_seconds=100, cpu_seconds=2)
    problem = refused(path, allowed)
    assert "takes longer than" in problem.message


def test_a_reader_that_needs_too_much_memory_is_ended_and_the_file_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text("a: [" + ",".join(f"{{b: {n}}}" for n in range(100_000)) + "]")
    problem = refused(path, Limits(text_bytes=10_000_000, nodes=10_000_000, memory_mib=20))
    assert "memory" in problem.message


def test_an_answer_larger_than_any_manifest_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes((SAMPLES / "session.csv").read_bytes())
    assert "memory" in refused(path, Limits(output_bytes=100)).message


def test_the_reader_knows_nothing_of_what_the_agent_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert "AWS_SECRET_ACCESS_KEY" not in room._environment()


def test_a_module_lying_where_the_agent_was_started_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "yaml.py"
    trap.write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    sample = SAMPLES / "session.yaml"
    assert manifest.read(sample, sample.name)[1] == ()


def test_more_problems_than_a_person_reads_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text("{" + ",".join(f'"modality{n}.source": 1' for n in range(30)) + "}")
    _, problems = manifest.read(path, path.name, Limits(problems=10))
    assert len(problems) == 11
    assert problems[-1] == Problem(Level.ERROR, Place("many.json"), "And 20 more problems. Put these right first.")


def test_many_warnings_are_counted_and_refuse_nothing(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text("{" + ",".join(f'"k{n}": 1' for n in range(30)) + "}")
    rows, problems = manifest.read(path, path.name, Limits(problems=10))
    assert {problem.level for problem in problems} == {Level.WARNING}
    assert problems[-1] == Problem(Level.WARNING, Place("many.json"), "And 20 more warnings.")
    assert not rows[0].refused


def test_reading_leaves_the_file_and_its_folder_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "s.xlsx"
    path.write_bytes((SAMPLES / "session.xlsx").read_bytes())
    os.chmod(path, 0o400)
    manifest.read(path, path.name)
    assert path.read_bytes() == (SAMPLES / "session.xlsx").read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.xlsx"]


# --- the warm room ---------------------------------------------------------------------------------------------------


@pytest.fixture
def warm() -> Iterator[Room]:
    with Room() as made:
        yield made


def process_of(warm: Room) -> psutil.Process:
    assert warm._process is not None
    return psutil.Process(warm._process.pid)


def test_a_warm_room_reads_what_a_cold_one_reads_and_starts_nothing_anew(warm: Room) -> None:
    for sample in [*ALL_SAMPLES, *ALL_SAMPLES]:
        assert warm.read(sample, sample.name) == parse(sample, sample.name, Limits())
    first = process_of(warm)
    warm.read(ALL_SAMPLES[0], ALL_SAMPLES[0].name)
    assert process_of(warm) == first


def test_the_process_that_forks_has_one_thread_and_keeps_no_file_open(warm: Room) -> None:
    warm.read(SAMPLES / "session.xlsx", "session.xlsx")
    process = process_of(warm)
    before = process.num_fds()
    for sample in ALL_SAMPLES:
        warm.read(sample, sample.name)
    assert (process.num_threads(), process.num_fds(), process.children()) == (1, before, [])


def test_a_reader_that_dies_takes_only_its_file_with_it(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text("a: [" + ",".join(f"{{b: {n}}}" for n in range(100_000)) + "]")
    with Room(Limits(text_bytes=10_000_000, nodes=10_000_000, memory_mib=20)) as warm:
        _, problems = warm.read(path, path.name)
        assert "memory" in problems[0].message
        assert warm.read(SAMPLES / "session.yaml", "session.yaml")[1] == ()


def test_a_room_that_goes_away_while_it_reads_refuses_no_file(warm: Room) -> None:
    sample = SAMPLES / "session.csv"
    good = warm.read(sample, sample.name)
    assert warm._process is not None and warm._process.stdin is not None
    warm._process.stdin.close()
    assert warm.read(sample, sample.name) == good


def test_where_no_room_can_be_opened_nothing_is_said_of_the_file(warm: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*words: object, **named: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    with pytest.raises(AgentError, match="could not be started: Cannot allocate memory"):
        warm.read(SAMPLES / "session.csv", "session.csv")


def test_where_every_room_goes_away_nothing_is_said_of_the_file(warm: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the program is installed anew: the file is not damaged, and is read once it can be."""
    sample, python = SAMPLES / "session.csv", sys.executable
    warm.close()
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    with pytest.raises(AgentError, match=r"went away twice .* Nothing is said of session\.csv until it can be read"):
        warm.read(sample, sample.name)
    monkeypatch.setattr(sys, "executable", python)
    assert warm.read(sample, sample.name)[1] == ()


def test_a_room_that_was_killed_is_opened_anew(warm: Room) -> None:
    sample = SAMPLES / "session.csv"
    good = warm.read(sample, sample.name)
    first = process_of(warm)
    first.kill()
    first.wait(20)
    assert warm.read(sample, sample.name) == good
    assert process_of(warm) != first


def test_the_room_ends_with_the_agent_however_that_ends() -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(SAMPLES / "session.csv")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with agent:
        assert agent.stdout is not None
        process = psutil.Process(int(agent.stdout.readline()))
        agent.kill()
    process.wait(20)


AGENT = """
import sys
from pathlib import Path
from dropbox_agent.manifest import Room
room = Room()
room.read(Path(sys.argv[1]), "s.csv")
print(room._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_room_nobody_holds_any_more_is_closed() -> None:
    room = Room()
    room.read(SAMPLES / "session.csv", "s.csv")
    process = process_of(room)
    del room
    gc.collect()
    process.wait(20)
