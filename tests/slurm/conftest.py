"""What is so for every test on a cluster: it may take its time, and its fixtures too, which may wait for their turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

LONGEST_SECONDS = 600
"""For a test that hangs; what a test waits for gives up before, and says what did not come."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LONGEST_SECONDS, func_only=True))
            item.add_marker(pytest.mark.xdist_group("cluster"))
