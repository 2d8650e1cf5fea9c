"""What the long proofs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faulty_share import require_faults
from warm_agent import WarmAgent


@pytest.fixture(scope="module")
def agent() -> Iterator[WarmAgent]:
    """A process that has imported the agent, and starts one whenever it is asked."""
    require_faults()
    warm = WarmAgent()
    yield warm
    warm.close()
