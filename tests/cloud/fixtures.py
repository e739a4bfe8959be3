"""Fixtures of the contract suite's grounds: one simulator for all tests of a folder, begun anew for each test."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud.grounds import Ground, MemoryGround, SimulatedGround, Simulator, simulator


@pytest.fixture(scope="session")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A running simulator."""
    with simulator(tmp_path_factory.mktemp("cvmsim")) as running:
        yield running


@pytest.fixture(scope="session")
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for the synchronous SDK."""
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def simulated(sim: Simulator, threads: ThreadPoolExecutor) -> SimulatedGround:
    """The real provider against the simulator."""
    return SimulatedGround(sim, threads)


@pytest.fixture(params=["memory", "cvmsim"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """Either ground."""
    if request.param == "memory":
        return MemoryGround()
    simulated: SimulatedGround = request.getfixturevalue("simulated")
    return simulated
