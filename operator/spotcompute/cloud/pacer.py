"""Limits how fast an account is asked: so many calls in any second per action, and waiting environments served in turn.

Apart from any vendor because it knows only names of actions and rates. All calls of one account pass one pacer.
Therefore its limits hold for any number of environments, and one busy environment does not starve the others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

#: Even calls may come together within this time: short bursts, but no flood after a quiet hour.
EVEN_SECONDS = 0.1

#: After a throttle the rate rises evenly and is back at its full value after this many seconds.
RECOVERY_SECONDS = 30.0

#: Throttles closer together than this belong to the same moment and slow down only once.
SLOW_DOWN_SECONDS = 1.0

#: Smallest share of the rate after many throttles. A rate of 0 would never recover.
FLOOR = 1 / 16


@dataclass(frozen=True, slots=True)
class Rate:
    """`Rate` allows at most `calls` in any `seconds`. All may come at once, and then none for the rest of the time.

    With long `seconds` few callers are served at once. In the long run only the quotient counts.
    """

    calls: int
    seconds: float

    @classmethod
    def even(cls, per_second: float) -> Rate:
        """Returns a rate of so many calls per second, nearly evenly apart."""
        calls = max(1, int(per_second * EVEN_SECONDS))
        return cls(calls, calls / per_second)

    @property
    def per_second(self) -> float:
        """Returns the calls per second in the long run."""
        return self.calls / self.seconds


class Pacer:
    """`Pacer` lets calls through at `rates[action]`.

    Use it in one event loop only, because its time is the loop's.
    """

    def __init__(self, rates: Mapping[str, Rate]) -> None:
        """Takes `rates` by action. They must name every action that will be asked for."""
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
    """`_Lane` knows when one action was last called, and the callers that wait for it."""

    def __init__(self, rate: Rate) -> None:
        self._nominal = rate
        self._share = 1.0  # of the nominal rate, less after a throttle
        self._updated_at: float | None = None
        self._slowed_at: float | None = None
        self._paused_until: float | None = None
        self._given: deque[float] = deque(maxlen=rate.calls)
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
        self._recover()
        now = asyncio.get_running_loop().time()
        if self._slowed_at is None or now - self._slowed_at >= SLOW_DOWN_SECONDS:
            self._slowed_at = now
            self._share = max(FLOOR, self._share / 2)
            # The cloud has counted more calls than we know of, and forgets them in this time.
            self._paused_until = now + self._window()
        self._schedule()

    def current_rate(self) -> float:
        self._recover()
        return self._nominal.per_second * self._share

    def _serve(self) -> None:
        """Hands out the turns that are due, one environment after the other, and sets a timer for the next."""
        self._recover()
        while self._waiting and self._next_at() <= asyncio.get_running_loop().time():
            environment, tickets = self._waiting.popitem(last=False)
            ticket = tickets.popleft()
            if tickets:
                self._waiting[environment] = tickets
            if not ticket.done():
                self._given.append(asyncio.get_running_loop().time())
                ticket.set_result(None)
        self._schedule()

    def _at_once(self) -> int:
        """Returns how many calls may come at once now."""
        return max(1, int(self._nominal.calls * self._share))

    def _window(self) -> float:
        """Returns the seconds in which no more than those may come."""
        return self._at_once() / (self._nominal.per_second * self._share)

    def _next_at(self) -> float:
        """Returns when the next turn is due."""
        paused = self._paused_until if self._paused_until is not None else 0.0
        if len(self._given) < self._at_once():
            return paused
        return max(paused, self._given[-self._at_once()] + self._window())

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            # Slightly later than computed: a timer that fires a rounding error too early would spin.
            self._timer = asyncio.get_running_loop().call_at(self._next_at() + 1e-6, self._serve)

    def _recover(self) -> None:
        now = asyncio.get_running_loop().time()
        elapsed = now - self._updated_at if self._updated_at is not None else 0.0
        self._updated_at = now
        self._share = min(1.0, self._share + elapsed / RECOVERY_SECONDS)

    def _give_back(self, environment: str, ticket: asyncio.Future[None]) -> None:
        """Removes a cancelled wait from the queue, or passes on the turn that it had just been given."""
        if ticket.done() and not ticket.cancelled():
            if self._given:
                self._given.pop()
            self._serve()
            return
        tickets = self._waiting.get(environment)
        if tickets is not None and ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del self._waiting[environment]
        self._schedule()
