"""A Lease in memory, for elections in virtual time."""

from __future__ import annotations

import asyncio
from datetime import datetime

from spotcompute.kube.lease import Lease
from spotcompute.kube.port import Conflict, KubeError


class OneLease:
    """A Lease in memory that replicas share. `away` is raised instead of an answer while it is set."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.away: KubeError | None = None
        self.hangs = False
        self.writes: list[tuple[float, str]] = []
        self._version = 0

    async def read(self) -> Lease | None:
        await self._answer()
        return self.lease

    async def write(self, before: Lease | None, holder: str, duration_seconds: int, now: datetime) -> Lease:
        await self._answer()
        if before != self.lease:
            raise Conflict("it has changed")
        self._version += 1
        changes_hands = before is not None and holder not in ("", before.holder)
        transitions = (before.transitions if before else 0) + changes_hands
        self.lease = Lease(holder, duration_seconds, transitions, str(self._version))
        self.writes.append((asyncio.get_running_loop().time(), holder))
        return self.lease

    async def _answer(self) -> None:
        await asyncio.sleep(0.01)
        if self.hangs:
            await asyncio.Event().wait()
        if self.away is not None:
            raise self.away
