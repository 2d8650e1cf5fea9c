"""Both ways to the cluster of the tests."""

from __future__ import annotations

import os

from cluster import Cluster

from dropbox_agent.executors.slurm import SlurmCommands, SlurmRest, Token


def commands(cluster: Cluster, seconds: float = 30, **more: str) -> SlurmCommands:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return SlurmCommands({"PATH": path, "HOME": "/", **cluster.environment, **more}, seconds)


def rest(cluster: Cluster, url: str | None = None, seconds: float = 30) -> SlurmRest:
    return SlurmRest(url or cluster.rest.url, Token(cluster.rest.token, {}), "nobody", seconds=seconds)
