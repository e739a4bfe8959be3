"""Waiting for a claim about other processes, in real time: everything in this suite happens in processes of its own.

Separate from the fixtures because helpers wait too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1

#: A busy machine is slow, not broken. Claims that promise a time say it themselves.
PATIENCE_SECONDS = 60.0


def eventually(claim: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Return `claim()` once it is true; fail with `what` and the last value when it is not so in `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := claim()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds:g} s: {what}; last: {value!r}")
        time.sleep(POLL_SECONDS)
    return value


def throughout(claim: Callable[[], object], what: str, seconds: float) -> None:
    """Fail as soon as `claim()` is false within `seconds`; for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert claim(), f"no longer so: {what}"
        time.sleep(POLL_SECONDS)
