"""Finds the pools of an environment that names requirements instead of instance types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spotcompute.model.desired import Desired, Placement
from spotcompute.model.offering import Market, Offering, Pool

#: Most pools that an environment works with. Status shows all of them.
POOLS_MAX = 60


def with_pools(desired: Desired, market: Market) -> Desired:
    """Returns `desired` with the pools that meet its requirements: by placement as the spec lists them, then by price.

    It is unchanged when the spec names types. A pool that is sold out now is still a pool.
    """
    if desired.requirements is None or desired.deleting:
        return desired
    if not market.offerings:
        why = f"not believed: {market.unreliable_because}" if market.unreliable_because else "not known yet"
        return replace(desired, pools=(), unmet=f"which types there are: the market's quotes are {why}")
    fitting = [offering for offering in market.offerings.values() if desired.requirements.fits(offering)]
    pools = [
        (offering.pool, placement)
        for placement in desired.zones
        for offering in sorted(fitting, key=_cheapest_first)
        if offering.pool.zone == placement.zone
    ]
    return replace(desired, pools=_fairly_cut(pools, len(desired.zones)))


def _fairly_cut(pools: Sequence[tuple[Pool, Placement]], placements: int) -> tuple[tuple[Pool, Placement], ...]:
    """Returns at most `POOLS_MAX` pools, as many of each placement."""
    if len(pools) <= POOLS_MAX:
        return tuple(pools)
    share, taken = max(1, POOLS_MAX // placements), dict[str, int]()
    kept: list[tuple[Pool, Placement]] = []
    for pool, placement in pools:
        taken[pool.zone] = taken.get(pool.zone, 0) + 1
        if taken[pool.zone] <= share:
            kept.append((pool, placement))
    return tuple(kept)


def _cheapest_first(offering: Offering) -> tuple[bool, object, str]:
    price = offering.price_per_hour
    return (not price, price or 0, offering.pool.instance_type)
