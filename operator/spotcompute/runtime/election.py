"""Decides which of several replicas acts: the one that holds the Lease, until it has not renewed it in time.

Apart from the shell because a replica that stands by runs nothing else. The Lease saves calls and confusion, not money:
two replicas that act at the same time, as after a freeze, still buy no instance twice (docs/reliability.md).

The clock of another machine is never read. A replica that stands by measures with its own monotonic clock how long the
Lease has not changed. The leader measures since its last successful renewal, and gives up well before the others may
take over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from spotcompute.kube.lease import Lease, LeasePort
from spotcompute.kube.port import Conflict, KubeError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """`Timing` holds the times of the election.

    After a crash another replica leads within `lease_seconds + 2 * retry_seconds`, after a clean end within one
    `retry_seconds`.
    """

    lease_seconds: int = 12  # a Lease that has not changed for this long may be taken
    deadline_seconds: float = 8.0  # a holder that has not renewed for this long stops
    retry_seconds: float = 2.0  # between two reads, and between two renewals


class Elector:
    """`Elector` is one replica's side of the election. Call `acquire`, then `hold` while it acts, then `release`."""

    def __init__(
        self, lease: LeasePort, identity: str, now: Callable[[], datetime], timing: Timing | None = None
    ) -> None:
        """Takes `identity`, this process's name among the replicas, and `now`, which is recorded for people and never
        compared.
        """
        self._lease = lease
        self._identity = identity
        self._now = now
        self._timing = timing or Timing()
        self._turned_at = self._time()
        self._asked_at: float | None = None
        self._renewed_at = 0.0

    async def acquire(self) -> None:
        """Stands by until the Lease is ours. When the API server is away or refuses, it is asked again for ever."""
        seen: Lease | None = None
        seen_at = self._time()
        logged = ""
        while True:
            self._turned_at = self._time()
            wait = self._timing.retry_seconds
            try:
                lease = await self._lease.read()
                self._asked_at = self._time()
                if lease != seen:
                    seen, seen_at = lease, self._time()
                remaining = wait_seconds(lease, self._identity, self._time() - seen_at, self._timing)
                if remaining <= 0:
                    await self._claim(lease)
                    _log.info("leading", identity=self._identity)
                    return
                wait = min(wait, remaining)
                because = f"{lease.holder if lease else 'no replica'} leads"
            except Conflict:
                because = "another replica was quicker"
            except KubeError as error:
                because = str(error)
            if because != logged:
                logged = because
                _log.info("standing_by", identity=self._identity, because=because)
            await asyncio.sleep(wait)

    async def hold(self) -> str:
        """Renews the Lease for as long as that succeeds. Returns why it no longer does; from then on we may not act."""
        while True:
            left = self._renewed_at + self._timing.deadline_seconds - self._time()
            await asyncio.sleep(min(self._timing.retry_seconds, max(left, 0.0)))
            deadline = self._renewed_at + self._timing.deadline_seconds
            if self._time() >= deadline:
                return f"the Lease has not been renewed for {self._time() - self._renewed_at:.0f} s"
            try:
                async with asyncio.timeout_at(deadline):
                    lease = await self._lease.read()
                    if lease is not None and lease.holder not in ("", self._identity):
                        return f"{lease.holder} holds the Lease"
                    await self._claim(lease)
            except TimeoutError:
                continue
            except KubeError as error:
                _log.warning("lease_not_renewed", error=str(error))

    async def release(self) -> None:
        """Gives the Lease back if it is ours, so that no replica waits for it. If this fails, they wait."""
        try:
            lease = await self._lease.read()
            if lease is not None and lease.holder == self._identity:
                await self._lease.write(lease, "", 1, self._now())
                _log.info("lease_given_back", identity=self._identity)
        except KubeError as error:
            _log.warning("lease_not_given_back", error=str(error))

    def check(self) -> Mapping[str, float]:
        """Returns what the liveness probe shows of a replica that stands by. Raises RuntimeError when it is stuck."""
        age = self._time() - self._turned_at
        if age > 10 * self._timing.lease_seconds:
            raise RuntimeError(f"the Lease has not been looked at for {age:.0f} s")
        return {"lease_look_age_seconds": age}

    def is_in_touch(self) -> bool:
        """True when this replica could take over, because the API server has shown it the Lease lately."""
        return self._asked_at is not None and self._time() - self._asked_at <= self._timing.lease_seconds

    async def _claim(self, lease: Lease | None) -> None:
        asked_at = self._time()  # before the request, because other replicas count from when it was carried out
        await self._lease.write(lease, self._identity, self._timing.lease_seconds, self._now())
        self._renewed_at = asked_at

    def _time(self) -> float:
        return asyncio.get_running_loop().time()


def wait_seconds(lease: Lease | None, identity: str, unchanged_seconds: float, timing: Timing) -> float:
    """Returns for how many more seconds `identity` must wait before it may take `lease`. 0: it need not wait.

    `unchanged_seconds` says how long the Lease has not changed. A Lease that names `identity` itself comes from an
    earlier process of the same pod, which has ended.
    """
    if lease is None or lease.holder in ("", identity):
        return 0.0
    return max(0.0, max(lease.duration_seconds, timing.lease_seconds) - unchanged_seconds)
