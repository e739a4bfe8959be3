"""How all tests are run: which go first, where hypothesis looks for counterexamples, and the one control plane."""

from __future__ import annotations

import pytest
from hypothesis import settings

from controlplane import control_plane

__all__ = ["control_plane"]

#: The modules that take longest, longest first: begun early, the others fill what time they leave. The first computes
#: for minutes, most of the others wait for real processes.
LONGEST = (
    "simulation/test_histories.py",
    "e2e/test_alerts.py",
    "e2e/test_kills.py",
    "simulation/test_fault_points.py",
    "e2e/test_crashes.py",
    "local/test_demo.py",
    "e2e/test_drills.py",
    "runtime/test_shell.py",
    "forgery/test_attack.py",
    "e2e/test_election.py",
    "e2e/test_story.py",
    "e2e/test_market.py",
    "local/test_controlplane.py",
    "deploy/test_chart_release.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest modules first; xdist hands out modules in this order, told not to make one of its own.

    One process has nothing to hand out, and keeps the order of the files.
    """
    stale = [name for name in LONGEST if not (config.rootpath / "tests" / name).is_file()]
    if stale:
        raise pytest.UsageError(f"tests/conftest.py names modules that are not there: {stale}")
    if not hasattr(config, "workerinput"):
        return
    places = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


# What a change must pass may not depend on luck: the same places each time, and new ones in `make explore`.
# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, database=None)
settings.load_profile("same")
