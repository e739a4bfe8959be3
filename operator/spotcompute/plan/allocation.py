"""Where: the pools that may be asked now, ranked by the environment's strategy."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from spotcompute.model.desired import AllocationStrategy, Desired
from spotcompute.model.ledger import Ledger
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.actions import Pass
from spotcompute.plan.cooldown import is_resting

_NOT_QUOTED = Decimal("Infinity")


def ranked(desired: Desired, market: Market) -> list[Pool]:
    """Every pool of the spec, best first. Ties, and pools without a quote, keep the spec's order.

    Quotes rank but never veto: they lag behind stock and price, and only an attempt knows.
    """
    pools = [pool for pool, _ in desired.pools]
    if desired.strategy is AllocationStrategy.LOWEST_PRICE:
        pools.sort(key=lambda pool: _price(market, pool))
    return pools


def _price(market: Market, pool: Pool) -> Decimal:
    price = market.price(pool)
    return _NOT_QUOTED if price is None else price


def next_pool(desired: Desired, ledger: Ledger, market: Market, learned: Pass, now: datetime) -> Pool | None:
    """The best pool that does not rest and has not run dry in this run; None when there is none."""
    if is_resting(ledger, None, now):
        return None
    for pool in ranked(desired, market):
        if not is_resting(ledger, pool, now) and learned.room_below.get(pool, 2) > 1:
            return pool
    return None


def how_many(wanted: int, pool: Pool, market: Market, learned: Pass) -> int:
    """All that is wanted; half of what `pool` has just refused; one when the market quotes it sold out."""
    if pool in learned.room_below:
        return min(wanted, max(1, learned.room_below[pool] // 2))
    offering = market.offerings.get(pool)
    is_quoted_sold_out = offering is not None and offering.sold_out and pool not in learned.sells
    return 1 if is_quoted_sold_out else wanted
