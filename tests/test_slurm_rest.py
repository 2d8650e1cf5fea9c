"""slurmrestd without a cluster: versions that cannot be installed here (as recorded), tokens, answers of all kinds.

What v0.0.38 does is shown on a real one (tests/slurm).
"""

from __future__ import annotations

import base64
import json
import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from recorded_slurmrestd import job_fields, misfits, recorded_slurmrestd

from dropbox_agent.executors.slurm import JobRequest, SlurmJob, SlurmRest, Token, Unanswered
from dropbox_agent.executors.slurm.jobs import JobRecord, NoAccounting, Partition, Refused, Why
from dropbox_agent.executors.slurm.rest import answers
from dropbox_agent.executors.slurm.rest.shapes import as_types, minutes_of
from dropbox_agent.executors.slurm.rest.token import NoToken, account_of
from dropbox_agent.executors.slurm.rest.versions import agreed
from dropbox_agent.plan.properties import PROPERTIES

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NEW = ("v0.0.40", "v0.0.44")


def a_token(**claims: Any) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.c2lnbmVk"


def at(url: str, token: str | None = None) -> SlurmRest:
    return SlurmRest(url, Token(None, {"SLURM_JWT": token or a_token(sun="agent")}), "nobody", seconds=5)


def a_job(**resources: Any) -> JobRequest:
    return JobRequest("dbx-a", "what it is", "#!/bin/sh\ntrue\n", Path("/work/100%/log"), resources)


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offers", "spoken"),
    [
        (("v0.0.38",), "v0.0.38"),
        (("v0.0.39", "v0.0.40"), "v0.0.40"),
        (("v0.0.42", "v0.0.43", "v0.0.41"), "v0.0.43"),
        (("v0.0.44", "v0.0.99"), "v0.0.44"),
        (("v0.0.37", "v0.0.39"), None),
    ],
)
def test_the_newest_version_that_both_sides_know_is_spoken(offers: tuple[str, ...], spoken: str | None) -> None:
    with recorded_slurmrestd(*offers) as recorded:
        api = agreed(recorded.specification())
    assert (api and api.version) == spoken


def test_a_slurmrestd_that_speaks_no_version_of_ours_says_which_it_speaks() -> None:
    with recorded_slurmrestd("v0.0.37") as recorded, pytest.raises(Refused) as refused:
        at(recorded.url).submit(a_job())
    assert refused.value.why is Why.UNREACHABLE
    assert refused.value.words.startswith("slurmrestd speaks v0.0.37, and this program v0.0.38, v0.0.40, ")


def test_a_version_that_is_gone_after_an_upgrade_is_agreed_anew() -> None:
    with recorded_slurmrestd("v0.0.40") as recorded:
        slurm = at(recorded.url)
        slurm.partitions()
        recorded.versions = ("v0.0.44",)
        with pytest.raises(Unanswered, match="does not know this version of its API any more"):
            slurm.partitions()
        assert [one.name for one in slurm.partitions()] == ["main", "down"]


# --- a job's description ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", NEW)
def test_a_job_is_described_in_the_types_of_the_schema(version: str) -> None:
    asked = {
        "partition": "main",
        "minimum_cpus_per_node": 4,
        "memory_per_cpu": {"set": True, "number": 400},
        "time_limit": {"set": True, "number": 24},
        "environment": ["A=b"],
    }
    with recorded_slurmrestd(version) as recorded:
        assert at(recorded.url).submit(a_job(**asked)) == "21"
    assert recorded.jobs == [
        {
            "partition": "main",
            "minimum_cpus_per_node": 4,
            "memory_per_cpu": {"set": True, "infinite": False, "number": 400},
            "time_limit": {"set": True, "infinite": False, "number": 24},
            "name": "dbx-a",
            "comment": "what it is",
            "requeue": False,
            "environment": ["SLURM_GET_USER_ENV=1"],
            "current_working_directory": "/",
            "open_mode": ["APPEND"],
            "standard_output": "/work/100%%/log",
        }
    ]


SHORT = [
    ({"cpus": 3}, {"cpus_per_task": 3}),
    ({"memory": "16G"}, {"memory_per_node": 16384}),
    ({"time": "1-12:30"}, {"time_limit": 36 * 60 + 30}),
    ({"time": "UNLIMITED"}, {"time_limit": {"set": True, "infinite": True, "number": 0}}),
    ({"gres": "gpu:a100:2"}, {"tres_per_node": "gres/gpu:a100:2"}),
    ({"gpus": "2"}, {"tres_per_job": "gres/gpu:2"}),
    ({"nodelist": "n1,n2", "exclude": ["n3"]}, {"required_nodes": ["n1", "n2"], "excluded_nodes": ["n3"]}),
    ({"constraint": "ssd", "ntasks": 2, "tmp": "1G"}, {"constraints": "ssd", "tasks": 2,
     "temporary_disk_per_node": 1024}),
    ({"exclusive": True}, {"shared": ["none"]}),
    ({"exclusive": False}, {}),
    ({"oversubscribe": True}, {"shared": ["oversubscribe"]}),
    ({"shared": "user"}, {"shared": ["user"]}),
    ({"mail_type": ["ALL", "TIME_LIMIT_90"]}, {"mail_type": ["BEGIN", "END", "FAIL", "INVALID_DEPENDENCY", "REQUEUE",
     "STAGE_OUT", "TIME=90%"]}),
    ({"mail_type": "NONE"}, {"mail_type": []}),
    ({"profile": "all"}, {"profile": ["ENERGY", "LUSTRE", "NETWORK", "TASK"]}),
    ({"begin_time": 1_900_000_000}, {"begin_time": 1_900_000_000}),
    ({"priority": {"set": False}, "qos": None}, {}),
    ({"tres_per_node": "gres:gpu:1"}, {"tres_per_node": "gres:gpu:1"}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "written"), SHORT)
def test_short_names_and_values_are_written_out(asked: dict[str, Any], written: dict[str, Any]) -> None:
    numbers = {"memory_per_node", "time_limit", "begin_time"}
    whole = {
        name: {"set": True, "infinite": False, "number": value} if name in numbers and isinstance(value, int) else value
        for name, value in written.items()
    }
    assert as_types(asked) == whole
    assert misfits("v0.0.44", whole) == []


def test_every_property_that_can_be_asked_for_has_a_shape_and_fits_the_schema() -> None:
    for known in PROPERTIES:
        if known.decided or known.refused or known.name in WRAPPERS_OWN:
            continue
        (value,) = [value for value in VALUES.get(known.name, (1, True, "word")) if as_types({known.name: value})][:1]
        assert misfits("v0.0.40", as_types({known.name: value})) == [], known.name


WRAPPERS_OWN = ("environment", "standard_output", "standard_error", "current_working_directory")
"""What Slurm is not asked for: the wrapper does it."""
VALUES: dict[str, tuple[Any, ...]] = {
    "constraint": ("ssd",),
    "exclusive": ("user",),
    "gres": ("gpu:1",),
    "mail_type": ("END",),
    "profile": ("TASK",),
    "shared": ("user",),
}


def test_what_a_version_has_no_field_for_is_refused_and_not_passed_over() -> None:
    assert "cores_per_socket" not in job_fields("v0.0.44")
    with recorded_slurmrestd("v0.0.44") as recorded, pytest.raises(Refused) as refused:
        at(recorded.url).submit(a_job(cores_per_socket=2))
    assert (refused.value.why, refused.value.words) == (
        Why.NEVER,
        "slurmrestd v0.0.44 cannot be asked for cores_per_socket; take it out",
    )


@pytest.mark.parametrize(
    ("clock", "minutes"),
    [("90", 90), ("1:30", 2), ("1:30:00", 90), ("0:00:01", 1), ("2-0", 2880), ("1-2:30", 1590), ("1-0:0:30", 1441)],
)
def test_a_length_of_time_is_read_as_sbatch_reads_it(clock: str, minutes: int) -> None:
    assert minutes_of(clock) == minutes


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", NEW)
def test_jobs_are_read_as_squeue_would_show_them(version: str) -> None:
    with recorded_slurmrestd(version) as recorded:
        assert at(recorded.url).jobs() == [
            SlurmJob("17", "dbx-a", "RUNNING", "None", "n1", timedelta(hours=4)),
            SlurmJob("18", "dbx-b", "PENDING", "Resources", "", None),
            SlurmJob("19", "dbx-c", "COMPLETING", "None", "n[2-3]"),
        ]


def test_only_what_lives_is_ended_and_only_what_is_ours() -> None:
    with recorded_slurmrestd("v0.0.40") as recorded:
        at(recorded.url).cancel("dbx-a", hard=False)
        at(recorded.url).cancel("dbx-b", hard=True)
    assert [asked for asked in recorded.asked if asked[0] == "DELETE"] == [
        ("DELETE", "/slurm/v0.0.40/job/17"),
        ("DELETE", "/slurm/v0.0.40/job/18?signal=KILL"),
    ]


def test_the_accounting_is_read() -> None:
    with recorded_slurmrestd("v0.0.40") as recorded:
        (record,) = at(recorded.url).records({"dbx-a"}, NOW)
        assert at(recorded.url).qualities() == ["normal", "urgent"]
        assert at(recorded.url).partitions() == [Partition("main", up=True), Partition("down", up=False)]
    assert record == JobRecord(
        job_id="17",
        name="dbx-a",
        state="CANCELLED",
        nodes="n1",
        exit_code=0,
        signal=15,
        elapsed_seconds=61,
        max_rss_bytes=1048576,
        cancelled_by="root",
        ended=datetime(2024, 11, 22, 18, 27, 41, tzinfo=timezone.utc),
    )
    assert ("GET", f"/slurmdb/v0.0.40/jobs/?job_name=dbx-a&start_time=uts{int(NOW.timestamp())}") in recorded.asked


def test_an_exit_code_that_cannot_be_right_is_not_believed() -> None:
    """v0.0.38 says 0 of a job that failed with 3; its other words are right."""
    said = {"status": "SUCCESS", "return_code": 0}
    one = {"job_id": 2, "name": "dbx-a", "user": "agent", "state": {"current": "FAILED"}, "exit_code": said}
    (record,) = answers.records_in({"jobs": [one]}, "agent")
    assert (record.state, record.exit_code, record.signal) == ("FAILED", None, None)
    (record,) = answers.records_in({"jobs": [{**one, "state": {"current": "COMPLETED"}}]}, "agent")
    assert (record.exit_code, record.signal) == (0, 0)


def test_a_cluster_without_accounting_says_so() -> None:
    with recorded_slurmrestd("v0.0.40", accounting=False) as recorded, pytest.raises(NoAccounting):
        at(recorded.url).qualities()


def test_a_refusal_is_told_in_slurms_own_words() -> None:
    with recorded_slurmrestd("v0.0.40") as recorded, pytest.raises(Refused) as refused:
        at(recorded.url).submit(a_job(partition="nope"))
    assert (refused.value.why, refused.value.words) == (Why.NEVER, "Invalid partition name specified")


POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("jobs", "why"), [("RUNNING", Why.FULL), ("PENDING", Why.FULL), ("COMPLETED", Why.NEVER), (None, Why.NEVER)]
)
def test_a_limit_is_waited_for_while_jobs_of_this_account_may_be_what_reaches_it(jobs: str | None, why: Why) -> None:
    """slurmrestd does not say which limit it is; sbatch does."""
    with recorded_slurmrestd("v0.0.40") as recorded:
        one = {"job_id": 3, "name": "any", "job_state": [jobs], "user_name": "agent"}
        recorded.answers["jobs"] = {"jobs": [one] if jobs else [], "errors": []}
        recorded.answers["refused"] = {"errors": [{"error": POLICY, "error_number": 2050}]}
        with pytest.raises(Refused) as refused:
            at(recorded.url).submit(a_job(partition="nope"))
    assert (refused.value.why, refused.value.words) == (why, POLICY)


def test_a_job_that_is_taken_with_an_error_is_taken() -> None:
    answer = {"errors": [{"error": "Job is in held state, pending scheduler release"}], "job_id": 5}
    assert answers.job_id_in(answer) == "5"
    assert answers.job_id_in({"job_id": 0, "result": {"job_id": 6}}) == "6"
    assert answers.job_id_in({"job_id": 0, "errors": []}) is None


def test_what_slurmrestd_passes_over_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    warning = {"description": "Ignoring unknown field", "source": "#/job/x"}
    with recorded_slurmrestd("v0.0.40") as recorded, caplog.at_level(logging.WARNING):
        recorded.answers["submit"] = {**recorded.answers["submit"], "warnings": [warning]}
        slurm = at(recorded.url)
        slurm.submit(a_job())
        slurm.submit(a_job())
    assert [line.message for line in caplog.records] == ["slurmrestd warns: #/job/x: Ignoring unknown field"]


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ("RUNNING", "RUNNING"),
        (["PENDING"], "PENDING"),
        (["CANCELLED", "COMPLETING"], "COMPLETING"),
        (["RUNNING", "SIGNALING"], "SIGNALING"),
        (["PENDING", "REQUEUED"], "REQUEUED"),
        ([], "UNKNOWN"),
    ],
)
def test_of_several_states_the_one_that_squeue_shows_counts(given: Any, state: str) -> None:
    assert answers.state_in(given) == state


@pytest.mark.parametrize("answer", [{}, {"jobs": None}, {"jobs": [], "errors": [{"error": "Socket timed out"}]}])
def test_an_answer_without_a_list_of_jobs_or_with_an_error_says_nothing(answer: dict[str, Any]) -> None:
    with recorded_slurmrestd("v0.0.40") as recorded:
        recorded.answers["jobs"] = answer
        with pytest.raises(Unanswered):
            at(recorded.url).jobs()


def test_what_is_no_job_in_a_list_of_jobs_is_passed_over() -> None:
    assert answers.jobs_in({"jobs": [None, {}, {"user_name": "agent", "job_id": True}]}, "agent") == []


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_says_for_whom_it_is() -> None:
    assert account_of(a_token(sun="somebody")) == "somebody"
    assert [account_of(token) for token in ("", "opaque", "a.b.c", a_token(), a_token(sun=7))] == [None] * 5
    token = a_token(sun="somebody")
    with recorded_slurmrestd("v0.0.40") as recorded:
        recorded.answers["jobs"]["jobs"][3]["user_name"] = "somebody"
        assert [job.job_id for job in at(recorded.url, token).jobs()] == ["20"]
    assert recorded.token == token


def test_a_token_counts_until_its_end(tmp_path: Path) -> None:
    token = Token(None, {"SLURM_JWT": a_token(exp=NOW.timestamp())})
    assert token.read(NOW - timedelta(seconds=1)) is not None
    with pytest.raises(NoToken, match=r"the token in the environment \(SLURM_JWT\) was good until 2026-01-31 12:00:00"):
        token.read(NOW)


@pytest.mark.parametrize("written", ["", "\n", "SLURM_JWT=", "two words", "späť"])
def test_what_is_no_token_is_never_shown_to_anybody(tmp_path: Path, written: str) -> None:
    (tmp_path / "token").write_text(written, "utf-8")
    with pytest.raises(NoToken, match="token") as told:
        Token(tmp_path / "token", {}).read(NOW)
    assert not written.strip() or written.strip() not in str(told.value)
