"""Says in half a sentence what is notable of an environment that goes on: prices, age, what is replaced and waits.

Apart from `conclusion`, which says how the environment stands: these notes are added to its sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

from spotcompute.api.times import to_text
from spotcompute.plan.budget import hourly_cost
from spotcompute.plan.capacity import occupying
from spotcompute.plan.drift import Asked, Drift
from spotcompute.plan.mix import on_demand_members
from spotcompute.plan.retirement import staying
from spotcompute.plan.rollout import pause_end, surging
from spotcompute.plan.situation import Situation
from spotcompute.report.cost import money
from spotcompute.report.why import why_short


def at_list_price(situation: Situation) -> str:
    """Says how many are on demand, and what becomes of those that the spec does not ask for any more."""
    desired, count = situation.desired, len(on_demand_members(situation.ledger))
    if not count:
        return ""
    excess = 0 if desired.fallback or desired.deleting else max(0, count - desired.on_demand_wanted)
    if not excess:
        return f", {count} of them on demand"
    which = f", of which {excess} give" if excess < count else ", which give"
    return f", {count} of them on demand{which} way when spot is to be had"


def dearer(situation: Situation) -> str:
    """Says that instances cost more than a cap now. The price rose, or the cap was lowered: nothing is released."""
    caps, ledger, market = situation.desired.caps, situation.ledger, situation.market
    limit, cost = caps.in_total, hourly_cost(ledger, market)
    if limit is not None and cost is not None and cost > limit:
        return f", for {money(cost)} per hour: more than limits.maxHourlyCost {limit}"
    held = sorted({member.pool for member in occupying(ledger) if not member.on_demand})
    for pool in held:
        price, cap = market.price(pool), caps.explicit(pool.instance_type)
        if price is not None and cap is not None and price > cap:
            return f", and {pool} costs {money(price)} per hour now: the price is above maxPrice {cap}"
    return ""


def left_as_they_are(situation: Situation) -> str:
    """Says that instances differ from the spec and stay. Returns nothing when none does, or they will be replaced."""
    asked = Asked(situation)
    # What is charged otherwise gives way to spot by itself, and is told of above.
    old = [one for one in staying(situation.ledger) if asked.drift_of(one) - {Drift.CHARGE_TYPE, Drift.AGE}]
    if not old:
        return ""
    if situation.desired.rollout is not None and not situation.desired.rollout.only_aged:
        return f"{number_of(old, 'protected instance')} not as the spec asks for now"
    return f"{number_of(old, 'instance')} not as the spec asks for now, kept until lost or released (strategy OnDelete)"


def too_old(situation: Situation, aged: int) -> str:
    """Says how many are replaced for their age alone. That keeps no environment from being ready."""
    return f"{number_of(range(aged), 'instance')} to replace for age{waiting_for(situation)}" if aged else ""


def returning(situation: Situation) -> str:
    """Says that spot takes the place of on demand. Returns nothing when it does not, or releases are enough for it."""
    if situation.ledger.returning_since is None:
        return ""
    return f"a spot instance is launched first in the place of one on demand{waiting_for(situation)}"


def waiting_for(situation: Situation) -> str:
    """Says what the next replacement waits for. Returns nothing when it waits for nothing."""
    wider = surging(situation)
    why, resting = why_short(wider) if wider.missing else None, pause_end(situation)
    if why is not None:
        return f". The next waits: {why.text}. Nothing is ended meanwhile"
    is_resting = resting is not None and resting > situation.now
    return f", the next after the pause, at {to_text(resting)}" if resting and is_resting else ""


def number_of(things: Sequence[object], noun: str) -> str:
    """Returns how many there are, with their noun: `1 instance`, `2 instances`."""
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"
