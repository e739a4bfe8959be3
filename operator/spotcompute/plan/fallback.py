"""When on-demand instances stand in for spot, and when they give way again: after a delay, capped, and calmly.

Apart from `allocation`, because this is bought at the list price: it happens only when it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from spotcompute.model.desired import Desired, Fallback
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.model.offering import ON_DEMAND, Market, Pool
from spotcompute.plan.actions import Learned
from spotcompute.plan.allocation import Ranking
from spotcompute.plan.backoff import is_backing_off
from spotcompute.plan.budget import cost_of, hourly_cost, hourly_cost_on_demand, room_under
from spotcompute.plan.capacity import in_flight, occupying, shortfall
from spotcompute.plan.policy import Policy


@dataclass(frozen=True, slots=True)
class Substitute:
    """So many instances of a pool at the list price."""

    pool: Pool
    count: int


def with_fallback_clocks(desired: Desired, ledger: Ledger, ranking: Ranking, market: Market, now: datetime) -> Ledger:
    """The same ledger, in which it stands since when spot has fallen short, and since when it looks well again.

    `ranking` is that of the environment as if nothing had been bought on demand (`without_on_demand`).
    """
    if desired.fallback is None or desired.deleting:
        watched: tuple[datetime | None, ...] = (None, None, None)
    else:
        is_short = shortfall(ledger, desired.replicas) > 0
        is_well = bool(on_demand_members(ledger)) and any(_sells(pool, market) for pool in _pools(ranking))
        watched = (
            _since(ledger.short_since, is_short, now),
            _since(ledger.spot_since, is_well, now),
            _since(ledger.switched_at, ledger.switched_at is not None, now),
        )
    if watched == (ledger.short_since, ledger.spot_since, ledger.switched_at):
        return ledger
    short_since, spot_since, switched_at = watched
    return replace(ledger, short_since=short_since, spot_since=spot_since, switched_at=switched_at)


def without_on_demand(ledger: Ledger) -> Ledger:
    """The same ledger as it will be when on demand has given way: its places, shares and money are free for spot."""
    members = {key: member for key, member in ledger.members.items() if not member.on_demand}
    return replace(ledger, members=members, intents=tuple(one for one in ledger.intents if not one.on_demand))


def _since(before: datetime | None, holds: bool, now: datetime) -> datetime | None:
    """Since when something holds. A time to come was written by a clock that has been set back, or by hand."""
    return min(before or now, now) if holds else None


def _pools(ranking: Ranking) -> list[Pool]:
    return [offer.pool for offer in ranking.kept]


def _sells(pool: Pool, market: Market) -> bool:
    offering = market.offerings.get(pool)
    return market.unreliable_because is None and offering is not None and not offering.sold_out


def on_demand_members(ledger: Ledger) -> list[Member]:
    """Instances bought on demand that are meant to stay, in a stable order."""
    staying = (member for member in occupying(ledger) if member.termination is None and member.lost is None)
    return [member for member in staying if member.on_demand]


def is_due(fallback: Fallback, ledger: Ledger, now: datetime, policy: Policy) -> bool:
    """True when spot has fallen short for long enough, and the last change over was long enough ago."""
    if ledger.short_since is None:
        return False
    if fallback.deadline is not None and now >= fallback.deadline:
        return True
    return now - ledger.short_since >= fallback.after and _is_calm(ledger.switched_at, now, policy)


def due_at(fallback: Fallback, ledger: Ledger, policy: Policy) -> datetime | None:
    """When `is_due` will be true, if spot goes on falling short."""
    if ledger.short_since is None:
        return None
    at = ledger.short_since + fallback.after
    if ledger.switched_at is not None:
        at = max(at, ledger.switched_at + policy.switch_interval_min)
    return at if fallback.deadline is None else min(at, fallback.deadline)


def _is_calm(changed_at: datetime | None, now: datetime, policy: Policy) -> bool:
    return changed_at is None or now - changed_at >= policy.switch_interval_min


def on_demand_to_buy(
    desired: Desired, ledger: Ledger, market: Market, learned: Learned, now: datetime, policy: Policy
) -> Substitute | None:
    """What to buy on demand now: the cheapest pool by list price, as many as every cap allows; None when nothing."""
    fallback = desired.fallback
    if fallback is None or desired.one_time or not is_due(fallback, ledger, now, policy):
        return None
    if is_backing_off(ledger, None, now) or (is_backing_off(ledger, ON_DEMAND, now) and not learned.not_on_demand):
        return None
    pools = [pool for pool, _ in desired.pools if pool not in learned.not_on_demand and market.list_price(pool)]
    if not pools or market.unreliable_because is not None:
        return None
    pool = min(pools, key=lambda one: market.list_price(one) or 0)
    count = min(shortfall(ledger, desired.replicas), _room(desired, fallback, ledger, market, pool))
    return Substitute(pool, count) if count > 0 else None


def _room(desired: Desired, fallback: Fallback, ledger: Ledger, market: Market, pool: Pool) -> int:
    """How many the caps on number, on what on demand costs, and on what everything costs leave."""
    bought = sum(member.on_demand for member in occupying(ledger))
    room = fallback.count_max - bought - sum(intent.missing for intent in ledger.intents if intent.on_demand)
    unit = cost_of(pool, True, market)
    for limit, spent in (
        (fallback.hourly, hourly_cost_on_demand(ledger, market)),
        (desired.caps.in_total, hourly_cost(ledger, market)),
    ):
        left = room_under(limit, spent, unit)
        room = 0 if left.obstacle else min(room, left.count if left.count is not None else room)
    return room


def on_demand_to_release(desired: Desired, ledger: Ledger, now: datetime, policy: Policy) -> list[Member]:
    """On-demand instances to let go now, so that spot takes their places: one to see if it does, then all others.

    Nothing is ever bought beyond `replicas`, so they go first. Only once spot has looked well for `stable_for`, and
    the others not before the first has gone and what took its place runs.
    """
    fallback, members = desired.fallback, on_demand_members(ledger)
    if (
        fallback is None
        or not members
        or ledger.spot_since is None
        or in_flight(ledger)
        or shortfall(ledger, desired.replicas)
        or any(_is_unsettled(member) for member in occupying(ledger))
    ):
        return []
    if fallback.deadline is not None and now >= fallback.deadline:
        return []
    well_from = ledger.spot_since + fallback.stable_for
    if now < well_from:
        return []
    bought_at = max(member.launched_at for member in members)
    if ledger.switched_at is not None and ledger.switched_at >= max(well_from, bought_at):
        return members
    return members[:1] if all(_is_calm(at, now, policy) for at in (ledger.switched_at, bought_at)) else []


def _is_unsettled(member: Member) -> bool:
    """True for one that is still starting, or is giving way and has not gone yet."""
    if member.termination is None:
        return not member.arrived
    return member.termination.cause is Cause.BACK_TO_SPOT


def next_fallback_check(desired: Desired, ledger: Ledger, now: datetime, policy: Policy) -> datetime | None:
    """When to look again at whether to change over; None when nothing of the kind is to come."""
    if desired.fallback is None:
        return None
    if on_demand_members(ledger):
        return now + policy.backoff_max
    at = due_at(desired.fallback, ledger, policy)
    return at if at is None or at > now else now + policy.backoff_max
