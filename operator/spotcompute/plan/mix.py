"""Divides an environment between spot and on demand: how many shall be on demand, are missing there, or are too many.

Apart from `fallback`, which decides when on demand stands in for missing spot instances: what is counted here is wanted
at the list price in any case, or is there at the list price and should not be.
"""

from __future__ import annotations

from spotcompute.model.ledger import Ledger, Member
from spotcompute.plan.capacity import held_on_demand, occupying, units_of
from spotcompute.plan.retirement import in_order_of_leaving
from spotcompute.plan.rollout import outdated
from spotcompute.plan.situation import Situation


def on_demand_members(ledger: Ledger) -> list[Member]:
    """Returns the instances that were bought on demand and are meant to stay, in a stable order."""
    staying = (member for member in occupying(ledger) if member.termination is None and member.lost is None)
    return [member for member in staying if member.on_demand]


def standing_in(situation: Situation) -> int:
    """Returns how much exists or is on its way on demand beyond what the spec always wants."""
    return max(0, held_on_demand(situation.ledger, situation.desired) - situation.desired.on_demand_wanted)


def to_give_way(situation: Situation) -> list[Member]:
    """Returns the on-demand instances beyond those that the spec always wants, in the order in which they go.

    With a fallback they stand in for spot. Without one the spec does not ask for them any more. Protected ones are
    left out, and those that a roll-out replaces.
    """
    desired = situation.desired
    present, wanted = on_demand_members(situation.ledger), desired.on_demand_wanted
    if units_of(present, desired) <= wanted:
        return []
    rolled = {member.id: member for member in outdated(situation) if member.on_demand}
    excess = units_of(present, desired) - units_of(rolled.values(), desired) - wanted
    given_way: list[Member] = []
    for member in in_order_of_leaving(situation):
        if member.on_demand and member.id not in rolled and 0 < desired.units(member.pool) <= excess:
            given_way.append(member)
            excess -= desired.units(member.pool)
    return given_way
