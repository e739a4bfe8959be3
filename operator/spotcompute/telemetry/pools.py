"""Exposes what the pools in use cost, how much stock they have, and how often they took instances back.

Apart from `metrics`, whose gauges belong to one environment: a pool is shared by all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spotcompute.model.offering import Market, Offering, Pool, Stock

#: Most pools that are shown: those with the most instances. Requirements may name hundreds, and each is three series.
POOLS_MAX = 200

#: How much stock a word of the market stands for. What it does not say has no sample.
STOCK_LEVELS = {Stock.ENOUGH: 3, Stock.NORMAL: 2, Stock.LOW: 1, Stock.NONE: 0}

#: Gauges of one pool: name, description, labels in addition to zone and instance type.
OF_A_POOL: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("spotenv_pool_price", "Spot price of one instance per hour, as the market quotes it now.", ("currency",)),
    ("spotenv_pool_stock", "What the market says of its stock: 3 enough, 2 normal, 1 low, 0 none.", ()),
    ("spotenv_pool_instances", "Instances of all environments in it.", ()),
    ("spotenv_pool_reclaims", "Instances of the present environments that it has taken back.", ()),
)


class Pools(Collector):
    """`Pools` exposes the gauges of the pools that environments name, read at the moment of the scrape."""

    def __init__(
        self,
        objects: Callable[[], Iterable[Mapping[str, Any]]],
        markets: Callable[[], Iterable[Market]],
        currency: str,
    ) -> None:
        """Takes `objects` and `markets`, which may be called from another thread."""
        self._objects, self._markets, self._currency = objects, markets, currency

    def describe(self) -> list[Metric]:
        """Returns the families without samples, so that registering reads nothing."""
        return list(self._families().values())

    def collect(self) -> Iterable[Metric]:
        """Returns the gauges of at most POOLS_MAX pools."""
        families, (held, reclaims) = self._families(), self._counted()
        offerings: dict[Pool, Offering] = {}
        for market in self._markets():
            offerings.update(market.offerings)
        for pool in sorted(held, key=lambda pool: (-held[pool], pool))[:POOLS_MAX]:
            labels, offering = [pool.zone, pool.instance_type], offerings.get(pool)
            families["spotenv_pool_instances"].add_metric(labels, held[pool])
            families["spotenv_pool_reclaims"].add_metric(labels, reclaims[pool])
            if offering is None:
                continue
            if offering.price_per_hour is not None:
                families["spotenv_pool_price"].add_metric([*labels, self._currency], float(offering.price_per_hour))
            stock = Stock.NONE if offering.sold_out else offering.stock
            if stock in STOCK_LEVELS:
                families["spotenv_pool_stock"].add_metric(labels, STOCK_LEVELS[stock])
        return families.values()

    def _counted(self) -> tuple[Counter[Pool], Counter[Pool]]:
        held, reclaims = Counter[Pool](), Counter[Pool]()
        for obj in self._objects():
            try:
                pools = [_counts(one) for one in (obj.get("status") or {}).get("pools") or ()]
            except (LookupError, TypeError, ValueError, AttributeError):
                continue  # another writer broke its status; the operator will write it anew
            for pool, count, taken in pools:
                held[pool] += count
                reclaims[pool] += taken
        return held, reclaims

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            name: GaugeMetricFamily(name, text, labels=["zone", "instance_type", *labels])
            for name, text, labels in OF_A_POOL
        }


def _counts(shown: Mapping[str, Any]) -> tuple[Pool, int, int]:
    pool = Pool(str(shown["zone"]), str(shown["instanceType"]))
    return pool, int(shown["instances"]), int(shown.get("reclaims") or 0)
