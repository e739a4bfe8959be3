"""How all tests are run: in which order and portions, where hypothesis looks, and the one control plane."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from controlplane import control_plane, swept

__all__ = ["control_plane", "swept"]

#: Modules and folders that share something costly, with the name of the portion they are together: an installed base,
#: and what every scenario asks for.
TOGETHER = {
    "deploy/": "deploy",
    "simulation/test_fault_points.py": "scenarios",
    "simulation/test_prove.py": "scenarios",
    "simulation/test_regressions.py": "scenarios",
}
#: Modules that take long, with the number of portions their tests are dealt into: each portion makes what the tests of
#: a module share once more. The tests of a module with None share nothing: each is a portion. These wait for processes.
WAITING: dict[str, int | None] = {
    "deploy": 1,
    "local/test_newcomer.py": 2,
    "local/test_demo.py": None,
    "e2e/test_crashes.py": 2,
    "e2e/test_alerts.py": 2,
    "e2e/test_several_namespaces.py": 1,
    "runtime/test_shell.py": 2,
    "e2e/test_kills.py": 1,
    "e2e/test_election.py": 2,
    "e2e/test_drills.py": 2,
    "e2e/test_story.py": 1,
    "e2e/test_market.py": 1,
    "e2e/test_truth.py": 1,
    "e2e/test_kstatus.py": 1,
    "e2e/test_nodes.py": 1,
    "e2e/test_rights.py": 1,
    "local/test_demo_installation.py": 1,
    "local/test_controlplane.py": 1,
    "hostile/test_hostile.py": 1,
}
#: The same of those that compute: they fill the time in which the others wait.
COMPUTING: dict[str, int | None] = {
    "scenarios": 1,
    "simulation/test_histories.py": 2,
    "simulation/test_farms.py": 1,
    "cloud/verify/test_safety.py": 2,
    "forgery/test_clusters.py": 1,
    "forgery/test_attack.py": 1,
    "benchmarks/test_told.py": 1,
    "plan/test_convergence.py": 1,
    "plan/test_properties.py": 1,
}
LONG = WAITING | COMPUTING


def module_of(nodeid: str) -> str:
    """Returns the file of a test, as it stands below tests/."""
    return nodeid.partition("::")[0].removeprefix("tests/")


def portion_of(nodeid: str) -> str:
    """Returns the name of what is handed out together with a test."""
    module = module_of(nodeid)
    name = next((TOGETHER[begin] for begin in TOGETHER if module.startswith(begin)), module)
    parts = LONG.get(name, 1)
    return f"{module} {nodeid}" if parts is None else f"{name} {crc32(nodeid.encode()) % parts}"


class Portions(LoadScopeScheduling):
    """`Portions` hands out portions of the tests to the processes of a run, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return portion_of(nodeid)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-stories", action="store_true", help="write tests/plan/stories anew, to be read and committed"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without collecting garbage: nothing is, and what is imported and listed here is never looked at again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)  # the gate of mutants runs without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Portions:
    config.option.loadscopereorder = False  # the order is that of `in_order`
    return Portions(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests for processes that share them. A single process keeps the order of the files."""
    named = {*LONG, *TOGETHER} - {*TOGETHER.values()}
    stale = sorted(name for name in named if not (config.rootpath / "tests" / name).exists())
    if stale:
        raise pytest.UsageError(f"tests/conftest.py names modules that are not there: {stale}")
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Returns the tests with the long ones first, and among those that wait, evenly, those that compute."""
    found = dict.fromkeys(portion_of(item.nodeid) for item in items)
    places: dict[str, float] = {}
    for names in (WAITING, COMPUTING):
        portions = [portion for name in names for portion in found if portion.startswith(f"{name} ")]
        places |= {portion: (number + 0.5) / len(portions) for number, portion in enumerate(portions)}
    return sorted(items, key=lambda item: places.get(portion_of(item.nodeid), 1.0))


# kubectl and the control planes spend a quarter of their time on garbage if they keep to little memory.
os.environ.setdefault("GOGC", "400")

# What a change must pass may not depend on luck: the same places each time, and new ones in `make explore`.
# No deadline, and no complaint that examples are slow to make: both say more about the machine than about the code.
SLOW = (HealthCheck.too_slow,)
settings.register_profile("same", deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)
settings.register_profile("explore", deadline=None, database=None, suppress_health_check=SLOW)
settings.load_profile("same")
