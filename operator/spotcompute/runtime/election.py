"""Which of several replicas acts: whoever holds the Lease, until it has not been renewed in time.

Apart from the door, because a replica that stands by runs nothing else. The Lease saves calls and confusion, not money:
two that act at once, as after a freeze, still buy no instance twice (docs/reliability.md).

No clock of another machine is read. Who stands by measures with its own monotonic clock for how long the Lease has not
changed; who leads measures since it last asked for a renewal that was granted, and gives up well before the others may
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
    """After a crash another replica leads within `lease_seconds + 2 * retry_seconds`; after a clean end within one."""

    lease_seconds: int = 12  # unchanged for so long, the Lease may be taken
    deadline_seconds: float = 8.0  # not renewed for so long, its holder stops
    retry_seconds: float = 2.0  # between two looks, and two renewals


class Elector:
    """One replica's side of the election. `acquire`, then `hold` for as long as it acts, then `release`."""

    def __init__(
        self, lease: LeasePort, identity: str, now: Callable[[], datetime], timing: Timing | None = None
    ) -> None:
        """`identity` names this process among the replicas. `now` is written down for people and never compared."""
        self._lease = lease
        self._identity = identity
        self._now = now
        self._timing = timing or Timing()
        self._turned_at = self._time()
        self._asked_at: float | None = None
        self._renewed_at = 0.0

    async def acquire(self) -> None:
        """Stand by until the Lease is ours. An API server that is away, or refuses, is asked again for ever."""
        seen: Lease | None = None
        seen_at = self._time()
        said = ""
        while True:
            self._turned_at = self._time()
            wait = self._timing.retry_seconds
            try:
                lease = await self._lease.read()
                self._asked_at = self._time()
                if lease != seen:
                    seen, seen_at = lease, self._time()
                rest = rest_seconds(lease, self._identity, self._time() - seen_at, self._timing)
                if rest <= 0:
                    await self._claim(lease)
                    _log.info("leading", identity=self._identity)
                    return
                wait = min(wait, rest)
                say = f"{lease.holder if lease else 'nobody'} leads"
            except Conflict:
                say = "another replica was quicker"
            except KubeError as error:
                say = str(error)
            if say != said:
                said = say
                _log.info("standing_by", identity=self._identity, because=say)
            await asyncio.sleep(wait)

    async def hold(self) -> str:
        """Renew the Lease for as long as that succeeds; return why it no longer does. From then on we may not act."""
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
        """Give the Lease back, if it is ours, so that nobody waits for it. Failing, they wait."""
        try:
            lease = await self._lease.read()
            if lease is not None and lease.holder == self._identity:
                await self._lease.write(lease, "", 1, self._now())
                _log.info("lease_given_back", identity=self._identity)
        except KubeError as error:
            _log.warning("lease_not_given_back", error=str(error))

    def check(self) -> Mapping[str, float]:
        """What the liveness probe shows of a replica that stands by; raises RuntimeError when it is stuck."""
        age = self._time() - self._turned_at
        if age > 10 * self._timing.lease_seconds:
            raise RuntimeError(f"the Lease has not been looked at for {age:.0f} s")
        return {"lease_look_age_seconds": age}

    def is_in_touch(self) -> bool:
        """Could this replica take over: has the API server shown it the Lease lately?"""
        return self._asked_at is not None and self._time() - self._asked_at <= self._timing.lease_seconds

    async def _claim(self, lease: Lease | None) -> None:
        asked_at = self._time()  # before the request: others count from when it was carried out, which is later
        await self._lease.write(lease, self._identity, self._timing.lease_seconds, self._now())
        self._renewed_at = asked_at

    def _time(self) -> float:
        return asyncio.get_running_loop().time()


def rest_seconds(lease: Lease | None, identity: str, unchanged_seconds: float, timing: Timing) -> float:
    """How long `identity` has still to wait before it may take `lease`, which has not changed for so long; 0: not.

    A Lease that names `identity` itself is from the same pod's last process, which is no more.
    """
    if lease is None or lease.holder in ("", identity):
        return 0.0
    return max(0.0, max(lease.duration_seconds, timing.lease_seconds) - unchanged_seconds)
