"""Two and three agents with copies of one ledger, on one share seen through a mount each, are killed and stopped.

A user drops, rewrites and deletes at random meanwhile. The jobs count themselves: none runs twice, none of a manifest
that was never whole, and each that lies there in the end has run. With a lease, and without: nothing rests on it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_share import require_faults
from many_agents import Site, Trouble, User, what_is_wrong

MANIFESTS = int(os.environ.get("TORTURE_MANIFESTS", "2000"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require_faults()
    made = Site(tmp_path)
    try:
        yield made
    finally:
        made.end()


def run(site: Site, agents: int, patience: float, manifests: int, seed: int, pause: float = 0.2) -> None:
    """Drop so many versions of manifests while agents are killed and stopped, then look at everything.

    ``pause`` is how long the user takes for a step, in seconds; a slow copy takes a few.
    """
    row = site.make(agents, patience)
    user = User(site.inbox, row, random.Random(seed), names=3 + manifests // 10)
    trouble = Trouble(site.agents, random.Random(seed + 1))
    began, next_blow = time.monotonic(), 0.0
    for agent in site.agents:
        agent.start()
    while user.written < manifests:
        user.step()
        time.sleep(pause)
        if time.monotonic() > next_blow:
            trouble.step()
            next_blow = time.monotonic() + trouble.chance.uniform(1, 6)
    user.finish()
    trouble.end()
    chaos = time.monotonic() - began
    wrong = what_is_wrong(site, user)
    print(
        f"seed {seed}, {agents} agents, lease {patience:g} s: {user.written} versions of {user.names} manifests,"
        f" {len(user.complete)} whole, {len(user.lying)} lie there, {site.counted().total()} runs,"
        f" {trouble.kills} kills, {trouble.stops} stops in {chaos:.0f} s, {time.monotonic() - began:.0f} s in all"
    )
    assert wrong == []


@pytest.mark.timeout(600)
def test_two_agents_for_a_few_manifests(site: Site) -> None:
    run(site, agents=2, patience=1, manifests=15, seed=1, pause=0.6)


@pytest.mark.torture
@pytest.mark.parametrize("patience", [2, 0], ids=["lease", "no lease"])
@pytest.mark.parametrize("agents", [2, 3])
def test_many_manifests(site: Site, agents: int, patience: float) -> None:
    run(site, agents, patience, MANIFESTS, seed=agents)
