"""Waiting for a claim about other processes, in real time; unit tests use virtual time instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from localcluster.controlplane import ControlPlane


async def eventually(claim: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until `claim()` is true; fail with its last value when it is not so in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := claim()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not so within {seconds:g} s: {value!r}")
        await asyncio.sleep(0.05)


async def kubectl(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the admin, without stopping the loop that an operator under test runs in."""
    return await asyncio.to_thread(plane.kubectl.run, *arguments, stdin=stdin)
