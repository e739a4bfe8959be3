"""Collects what environments tell of the market: prices, stock and zones, by region. It is pure.

Apart from `reading`, because an offer is what several environments say together. The page has no key of the cloud, so
this is all it knows of prices (docs/decisions/2026-11-30-the-page-has-no-key.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from kubectl_spot.ui.reading import Pool, Summary


@dataclass(frozen=True, slots=True)
class Offer:
    """`Offer` is a pool, with its prices and with the number of environments that tell of it."""

    region: str
    zone: str
    instance_type: str
    currency: str
    price: Decimal | None
    list_price: Decimal | None
    stock: str
    environments: int

    @property
    def discount(self) -> int | None:
        """Returns by how many percent the spot price is below the list price. None when one of them is not known."""
        if self.price is None or not self.list_price:
            return None
        return int((1 - self.price / self.list_price) * 100)


def offers(summaries: Iterable[Summary]) -> list[Offer]:
    """Returns every pool that an environment tells of, cheapest first within a region.

    Accounts on the mainland site and on the international one pay in different currencies, so a pool may appear twice.
    """
    told: dict[tuple[str, str, str, str], list[Pool]] = {}
    for one in summaries:
        for pool in one.pools:
            if pool.price is not None or pool.list_price is not None or pool.stock:
                told.setdefault((pool.region, pool.zone, pool.instance_type, pool.currency), []).append(pool)
    found = [_offer(pools) for pools in told.values()]
    return sorted(found, key=lambda one: (one.region, one.price is None, one.price or 0, one.instance_type, one.zone))


def _offer(pools: list[Pool]) -> Offer:
    first = pools[0]
    prices = [pool.price for pool in pools if pool.price is not None]
    listed = [pool.list_price for pool in pools if pool.list_price is not None]
    stocks = [pool.stock for pool in pools if pool.stock]
    # All read the same market within seconds of each other; the highest price is the careful one to show.
    return Offer(
        region=first.region,
        zone=first.zone,
        instance_type=first.instance_type,
        currency=first.currency,
        price=max(prices, default=None),
        list_price=max(listed, default=None),
        stock=stocks[0] if stocks else "",
        environments=len(pools),
    )


def regions(found: Iterable[Offer]) -> list[str]:
    """Returns the regions of offers, in order."""
    return sorted({one.region for one in found if one.region})
