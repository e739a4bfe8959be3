"""How all tests are run: which go first, and where hypothesis looks for counterexamples."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

#: Minutes of one core, and nothing to wait for: begun first, one process computes while the other waits for real API
#: servers.
FIRST = "test_histories.py"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest module first; xdist hands out modules in this order."""
    items.sort(key=lambda item: Path(item.path).name != FIRST)


# What a change must pass may not depend on luck: the same places each time, and new ones in `make explore`.
# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, database=None)
settings.load_profile("same")
