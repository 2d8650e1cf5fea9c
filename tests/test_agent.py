"""tick by tick: the whole path with a real folder, a real ledger and the rehearsal executor; time is an argument."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from workspace import a_row, write_csv

from dropbox_agent import assembly, deliver, demonstration, founding, report, settings
from dropbox_agent.agent import NEWS_PER_TICK, Agent
from dropbox_agent.errors import AgentError, LedgerUnavailable, NoAnswer, SubmitFailed
from dropbox_agent.examine import Examination, Examiner
from dropbox_agent.executors import RehearsalExecutor
from dropbox_agent.inbox import MARKER
from dropbox_agent.model import Attempt, Level, Observation, RunFolder, TaskObservation, TaskSettings
from dropbox_agent.settling import TOLD_AT_ONCE
from dropbox_agent.states import AttemptState, DropState, JobState, TaskState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return founding.initialise(tmp_path / "site", NOW)


def open_agent(site: Path, **changes: str) -> Agent:
    environ = {"DROPBOX_AGENT_EXECUTOR__KIND": "rehearsal", **changes}
    return assembly.open_agent(settings.load(site, environ), environ, NOW)


@pytest.fixture
def agent(site: Path) -> Iterator[Agent]:
    opened = open_agent(site)
    yield opened
    opened.ledger.close()


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    return a_row(demonstration.make_session(tmp_path / "data"))


def inbox_of(agent: Agent) -> Path:
    return agent.inboxes[0].path


def run(agent: Agent, *seconds: float) -> None:
    for second in seconds:
        agent.tick(later(second))


def test_a_manifest_goes_the_whole_path(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5, 6, 7)
    (standing,) = agent.ledger.drops()
    assert standing.state is DropState.SUCCEEDED
    assert {task.state for task in standing.jobs[0].tasks} <= {TaskState.SUCCEEDED, TaskState.SKIPPED}
    assert sorted(path.name for path in inbox_of(agent).glob("s.csv.*")) == [
        "s.csv.01-begin.eml",
        "s.csv.02-end.eml",
        "s.csv.status.html",
        "s.csv.status.json",
    ]
    assert agent.is_idle()


def test_manifests_with_odd_names_go_the_whole_path(agent: Agent, row: dict[str, str]) -> None:
    odd = [
        "a\nb.csv",
        "-rf $(touch x) `x` 'q\".csv",
        "\u202ecsv.csv",
        "%s{{7*7}}\x1b[31m.csv",
        "\U0001f600" * 62 + ".csv",
    ]
    for number, name in enumerate(odd):
        write_csv(inbox_of(agent) / name, [{**row, "subject_id": str(number)}])
    run(agent, 0, 2, 3, 4, 5, 6)
    assert {standing.name: standing.state for standing in agent.ledger.drops()} == dict.fromkeys(
        odd, DropState.SUCCEEDED
    )
    assert all((inbox_of(agent) / deliver.Names(name).status_html).exists() for name in odd)
    assert agent.trouble() == []


def test_nothing_is_recorded_before_a_file_has_settled(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 1)
    assert agent.ledger.drops() == []
    assert not agent.is_idle()
    assert agent.notes() == ["s.csv: Waiting until it no longer changes."]


def test_a_drop_that_breaks_the_agent_harms_no_other(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(inbox_of(agent) / "a.csv", [row])
    write_csv(inbox_of(agent) / "b.csv", [{**row, "subject_id": "0013"}])
    examine = agent.examiner.examine

    def breaks_on_a(path: Path, name: str, now: datetime) -> object:
        if name == "a.csv":
            raise RuntimeError("nobody thought of this")
        return examine(path, name, now)

    with monkeypatch.context() as patched:
        patched.setattr(type(agent.examiner), "examine", lambda _, *words: breaks_on_a(*words))
        run(agent, 0, 2)
        assert [standing.name for standing in agent.ledger.drops()] == ["b.csv"]
    assert any("RuntimeError: nobody thought of this" in trouble for trouble in agent.trouble())
    run(agent, 12, 14)
    assert sorted(standing.name for standing in agent.ledger.drops()) == ["a.csv", "b.csv"]
    assert agent.trouble() == []


def test_many_manifests_that_wait_keep_no_other_from_its_turn(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = type(agent.examiner).examine

    def waits(examiner: Examiner, path: Path, name: str, now: datetime) -> Examination:
        if name.startswith("a"):
            raise NoAnswer("/share does not answer.")
        return examine(examiner, path, name, now)

    monkeypatch.setattr(type(agent.examiner), "examine", waits)
    for number in range(3 * NEWS_PER_TICK):
        write_csv(inbox_of(agent) / f"a{number:02d}.csv", [row])
    write_csv(inbox_of(agent) / "z.csv", [row])
    run(agent, *range(0, 50, 5))
    assert [standing.name for standing in agent.ledger.drops()] == ["z.csv"]


def test_a_file_that_the_agent_can_never_examine_is_refused_in_words(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(type(agent.examiner), "examine", breaks)
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 12)
    assert agent.ledger.drops() == []
    run(agent, 22, 23)
    (standing,) = agent.ledger.drops()
    assert standing.state is DropState.REFUSED
    assert "because of a fault of the agent itself" in standing.problems[0].message
    assert agent.is_idle()
    assert agent.trouble() == []


def test_what_the_agent_needs_to_examine_is_waited_for_and_said(agent: Agent, tmp_path: Path) -> None:
    presets = tmp_path / "site" / "job_types"
    presets.rename(tmp_path / "away")
    (inbox_of(agent) / "s.json").write_text("{}")
    run(agent, 0, 2, 12, 22, 32)
    assert agent.ledger.drops() == []
    assert agent.is_idle()
    assert any("job_types" in trouble for trouble in agent.trouble())
    (tmp_path / "away").rename(presets)
    run(agent, 42)
    assert [standing.state for standing in agent.ledger.drops()] == [DropState.REFUSED]
    assert agent.trouble() == []


def test_many_manifests_are_taken_a_few_at_a_time(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropbox_agent.agent.NEWS_PER_TICK", 2)
    for number in range(3):
        (inbox_of(agent) / f"{number}.json").write_text("{}")
    run(agent, 0, 2)
    assert len(agent.ledger.drops()) == 2
    run(agent, 2.2)
    assert len(agent.ledger.drops()) == 3


def test_two_names_of_one_bucket_are_one_place(site: Path, row: dict[str, str]) -> None:
    text = site.read_text()
    site.write_text(re.sub(r"(?m)^(\s+private: ).*$", lambda m: m[1] + str(site.parent / "buckets" / "default"), text))
    agent = open_agent(site)
    try:
        write_csv(inbox_of(agent) / "s.csv", [row, {**row, "s3_bucket": "private"}])
        run(agent, 0, 2, 3)
        (standing,) = agent.ledger.drops()
        assert standing.state is DropState.REFUSED
        said = [(p.place.row, p.message.split(".")[0]) for p in standing.problems if p.level is Level.ERROR]
        assert said == [
            (2, 'Row 3 is the same upload: "default" and "private" are names of one bucket here'),
            (3, 'Row 2 is the same upload: "private" and "default" are names of one bucket here'),
        ]
    finally:
        agent.ledger.close()


def test_of_two_manifests_for_one_asset_in_one_tick_the_second_is_refused(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "a.csv", [row])
    write_csv(inbox_of(agent) / "b.csv", [row])
    run(agent, 0, 2)
    second, first = agent.ledger.drops()
    assert (first.state, second.state) == (DropState.RUNNING, DropState.REFUSED)
    assert "is being uploaded now, for a.csv" in second.problems[0].message


def test_nothing_is_written_into_an_inbox_that_is_not_ours(agent: Agent) -> None:
    (inbox_of(agent) / MARKER).unlink()
    run(agent, 0, 0.2, 0.4)
    agent.inboxes[0].hint("a.csv")
    run(agent, 0.6, 0.8)
    assert in_inbox(agent) == {}
    assert agent.is_idle()
    assert "has no marker" in agent.trouble()[0]


def test_what_is_left_alone_is_said_once(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    (inbox_of(agent) / "s.csv").symlink_to("/etc/hostname")
    run(agent, 0, 20, 40)
    said = [record.getMessage() for record in caplog.records if "left alone" in record.getMessage()]
    assert said == [f"left alone in {inbox_of(agent)}: {agent.notes()[0]}"]
    assert agent.notes()[0].startswith("s.csv: It is not a plain file")


class Breaks(RehearsalExecutor):
    """An executor in which nobody thought of one session."""

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        if "0013" in attempt.job_id:
            raise RuntimeError("nobody thought of this")
        return super().submit(attempt, settings)


def test_a_job_that_breaks_the_agent_fails_in_words_and_stops_no_other(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = Breaks()
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "0013"}, row])
    run(agent, 0, *range(2, 60))
    (standing,) = agent.ledger.drops()
    assert [job.state for job in standing.jobs] == [JobState.FAILED, JobState.SUCCEEDED]
    (failed,) = [task for task in standing.jobs[0].tasks if task.state is TaskState.FAILED]
    assert failed.message == "A fault of the agent itself: RuntimeError: nobody thought of this"


class BreaksOnce(RehearsalExecutor):
    """An executor that takes an attempt, and breaks before it can say so."""

    taken: tuple[str, ...] = ()

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        self.taken += (attempt.key,)
        if len(self.taken) == 1:
            raise RuntimeError("nobody thought of this")
        return super().submit(attempt, settings)


def test_an_attempt_that_may_have_been_taken_when_the_agent_broke_is_not_given_up(
    agent: Agent, row: dict[str, str]
) -> None:
    executor = agent.executor = BreaksOnce()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, *range(2, 30))
    (standing,) = agent.ledger.drops()
    assert [job.state for job in standing.jobs] == [JobState.SUCCEEDED]
    assert executor.taken[0] == executor.taken[1]
    assert {task.attempt for task in standing.jobs[0].tasks} <= {0, 1}


def test_an_answer_that_breaks_the_agent_stops_no_other(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = deliver.status

    def breaks_on_a(folder: Path, name: str, text: report.Report) -> None:
        if name == "a.csv":
            raise RuntimeError("nobody thought of this")
        write(folder, name, text)

    monkeypatch.setattr(deliver, "status", breaks_on_a)
    for name in ("a.csv", "b.csv"):
        write_csv(inbox_of(agent) / name, [{**row, "job_type": "nonsense"}])
    run(agent, 0, 2)
    assert (inbox_of(agent) / "b.csv.status.json").exists()
    assert agent.trouble() == ["a.csv: A fault of the agent itself: RuntimeError: nobody thought of this"]
    run(agent, 4, 10)
    assert agent.is_idle()


class Blind(RehearsalExecutor):
    """An executor that sees of one attempt what cannot be recorded."""

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        seen = super().observe(attempts, now)
        return [self._wrong(one) if "0013" in one.attempt.job_id else one for one in seen]

    def _wrong(self, one: Observation) -> Observation:
        unspeakable: Any = {"done_bytes": object()}
        return replace(one, tasks=tuple(replace(task, progress=unspeakable) for task in one.tasks))


def test_what_was_seen_of_one_job_and_cannot_be_recorded_stops_no_other(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = Blind()
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "0013"}, row])
    run(agent, 0, *range(2, 12))
    (standing,) = agent.ledger.drops()
    assert [job.state for job in standing.jobs] == [JobState.RUNNING, JobState.SUCCEEDED]


def test_attempts_that_nobody_takes_are_not_waited_for_and_said(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = Refuses(1000)
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 4)
    assert not agent.is_idle()
    run(agent, 9, 10)
    assert agent.is_idle()
    (standing,) = agent.ledger.drops()
    assert agent.trouble() == [f"{standing.jobs[0].job_id}: The work folder is not there."]


def test_the_agent_goes_on_whatever_goes_wrong_in_a_tick(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    def breaks() -> None:
        shown.append(1)
        agent.stop() if len(shown) > 2 else agent._wake_up()
        raise RuntimeError("nobody thought of this")

    agent.run(each_tick=breaks)
    assert len(shown) == 3


def test_what_came_of_a_mail_is_written_down_once_the_ledger_can_be_written_again(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LedgerUnavailable("the disk is full")

    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    with monkeypatch.context() as patched:
        patched.setattr(type(agent.ledger), "mailed", full)
        run(agent, 0)
        with pytest.raises(LedgerUnavailable):
            run(agent, 2, 3)
    mail = inbox_of(agent) / "s.csv.01-refused.eml"
    written = mail.stat()
    run(agent, 4)
    assert agent.is_idle()
    assert mail.stat() == written


def test_until_idle_ends_when_every_tick_goes_wrong(agent: Agent) -> None:
    def breaks() -> None:
        agent._wake_up()
        raise LedgerUnavailable("the disk is full")

    with pytest.raises(AgentError, match="the disk is full"):
        agent.run(until_idle=True, each_tick=breaks)


def test_a_site_that_takes_two_inboxes_goes_on_when_one_is_away(
    tmp_path: Path, site: Path, row: dict[str, str]
) -> None:
    away = tmp_path / "away"
    text = site.read_text().replace("inboxes:\n", f"inboxes:\n  - path: {away}\n", 1)
    site.write_text(text)
    agent = open_agent(site)
    try:
        write_csv(agent.inboxes[1].path / "s.csv", [row])
        run(agent, 0, 2, 3, 4, 5, 6)
        assert [standing.state for standing in agent.ledger.drops()] == [DropState.SUCCEEDED]
        assert "is not there" in agent.trouble()[0]
    finally:
        agent.ledger.close()


class Refuses(RehearsalExecutor):
    """An executor that does not take attempts at first."""

    def __init__(self, times: int, retry: bool = True) -> None:
        self.times, self.retry = times, retry
        self.asked: list[str] = []

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        self.asked.append(attempt.key)
        if len(self.asked) <= self.times:
            raise SubmitFailed("The work folder is not there.", retry=self.retry)
        return super().submit(attempt, settings)


def test_an_attempt_that_is_not_taken_is_handed_over_again_under_the_same_key(
    agent: Agent, row: dict[str, str]
) -> None:
    agent.executor = executor = Refuses(2)
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 8, 9, 10)
    assert len(set(executor.asked[:3])) == 1
    run(agent, *range(11, 20))
    assert agent.ledger.drops()[0].state is DropState.SUCCEEDED


def test_an_attempt_that_can_never_be_taken_fails_its_job_in_words(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = Refuses(1, retry=False)
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3)
    (standing,) = agent.ledger.drops()
    assert standing.state is DropState.FAILED
    (failed,) = [task for task in standing.jobs[0].tasks if task.state is TaskState.FAILED]
    assert (failed.key, failed.message) == ("check_s3_folder_exists", "The work folder is not there.")


class TwoPlaces(RehearsalExecutor):
    """An executor with two places that does not take the attempts of some subjects."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.took: list[str] = []

    def room(self, live: int) -> int:
        return max(0, 2 - live)

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        if attempt.job_id.split("_")[1] in self.refused:
            raise SubmitFailed("Its run folder cannot be made.", retry=True)
        self.took.append(attempt.key)
        return super().submit(attempt, settings)


def test_attempts_that_nobody_takes_keep_no_other_from_a_place(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = executor = TwoPlaces("1", "2", "3")
    for subject in ("1", "2", "3", "4"):
        write_csv(inbox_of(agent) / f"{subject}.csv", [{**row, "subject_id": subject}])

    def succeeded() -> list[str]:
        states = {standing.name: standing.state for standing in agent.ledger.drops()}
        return sorted(name for name, state in states.items() if state is DropState.SUCCEEDED)

    run(agent, *range(0, 100, 2))
    assert succeeded() == ["4.csv"]
    executor.refused = ()
    for second in range(400, 440):
        before = len(executor.took)
        run(agent, second)
        assert len(executor.took) - before <= 2
    assert succeeded() == ["1.csv", "2.csv", "3.csv", "4.csv"]


class Slow(RehearsalExecutor):
    """An executor that answers one tick later, and takes nothing else meanwhile."""

    def __init__(self) -> None:
        self.asked: list[Attempt] = []
        self.told: list[str] = []

    def room(self, live: int) -> int:
        return 0 if self.asked else 10

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str | None:  # type: ignore[override]
        self.asked.append(attempt)
        return None

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        return not self.asked and attempt.handle is None

    def answered(self) -> list[tuple[Attempt, str | Exception]]:
        waiting, self.asked = self.asked, []
        self.told += [attempt.key for attempt in waiting]
        if len(self.told) == 1:
            return [(attempt, SubmitFailed("It is full.", retry=True)) for attempt in waiting]
        return [(attempt, f"slow:{attempt.key}") for attempt in waiting]


def test_an_answer_that_comes_later_is_written_down_when_it_comes(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = executor = Slow()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2)
    (attempt,) = agent.ledger.live_attempts()
    assert (attempt.state, attempt.handle, executor.told) == (AttemptState.SUBMITTING, None, [])
    run(agent, 3)
    assert agent.ledger.not_taken() == [(attempt.job_id, "It is full.")]
    run(agent, *range(10, 60))
    assert agent.ledger.drops()[0].state is DropState.SUCCEEDED
    assert executor.told[0] == executor.told[1] and len(set(executor.told)) == len(executor.told) - 1


class Forgets(RehearsalExecutor):
    """An executor that loses what it took first, as a machine that restarts does."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        self.taken.append(attempt.key)
        return super().submit(attempt, settings)

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        if len(self.taken) < 2:
            return [Observation(attempt, False, attempt.state) for attempt in attempts]
        return super().observe(attempts, now)

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        return True


def test_what_the_executor_took_and_lost_is_handed_over_again_under_the_same_key(
    agent: Agent, row: dict[str, str]
) -> None:
    agent.executor = executor = Forgets()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4)
    assert executor.taken[0] == executor.taken[1]
    run(agent, *range(5, 15))
    assert agent.ledger.drops()[0].state is DropState.SUCCEEDED


@pytest.mark.parametrize("crash", ["submitting", "submitted"])
def test_after_a_crash_around_a_submission_the_same_attempt_goes_on(
    site: Path, row: dict[str, str], crash: str
) -> None:
    first = open_agent(site)
    write_csv(inbox_of(first) / "s.csv", [row])
    first.executor = Refuses(100)
    run(first, 0, 2)
    (attempt,) = first.ledger.live_attempts()
    assert attempt.state is AttemptState.SUBMITTING
    if crash == "submitted":
        first.ledger.submitted(attempt, f"rehearsal:{attempt.key}", NOW)
    first.ledger.close()
    second = open_agent(site)
    try:
        run(second, *range(10, 20))
        (standing,) = second.ledger.drops()
        assert standing.state is DropState.SUCCEEDED
        assert {task.attempt for task in standing.jobs[0].tasks} <= {0, 1}
    finally:
        second.ledger.close()


def test_the_status_beside_an_older_version_of_a_manifest_is_not_written_over(
    agent: Agent, row: dict[str, str]
) -> None:
    path = inbox_of(agent) / "s.csv"
    write_csv(path, [{**row, "job_type": "nonsense"}])
    run(agent, 0, 2)
    write_csv(path, [row])
    run(agent, *range(20, 32))
    states = [agent.ledger.standing(number).state for number in (1, 2)]
    assert states == [DropState.REFUSED, DropState.SUCCEEDED]
    assert '"succeeded"' in (inbox_of(agent) / "s.csv.status.json").read_text()
    assert len(agent.ledger.drops()) == 1


def in_inbox(agent: Agent) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in inbox_of(agent).iterdir() if path.is_file()}


def test_an_inbox_gets_its_readme_and_template_once(agent: Agent, site: Path) -> None:
    run(agent, 0)
    before = in_inbox(agent)
    assert sorted(before) == ["README.txt", "TEMPLATE.xlsx"]
    run(agent, 20)
    agent.ledger.close()
    again = open_agent(site)
    run(again, 40)
    again.ledger.close()
    assert in_inbox(agent) == before


def test_an_inbox_that_comes_back_is_furnished_again(agent: Agent, tmp_path: Path) -> None:
    run(agent, 0)
    away = inbox_of(agent).rename(tmp_path / "away")
    run(agent, 20)
    away.rename(inbox_of(agent))
    (inbox_of(agent) / "README.txt").unlink()
    run(agent, 40)
    assert sorted(in_inbox(agent)) == ["README.txt", "TEMPLATE.xlsx"]


def test_a_link_planted_in_place_of_the_readme_is_replaced_and_never_followed(agent: Agent, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (inbox_of(agent) / "README.txt").symlink_to(victim)
    run(agent, 0)
    assert victim.read_text() == "mine"
    assert not (inbox_of(agent) / "README.txt").is_symlink()


def test_a_pipe_planted_in_place_of_the_template_stops_nothing(agent: Agent) -> None:
    os.mkfifo(inbox_of(agent) / "TEMPLATE.xlsx")
    os.mkfifo(inbox_of(agent) / "README.txt")
    run(agent, 0)
    assert sorted(in_inbox(agent)) == ["README.txt", "TEMPLATE.xlsx"]


# --- the annotated copy ----------------------------------------------------------------------------------------------


def test_a_refused_table_gets_an_annotated_copy_that_page_and_mail_name(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    run(agent, 0, 2, 3)
    copy = openpyxl.load_workbook(inbox_of(agent) / "s.csv.errors.xlsx")
    column = list(row).index("subject_id") + 1
    comment = copy["jobs"].cell(row=2, column=column).comment
    assert comment is not None
    assert comment.text.startswith("A subject id is made of letters")
    assert 'href="./s.csv.errors.xlsx"' in (inbox_of(agent) / "s.csv.status.html").read_text()
    assert "s.csv.errors.xlsx" in (inbox_of(agent) / "s.csv.01-refused.eml").read_text()


def test_a_copy_that_cannot_be_made_or_written_holds_nothing_up(agent: Agent, row: dict[str, str]) -> None:
    (inbox_of(agent) / "s.csv.errors.xlsx").mkdir()
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    (inbox_of(agent) / "t.xlsx").write_bytes(b"no workbook")
    run(agent, 0, 2, 70)
    for name in ("s.csv", "t.xlsx"):
        page = (inbox_of(agent) / f"{name}.status.html").read_text()
        assert "refused" in page
        assert "errors.xlsx" not in page
    assert not (inbox_of(agent) / "t.xlsx.errors.xlsx").exists()


def test_an_accepted_manifest_gets_no_annotated_copy(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3)
    assert not (inbox_of(agent) / "s.csv.errors.xlsx").exists()


# --- duplicates and waves --------------------------------------------------------------------------------------------


def problems_of(agent: Agent, name: str) -> list[tuple[str, str]]:
    standing = next(one for one in agent.ledger.drops() if one.name == name)
    return [(problem.level.value, problem.message) for problem in standing.problems]


class Succeeding(RehearsalExecutor):
    """Says of everything that it was done."""

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        seen = super().observe(attempts, now)
        return [
            replace(one, tasks=tuple(replace(task, state=TaskState.SUCCEEDED) for task in one.tasks)) for one in seen
        ]


class Uploads(RehearsalExecutor):
    """Says of each upload what its inventory is, and of all that it ended at one time."""

    def __init__(self, content: bytes, ended: datetime) -> None:
        self.sha256, self.ended = hashlib.sha256(content).hexdigest(), ended

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        seen = super().observe(attempts, now)
        return [replace(one, tasks=tuple(map(self._uploaded, one.tasks))) for one in seen]

    def _uploaded(self, task: TaskObservation) -> TaskObservation:
        if task.key != "upload_data_to_s3":
            return replace(task, ended=self.ended)
        return replace(task, state=TaskState.SUCCEEDED, ended=self.ended, inventory_sha256=self.sha256)


@pytest.mark.parametrize("is_there_again_at", [60, 10_000])
def test_an_inventory_that_cannot_be_read_just_then_is_waited_for_and_then_done_without(
    agent: Agent, site: Path, row: dict[str, str], is_there_again_at: int
) -> None:
    content = b"{}"
    agent.executor = Uploads(content, NOW)
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2)
    (job,) = agent.ledger.jobs()
    file = RunFolder(site.parent / "work" / job.job_id).inventory
    file.mkdir(parents=True)
    run(agent, 3, 4, 5, 6, 7, 58)
    said = f"keeping the inventory of {job.job_id}"
    assert agent.ledger.jobs()[0].state is JobState.RUNNING
    assert agent.troubles.said(said) == f"{file} could not be read: Is a directory."
    if is_there_again_at == 60:
        file.rmdir()
        file.write_bytes(content)
    run(agent, *range(is_there_again_at, is_there_again_at + 6))
    assert agent.ledger.jobs()[0].state is JobState.SUCCEEDED
    assert agent.ledger.inventory(job.job_id) == (content if is_there_again_at == 60 else None)


def test_a_session_that_was_uploaded_is_uploaded_again_only_when_that_is_asked_for(
    agent: Agent, row: dict[str, str]
) -> None:
    agent.executor = Succeeding()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5, 6, 7)
    (job,) = agent.ledger.jobs()
    write_csv(inbox_of(agent) / "t.csv", [row])
    write_csv(inbox_of(agent) / "u.csv", [{**row, "force_cloud_sync": "TRUE"}])
    run(agent, 20, 22, 23)
    told = f"{job.s3_prefix} was uploaded on 2026-01-31, for s.csv, row 2 (job {job.job_id})."
    assert problems_of(agent, "t.csv") == [("error", f"{told} Set force_cloud_sync to upload it again.")]
    assert problems_of(agent, "u.csv") == [("warning", f"{told} It is uploaded again, as this row asks.")]


def test_a_session_that_is_being_uploaded_is_refused_with_the_place_of_the_other(
    agent: Agent, row: dict[str, str]
) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    write_csv(inbox_of(agent) / "t.csv", [{**row, "user_email": "bo@example.org"}])
    run(agent, 0, 2)
    told = [problems_of(agent, name) for name in ("s.csv", "t.csv")]
    (job,) = agent.ledger.jobs()
    words = f"{job.s3_prefix} is being uploaded now, for {job.manifest}, row 2 (job {job.job_id})."
    assert sorted(told) == [[], [("error", f"{words} Wait until it has ended.")]]


def test_more_rows_than_a_site_allows_at_a_time_go_in_waves(site: Path, row: dict[str, str]) -> None:
    agent = open_agent(site, DROPBOX_AGENT_JOBS_PER_MANIFEST="2")
    try:
        write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": f"{n}"} for n in range(5)])
        most = 0
        for second in range(60):
            run(agent, second)
            most = max(most, agent.ledger.count_jobs()["running"])
        assert (most, agent.ledger.count_jobs()["succeeded"]) == (2, 5)
    finally:
        agent.ledger.close()


def test_of_a_refused_yaml_the_page_quotes_the_lines_that_are_wrong(agent: Agent) -> None:
    (inbox_of(agent) / "s.yaml").write_text("job_type: ecephys\nsubject_id: ../<b>x\nmodality0: ECEPHYS\n")
    run(agent, 0, 2, 3)
    page = (inbox_of(agent) / "s.yaml.status.html").read_text()
    for number, line in ((2, "subject_id: ../&lt;b&gt;x"), (3, "modality0: ECEPHYS")):
        assert f'Line {number}: <code class="copy"><bdi>{line}</bdi></code>' in page
    (problem,) = [one for one in agent.ledger.drops()[0].problems if one.place.row == 3]
    assert problem.line == "modality0: ECEPHYS"
    assert not (inbox_of(agent) / "s.yaml.errors.xlsx").exists()


class Silent(RehearsalExecutor):
    """A place that says nothing of what it was given until it has been away for a while."""

    def __init__(self) -> None:
        self.trouble = "Slurm does not answer."
        self.may = False
        self.text: str | None = "It waits for a free node."

    def submit(self, attempt: Attempt, settings: Mapping[str, TaskSettings]) -> str:
        if not self.may:
            raise SubmitFailed("Timed out.", retry=True, unsure=True)
        return super().submit(attempt, settings)

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        return self.may

    def observe(self, attempts: Sequence[Attempt], now: datetime) -> list[Observation]:
        if self.may:
            return super().observe(attempts, now)
        return [Observation(attempt, True, attempt.state, text=self.text, waits=True) for attempt in attempts]


def test_an_intent_is_not_repeated_before_the_executor_is_sure(agent: Agent, row: dict[str, str]) -> None:
    agent.executor = executor = Silent()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, *range(0, 100, 10))
    (attempt,) = agent.ledger.live_attempts()
    assert attempt.state is AttemptState.SUBMITTING
    executor.may = True
    run(agent, *range(100, 120))
    assert agent.ledger.drops()[0].state is DropState.SUCCEEDED


def test_what_is_wrong_with_the_place_to_run_is_an_operators_affair_and_waiting_is_not(
    agent: Agent, row: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    agent.executor = Silent()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5)
    assert "Slurm does not answer." in agent.trouble()
    assert "executor: Slurm does not answer." in caplog.text
    assert "free node" not in caplog.text


def test_a_clock_that_is_set_ahead_lets_no_half_copy_settle(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "half.csv", [row])
    (inbox_of(agent) / "torn.xlsx").write_bytes(b"PK")
    agent.mind_the_clock(NOW, 0.0)
    run(agent, 0)
    agent.mind_the_clock(later(3600), 0.2)
    run(agent, 3600)
    agent.mind_the_clock(later(3601), 1.2)
    run(agent, 3601)
    assert agent.ledger.drops() == []
    agent.mind_the_clock(later(3602), 2.2)
    run(agent, 3602)
    assert [standing.name for standing in agent.ledger.drops()] == ["half.csv"]


# --- files of ours that people fill in -------------------------------------------------------------------------------


def filled_in(path: Path, row: Mapping[str, str]) -> bytes:
    """Fill a workbook in where it lies, as Excel does: the read-only file is replaced by a new one."""
    book = openpyxl.load_workbook(path)
    sheet = book["jobs"]
    columns = {str(cell.value): number for number, cell in enumerate(sheet[1], start=1)}
    for name, value in row.items():
        if name in columns:
            sheet.cell(2, columns[name], value)
    path.unlink()
    book.save(path)
    book.close()
    return path.read_bytes()


def test_a_template_filled_in_where_it_lies_is_read_and_never_overwritten(
    agent: Agent, site: Path, row: dict[str, str]
) -> None:
    run(agent, 0)
    template = inbox_of(agent) / "TEMPLATE.xlsx"
    assert template.stat().st_mode & 0o777 == 0o444
    run(agent, 20, 23)
    assert agent.ledger.drops() == []
    theirs = filled_in(template, row)
    (inbox_of(agent) / ".dropbox-agent/template.sha256").write_text("made from the job types of last week")
    (inbox_of(agent) / "README.txt").write_text("of an earlier version")
    run(agent, 40, 43, 44, 45, 46)
    agent.ledger.close()
    again = open_agent(site)
    run(again, 60, 63, 64)
    assert "Open TEMPLATE.xlsx" in (inbox_of(again) / "README.txt").read_text()
    assert "somebody filled it in" in (again.troubles.said(f"README and template of {inbox_of(again)}") or "")
    assert [(standing.name, standing.state) for standing in again.ledger.drops()] == [
        ("TEMPLATE.xlsx", DropState.SUCCEEDED)
    ]
    assert template.read_bytes() == theirs
    template.rename(inbox_of(again) / "mine.xlsx")
    run(again, 80, 100, 101)
    assert again.ledger.latest(inbox_of(again), "TEMPLATE.xlsx") is not None
    assert template.exists() and template.read_bytes() != theirs
    again.ledger.close()


def test_the_annotated_copy_goes_once_its_manifest_is_accepted(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    run(agent, 0, 2, 3)
    copy = inbox_of(agent) / "s.csv.errors.xlsx"
    assert copy.stat().st_mode & 0o777 == 0o444
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 20, 22, 23, 24)
    assert not copy.exists()
    assert [standing.name for standing in agent.ledger.drops()] == ["s.csv"]


def test_an_annotated_copy_corrected_in_place_is_read_and_never_removed(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    run(agent, 0, 2, 3)
    copy = inbox_of(agent) / "s.csv.errors.xlsx"
    book = openpyxl.load_workbook(copy)
    sheet = book.worksheets[0]
    (wrong,) = [cell for line in sheet.iter_rows() for cell in line if cell.value == "../../x"]
    wrong.value = "0012"
    copy.unlink()
    book.save(copy)
    book.close()
    theirs = copy.read_bytes()
    run(agent, 20, 23, 24, 25, 26, 27)
    states = {standing.name: standing.state for standing in agent.ledger.drops()}
    assert states == {"s.csv": DropState.REFUSED, "s.csv.errors.xlsx": DropState.SUCCEEDED}
    assert copy.read_bytes() == theirs


def test_a_copy_of_what_we_wrote_is_answered_under_its_own_name(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    run(agent, 0, 2, 3)
    shutil.copy(inbox_of(agent) / "TEMPLATE.xlsx", inbox_of(agent) / "mine.xlsx")
    shutil.copy(inbox_of(agent) / "s.csv.errors.xlsx", inbox_of(agent) / "corrected.xlsx")
    run(agent, 20, 23, 24)
    assert [told_as(agent, name) for name in ("mine.xlsx", "corrected.xlsx")] == ["refused", "refused"]


@pytest.mark.parametrize(("times", "copies"), [(2, ["s.csv.errors.xlsx"]), (1000, [])])
def test_a_status_waits_for_its_annotated_copy_only_so_often(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch, times: int, copies: list[str]
) -> None:
    write_own = deliver.write_own
    broke: list[str] = []

    def breaks(folder: Path, name: str, content: bytes) -> None:
        if name.endswith(".errors.xlsx") and len(broke) < times:
            broke.append(name)
            raise RuntimeError("nobody thought of this")
        write_own(folder, name, content)

    run(agent, 0)
    monkeypatch.setattr(deliver, "write_own", breaks)
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    run(agent, *range(20, 60))
    assert told_as(agent, "s.csv") == "refused"
    assert [path.name for path in inbox_of(agent).glob("s.csv.errors*")] == copies


def test_an_annotated_copy_that_the_inbox_did_not_take_is_made_later(
    agent: Agent, row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run(agent, 0)
    write_csv(inbox_of(agent) / "s.csv", [{**row, "subject_id": "../../x"}])
    with monkeypatch.context() as patched:
        patched.setattr("dropbox_agent.deliver.files._write_new", full)
        run(agent, 20, 22, 23)
    assert [path.name for path in inbox_of(agent).glob("s.csv*")] == ["s.csv"]
    run(agent, 60)
    assert told_as(agent, "s.csv") == "refused"
    assert (inbox_of(agent) / "s.csv.errors.xlsx").exists()


# --- files that are waited for ---------------------------------------------------------------------------------------


def status_of(agent: Agent, name: str) -> dict[str, Any] | None:
    path = inbox_of(agent) / f"{name}.status.json"
    return json.loads(path.read_text()) if path.exists() else None


def told_as(agent: Agent, name: str) -> str | None:
    status = status_of(agent, name)
    return None if status is None else status["state"]


def test_a_file_that_is_waited_for_is_told_of_until_it_is_taken(agent: Agent, row: dict[str, str]) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    (inbox_of(agent) / ".~lock.s.csv#").touch()
    run(agent, 0, 1)
    assert told_as(agent, "s.csv") is None
    run(agent, 2)
    status = status_of(agent, "s.csv")
    assert status is not None
    assert (status["state"], status["sha256"], status["jobs"]) == ("settling", "", [])
    assert "Save it and close it there" in status["summary"]
    (inbox_of(agent) / ".~lock.s.csv#").unlink()
    run(agent, 4, 5, 6, 7)
    assert told_as(agent, "s.csv") == "succeeded"


def test_the_status_of_a_file_that_was_waited_for_goes_when_the_file_does(agent: Agent, site: Path) -> None:
    (inbox_of(agent) / "s.csv").touch()
    run(agent, 0, 11)
    assert told_as(agent, "s.csv") == "settling"
    (inbox_of(agent) / "s.csv").unlink()
    agent.ledger.close()
    again = open_agent(site)
    run(again, 20, 40)
    assert told_as(again, "s.csv") is None
    assert list(inbox_of(again).glob("s.csv*")) == []
    again.ledger.close()


def test_a_file_that_turns_out_to_be_no_news_gets_its_old_status_back(agent: Agent, row: dict[str, str]) -> None:
    path = inbox_of(agent) / "s.csv"
    write_csv(path, [row])
    content = path.read_bytes()
    run(agent, 0, 2, 3, 4, 5, 6)
    assert told_as(agent, "s.csv") == "succeeded"
    path.write_bytes(b"")
    run(agent, 20, 31)
    assert told_as(agent, "s.csv") == "settling"
    path.write_bytes(content)
    run(agent, 40, 42, 43)
    assert told_as(agent, "s.csv") == "succeeded"
    assert [standing.drop_id for standing in agent.ledger.drops()] == [1]


def test_the_reason_for_which_a_file_is_waited_for_is_told_anew_when_it_changes(
    agent: Agent, row: dict[str, str]
) -> None:
    (inbox_of(agent) / "s.csv").touch()
    run(agent, 0, 11)
    assert "It is empty so far." in (status_of(agent, "s.csv") or {})["summary"]
    (inbox_of(agent) / ".~lock.s.csv#").touch()
    run(agent, 14)
    assert "Save it and close it there" in (status_of(agent, "s.csv") or {})["summary"]


def test_a_status_of_waiting_that_could_not_be_written_is_tried_again(agent: Agent) -> None:
    (inbox_of(agent) / "s.csv").touch()
    (inbox_of(agent) / "s.csv.status.json").mkdir()
    run(agent, 0, 11, 12)
    (inbox_of(agent) / "s.csv.status.json").rmdir()
    run(agent, 13)
    assert told_as(agent, "s.csv") == "settling"


def test_many_statuses_that_cannot_be_written_keep_no_other_from_being_written(agent: Agent) -> None:
    for number in range(TOLD_AT_ONCE):
        (inbox_of(agent) / f"a{number:02d}.csv").touch()
        (inbox_of(agent) / f"a{number:02d}.csv.status.json").mkdir()
    (inbox_of(agent) / "z.csv").touch()
    run(agent, 0, 11, 12)
    assert told_as(agent, "z.csv") == "settling"


def test_a_template_that_could_not_be_read_for_a_while_keeps_no_status(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(folder: Path, sha256: str) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    run(agent, 0)
    monkeypatch.setattr(agent.inboxes[0], "is_unchanged", unreadable)
    run(agent, 11, 22)
    assert told_as(agent, deliver.TEMPLATE) == "settling"
    monkeypatch.undo()
    run(agent, 33, 34)
    assert told_as(agent, deliver.TEMPLATE) is None
    assert agent.ledger.drops() == []


def test_a_file_that_is_never_taken_as_it_is_is_told_why_until_it_is_mended(
    agent: Agent, row: dict[str, str], tmp_path: Path
) -> None:
    write_csv(tmp_path / "elsewhere.csv", [row])
    for name in ("link.csv", "Two.csv", "two.csv"):
        (inbox_of(agent) / name).symlink_to(tmp_path / "elsewhere.csv")
    (inbox_of(agent) / "Two.csv").unlink()
    (inbox_of(agent) / "two.csv").unlink()
    write_csv(inbox_of(agent) / "Two.csv", [row])
    write_csv(inbox_of(agent) / "two.csv", [row])
    os.mkfifo(inbox_of(agent) / "pipe.csv")
    run(agent, 0)
    said = {name: (status_of(agent, name) or {})["summary"] for name in ("link.csv", "pipe.csv", "Two.csv", "two.csv")}
    assert ["not a plain file" in said["link.csv"], "not a plain file" in said["pipe.csv"]] == [True, True]
    assert ["the same name" in said["Two.csv"], "the same name" in said["two.csv"]] == [True, True]
    for name in ("link.csv", "pipe.csv", "Two.csv"):
        (inbox_of(agent) / name).unlink()
    run(agent, 20, 40, 43, 44, 45, 46)
    assert [told_as(agent, name) for name in ("link.csv", "pipe.csv", "Two.csv")] == [None, None, None]
    assert told_as(agent, "two.csv") == "succeeded"


def test_copies_of_which_no_manifest_was_recorded_are_removed_at_the_start(
    agent: Agent, site: Path, row: dict[str, str]
) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5, 6)
    agent.ledger.close()
    spool = settings.load(site, {}).state_dir / "spool"
    (recorded,) = spool.iterdir()
    (spool / ("0" * 64)).write_bytes(b"a,b\n")
    (spool / ".half.tmp").write_bytes(b"a,")
    again = open_agent(site)
    assert list(spool.iterdir()) == [recorded]
    again.ledger.close()


def test_what_a_failed_write_left_behind_is_removed_once_nobody_can_be_writing_it(agent: Agent) -> None:
    run(agent, 0)
    left, of_somebody = inbox_of(agent) / ".dropbox-agent-0123456789abcdef.tmp", inbox_of(agent) / ".mine.tmp"
    left.touch()
    of_somebody.touch()
    run(agent, 20, 40, 60)
    assert left.exists()
    run(agent, 81, 92)
    assert not left.exists()
    assert of_somebody.exists()


# --- inboxes that move -----------------------------------------------------------------------------------------------


def with_inboxes(site: Path, *paths: Path) -> Agent:
    stored = yaml.safe_load(site.read_text())
    site.write_text(yaml.safe_dump({**stored, "inboxes": [{"path": str(path)} for path in paths]}))
    return open_agent(site)


def test_the_files_of_an_inbox_whose_path_changed_are_no_news(
    agent: Agent, site: Path, row: dict[str, str], tmp_path: Path
) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5, 6)
    agent.ledger.close()
    moved = inbox_of(agent).rename(tmp_path / "mounted elsewhere")
    again = with_inboxes(site, moved)
    run(again, 20, 23, 24)
    assert [(standing.drop_id, standing.inbox) for standing in again.ledger.drops()] == [(1, moved)]
    assert again.trouble() == []
    again.ledger.close()


def test_a_copy_of_an_inbox_beside_it_is_refused_until_somebody_adopts_it(
    agent: Agent, site: Path, tmp_path: Path
) -> None:
    run(agent, 0)
    agent.ledger.close()
    copy = tmp_path / "copy"
    shutil.copytree(inbox_of(agent), copy)
    again = with_inboxes(site, inbox_of(agent), copy)
    run(again, 20)
    (trouble,) = again.trouble()
    assert f"{copy} has the marker of {inbox_of(agent)}" in trouble
    again.ledger.close()
    founding.adopt(settings.load(site, {}), copy, "process", later(30))
    last = open_agent(site)
    run(last, 40)
    assert last.trouble() == []
    last.ledger.close()


def test_a_job_that_ended_is_said_in_the_log(
    agent: Agent, row: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5, 6, 7)
    (job,) = agent.ledger.jobs()
    ended = [record for record in caplog.records if getattr(record, "action", None) == "ended"]
    assert [record.getMessage() for record in ended] == [f"{job.job_id}: succeeded."]


def test_an_empty_folder_where_the_work_folder_was_mounted_is_not_believed(
    agent: Agent, site: Path, row: dict[str, str], tmp_path: Path
) -> None:
    work = settings.load(site, {}).work_dir
    run(agent, 0)
    away = work.rename(tmp_path / "away")
    work.mkdir()
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 20, 22, 23, 24)
    assert list(work.iterdir()) == []
    assert any(f"The work folder {work} has no marker" in trouble for trouble in agent.trouble())
    work.rmdir()
    away.rename(work)
    run(agent, 400, 401, 402, 403, 404)
    assert [standing.state for standing in agent.ledger.drops()] == [DropState.SUCCEEDED]
    assert agent.trouble() == []


def test_a_new_work_folder_is_used_once_somebody_says_that_it_is_new(
    agent: Agent, site: Path, row: dict[str, str], tmp_path: Path
) -> None:
    write_csv(inbox_of(agent) / "s.csv", [row])
    run(agent, 0, 2, 3, 4, 5)
    agent.ledger.close()
    new = tmp_path / "new work"
    new.mkdir()
    site.write_text(yaml.safe_dump({**yaml.safe_load(site.read_text()), "work_dir": str(new)}))
    second = open_agent(site)
    write_csv(inbox_of(second) / "t.csv", [{**row, "subject_id": "0013"}])
    run(second, 20, 23, 24, 25)
    assert any(f"adopt {new}" in trouble for trouble in second.trouble())
    second.ledger.close()
    founding.adopt(settings.load(site, {}), new, "seen", later(30))
    third = open_agent(site)
    run(third, 40, 43, 44, 45, 46)
    assert {standing.state for standing in third.ledger.drops()} == {DropState.SUCCEEDED}
    third.ledger.close()
