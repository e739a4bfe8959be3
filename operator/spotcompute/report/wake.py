"""When to look again: at the next thing that can happen without anybody telling us."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from spotcompute.model.desired import Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Ledger, Member
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Learned
from spotcompute.plan.allocation import next_attempt, rank
from spotcompute.plan.capacity import shortfall
from spotcompute.plan.fallback import next_fallback_check
from spotcompute.plan.gang import parts_allowed_at
from spotcompute.plan.launching import may_await_answer, may_launch
from spotcompute.plan.policy import Policy

#: Never sooner than this, so that no mistake becomes a hot loop.
SOONEST = timedelta(milliseconds=100)

#: What has been on its way for long is looked at more rarely: after this part of the time it has taken so far.
RARER = 8


def next_wake(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy, resync: timedelta
) -> timedelta:
    """How long until the next look, at the latest; news from a sweep or a watch come sooner by themselves."""
    moments = [now + resync]
    is_held_up = bool(observed.other_identities) or any(
        may_await_answer(intent, now, policy) for intent in ledger.intents
    )
    if shortfall(ledger, desired.replicas) > 0 and may_launch(desired, ledger, Learned()) and not is_held_up:
        ranking = rank(desired, ledger, observed.market, now, policy)
        at = next_attempt(desired, ledger, ranking, now) if desired.pools else None
        # Where only money, shares or quotes stand in the way, no moment can be told.
        moments.append(at if at is not None else now + policy.backoff_max)
    if desired.paused and not desired.deleting and shortfall(ledger, desired.replicas) > 0:
        moments.append(now + policy.backoff_max)  # so that its quote follows the market
    if not desired.deleting and not desired.paused:
        moments.extend(moment for moment in _of_the_market(desired, ledger, now, policy) if moment is not None)
    if observed.other_identities:
        moments.append(now + policy.poll_interval)
    if ledger.state_refused is not None:
        moments.append(max(now + policy.poll_interval, ledger.state_refused.refused_at + policy.refusal_shown_for))
    if ledger.intents:
        backoff = ledger.backoffs.get(None)
        youngest = max(intent.created_at for intent in ledger.intents)
        moments.append(max(_next_look(youngest, now, policy), backoff.until if backoff else now))
    if ledger.quarantine_until is not None:
        moments.append(max(_next_look(ledger.quarantine_until, now, policy), ledger.quarantine_until))
    looks = (_of_member(member, observed, now, policy) for member in ledger.members.values())
    moments.extend(look for look in looks if look is not None)
    return max(SOONEST, min(moments) - now)


def _of_the_market(desired: Desired, ledger: Ledger, now: datetime, policy: Policy) -> Iterator[datetime | None]:
    """When fallback or gang want another look."""
    yield next_fallback_check(desired, ledger, now, policy)
    if desired.gang is not None and ledger.incomplete_since is not None:
        at = ledger.incomplete_since + desired.gang.hold
        yield at if at > now else now + policy.poll_interval
    if desired.gang is not None and ledger.broken_up_at is not None and shortfall(ledger, desired.replicas) > 0:
        at = parts_allowed_at(desired.gang, ledger.broken_up_at, policy)
        yield at if at > now else None


def _of_member(member: Member, observed: Observation, now: datetime, policy: Policy) -> datetime | None:
    """Members in the slice of the sweep bring their own news; only the others have to be looked after."""
    instance = observed.instances.get(member.id)
    if member.termination is not None:
        is_listed = instance is not None and instance.ownership is not None
        if is_listed and member.termination.accepted_at is not None:
            return now + policy.repeat_release
        return _next_look(member.termination.recorded_at, now, policy)
    if instance is None:
        return now + policy.poll_interval
    if instance.ownership is None:
        return _next_look(instance.created_at, now, policy)
    if instance.state is InstanceState.PENDING:
        return max(now + policy.poll_interval, instance.created_at + policy.launch_timeout)
    return None if member.lost is None else now + policy.backoff_max


def _next_look(since: datetime, now: datetime, policy: Policy) -> datetime:
    """When to look again at what has been on its way `since` then: soon at first, once a minute in the end."""
    return now + min(policy.backoff_max, max(policy.poll_interval, (now - since) / RARER))
