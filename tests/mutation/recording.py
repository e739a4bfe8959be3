"""A plugin of pytest for `sample`: records which lines each test executes, what it costs, and whether it passed.

    RECORDED_TESTS=tests.json coverage run -m pytest -p mutation.recording …

Coverage writes the lines into a file of its own, with the test as their context.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

#: For each test: seconds of CPU time, whether it passed, and whether it needs a real control plane.
_rows: dict[str, dict[str, Any]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    coverage = Coverage.current()
    assert coverage is not None, "this is for `coverage run`"
    is_real = "control_plane" in getattr(item, "fixturenames", ())
    row = _rows[item.nodeid] = {"passed": True, "real": is_real}
    coverage.switch_context(item.nodeid)
    began = time.process_time()
    try:
        return (yield)
    finally:
        row["seconds"] = round(time.process_time() - began, 3)
        coverage.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _rows[report.nodeid]["passed"] &= not report.failed


def pytest_sessionfinish() -> None:
    Path(os.environ["RECORDED_TESTS"]).write_text(json.dumps(_rows))
