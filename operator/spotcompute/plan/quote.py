"""Quotes what would be bought if buying began now, and what it would cost.

Apart from `planner`, because a quote buys nothing and is only read by people: no decision may depend on it. It asks
`allocation` the planner's own questions, as if each pool sold what the market says it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from spotcompute.model.desired import CapacityUnit, ZonePolicy
from spotcompute.model.ledger import Intent
from spotcompute.model.offering import Market, Pool, Stock
from spotcompute.plan.actions import Learned
from spotcompute.plan.allocation import Offer, how_many, next_offer
from spotcompute.plan.budget import bid_for, price_of
from spotcompute.plan.situation import Situation

#: Steps after which the remaining instances are no longer spread over zones: one by one, thousands would take long.
_EVEN_STEPS = 200


@dataclass(frozen=True, slots=True)
class Line:
    """`Line` is about one pool: its market, what may be bid, and why it would not be asked, or would be asked in vain.

    Prices are per instance and hour, None when not quoted. `bid` is None for the market's price, and for no bid at all.
    """

    pool: Pool
    score: float
    stock: Stock
    price: Decimal | None
    list_price: Decimal | None
    bid: Decimal | None
    is_asked: bool
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Lot:
    """`Lot` is a number of instances of one pool; `extra` is the price of the disks and bandwidth of each.

    Each counts `units` towards `replicas`.
    """

    pool: Pool
    count: int
    price: Decimal | None
    list_price: Decimal | None
    bid: Decimal | None
    extra: Decimal | None = None
    units: int = 1


@dataclass(frozen=True, slots=True)
class Quote:
    """`Quote` says what would be chosen (`lots`) for the `missing` instances; fewer when the market has not enough.

    `unmet` says why there are no pools. With `in_vcpu` both numbers count vCPU.
    """

    missing: int
    lines: tuple[Line, ...]
    lots: tuple[Lot, ...]
    unmet: str | None = None
    in_vcpu: bool = False

    @property
    def chosen(self) -> int:
        """Returns how much all lots count towards `replicas`, and no more than is missing."""
        return min(self.missing, sum(lot.count * lot.units for lot in self.lots))

    @property
    def per_hour(self) -> Decimal | None:
        """Returns the price of the lots per hour, with disks and bandwidth if known.

        None when another price is not known.
        """
        return self._with_extras(_sum((lot.price, lot.count) for lot in self.lots))

    @property
    def on_demand_per_hour(self) -> Decimal | None:
        """Returns the price of the lots per hour on demand. None when a price is not known."""
        return self._with_extras(_sum((lot.list_price, lot.count) for lot in self.lots))

    @property
    def extras_per_hour(self) -> Decimal | None:
        """Returns the price of disks and bandwidth of all lots per hour. None when that is not known."""
        return _sum((lot.extra, lot.count) for lot in self.lots)

    def _with_extras(self, machines: Decimal | None) -> Decimal | None:
        return None if machines is None else machines + (self.extras_per_hour or 0)

    @property
    def saved_percent(self) -> int | None:
        """Returns by how many percent spot costs less than on demand. None when one of the two is not known."""
        spot, full = self.per_hour, self.on_demand_per_hour
        return int((1 - spot / full) * 100) if full and spot is not None else None


def make_quote(situation: Situation) -> Quote:
    """Quotes what is missing. Raises nothing.

    It is quoted as if buying began now: no pool backs off, since any change of the spec ends all backoffs. A pool from
    which the quotes promise nothing is asked all the same, but not counted on.
    """
    desired = replace(situation.desired, paused=False)
    situation = replace(situation, desired=desired, ledger=replace(situation.ledger, backoffs={}))
    if not desired.pools:
        unmet = desired.unmet or "no type that is sold as spot here meets the requirements"
        return Quote(situation.missing, (), (), unmet)
    market = situation.market
    in_vain = {offer.pool: why for offer in situation.ranking.kept if (why := _in_vain(offer, market))}
    rejected = {one.pool: f"{one.why}: {one.detail}" for one in situation.ranking.rejected}
    lines = tuple(
        _line(pool, situation, pool not in rejected, rejected.get(pool) or in_vain.get(pool))
        for pool, _ in desired.pools
    )
    hopeful = replace(desired, pools=tuple(pair for pair in desired.pools if pair[0] not in in_vain))
    in_vcpu = desired.unit is CapacityUnit.VCPU
    return Quote(situation.missing_spot, lines, _chosen(replace(situation, desired=hopeful)), in_vcpu=in_vcpu)


def _in_vain(offer: Offer, market: Market) -> str | None:
    """Returns why the pool would refuse, by the quotes. Returns None when it would sell, or that is not known."""
    if not market.offerings:
        return None
    offering = market.offerings.get(offer.pool)
    if offering is None:
        return "not sold as spot there"
    if offer.bid is not None and offering.price_per_hour and offer.bid < offering.price_per_hour:
        return "the price is above the bid"
    return "sold out, by the quotes" if offering.sold_out else None


def _line(pool: Pool, situation: Situation, is_asked: bool, why: str | None) -> Line:
    market = situation.market
    offering = market.offerings.get(pool)
    return Line(
        pool=pool,
        score=situation.ranking.scores[pool],
        stock=Stock.UNKNOWN if offering is None else Stock.NONE if offering.sold_out else offering.stock,
        price=price_of(pool, False, market),
        list_price=price_of(pool, True, market),
        bid=bid_for(situation.desired.caps, pool, market, is_stated=situation.policy.states_bids).limit,
        is_asked=is_asked,
        why=why,
    )


def _chosen(situation: Situation) -> tuple[Lot, ...]:
    """Returns what the planner would buy, step by step, if every request were granted."""
    market, now = situation.market, situation.now
    lots: dict[Pool, Lot] = {}
    step = 0
    while min(situation.to_ask_for, situation.missing_spot):
        step += 1
        if step > _EVEN_STEPS:
            situation = replace(situation, desired=replace(situation.desired, zone_policy=ZonePolicy.RANKED))
        wanted = min(situation.to_ask_for, situation.missing_spot)
        offer = next_offer(situation.ranking, situation.ledger, Learned(), now, wanted)
        if offer is None:
            break
        count = max(situation.ranking.count_min, how_many(wanted, offer, situation.ledger, market, Learned()))
        situation = situation.with_ledger(situation.ledger.with_intent(_bought(offer, count, step, now)))
        before = lots.get(offer.pool)
        lots[offer.pool] = Lot(
            pool=offer.pool,
            count=count + (before.count if before else 0),
            price=price_of(offer.pool, False, market),
            list_price=price_of(offer.pool, True, market),
            bid=offer.bid,
            extra=market.extra_of(offer.pool),
            units=offer.units,
        )
    return tuple(lots.values())


def _bought(offer: Offer, count: int, step: int, now: datetime) -> Intent:
    """Returns a launch that only takes places: it is never sent, has no token, and a sequence that no real one has."""
    return Intent(
        sequence=-step,
        token="",
        name="",
        pool=offer.pool,
        count=count,
        digest="",
        template_digest="",
        created_at=now,
        bid=offer.bid,
    )


def _sum(amounts: Iterable[tuple[Decimal | None, int]]) -> Decimal | None:
    total = Decimal(0)
    for price, count in amounts:
        if price is None:
            return None
        total += price * count
    return total
