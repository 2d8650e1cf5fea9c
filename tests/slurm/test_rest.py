"""slurmrestd as it is: who it lets in, as whom it works, and what becomes of a question it does not answer."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cluster import REST_USER, Cluster
from ways import commands, rest

from dropbox_agent.executors.slurm import JobRequest, SlurmRest, Token, Unanswered
from dropbox_agent.executors.slurm.jobs import Cluster as Way
from dropbox_agent.executors.slurm.jobs import Refused, Why

NOBODY = "an account that has no jobs"


def a_job(name: str = "dbx-a", script: str = "sleep 600", **resources: object) -> JobRequest:
    return JobRequest(name, "a comment", f"#!/bin/sh\n{script}\n", Path("/dev/null"), resources)


def asking(cluster: Cluster, token: Token) -> SlurmRest:
    return SlurmRest(cluster.rest.url, token, NOBODY)


def answers(slurm: SlurmRest) -> bool:
    try:
        return slurm.jobs() is not None
    except Unanswered:
        return False


def why(slurm: SlurmRest) -> tuple[Why, str]:
    with pytest.raises(Refused) as refused:
        slurm.submit(a_job())
    return refused.value.why, refused.value.words


def test_it_is_reached_over_a_socket_as_over_the_network(cluster: Cluster) -> None:
    slurm = rest(cluster, cluster.rest.socket_url)
    job_id = slurm.submit(a_job())
    assert [(job.job_id, job.name) for job in rest(cluster).jobs() if job.job_id == job_id] == [(job_id, "dbx-a")]
    slurm.cancel("dbx-a", hard=True)
    cluster.wait_for(lambda: cluster.jobs()[job_id][1] == "CANCELLED", "cancelled job")


def test_a_job_is_never_requeued_and_is_known_by_its_name_and_comment(cluster: Cluster) -> None:
    """In 22.05 "requeue": false asks for the contrary."""
    shown = cluster.run("scontrol", "show", "job", rest(cluster).submit(a_job(partition="down"))).stdout
    for words in ("JobName=dbx-a", "Comment=a comment", "Requeue=0", "WorkDir=/\n"):
        assert words in shown, shown


def test_the_jobs_of_others_are_not_taken_for_ours(cluster: Cluster) -> None:
    ours = rest(cluster).submit(a_job(partition="down"))
    theirs = cluster.submit("sleep 600", "--job-name=dbx-a", "--partition=down", f"--uid={REST_USER}")
    assert set(cluster.jobs()) >= {ours, theirs}
    assert [job.job_id for job in rest(cluster).jobs() if job.job_id in (ours, theirs)] == [ours]
    rest(cluster).cancel("dbx-a", hard=False)
    assert cluster.jobs()[theirs] == ("dbx-a", "PENDING")


def test_where_no_slurmrestd_listens_nobody_was_asked(cluster: Cluster) -> None:
    cluster.stop_rest()
    refused, words = why(rest(cluster))
    assert (refused, words) == (
        Why.UNREACHABLE,
        f"slurmrestd at {cluster.rest.url} cannot be reached: [Errno 111] Connection refused",
    )
    with pytest.raises(Unanswered, match="cannot be reached"):
        rest(cluster).jobs()


def test_a_job_given_to_a_controller_that_hangs_is_looked_for_by_its_name(cluster: Cluster) -> None:
    slurm, impatient = rest(cluster), rest(cluster, seconds=3)
    cluster.wait_for(lambda: answers(impatient), "answer")
    with cluster.controller_stopped():
        assert why(impatient) == (Why.UNSURE, "slurmrestd did not answer within 3 s")
        with pytest.raises(Unanswered, match="slurmrestd did not answer within 3 s"):
            impatient.jobs()
    cluster.wait_for(lambda: [job.name for job in slurm.jobs() if job.name == "dbx-a"], "late job")


def test_a_token_is_read_from_the_environment_or_anew_from_a_file_that_somebody_renews(
    cluster: Cluster, tmp_path: Path
) -> None:
    printed = cluster.new_token()
    bare = printed.strip().removeprefix("SLURM_JWT=")
    assert asking(cluster, Token(None, {"SLURM_JWT": bare})).jobs() is not None
    slurm = asking(cluster, Token(tmp_path / "token", {"SLURM_JWT": "not this one"}))
    assert why(slurm) == (
        Why.UNREACHABLE,
        f"the token file {tmp_path / 'token'} cannot be read: No such file or directory",
    )
    for written in (printed, bare):
        (tmp_path / "token").write_text(written)
        assert slurm.partitions()


def test_without_a_token_or_with_a_wrong_one_nobody_is_asked(cluster: Cluster) -> None:
    assert why(asking(cluster, Token(None, {}))) == (
        Why.UNREACHABLE,
        "slurmrestd does not let this account in (401): check the token",
    )
    slurm = asking(cluster, Token(None, {"SLURM_JWT": "a.b.c"}))
    with pytest.raises(Unanswered, match="Failed while looking for jobs"):
        slurm.jobs()


def test_a_token_that_has_expired_is_said_to_have(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm would say "Zero Bytes were transmitted or received"."""
    before = datetime.now(timezone.utc)
    (tmp_path / "token").write_text(cluster.new_token(seconds=1))
    token = Token(tmp_path / "token", {})
    now = datetime.now(timezone.utc)
    assert token.read(now - timedelta(minutes=1)) is not None
    cluster.wait_for(lambda: datetime.now(timezone.utc) > now + timedelta(seconds=2), "next second")
    refused, words = why(asking(cluster, token))
    assert refused is Why.UNREACHABLE
    days = {f"{day:%Y-%m-%d}" for day in (before, now + timedelta(seconds=1))}
    assert words.startswith(tuple(f"the token in {tmp_path / 'token'} was good until {day}" for day in days))
    assert words.endswith(" UTC; renew it (scontrol token)")


def test_a_token_is_never_shown(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    secret = cluster.rest.token.read_text().strip().removeprefix("SLURM_JWT=")
    slurm = rest(cluster)
    with caplog.at_level(logging.DEBUG):
        job_id = slurm.submit(a_job(script="env"))
        slurm.jobs()
        cluster.stop_rest()
        _, words = why(slurm)
    assert secret not in caplog.text + words + repr(slurm) + repr(vars(slurm))
    assert secret not in cluster.run("scontrol", "show", "job", job_id).stdout


def test_one_that_asks_for_no_token_works_as_its_own_account(cluster: Cluster) -> None:
    url = cluster.start_local_rest()
    account = REST_USER if os.geteuid() == 0 else os.environ["USER"]
    slurm = SlurmRest(url, Token(None, {}), NOBODY, user=account)
    job_id = slurm.submit(a_job(partition="down"))
    assert [job.job_id for job in slurm.jobs() if job.job_id == job_id] == [job_id]
    assert SlurmRest(url, Token(None, {}), NOBODY).jobs() == []
    shown = cluster.run("scontrol", "show", "job", job_id).stdout
    assert f"UserId={account}(" in shown


def test_what_comes_from_the_command_line_is_seen_over_rest_and_the_other_way_round(cluster: Cluster) -> None:
    """So a site can change from one way to the other while jobs run."""
    ways: tuple[Way, ...] = (commands(cluster), rest(cluster))
    times = ("UNLIMITED", 90)
    asked = [a_job(name=f"dbx-{number}", partition="down", time=time) for number, time in enumerate(times)]
    ids = {way.submit(request) for way, request in zip(ways, asked, strict=True)}
    cluster.wait_for(lambda: all(job.reason != "None" for job in ways[0].jobs() if job.job_id in ids), "reasons")
    seen = [sorted((job for job in way.jobs() if job.job_id in ids), key=lambda job: job.name) for way in ways]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2
