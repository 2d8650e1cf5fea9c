"""The local executor and its wrapper, with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors import LocalExecutor, RehearsalExecutor, wrapper
from dropbox_agent.executors.folder import Node, last_lines, look, prepare
from dropbox_agent.executors.local import leftovers
from dropbox_agent.model import Attempt, AttemptFolder, PlannedTask, TaskSettings
from dropbox_agent.states import AttemptState, Cause, TaskState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
WRAPPER = Path(wrapper.__file__)
KEY = f"dbx-{uuid.uuid4().hex[:8]}"
"""Processes are known by it: those of other tests that run at the same time are not these."""


def planned(key: str, needs: tuple[str, ...] = ()) -> PlannedTask:
    return PlannedTask(key, key, None, needs, 1, None, {}, {})


def an_attempt(folder: Path, *keys: str, handle: str | None = None) -> Attempt:
    keys = keys or ("first", "second")
    tasks = tuple(planned(key, keys[:n]) for n, key in enumerate(keys))
    return Attempt(KEY, "job", 1, 1, AttemptState.SUBMITTING, folder, tasks, handle)


def write_allocation(attempt: Attempt, **scripts: str) -> Path:
    """Write an allocation whose tasks are small Python scripts, as prepare writes those of the built-in tasks."""
    folder = AttemptFolder(attempt.folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    tasks = [
        {
            "key": task.key,
            "task_id": task.task_id,
            "argv": [sys.executable, "-c", textwrap.dedent(scripts[task.key]), str(folder.outcome(task.key))],
            "needs": list(task.needs),
            "log": str(folder.log(task.key)),
            "started": str(folder.started(task.key)),
            "ended": str(folder.ended(task.key)),
            "outcome": str(folder.outcome(task.key)),
        }
        for task in attempt.tasks
    ]
    allocation = {
        "key": attempt.key,
        "folder": str(folder.path),
        "token": str(folder.token),
        "end": str(folder.end),
        "environment": {"PATH": os.environ["PATH"], "DROPBOX_AGENT_ATTEMPT": attempt.key},
        "tasks": tasks,
    }
    folder.allocation.write_text(json.dumps(allocation))
    return folder.allocation


SUCCEEDS = """
    import json, sys
    json.dump({"state": "succeeded", "message": "Done.", "facts": {"files": 3}}, open(sys.argv[1], "w"))
"""
FAILS = """
    import json, sys
    json.dump({"state": "failed", "message": "The disk is full.", "facts": {}}, open(sys.argv[1], "w"))
    sys.exit(1)
"""
AWAY = """
    import json, sys
    json.dump({"state": "failed", "message": "It is away.", "facts": {"passes": True}}, open(sys.argv[1], "w"))
    sys.exit(1)
"""
SLEEPS = "import time; time.sleep(60)"


def run_wrapper(allocation: Path) -> int:
    return subprocess.run([sys.executable, str(WRAPPER), str(allocation)], timeout=30, check=False).returncode


def start_wrapper(allocation: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(WRAPPER), str(allocation)], start_new_session=True)


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def end_processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(20)


def record_of(folder: AttemptFolder, key: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(folder.ended(key).read_text())
    del record["started"], record["ended"]
    return record


def test_tasks_run_in_order_and_each_leaves_an_end_record(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a 0'; echo")
    assert run_wrapper(write_allocation(attempt, first=SUCCEEDS, second=SUCCEEDS)) == 0
    folder = AttemptFolder(attempt.folder)
    assert record_of(folder, "second") == {
        "key": "second",
        "task_id": "second",
        "exit_code": 0,
        "state": "succeeded",
        "message": "Done.",
        "facts": {"files": 3},
    }
    assert json.loads(folder.end.read_text())["tasks"] == {"first": "succeeded", "second": "succeeded"}


def test_a_task_whose_need_failed_is_not_run(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a")
    assert run_wrapper(write_allocation(attempt, first=FAILS, second=SUCCEEDS)) == 1
    seen = look(attempt)
    assert [(task.key, task.state, task.message) for task in seen.tasks] == [
        ("first", TaskState.FAILED, "The disk is full.")
    ]
    assert seen.state is AttemptState.ENDED


@pytest.mark.parametrize(
    ("first", "second", "cause", "text"),
    [
        (SUCCEEDS, AWAY, Cause.SERVICE_AWAY, "It is away."),
        (AWAY, AWAY, Cause.SERVICE_AWAY, "It is away."),
        (SUCCEEDS, FAILS, None, None),
        (AWAY, FAILS, None, None),
    ],
)
def test_only_where_all_that_failed_passes_by_itself_was_a_service_away(
    tmp_path: Path, first: str, second: str, cause: Cause | None, text: str | None
) -> None:
    attempt = an_attempt(tmp_path / "a")
    attempt = replace(attempt, tasks=tuple(replace(task, needs=()) for task in attempt.tasks))
    run_wrapper(write_allocation(attempt, first=first, second=second))
    for seen in (look(attempt), *local().observe([attempt], NOW)):
        assert (seen.cause, seen.text) == (cause, text)
        assert seen.tasks[1].state is (TaskState.SUCCEEDED if second == SUCCEEDS else TaskState.FAILED)


def test_what_an_attempt_took_and_the_end_of_a_failed_log_are_known(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    wordy = "print('x' * 9000)\n" + textwrap.dedent(FAILS).replace("import json", "print('last words')\nimport json")
    run_wrapper(write_allocation(attempt, first="x = bytearray(60_000_000)\n" + wordy))
    facts = look(attempt).facts
    assert facts is not None
    assert (facts.node, str(facts.log_end).splitlines()[-1]) == (os.uname().nodename, "last words")
    assert len(str(facts.log_end)) < 5000
    assert 60_000_000 < (facts.max_rss_bytes or 0) < 2**40
    assert 0 < (facts.elapsed_seconds or 0) < 60


def test_the_end_of_a_log_that_is_none_is_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\x00 one\ntwo\n\n")
    found = {name: last_lines(tmp_path / name) for name in ("pipe", "link", "empty", "missing", "bytes")}
    assert found == {"pipe": None, "link": None, "empty": None, "missing": None, "bytes": "\ufffd\x00 one\ntwo"}


def test_a_wrapper_shows_that_it_lives_while_its_task_runs_and_not_after(
    tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]
) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    allocation = write_allocation(attempt, first=SLEEPS)
    allocation.write_text(json.dumps({**json.loads(allocation.read_text()), "heartbeat_seconds": 0.05}))
    child = start_wrapper(allocation)
    end_processes.append(child)
    heartbeat = AttemptFolder(attempt.folder).heartbeat
    seen = set()

    def three_beats() -> bool:
        seen.add(heartbeat.read_text() if heartbeat.exists() else None)
        return len(seen) > 3

    wait_for(three_beats)
    child.terminate()
    assert child.wait(20) == 1
    assert record_of(AttemptFolder(attempt.folder), "first")["state"] == "cancelled"


def test_a_wrapper_that_dies_soon_had_shown_that_it_lived_and_a_second_copy_shows_nothing(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    allocation = write_allocation(attempt, first=SUCCEEDS)
    allocation.write_text(json.dumps({**json.loads(allocation.read_text()), "heartbeat_seconds": 600}))
    assert start_wrapper(allocation).wait(60) == 0
    heartbeat = AttemptFolder(attempt.folder).heartbeat
    assert json.loads(heartbeat.read_text())["every_seconds"] == 600
    heartbeat.unlink()
    assert start_wrapper(allocation).wait(60) == 75
    assert not heartbeat.exists()


def test_copies_of_the_log_go_where_the_resources_say(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a")
    says = "print('one', flush=True)\n"
    allocation = write_allocation(attempt, first=says + textwrap.dedent(SUCCEEDS), second=says + textwrap.dedent(FAILS))
    copies = {
        "standard_output": f"{tmp_path}/100%%_%x_%j_%5j_%N_%q.out",
        "standard_error": f"{tmp_path}/not there/%x.err",
    }
    allocation.write_text(json.dumps({**json.loads(allocation.read_text()), "copies": copies}))
    environ = {**os.environ, "SLURM_JOB_ID": "71", "SLURMD_NODENAME": "n3"}
    argv = [sys.executable, str(WRAPPER), str(allocation)]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert (tmp_path / f"100%_{KEY}_71_00071_n3_%q.out").read_text() == "one\none\n"
    log = AttemptFolder(attempt.folder).log("second")
    said = f"{tmp_path}/not there/{KEY}.err (standard_error) does not take a copy of {log}: No such file or directory."
    assert done.stdout.splitlines() == [said]


def test_a_second_copy_finds_the_start_token_taken_and_does_nothing(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a")
    allocation = write_allocation(attempt, first=SUCCEEDS, second=SUCCEEDS)
    assert run_wrapper(allocation) == 0
    before = AttemptFolder(attempt.folder).ended("first").stat().st_ino
    assert run_wrapper(allocation) == wrapper.TAKEN
    assert AttemptFolder(attempt.folder).ended("first").stat().st_ino == before


def test_of_two_copies_started_together_exactly_one_runs(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    count = tmp_path / "count"
    script = SUCCEEDS + f"    open({str(count)!r}, 'a').write('x')\n"
    allocation = write_allocation(attempt, first=script)
    codes = sorted(child.wait(30) for child in [start_wrapper(allocation) for _ in range(4)])
    assert codes == [0, 75, 75, 75]
    assert count.read_text() == "x"


def test_a_task_that_ends_without_an_outcome_has_failed_and_names_its_log(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    run_wrapper(write_allocation(attempt, first="raise SystemExit(3)"))
    folder = AttemptFolder(attempt.folder)
    (task,) = look(attempt).tasks
    assert task.message == f"first ended with exit code 3 and left no outcome. Its log: {folder.log('first')}"


def test_exit_code_zero_without_an_outcome_is_a_failure(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    run_wrapper(write_allocation(attempt, first="pass"))
    assert look(attempt).tasks[0].state is TaskState.FAILED


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    path = write_allocation(attempt, first="pass")
    allocation = json.loads(path.read_text())
    allocation["tasks"][0]["argv"] = ["/not/there"]
    path.write_text(json.dumps(allocation))
    run_wrapper(path)
    assert look(attempt).tasks[0].message == "first: /not/there could not be started: No such file or directory."


def test_term_ends_the_task_and_is_recorded_as_cancelled(
    tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]
) -> None:
    attempt = an_attempt(tmp_path / "a")
    child = start_wrapper(write_allocation(attempt, first=SLEEPS, second=SUCCEEDS))
    end_processes.append(child)
    wait_for(lambda: leftovers(attempt.key))
    child.terminate()
    assert child.wait(20) == 1
    assert [(task.key, task.state) for task in look(attempt).tasks] == [("first", TaskState.CANCELLED)]
    assert leftovers(attempt.key) == []


def test_the_wrapper_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    allocation = write_allocation(attempt, first=SUCCEEDS)
    code = subprocess.run([sys.executable, "-I", "-S", str(WRAPPER), str(allocation)], timeout=30, check=False)
    assert code.returncode == 0


def local(slots: int = 2) -> LocalExecutor:
    return LocalExecutor(slots, os.environ)


def settings(tmp_path: Path, attempt: Attempt) -> dict[str, TaskSettings]:
    return {
        task.key: TaskSettings(
            task_id=task.task_id,
            key=task.key,
            job_id="job",
            job_type="ecephys",
            project_name="Ephys Platform",
            subject_id="0012",
            acq_datetime=NOW,
            platform=None,
            modalities=["ecephys"],
            s3_prefix="0012_2026-01-31_12-00-00",
            bucket=f"file://{tmp_path}/bucket",
            run_folder=tmp_path / "work" / "job",
            attempt_key=attempt.key,
            sources={},
        )
        for task in attempt.tasks
    }


def local_attempt(tmp_path: Path) -> Attempt:
    (tmp_path / "work").mkdir(exist_ok=True)
    return an_attempt(tmp_path / "work" / "job" / "attempts" / KEY, "remove_staging_folder")


def observe_until_ended(executor: LocalExecutor, attempt: Attempt) -> Any:
    seen: list[Any] = []

    def ended() -> bool:
        seen[:] = executor.observe([attempt], NOW)
        return seen[0].state in (AttemptState.ENDED, AttemptState.LOST)

    wait_for(ended)
    return seen[0]


def test_a_built_in_task_runs_on_this_machine(tmp_path: Path) -> None:
    attempt = local_attempt(tmp_path)
    executor = local()
    handle = executor.submit(attempt, settings(tmp_path, attempt))
    seen = observe_until_ended(executor, an_attempt(attempt.folder, "remove_staging_folder", handle=handle))
    assert [(task.key, task.state) for task in seen.tasks] == [("remove_staging_folder", TaskState.SUCCEEDED)]


def test_no_more_attempts_run_than_there_are_places() -> None:
    assert [local(2).room(live) for live in range(4)] == [2, 1, 0, 0]


def test_an_attempt_that_is_stopped_before_it_starts_never_starts(tmp_path: Path) -> None:
    attempt = local_attempt(tmp_path)
    executor = local()
    prepare(attempt, settings(tmp_path, attempt), Node(environ=os.environ))
    assert executor.stop(attempt, hard=False)
    executor.submit(attempt, settings(tmp_path, attempt))
    folder = AttemptFolder(attempt.folder)
    wait_for(lambda: folder.wrapper_log.read_text())
    assert "is taken" in folder.wrapper_log.read_text()
    assert not folder.started("remove_staging_folder").exists()


def test_a_task_that_does_not_heed_term_is_killed(tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = start_wrapper(write_allocation(attempt, first=stubborn))
    end_processes.append(child)
    wait_for(AttemptFolder(attempt.folder).started("first").exists)
    wait_for(lambda: len(leftovers(attempt.key)) == 1)
    assert not local().stop(attempt, hard=True)
    wait_for(lambda: not leftovers(attempt.key))


def test_a_missing_work_folder_is_said_and_not_made(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "work" / "job" / "attempts" / KEY, "remove_staging_folder")
    with pytest.raises(SubmitFailed, match=r"The work folder .*/work is not there, so nothing was started") as failed:
        local().submit(attempt, settings(tmp_path, attempt))
    assert failed.value.retry
    assert not (tmp_path / "work").exists()


def test_preparing_a_started_attempt_again_touches_nothing(tmp_path: Path) -> None:
    attempt = local_attempt(tmp_path)
    folder = prepare(attempt, settings(tmp_path, attempt), Node(environ=os.environ))
    folder.token.mkdir()
    before = folder.allocation.stat().st_ino
    prepare(attempt, settings(tmp_path, attempt), Node(environ=os.environ))
    assert folder.allocation.stat().st_ino == before


def test_no_variable_of_the_agent_reaches_a_task(tmp_path: Path) -> None:
    attempt = local_attempt(tmp_path)
    folder = prepare(attempt, settings(tmp_path, attempt), Node(environ={"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x"}))
    environment = json.loads(folder.allocation.read_text())["environment"]
    assert environment == {"PATH": "/bin", "LANG": "C.UTF-8", "DROPBOX_AGENT_ATTEMPT": KEY}


def started(tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]) -> tuple[Attempt, subprocess.Popen[bytes]]:
    attempt = an_attempt(tmp_path / "a")
    child = start_wrapper(write_allocation(attempt, first=SLEEPS, second=SUCCEEDS))
    end_processes.append(child)
    folder = AttemptFolder(attempt.folder)
    wait_for(folder.started("first").exists)
    return attempt, child


def test_another_agent_finds_the_process_that_runs_by_its_start_token(
    tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]
) -> None:
    attempt, _ = started(tmp_path, end_processes)
    (seen,) = local().observe([attempt], NOW)
    assert (seen.seen, seen.state) == (True, AttemptState.RUNNING)
    assert [(task.key, task.state) for task in seen.tasks] == [("first", TaskState.RUNNING)]


def test_an_attempt_whose_processes_were_killed_is_lost_and_says_so(
    tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]
) -> None:
    attempt, child = started(tmp_path, end_processes)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait(20)
    wait_for(lambda: not leftovers(attempt.key))
    (seen,) = local().observe([attempt], NOW)
    assert seen.state is AttemptState.LOST
    (task,) = seen.tasks
    assert (task.key, task.state) == ("first", TaskState.FAILED)
    assert "left no end record" in str(task.message)
    assert seen.cause is None, "nobody says why a process was killed"


def test_a_task_that_outlives_its_wrapper_is_waited_for(
    tmp_path: Path, end_processes: list[subprocess.Popen[bytes]]
) -> None:
    attempt, child = started(tmp_path, end_processes)
    wait_for(lambda: len(leftovers(attempt.key)) == 1)
    child.kill()
    child.wait(20)
    (seen,) = local().observe([attempt], NOW)
    assert (seen.state, seen.text) == (
        AttemptState.RUNNING,
        "Its wrapper is gone; waiting for the process it left behind.",
    )


def an_attempt_whose_process_is_gone(folder: Path) -> Attempt:
    attempt = an_attempt(folder, handle=f"{wrapper.boot_id()}:{os.getpid()}:1")
    attempt.folder.mkdir(parents=True)
    return attempt


def test_a_pid_that_belongs_to_somebody_else_now_is_not_ours(tmp_path: Path) -> None:
    attempt = an_attempt_whose_process_is_gone(tmp_path / "a")
    (seen,) = local().observe([attempt], NOW)
    assert seen.state is AttemptState.LOST


def test_an_attempt_that_was_given_up_before_it_started_can_never_start(tmp_path: Path) -> None:
    attempt = an_attempt_whose_process_is_gone(tmp_path / "a")
    allocation = write_allocation(attempt, first=SUCCEEDS, second=SUCCEEDS)
    (seen,) = local().observe([attempt], NOW)
    assert seen.state is AttemptState.LOST
    assert run_wrapper(allocation) == wrapper.TAKEN


def test_nothing_is_concluded_while_the_work_folder_is_away(tmp_path: Path) -> None:
    attempt = an_attempt_whose_process_is_gone(tmp_path / "work" / "job" / "attempts" / KEY)
    (tmp_path / "work").rename(tmp_path / "away")
    missing = replace(attempt, first_missing_at=NOW)
    (seen,) = local().observe([missing], NOW + timedelta(days=3))
    assert (seen.seen, seen.state, seen.tasks) == (True, attempt.state, ())
    assert "does not answer (No such file or directory): what it does is not known" in str(seen.text)
    assert not local().may_repeat(missing, NOW)


def test_where_a_share_is_not_mounted_nothing_is_started_again(tmp_path: Path) -> None:
    attempt = an_attempt_whose_process_is_gone(tmp_path / "work" / "job" / "attempts" / KEY)
    (tmp_path / "work").rename(tmp_path / "away")
    (tmp_path / "work").mkdir()
    (seen,) = local().observe([attempt], NOW)
    assert not seen.seen
    assert not local().may_repeat(replace(attempt, first_missing_at=NOW), NOW)
    (late,) = local().observe([replace(attempt, first_missing_at=NOW)], NOW + timedelta(hours=1))
    assert late.state is AttemptState.LOST
    assert "was taken away" in str(late.tasks[0].message)


def test_what_ran_before_a_power_failure_that_took_its_folder_is_lost_at_once(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "work" / "job" / "attempts" / KEY, handle=f"another-boot:{os.getpid()}:1")
    (tmp_path / "work").mkdir()
    (seen,) = local().observe([attempt], NOW)
    assert (seen.state, seen.cause) == (AttemptState.LOST, Cause.NODE_FAILED)


def test_a_run_folder_that_cannot_be_read_harms_no_other_attempt(tmp_path: Path) -> None:
    torn = an_attempt_whose_process_is_gone(tmp_path / "torn")
    AttemptFolder(torn.folder).token.mkdir()
    (AttemptFolder(torn.folder).token / "owner.json").symlink_to("owner.json")
    good = an_attempt(tmp_path / "good", "first")
    run_wrapper(write_allocation(good, first=SUCCEEDS))
    assert [seen.state for seen in local().observe([torn, good], NOW)] == [torn.state, AttemptState.ENDED]


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{}",
        '{"state": "sideways"}',
        '{"state": ["failed"]}',
        '{"state": "waiting"}',
        '{"state": "failed", "ended": 3, "started": "yesterday", "message": ["x"], "exit_code": "y"}',
        f'{{"state": "failed", "ended": "0001-01-01T00:00:00+14:00", "exit_code": {10**30}}}',
        "[" * 5000,
    ],
)
def test_a_record_that_is_not_ours_breaks_nothing(tmp_path: Path, record: str) -> None:
    attempt = an_attempt(tmp_path / "a", "first")
    run_wrapper(write_allocation(attempt, first=SUCCEEDS))
    AttemptFolder(attempt.folder).ended("first").write_text(record)
    (seen,) = local().observe([attempt], NOW)
    (task,) = seen.tasks
    assert task.state in (TaskState.RUNNING, TaskState.FAILED)
    assert task.ended is None
    assert task.exit_code is None


def test_an_end_record_is_written_once_the_share_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    def mended(seconds: int) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / "share").mkdir()

    monkeypatch.setattr("dropbox_agent.executors.wrapper.time.sleep", mended)
    wrapper.keep_writing(str(tmp_path / "share" / "end.json"), {"key": "x"})
    assert waits == [1, 5, 15]
    assert json.loads((tmp_path / "share" / "end.json").read_text()) == {"key": "x"}


def test_a_wrapper_that_ended_leaves_no_zombie(tmp_path: Path) -> None:
    attempt = local_attempt(tmp_path)
    executor = local()
    pid = int(executor.submit(attempt, settings(tmp_path, attempt)).split(":")[1])

    def reaped() -> bool:
        executor.observe([], NOW)
        return not Path(f"/proc/{pid}").exists()

    wait_for(reaped)


def test_an_attempt_from_before_a_restart_of_the_machine_may_be_repeated(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", handle="another-boot:1:1")
    attempt.folder.mkdir()
    (seen,) = local().observe([attempt], NOW)
    assert not seen.seen
    assert local().may_repeat(attempt, NOW)


def test_what_ran_when_the_machine_went_down_may_be_run_again(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a", handle="another-boot:1:1")
    folder = AttemptFolder(attempt.folder)
    folder.token.mkdir(parents=True)
    (folder.token / "owner.json").write_text(json.dumps({"pid": 1, "start": 1, "boot": "another-boot"}))
    (seen,) = local().observe([attempt], NOW)
    assert (seen.state, seen.cause, seen.text) == (
        AttemptState.LOST,
        Cause.NODE_FAILED,
        "The machine went down while it ran.",
    )


@pytest.mark.parametrize("handle", [None, "another-boot:1:1", f"{wrapper.boot_id()}:1:1"])
def test_what_took_its_start_token_and_ended_before_it_began_is_run_again(tmp_path: Path, handle: str | None) -> None:
    """A power failure may keep the token and not who took it; tasks begin only once both are on the disk."""
    attempt = an_attempt(tmp_path / "a", "first", handle=handle)
    AttemptFolder(attempt.folder).token.mkdir(parents=True)
    (waits,) = local().observe([attempt], NOW)
    assert not waits.seen
    (seen,) = local().observe([replace(attempt, first_missing_at=NOW)], NOW + timedelta(seconds=61))
    assert (seen.state, seen.cause) == (AttemptState.LOST, Cause.NODE_FAILED)
    words = "Its wrapper ended before it had begun anything: the machine went down, or somebody killed it."
    assert [(task.key, task.state, task.message) for task in seen.tasks] == [("first", TaskState.FAILED, words)]


@pytest.mark.parametrize(
    ("boot", "ordered", "cause", "state"),
    [
        ("another-boot", None, Cause.NODE_FAILED, TaskState.FAILED),
        ("another-boot", NOW, None, TaskState.CANCELLED),
        (wrapper.boot_id(), None, None, TaskState.CANCELLED),
    ],
)
def test_what_a_machine_stopped_when_it_went_down_may_be_run_again(
    tmp_path: Path, end_processes: list[subprocess.Popen[bytes]], boot: str, ordered: datetime | None,
    cause: Cause | None, state: TaskState,
) -> None:  # fmt: skip
    """It asks all that runs to end, so that the wrapper has time to leave its records."""
    attempt, child = started(tmp_path, end_processes)
    child.terminate()
    child.wait(20)
    owner = AttemptFolder(attempt.folder).token / "owner.json"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "boot": boot}))
    (seen,) = local().observe([replace(attempt, stop_at=ordered)], NOW)
    assert (seen.cause, [(task.key, task.state) for task in seen.tasks]) == (cause, [("first", state)])


def test_a_start_token_without_an_owner_is_given_a_minute_and_never_repeated(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a")
    AttemptFolder(attempt.folder).token.mkdir(parents=True)
    (seen,) = local().observe([attempt], NOW)
    assert not seen.seen
    assert not local().may_repeat(attempt, NOW)
    missing = Attempt(**{**attempt.__dict__, "first_missing_at": NOW})
    (later,) = local().observe([missing], NOW + timedelta(seconds=61))
    assert later.state is AttemptState.LOST


def test_a_rehearsal_runs_nothing_and_skips_every_task(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path / "a")
    executor = RehearsalExecutor()
    handle = executor.submit(attempt, {})
    (seen,) = executor.observe([an_attempt(tmp_path / "a", handle=handle)], NOW)
    assert [(task.key, task.state) for task in seen.tasks] == [
        ("first", TaskState.SKIPPED),
        ("second", TaskState.SKIPPED),
    ]
    assert list(tmp_path.iterdir()) == []
