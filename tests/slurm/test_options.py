"""The table of properties against a real sbatch: every option in it is one that sbatch knows."""

from __future__ import annotations

from typing import Any

import pytest
from cluster import Cluster

from dropbox_agent import plan
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
    "gres": "gpu:1",
    "gpus": "1",
    "kill_on_node_fail": False,
    "mail_type": ["END", "TIME=90%"],
    "memory_per_tres": "gres:gpu:100",
    "profile": ["NONE"],
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
    "tres_per_socket": {"sockets_per_node": 1},
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


@pytest.mark.parametrize("name", [name for name in ASKED if name != "environment"])
def test_sbatch_knows_the_option_of_a_property(cluster: Cluster, name: str) -> None:
    options = plan.resource_options(fitting(name))
    assert options
    done = cluster.run("sbatch", "--test-only", *options, stdin="#!/bin/sh\ntrue\n")
    # The cluster may have no GPU, partition or licence of that name; what counts is that the words are understood.
    assert done.returncode != 255, done.stderr
    assert not any(words in done.stderr for words in ("nrecognized", "nvalid argument", "sbatch --help")), done.stderr


def test_sbatch_takes_the_resources_of_the_shipped_job_types_together(cluster: Cluster) -> None:
    resources = {
        "minimum_cpus_per_node": 4,
        "memory_per_cpu": {"set": True, "number": 400},
        "time_limit": {"set": True, "number": 24},
    }
    job_id = cluster.submit("sleep 60", *plan.resource_options(resources))
    shown = cluster.wait_for(lambda: cluster.run("scontrol", "show", "job", job_id).stdout, "job")
    assert "MinCPUsNode=4" in shown and "MinMemoryCPU=400M" in shown and "TimeLimit=00:24:00" in shown
