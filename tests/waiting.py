"""Waiting for a claim about other processes, in real time. Unit tests use virtual time instead (`clock`)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1
#: What is asked by a process of its own is asked less often: the machine has tests to run meanwhile.
REST, LONGEST_REST_SECONDS = 8.0, 1.0

#: A busy machine is slow, not broken: waiting ends only when it is sure that nothing will come any more.
PATIENCE_SECONDS = 180.0


def allowed(seconds: float) -> float:
    """Returns how long something may take now that must take at most `seconds` on a machine with nothing else to do.

    On a busy machine that is longer by its load, the number of processes that want to run.
    """
    return seconds * max(1.0, os.getloadavg()[0])


def eventually(claim: Callable[[], T], what: str = "it comes true", seconds: float = PATIENCE_SECONDS) -> T:
    """Return `claim()` once it is true; fail with `what` and the last value when it is not so in `seconds`."""
    asked = time.monotonic()
    deadline = asked + seconds
    while not (value := claim()):
        if time.monotonic() > deadline:
            raise AssertionError(_too_late(what, seconds, value))
        time.sleep(_pause(asked))
        asked = time.monotonic()
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
    while (asked := time.monotonic()) < deadline:
        assert claim(), f"no longer so: {what}"
        time.sleep(_pause(asked))


def _pause(asked: float) -> float:
    """Returns how long to wait until the next question, when the last was asked at `asked` and is answered now."""
    return max(POLL_SECONDS, min(REST * (time.monotonic() - asked), LONGEST_REST_SECONDS))


def _too_late(what: str, seconds: float, value: object) -> str:
    return f"not so within {seconds:g} s: {what}; last: {value!r}"
