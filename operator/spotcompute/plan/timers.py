"""Decides which instances get a timer that ends them unless it is renewed, and when timers are taken off again.

Apart from `release`, because nothing is released here: a timer counts only once the operator has been away for long.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from spotcompute.cloud.errors import CloudError, OutcomeUnknown
from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Intent, Ledger, Member, Timers, Trouble
from spotcompute.model.moments import age
from spotcompute.plan.actions import SetTimers, TimersSet
from spotcompute.plan.backoff import FOR_A_PERSON, trouble_of
from spotcompute.plan.policy import Policy
from spotcompute.plan.situation import Situation

#: Timers are renewed after this part of the time: so two renewals in a row may fail.
PERIODS = 3

#: A younger timer than this part of a period is left alone when the others are renewed. So all of them soon have the
#: same age, and are renewed in few calls.
YOUNG = 2

#: How long launches do without a timer after the cloud has refused one for it. Such instances get theirs later.
NOT_AT_LAUNCH_FOR = timedelta(hours=1)


#: Refusals that last: a person must lift them, or it is not known how long they last.
_LASTING = FOR_A_PERSON | {Trouble.QUOTA_EXCEEDED, Trouble.UNCLASSIFIED}


def period(after: timedelta) -> timedelta:
    """Returns the time after which timers are renewed that end instances after `after`."""
    return after / PERIODS


def end_from(at: datetime, after: timedelta) -> datetime:
    """Returns the moment of a timer that is set then, in whole seconds as the cloud takes it."""
    return (at + after).replace(microsecond=0)


def end_at_launch(desired: Desired, ledger: Ledger, now: datetime) -> datetime | None:
    """Returns the moment of the timer that a launch asks for now. None when it asks for none."""
    if desired.orphan_after is None:
        return None
    since = ledger.timers.not_at_launch_since if ledger.timers is not None else None
    if since is not None and timedelta(0) <= now - since < NOT_AT_LAUNCH_FOR:
        return None
    return end_from(now, desired.orphan_after)


def may_have_its_timer(intent: Intent, desired: Desired) -> bool:
    """True when a repeated launch asks for no timer, or for the one that the spec gave it."""
    if intent.ends_at is None:
        return True
    return desired.orphan_after is not None and intent.ends_at == end_from(intent.created_at, desired.orphan_after)


def with_timers(situation: Situation) -> tuple[Ledger, tuple[SetTimers, ...]]:
    """Returns the change of timers that is due now, if one is, and the ledger that notes it as sent.

    An environment that is being deleted renews them too, as long as its instances may have to wait for their end.
    """
    desired, ledger = situation.desired, situation.ledger
    if desired.orphan_after is not None:
        return _renewing(situation, desired.orphan_after)
    if ledger.timers is None or (desired.deleting and not desired.retaining):
        return ledger, ()
    return _removing(situation, ledger.timers)


def _renewing(situation: Situation, after: timedelta) -> tuple[Ledger, tuple[SetTimers, ...]]:
    ledger, now = situation.ledger, situation.now
    timers = replace(ledger.timers or Timers(), removing=False)
    ids = _to_renew(situation, after) if rests_until(timers, now, situation.policy) <= now else []
    if not ids:
        return ledger if timers == ledger.timers else replace(ledger, timers=timers), ()
    return replace(ledger, timers=_sent(timers, now)), (SetTimers(tuple(ids), end_from(now, after)),)


def _to_renew(situation: Situation, after: timedelta) -> list[str]:
    """Returns the ids whose timers are set now; none while no timer is due.

    Those without a known timer do not make the others come sooner.
    """
    now, members = situation.now, with_rights(situation)
    due = [one for one in members if _due_at(one, after, now) <= now]
    if any(_left(one, after, now) is not None for one in due):
        due = [one for one in members if _is_old(one, after, now)]
    return [one.id for one in due]


def _is_old(member: Member, after: timedelta, now: datetime) -> bool:
    left = _left(member, after, now)
    return left is None or left <= after - period(after) / YOUNG


def _due_at(member: Member, after: timedelta, now: datetime) -> datetime:
    left = _left(member, after, now)
    return now if left is None else max(now, now + left - (after - period(after)))


def _left(member: Member, after: timedelta, now: datetime) -> timedelta | None:
    """Returns how long the timer still runs. None when none is known.

    None too when it runs longer than ours do: a clock was wrong, `afterSeconds` was lowered, or status was edited.
    """
    if member.ends_at is None or member.ends_at - now > after:
        return None
    return member.ends_at - now


def with_rights(situation: Situation) -> list[Member]:
    """Returns the members whose timers may be changed, by id: they are there, and their tags say that they are ours.

    What stands in status alone must never have the cloud end an instance.
    """
    members, instances, ours = situation.ledger.members, situation.observed.instances, situation.desired.ownership
    return [
        members[key]
        for key in sorted(members)
        if _stays(members[key])
        and (instance := instances.get(key)) is not None
        and instance.ownership == ours
        and not instance.has_ended
    ]


def _stays(member: Member) -> bool:
    """True unless it has ended, or the cloud has accepted its release."""
    return not member.claims_end


def _removing(situation: Situation, timers: Timers) -> tuple[Ledger, tuple[SetTimers, ...]]:
    """Takes the timers off, until the cloud has said so for each and no request of ours can set one any more."""
    ledger, now = situation.ledger, situation.now
    if not timers.removing:
        # Of no timer is it known that it is not there: a call may have set it without our knowing.
        members = {key: replace(one, ends_at=one.ends_at or now) for key, one in ledger.members.items()}
        timers = Timers(sent_at=timers.sent_at, answered=timers.answered, doubtful_at=timers.doubtful_at, removing=True)
        ledger = replace(ledger, members=members, timers=timers)
    bearing = [one for one in ledger.members.values() if one.ends_at is not None and _stays(one)]
    if not bearing and all(intent.ends_at is None for intent in ledger.intents):
        return replace(ledger, timers=None), ()
    ids = tuple(one.id for one in with_rights(situation.with_ledger(ledger)) if one.ends_at is not None)
    if not ids or rests_until(timers, now, situation.policy) > now:
        return ledger, ()
    return replace(ledger, timers=_sent(timers, now)), (SetTimers(ids, None),)


# --- answers ---------------------------------------------------------------------------------------------------------


def _sent(timers: Timers, now: datetime) -> Timers:
    """Returns the timers as changed now, whatever came of the change before."""
    doubtful_at = timers.sent_at if timers.sent_at is not None and not timers.answered else timers.doubtful_at
    return replace(timers, sent_at=now, answered=False, doubtful_at=doubtful_at)


def with_timers_set(situation: Situation, outcome: TimersSet) -> Ledger:
    """Returns the ledger with what became of timers. Raises nothing."""
    ledger, now, policy = situation.ledger, situation.now, situation.policy
    timers = ledger.timers or Timers()
    doubtful = timers.doubtful_at is not None and age(timers.doubtful_at, now) <= policy.signature_lifetime
    if outcome.ends_at is not None or not doubtful:
        members = {
            key: replace(ledger.members[key], ends_at=outcome.ends_at)
            for key in outcome.instance_ids
            if key in ledger.members
        }
        ledger = replace(ledger, members={**ledger.members, **members})
    if outcome.error is not None:
        return replace(ledger, timers=_after(timers, outcome.error, now))
    settled = replace(timers, answered=True, obstacle=None, lasting=False, forbidden=False, attempts=0)
    if outcome.ends_at is None and doubtful:
        # An earlier request may still set them. They are taken off again once it cannot.
        settled = replace(settled, obstacle="an earlier request has no answer yet", attempts=timers.attempts + 1)
    return replace(ledger, timers=settled)


def _after(timers: Timers, error: CloudError, now: datetime) -> Timers:
    return replace(
        timers,
        sent_at=now,
        answered=not isinstance(error, OutcomeUnknown),
        attempts=timers.attempts + 1,
        obstacle=f"{error.code}: {error.message}"[:256],
        lasting=trouble_of(error) in _LASTING,
        forbidden=trouble_of(error) is Trouble.INVALID_CREDENTIALS,
    )


def without_timer_at_launch(ledger: Ledger, error: CloudError, now: datetime) -> Ledger:
    """Returns the ledger after a launch that was refused for its timer: for some time launches ask for none."""
    timers = replace(_after(ledger.timers or Timers(), error, now), not_at_launch_since=now)
    return replace(ledger, timers=timers)


def rests_until(timers: Timers, now: datetime, policy: Policy) -> datetime:
    """Returns when timers may be changed again: at once, or some time after a failure.

    A refusal that only a person can lift is asked about more rarely. A failure that is still to come is none: the clock
    was set back, or status was edited.
    """
    if timers.sent_at is None or timers.obstacle is None or timers.sent_at > now:
        return now
    if timers.lasting:
        return timers.sent_at + policy.blocked_recheck
    return timers.sent_at + min(policy.backoff_max, policy.poll_interval * (1 << min(max(0, timers.attempts - 1), 10)))


def next_change(situation: Situation) -> datetime | None:
    """Returns when timers are changed next. None when they are not."""
    desired, ledger, now, policy = situation.desired, situation.ledger, situation.now, situation.policy
    timers, after = ledger.timers, desired.orphan_after
    if after is not None:
        soonest = min((_due_at(one, after, now) for one in with_rights(situation)), default=None)
    elif timers is not None and not (desired.deleting and not desired.retaining):
        soonest = now + policy.poll_interval
    else:
        return None
    return soonest if soonest is None or timers is None else max(soonest, rests_until(timers, now, policy))
