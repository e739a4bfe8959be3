"""Limits how fast an account is asked: a token bucket per action, and waiting environments served in turn.

Apart from any vendor because it knows only names of actions and rates. All calls of one account pass one pacer.
Therefore its limits hold for any number of environments, and one busy environment does not starve the others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping

#: A bucket holds the calls of this many seconds, and at least one: short bursts, but no flood after a quiet hour.
BURST_SECONDS = 0.1

#: After a throttle the rate rises evenly and is back at its full value after this many seconds.
RECOVERY_SECONDS = 30.0

#: Throttles closer together than this belong to the same moment and slow down only once.
SLOW_DOWN_SECONDS = 1.0

#: Smallest share of the rate after many throttles. A rate of 0 would never recover.
FLOOR = 1 / 16


class Pacer:
    """`Pacer` lets calls through at `rates[action]` per second.

    Use it in one event loop only, because its time is the loop's.
    """

    def __init__(self, rates: Mapping[str, float]) -> None:
        """Takes `rates`, calls per second by action. They must name every action that will be asked for."""
        self._lanes = {action: _Lane(rate) for action, rate in rates.items()}

    async def turn(self, action: str, on_behalf_of: str) -> None:
        """Waits until `action` may be called once.

        Callers on behalf of different environments are served round robin, callers of one environment in the order they
        came. A cancelled wait takes no turn from the others. Raises KeyError for an action without a rate.
        """
        await self._lanes[action].turn(on_behalf_of)

    def slow_down(self, action: str) -> None:
        """Halves the rate of `action`, because the cloud has just refused a call for its rate.

        The rate recovers by itself.
        """
        self._lanes[action].slow_down()

    def rate(self, action: str) -> float:
        """Returns the current rate of `action` in calls per second."""
        return self._lanes[action].current_rate()


class _Lane:
    """`_Lane` is the bucket of one action, with the callers that wait for it."""

    def __init__(self, rate: float) -> None:
        self._nominal = rate
        self._burst = max(1.0, rate * BURST_SECONDS)
        self._rate = rate
        self._tokens = self._burst
        self._updated_at: float | None = None
        self._slowed_at: float | None = None
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, on_behalf_of: str) -> None:
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(on_behalf_of, deque()).append(ticket)
        self._serve()
        try:
            await ticket
        except asyncio.CancelledError:
            self._give_back(on_behalf_of, ticket)
            raise

    def slow_down(self) -> None:
        self._refill()
        now = asyncio.get_running_loop().time()
        if self._slowed_at is None or now - self._slowed_at >= SLOW_DOWN_SECONDS:
            self._slowed_at = now
            self._rate = max(self._nominal * FLOOR, self._rate / 2)
            self._tokens = 0.0
        self._schedule()

    def current_rate(self) -> float:
        self._refill()
        return self._rate

    def _serve(self) -> None:
        """Hands out the available tokens, one environment after the other, and sets a timer for the next."""
        self._refill()
        while self._waiting and self._tokens >= 1.0:
            environment, tickets = self._waiting.popitem(last=False)
            ticket = tickets.popleft()
            if tickets:
                self._waiting[environment] = tickets
            if not ticket.done():
                self._tokens -= 1.0
                ticket.set_result(None)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._refill()
            # Slightly longer than computed: a timer that fires a rounding error too early would spin.
            delay = (1.0 - self._tokens) / self._rate + 1e-6
            self._timer = asyncio.get_running_loop().call_later(delay, self._serve)

    def _refill(self) -> None:
        now = asyncio.get_running_loop().time()
        elapsed = now - self._updated_at if self._updated_at is not None else 0.0
        self._updated_at = now
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._rate = min(self._nominal, self._rate + elapsed * self._nominal / RECOVERY_SECONDS)

    def _give_back(self, environment: str, ticket: asyncio.Future[None]) -> None:
        """Removes a cancelled wait from the queue, or passes on the turn that it had just been given."""
        if ticket.done() and not ticket.cancelled():
            self._tokens = min(self._burst, self._tokens + 1.0)
            self._serve()
            return
        tickets = self._waiting.get(environment)
        if tickets is not None and ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del self._waiting[environment]
        self._schedule()
