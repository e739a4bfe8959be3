"""Decides how instances outlive a deleted environment: their tags are changed, and only what shows it is let go.

Apart from `release`, because nothing here ends: an instance that is kept is never in a call that releases.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Ledger, Marking, Member
from spotcompute.model.moments import age
from spotcompute.plan.actions import Mark
from spotcompute.plan.policy import Policy
from spotcompute.plan.situation import Situation


def is_let_go(member: Member, instance: Instance, desired: Desired, now: datetime, policy: Policy) -> bool:
    """True when the cloud shows that this environment has left the instance, and no request of ours is on its way."""
    shows_it = instance.ownership is None and instance.retained == desired.owner
    return shows_it and not may_still_arrive(member.marking, now, policy)


def without_releases(ledger: Ledger) -> Ledger:
    """Returns the ledger without the releases that the cloud has not accepted. What is accepted ends, kept or not."""
    for member in ledger.members.values():
        if member.termination is not None and member.termination.accepted_at is None:
            ledger = ledger.with_member(replace(member, termination=None))
    return ledger


def letting_go(situation: Situation) -> tuple[Ledger, Mark | None]:
    """Returns the change of tags that is due now, None when none is, and the ledger that notes it as sent."""
    ledger, now, desired = without_releases(situation.ledger), situation.now, situation.desired
    due: list[Instance] = []
    for instance_id in sorted(ledger.members):
        member, instance = ledger.members[instance_id], situation.observed.instances.get(instance_id)
        if instance is None or not may_be_marked(instance, situation):
            continue
        if instance.retained != desired.owner and is_marking_due(member.marking, situation):
            due.append(instance)
            ledger = ledger.with_member(replace(member, marking=sent(member.marking, now)))
    if not due:
        return ledger, None
    return ledger, Mark(tuple(due), None, desired.owner, "the environment is deleted, and its instances are kept")


def may_be_marked(instance: Instance, situation: Situation) -> bool:
    """True when the instance exists and its tags are ours, or have had the time to become so.

    The cloud adds the tags of a launch some time after it. Taken off before that, they would come back.
    """
    if instance.state in (InstanceState.TERMINATING, InstanceState.LAUNCH_FAILED):
        return False
    policy = situation.policy
    has_had_time = age(instance.created_at, situation.now) > policy.listing_lag_max + policy.signature_lifetime
    is_anybodys = instance.ownership is None and has_had_time
    return instance.ownership == situation.desired.ownership or is_anybodys


def is_marking_due(marking: Marking | None, situation: Situation) -> bool:
    """True when the tags were never changed, or long enough ago without effect."""
    if marking is None or marking.sent_at is None:
        return True
    # An observation from before the request says nothing about its effect.
    is_to_come = marking.sent_at > situation.now  # by a clock that has been set back since
    shows_effect = marking.obstacle is not None or is_to_come or situation.observed.observed_at > marking.sent_at
    return shows_effect and situation.now >= due_again(marking, marking.sent_at, situation.now, situation.policy)


def due_again(marking: Marking, sent_at: datetime, now: datetime, policy: Policy) -> datetime:
    """Returns when tags may be changed again: after a failure sooner, and then more and more rarely.

    A change that is still to come, because the clock was set back, is as old as it is far away.
    """
    sent_at = now - age(sent_at, now)
    if marking.obstacle is None:
        return sent_at + policy.repeat_release
    return sent_at + min(policy.backoff_max, policy.poll_interval * (1 << min(max(0, marking.attempts - 1), 10)))


def sent(marking: Marking | None, now: datetime) -> Marking:
    """Returns the marking as sent now, whatever came of it before."""
    marking = marking or Marking()
    doubtful_at = marking.sent_at if marking.sent_at is not None and not marking.answered else marking.doubtful_at
    return replace(marking, sent_at=now, answered=False, doubtful_at=doubtful_at)


def may_still_arrive(marking: Marking | None, now: datetime, policy: Policy) -> bool:
    """True when a request to change the tags may still be on its way. It would undo what was done since."""
    if marking is None:
        return False
    open_since = (marking.doubtful_at, None if marking.answered else marking.sent_at)
    return any(at is not None and age(at, now) <= policy.signature_lifetime for at in open_since)


def next_marking(member: Member, situation: Situation) -> datetime | None:
    """Returns when the tags of a member that is kept are changed again at the latest. None for one that is ending."""
    if member.termination is not None and member.termination.accepted_at is not None:
        return None
    if member.marking is None or member.marking.sent_at is None:
        return situation.now + situation.policy.poll_interval
    return due_again(member.marking, member.marking.sent_at, situation.now, situation.policy)
