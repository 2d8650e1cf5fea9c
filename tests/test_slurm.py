"""The Slurm executor without a cluster: what is asked, how answers are read, and what is concluded from them."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from workspace import wait_for

from dropbox_agent.errors import SubmitFailed
from dropbox_agent.executors.slurm import Asked, JobRequest, SlurmExecutor, SlurmJob, Unanswered, commands, refusals
from dropbox_agent.executors.slurm import states as slurm_states
from dropbox_agent.executors.slurm.jobs import JobRecord, NoAccounting, Partition, Refused, Why
from dropbox_agent.executors.slurm.pace import Pace
from dropbox_agent.model import Attempt, AttemptFolder, Observation, PlannedTask, TaskSettings, slurm_job_id
from dropbox_agent.states import AttemptState, Cause, TaskState

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
KEY = "dbx-abcdefghijklmnopqrst"
POLL, GRACE = 2, 60


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# --- what is asked of sbatch and squeue, and how their answers are read ----------------------------------------------


def test_the_command_that_submits_a_job() -> None:
    request = JobRequest(KEY, "what it is", "#!/bin/sh\n", Path("/work/a/wrapper.log"), {"time": 5, "memory": 1})
    assert commands.sbatch(request) == [
        "sbatch",
        "--parsable",
        "--mem=1M",
        "--time=5",
        f"--job-name={KEY}",
        "--comment=what it is",
        "--no-requeue",
        "--export=NONE",
        "--chdir=/",
        "--open-mode=append",
        "--output=/work/a/wrapper.log",
    ]


def test_a_comment_is_cut_where_slurm_would_refuse_it() -> None:
    request = JobRequest(KEY, "ü" * 1000, "", Path("/log"))
    (comment,) = [word for word in commands.sbatch(request) if word.startswith("--comment=")]
    assert comment == "--comment=" + "ü" * 512


@pytest.mark.parametrize(
    ("path", "pattern"),
    [("/a/100%/x.log", "/a/100%%/x.log"), ("/a/100%j\\b/x.log", "/a/100%j\\\\b/x.log"), ("/a b/x", "/a b/x")],
)
def test_the_path_of_a_log_is_taken_as_it_is(path: str, pattern: str) -> None:
    assert commands.file_pattern(Path(path)) == pattern


@pytest.mark.parametrize(("output", "job_id"), [("4711\n", "4711"), ("sbatch: hello\n12;cluster\n", "12")])
def test_the_job_id_is_read_from_what_sbatch_prints(output: str, job_id: str) -> None:
    assert commands.job_id_in(output) == job_id


def test_without_a_job_id_nobody_knows_whether_a_job_was_taken() -> None:
    with pytest.raises(Refused) as refused:
        commands.job_id_in("Submitted batch job 12\n")
    assert refused.value.why is Why.UNSURE


def test_the_jobs_are_read_from_what_squeue_prints() -> None:
    output = """\
17_[0-9%2]|17|17|0-9%2|PENDING|Resources||UNLIMITED|name|with|strokes
18|18|18|N/A|RUNNING|None|n[1-2]|1-02:03:04|dbx-a
not a line of squeue
19|19|19|N/A|PENDING|ReqNodeNotAvail, UnavailableNodes:n1||1:30|dbx-b
"""
    assert commands.jobs_in(output) == [
        SlurmJob("17", "name|with|strokes", "PENDING", "Resources", ""),
        SlurmJob("18", "dbx-a", "RUNNING", "None", "n[1-2]", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        SlurmJob("19", "dbx-b", "PENDING", "ReqNodeNotAvail, UnavailableNodes:n1", "", timedelta(seconds=90)),
    ]


def test_the_records_are_read_from_what_sacct_prints() -> None:
    output = """\
17|CANCELLED by 0|0:0|None assigned|0||2026-01-31T12:00:00|dbx-a
18|FAILED|0:9|n1|65||Unknown|dbx|b
18.batch|FAILED|0:9|n1|65|432120K|2026-01-31T12:00:00|batch
18.0|FAILED|0:9|n1|65|1.5M|2026-01-31T12:00:00|true
17|CANCELLED by 999999|0:15|n2|9||2026-01-31T13:00:00|dbx-c
not a line of sacct
"""
    ended = datetime(2026, 1, 31, 12).astimezone()
    assert commands.records_in(output) == [
        JobRecord("17", "dbx-a", "CANCELLED", "", 0, 0, 0, None, "root", ended),
        JobRecord("18", "dbx|b", "FAILED", "n1", 0, 9, 65, 432120 * 1024, None, None),
        JobRecord("17", "dbx-c", "CANCELLED", "n2", 0, 15, 9, None, "999999", ended + timedelta(hours=1)),
    ]


def test_the_partitions_are_read_from_what_sinfo_prints() -> None:
    assert commands.partitions_in("main*|up\ndown|down\n\n") == [
        Partition("main", True, True),
        Partition("down", False),
    ]


def test_slurm_is_asked_for_text_and_for_the_jobs_of_this_account_only() -> None:
    assert commands.squeue() == ["squeue", "--me", "-h", "-t", "all", "-o", "%i|%A|%F|%K|%T|%r|%N|%l|%j"]


def test_jobs_are_ended_by_name_never_by_a_number_that_may_be_anothers() -> None:
    assert commands.scancel(KEY, hard=False) == ["scancel", "--me", f"--name={KEY}"]
    assert commands.scancel(KEY, hard=True) == ["scancel", "--me", f"--name={KEY}", "--full", "--signal=KILL"]


# What sbatch 22.05 says. The exit code is 1 but for options it does not understand.
REFUSALS: list[tuple[str, int, Why]] = [
    ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", 1, Why.UNSURE),
    ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", 1, Why.UNSURE),
    ("something nobody has ever seen", 1, Why.UNSURE),
    ("", -9, Why.UNSURE),
    ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", 1,
     Why.UNREACHABLE),
    ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", 1, Why.UNREACHABLE),
    ("sbatch: error: If munged is up, restart with --num-threads=10\nsbatch: error: Munge encode failed: Failed to"
     ' access "/run/munge.socket.2": No such file or directory', 1, Why.UNREACHABLE),
    ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS"
     " policy (job submit limit, user's size and/or time limits)", 1, Why.FULL),
    ("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates"
     " accounting/QOS policy (job submit limit, user's size and/or time limits)", 1, Why.FULL),
    ("sbatch: error: QOSMaxCpuPerJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS"
     " policy (job submit limit, user's size and/or time limits)", 1, Why.NEVER),
    ("sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition"
     " name specified", 1, Why.NEVER),
    ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified", 1,
     Why.NEVER),
    ("sbatch: error: Batch job submission failed: Invalid qos specification", 1, Why.NEVER),
    ("sbatch: error: CPU count per node can not be satisfied\nsbatch: error: Batch job submission failed: Requested"
     " node configuration is not available", 1, Why.NEVER),
    ("sbatch: error: Invalid generic resource (gres) specification", 1, Why.NEVER),
    ("sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", 1, Why.NEVER),
    ("sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information", 255, Why.NEVER),
]  # fmt: skip


@pytest.mark.parametrize(("stderr", "code", "why"), REFUSALS)
def test_why_a_job_was_not_taken(stderr: str, code: int, why: Why) -> None:
    assert refusals.why_refused(code, stderr) is why


def test_slurms_own_words_are_kept_and_its_prefixes_are_not() -> None:
    stderr = "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid x\n\n"
    assert refusals.own_words(stderr) == "invalid partition specified: x; Batch job submission failed: Invalid x"
    assert refusals.own_words("") == "it gave no reason"


# --- states and reasons ----------------------------------------------------------------------------------------------


def a_job(
    state: str = "PENDING", reason: str = "None", nodes: str = "", job_id: str = "7", name: str = KEY
) -> SlurmJob:
    return SlurmJob(job_id, name, state, reason, nodes)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (a_job(reason="Resources"), "It waits for a free node."),
        (a_job(reason="ReqNodeNotAvail, UnavailableNodes:n1"), "The nodes it asks for are not available now."),
        (a_job(reason="PartitionConfig"),
         "It cannot start as it is: it asks for more than any node of its partition has."),
        (a_job(reason="PartitionTimeLimit"),
         "It cannot start as it is: it asks for more time than its partition gives."),
        (a_job(reason="PartitionDown"),
         "It cannot start as it is: its partition is down. It starts once the partition is up."),
        (a_job(reason="launch failed requeued held"), "It could not be started on its node and is held; an operator has"
         " to release it with scontrol release 7."),
        (a_job(reason="launch_failed_requeued_held"), "It could not be started on its node and is held; an operator has"
         " to release it with scontrol release 7."),
        (a_job(reason="QOSMaxCpuPerUserLimit"),
         "It waits because this account's share of its QOS is in use (QOSMaxCpuPerUserLimit)."),
        (a_job(reason="QOSGrpNodeLimit"), "It waits because a limit of its QOS is reached (QOSGrpNodeLimit)."),
        (a_job(reason="AssocGrpMemLimit"), "It waits because a limit of its account is reached (AssocGrpMemLimit)."),
        (a_job(reason="QOSMaxWallDurationPerJobLimit"), "It cannot start as it is: it asks for more than its QOS or"
         " account gives one job (QOSMaxWallDurationPerJobLimit)."),
        (a_job(reason="AssocMaxCpuPerJobLimit"), "It cannot start as it is: it asks for more than its QOS or"
         " account gives one job (AssocMaxCpuPerJobLimit)."),
        (a_job(reason="AssocGrpCPUMinutesLimit"), "It cannot start as it is: what its QOS or account was given to"
         " use is used up (AssocGrpCPUMinutesLimit)."),
        (a_job(reason="AssocGrpCPURunMinutesLimit"),
         "It waits because a limit of its account is reached (AssocGrpCPURunMinutesLimit)."),
        (a_job(reason="QOSMaxJobsPerUserLimit"),
         "It waits because this account's share of its QOS is in use (QOSMaxJobsPerUserLimit)."),
        (a_job(reason="Something<New>{0}"), "It waits in the queue (SomethingNew0)."),
        (a_job("RUNNING", nodes="n1"), None),
        (a_job("SUSPENDED"), "It is suspended; Slurm or an operator resumes it."),
        (a_job("FAILED", "NonZeroExitCode"), "Slurm says it failed (NonZeroExitCode), and it left no end record."),
        (a_job("FAILED", "JobLaunchFailure", "n2"), "Slurm could not start it: on n2 its log could not be opened, or"
         " its account is not known. The work folder (work_dir in agent.yaml) must be reachable from every node."),
        (a_job("NODE_FAIL", nodes="n3"), "Its node n3 failed."),
        (a_job("CANCELLED"), "It was cancelled in Slurm."),
        (a_job("DREAMING"), "Slurm says DREAMING, which this program does not know; it is kept and looked at again."),
    ],
)  # fmt: skip
def test_each_state_and_reason_has_its_sentence(job: SlurmJob, words: str | None) -> None:
    assert slurm_states.sentence(job) == words


def test_every_state_of_slurm_is_in_the_table() -> None:
    """As squeue(1) lists them."""
    listed = """
    BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY
    PENDING PREEMPTED RECONFIG_FAIL RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED SIGNALING
    SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED TIMEOUT"""
    assert set(slurm_states.STATES) == set(listed.split())


def test_no_sentence_breaks_on_what_slurm_calls_things() -> None:
    for state in [*slurm_states.STATES, "OTHER"]:
        for reason in [*slurm_states.REASONS, "{x}", "%s", ""]:
            assert "{" not in (slurm_states.sentence(a_job(state, reason, "{n}")) or "")


# --- the executor ----------------------------------------------------------------------------------------------------


@dataclass
class Script:
    """A cluster that answers what it is told to answer."""

    jobs_there: Sequence[SlurmJob] = ()
    answers: bool = True
    refuses: Refused | None = None
    submitted: list[JobRequest] = field(default_factory=list)
    cancelled: list[tuple[str, bool]] = field(default_factory=list)
    asked: int = 0
    accounts: Sequence[JobRecord] | None = None
    looked_up: list[list[str]] = field(default_factory=list)

    def submit(self, request: JobRequest) -> str:
        if self.refuses is not None:
            raise self.refuses
        self.submitted.append(request)
        return str(100 + len(self.submitted))

    def jobs(self) -> list[SlurmJob]:
        self.asked += 1
        if not self.answers:
            raise Unanswered("Unable to contact slurm controller (connect failure)")
        return list(self.jobs_there)

    def cancel(self, name: str, hard: bool) -> None:
        if not self.answers:
            raise Unanswered("Unable to contact slurm controller (connect failure)")
        self.cancelled.append((name, hard))

    def records(self, names: Collection[str], since: datetime) -> list[JobRecord]:
        self.looked_up.append(sorted(names))
        if self.accounts is None:
            raise NoAccounting("Slurm accounting storage is disabled")
        return [record for record in self.accounts if record.name in names]

    def partitions(self) -> list[Partition]:
        return []

    def qualities(self) -> list[str]:
        return []


def on(cluster: Script, **changes: Any) -> SlurmExecutor:
    settings: dict[str, Any] = {
        "slots": 100,
        "python": "/usr/bin/python3",
        "poll_seconds": POLL,
        "grace_seconds": GRACE,
        "patience_seconds": 20,
    }
    return SlurmExecutor(cluster, **{**settings, **changes})


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """An attempt of two tasks whose intent is written down; its run folder is made."""
    return an_attempt(tmp_path, KEY)


def an_attempt(folder: Path, key: str, **settings: Any) -> Attempt:
    run_folder = folder / "work" / "job" / "attempts" / key
    run_folder.mkdir(parents=True)
    tasks = tuple(
        PlannedTask(name, name, None, needs, 1, None, settings, {}) for name, needs in (("one", ()), ("two", ("one",)))
    )
    return Attempt(key, "job", 1, 1, AttemptState.SUBMITTING, run_folder, tasks)


def handed_over(attempt: Attempt, job_id: str = "7", **changes: Any) -> Attempt:
    handle = f"slurm:{job_id}:{attempt.key}"
    return replace(attempt, **{"state": AttemptState.SUBMITTED, "handle": handle, **changes})


def started(attempt: Attempt, *ended: str, whole: bool = False, **changes: Any) -> Attempt:
    """Leave what a wrapper leaves: the token, the start record of each task, the end records of some."""
    folder = AttemptFolder(attempt.folder)
    folder.token.mkdir(exist_ok=True)
    (folder.token / "owner.json").write_text(json.dumps({"slurm_job_id": "7"}))
    for key, state in zip(("one", "two"), ended, strict=False):
        folder.started(key).write_text(json.dumps({"started": NOW.isoformat()}))
        if state != "running":
            folder.ended(key).write_text(json.dumps({"state": state, "message": f"{key} {state}", "exit_code": 0}))
    if whole:
        folder.end.write_text("{}")
    return replace(attempt, **{"state": AttemptState.RUNNING, **changes})


def one(found: list[Observation]) -> tuple[bool, AttemptState, dict[str, tuple[TaskState, str | None]], str | None]:
    (seen,) = found
    return seen.seen, seen.state, {task.key: (task.state, task.message) for task in seen.tasks}, seen.text


def settings_of(attempt: Attempt) -> dict[str, TaskSettings]:
    facts: dict[str, Any] = {"job_id": "job", "job_type": "x", "project_name": "p", "subject_id": "1", "platform": None}
    more = {"acq_datetime": NOW, "modalities": [], "s3_prefix": "1", "bucket": "file:///b", "sources": {}}
    return {
        task.key: TaskSettings(
            task_id=task.key, key=task.key, run_folder=attempt.folder, attempt_key=attempt.key, **facts, **more
        )
        for task in attempt.tasks
    }


def test_an_attempt_is_submitted_under_its_key_with_what_the_site_and_the_task_ask_for(tmp_path: Path) -> None:
    resources = {"partition": "gpu", "memory": "4G", "environment": {"THREADS": 8}}
    attempt = an_attempt(tmp_path / "a b", KEY, image_resources=resources)
    cluster = Script()
    handle = on(cluster, asked=Asked("main", "lab", None)).submit(attempt, settings_of(attempt))
    assert (handle, slurm_job_id(handle)) == (f"slurm:101:{KEY}", "101")
    folder = AttemptFolder(attempt.folder)
    assert cluster.submitted == [
        JobRequest(
            name=KEY,
            comment=f"{KEY} job one two",
            script=f"#!/bin/sh\nexec /usr/bin/python3 -I '{folder.wrapper}' '{folder.allocation}'\n",
            log=folder.wrapper_log,
            resources={"partition": "gpu", "account": "lab", "memory": "4G", "environment": {"THREADS": 8}},
        )
    ]
    allocation = json.loads(folder.allocation.read_text())
    assert allocation["tasks"][0]["argv"][0] == "/usr/bin/python3"
    assert "SLURM" in allocation["inherits"]
    assert allocation["environment"] == {
        "LANG": "C.UTF-8",
        "THREADS": "8",
        "DROPBOX_AGENT_VARIABLES": "THREADS",
        "DROPBOX_AGENT_ATTEMPT": KEY,
    }


def test_a_job_that_waits_is_told_with_its_reason_and_takes_its_id(attempt: Attempt) -> None:
    executor = on(Script([a_job(reason="Resources")]))
    (seen,) = executor.observe([attempt], NOW)
    assert (seen.seen, seen.state, seen.text, seen.waits) == (
        True, AttemptState.SUBMITTED, "It waits for a free node.", True,
    )  # fmt: skip
    assert seen.handle == f"slurm:7:{KEY}"


def test_what_cannot_start_is_something_to_act_on(attempt: Attempt) -> None:
    (seen,) = on(Script([a_job(reason="PartitionConfig")])).observe([handed_over(attempt)], NOW)
    assert (seen.state, seen.waits) == (AttemptState.SUBMITTED, False)


def test_a_job_that_has_a_node_and_no_token_yet_starts(attempt: Attempt) -> None:
    executor = on(Script([a_job("RUNNING", nodes="n2")]))
    assert one(executor.observe([handed_over(attempt)], NOW)) == (True, AttemptState.SUBMITTED, {}, "It starts on n2.")


def test_end_records_decide_and_nobody_is_asked(attempt: Attempt) -> None:
    cluster = Script(answers=False)
    ran = started(attempt, "succeeded", "succeeded", whole=True)
    assert one(on(cluster).observe([ran], NOW)) == (
        True,
        AttemptState.ENDED,
        {"one": (TaskState.SUCCEEDED, "one succeeded"), "two": (TaskState.SUCCEEDED, "two succeeded")},
        None,
    )
    assert cluster.asked == 0


@pytest.mark.parametrize("answers", [True, False])
def test_the_end_record_says_that_a_service_was_away_whatever_slurm_says(attempt: Attempt, answers: bool) -> None:
    ran = handed_over(started(attempt, "succeeded", "failed", whole=True))
    record = {"state": "failed", "message": "It is away.", "exit_code": 1, "facts": {"passes": True}}
    AttemptFolder(attempt.folder).ended("two").write_text(json.dumps(record))
    executor = on(Script([a_job("FAILED", nodes="n1")], answers=answers))
    for seconds in (0, 60):
        (seen,) = executor.observe([ran], later(seconds))
        assert (seen.state, seen.cause, seen.text) == (AttemptState.ENDED, Cause.SERVICE_AWAY, "It is away.")


def test_an_attempt_whose_handle_was_never_recorded_is_known_by_who_took_its_token(attempt: Attempt) -> None:
    (seen,) = on(Script()).observe([started(attempt, "succeeded", "succeeded", whole=True)], NOW)
    assert seen.handle == f"slurm:7:{KEY}"


def test_between_two_answers_the_records_still_count(attempt: Attempt) -> None:
    cluster = Script([a_job("RUNNING", nodes="n1")])
    executor = on(cluster)
    ran = handed_over(started(attempt, "running"))
    executor.observe([ran], NOW)
    started(attempt, "succeeded", "running")
    (seen,) = executor.observe([ran], later(0.2))
    assert {task.key: task.state for task in seen.tasks} == {"one": TaskState.SUCCEEDED, "two": TaskState.RUNNING}
    assert cluster.asked == 1


def test_no_news_is_no_observation(attempt: Attempt) -> None:
    executor = on(Script([a_job(reason="Priority")]))
    assert len(executor.observe([handed_over(attempt)], NOW)) == 1
    assert executor.observe([handed_over(attempt)], later(0.2)) == []


def test_slurm_is_asked_ever_less_often_while_nothing_happens(attempt: Attempt) -> None:
    cluster = Script([a_job(reason="Priority")])
    executor = on(cluster)
    asked = []
    for second in range(200):
        before = cluster.asked
        executor.observe([handed_over(attempt)], later(second))
        asked += [second] if cluster.asked > before else []
    assert asked == [0, 2, 5, 10, 17, 28, 44, 67, 97, 127, 157, 187]
    cluster.jobs_there = [a_job("RUNNING", nodes="n1")]
    executor.observe([handed_over(attempt)], later(217))
    executor.observe([handed_over(attempt)], later(219))
    assert cluster.asked == 14


def test_a_clock_that_goes_back_does_not_keep_slurm_from_being_asked(attempt: Attempt) -> None:
    cluster = Script([a_job()])
    executor = on(cluster)
    executor.observe([handed_over(attempt)], NOW)
    executor.observe([handed_over(attempt)], later(-3600))
    assert cluster.asked == 2


def test_without_an_answer_nothing_is_concluded_and_the_operator_is_told(attempt: Attempt) -> None:
    cluster = Script(answers=False)
    executor = on(cluster)
    assert executor.observe([handed_over(attempt)], NOW) == []
    assert executor.trouble == (
        "Slurm does not say which jobs there are: Unable to contact slurm controller (connect failure). What runs goes"
        " on; it is asked again."
    )
    cluster.answers, cluster.jobs_there = True, [a_job(reason="Resources")]
    assert len(executor.observe([handed_over(attempt)], later(60))) == 1
    assert executor.trouble is None


def test_a_job_of_the_same_id_and_another_name_is_another_job(attempt: Attempt) -> None:
    executor = on(Script([a_job("RUNNING", nodes="n1", job_id="7", name="dbx-other")]))
    assert one(executor.observe([handed_over(attempt, "7")], NOW))[0] is False


def test_a_job_of_the_same_name_and_another_id_is_the_attempts_own(attempt: Attempt) -> None:
    executor = on(Script([a_job("PENDING", job_id="9")]))
    (seen,) = executor.observe([handed_over(attempt, "7")], NOW)
    assert (seen.seen, seen.handle) == (True, f"slurm:9:{KEY}")


def test_of_two_jobs_of_one_attempt_the_one_that_lives_counts(attempt: Attempt) -> None:
    """The copy that found the start token taken has failed with 75; the other one runs."""
    executor = on(Script([a_job("FAILED", "NonZeroExitCode", "n1", "9"), a_job("RUNNING", nodes="n2", job_id="7")]))
    (seen,) = executor.observe([handed_over(started(attempt, "running"), "9")], NOW)
    assert (seen.seen, seen.state, seen.handle) == (True, AttemptState.RUNNING, f"slurm:7:{KEY}")


def test_a_state_nobody_knows_is_kept_and_shown(attempt: Attempt) -> None:
    executor = on(Script([a_job("DREAMING")]))
    seen, state, _, text = one(executor.observe([handed_over(attempt)], NOW))
    assert (seen, state) == (True, AttemptState.SUBMITTED)
    assert text == "Slurm says DREAMING, which this program does not know; it is kept and looked at again."


def test_a_suspended_job_says_so_until_it_goes_on(attempt: Attempt) -> None:
    cluster = Script([a_job("SUSPENDED", nodes="n1")])
    executor = on(cluster)
    ran = handed_over(started(attempt, "running"), state=AttemptState.RUNNING)
    texts = [one(executor.observe([ran], later(second)))[3] for second in (0, 1)]
    cluster.jobs_there = [a_job("RUNNING", nodes="n1")]
    assert [*texts, one(executor.observe([ran], later(9)))[3]] == [
        "It is suspended; Slurm or an operator resumes it.",
        "It is suspended; Slurm or an operator resumes it.",
        None,
    ]


# --- what is missing -------------------------------------------------------------------------------------------------


def test_an_attempt_that_may_have_been_submitted_is_repeated_only_after_a_recorded_grace(attempt: Attempt) -> None:
    executor = on(Script())
    assert one(executor.observe([attempt], NOW))[0] is False
    missing = replace(attempt, first_missing_at=NOW)
    assert not executor.may_repeat(missing, NOW)
    executor.observe([missing], later(GRACE - 1))
    assert not executor.may_repeat(missing, later(GRACE - 1))
    executor.observe([missing], later(GRACE + 1))
    assert executor.may_repeat(missing, later(GRACE + 1))


def test_the_grace_needs_an_answer_at_its_end_too(attempt: Attempt) -> None:
    cluster = Script(answers=False)
    missing = replace(attempt, first_missing_at=NOW)
    executor = on(cluster)
    executor.observe([missing], later(1000))
    assert not executor.may_repeat(missing, later(1000))
    cluster.answers = True
    executor.observe([missing], later(2000))
    assert executor.may_repeat(missing, later(2000))


def test_an_attempt_that_took_its_token_is_never_repeated(attempt: Attempt) -> None:
    executor = on(Script())
    missing = replace(started(attempt, "running"), state=AttemptState.SUBMITTED, first_missing_at=NOW)
    executor.observe([missing], later(1))
    executor.observe([missing], later(GRACE))
    assert not executor.may_repeat(missing, later(GRACE))


def test_an_attempt_without_a_run_folder_yet_may_be_repeated(attempt: Attempt) -> None:
    attempt.folder.rmdir()
    executor = on(Script())
    assert one(executor.observe([attempt], NOW))[0] is False
    missing = replace(attempt, first_missing_at=NOW)
    executor.observe([missing], later(GRACE))
    assert executor.may_repeat(missing, later(GRACE))


def test_what_ran_and_left_no_record_is_lost_after_the_grace(attempt: Attempt) -> None:
    executor = on(Script())
    ran = handed_over(started(attempt, "succeeded", "running"), state=AttemptState.RUNNING)
    seen, state, _, text = one(executor.observe([ran], NOW))
    assert (seen, state) == (False, AttemptState.RUNNING)
    assert text == (
        "Slurm does not know it any more, and it left no end record. Waiting for an end record until 12:01:00 UTC."
    )
    gone = replace(ran, first_missing_at=NOW)
    assert executor.observe([gone], later(1)) == []
    seen, state, tasks, text = one(executor.observe([gone], later(GRACE)))
    assert (seen, state) == (True, AttemptState.LOST)
    assert tasks == {"one": (TaskState.SUCCEEDED, "one succeeded"), "two": (TaskState.FAILED, text)}
    assert text is not None and text.endswith(f"See {attempt.folder}/wrapper.log.")


def test_a_record_that_comes_within_the_grace_is_the_end(attempt: Attempt) -> None:
    executor = on(Script([a_job("NODE_FAIL", nodes="n1")]))
    ran = handed_over(started(attempt, "running"), state=AttemptState.RUNNING)
    assert one(executor.observe([ran], NOW))[3] == ("Its node n1 failed. Waiting for an end record until 12:05:00 UTC.")
    started(attempt, "succeeded", "succeeded", whole=True)
    assert one(executor.observe([replace(ran, first_missing_at=NOW)], later(200)))[1] is AttemptState.ENDED


def test_a_run_folder_whose_share_is_away_says_nothing(attempt: Attempt) -> None:
    work = attempt.folder.parent.parent.parent
    work.rename(work.with_name("away"))
    executor = on(Script([a_job("COMPLETED", nodes="n1")]))
    ran = handed_over(attempt, state=AttemptState.RUNNING, first_missing_at=NOW)
    seen, state, _, text = one(executor.observe([ran], later(10_000)))
    assert (seen, state) == (True, AttemptState.RUNNING)
    assert text is not None and "does not answer" in text


def test_an_attempt_whose_run_folder_was_taken_away_is_lost_an_hour_after_slurm_ended_it(attempt: Attempt) -> None:
    attempt.folder.rmdir()
    cluster = Script([a_job("RUNNING", nodes="n1")])
    executor = on(cluster)
    ran = handed_over(attempt, state=AttemptState.RUNNING)
    assert one(executor.observe([replace(ran, first_missing_at=NOW)], later(9000)))[:2] == (True, AttemptState.RUNNING)
    cluster.jobs_there = []
    seen, state, _, text = one(executor.observe([ran], later(9010)))
    assert (seen, state) == (False, AttemptState.RUNNING)
    assert text is not None and "does not answer" in text
    missing = replace(ran, first_missing_at=later(9010))
    assert one(executor.observe([missing], later(9010 + 3599)))[0] is False
    assert not executor.may_repeat(missing, later(9010 + 3599))
    seen, state, tasks, _ = one(executor.observe([missing], later(9010 + 3700)))
    assert (seen, state) == (True, AttemptState.LOST)
    assert tasks == {"one": (TaskState.FAILED, f"Its run folder {attempt.folder} was taken away.")}


@pytest.mark.parametrize(
    ("job", "ends_as", "words"),
    [
        (a_job("CANCELLED"), TaskState.CANCELLED, "It was cancelled in Slurm."),
        (a_job("FAILED", "BadConstraints"), TaskState.FAILED, "It cannot start as it is: no node is as it asks for."),
        (a_job("DEADLINE"), TaskState.FAILED, "It could not end before its deadline (deadline in image_resources)."),
    ],
)
def test_a_job_that_ended_before_it_had_a_node_has_ended_at_once(
    attempt: Attempt, job: SlurmJob, ends_as: TaskState, words: str
) -> None:
    executor = on(Script([job]))
    assert one(executor.observe([handed_over(attempt)], NOW)) == (
        True, AttemptState.LOST, {"one": (ends_as, words)}, words,
    )  # fmt: skip
    assert AttemptFolder(attempt.folder).token.is_dir(), "a late copy would run"


def test_a_job_that_could_not_be_launched_is_told_after_the_grace(attempt: Attempt) -> None:
    executor = on(Script([a_job("FAILED", "JobLaunchFailure", "n1")]))
    assert one(executor.observe([handed_over(attempt)], NOW))[0] is False
    _, state, tasks, _ = one(executor.observe([handed_over(attempt, first_missing_at=NOW)], later(GRACE)))
    assert (state, tasks["one"][0]) == (AttemptState.LOST, TaskState.FAILED)
    assert "must be reachable from every node" in str(tasks["one"][1])


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (a_job("TIMEOUT", "TimeLimit", "n1"), (TaskState.FAILED,
         "It reached its time limit. Ask for more time (time_limit in image_resources).")),
        (a_job("CANCELLED", nodes="n1"), (TaskState.CANCELLED, "It was cancelled in Slurm.")),
        (a_job("PREEMPTED", nodes="n1"), (TaskState.FAILED,
         "It was stopped to make room for a job of higher priority.")),
        (a_job("FAILED", "NonZeroExitCode", "n1"), (TaskState.CANCELLED, "two cancelled")),
        (None, (TaskState.CANCELLED, "two cancelled")),
    ],
)  # fmt: skip
def test_who_stopped_it_slurm_knows(attempt: Attempt, job: SlurmJob | None, expected: tuple[TaskState, str]) -> None:
    executor = on(Script([] if job is None else [job]))
    stopped = started(attempt, "succeeded", "cancelled", whole=True)
    _, state, tasks, _ = one(executor.observe([handed_over(stopped)], NOW))
    assert (state, tasks["two"]) == (AttemptState.ENDED, expected)


def test_the_cause_is_waited_for_while_slurm_is_still_ending_the_job(attempt: Attempt) -> None:
    stopped = handed_over(started(attempt, "succeeded", "cancelled", whole=True))
    assert on(Script([a_job("COMPLETING", nodes="n1")])).observe([stopped], NOW) == []
    assert on(Script(answers=False)).observe([stopped], NOW) == []


def test_a_stop_between_two_tasks_ends_the_next_one(attempt: Attempt) -> None:
    stopped = handed_over(started(attempt, "succeeded", whole=True))
    _, state, tasks, _ = one(on(Script([a_job("CANCELLED", nodes="n1")])).observe([stopped], NOW))
    assert (state, tasks["two"]) == (AttemptState.ENDED, (TaskState.CANCELLED, "It was cancelled in Slurm."))


# --- why it ended ----------------------------------------------------------------------------------------------------


def cause(found: list[Observation]) -> tuple[AttemptState, Cause | None, TaskState, str | None]:
    (seen,) = found
    last = seen.tasks[-1]
    return seen.state, seen.cause, last.state, last.message


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("OUT_OF_MEMORY", Cause.OUT_OF_MEMORY),
        ("TIMEOUT", Cause.TIMEOUT),
        ("PREEMPTED", Cause.PREEMPTED),
        ("NODE_FAIL", Cause.NODE_FAILED),
        ("BOOT_FAIL", Cause.NOT_LAUNCHED),
        ("LAUNCH_FAILED", Cause.NOT_LAUNCHED),
        ("CANCELLED", Cause.CANCELLED),
        ("FAILED", None),
        ("COMPLETED", None),
        ("DEADLINE", None),
    ],
)
def test_what_the_cluster_did_to_a_job_is_its_cause(attempt: Attempt, state: str, expected: Cause | None) -> None:
    executor = on(Script([a_job(state, nodes="n1")]))
    gone = handed_over(started(attempt, "running"), first_missing_at=NOW)
    assert cause(executor.observe([gone], later(400)))[:2] == (AttemptState.LOST, expected)


SLURMSTEPD = "slurmstepd-n1: error: StepId=1.batch exceeded memory limit (433197056 > 104857600), being killed\n"


@pytest.mark.parametrize("reason", ["NonZeroExitCode", "JobLaunchFailure", "RaisedSignal:9(Killed)"])
def test_without_cgroups_the_log_of_the_job_says_that_its_memory_was_too_small(attempt: Attempt, reason: str) -> None:
    gone = handed_over(started(attempt, "running"), first_missing_at=NOW)
    AttemptFolder(attempt.folder).wrapper_log.write_text(SLURMSTEPD + "slurmstepd: error: *** JOB 1 CANCELLED ***\n")
    found = on(Script([a_job("FAILED", reason, "n1")])).observe([gone], later(GRACE))
    assert cause(found)[1:3] == (Cause.OUT_OF_MEMORY, TaskState.FAILED)
    assert found[0].facts is not None and SLURMSTEPD.strip() in str(found[0].facts.log_end)


def killed_task(attempt: Attempt, code: int) -> Attempt:
    ended = started(attempt, "succeeded", "failed", whole=True)
    AttemptFolder(attempt.folder).ended("two").write_text(
        json.dumps({"state": "failed", "message": "two was ended by signal 9.", "exit_code": code})
    )
    return handed_over(ended)


@pytest.mark.parametrize("code", [-9, 137])
def test_a_task_that_was_killed_for_its_memory_is_told_from_one_that_was_killed(attempt: Attempt, code: int) -> None:
    killed = killed_task(attempt, code)
    assert on(Script([a_job("COMPLETING", nodes="n1")])).observe([killed], NOW) == []
    words = "It used more memory than it asked for. Ask for more (memory_per_cpu in image_resources)."
    assert cause(on(Script([a_job("OUT_OF_MEMORY", nodes="n1")])).observe([killed], NOW)) == (
        AttemptState.ENDED, Cause.OUT_OF_MEMORY, TaskState.FAILED, words,
    )  # fmt: skip
    for other in (a_job("FAILED", nodes="n1"), a_job("CANCELLED", nodes="n1")):
        assert cause(on(Script([other])).observe([killed], NOW))[1:] == (
            None, TaskState.FAILED, "two was ended by signal 9.",
        )  # fmt: skip


# --- what the accounting knows ---------------------------------------------------------------------------------------

BY_ANNA = JobRecord("7", KEY, "CANCELLED", cancelled_by="anna", ended=NOW)


def test_a_job_that_somebody_cancelled_and_slurm_forgot_is_cancelled_and_not_run_again(attempt: Attempt) -> None:
    executor = on(Script(accounts=[BY_ANNA]))
    forgotten = handed_over(attempt, first_missing_at=NOW)
    assert cause(executor.observe([forgotten], later(GRACE + 1))) == (
        AttemptState.LOST,
        Cause.CANCELLED,
        TaskState.CANCELLED,
        "It was cancelled in Slurm by anna at 2026-01-31 12:00 UTC.",
    )
    assert not executor.may_repeat(forgotten, later(GRACE + 1))


def test_who_cancelled_what_ran_is_told(attempt: Attempt) -> None:
    stopped = handed_over(started(attempt, "succeeded", "cancelled", whole=True))
    executor = on(Script([a_job("CANCELLED", nodes="n1")], accounts=[BY_ANNA]))
    assert cause(executor.observe([stopped], NOW))[3] == "It was cancelled in Slurm by anna at 2026-01-31 12:00 UTC."


def test_a_record_is_waited_for_some_seconds_and_then_done_without(attempt: Attempt) -> None:
    cluster = Script(accounts=[replace(BY_ANNA, state="RUNNING", cancelled_by=None, ended=None)])
    executor = on(cluster)
    missing = handed_over(attempt, first_missing_at=NOW)
    assert executor.observe([missing], later(GRACE)) == []
    assert not executor.may_repeat(missing, later(GRACE))
    assert one(executor.observe([missing], later(GRACE + 11)))[0] is False
    assert executor.may_repeat(missing, later(GRACE + 11))
    executor.submit(missing, settings_of(missing))
    cluster.jobs_there = [a_job(nodes="n1", job_id="101", state="CANCELLED")]
    cluster.accounts = [replace(BY_ANNA, job_id="101")]
    assert cause(executor.observe([missing], later(GRACE + 20)))[1] is Cause.CANCELLED


def test_without_accounting_nobody_asks_twice_and_nothing_waits_for_it(attempt: Attempt) -> None:
    cluster = Script()
    executor = on(cluster)
    missing = handed_over(attempt, first_missing_at=NOW)
    for seconds in (GRACE, GRACE + 5):
        assert one(executor.observe([missing], later(seconds)))[0] is False
    assert executor.may_repeat(missing, later(GRACE + 5))
    assert cluster.looked_up == [[KEY]]


def test_what_a_lost_attempt_took_is_known_from_the_accounting(attempt: Attempt) -> None:
    record = JobRecord("7", KEY, "TIMEOUT", "n3", elapsed_seconds=61, max_rss_bytes=5_000_000)
    executor = on(Script([a_job("TIMEOUT", nodes="n3")], accounts=[record]))
    running = handed_over(started(attempt, "running"), first_missing_at=NOW)
    (seen,) = executor.observe([running], later(GRACE))
    assert seen.facts is not None
    assert (seen.facts.node, seen.facts.elapsed_seconds, seen.facts.max_rss_bytes) == ("n3", 61, 5_000_000)


# --- a node that failed ----------------------------------------------------------------------------------------------


def beat(attempt: Attempt, number: int) -> None:
    AttemptFolder(attempt.folder).heartbeat.write_text(json.dumps({"at": number}))


def test_what_still_lives_on_a_failed_node_is_waited_for_and_its_good_end_counts(attempt: Attempt) -> None:
    executor = on(Script([a_job("NODE_FAIL", nodes="n1")]))
    running = handed_over(started(attempt, "succeeded", "running"), first_missing_at=NOW)
    for number in range(10):
        beat(attempt, number)
        assert one(executor.observe([running], later(number * GRACE)))[::3] == (
            False,
            "Its node n1 failed. Its process still shows signs of life, so its end is waited for.",
        )
    started(attempt, "succeeded", "succeeded", whole=True)
    assert one(executor.observe([running], later(10 * GRACE)))[1] is AttemptState.ENDED


def test_once_it_is_silent_on_its_failed_node_it_is_lost(attempt: Attempt) -> None:
    executor = on(Script([a_job("NODE_FAIL", nodes="n1")]))
    running = handed_over(started(attempt, "succeeded", "running"), first_missing_at=NOW)
    beat(attempt, 1)
    assert one(executor.observe([running], later(1)))[0] is False
    assert one(executor.observe([running], later(GRACE)))[0] is False
    assert cause(executor.observe([running], later(GRACE + 2)))[:2] == (AttemptState.LOST, Cause.NODE_FAILED)


def test_an_agent_that_was_started_anew_listens_before_it_gives_up(attempt: Attempt) -> None:
    running = handed_over(started(attempt, "succeeded", "running"), first_missing_at=NOW)
    beat(attempt, 1)
    assert one(on(Script([a_job("NODE_FAIL", nodes="n1")])).observe([running], later(9000)))[0] is False


def test_after_its_time_limit_nothing_is_waited_for_on_a_failed_node(attempt: Attempt) -> None:
    job = replace(a_job("NODE_FAIL", nodes="n1"), limit=timedelta(minutes=10))
    executor = on(Script([job]))
    running = handed_over(started(attempt, "running"), first_missing_at=NOW)
    beat(attempt, 1)
    assert one(executor.observe([running], later(600 + GRACE)))[0] is False
    beat(attempt, 2)
    assert cause(executor.observe([running], later(603 + GRACE)))[:2] == (AttemptState.LOST, Cause.NODE_FAILED)


# --- a controller without its memory, and a queue that takes things back ---------------------------------------------


def running_once(attempt: Attempt, cluster: Script) -> tuple[SlurmExecutor, Attempt]:
    """An attempt that Slurm has just said to run."""
    executor = on(cluster)
    running = handed_over(started(attempt, "succeeded", "running"))
    assert one(executor.observe([running], NOW))[:2] == (True, AttemptState.RUNNING)
    cluster.jobs_there = []
    return executor, running


def test_what_the_controller_forgot_while_it_ran_is_waited_for_while_it_lives_and_then_run_again(
    attempt: Attempt,
) -> None:
    executor, running = running_once(attempt, Script([a_job("RUNNING", nodes="n1")]))
    beat(attempt, 1)
    words = "The controller of Slurm lost its memory of it while it ran."
    waits = f"{words} Its process still shows signs of life, so its end is waited for."
    assert one(executor.observe([running], later(10)))[::3] == (False, waits)
    missing = replace(running, first_missing_at=later(10))
    beat(attempt, 2)
    assert one(executor.observe([missing], later(500)))[::3] == (False, waits)
    lost = (AttemptState.LOST, Cause.NODE_FAILED, TaskState.FAILED, f"{words} See {attempt.folder}/wrapper.log.")
    assert cause(executor.observe([missing], later(501 + GRACE))) == lost


@pytest.mark.parametrize("code", [-9, 137])
def test_what_a_controller_that_forgot_it_killed_before_its_wrapper_is_run_again_too(
    attempt: Attempt, code: int
) -> None:
    """Its processes are killed one after the other: the wrapper may have time to write down what it saw."""
    executor, _ = running_once(attempt, Script([a_job("RUNNING", nodes="n1")]))
    words = "The controller of Slurm lost its memory of it while it ran."
    assert cause(executor.observe([killed_task(attempt, code)], later(10))) == (
        AttemptState.ENDED, Cause.NODE_FAILED, TaskState.FAILED, words,
    )  # fmt: skip


def test_what_may_have_ended_and_been_forgotten_since_it_ran_is_not_run_again(attempt: Attempt) -> None:
    """Nobody had an answer for longer than Slurm keeps what has ended."""
    executor, running = running_once(attempt, Script([a_job("RUNNING", nodes="n1")]))
    missing = replace(running, first_missing_at=NOW)
    found = cause(executor.observe([missing], later(600)))
    assert (found[0], found[1]) == (AttemptState.LOST, None)
    assert str(found[3]).startswith("Slurm does not know it any more, and it left no end record. See ")


@pytest.mark.parametrize(
    ("taken", "words", "why"),
    [
        (0, "The controller of Slurm lost its memory of it while it ran.", Cause.NODE_FAILED),
        (-600, "Slurm does not know it any more, and it left no end record.", None),
    ],
)
def test_what_the_controller_took_and_forgot_before_it_was_asked_is_run_again(
    attempt: Attempt, taken: float, words: str, why: Cause | None
) -> None:
    """Slurm keeps for minutes what has ended, so what it took a moment ago and does not know was forgotten."""
    executor = on(Script([]))
    running = handed_over(started(attempt, "running"), submitted_at=later(taken))
    assert str(one(executor.observe([running], later(5)))[3]).startswith(f"{words} Waiting for an end record until ")
    found = cause(executor.observe([replace(running, first_missing_at=later(5))], later(500)))
    assert found[:2] == (AttemptState.LOST, why)
    assert found[3] == f"{words} See {attempt.folder}/wrapper.log."


def test_what_the_controller_knows_again_was_not_forgotten(attempt: Attempt) -> None:
    cluster = Script([a_job("RUNNING", nodes="n1")])
    executor, running = running_once(attempt, cluster)
    executor.observe([running], later(10))
    cluster.jobs_there = [a_job("RUNNING", nodes="n1")]
    assert one(executor.observe([replace(running, first_missing_at=later(10))], later(20)))[::3] == (True, None)
    cluster.jobs_there = []
    assert cause(executor.observe([replace(running, first_missing_at=NOW)], later(600)))[1] is None


def test_what_was_stopped_and_put_back_into_the_queue_is_run_again_and_taken_out_there(attempt: Attempt) -> None:
    cluster = Script([a_job("PENDING", "BeginTime")])
    executor = on(cluster)
    stopped = handed_over(started(attempt, "succeeded", "cancelled", whole=True))
    assert executor.observe([stopped], NOW) == [], "it may have waited when Slurm was asked, and ended since"
    words = "It was stopped in Slurm and put back into the queue there."
    found = cause(executor.observe([stopped], later(10)))
    assert found == (AttemptState.ENDED, Cause.PREEMPTED, TaskState.FAILED, words)
    assert cluster.cancelled == [(KEY, False)]


@pytest.mark.parametrize("state", ["TIMEOUT", "PREEMPTED"])
def test_what_was_stopped_is_over_with_its_attempt_and_not_before(attempt: Attempt, state: str) -> None:
    """Its record is there a moment before the attempt's; what Slurm kills in between leaves only the first."""
    cluster = Script([a_job("RUNNING", nodes="n1")])
    executor = on(cluster)
    running = handed_over(started(attempt, "succeeded", "cancelled"), state=AttemptState.RUNNING)
    assert one(executor.observe([running], NOW))[1:3] == (
        AttemptState.RUNNING,
        {"one": (TaskState.SUCCEEDED, "one succeeded"), "two": (TaskState.RUNNING, None)},
    )
    cluster.jobs_there = [a_job(state, nodes="n1")]
    found = cause(executor.observe([replace(running, first_missing_at=NOW)], later(GRACE + 1)))
    assert found[:3] == (AttemptState.LOST, Cause[state], TaskState.FAILED)


@pytest.mark.parametrize(("passes", "expected"), [(False, None), (True, Cause.SERVICE_AWAY)])
def test_what_failed_before_its_node_did_failed_for_its_own_cause(
    attempt: Attempt, passes: bool, expected: Cause | None
) -> None:
    failed = handed_over(started(attempt, "failed"), first_missing_at=NOW)
    record = {"state": "failed", "message": "It is wrong.", "exit_code": 1, "facts": {"passes": passes}}
    AttemptFolder(attempt.folder).ended("one").write_text(json.dumps(record))
    executor = on(Script([a_job("NODE_FAIL", nodes="n1")]))
    (seen,) = executor.observe([failed], later(400))
    assert [(task.key, task.state, task.message) for task in seen.tasks] == [("one", TaskState.FAILED, "It is wrong.")]
    assert (seen.state, seen.cause) == (AttemptState.LOST, expected)


def test_a_try_is_not_needed_when_the_one_before_ended_well_after_all(tmp_path: Path, attempt: Attempt) -> None:
    started(attempt, "succeeded", "succeeded", whole=True)
    again = replace(an_attempt(tmp_path / "again", "dbx-again"), survivors=(attempt.folder,))
    cluster = Script([a_job("PENDING", "Resources", name="dbx-again")])
    _, state, tasks, words = one(on(cluster).observe([handed_over(again, "8")], NOW))
    assert (state, words) == (
        AttemptState.ENDED,
        "The try before, of which Slurm had lost sight, ended well after all; this one was not needed.",
    )
    assert tasks == {name: (TaskState.SUCCEEDED, f"{name} succeeded") for name in ("one", "two")}
    assert (cluster.cancelled, AttemptFolder(again.folder).token.is_dir()) == ([("dbx-again", False)], True)


@pytest.mark.parametrize("ends", [("succeeded", "failed"), ("succeeded",), ("succeeded", "running")])
def test_a_try_goes_on_when_the_one_before_did_not_end_well(
    tmp_path: Path, attempt: Attempt, ends: tuple[str, ...]
) -> None:
    started(attempt, *ends, whole="running" not in ends)
    again = replace(an_attempt(tmp_path / "again", "dbx-again"), survivors=(attempt.folder,))
    cluster = Script([a_job("PENDING", "Resources", name="dbx-again")])
    assert one(on(cluster).observe([handed_over(again, "8")], NOW))[3] == "It waits for a free node."
    assert cluster.cancelled == []


def test_a_try_that_has_begun_is_not_ended_for_the_one_before(tmp_path: Path, attempt: Attempt) -> None:
    started(attempt, "succeeded", "succeeded", whole=True)
    again = started(replace(an_attempt(tmp_path / "again", "dbx-again"), survivors=(attempt.folder,)), "running")
    cluster = Script([a_job("RUNNING", nodes="n2", name="dbx-again")])
    assert one(on(cluster).observe([handed_over(again, "8")], NOW))[1] is AttemptState.RUNNING
    assert cluster.cancelled == []


def test_what_an_attempt_was_given_more_of_is_asked_for(attempt: Attempt) -> None:
    cluster = Script()
    more = replace(attempt, resources={"memory": "8192M"})
    on(cluster).submit(more, settings_of(more))
    assert cluster.submitted[0].resources == {"memory": "8192M"}


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(executor: SlurmExecutor, attempt: Attempt) -> SubmitFailed:
    with pytest.raises(SubmitFailed) as failed:
        executor.submit(attempt, settings_of(attempt))
    return failed.value


def test_what_can_never_be_taken_fails_in_slurms_own_words_and_no_late_copy_runs(attempt: Attempt) -> None:
    executor = on(Script(refuses=Refused(Why.NEVER, "Invalid partition name specified")))
    failed = refused(executor, attempt)
    assert (failed.retry, failed.unsure) == (False, False)
    assert str(failed) == (
        "Slurm refused it: Invalid partition name specified. What it asks of the cluster has to be changed"
        " (image_resources in the job type, executor in agent.yaml)."
    )
    assert AttemptFolder(attempt.folder).token.is_dir()


def test_a_refusal_of_what_already_runs_is_no_end(attempt: Attempt) -> None:
    executor = on(Script(refuses=Refused(Why.NEVER, "Invalid partition name specified")))
    started(attempt, "running")
    assert (refused(executor, attempt).retry, refused(executor, attempt).unsure) == (True, True)


def test_a_full_queue_is_asked_again_without_a_grace(attempt: Attempt) -> None:
    executor = on(Script(refuses=Refused(Why.FULL, "AssocMaxSubmitJobLimit")))
    failed = refused(executor, attempt)
    assert (failed.retry, failed.unsure) == (True, False)
    executor.observe([attempt], NOW)
    assert executor.may_repeat(attempt, NOW)
    assert executor.room(0) > 0


def test_an_ambiguous_failure_is_looked_for_first(attempt: Attempt) -> None:
    executor = on(Script(refuses=Refused(Why.UNSURE, "Socket timed out")))
    failed = refused(executor, attempt)
    assert (failed.retry, failed.unsure) == (True, True)
    executor.observe([attempt], NOW)
    assert not executor.may_repeat(replace(attempt, first_missing_at=NOW), NOW)


def test_a_clean_failure_of_what_may_have_been_submitted_before_a_crash_proves_nothing(attempt: Attempt) -> None:
    cluster = Script()
    executor = on(cluster)
    executor.observe([attempt], NOW)
    cluster.refuses = Refused(Why.FULL, "AssocMaxSubmitJobLimit")
    refused(executor, attempt)
    assert not executor.may_repeat(attempt, NOW)


def test_while_nobody_answers_nothing_is_submitted(tmp_path: Path, attempt: Attempt) -> None:
    cluster = Script(refuses=Refused(Why.UNREACHABLE, "connect failure"), answers=False)
    executor = on(cluster)
    assert executor.room(0) > 0
    refused(executor, attempt)
    cluster.refuses = None
    other = an_attempt(tmp_path / "other", "dbx-other")
    assert str(refused(executor, other)) == "Slurm does not answer; it is tried again once it does."
    assert (executor.room(0), cluster.submitted) == (0, [])
    executor.observe([attempt, other], NOW)
    assert not executor.may_repeat(attempt, NOW)
    cluster.answers = True
    executor.observe([attempt, other], later(60))
    assert executor.room(0) > 0
    assert executor.may_repeat(attempt, later(60)) and executor.may_repeat(other, later(60))


def test_only_so_many_jobs_are_submitted_at_once() -> None:
    assert [on(Script(), slots=70).room(live) for live in (0, 30, 69, 80)] == [50, 40, 1, 0]


# --- a controller that hangs -----------------------------------------------------------------------------------------


@dataclass
class Hanging(Script):
    """A cluster that answers nothing until it may."""

    may_submit: threading.Event = field(default_factory=threading.Event)
    may_tell: threading.Event = field(default_factory=threading.Event)

    def submit(self, request: JobRequest) -> str:
        assert self.may_submit.wait(20)
        return super().submit(request)

    def jobs(self) -> list[SlurmJob]:
        there = super().jobs()
        assert self.may_tell.wait(20)
        return there


def answers_of(executor: SlurmExecutor) -> list[tuple[Attempt, str | Exception]]:
    """Return the late answers, once there are any."""
    return list(wait_for(executor.answered))


def test_a_submission_that_is_not_answered_at_once_is_answered_later(tmp_path: Path, attempt: Attempt) -> None:
    cluster = Hanging()
    executor = on(cluster, patience_seconds=0)
    assert executor.submit(attempt, settings_of(attempt)) is None
    assert (list(executor.answered()), executor.room(0), executor.may_repeat(attempt, NOW)) == ([], 0, False)
    other = an_attempt(tmp_path / "other", "dbx-other")
    assert refused(executor, other).retry
    cluster.may_submit.set()
    assert answers_of(executor) == [(attempt, f"slurm:101:{KEY}")]
    assert [request.name for request in cluster.submitted] == [KEY]


def test_a_late_refusal_is_told_as_an_early_one(attempt: Attempt) -> None:
    cluster = Hanging(refuses=Refused(Why.FULL, "AssocMaxSubmitJobLimit"))
    executor = on(cluster, patience_seconds=0)
    assert executor.submit(attempt, settings_of(attempt)) is None
    cluster.may_submit.set()
    ((told, answer),) = answers_of(executor)
    assert (told, str(answer)) == (
        attempt,
        "Slurm did not take it: AssocMaxSubmitJobLimit. It is handed over again when there is room.",
    )
    assert executor.room(0) > 0


def test_a_poll_that_hangs_holds_nothing_up_and_nothing_is_concluded_meanwhile(attempt: Attempt) -> None:
    cluster = Hanging([a_job(reason="Resources")])
    executor = on(cluster, patience_seconds=0)
    assert executor.observe([attempt], NOW) == []
    assert executor.observe([attempt], later(600)) == []
    cluster.may_tell.set()
    assert one(wait_for(lambda: executor.observe([attempt], later(700))))[3] == "It waits for a free node."
    assert cluster.asked == 1


def test_an_answer_from_before_a_submission_says_nothing_of_what_was_submitted(attempt: Attempt) -> None:
    cluster = Hanging()
    cluster.may_submit.set()
    executor = on(cluster, patience_seconds=0)
    assert executor.observe([attempt], NOW) == []
    assert executor.submit(attempt, settings_of(attempt)) is None
    cluster.may_tell.set()
    answers_of(executor)
    assert executor.observe([handed_over(attempt)], later(1)) == []
    assert not executor.may_repeat(handed_over(attempt, first_missing_at=NOW), later(GRACE * 2))


def test_after_no_answer_the_waits_grow_and_are_not_the_same_for_everybody() -> None:
    pace = Pace(timedelta(seconds=2), chance=lambda: 1.0)
    waits = []
    for _ in range(6):
        pace.unanswered(NOW)
        waits.append(next(seconds for seconds in range(100) if pace.is_due(later(seconds))))
    assert waits == [5, 13, 32, 38, 38, 38]
    other = Pace(timedelta(seconds=2), chance=lambda: 0.0)
    other.unanswered(NOW)
    assert other.is_due(later(4)) and not other.is_due(later(3.9))


# --- stopping --------------------------------------------------------------------------------------------------------


def test_what_waits_is_stopped_for_good_and_its_job_is_ended_once(attempt: Attempt) -> None:
    cluster = Script()
    executor = on(cluster)
    assert executor.stop(attempt, hard=False)
    assert cluster.cancelled == [(KEY, False)]
    assert AttemptFolder(attempt.folder).token.is_dir()


def test_what_runs_is_asked_to_end_once_and_then_killed_once(attempt: Attempt) -> None:
    cluster = Script()
    executor = on(cluster)
    ran = started(attempt, "running")
    assert [executor.stop(ran, hard) for hard in (False, False, True, True)] == [False] * 4
    assert cluster.cancelled == [(KEY, False), (KEY, True)]


def test_an_attempt_whose_end_was_ordered_needs_no_other_cause(attempt: Attempt) -> None:
    cluster = Script(answers=False)
    stopped = replace(handed_over(started(attempt, "succeeded", "cancelled", whole=True)), stop_at=NOW)
    assert one(on(cluster).observe([stopped], NOW))[1] is AttemptState.ENDED
    assert cluster.asked == 0


def test_a_cluster_that_could_not_be_told_to_stop_is_asked_until_it_answers(attempt: Attempt) -> None:
    cluster = Script(answers=False)
    executor = on(cluster)
    assert executor.stop(attempt, hard=False)
    assert (executor.room(0), cluster.cancelled) == (0, [])
    cluster.answers = True
    executor.observe([], NOW)
    assert (executor.room(0) > 0, executor.trouble) == (True, None)
