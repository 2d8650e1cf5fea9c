"""The table of properties against a real cluster: each is understood, and means the same by both ways to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from ways import commands, rest

from dropbox_agent import plan
from dropbox_agent.executors.slurm import JobRequest
from dropbox_agent.executors.slurm.jobs import Refused, Why
from dropbox_agent.plan.properties import PROPERTIES

VALUES: dict[str, Any] = {
    "account_gather_frequency": "task=30",
    "begin_time": 1_900_000_000,
    "cpu_frequency": "low",
    "cpus_per_tres": "gres:gpu:2",
    "deadline": 1_900_000_000,
    "distribution": "block",
    "exclusive": True,
    "flags": ["SPREAD_JOB", "PREFER_MINIMUM_NODE_COUNT", "GRES_BINDING_ENFORCED"],
    "batch_features": "ssd",
    "constraint": "ssd",
    "constraints": "ssd",
    "exclude": "n4",
    "excluded_nodes": ["n4"],
    "gres": "gpu:1",
    "gpus": "1",
    "kill_on_node_fail": False,
    "licenses": "toolbox:1",
    "mail_type": ["END", "TIME=90%"],
    "memory_per_tres": "gres:gpu:100",
    "nice": 3,
    "nodelist": "n2",
    "prefer": "ssd",
    "profile": ["NONE"],
    "required_nodes": ["n2"],
    "shared": ["user"],
    "time": "1:00",
    "tres_bind": "closest",
    "tres_freq": "low",
    "tres_per_job": "gres:gpu:1",
    "tres_per_node": "gres:gpu:1",
    "tres_per_socket": "gres:gpu:1",
    "tres_per_task": "gres:gpu:1",
}
"""What to try where neither a number nor a word will do."""
WITH: dict[str, dict[str, Any]] = {
    "batch_features": {"constraint": "ssd"},
    "cpus_per_tres": {"gpus": "1"},
    "memory_per_tres": {"gpus": "1"},
    "ntasks_per_tres": {"gpus": "1"},
    "tres_bind": {"gpus": "1"},
    "tres_freq": {"gpus": "1"},
    "tres_per_socket": {"sockets_per_node": 1},
    "tres_per_task": {"tasks": 1},
    "wait_for_switch": {"required_switches": 1},
    "maximum_nodes": {"minimum_nodes": 1},
}
ASKED = [known.name for known in PROPERTIES if known.option or known.joint]


def fitting(name: str) -> dict[str, Any]:
    """Return resources with a value that the property takes."""
    candidates = [VALUES[name]] if name in VALUES else [1, True, "word"]
    for value in candidates:
        resources = {name: value, **WITH.get(name, {})}
        if not plan.resource_problems(resources):
            return resources
    raise AssertionError(f"no fitting value for {name}")


NOT_BY_REST = {
    "batch_features": "--batch",
    "contiguous": "--contiguous",
    "network": "--network",
    "overcommit": "--overcommit",
    "reboot": "--reboot",
    "required_switches": "--switches",
    "wait_for_switch": "--switches",
}
"""What v0.0.38 has no field for, or one that does harm; docs/slurm.md says so."""
OWN = (
    "JobId",
    "ArrayJobId",
    "Priority",
    "SubmitTime",
    "EligibleTime",
    "AccrueTime",
    "LastSchedEval",
    "StartTime",
    "EndTime",
    "AllocNode:Sid",
)
"""What two jobs that ask for the same do not have in common, and who handed them over."""


WRAPPERS_OWN = ("environment", "standard_output", "standard_error", "current_working_directory")
"""What Slurm is not asked for: the wrapper does it."""


@pytest.mark.parametrize("name", [name for name in ASKED if name not in (*WRAPPERS_OWN, "reservation")])
def test_a_property_asks_for_the_same_by_both_ways(cluster: Cluster, name: str) -> None:
    """Slurm takes it from each, and shows the same job."""
    resources = {"partition": "down", **fitting(name), "nice": 3} if name != "partition" else {"partition": "down"}
    by_command = shown(cluster, commands(cluster).submit(a_job(resources)))
    if name in NOT_BY_REST:
        with pytest.raises(Refused, match=f"cannot be asked for {NOT_BY_REST[name]}") as refused:
            rest(cluster).submit(a_job(resources))
        assert refused.value.why is Why.NEVER
    else:
        assert shown(cluster, rest(cluster).submit(a_job(resources))) == by_command


def a_job(resources: Mapping[str, Any]) -> JobRequest:
    return JobRequest("dbx-a", "what it is", "#!/bin/sh\ntrue\n", Path("/dev/null"), resources)


def shown(cluster: Cluster, job_id: str) -> dict[str, str]:
    """Return what scontrol shows of a job, without what no two jobs have in common."""
    words = cluster.run("scontrol", "show", "job", job_id).stdout.split()
    pairs = (word.partition("=")[::2] for word in words)
    return {name: value for name, value in pairs if name not in OWN}


def test_sbatch_takes_the_resources_of_the_shipped_job_types_together(cluster: Cluster) -> None:
    resources = {
        "minimum_cpus_per_node": 4,
        "memory_per_cpu": {"set": True, "number": 400},
        "time_limit": {"set": True, "number": 24},
    }
    job_id = cluster.submit("sleep 600", *plan.resource_options(resources))
    shown = cluster.wait_for(lambda: cluster.run("scontrol", "show", "job", job_id).stdout, "job")
    assert "MinCPUsNode=4" in shown and "MinMemoryCPU=400M" in shown and "TimeLimit=00:24:00" in shown
