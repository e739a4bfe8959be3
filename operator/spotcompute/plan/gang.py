"""Decides about gangs, which are all or nothing: an incomplete gang is held, then released, and not bought again soon.

Apart from `capacity`, because it says what a number of instances is worth, not how many there are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from spotcompute.model.desired import Desired, Gang
from spotcompute.model.launch import MAX_LAUNCH_COUNT
from spotcompute.model.ledger import Ledger, Member
from spotcompute.plan.capacity import in_flight, occupying, shortfall
from spotcompute.plan.policy import Policy


def with_gang_clocks(desired: Desired, ledger: Ledger, now: datetime) -> Ledger:
    """Returns the ledger with `incomplete_since` set while a part of a gang is paid for, and cleared otherwise."""
    since = None
    if desired.gang is not None and is_incomplete(desired.gang, ledger):
        since = min(ledger.incomplete_since or now, now)
    broken_up_at = min(ledger.broken_up_at, now) if desired.gang and ledger.broken_up_at else None
    if (since, broken_up_at) == (ledger.incomplete_since, ledger.broken_up_at):
        return ledger
    return replace(ledger, incomplete_since=since, broken_up_at=broken_up_at)


def is_incomplete(gang: Gang, ledger: Ledger) -> bool:
    """True when there are some instances, and fewer than the gang needs."""
    return 0 < _staying(ledger) < gang.count_min


def is_complete(gang: Gang, ledger: Ledger) -> bool:
    """True when there are as many instances as the gang needs."""
    return _staying(ledger) >= gang.count_min


def _staying(ledger: Ledger) -> int:
    return sum(member.termination is None for member in occupying(ledger))


def missing_of_gang(desired: Desired, ledger: Ledger) -> int:
    """Returns how many instances a gang lacks until it is of use, besides those in flight. Returns 0 without a gang."""
    return max(0, desired.gang.count_min - _staying(ledger) - in_flight(ledger)) if desired.gang else 0


def gang_to_release(desired: Desired, ledger: Ledger, now: datetime) -> list[Member]:
    """Returns the instances to release because the gang was not completed in time: all of them, or none."""
    if desired.gang is None or ledger.incomplete_since is None:
        return []
    if _staying(ledger) + in_flight(ledger) >= desired.gang.count_min and in_flight(ledger):
        return []  # what is on its way may complete it, and is bought already
    if not is_incomplete(desired.gang, ledger) or now - ledger.incomplete_since < desired.gang.hold:
        return []
    return [member for member in occupying(ledger) if member.termination is None and member.lost is None]


def smallest_useful_count(desired: Desired, ledger: Ledger, now: datetime, policy: Policy) -> int:
    """Returns how many instances one request must bring at least: the whole gang while there is none, then any number.

    A OneTime request is for everything that is missing.
    """
    if desired.one_time:
        return max(1, shortfall(ledger, desired))
    gang = desired.gang
    if gang is None or is_complete(gang, ledger) or _staying(ledger) + in_flight(ledger) > 0:
        return 1
    fits_one_call = gang.count_min <= MAX_LAUNCH_COUNT
    return 1 if not fits_one_call and may_buy_parts(desired, ledger, now, policy) else gang.count_min


def may_buy_parts(desired: Desired, ledger: Ledger, now: datetime, policy: Policy) -> bool:
    """True when a gang may be built from parts once every pool has refused the whole.

    It may not for a while after a gang was given up, nor while places for the whole are still being freed.
    """
    gang = desired.gang
    if gang is None or desired.one_time or shortfall(ledger, desired) < gang.count_min:
        return False
    return ledger.broken_up_at is None or now >= parts_allowed_at(gang, ledger.broken_up_at, policy)


def parts_allowed_at(gang: Gang, broken_up_at: datetime, policy: Policy) -> datetime:
    """Returns when a gang that was given up may be built from parts again: never at once, however short the hold."""
    return broken_up_at + max(gang.hold * policy.gang_pause, policy.blocked_recheck)
