"""Decides how instances that are too old, or not as the spec asks for, are replaced: launch first, then retire.

Apart from `retirement`, which says who goes first, and from `drift`, which says what differs: here is how many may live
and how many may go at a time, so that a roll-out never leaves fewer running than it promises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from spotcompute.model.desired import Desired, Rollout
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Member
from spotcompute.plan.capacity import held_on_demand, is_countable, is_ready, units_of
from spotcompute.plan.drift import Asked, Drift
from spotcompute.plan.notices import is_doomed, noticed
from spotcompute.plan.retirement import in_order_of_leaving, is_protected, staying
from spotcompute.plan.situation import Situation


def outdated(situation: Situation) -> list[Member]:
    """Returns the members that a roll-out replaces, by id. Empty when the spec asks for none.

    Protected ones are not among them: they stay as they are until their protection is lifted.
    """
    desired, rollout = situation.desired, situation.desired.rollout
    if rollout is None or desired.deleting or desired.paused or desired.replicas == 0:
        return []
    asked = Asked(situation)
    drifts = ((one, asked.drift_of(one)) for one in staying(situation.ledger))
    old = (one for one, drift in drifts if Drift.AGE in drift or (drift and not rollout.only_aged))
    return [one for one in old if not is_protected(one, situation)]


def for_age_only(situation: Situation, members: Iterable[Member]) -> list[Member]:
    """Returns those of the outdated members that would stay if they were younger."""
    rollout, asked = situation.desired.rollout, Asked(situation)
    return [one for one in members if asked.is_updated(one) or (rollout is not None and rollout.only_aged)]


def comes_of_age_next(situation: Situation) -> datetime | None:
    """Returns when the next instance will be too old. Returns None when none will."""
    if situation.desired.max_age is None or situation.desired.rollout is None:
        return None
    asked = Asked(situation)
    ages = (at for one in staying(situation.ledger) if (at := asked.of_age_at(one)) is not None)
    return min((at for at in ages if at > situation.now), default=None)


def surging(situation: Situation) -> Situation:
    """Returns the situation in which as many more are wanted as may live beside `replicas` now.

    It is unchanged when nothing is to be replaced. Each launch beside them replaces an instance: so no more are wanted
    than are under notice, and than are outdated and a roll-out may have; and on demand only what replaces an instance
    that is always on demand. One more is wanted while spot takes the place of on demand.
    """
    desired, ledger = situation.desired, situation.ledger
    doomed = {member.id: member for member in noticed(situation)}
    old = [one for one in outdated(situation) if one.id not in doomed]
    replaced = _largest(old, desired.rollout.surge_max if desired.rollout else 0, desired)
    more = units_of(doomed.values(), desired) + max(replaced, _largest(_giving_way(situation), 1, desired))
    if not more:
        return situation
    old_on_demand = units_of((one for one in old if one.on_demand), desired)
    missing_then = max(0, desired.on_demand_wanted - held_on_demand(ledger, desired) + old_on_demand)
    on_demand = min(replaced, old_on_demand, missing_then)
    wider = replace(desired, replicas=desired.replicas + more, surge=more, surge_on_demand=on_demand)
    return replace(situation, desired=wider)


def _giving_way(situation: Situation) -> list[Member]:
    """Returns the on-demand instances while spot is launched for the place of one of them; none at other times."""
    desired, ledger = situation.desired, situation.ledger
    if ledger.returning_since is None or desired.rollout is None:
        return []
    if desired.deleting or desired.paused or desired.replicas == 0:
        return []
    return [one for one in staying(ledger) if one.on_demand]


def _largest(members: Iterable[Member], count: int, desired: Desired) -> int:
    """Returns how much so many of the members count at most: of any of these, its replacement has a place."""
    return sum(sorted((desired.units(one.pool) for one in members), reverse=True)[:count])


def to_retire(situation: Situation, cause: Cause = Cause.ROLLED_OUT) -> list[Member]:
    """Returns the outdated members that may go now for that cause, those that are of the least use first.

    `situation` is the one with what is desired, without surge. What does not run may always go, because its place is
    filled by what is as the spec asks for. Of those that run, as many may go as run beyond what is promised.
    """
    rollout = situation.desired.rollout
    old = {member.id for member in outdated(situation) if not is_doomed(member, situation.now)}
    if rollout is None or not old or not is_countable(situation.ledger, situation.desired):
        return []
    if situation.now < (pause_end(situation) or situation.now):
        return []
    in_order = [member for member in in_order_of_leaving(situation) if member.id in old]
    spared = _that_may_be_spared(in_order, rollout, situation)
    retired = spared[:1] if rollout.pause else spared  # one at a time, with the pause between them
    aged = for_age_only(situation, retired)
    return aged if cause is Cause.TOO_OLD else [one for one in retired if one not in aged]


def _that_may_be_spared(members: Iterable[Member], rollout: Rollout, situation: Situation) -> list[Member]:
    """Returns those of the members without which as much runs as is promised. A smaller one may go before a larger."""
    desired, instances = situation.desired, situation.observed.instances
    present = staying(situation.ledger)
    running = {one.id: one for one in present if is_ready(one, instances.get(one.id))}
    may_be_missing = _largest(present, rollout.unavailable_max, desired)
    spare = units_of(running.values(), desired) - (desired.replicas - may_be_missing)
    spared: list[Member] = []
    for member in members:
        if member.arrived and _may_be_running(instances.get(member.id)):
            continue  # it ran before: the list is older than that
        units = desired.units(member.pool) if member.id in running else 0
        if units and units > spare:
            continue
        spare -= units
        spared.append(member)
    return spared


def _may_be_running(instance: Instance | None) -> bool:
    """True when what is shown of an instance that has run may be from before it did: lists lag, and go back too."""
    return instance is None or instance.state is InstanceState.PENDING


def pause_end(situation: Situation) -> datetime | None:
    """Returns when the pause after the last retired instance is over. None when there is no pause."""
    rollout, rolled_at = situation.desired.rollout, situation.ledger.rolled_at
    if rollout is None or not rollout.pause or rolled_at is None:
        return None
    return min(rolled_at, situation.now) + rollout.pause
