"""Decides when on-demand instances are bought in place of spot, and when they are released again.

Apart from `allocation`, because these instances cost the list price: they are bought only for an environment that asks
for a fallback.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from spotcompute.model.ledger import Cause, Ledger, Member, Trouble
from spotcompute.model.offering import ON_DEMAND, Market, Pool, whole_zone
from spotcompute.plan.actions import Learned
from spotcompute.plan.allocation import Obstacle
from spotcompute.plan.backoff import is_backing_off
from spotcompute.plan.budget import cost_of, hourly_cost, hourly_cost_on_demand, room_under
from spotcompute.plan.capacity import in_flight, in_machines, is_ready, occupying, taken, to_be_taken_over, units_of
from spotcompute.plan.cordon import cordon_of
from spotcompute.plan.limits import room_in_number, room_in_vcpu
from spotcompute.plan.mix import standing_in, to_give_way
from spotcompute.plan.retirement import staying
from spotcompute.plan.situation import Situation

# --- clocks ----------------------------------------------------------------------------------------------------------


def with_fallback_clocks(situation: Situation) -> Ledger:
    """Returns the ledger with the times since when spot has fallen short and since when it could deliver again.

    An environment without a fallback remembers none of them.
    """
    ledger, now = situation.ledger, situation.now
    if situation.desired.fallback is None or situation.desired.deleting:
        after = replace(ledger, short_since=None, spot_since=None, switched_at=None, trial_since=None, failed_trials=0)
        after = replace(after, interruptions=())
    else:
        after = replace(
            _with_trial_judged(situation),
            short_since=_since(ledger.short_since, _has_fallen_short(situation), now),
            spot_since=_since(ledger.spot_since, _could_spot_replace(situation), now),
            switched_at=_since(ledger.switched_at, ledger.switched_at is not None, now),
        )
    after = replace(after, returning_since=_returning_since(situation.with_ledger(after)))
    return ledger if after == ledger else after


def _with_trial_judged(situation: Situation) -> Ledger:
    """Returns the ledger with what came of a trial of spot: failed once instances were bought on demand again.

    It has succeeded once every place is filled without that.
    """
    ledger = situation.ledger
    if ledger.trial_since is None:
        return ledger
    since = min(ledger.trial_since, situation.now)
    if any(member.on_demand and member.launched_at > since for member in ledger.members.values()):
        return replace(ledger, trial_since=None, failed_trials=ledger.failed_trials + 1)
    if _has_settled(situation):
        has_come = any(not member.on_demand and member.launched_at > since for member in occupying(ledger))
        return replace(ledger, trial_since=None, failed_trials=0 if has_come else ledger.failed_trials)
    return replace(ledger, trial_since=since)


def _has_fallen_short(situation: Situation) -> bool:
    """True when fewer instances exist than are wanted. A launch without an answer does not count as an instance.

    What is wanted on demand in any case does not count as missing spot.
    """
    present = units_of(occupying(situation.ledger), situation.desired)
    return present + situation.missing_on_demand < situation.desired.replicas


def is_unsteady(situation: Situation) -> bool:
    """True when the cloud has lately taken back as many spot instances as the fallback calls too many."""
    fallback, now = situation.desired.fallback, situation.now
    if fallback is None or fallback.interruptions is None:
        return False
    lately = [at for at in situation.ledger.interruptions if now - fallback.within <= at <= now]
    return len(lately) >= fallback.interruptions


def _since(before: datetime | None, holds: bool, now: datetime) -> datetime | None:
    """Returns since when something holds.

    A time in the future was written before the clock was set back, or by hand.
    """
    return min(before or now, now) if holds else None


def _could_spot_replace(situation: Situation) -> bool:
    """True when on-demand instances are to give way and a pool sells spot, as if none had been bought on demand.

    Without them their places, shares and money are free for spot: hence a ranking of its own.
    """
    if not to_give_way(situation) or is_unsteady(situation):
        return False
    return bool(_pools_that_could_replace(situation))


def _pools_that_could_replace(situation: Situation) -> frozenset[Pool]:
    """Returns the pools that sell spot and may be asked for it, as if none had been bought on demand."""
    ranking = situation.with_ledger(without_on_demand(situation.ledger)).ranking
    return frozenset(offer.pool for offer in ranking.kept if _sells(offer.pool, situation.market))


def without_on_demand(ledger: Ledger) -> Ledger:
    """Returns the ledger as it will be once every on-demand instance has been replaced."""
    members = {key: member for key, member in ledger.members.items() if not member.on_demand}
    return replace(ledger, members=members, intents=tuple(one for one in ledger.intents if not one.on_demand))


def _sells(pool: Pool, market: Market) -> bool:
    offering = market.offerings.get(pool)
    return market.unreliable_because is None and offering is not None and not offering.sold_out


# --- from spot to on demand ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Substitute:
    """`Substitute` is a number of instances of a pool, to be bought at the list price."""

    pool: Pool
    count: int


def is_due(situation: Situation) -> bool:
    """True when spot has fallen short for long enough, and the last change over was long enough ago.

    What was released for spot, and was not replaced by it, is bought again at once.
    """
    fallback, since = situation.desired.fallback, situation.ledger.short_since
    if fallback is None or since is None:
        return False
    if situation.ledger.trial_since is not None:
        return True
    is_time = situation.now - since >= fallback.after or is_unsteady(situation)
    has_waited = is_time and _is_calm(situation.ledger.switched_at, situation)
    return has_waited or _is_past_deadline(situation)


def due_at(situation: Situation) -> datetime | None:
    """Returns when `is_due` will be true if spot goes on falling short. Returns None when spot does not fall short."""
    fallback, ledger = situation.desired.fallback, situation.ledger
    if fallback is None or ledger.short_since is None:
        return None
    if ledger.trial_since is not None:
        return ledger.trial_since
    at = ledger.short_since + (timedelta(0) if is_unsteady(situation) else fallback.after)
    if ledger.switched_at is not None:
        at = max(at, ledger.switched_at + situation.policy.switch_interval_min)
    return at if fallback.deadline is None else min(at, fallback.deadline)


def _is_calm(changed_at: datetime | None, situation: Situation) -> bool:
    """True when a change at that time was long enough ago for another one."""
    return changed_at is None or situation.now - changed_at >= situation.policy.switch_interval_min


def _is_past_deadline(situation: Situation) -> bool:
    """True when the time has come at which the environment must be complete at any cost."""
    fallback = situation.desired.fallback
    return fallback is not None and fallback.deadline is not None and situation.now >= fallback.deadline


def on_demand_to_buy(situation: Situation, learned: Learned) -> Substitute | None:
    """Returns what to buy on demand now: the pool with the lowest list price, as many as every cap allows.

    Returns None when there is nothing to buy.
    """
    if situation.desired.one_time or not is_due(situation) or _is_refused(situation, learned):
        return None
    fallback = situation.desired.fallback
    allowed = fallback.count_max - standing_in(situation) if fallback else 0
    return _purchase(situation.missing_spot, situation, learned, allowed)


def on_demand_part(situation: Situation, learned: Learned) -> Substitute | None:
    """Returns what to buy on demand now because the spec always wants it. Returns None when nothing can be bought."""
    if _is_refused(situation, learned):
        return None
    return _purchase(situation.missing_on_demand, situation, learned)


def _purchase(wanted: int, situation: Situation, learned: Learned, allowed: int | None = None) -> Substitute | None:
    """Returns the purchase of what is wanted and allowed, or of as many instances as the limits let through."""
    desired, wanted = situation.desired, min(wanted, situation.to_ask_for)
    fitting = wanted if allowed is None else min(wanted, allowed)
    pool = _pool_on_demand(situation, learned, fitting) if fitting > 0 else None
    if pool is None:
        return None
    count = min(in_machines(wanted, desired.units(pool)), _room(situation, pool))
    if allowed is not None:
        count = min(count, allowed // desired.units(pool))
    return Substitute(pool, count) if count > 0 else None


def is_spot_in_doubt(situation: Situation) -> bool:
    """True when a spot launch lately got no usable answer, or was refused by a cloud in trouble.

    The next spot launch may keep its places in doubt as well. Then what is due is bought on demand without asking for
    spot first. Otherwise one doubt after the other could keep the places for ever.
    """
    recent = situation.now - situation.policy.failure_memory
    return any(
        backoff.trouble is Trouble.CLOUD_UNREACHABLE and backoff.failed_at > recent
        for where, backoff in situation.ledger.backoffs.items()
        if where not in (None, ON_DEMAND)
    )


def _is_refused(situation: Situation, learned: Learned) -> bool:
    """True when the account backs off, or its purchases on demand, unless this run is still trying pool after pool."""
    ledger, now = situation.ledger, situation.now
    return is_backing_off(ledger, None, now) or (is_backing_off(ledger, ON_DEMAND, now) and not learned.not_on_demand)


def _pool_on_demand(situation: Situation, learned: Learned, wanted: int) -> Pool | None:
    """Returns the pool with the lowest list price; after a doubt any pool, drawn anew for each launch.

    Where vCPU are counted, it is the price of one that decides, after those pools that bring no more than is wanted.
    """
    desired, market = situation.desired, situation.market
    if market.unreliable_because is not None:
        return None
    open_pools = (pool for pool, _ in desired.pools if cordon_of(desired, pool.zone, situation.now) is None)
    pools = [pool for pool in open_pools if pool not in learned.not_on_demand and desired.units(pool)]

    def turn(pool: Pool) -> tuple[int, Decimal]:
        units = desired.units(pool)
        return units if units > wanted else 0, (market.list_price(pool) or Decimal(0)) / units

    quoted = sorted((pool for pool in pools if market.list_price(pool)), key=turn)
    if not quoted or not _is_on_demand_in_doubt(situation):
        return next(iter(quoted), None)
    ledger = situation.ledger
    return quoted[hashlib.sha256(f"{ledger.environment_id}/{ledger.sequence}".encode()).digest()[0] % len(quoted)]


def _is_on_demand_in_doubt(situation: Situation) -> bool:
    """True when the last purchase on demand lately got no usable answer: the next one is then tried in any pool.

    Which pool it was is not remembered, and the cheapest could keep one place after the other in doubt.
    """
    backoff = situation.ledger.backoffs.get(ON_DEMAND)
    recent = situation.now - situation.policy.failure_memory
    return backoff is not None and backoff.trouble is Trouble.CLOUD_UNREACHABLE and backoff.failed_at > recent


def _room(situation: Situation, pool: Pool) -> int:
    """Returns how many more the limits on money allow: on what stands in for spot, and on everything together."""
    fallback, ledger, market = situation.desired.fallback, situation.ledger, situation.market
    room, unit = situation.missing, cost_of(pool, True, market)
    number = room_in_number(situation.desired, ledger)
    room = room if number is None else min(room, number // situation.desired.units(pool))
    limits = [(situation.desired.caps.in_total, hourly_cost(ledger, market))]
    if fallback is not None:
        limits.append((fallback.hourly, hourly_cost_on_demand(ledger, market)))
    is_known = not to_be_taken_over(ledger)
    rooms = [room_under(limit, spent if is_known else None, unit) for limit, spent in limits]
    for left in (*rooms, room_in_vcpu(situation.desired, ledger, market, pool.instance_type)):
        room = 0 if left.obstacle else min(room, left.count if left.count is not None else room)
    return room


# --- and back --------------------------------------------------------------------------------------------------------


def on_demand_to_release(situation: Situation) -> list[Member]:
    """Returns the on-demand instance that spot shall replace now, as a list of none or one.

    Where one more than `replicas` may live, it goes when the spot instance for its place runs. Otherwise it goes before
    spot comes, and the next one goes only when what took its place runs.
    """
    members = to_give_way(situation)[:1]
    if situation.ledger.returning_since is None:
        return members if _is_return_due(situation) and not _may_surge(situation) else []
    instances = situation.observed.instances
    desired = situation.desired
    running = [one for one in staying(situation.ledger) if is_ready(one, instances.get(one.id))]
    others = units_of((one for one in running if one not in members), desired)
    return members if others >= desired.replicas else []


def _is_return_due(situation: Situation) -> bool:
    """True when spot may take the place of an on-demand instance now.

    Without a fallback the spec does not ask for them any more, and they go as soon as spot is to be had.
    """
    members = to_give_way(situation)
    if not members or not _has_settled(situation):
        return False
    if not _spot_has_recovered(situation) or _is_past_deadline(situation):
        return False
    is_free_to_go = situation.desired.fallback is None or _first_was_replaced(situation, members)
    return is_free_to_go or _may_try_one(situation, members)


def _allows_surge(situation: Situation) -> bool:
    """True when the spec lets one more than `replicas` live while something is replaced."""
    desired = situation.desired
    return desired.rollout is not None and desired.rollout.surge_max > 0 and not (desired.deleting or desired.paused)


def _may_surge(situation: Situation) -> bool:
    """True when one more than `replicas` may be launched: the spec allows it, and no limit forbids it.

    What counts is a pool that could take the place of one on demand. One that refuses, and would fit beside all of
    them, would otherwise keep those from giving way for ever. Where a limit leaves no room even for what is missing,
    there is none for one more.
    """
    if not _allows_surge(situation) or situation.missing > 0:
        return False
    one = min((situation.desired.units(pool) for pool, _ in situation.desired.pools), default=1)
    wider = replace(situation, desired=replace(situation.desired, replicas=situation.desired.replicas + one, surge=one))
    if room_in_number(wider.desired, wider.ledger) == 0:
        return False
    replacements = _pools_that_could_replace(situation)
    return any(offer.pool in replacements and not _was_full(offer.pool, situation) for offer in wider.ranking.kept)


def _was_full(pool: Pool, situation: Situation) -> bool:
    """True when the zone had no address left when it was asked last, and what gives way first holds one there.

    A quota of the account is not meant: spot has a quota of its own, in which nothing on demand counts.
    """
    backoff = situation.ledger.backoffs.get(whole_zone(pool.zone))
    first = to_give_way(situation)[:1]
    holds_one = any(member.pool.zone == pool.zone for member in first)
    return holds_one and backoff is not None and backoff.trouble is Trouble.NO_ROOM


def _returning_since(situation: Situation) -> datetime | None:
    """Returns since when a spot instance is launched to take the place of one on demand. Returns None when none is.

    While one more than wanted is there or on its way, it goes on: its place is that of one on demand.
    """
    ledger, now = situation.ledger, situation.now
    if not _allows_surge(situation) or not to_give_way(situation):
        return None
    if ledger.returning_since is None:
        return now if _is_return_due(situation) and _may_surge(situation) else None
    is_one_more = taken(ledger, situation.desired) > situation.desired.replicas
    is_to_be_had = _spot_has_recovered(situation) and not _is_past_deadline(situation)
    return min(ledger.returning_since, now) if is_one_more or (is_to_be_had and _may_surge(situation)) else None


def _has_settled(situation: Situation) -> bool:
    """True when nothing is missing or on its way, nothing is still starting, and no release for spot is open.

    What is missing because on-demand instances leave no room under a limit comes only when they give way.
    """
    ledger = situation.ledger
    if in_flight(ledger) > 0 or any(map(_is_unsettled, occupying(ledger))):
        return False
    return situation.missing == 0 or _leaves_no_room(situation)


def _leaves_no_room(situation: Situation) -> bool:
    """True when no pool may be asked, and one of them only because the limit on costs or on vCPU is reached."""
    ranking = situation.ranking
    return not ranking.kept and any(one.why in _LIMITS for one in ranking.rejected)


_LIMITS = (Obstacle.OVER_BUDGET, Obstacle.OVER_LIMIT)


def _is_unsettled(member: Member) -> bool:
    """True when the instance is still starting, or is being replaced by spot and has not gone yet."""
    if member.termination is None:
        return not member.arrived
    return member.termination.cause is Cause.BACK_TO_SPOT


def _spot_has_recovered(situation: Situation) -> bool:
    """True when spot could have replaced the on-demand instances for `stable_for` without a break.

    Without a fallback it need not have lasted.
    """
    if situation.desired.fallback is None:
        return _could_spot_replace(situation)
    at = _recovered_at(situation)
    return at is not None and situation.now >= at


def _recovered_at(situation: Situation) -> datetime | None:
    fallback, since = situation.desired.fallback, situation.ledger.spot_since
    return None if fallback is None or since is None else since + fallback.stable_for


def _first_was_replaced(situation: Situation, members: list[Member]) -> bool:
    """True when one has been released since spot recovered and since the last purchase on demand."""
    at, switched_at = _recovered_at(situation), situation.ledger.switched_at
    return at is not None and switched_at is not None and switched_at >= max(at, _bought_at(situation, members))


def _may_try_one(situation: Situation, members: list[Member]) -> bool:
    """True when the last change over, in either direction, was long enough ago: longer after each failed trial.

    A market that quotes stock and refuses is believed by its refusals, because each trial costs a running instance.
    """
    policy, ledger = situation.policy, situation.ledger
    wait = policy.switch_interval_min * (1 << min(ledger.failed_trials, policy.trial_doublings_max))
    changes = (ledger.switched_at, _bought_at(situation, members))
    return all(at is None or situation.now - at >= wait for at in changes)


def _bought_at(situation: Situation, members: list[Member]) -> datetime:
    """Returns when the last of them was bought."""
    return max((member.launched_at for member in members), default=situation.now)


# --- the next look ---------------------------------------------------------------------------------------------------


def next_fallback_check(situation: Situation) -> datetime | None:
    """Returns when to look again at whether to change over. Returns None when no change over can come."""
    fallback, now, policy = situation.desired.fallback, situation.now, situation.policy
    waiting = to_give_way(situation)
    if fallback is None:
        # Soon after a change of the spec, and more rarely later, as long as spot is sold out.
        age = now - max((member.launched_at for member in waiting), default=now)
        return now + min(policy.backoff_max, max(2 * policy.poll_interval, age / 8)) if waiting else None
    if waiting:
        return now + policy.backoff_max
    at = due_at(situation)
    return at if at is None or at > now else now + situation.policy.backoff_max
