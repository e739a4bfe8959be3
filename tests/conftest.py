"""How all tests are run: in which order and portions, where hypothesis looks, and the one control plane."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from controlplane import control_plane, swept

__all__ = ["control_plane", "swept"]

#: Modules of independent tests that take long: each of their tests is a portion. These wait for real processes.
WAITING = (
    "runtime/test_shell.py",
    "local/test_demo.py",
    "e2e/test_kills.py",
    "e2e/test_crashes.py",
    "e2e/test_alerts.py",
    "e2e/test_election.py",
    "e2e/test_drills.py",
    "local/test_controlplane.py",
)
#: The same of those that compute: they fill the time in which the others wait.
COMPUTING = (
    "benchmarks/test_told.py",
    "forgery/test_clusters.py",
    "simulation/test_histories.py",
    "simulation/test_fault_points.py",
    "forgery/test_attack.py",
    "simulation/test_prove.py",
)
#: Every other module is a portion. These take so long that they must not begin last.
WHOLE = ("e2e/test_story.py", "e2e/test_market.py", "deploy/test_chart_release.py")


def module_of(nodeid: str) -> str:
    """Returns the file of a test, as it stands below tests/."""
    return nodeid.partition("::")[0].removeprefix("tests/")


def portion_of(nodeid: str) -> str:
    """Returns the name of what is handed out together with a test."""
    module = module_of(nodeid)
    return nodeid if module in WAITING + COMPUTING else module


class Portions(LoadScopeScheduling):
    """`Portions` hands out portions of the tests to the processes of a run, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return portion_of(nodeid)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-stories", action="store_true", help="write tests/plan/stories anew, to be read and committed"
    )


@pytest.hookimpl(optionalhook=True)  # the gate of mutants runs without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Portions:
    config.option.loadscopereorder = False  # the order is that of `in_order`
    return Portions(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests for processes that share them. A single process keeps the order of the files."""
    named = (*WAITING, *COMPUTING, *WHOLE)
    stale = [name for name in named if not (config.rootpath / "tests" / name).is_file()]
    if stale:
        raise pytest.UsageError(f"tests/conftest.py names modules that are not there: {stale}")
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Returns the tests with the long ones first, and among those that wait, evenly, those that compute."""
    places: dict[str, float] = {}
    for modules in ((*WHOLE, *WAITING), COMPUTING):
        found = sorted(
            (item.nodeid for item in items if module_of(item.nodeid) in modules),
            key=lambda nodeid: modules.index(module_of(nodeid)),
        )
        portions = list(dict.fromkeys(map(portion_of, found)))
        places |= {portion: (number + 0.5) / len(portions) for number, portion in enumerate(portions)}
    return sorted(items, key=lambda item: places.get(portion_of(item.nodeid), 1.0))


# What a change must pass may not depend on luck: the same places each time, and new ones in `make explore`.
# No deadline, and no complaint that examples are slow to make: both say more about the machine than about the code.
SLOW = (HealthCheck.too_slow,)
settings.register_profile("same", deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)
settings.register_profile("explore", deadline=None, database=None, suppress_health_check=SLOW)
settings.load_profile("same")
