"""A plugin of pytest for `sample`: runs the tests named in the file `$CHOSEN_TESTS`, in its order, and no others.

The files of these tests must be given as arguments. Thousands of names would not fit there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(json.loads(Path(os.environ["CHOSEN_TESTS"]).read_text()))}
    others = [item for item in items if item.nodeid not in order]
    config.hook.pytest_deselected(items=others)
    items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
