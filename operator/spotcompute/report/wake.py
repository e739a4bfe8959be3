"""When to look again: at the next thing that can happen without anybody telling us."""

from __future__ import annotations

from datetime import datetime, timedelta

from spotcompute.model.desired import Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Ledger, Member
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Pass
from spotcompute.plan.capacity import shortfall
from spotcompute.plan.cooldown import next_attempt
from spotcompute.plan.planner import is_with_its_sender, may_launch
from spotcompute.plan.policy import Policy

#: Never sooner than this, so that no mistake becomes a hot loop.
SOONEST = timedelta(milliseconds=100)


def next_wake(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy, resync: timedelta
) -> timedelta:
    """How long until the next look, at the latest; news from a sweep or a watch come sooner by themselves."""
    moments = [now + resync]
    is_held_up = any(is_with_its_sender(intent, now, policy) for intent in ledger.intents)
    if shortfall(ledger, desired.replicas) > 0 and may_launch(desired, ledger, Pass()) and not is_held_up:
        moments.append(next_attempt(ledger, [pool for pool, _ in desired.pools], now))
    if ledger.intents:
        rest = ledger.rests.get(None)
        moments.append(max(now + policy.look_again, rest.until if rest else now))
    if ledger.quarantine_until is not None:
        moments.append(max(now + policy.look_again, ledger.quarantine_until))
    moments.extend(_of_member(member, observed, now, policy) for member in ledger.members.values())
    return max(SOONEST, min(moments) - now)


def _of_member(member: Member, observed: Observation, now: datetime, policy: Policy) -> datetime:
    """Members in the slice of the sweep bring their own news; only the others have to be looked after."""
    instance = observed.instances.get(member.id)
    if instance is None or instance.ownership is None or member.termination is not None:
        return now + policy.look_again
    if instance.state is InstanceState.PENDING:
        return max(now + policy.look_again, instance.created_at + policy.launch_timeout)
    return now + policy.forget if member.lost is None else now + policy.look_again
