"""Decides where to launch: which pools may be asked now, the best first, and why the others may not.

Quotes rank pools but never exclude one. They lag behind stock and price, and only an attempt shows what a pool sells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from spotcompute.model.desired import AllocationStrategy, Desired, ZonePolicy
from spotcompute.model.ledger import Backoff, Ledger, Member, Trouble
from spotcompute.model.market_readings import relative
from spotcompute.model.moments import age
from spotcompute.model.offering import Market, Pool, Stock, whole_zone
from spotcompute.plan.actions import Learned
from spotcompute.plan.backoff import ends_at, is_backing_off
from spotcompute.plan.budget import Bid, Room, bid_for, room_for
from spotcompute.plan.capacity import held_in_zone, in_machines, occupying, shortfall
from spotcompute.plan.cordon import cordon_of, in_force
from spotcompute.plan.gang import may_buy_parts, missing_of_gang, parts_allowed_at, smallest_useful_count
from spotcompute.plan.limits import room_for_size, room_in_vcpu
from spotcompute.plan.policy import Policy
from spotcompute.plan.pool_trust import Trust, early_loss_weight, trust_of
from spotcompute.plan.subnets import all_full, refusals


class Obstacle(StrEnum):
    """`Obstacle` is why a pool is not asked now; users read its value as a reason."""

    CORDONED = "ZoneCordoned"
    BACKING_OFF = "Resting"
    ZONE_BACKING_OFF = "ZoneResting"
    RECLAIMS_EARLY = "ReclaimsEarly"
    NOT_QUOTED = "MarketUnreadable"
    OVER_BUDGET = "OverBudget"
    OVER_LIMIT = "OverLimit"
    SHARE_FULL = "ShareFull"
    TOO_FEW = "GangIncomplete"


@dataclass(frozen=True, slots=True)
class Offer:
    """`Offer` is a pool that may be asked now for up to `count_max` instances at `bid`. `score` is from 0 to 1.

    Each of its instances counts `units` towards `replicas`.
    """

    pool: Pool
    score: float
    bid: Decimal | None
    count_max: int
    units: int = 1


@dataclass(frozen=True, slots=True)
class RejectedPool:
    """`RejectedPool` is a pool that is not asked now: why, in words, and until when if time alone will end it."""

    pool: Pool
    why: Obstacle
    detail: str
    until: datetime | None = None
    backoff: Backoff | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """`Ranking` holds every pool: those that may be asked for `count_min` or more at once, and those that may not.

    `scores` holds the score of each, whether it may be asked or not. `doubted` holds when a launch in a pool was last
    in doubt, for as long as the other pools may need to have their turn.
    """

    kept: tuple[Offer, ...]
    rejected: tuple[RejectedPool, ...]
    scores: Mapping[Pool, float]
    count_min: int = 1
    doubted: Mapping[Pool, datetime] = field(default_factory=dict)

    @property
    def next_at(self) -> datetime | None:
        """Returns when the first rejected pool may be asked again. None when time alone ends no rejection."""
        return min((one.until for one in self.rejected if one.until is not None), default=None)


def rank(desired: Desired, ledger: Ledger, market: Market, now: datetime, policy: Policy) -> Ranking:
    """Ranks all pools. Raises nothing. Pools with equal scores keep the order of the spec."""
    judge = _Judge(desired, ledger, market, now, policy, smallest_useful_count(desired, ledger, now, policy))
    verdicts = judge.verdicts()
    may_buy = judge.count_min > 1 and may_buy_parts(desired, ledger, now, policy)
    if may_buy and all(_has_refused(desired, ledger, verdict) for verdict in verdicts):
        judge = replace(judge, count_min=1)
        verdicts = judge.verdicts()
    kept = sorted((one for one in verdicts if isinstance(one, Offer)), key=lambda offer: -offer.score)
    if desired.zone_policy is ZonePolicy.BALANCED:
        kept = _balanced(kept, ledger, desired, now)
    rejected = tuple(one for one in verdicts if isinstance(one, RejectedPool))
    doubted = _doubted(ledger, len(verdicts), now, policy)
    return Ranking(tuple(kept), rejected, judge.scores, judge.count_min, doubted)


def _doubted(ledger: Ledger, pools: int, now: datetime, policy: Policy) -> Mapping[Pool, datetime]:
    """Returns when each pool last left a launch in doubt, unless every pool has had time for a doubt since.

    Each doubt holds its place for minutes. Were the best pools asked again after it, two of them could take turns for
    ever, and a third that sells would never be asked.
    """
    remembered = policy.launch_uncertain_for * (pools + 1)
    return {
        pool: backoff.failed_at
        for pool, backoff in ledger.backoffs.items()
        if pool is not None
        and backoff.trouble is Trouble.CLOUD_UNREACHABLE
        and age(backoff.failed_at, now) < remembered
    }


def _has_refused(desired: Desired, ledger: Ledger, verdict: Offer | RejectedPool) -> bool:
    """True when the pool may not be asked for the whole, or has refused it. An expired backoff stays in the ledger."""
    pool = verdict.pool
    if isinstance(verdict, RejectedPool) or pool in ledger.backoffs or whole_zone(pool.zone) in ledger.backoffs:
        return True
    subnets = desired.subnets(pool.zone)
    return bool(subnets) and len(refusals(desired, ledger, pool.zone)) == len(subnets)


@dataclass(frozen=True)  # without slots, because what holds for all pools is computed once and kept in the instance
class _Judge:
    """Judges one pool after the other: whether it may be asked now for `count_min` or more, and for how many."""

    desired: Desired
    ledger: Ledger
    market: Market
    now: datetime
    policy: Policy
    count_min: int

    @cached_property
    def scores(self) -> dict[Pool, float]:
        """Returns the score of every pool."""
        return scores(self.desired, self.ledger, self.market, self.now, self.policy)

    @cached_property
    def _spot(self) -> list[Member]:
        return [member for member in occupying(self.ledger) if not member.on_demand]

    @cached_property
    def _held(self) -> Counter[Pool]:
        """Returns how many spot instances each pool holds or is asked for.

        On-demand instances are left out: the cloud never reclaims them, so they say nothing about the pool.
        """
        held = Counter(member.pool for member in self._spot)
        for intent in self.ledger.intents:
            held[intent.pool] += 0 if intent.on_demand else intent.missing
        return held

    @cached_property
    def _missing(self) -> int:
        return shortfall(self.ledger, self.desired)

    @cached_property
    def _trust(self) -> dict[Pool, Trust]:
        return {pool: trust_of(self.ledger, pool, self.now, self.policy) for pool, _ in self.desired.pools}

    @cached_property
    def _every_pool_is_avoided(self) -> bool:
        return all(trust.avoided_until is not None for trust in self._trust.values())

    def verdicts(self) -> list[Offer | RejectedPool]:
        """Returns the verdict on every pool, in the order of the spec."""
        return [self.verdict(pool) for pool, _ in self.desired.pools]

    def verdict(self, pool: Pool) -> Offer | RejectedPool:
        """Returns the verdict on one pool: an offer when it may be asked now, or why it may not."""
        return self._cordoned(pool) or self._backing_off(pool) or self._avoided(pool) or self._priced(pool)

    def _cordoned(self, pool: Pool) -> RejectedPool | None:
        cordon = cordon_of(self.desired, pool.zone, self.now)
        if cordon is None:
            return None
        return RejectedPool(pool, Obstacle.CORDONED, f"{pool.zone} is cordoned, so nothing is launched", cordon.until)

    def _backing_off(self, pool: Pool) -> RejectedPool | None:
        backoff = self.ledger.backoffs.get(pool)
        until = None if backoff is None else ends_at(backoff, self.market, self.policy)
        if backoff is not None and until is not None and self.now < until:
            return RejectedPool(pool, Obstacle.BACKING_OFF, f"{backoff.code}: {backoff.message}", until, backoff)
        backoff = zone_backoff(self.ledger, pool, self.market)
        if backoff is None or self.now >= backoff.until:
            backoff = all_full(self.desired, self.ledger, pool.zone, self.now)
        if backoff is not None and self.now < backoff.until:
            return RejectedPool(
                pool, Obstacle.ZONE_BACKING_OFF, f"{backoff.code}: {backoff.message}", backoff.until, backoff
            )
        return None

    def _avoided(self, pool: Pool) -> RejectedPool | None:
        trust = self._trust[pool]
        if trust.avoided_until is not None:
            until = trust.avoided_until
            if self._every_pool_is_avoided:
                lost_at = self.ledger.pool_trust[pool].as_of
                until = min(until, min(lost_at, self.now) + self.policy.last_resort)
            if self.now < until:
                return RejectedPool(pool, Obstacle.RECLAIMS_EARLY, _RECLAIMS_EARLY, until)
        if self._is_careful(pool) and self._trial_room(pool) <= 0:
            detail = "one instance is tried there, to see if it lasts"
            return RejectedPool(pool, Obstacle.RECLAIMS_EARLY, detail, self._tried_until(pool))
        return None

    def _tried_until(self, pool: Pool) -> datetime | None:
        """Returns when the youngest instance of the pool has outlived an early loss.

        None when that time is already over.
        """
        launched = [member.launched_at for member in self._spot if member.pool == pool]
        launched += [intent.created_at for intent in self.ledger.intents if intent.pool == pool]
        until = min(max(launched), self.now) + self.policy.early_loss
        return until if until > self.now else None

    def _is_careful(self, pool: Pool) -> bool:
        trust = self._trust[pool]
        return trust.on_probation or trust.avoided_until is not None

    def _outlived(self, pool: Pool) -> int:
        """Returns how many instances of the pool are older than its last loss. They say nothing about new ones."""
        as_of = self.ledger.pool_trust[pool].as_of
        return sum(member.pool == pool and member.launched_at <= as_of for member in self._spot)

    def _trial_room(self, pool: Pool) -> int:
        """Returns how many may be asked of a pool that took instances back early: one, until that one has lasted.

        A gang is asked for in one piece, or for what it lacks. One instance of it is of no use, however long it lasts.
        """
        on_trial = self._held[pool] - self._outlived(pool)
        whole = self.count_min if self.count_min > 1 else missing_of_gang(self.desired, self.ledger)
        return max(1 - on_trial, whole)

    def _priced(self, pool: Pool) -> Offer | RejectedPool:
        bid = bid_for(self.desired.caps, pool, self.market, is_stated=self.policy.states_bids)
        if bid.obstacle is not None:
            return RejectedPool(pool, Obstacle.NOT_QUOTED, bid.obstacle)
        desired, ledger = self.desired, self.ledger
        money = room_for(desired, ledger, self.market, pool, bid)
        vcpu = room_in_vcpu(desired, ledger, self.market, pool.instance_type)
        number = room_for_size(desired, ledger, pool)
        for room in (money, vcpu, number):
            if room.obstacle is not None:
                return RejectedPool(pool, Obstacle.NOT_QUOTED, room.obstacle)
        return self._beyond(pool, bid, money, vcpu, number) or self._offered(pool, bid, (money, vcpu, number))

    def _beyond(self, pool: Pool, bid: Bid, money: Room, vcpu: Room, number: Room) -> RejectedPool | None:
        """Returns the rejection by the limit that one more would break. Returns None when it would break none."""
        if money.count == 0:
            extra = self.market.extra_of(pool)
            disks = f" and {format(extra.normalize(), 'f')} for its disks" if extra else ""
            detail = f"one more at {bid.limit} per hour{disks} does not fit"
            return RejectedPool(pool, Obstacle.OVER_BUDGET, detail)
        limits, name = self.desired.limits, pool.instance_type
        if vcpu.count == 0:
            detail = f"one more {name} would have more vCPU than limits.maxVcpu {limits.vcpu}"
            return RejectedPool(pool, Obstacle.OVER_LIMIT, detail)
        if number.count == 0:
            detail = f"one more {name} would be more than limits.maxReplicas {limits.count}"
            return RejectedPool(pool, Obstacle.OVER_LIMIT, detail)
        return None

    def _offered(self, pool: Pool, bid: Bid, rooms: tuple[Room, ...]) -> Offer | RejectedPool:
        """Returns the offer for as many as shares, trust and the rooms below the limits allow."""
        units = self.desired.units(pool)
        limit, held = most_in_one_pool(self.desired), self._held[pool] * units
        if held >= limit:
            return RejectedPool(pool, Obstacle.SHARE_FULL, f"it holds {held} of at most {limit}")
        share = max(1, (limit - held) // units)
        most = min([share, *(room.count for room in rooms if room.count is not None)])
        most = min(most, self._trial_room(pool)) if self._is_careful(pool) else most
        if self.count_min > 1 and min(most, self._missing) < self.count_min:
            detail = f"{min(most, self._missing)} at once, and {self.count_min} are needed"
            return RejectedPool(pool, Obstacle.TOO_FEW, detail, self._parts_at())
        return Offer(pool, self.scores[pool], bid.limit, most, units)

    def _parts_at(self) -> datetime | None:
        gang, broken_up_at = self.desired.gang, self.ledger.broken_up_at
        at = parts_allowed_at(gang, broken_up_at, self.policy) if gang and broken_up_at else None
        return at if at is not None and at > self.now else None


_RECLAIMS_EARLY = "it has taken instances back soon after their launch"


def zone_backoff(ledger: Ledger, pool: Pool, market: Market) -> Backoff | None:
    """Returns the backoff of the pool's whole zone. Returns None when it is not about this type, or an instance has
    gone from the zone since.
    """
    backoff = ledger.backoffs.get(whole_zone(pool.zone))
    if backoff is None:
        return None
    vcpu = market.vcpu(pool)
    if backoff.vcpu is not None and vcpu is not None and vcpu < backoff.vcpu:
        return None
    return None if backoff.in_use is not None and held_in_zone(ledger, pool.zone) < backoff.in_use else backoff


def most_in_one_pool(desired: Desired) -> int:
    """Returns how much `maxSharePerPool` allows in one pool, counted as `replicas` is, rounded up and at least one.

    Rounded down, an odd number could never be reached: two pools at 50 percent would hold 4 of 5.
    """
    return max(1, -(-desired.replicas * desired.share // 100))


# --- scores ----------------------------------------------------------------------------------------------------------

#: What the market's word for stock is worth. Sold out is worth more than nothing, because the word lags.
_STOCK_WORTH = {Stock.ENOUGH: 1.0, Stock.NORMAL: 0.9, Stock.UNKNOWN: 0.8, Stock.LOW: 0.5, Stock.NONE: 0.05}


def scores(desired: Desired, ledger: Ledger, market: Market, now: datetime, policy: Policy) -> dict[Pool, float]:
    """Returns a score from 0 to 1 for every pool of the spec, by its strategy; higher is better.

    Prioritized: by place in the spec. LowestPrice: the lowest price divided by the pool's price. CapacityOptimized: how
    long the pool is expected to stay open, compared with the best pool; less where stock is low, and halved for each
    early loss that still counts. PriceCapacityOptimized: that, times the fourth power of the score by LowestPrice. A
    pool that costs a tenth more must be expected to last half as long again.
    """
    pools = [pool for pool, _ in desired.pools]
    if desired.strategy is AllocationStrategy.PRIORITIZED:
        return {pool: 1 - place / len(pools) for place, pool in enumerate(pools)}
    cheapness = _cheapness(pools, market, desired)
    if desired.strategy is AllocationStrategy.LOWEST_PRICE:
        return cheapness
    expected_stay = relative(pools, market)
    lasting = {pool: expected_stay[pool] * _lasting(pool, ledger, market, now, policy) for pool in pools}
    if desired.strategy is AllocationStrategy.CAPACITY_OPTIMIZED:
        return lasting
    return {pool: cheapness[pool] ** _PRICE_WEIGHT * lasting[pool] for pool in pools}


#: How much a lower price counts against a longer stay. Source: replays of public spot traces, see docs/market.md.
_PRICE_WEIGHT = 4


def _cheapness(pools: Sequence[Pool], market: Market, desired: Desired) -> dict[Pool, float]:
    prices = {pool: price / (desired.units(pool) or 1) for pool in pools if (price := market.price(pool))}
    lowest = min(prices.values(), default=Decimal(1))
    return {pool: float(lowest / prices[pool]) if pool in prices else 0.0 for pool in pools}


def _lasting(pool: Pool, ledger: Ledger, market: Market, now: datetime, policy: Policy) -> float:
    offering = market.offerings.get(pool)
    stock = Stock.UNKNOWN if offering is None else Stock.NONE if offering.sold_out else offering.stock
    trust = ledger.pool_trust.get(pool)
    early = early_loss_weight(trust, now, policy) if trust else 0.0
    return _STOCK_WORTH[stock] * float(0.5**early)


def _balanced(kept: Sequence[Offer], ledger: Ledger, desired: Desired, now: datetime) -> list[Offer]:
    """Puts zones with the fewest instances first, and asks none for more than its even part."""
    zones = Counter[str]()
    for member in occupying(ledger):
        zones[member.pool.zone] += desired.units(member.pool)
    for intent in ledger.intents:
        zones[intent.pool.zone] += intent.missing * desired.units(intent.pool)
    cordoned = {one.zone for one in in_force(desired, now)}
    open_zones = {placement.zone for _, placement in desired.pools} - cordoned
    even = -(-(desired.replicas - sum(zones[zone] for zone in cordoned)) // max(1, len(open_zones)))
    level = [
        replace(offer, count_max=min(offer.count_max, max(1, (even - zones[offer.pool.zone]) // offer.units)))
        for offer in kept
    ]
    return sorted(level, key=lambda offer: zones[offer.pool.zone])


# --- the next request ------------------------------------------------------------------------------------------------


#: Before every doubt.
_NEVER = datetime.min.replace(tzinfo=UTC)


def next_offer(ranking: Ranking, ledger: Ledger, learned: Learned, now: datetime, wanted: int = 1) -> Offer | None:
    """Returns the best pool that may be asked and has not run dry in this run; None when there is none.

    Those whose instances would bring more than is `wanted` come after the others, and of these the smallest first. A
    pool with a launch in doubt comes last, and before it one whose launch was in doubt lately. Otherwise their doubts
    could keep one place after the other.
    """
    if is_backing_off(ledger, None, now):
        return None
    count_min = ranking.count_min
    offers = [offer for offer in ranking.kept if learned.room_below.get(offer.pool, count_min + 1) > count_min]
    in_doubt = {intent.pool for intent in ledger.intents if intent.answer_lost and not intent.on_demand}

    def turn(offer: Offer) -> tuple[bool, datetime, int]:
        beyond = offer.units if offer.units > wanted else 0
        return offer.pool in in_doubt, ranking.doubted.get(offer.pool, _NEVER), beyond

    return min(offers, key=turn, default=None)


def how_many(wanted: int, offer: Offer, ledger: Ledger, market: Market, learned: Learned) -> int:
    """Returns how many instances to ask for: all that is wanted and allowed, half of what the pool has just refused, or
    one when it is likely to refuse. A pool that was sold out when it was asked last is asked for one, until it has sold
    one. `wanted` is counted as `replicas` is.
    """
    wanted = min(in_machines(wanted, offer.units), offer.count_max)
    if offer.pool in learned.room_below:
        return min(wanted, max(1, learned.room_below[offer.pool] // 2))
    offering = market.offerings.get(offer.pool)
    is_quoted_sold_out = offering is not None and offering.sold_out
    backoff = ledger.backoffs.get(offer.pool)
    was_sold_out = backoff is not None and backoff.trouble is Trouble.INSUFFICIENT_CAPACITY
    is_unsure = is_quoted_sold_out or was_sold_out or zone_backoff(ledger, offer.pool, market) is not None
    return 1 if is_unsure and offer.pool not in learned.sells else wanted


def next_attempt(ranking: Ranking, ledger: Ledger, now: datetime) -> datetime | None:
    """Returns when a pool may be asked again: `now` when one may be asked already, None when time alone changes
    nothing.
    """
    whole = ledger.backoffs.get(None)
    earliest = max(now, whole.until) if whole else now
    if ranking.kept:
        return earliest
    at = ranking.next_at
    return None if at is None else max(earliest, at)
