"""Waiting for a claim about other processes, in real time. Unit tests use virtual time instead (`clock`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1

#: A busy machine is slow, not broken. Claims that promise a time say it themselves.
PATIENCE_SECONDS = 60.0


def eventually(claim: Callable[[], T], what: str = "it comes true", seconds: float = PATIENCE_SECONDS) -> T:
    """Return `claim()` once it is true; fail with `what` and the last value when it is not so in `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := claim()):
        if time.monotonic() > deadline:
            raise AssertionError(_too_late(what, seconds, value))
        time.sleep(POLL_SECONDS)
    return value


async def eventually_async(claim: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """The same where what is waited for happens in this loop, which must not stop meanwhile."""
    deadline = time.monotonic() + seconds
    while not (value := claim()):
        if time.monotonic() > deadline:
            raise AssertionError(_too_late("it comes true", seconds, value))
        await asyncio.sleep(POLL_SECONDS / 2)


def throughout(claim: Callable[[], object], what: str, seconds: float) -> None:
    """Fail as soon as `claim()` is false within `seconds`; for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert claim(), f"no longer so: {what}"
        time.sleep(POLL_SECONDS)


def _too_late(what: str, seconds: float, value: object) -> str:
    return f"not so within {seconds:g} s: {what}; last: {value!r}"
