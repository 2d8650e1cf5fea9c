"""What is run again by itself: read from presets, decided by the plan's retries, carried out by the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filled_ledger import TASKS, a_drop, a_job, a_plan, at, hand_over, run_to_its_end, see

from dropbox_agent import plan
from dropbox_agent.errors import OrderRefused
from dropbox_agent.ledger import Ledger
from dropbox_agent.model import (
    Attempt,
    AttemptFacts,
    EarlierAttempt,
    JobStanding,
    JobType,
    Observation,
    Presets,
    Retry,
    TaskObservation,
)
from dropbox_agent.plan.retries import retries_of
from dropbox_agent.presets import load_folder
from dropbox_agent.states import AttemptState, Cause, JobState, TaskState

OOM, TIMEOUT, NODE, AWAY = Cause.OUT_OF_MEMORY, Cause.TIMEOUT, Cause.NODE_FAILED, Cause.SERVICE_AWAY
POLICY = {
    "out_of_memory": Retry(2, 2.0, "16G"),
    "timeout": Retry(1, 1.5, "2-00:00:00"),
    "node_failed": Retry(2),
    "preempted": Retry(0),
    "service_away": Retry(4, 3.0, 120, 15),
}


# --- how an attempt is followed by another ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "asked", "expected"),
    [
        (OOM, {"memory": "4G"}, {"memory": "8192M"}),
        (OOM, {"memory_per_cpu": {"set": True, "number": 500}}, {"memory_per_cpu": "1000M"}),
        (OOM, {"memory_per_node": 12000, "cpus": 2}, {"memory_per_node": "16384M"}),
        (OOM, {}, {"memory": "16384M"}),
        (OOM, {"memory": "16G"}, None),
        (TIMEOUT, {"time_limit": {"set": True, "number": 61}}, {"time_limit": 92}),
        (TIMEOUT, {"time": "1-00:00:00"}, {"time": 2160}),
        (TIMEOUT, {"time": "90:30"}, {"time": 136}),
        (TIMEOUT, {"time": "1:30:00"}, {"time": 135}),
        (TIMEOUT, {"time": "1-12"}, {"time": 2880}),
        (TIMEOUT, {"time": "UNLIMITED"}, None),
        (TIMEOUT, {"time_limit": {"set": True, "infinite": True}}, None),
        (TIMEOUT, {}, {"time": 2880}),
        (NODE, {"memory": "4G"}, {}),
        (Cause.PREEMPTED, {}, None),
        (Cause.NOT_LAUNCHED, {}, None),
        (Cause.CANCELLED, {}, None),
    ],
)
def test_what_the_next_attempt_asks_for(
    cause: Cause, asked: Mapping[str, Any], expected: Mapping[str, Any] | None
) -> None:
    again = plan.again(POLICY, cause, [cause], asked, at(0))
    assert (None if again is None else again.resources) == expected


def test_how_often_is_counted_for_each_cause_alone() -> None:
    assert plan.again(POLICY, NODE, [OOM, NODE, OOM, NODE], {}, at(0)) is not None
    assert plan.again(POLICY, NODE, [NODE, NODE, NODE], {}, at(0)) is None
    assert plan.again(POLICY, OOM, [OOM, NODE, OOM], {"memory": 1}, at(0)) == plan.Again(
        "It used more memory than it had asked for. It is run again with 2M of memory (2 of 2 times).",
        {"memory": "2M"},
    )


def test_a_service_that_is_away_is_waited_for_ever_longer() -> None:
    found = [plan.again(POLICY, AWAY, [OOM, *[AWAY] * number], {}, at(0)) for number in (1, 2, 3, 4, 5)]
    assert [one and one.not_before for one in found] == [at(15), at(45), at(120), at(120), None]
    assert found[1] == plan.Again(
        "A service or share that it needs was away. It is run again by itself at 2026-01-31 12:45 UTC (2 of 4 times).",
        {},
        at(45),
    )


# --- where it is set -------------------------------------------------------------------------------------------------


def job_type(name: str, inherits: str | None = None, **retries: Retry) -> JobType:
    return JobType(name, "", inherits, {}, retries)


def test_each_cause_is_taken_from_the_job_type_its_parents_or_the_default() -> None:
    one, two, three = Retry(1), Retry(2), Retry(3)
    presets = Presets(
        {
            "default": job_type("default", node_failed=one, preempted=one, not_launched=one),
            "ephys": job_type("ephys", preempted=two, node_failed=two),
            "ecephys": job_type("ecephys", "ephys", preempted=three),
        },
        {},
    )
    assert retries_of("ecephys", presets) == {"preempted": three, "node_failed": two, "not_launched": one}
    assert retries_of("custom", presets) == {}


def loaded(folder: Path, text: str) -> Presets:
    (folder / "x.yaml").write_text(text)
    return load_folder(folder, {}, ())


def test_retries_are_read_with_a_number_or_with_their_limits(tmp_path: Path) -> None:
    text = """
retries:
  node_failed: 2
  preempted: {times: 5}
  out_of_memory: {at_most: 64G}
  timeout: {times: 3, factor: 1.5, at_most: 1-00:00:00}
  service_away: {times: 4, wait: 5, factor: 3, at_most: 0-12:00:00}
"""
    presets = loaded(tmp_path, text)
    assert presets.broken == {}
    assert presets.job_types["x"].retries == {
        "node_failed": Retry(2),
        "preempted": Retry(5),
        "out_of_memory": Retry(1, 2.0, "64G"),
        "timeout": Retry(3, 1.5, "1-00:00:00"),
        "service_away": Retry(4, 3.0, "0-12:00:00", 5),
    }


@pytest.mark.parametrize(("line", "times"), [("3", 3), ("{times: 2}", 2), ("0", 0)])
def test_of_a_service_that_is_away_how_often_is_enough_to_say(tmp_path: Path, line: str, times: int) -> None:
    found = loaded(tmp_path, f"retries:\n  service_away: {line}\n").job_types["x"].retries
    assert found == {"service_away": Retry(times, 2.0, 240, 15)}
    again = plan.again(found, AWAY, [AWAY], {}, at(0))
    assert (again and again.not_before) == (at(15) if times else None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("failed: 1", "line 2: failed is never run again; known are out_of_memory, timeout, node_failed, preempted,"),
        ("cancelled: 1", "cancelled is never run again"),
        ("node_failed: often", "times of node_failed is text; write how often, 0 to 20"),
        ("node_failed: 21", "times of node_failed is a number; write how often, 0 to 20"),
        ("node_failed: {factor: 2}", "factor is not known for node_failed; known are times"),
        ("out_of_memory: 2", "out_of_memory has no at_most: write how much memory a task may ask for in the end"),
        ("timeout: {at_most: soon}", "at_most of timeout is no length of time"),
        ("timeout: {at_most: UNLIMITED}", "at_most of timeout has to be more than nothing, and to have an end"),
        ("out_of_memory: {at_most: 0}", "at_most of out_of_memory has to be more than nothing"),
        ("out_of_memory: {factor: 1, at_most: 1G}", "factor of out_of_memory is no number above 1, and 16 at most"),
        ("timeout: {wait: 5, at_most: 9}", "wait is not known for timeout; known are times, factor, at_most"),
        ("service_away: {delay: 5}", "delay is not known for service_away; known are times, wait, factor, at_most"),
        ("service_away: {wait: soon}", "wait of service_away is no length of time"),
        ("service_away: {wait: '0:00'}", "wait of service_away has to be more than nothing, and a day"),
        ("service_away: {at_most: 2-00:00:00}", "at_most of service_away has to be more than nothing, and a day"),
    ],
)
def test_what_is_wrong_with_retries_is_told_when_the_preset_is_read(tmp_path: Path, line: str, words: str) -> None:
    assert words in loaded(tmp_path, f"retries:\n  {line}\n").broken["x"]


def test_the_shipped_job_types_are_run_again_after_what_a_cluster_does_and_when_a_service_was_away(
    tmp_path: Path,
) -> None:
    shipped = load_folder(Path(__file__).parent.parent / "config" / "job_types", plan.task_ids(), ("ecephys",))
    assert set(retries_of("default", shipped)) == {
        "out_of_memory", "timeout", "node_failed", "preempted", "not_launched", "service_away",
    }  # fmt: skip


def test_the_documented_retries_are_those_that_are_shipped(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    example = (root / "docs" / "retries.md").read_text().split("```")[1].removeprefix("yaml\n")
    shipped = load_folder(root / "config" / "job_types", plan.task_ids(), ("ecephys",))
    assert loaded(tmp_path, example).job_types["x"].retries == shipped.job_types["default"].retries


def test_a_plan_keeps_its_retries() -> None:
    made = replace(a_plan("x"), retries=POLICY)
    assert plan.from_json(plan.to_json(made)) == made
    assert "retries" not in plan.to_json(a_plan("x"))


# --- what the ledger does --------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "state" / "ledger.sqlite", tmp_path / "work", at(0))
    yield opened
    opened.close()


def accepted_job(ledger: Ledger, **retries: Retry) -> str:
    """Accept a job with these retries, and run its light tasks."""
    made = replace(a_plan("x", TASKS), retries=retries or POLICY)
    ledger.accept(a_drop("m.csv"), [(a_job("x", email_types=frozenset({"all"})), made)], [], at(0))
    (job,) = ledger.jobs()
    (light,) = hand_over(ledger, job.job_id, at(1))
    see(ledger, light, TaskState.SUCCEEDED, at(1), at(2))
    return job.job_id


def ended(
    attempt: Attempt, cause: Cause | None, state: TaskState = TaskState.FAILED, facts: AttemptFacts | None = None
) -> Observation:
    tasks = (TaskObservation(attempt.tasks[0].key, state, ended=at(3), message="It ended."),)
    return Observation(attempt, True, AttemptState.LOST, tasks, "It ended.", cause=cause, facts=facts)


def the_job(ledger: Ledger) -> JobStanding:
    (job,) = ledger.jobs()
    return job


def compress(ledger: Ledger, name: str = "ecephys") -> tuple[str, int, str | None]:
    task = next(task for task in the_job(ledger).tasks if task.key == f"compress_data[{name}]")
    return task.state.value, task.attempt, task.message


def mails(ledger: Ledger) -> list[str]:
    return [due.mail.kind for due in ledger.due_mails(at(60))]


def test_what_ran_out_of_memory_is_run_again_with_more_until_the_limit(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    _, first = hand_over(ledger, job_id, at(2))
    ledger.observed([ended(first, OOM)], at(3))
    assert compress(ledger) == (
        "waiting",
        1,
        "It used more memory than it had asked for. It is run again with 8192M of memory (1 of 2 times).",
    )
    (second,) = hand_over(ledger, job_id, at(4))
    assert (second.number, second.resources) == (2, {"memory": "8192M"})
    assert second.key != first.key
    ledger.observed([ended(second, OOM)], at(5))
    (third,) = hand_over(ledger, job_id, at(6))
    assert third.resources == {"memory": "16384M"}
    ledger.observed([ended(third, OOM)], at(7))
    assert compress(ledger) == ("failed", 3, "It ended.")
    assert mails(ledger) == ["begin", "retry", "retry"]
    history = ledger.history("task", f"{job_id}/compress_data[ecephys]")
    assert [to for _, to in history] == ["submitted", "failed", "waiting"] * 2 + ["submitted", "failed"]


def test_what_failed_by_its_own_doing_is_not_run_again(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(2))
    ledger.observed([ended(behavior, None), ended(ecephys, None)], at(3))
    assert (compress(ledger)[0], the_job(ledger).state) == ("failed", JobState.FAILED)
    assert ledger.ready(at(60)) == []
    assert mails(ledger) == ["begin", "fail"]


def test_a_job_whose_task_was_run_again_ends_well(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(2))
    see(ledger, behavior, TaskState.SUCCEEDED, at(2), at(3))
    ledger.observed([ended(ecephys, NODE)], at(3))
    assert the_job(ledger).state is JobState.RUNNING
    run_to_its_end(ledger, job_id, at(4))
    assert the_job(ledger).state is JobState.SUCCEEDED
    assert mails(ledger) == ["begin", "retry", "end"]


def test_of_several_tasks_only_those_that_did_not_end_well_are_run_again(ledger: Ledger) -> None:
    made = replace(a_plan("x", TASKS), retries=POLICY)
    ledger.accept(a_drop("m.csv"), [(a_job("x"), made)], [], at(0))
    job_id = the_job(ledger).job_id
    (light,) = hand_over(ledger, job_id, at(1))
    check, staging = (task.key for task in light.tasks)
    tasks = (TaskObservation(check, TaskState.SUCCEEDED, message="ok"), TaskObservation(staging, TaskState.FAILED))
    ledger.observed([Observation(light, True, AttemptState.LOST, tasks, cause=Cause.TIMEOUT)], at(2))
    (again,) = hand_over(ledger, job_id, at(3))
    assert [task.key for task in again.tasks] == [staging]
    assert again.resources == {"time": 2880}


def test_a_task_that_was_not_reached_is_reached_the_next_time(ledger: Ledger) -> None:
    made = replace(a_plan("x", TASKS), retries=POLICY)
    ledger.accept(a_drop("m.csv"), [(a_job("x"), made)], [], at(0))
    job_id = the_job(ledger).job_id
    (light,) = hand_over(ledger, job_id, at(1))
    tasks = (TaskObservation(light.tasks[0].key, TaskState.FAILED, message="Its node failed."),)
    ledger.observed([Observation(light, True, AttemptState.LOST, tasks, cause=NODE)], at(2))
    (again,) = hand_over(ledger, job_id, at(3))
    assert again.tasks == light.tasks
    run_to_its_end(ledger, job_id, at(4))


def test_what_needs_a_task_that_failed_waits_until_it_is_known_that_it_is_not_run_again(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(2))
    see(ledger, behavior, TaskState.SUCCEEDED, at(2), at(3))
    # A task is over a little before its attempt: the two may be seen one after the other, on a cluster minutes apart.
    over = ended(ecephys, AWAY)
    ledger.observed([replace(over, state=AttemptState.RUNNING, cause=None)], at(3))
    assert [task.state.value for task in the_job(ledger).tasks if "upload" in task.key] == ["waiting"]
    ledger.observed([over], at(4))
    assert compress(ledger)[0] == "waiting"
    run_to_its_end(ledger, job_id, at(60))
    assert {task.state.value for task in the_job(ledger).tasks} == {"succeeded", "skipped"}


def test_what_needs_a_task_that_failed_is_not_run_once_its_attempt_is_over(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(2))
    over = ended(ecephys, None)
    ledger.observed([replace(over, state=AttemptState.RUNNING)], at(3))
    see(ledger, behavior, TaskState.SUCCEEDED, at(2), at(4))
    assert [task.state.value for task in the_job(ledger).tasks if "upload" in task.key] == ["waiting"]
    ledger.observed([over], at(5))
    (upload,) = (task for task in the_job(ledger).tasks if "upload" in task.key)
    assert upload.message == "Not run, because compress_data[ecephys] did not end well."
    assert the_job(ledger).state is JobState.FAILED


def test_why_a_task_failed_is_told_as_the_end_of_its_attempt_knows_it(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    _, ecephys = hand_over(ledger, job_id, at(2))
    key = ecephys.tasks[0].key
    killed = TaskObservation(key, TaskState.FAILED, ended=at(3), message="It was ended by signal 9.", exit_code=-9)
    ledger.observed([Observation(ecephys, True, AttemptState.RUNNING, (killed,))], at(3))
    words = replace(killed, message="It used too much memory.")
    ledger.observed([Observation(ecephys, True, AttemptState.ENDED, (words,))], at(4))
    assert compress(ledger) == ("failed", 1, "It used too much memory.")
    ledger.observed(
        [Observation(ecephys, True, AttemptState.RUNNING, (replace(killed, state=TaskState.RUNNING),))], at(5)
    )
    assert compress(ledger) == ("failed", 1, "It used too much memory.")


def test_what_is_to_be_cancelled_is_not_run_again(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(2))
    ledger.cancel(job_id, "Cancelled by somebody.", at(3))
    ledger.observed([ended(behavior, OOM), ended(ecephys, NODE)], at(4))
    assert (ledger.ready(at(60)), ledger.live_attempts()) == ([], [])
    assert the_job(ledger).state is JobState.FAILED


def test_an_order_to_run_again_counts_anew_and_keeps_what_was_given_more_of(ledger: Ledger) -> None:
    job_id = accepted_job(ledger, out_of_memory=Retry(1, 2.0, "64G"))
    behavior, first = hand_over(ledger, job_id, at(2))
    see(ledger, behavior, TaskState.SUCCEEDED, at(2), at(3))
    ledger.observed([ended(first, OOM)], at(3))
    (second,) = hand_over(ledger, job_id, at(4))
    ledger.observed([ended(second, OOM)], at(5))
    assert the_job(ledger).state is JobState.FAILED
    ledger.retry(job_id, None, at(6))
    (third,) = hand_over(ledger, job_id, at(7))
    assert third.resources == {"memory": "8192M"}
    ledger.observed([ended(third, OOM)], at(8))
    (fourth,) = hand_over(ledger, job_id, at(9))
    assert fourth.resources == {"memory": "16384M"}


def test_an_end_that_is_seen_twice_is_run_again_once(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    _, attempt = hand_over(ledger, job_id, at(2))
    ledger.observed([ended(attempt, NODE), ended(attempt, NODE)], at(3))
    ledger.observed([ended(attempt, NODE)], at(3))
    assert compress(ledger)[0] == "waiting"
    assert mails(ledger) == ["begin", "retry"]


def test_every_attempt_stays_in_the_standing_with_what_it_took(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    _, first = hand_over(ledger, job_id, at(2))
    ledger.observed([ended(first, NODE, facts=AttemptFacts("n1", 12.5, 1000, "last words"))], at(3))
    (second,) = hand_over(ledger, job_id, at(4))
    assert second.survivors == (first.folder,)
    ledger.observed([ended(second, None, facts=AttemptFacts("n2", 3.0, None, "it broke"))], at(5))
    task = next(task for task in the_job(ledger).tasks if task.key == "compress_data[ecephys]")
    assert (task.node, task.elapsed_seconds, task.max_rss_bytes, task.log_end) == ("n2", 3.0, None, "it broke")
    assert task.earlier == (EarlierAttempt(1, at(3), NODE, "It ended.", "4712", "n1", 12.5, 1000),)


def test_what_is_ordered_anew_is_not_done_by_an_attempt_from_before_the_order(ledger: Ledger) -> None:
    """It had lost its node, was followed by another, and may have ended well since."""
    job_id = accepted_job(ledger)
    behavior, first = hand_over(ledger, job_id, at(2))
    see(ledger, behavior, TaskState.SUCCEEDED, at(2), at(3))
    ledger.observed([ended(first, NODE)], at(4))
    run_to_its_end(ledger, job_id, at(5))
    ledger.retry(job_id, "compress_data[ecephys]", at(100))
    (third,) = hand_over(ledger, job_id, at(101))
    assert third.survivors == ()
    ledger.observed([ended(third, NODE)], at(102))
    (fourth,) = hand_over(ledger, job_id, at(103))
    assert fourth.survivors == (third.folder,)


# --- a service that was away -----------------------------------------------------------------------------------------


def away(ledger: Ledger, job_id: str, since: float) -> Attempt:
    """Hand over what is ready; the compression of ecephys ends because a service is away."""
    attempt = next(one for one in hand_over(ledger, job_id, at(since)) if one.tasks[0].modality == "ecephys")
    task = TaskObservation(attempt.tasks[0].key, TaskState.FAILED, ended=at(since), message="It is away.", passes=True)
    ledger.observed([Observation(attempt, True, AttemptState.ENDED, (task,), "It is away.", cause=AWAY)], at(since))
    return attempt


def ready_at(ledger: Ledger, *minutes: float) -> list[bool]:
    """Return at which of these times the compression of ecephys is to be handed over."""
    allocation = next(task for task in the_job(ledger).plan.tasks if task.key == "compress_data[ecephys]").allocation
    return [any(part == allocation for _, part in ledger.ready(at(minute))) for minute in minutes]


def test_what_failed_because_a_service_was_away_is_run_again_after_its_wait_and_told_each_time(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    away(ledger, job_id, 10)
    words = "A service or share that it needs was away. It is run again by itself at 2026-01-31 12:25 UTC"
    assert compress(ledger) == ("waiting", 1, f"{words} (1 of 4 times).")
    assert ready_at(ledger, 10, 24.9, 25) == [False, False, True]
    away(ledger, job_id, 30)
    assert ready_at(ledger, 74, 75) == [False, True]
    away(ledger, job_id, 75)
    away(ledger, job_id, 195)
    away(ledger, job_id, 315)
    assert compress(ledger) == ("failed", 5, "It is away.")
    assert ready_at(ledger, 10_000) == [False]
    assert mails(ledger) == ["begin", "retry", "retry", "retry", "retry"]
    task = next(task for task in the_job(ledger).tasks if task.key == "compress_data[ecephys]")
    assert [(one.number, one.cause, one.message) for one in task.earlier] == [
        (number, AWAY, "It is away.") for number in (1, 2, 3, 4)
    ]
    history = ledger.history("task", f"{job_id}/compress_data[ecephys]")
    assert [to for _, to in history] == ["submitted", "failed", "waiting"] * 4 + ["submitted", "failed"]


def test_an_agent_that_starts_anew_goes_on_waiting_for_a_service(tmp_path: Path, ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    attempt = away(ledger, job_id, 10)
    ledger.close()
    again = Ledger.open(tmp_path / "state" / "ledger.sqlite", tmp_path / "work", at(11))
    again.observed([Observation(attempt, True, AttemptState.ENDED, cause=AWAY)], at(12))
    assert ready_at(again, 24, 25) == [False, True]
    assert mails(again) == ["begin", "retry"]
    again.close()


def test_other_tasks_do_not_wait_for_the_service_one_of_them_needs(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(10))
    ledger.observed([ended(behavior, NODE), ended(ecephys, AWAY)], at(10))
    assert [attempt.tasks[0].modality for attempt in hand_over(ledger, job_id, at(11))] == ["behavior"]


def test_what_waits_for_a_service_is_waited_for_though_nobody_takes_what_else_there_is(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = (ledger.submitting(job_id, part, at(10)) for _, part in ledger.ready(at(10)))
    ledger.observed([ended(ecephys, AWAY)], at(10))
    for minute in range(10, 14):
        ledger.not_submitted(behavior, "There is no room.", at(minute))
    for untold in ledger.untold(at(20)):
        ledger.told(untold, at(20))
    for due in ledger.due_mails(at(20)):
        ledger.mailed(due.mail, at(20))
    assert not ledger.is_idle(tries=3)
    ledger.retry(job_id, None, at(14))
    assert [attempt.tasks[0].modality for attempt in hand_over(ledger, job_id, at(15))] == ["ecephys"]


def test_an_order_to_run_again_does_not_wait(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    away(ledger, job_id, 10)
    assert ledger.retry(job_id, None, at(11)) == 1
    assert ready_at(ledger, 11) == [True]
    assert the_job(ledger).state is JobState.RUNNING
    away(ledger, job_id, 12)
    assert str(compress(ledger)[2]).endswith("(2 of 4 times).")
    with pytest.raises(OrderRefused, match="is running; only what failed or was cancelled"):
        ledger.retry(job_id, None, at(60))


def test_a_job_that_waits_for_a_service_is_cancelled_and_run_again_as_any_other(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(10))
    see(ledger, behavior, TaskState.SUCCEEDED, at(10), at(10))
    ledger.observed([ended(ecephys, AWAY)], at(10))
    ledger.cancel(job_id, "Cancelled by somebody.", at(11))
    assert the_job(ledger).state is JobState.CANCELLED
    assert ledger.ready(at(600)) == []
    ledger.retry(job_id, None, at(12))
    assert ready_at(ledger, 12) == [True]


def test_a_wait_that_only_a_wrong_clock_can_have_written_is_no_wait(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    away(ledger, job_id, 3 * 24 * 60)
    assert ready_at(ledger, 10) == [True]
