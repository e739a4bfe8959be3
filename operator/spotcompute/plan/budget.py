"""Decides what may be paid: the bid for one instance, and how many more fit under the environment's limit.

Apart from `allocation`, because these are promises and not preferences: where a price is needed and is not known,
nothing is bought.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal

from spotcompute.model.desired import Caps, Desired
from spotcompute.model.ledger import Intent, LastPrice, Ledger, Member
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.capacity import held_on_demand, occupying, to_be_taken_over

#: What cannot be counted before it is a member.
NOT_TAKEN_OVER = "an instance is about to be taken over, and what it is like is known only then"

#: As many decimals as a bid may have.
_FINEST = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Bid:
    """`Bid` is the highest price for one instance and hour, None for the market's price; or the obstacle to any bid."""

    limit: Decimal | None = None
    obstacle: str | None = None


def bid_for(caps: Caps, pool: Pool, market: Market, *, is_stated: bool = False) -> Bid:
    """Returns what may be bid in `pool`. Without any cap it is the market's price.

    `is_stated` asks for an amount in that case too. It is the list price, because the cloud charges the market's price
    and never more than that; where no list price is quoted, it is the market's.
    Under a limit of the whole environment it is never more than the market's quote, because the limit is kept by that
    quote. If the price has risen since, the cloud refuses the bid.
    """
    limits = [limit for limit in (caps.explicit(pool.instance_type),) if limit is not None]
    if caps.need_quotes and market.unreliable_because is not None:
        return Bid(obstacle=f"the market's quotes are not believed: {market.unreliable_because}")
    if caps.percent_of_on_demand is not None:
        full = market.list_price(pool)
        if not full:
            return Bid(obstacle="its on-demand price is not quoted, and maxPricePercentOfOnDemand is a part of that")
        limits.append((full * caps.percent_of_on_demand / 100).quantize(_FINEST, ROUND_DOWN))
    if caps.in_total is not None:
        price = market.price(pool)
        if not price:
            return Bid(obstacle="its price is not quoted, and limits.maxHourlyCost cannot be kept without it")
        if market.extra_of(pool) is None:
            return Bid(
                obstacle="the price of its disks is not known, and limits.maxHourlyCost cannot be kept without it:"
                " may the key call InquiryPriceRunInstances?"
            )
        limits.append(price)
    return _stated(pool, market) if is_stated and not limits else Bid(min(limits, default=None))


def _stated(pool: Pool, market: Market) -> Bid:
    price = market.list_price(pool) or market.price(pool)
    if not price:
        return Bid(obstacle="its price is not quoted, and this site wants one in each request: set market.maxPrice")
    return Bid(price)


def is_within(desired: Desired, ledger: Ledger, intent: Intent, market: Market) -> bool:
    """True when the spec still allows a launch that was committed earlier and counts in `ledger`."""
    caps, fallback = desired.caps, desired.fallback
    if not _is_kept(caps.in_total, hourly_cost(ledger, market)):
        return False
    if intent.on_demand:
        most = desired.on_demand_wanted + desired.surge + (fallback.count_max if fallback else 0)
        if held_on_demand(ledger, desired) - desired.units(intent.pool) >= most:
            return False
        return fallback is None or _is_kept(fallback.hourly, hourly_cost_on_demand(ledger, market))
    now = bid_for(Caps(caps.per_instance, caps.by_type, caps.percent_of_on_demand), intent.pool, market)
    if now.obstacle is not None:
        return False
    return now.limit is None or (intent.bid is not None and intent.bid <= now.limit)


def _is_kept(limit: Decimal | None, spent: Decimal | None) -> bool:
    return limit is None or (spent is not None and spent <= limit)


def price_of(pool: Pool, on_demand: bool, market: Market) -> Decimal | None:
    """Returns what the instance alone costs per hour now. Returns None when the market does not say.

    Nothing is free: a price of 0 counts as missing.
    """
    return (market.list_price(pool) if on_demand else market.price(pool)) or None


def cost_of(pool: Pool, on_demand: bool, market: Market) -> Decimal | None:
    """Returns what an instance of `pool` costs per hour with its disks and bandwidth. Returns None when a part of that
    is not known.
    """
    price, extra = price_of(pool, on_demand, market), market.extra_of(pool)
    return None if price is None or extra is None else price + extra


def with_prices_noted(desired: Desired, ledger: Ledger, market: Market) -> Ledger:
    """Returns the ledger with the present price of everything that counts against a limit, or the last one known.

    A price that changes is shown in status as well, so no write is made for this alone.
    """
    if not desired.limits_costs:
        return ledger if not ledger.last_prices else replace(ledger, last_prices=())
    before = {(one.pool, one.on_demand): one for one in ledger.last_prices}
    kept: dict[tuple[Pool, bool], LastPrice] = {}
    for pool, on_demand, _ in _lots(occupying(ledger), ledger.intents):
        key = (pool, on_demand)
        price, extra = price_of(pool, on_demand, market), market.extra_of(pool)
        if price is not None and extra is not None:
            kept[key] = LastPrice(pool=pool, on_demand=on_demand, price=price, extra=extra)
        elif key in before:
            kept[key] = before[key]
    prices = tuple(kept[key] for key in sorted(kept))
    return ledger if prices == ledger.last_prices else replace(ledger, last_prices=prices)


def unpriced(ledger: Ledger, market: Market) -> tuple[Pool, tuple[str, ...]] | None:
    """Returns a pool whose instances have no known price, with their ids. Returns None when all have one."""
    noted = {(one.pool, one.on_demand) for one in ledger.last_prices}
    members = occupying(ledger)
    for pool, on_demand, _ in _lots(members, ledger.intents):
        if cost_of(pool, on_demand, market) is None and (pool, on_demand) not in noted:
            return pool, tuple(one.id for one in members if (one.pool, one.on_demand) == (pool, on_demand))
    return None


def hourly_cost(ledger: Ledger, market: Market) -> Decimal | None:
    """Returns what everything that exists or is on its way costs per hour. Returns None when a price is not known."""
    return _sum_of(occupying(ledger), ledger.intents, ledger, market)


def hourly_cost_on_demand(ledger: Ledger, market: Market) -> Decimal | None:
    """Returns what the on-demand instances that exist or are on their way cost per hour. Returns None when a price is
    not known.
    """
    members = [member for member in occupying(ledger) if member.on_demand]
    return _sum_of(members, [intent for intent in ledger.intents if intent.on_demand], ledger, market)


def _sum_of(members: Iterable[Member], intents: Iterable[Intent], ledger: Ledger, market: Market) -> Decimal | None:
    """Returns the sum by the prices of now; where a type is not quoted any more, by its last one."""
    noted = {(one.pool, one.on_demand): one.price + one.extra for one in ledger.last_prices}
    total = Decimal(0)
    for pool, on_demand, count in _lots(members, intents):
        cost = cost_of(pool, on_demand, market)
        if cost is None and (cost := noted.get((pool, on_demand))) is None:
            return None
        total += cost * count
    return total


def _lots(members: Iterable[Member], intents: Iterable[Intent]) -> list[tuple[Pool, bool, int]]:
    """Returns what exists and what is on its way, as pool, charge type and number."""
    lots = [(member.pool, member.on_demand, 1) for member in members]
    return lots + [(intent.pool, intent.on_demand, intent.missing) for intent in intents]


@dataclass(frozen=True, slots=True)
class Room:
    """`Room` is how many more instances fit under a limit, None for any number; or why that is not known."""

    count: int | None = None
    obstacle: str | None = None


def room_under(limit: Decimal | None, spent: Decimal | None, unit: Decimal | None) -> Room:
    """Returns how many instances at `unit` fit between what is spent per hour and `limit`."""
    if limit is None:
        return Room()
    if spent is None or not unit:
        return Room(obstacle="not every instance has a known price, and the limit per hour cannot be kept without it")
    return Room(max(0, int((limit - spent) // unit)))


def room_for(desired: Desired, ledger: Ledger, market: Market, pool: Pool, bid: Bid) -> Room:
    """Returns how many more spot instances at `bid`, with their disks, fit under the limit of the environment."""
    if desired.caps.in_total is None:
        return Room()
    if to_be_taken_over(ledger):
        return Room(obstacle=f"limits.maxHourlyCost cannot be kept yet: {NOT_TAKEN_OVER}")
    extra = market.extra_of(pool)
    unit = None if bid.limit is None or extra is None else bid.limit + extra
    if (found := unpriced(ledger, market)) is not None:
        where, ids = found
        named = f"{', '.join(ids[:3])} in {where}" if ids else f"a launch in {where}"
        return Room(
            obstacle=f"the price of {named} is not quoted and was never known, and limits.maxHourlyCost cannot be kept"
            " without it. End what runs there, or take the limit away"
        )
    return room_under(desired.caps.in_total, hourly_cost(ledger, market), unit)
