"""Fixtures of the cluster tests: one real cluster for all of them, whole and empty before each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from cluster import Cluster, missing_programs, running_cluster


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Cluster]:
    missing = missing_programs()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"The cluster tests need {', '.join(missing)}; .ci/packages installs them.")
    if missing:
        pytest.skip(f"{', '.join(missing)} are not installed (make test installs them as root on Debian)")
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: Cluster) -> Iterator[Cluster]:
    yield _shared_cluster
    _shared_cluster.mend()
