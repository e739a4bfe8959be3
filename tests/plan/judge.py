"""What must be true of every plan, whatever the world looks like: the judge of tables, properties and simulations.

It counts for itself and shares no counting with the planner. The oracles are those of docs and design: never one too
many, never touch what is not ours, nothing is done that was not written down first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from plan.given import instance, launches, terminated_ids
from spotcompute.model.desired import CapacityUnit, Desired
from spotcompute.model.identity import is_named_by_us, is_of_launch, launch_token
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.actions import Launch, Plan, Terminate
from spotcompute.plan.situation import Situation


def takes_a_place(member: Member) -> bool:
    """True while the machine may exist and the cloud has not taken its release."""
    is_released = member.termination is not None and member.termination.accepted_at is not None
    return member.end_unconfirmed or (member.lost is None and not is_released)


def size(pool: Pool, desired: Desired | None) -> int:
    """How much a machine of that pool counts: one, or its vCPU."""
    return 1 if desired is None or desired.unit is CapacityUnit.INSTANCE else desired.vcpu_of_type[pool.instance_type]


def places_taken(ledger: Ledger, desired: Desired | None = None) -> int:
    """What may exist, and what launches without an answer may still bring: machines, or vCPU where they are counted."""
    may_come = sum(max(0, one.count - len(one.found)) * size(one.pool, desired) for one in ledger.intents)
    return may_come + sum(size(one.pool, desired) for one in ledger.members.values() if takes_a_place(one))


def most_alive(desired: Desired) -> int:
    """The most that may live at once: during a roll-out some more than are wanted.

    Where vCPU are counted, that is before the last machine came: a machine cannot be bought in parts.
    """
    largest = max(desired.vcpu_of_type.values(), default=1) if desired.unit is CapacityUnit.VCPU else 1
    surge = desired.rollout.surge_max * largest if desired.rollout and not desired.deleting else 0
    return desired.replicas + surge


def complaints(situation: Situation, plan: Plan) -> list[str]:
    """Everything that is wrong with `plan`, made from `situation`; empty when it is a good plan."""
    desired, ledger, observed, now = situation.desired, situation.ledger, situation.observed, situation.now
    return [
        *_about_number(desired, ledger, plan),
        *_about_launches(desired, ledger, plan),
        *_about_releases(desired, ledger, observed, now, plan),
        *_about_memory(ledger, observed, plan),
        *_about_money(desired, observed.market, plan),
        *_about_on_demand(desired, ledger, observed.market, plan),
        *_about_the_mix(desired, plan),
        *_about_shares(desired, plan),
        *_about_rests(desired, ledger, now, plan),
        *_about_gangs(desired, ledger, now, plan),
        *_about_causes(desired, ledger, plan),
        *_about_cordons(desired, now, plan),
        *_about_work(desired, ledger, plan),
    ]


def _about_work(desired: Desired, ledger: Ledger, plan: Plan) -> Iterator[str]:
    """Work that is done is not begun again, and lost work not more often than the spec allows."""
    runs, fresh = desired.runs, [one for one in launches(plan.actions) if not one.replay]
    if runs is None or not fresh:
        return
    members = plan.ledger.members.values()
    done = [one for one in members if one.termination is not None and one.termination.cause is Cause.WORK_ENDED]
    ended = ledger.work.ended if ledger.work else 0
    if ended + len(done) + places_taken(plan.ledger) - sum(map(takes_a_place, done)) > desired.replicas:
        yield "a launch for work that is done"
    lost = ledger.work.lost if ledger.work and ledger.work.generation == desired.generation else 0
    if ended + lost + places_taken(plan.ledger) > runs.count * runs.attempts_max:
        yield "a launch beyond all attempts"


def _about_number(desired: Desired, ledger: Ledger, plan: Plan) -> Iterator[str]:
    asked = launches(plan.actions)
    most = most_alive(desired)
    held, last = places_taken(plan.ledger, desired), min((size(one.intent.pool, desired) for one in asked), default=1)
    if asked and held - last >= most:
        yield f"{held} places taken after a launch, {most} allowed"
    if asked and desired.deleting:
        yield "a launch while deleting"
    if plan.actions and desired.paused and not desired.deleting:
        yield "an action while paused"
    fresh = [launch for launch in asked if not launch.replay]
    if fresh and ledger.quarantine_until is not None:
        yield "a launch in quarantine"
    staying = [one for one in ledger.members.values() if takes_a_place(one) and one.termination is None]
    if fresh and sum(size(one.pool, desired) for one in staying) > most:
        yield "a launch beside a surplus"


def _about_launches(desired: Desired, ledger: Ledger, plan: Plan) -> Iterator[str]:
    asked = launches(plan.actions)
    if len({launch.intent.token for launch in asked}) != len(asked):
        yield "one token, two launches"
    for launch in asked:
        yield from _about_launch(launch, desired, ledger, plan)


def _about_launch(launch: Launch, desired: Desired, ledger: Ledger, plan: Plan) -> Iterator[str]:
    intent, request = launch.intent, launch.request
    if intent not in plan.ledger.intents:
        yield f"launch {intent.sequence} is not committed"
    if intent.token != launch_token(desired.ownership, intent.sequence, request.digest):
        yield f"token of {intent.sequence} is not that of its request"
    if (intent.pool, intent.count, intent.name) != (request.pool, request.count, request.name):
        yield f"intent {intent.sequence} does not say what its request says"
    if not 1 <= request.count <= 100:
        yield f"{request.count} in one call"
    if (intent.bid, intent.on_demand) != (request.max_price, request.on_demand):
        yield f"intent {intent.sequence} does not bid what its request bids"
    if desired.placement(request.pool) is None:
        yield "the spec makes no such request"
    known = {item.sequence for item in ledger.intents}
    if launch.replay != (intent.sequence in known) or (not launch.replay and intent.sequence <= ledger.sequence):
        yield f"sequence {intent.sequence} is used twice"
    seen = instance("ins-x", name=intent.name + ("1" if request.count > 1 else ""))
    if not is_of_launch(seen, intent) or not is_named_by_us(seen, desired.ownership) or len(intent.name) > 56:
        yield f"name {intent.name!r} does not lead back to its launch"


# --- the market ------------------------------------------------------------------------------------------------------


def _about_money(desired: Desired, market: Market, plan: Plan) -> Iterator[str]:
    """No bid above a cap, and with a limit of the whole nothing beyond it, nor where a price is not known."""
    asked = launches(plan.actions)
    caps = desired.caps
    for launch in asked:
        pool, bid = launch.intent.pool, launch.intent.bid
        if launch.intent.on_demand:
            continue
        limits = [price for name, price in caps.by_type if name == pool.instance_type] or [caps.per_instance]
        if caps.percent_of_on_demand is not None:
            full = market.offerings[pool].on_demand_price_per_hour if pool in market.offerings else None
            limits.append((full or Decimal(-1)) * caps.percent_of_on_demand / 100)
        if caps.in_total is not None and not launch.replay:
            limits.append((market.offerings[pool].price_per_hour if pool in market.offerings else None) or Decimal(-1))
        if any(limit is not None and (bid is None or bid > limit) for limit in limits):
            yield f"{bid} is bid in {pool}, and the limits are {limits}"
        if (
            market.unreliable_because is not None
            and (caps.percent_of_on_demand, caps.in_total) != (None, None)
            and not launch.replay
        ):
            yield "a bid by quotes that are not believed"
    if asked and caps.in_total is not None:
        total = _cost(plan.ledger, market, only_on_demand=False)
        if total is None or total > caps.in_total:
            yield f"{total} an hour, and {caps.in_total} is the limit"


def _cost(ledger: Ledger, market: Market, only_on_demand: bool) -> Decimal | None:
    """What everything that may exist costs by the quotes; None when one of them is missing."""
    lots = [(member.pool, member.on_demand, 1) for member in ledger.members.values() if takes_a_place(member)]
    lots += [(intent.pool, intent.on_demand, max(0, intent.count - len(intent.found))) for intent in ledger.intents]
    total = Decimal(0)
    for pool, on_demand, count in lots:
        if only_on_demand and not on_demand:
            continue
        offering = market.offerings.get(pool)
        price = offering and (offering.on_demand_price_per_hour if on_demand else offering.price_per_hour)
        if not price:
            return None
        total += price * count
    return total


def _about_on_demand(desired: Desired, ledger: Ledger, market: Market, plan: Plan) -> Iterator[str]:
    asked = [launch for launch in launches(plan.actions) if launch.intent.on_demand]
    if not asked:
        return
    # What replaces one on demand comes before that goes.
    fallback, always = desired.fallback, _always_on_demand(desired) + most_alive(desired) - desired.replicas
    if fallback is None and always == 0:
        yield "on demand was never asked for"
        return
    held = _held_of_kind(plan.ledger, desired, on_demand=True)
    most = always + (fallback.count_max if fallback else 0)
    # Only of what is always on demand the last machine may bring more.
    beyond = min(size(one.intent.pool, desired) for one in asked) - 1 if always else 0
    if held > most + beyond:
        yield f"{held} on demand, and {most} are the most"
    cost = _cost(plan.ledger, market, only_on_demand=True)
    if fallback is not None and fallback.hourly is not None and (cost is None or cost > fallback.hourly):
        yield f"on demand costs {cost}, and {fallback.hourly} is the most"
    if any(launch.intent.bid is not None for launch in asked):
        yield "a bid on demand"
    if not all(launch.replay for launch in asked) and plan.ledger.short_since is None and held > always + beyond:
        yield "on demand while nothing is short"


def _held_of_kind(ledger: Ledger, desired: Desired, *, on_demand: bool) -> int:
    members = [one for one in ledger.members.values() if takes_a_place(one) and one.on_demand == on_demand]
    intents = [one for one in ledger.intents if one.on_demand == on_demand]
    may_come = sum(max(0, one.count - len(one.found)) * size(one.pool, desired) for one in intents)
    return may_come + sum(size(one.pool, desired) for one in members)


def _always_on_demand(desired: Desired) -> int:
    """How many are on demand whatever spot has."""
    base = min(desired.on_demand.base, desired.replicas)
    return base + math.ceil((desired.replicas - base) * desired.on_demand.percentage_above_base / 100)


def _about_the_mix(desired: Desired, plan: Plan) -> Iterator[str]:
    """Spot takes no place that is wanted on demand in any case."""
    fresh = [one for one in launches(plan.actions) if not one.replay and not one.intent.on_demand]
    spot = _held_of_kind(plan.ledger, desired, on_demand=False)
    last = min((size(one.intent.pool, desired) for one in fresh), default=1)
    if fresh and spot - last >= most_alive(desired) - _always_on_demand(desired):
        yield f"{spot} spot instances take places that are wanted on demand"


def _about_shares(desired: Desired, plan: Plan) -> Iterator[str]:
    fresh = {launch.intent.pool for launch in launches(plan.actions) if not (launch.replay or launch.intent.on_demand)}
    for pool in fresh:
        members = [one for one in plan.ledger.members.values() if one.pool == pool and not one.on_demand]
        held = sum(takes_a_place(member) for member in members)
        intents = [one for one in plan.ledger.intents if one.pool == pool and not one.on_demand]
        held += sum(max(0, one.count - len(one.found)) for one in intents)
        units = size(pool, desired)
        if held > 1 and (held - 1) * units >= math.ceil(most_alive(desired) * desired.share / 100):
            yield f"{held} in {pool} are more than its share"


def _about_rests(desired: Desired, ledger: Ledger, now: datetime, plan: Plan) -> Iterator[str]:
    for launch in launches(plan.actions):
        own = None if launch.intent.on_demand else ledger.backoffs.get(launch.intent.pool)
        for rest in (own, ledger.backoffs.get(None)):
            if rest is not None and now < rest.until and not (launch.replay and rest is own):
                yield f"{launch.intent.pool} is asked while it rests"


def _about_gangs(desired: Desired, ledger: Ledger, now: datetime, plan: Plan) -> Iterator[str]:
    gang, fresh = desired.gang, [launch for launch in launches(plan.actions) if not launch.replay]
    if gang is None or not fresh or ledger.broken_up_at is None or gang.count_min > 100:
        return
    is_new = not ledger.intents and not any(
        takes_a_place(member) and member.termination is None for member in ledger.members.values()
    )
    is_soon = now - min(ledger.broken_up_at, now) < gang.hold
    if is_new and is_soon and sum(launch.intent.count for launch in fresh) < gang.count_min:
        yield "a part of a gang right after one was given up"


def _about_cordons(desired: Desired, now: datetime, plan: Plan) -> Iterator[str]:
    closed = {one.zone for one in desired.cordons.closed if one.until is None or now < one.until}
    for launch in launches(plan.actions):
        if launch.intent.pool.zone in closed:
            yield f"a launch in {launch.intent.pool.zone}, which is cordoned"


def _about_causes(desired: Desired, ledger: Ledger, plan: Plan) -> Iterator[str]:
    """Nothing goes for the market's sake but what gives way to spot, or is of no use without the rest."""
    chosen: dict[Cause, list[Member]] = {}
    for key, member in ledger.members.items():
        termination = plan.ledger.members[key].termination
        if member.termination is None and termination is not None:
            chosen.setdefault(termination.cause, []).append(member)
    back, broken = chosen.get(Cause.BACK_TO_SPOT, []), chosen.get(Cause.GANG_INCOMPLETE, [])
    if not all(member.on_demand for member in back):
        yield "spot gives way to spot"
    if len(back) > 1:
        yield "more than one gives way at a time"
    if broken:
        staying = [one for one in ledger.members.values() if takes_a_place(one) and one.termination is None]
        if desired.gang is None or len(staying) >= desired.gang.count_min:
            yield "a gang is given up that is complete"
    known = {Cause.BACK_TO_SPOT, Cause.GANG_INCOMPLETE, Cause.SCALED_DOWN, Cause.ENVIRONMENT_DELETED, Cause.EXPIRED}
    known |= {Cause.ROLLED_OUT, Cause.TOO_OLD} if desired.rollout is not None else set()
    known |= {Cause.STOPPED_OUTSIDE, Cause.STUCK_PENDING, Cause.RECYCLE_BIN}
    known |= {Cause.WORK_ENDED} if desired.runs is not None else set()
    if not chosen.keys() <= known:
        yield f"released for {sorted(chosen.keys() - known)}"


# --- releases --------------------------------------------------------------------------------------------------------


def _about_releases(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, plan: Plan
) -> Iterator[str]:
    ids = terminated_ids(plan.actions)
    if len(set(ids)) != len(ids):
        yield "one id released twice in one plan"
    for action in plan.actions:
        if isinstance(action, Terminate):
            yield from (line for key in action.instance_ids for line in _about_release(key, action, desired, plan))
    for key in ids:
        seen = observed.instances.get(key)
        if seen is None or seen.ownership != desired.ownership or key not in ledger.members:
            yield f"{key} is not known to be ours"
        if plan.ledger.members[key].termination.sent_at != now:  # type: ignore[union-attr]  # a missing one is an error
            yield f"release of {key} is not noted as sent"
    yield from _about_scaling_down(desired, ledger, plan)


def _about_release(key: str, action: Terminate, desired: Desired, plan: Plan) -> Iterator[str]:
    recorded = plan.ledger.members[key].termination if key in plan.ledger.members else None
    if recorded is None or recorded.cause is not action.cause:
        yield f"release of {key} for {action.cause} is not recorded"
    if not action.because:
        yield f"release of {key} gives no reason"


def _about_scaling_down(desired: Desired, ledger: Ledger, plan: Plan) -> Iterator[str]:
    before = [key for key, member in ledger.members.items() if takes_a_place(member) and member.termination is None]
    chosen = [key for key in before if plan.ledger.members[key].termination is not None]
    there = sum(size(ledger.members[key].pool, desired) for key in before)
    scaled = [key for key in chosen if plan.ledger.members[key].termination.cause is Cause.SCALED_DOWN]  # type: ignore[union-attr]  # they have one
    gone = sum(size(ledger.members[key].pool, desired) for key in scaled)
    if gone > max(0, there - desired.replicas):
        yield f"{gone} released as too many, {there} of {desired.replicas} there"


def _about_memory(ledger: Ledger, observed: Observation, plan: Plan) -> Iterator[str]:
    if ledger.members.keys() != plan.ledger.members.keys():
        yield "planning forgets or invents members"
    if not {intent.sequence for intent in ledger.intents} <= {intent.sequence for intent in plan.ledger.intents}:
        yield "planning forgets a launch"
    for key, member in ledger.members.items():
        if member.termination is not None and plan.ledger.members[key].termination is None:
            seen, was = observed.instances.get(key), member.termination
            has_no_effect = was.accepted_at is None and (was.sent_at is None or was.refused_in is not None)
            if was.cause is Cause.SCALED_DOWN and has_no_effect and seen is not None and seen.protected:
                continue  # it cannot go, and another one can
            yield f"planning forgets that {key} is to go"
