"""What is run again by itself: read from presets, decided by the plan's retries, carried out by the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filled_ledger import TASKS, a_drop, a_job, a_plan, at, hand_over, run_to_its_end, see

from dropbox_agent import plan
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

OOM, TIMEOUT, NODE = Cause.OUT_OF_MEMORY, Cause.TIMEOUT, Cause.NODE_FAILED
POLICY = {
    "out_of_memory": Retry(2, 2.0, "16G"),
    "timeout": Retry(1, 1.5, "2-00:00:00"),
    "node_failed": Retry(2),
    "preempted": Retry(0),
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
    again = plan.again(POLICY, cause, [cause], asked)
    assert (None if again is None else again.resources) == expected


def test_how_often_is_counted_for_each_cause_alone() -> None:
    assert plan.again(POLICY, NODE, [OOM, NODE, OOM, NODE], {}) is not None
    assert plan.again(POLICY, NODE, [NODE, NODE, NODE], {}) is None
    assert plan.again(POLICY, OOM, [OOM, NODE, OOM], {"memory": 1}) == plan.Again(
        "It used more memory than it had asked for. It is run again with 2M of memory (2 of 2 times).",
        {"memory": "2M"},
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
"""
    presets = loaded(tmp_path, text)
    assert presets.broken == {}
    assert presets.job_types["x"].retries == {
        "node_failed": Retry(2),
        "preempted": Retry(5),
        "out_of_memory": Retry(1, 2.0, "64G"),
        "timeout": Retry(3, 1.5, "1-00:00:00"),
    }


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
    ],
)
def test_what_is_wrong_with_retries_is_told_when_the_preset_is_read(tmp_path: Path, line: str, words: str) -> None:
    assert words in loaded(tmp_path, f"retries:\n  {line}\n").broken["x"]


def test_the_shipped_job_types_are_run_again_after_what_a_cluster_does(tmp_path: Path) -> None:
    shipped = load_folder(Path(__file__).parent.parent / "config" / "job_types", plan.task_ids(), ("ecephys",))
    assert set(retries_of("default", shipped)) == {
        "out_of_memory", "timeout", "node_failed", "preempted", "not_launched",
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
    assert ledger.ready() == []
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


def test_what_is_to_be_cancelled_is_not_run_again(ledger: Ledger) -> None:
    job_id = accepted_job(ledger)
    behavior, ecephys = hand_over(ledger, job_id, at(2))
    ledger.cancel(job_id, "Cancelled by somebody.", at(3))
    ledger.observed([ended(behavior, OOM), ended(ecephys, NODE)], at(4))
    assert (ledger.ready(), ledger.live_attempts()) == ([], [])
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
