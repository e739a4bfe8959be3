"""Remembers what the page has seen change: ready against desired, prices, reclaims. It is bounded, and reads no clock.

Apart from `state`, which holds how things are now. An activity log tells of reclaims and of prices at launches before
the page was opened, so those charts do not begin empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal

from kubectl_spot.ui.reading import Object, Summary, launch_prices_of, reclaims_of

#: Points kept of one environment, of one pool, and of all environments together.
ENVIRONMENT_POINTS, PRICE_POINTS, FLEET_POINTS = 120, 240, 2_000

#: Pools whose prices are kept, and reclaims kept of all environments.
POOLS_KEPT, RECLAIMS_KEPT = 1_000, 5_000

#: Time between two points of all environments together: they change whenever any of them does.
FLEET_SECONDS = 1.0

Point = tuple[float, float]


class History:
    """`History` holds points in time of what changed. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._counts: dict[str, deque[tuple[float, int, int]]] = {}
        self._prices: dict[tuple[str, str], deque[Point]] = {}
        self._reclaims: deque[tuple[float, str, int]] = deque(maxlen=RECLAIMS_KEPT)
        self._fleet: deque[tuple[float, int, int]] = deque(maxlen=FLEET_POINTS)
        self._ready = self._wanted = 0

    def saw(self, before: Summary | None, found: Summary, obj: Object, at: float) -> None:
        """Records that an environment is now as `found`, and was as `before`."""
        if before is None:
            self._begin(found, obj)
        elif found.reclaimed > before.reclaimed and found.uid == before.uid:
            self._reclaims.append((at, found.key, found.reclaimed - before.reclaimed))
        points = self._counts.setdefault(found.key, deque(maxlen=ENVIRONMENT_POINTS))
        if not points or points[-1][1:] != (found.ready, found.wanted):
            points.append((at, found.ready, found.wanted))
        for pool in found.pools:
            if pool.price is not None:
                self._price((pool.name, pool.currency), at, pool.price)
        self._count(before, found, at)

    def lost(self, before: Summary, at: float) -> None:
        """Records that an environment is gone."""
        self._counts.pop(before.key, None)
        self._count(before, None, at)

    def counts(self, key: str) -> Mapping[str, Sequence[Point]]:
        """Returns the points of `ready` and `desired` of one environment."""
        return _named(self._counts.get(key, ()))

    def fleet(self) -> Mapping[str, Sequence[Point]]:
        """Returns the points of `ready` and `desired` of all environments together."""
        return _named(self._fleet)

    def prices(self, found: Summary) -> Mapping[str, Sequence[Point]]:
        """Returns the prices of each pool of one environment."""
        names = [(pool.name, pool.currency) for pool in found.pools]
        return {name: list(self._prices[name, money]) for name, money in names if (name, money) in self._prices}

    def reclaims(self, key: str = "") -> list[tuple[float, int]]:
        """Returns when instances were taken back, and how many: those of one environment, or of all."""
        return [(at, count) for at, of, count in self._reclaims if not key or of == key]

    def _begin(self, found: Summary, obj: Object) -> None:
        self._reclaims.extend((at.timestamp(), found.key, count) for at, count in reversed(reclaims_of(obj)))
        money = next((pool.currency for pool in found.pools), found.currency)
        known = set(self._prices)
        for at, name, price in sorted(launch_prices_of(obj)):
            if (name, money) not in known:
                self._price((name, money), at.timestamp(), price)

    def _price(self, pool: tuple[str, str], at: float, price: Decimal) -> None:
        if pool not in self._prices and len(self._prices) >= POOLS_KEPT:
            return
        points = self._prices.setdefault(pool, deque(maxlen=PRICE_POINTS))
        if not points or (points[-1][1] != float(price) and points[-1][0] <= at):
            points.append((at, float(price)))

    def _count(self, before: Summary | None, found: Summary | None, at: float) -> None:
        for one, sign in ((before, -1), (found, 1)):
            if one is not None:
                self._ready, self._wanted = self._ready + sign * one.ready, self._wanted + sign * one.wanted
        if self._fleet and at - self._fleet[-1][0] < FLEET_SECONDS:
            at = self._fleet.pop()[0]
        elif self._fleet and self._fleet[-1][1:] == (self._ready, self._wanted):
            return
        self._fleet.append((at, self._ready, self._wanted))


def _named(points: Sequence[tuple[float, int, int]] | deque[tuple[float, int, int]]) -> Mapping[str, Sequence[Point]]:
    return {"ready": [(at, ready) for at, ready, _ in points], "desired": [(at, wanted) for at, _, wanted in points]}
