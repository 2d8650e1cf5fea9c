"""What is so for every test on a cluster: it may take its time, and its fixtures too, which may wait for their turn."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from cluster import Cluster
from workspace import Workspace

LONGEST_SECONDS = 600
"""For a test that hangs; what a test waits for gives up before, and says what did not come."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LONGEST_SECONDS, func_only=True))
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure say what the cluster and the agent had to say at that moment."""
    report = yield
    if report.when == "call" and report.failed:
        given = {id(one): one for one in item.funcargs.values() if isinstance(one, Cluster | Workspace)}
        report.sections += [(f"{type(one).__name__}, as it was", one.as_it_is()) for one in given.values()]
    return report
