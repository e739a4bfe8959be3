"""Decides how instances that are not as the spec asks for are replaced: launch first, then retire.

Apart from `retirement`, which says who goes first, and from `drift`, which says what differs: here is how many may live
and how many may go at a time, so that a roll-out never leaves fewer running than it promises.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from spotcompute.model.ledger import Member
from spotcompute.plan.capacity import is_ready
from spotcompute.plan.drift import Asked
from spotcompute.plan.notices import is_doomed, noticed
from spotcompute.plan.retirement import in_order_of_leaving, is_protected, staying
from spotcompute.plan.situation import Situation


def outdated(situation: Situation) -> list[Member]:
    """Returns the members that a roll-out replaces, by id. Empty when the spec asks for none.

    Protected ones are not among them: they stay as they are until their protection is lifted.
    """
    desired = situation.desired
    if desired.rollout is None or desired.deleting or desired.paused or desired.replicas == 0:
        return []
    asked = Asked(situation)
    return [one for one in staying(situation.ledger) if not asked.is_updated(one) and not is_protected(one, situation)]


def surging(situation: Situation) -> Situation:
    """Returns the situation in which as many more are wanted as may live beside `replicas` now.

    It is unchanged when nothing is to be replaced. Each launch beside them replaces an instance: so no more are wanted
    than are under notice, and than are outdated and a roll-out may have.
    """
    rollout, doomed = situation.desired.rollout, {member.id for member in noticed(situation)}
    old = sum(member.id not in doomed for member in outdated(situation))
    more = len(doomed) + (min(rollout.surge_max, old) if rollout else 0)
    if not more:
        return situation
    wider = replace(situation.desired, replicas=situation.desired.replicas + more, surge=more)
    return replace(situation, desired=wider)


def to_retire(situation: Situation) -> list[Member]:
    """Returns the outdated members that may go now, those that are of the least use first.

    `situation` is the one with what is desired, without surge. What does not run may always go, because its place is
    filled by what is as the spec asks for. Of those that run, as many may go as run beyond what is promised.
    """
    desired, ledger = situation.desired, situation.ledger
    rollout = desired.rollout
    old = {member.id for member in outdated(situation) if not is_doomed(member, situation.now)}
    if rollout is None or not old or situation.now < (pause_end(situation) or situation.now):
        return []
    instances = situation.observed.instances
    running = {one.id for one in staying(ledger) if is_ready(one, instances.get(one.id))}
    spare = len(running) - (desired.replicas - rollout.unavailable_max)
    retired: list[Member] = []
    for member in in_order_of_leaving(situation):
        if member.id not in old:
            continue
        if member.id in running:
            if spare <= 0:
                break
            spare -= 1
        retired.append(member)
        if rollout.pause:
            break  # one at a time, with the pause between them
    return retired


def pause_end(situation: Situation) -> datetime | None:
    """Returns when the pause after the last retired instance is over. None when there is no pause."""
    rollout, rolled_at = situation.desired.rollout, situation.ledger.rolled_at
    if rollout is None or not rollout.pause or rolled_at is None:
        return None
    return min(rolled_at, situation.now) + rollout.pause
