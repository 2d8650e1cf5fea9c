"""Both ways to the cluster of the tests."""

from __future__ import annotations

import os
from typing import Any

from cluster import Cluster

from dropbox_agent.executors.slurm import SlurmCommands, SlurmRest, Token
from dropbox_agent.executors.slurm.rest.client import _NoAnswer


def commands(cluster: Cluster, seconds: float = 30, **more: str) -> SlurmCommands:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return SlurmCommands({"PATH": path, "HOME": "/", **cluster.environment, **more}, seconds)


def rest(cluster: Cluster, url: str | None = None, seconds: float = 30) -> SlurmRest:
    return AskedOnceMore(url or cluster.rest.url, Token(cluster.rest.token, {}), "nobody", seconds=seconds)


class AskedOnceMore(SlurmRest):
    """Now and then slurmrestd breaks a good connection off ("connection invalid"): the agent asks again, too."""

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            return super()._ask(method, path, **more)
        except _NoAnswer as error:
            if "broke off: [Errno 104]" not in str(error):
                raise
            return super()._ask(method, path, **more)
