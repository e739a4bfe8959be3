"""Decides which pools back off after a refusal, and until when: exponentially, bounded, and without ever giving up.

Backoff is needed for progress, not for speed: without it the loop would ask the first, sold-out pool for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotcompute.cloud import errors
from spotcompute.model.ledger import Backoff, Intent, Ledger, Trouble
from spotcompute.model.offering import ON_DEMAND, Market, Pool, whole_subnet, whole_zone
from spotcompute.plan.capacity import held_in_zone
from spotcompute.plan.policy import Policy

#: What the error of an attempt means for the environment. The classes do not nest, so the order does not matter.
_TROUBLES: dict[type[errors.CloudError], Trouble] = {
    errors.InsufficientCapacity: Trouble.INSUFFICIENT_CAPACITY,
    errors.NoRoom: Trouble.NO_ROOM,
    errors.PriceTooLow: Trouble.PRICE_TOO_LOW,
    errors.QuotaExceeded: Trouble.QUOTA_EXCEEDED,
    errors.InsufficientBalance: Trouble.INSUFFICIENT_BALANCE,
    errors.InvalidConfiguration: Trouble.INVALID_CONFIGURATION,
    errors.InvalidCredentials: Trouble.INVALID_CREDENTIALS,
    errors.Throttled: Trouble.RATE_LIMITED,
    errors.Unavailable: Trouble.CLOUD_UNREACHABLE,
    errors.NotSent: Trouble.CLOUD_UNREACHABLE,
    errors.OutcomeUnknown: Trouble.CLOUD_UNREACHABLE,
}

#: Troubles of the account, whichever pool was asked: asking another pool would not help.
OF_THE_ACCOUNT = frozenset({Trouble.INSUFFICIENT_BALANCE, Trouble.INVALID_CREDENTIALS, Trouble.RATE_LIMITED})

#: Troubles of a zone. Its other types share the quota, or the subnet.
OF_THE_ZONE = frozenset({Trouble.QUOTA_EXCEEDED, Trouble.NO_ROOM})

#: Troubles that a smaller request may not have: the pool is asked for fewer before it backs off.
SPLITTABLE = frozenset({Trouble.INSUFFICIENT_CAPACITY, Trouble.NO_ROOM, Trouble.QUOTA_EXCEEDED})

#: Troubles that only a person can end. Pools are asked again slowly, in case the person acted outside Kubernetes.
FOR_A_PERSON = frozenset({Trouble.INVALID_CONFIGURATION, Trouble.INVALID_CREDENTIALS, Trouble.INSUFFICIENT_BALANCE})


#: Backoffs at the limit that would end within this time of each other end together.
TOGETHER = timedelta(seconds=15)


def trouble_of(error: errors.CloudError) -> Trouble:
    """Returns the kind of trouble that an error of an attempt is."""
    for kind, trouble in _TROUBLES.items():
        if isinstance(error, kind):
            return trouble
    return Trouble.UNCLASSIFIED


@dataclass(frozen=True, slots=True)
class Failure:
    """`Failure` is an attempt that failed: the pool that was asked, the kind of trouble, and the cloud's answer.

    `vcpu` is that of one instance of the pool, None when not known: a quota that has no place for it may have place for
    a smaller one. `subnet_id` is that of the attempt when another subnet of the zone can be asked instead.
    """

    pool: Pool
    trouble: Trouble
    error: errors.CloudError
    vcpu: int | None = None
    on_demand: bool = False
    subnet_id: str | None = None


def backoff_after(
    failure: Failure, ledger: Ledger, generation: int, now: datetime, policy: Policy, waiting: int = 0
) -> Backoff:
    """Returns the backoff after a failure: 1, 2, 4, … times the base, a little less by jitter, at most the limit.

    The jitter is a hash of what backs off and how often it failed, so that a thousand environments do not ask in step,
    and yet an equal history gives equal waits. At the limit, pools of one environment end their backoffs together: they
    are asked in one run, each once within the limit. `waiting` environments of the account share a rate: many of them
    make the limit for a sold-out pool longer.
    """
    trouble, where = failure.trouble, _what_backs_off(failure)
    before = _earlier_in_a_row(ledger.backoffs.get(where), generation, now, policy)
    failures = before.failures + 1 if before else 1
    limit = _limit_when_shared(failure, ledger, waiting, policy)
    wait = min(limit, policy.backoff_base * (1 << min(failures - 1, 20)))
    if trouble is Trouble.INVALID_CONFIGURATION:
        wait = policy.blocked_recheck
    if wait == policy.backoff_max:
        until = _end_with_others(now + wait, ledger, now)
    elif wait == limit:
        # Longer than the limit, and each by another part: their sum stays below the rate, and they do not ask in step.
        until = now + wait * 2 - _jittered(wait, ledger.environment_id, where, failures)
    else:
        until = now + _jittered(wait, ledger.environment_id, where, failures)
    is_quota = trouble is Trouble.QUOTA_EXCEEDED and not failure.on_demand
    return Backoff(
        pool=where,
        trouble=trouble,
        code=failure.error.code,
        message=failure.error.message,
        request_id=failure.error.request_id,
        failures=failures,
        since=before.since if before and before.trouble is trouble else now,
        failed_at=now,
        until=now + policy.blocked_recheck if is_quota else until,
        generation=generation,
        vcpu=failure.vcpu if is_quota else None,
        in_use=held_in_zone(ledger, failure.pool.zone) if is_quota else None,
        about=str(failure.error.about) if failure.error.about is not None else None,
    )


def _limit_when_shared(failure: Failure, ledger: Ledger, waiting: int, policy: Policy) -> timedelta:
    """Returns how long a pool backs off at most, so that all who wait together keep to their rate."""
    if failure.trouble is not Trouble.INSUFFICIENT_CAPACITY or failure.on_demand:
        return policy.backoff_max
    pools = sum(backoff.trouble is Trouble.INSUFFICIENT_CAPACITY for backoff in ledger.backoffs.values())
    return max(policy.backoff_max, min(policy.waiting_max, policy.waiting_interval * waiting * max(1, pools)))


def waits_for_stock(ledger: Ledger, missing: int) -> bool:
    """True when instances are missing, and a pool was sold out when it was asked last."""
    return missing > 0 and any(one.trouble is Trouble.INSUFFICIENT_CAPACITY for one in ledger.backoffs.values())


def ends_at(backoff: Backoff, market: Market, policy: Policy) -> datetime:
    """Returns when a backoff ends: no later than the usual limit once the pool has sold to another environment."""
    sold_at = None if backoff.pool is None else market.sold_at.get(backoff.pool)
    if backoff.trouble is not Trouble.INSUFFICIENT_CAPACITY or sold_at is None or sold_at <= backoff.failed_at:
        return backoff.until
    return min(backoff.until, backoff.failed_at + policy.backoff_max)


def _end_with_others(until: datetime, ledger: Ledger, now: datetime) -> datetime:
    """Returns the end of an earlier backoff that ends a little before `until`, and `until` without such a one."""
    ends = (backoff.until for backoff in ledger.backoffs.values())
    return min((end for end in ends if now < end and until - TOGETHER < end < until), default=until)


def _earlier_in_a_row(before: Backoff | None, generation: int, now: datetime, policy: Policy) -> Backoff | None:
    """Returns the backoff of the failure before. None when that was long ago, or the spec has changed since."""
    if before is None or before.generation != generation:
        return None
    is_long = _may_be_shared(before) and before.until - before.failed_at > policy.blocked_recheck
    return None if now - (before.until if is_long else before.failed_at) >= policy.failure_memory else before


def _may_be_shared(backoff: Backoff) -> bool:
    """True when the wait may be longer than usual, because many environments wait: not after the first few failures."""
    return backoff.trouble is Trouble.INSUFFICIENT_CAPACITY and backoff.failures > 4


def _what_backs_off(failure: Failure) -> Pool | None:
    """Returns the pool that backs off: the pool itself, its zone or subnet, all purchases on demand, or None for
    everything.
    """
    if failure.trouble in OF_THE_ACCOUNT or isinstance(failure.error, errors.NotSent):
        return None
    if failure.trouble is Trouble.NO_ROOM and failure.subnet_id is not None:
        return whole_subnet(failure.pool.zone, failure.subnet_id)
    if failure.on_demand:
        return ON_DEMAND
    return whole_zone(failure.pool.zone) if failure.trouble in OF_THE_ZONE else failure.pool


def _jittered(wait: timedelta, environment_id: str, where: Pool | None, failures: int) -> timedelta:
    """Returns between 80 and 100 percent of `wait`, so that the promised limit is never exceeded."""
    digest = hashlib.sha256(f"{environment_id}/{where}/{failures}".encode()).digest()
    return wait * (0.8 + 0.2 * digest[0] / 255)


def without_stale_backoffs(
    ledger: Ledger, pools: frozenset[Pool], generation: int, now: datetime, policy: Policy
) -> Ledger:
    """Returns the ledger without backoffs of another generation, of pools that are no longer wanted, and without those
    that end later than any backoff made now would.

    After a change of the spec pools are asked at once. A backoff that ends too late was written before the clock was
    set back, or by hand, and could last for years. A backoff that is over stays, as the last error of its pool: to
    forget it by age alone would write status while nothing happens.
    """
    longest = max(policy.backoff_max, policy.blocked_recheck)
    shared = policy.waiting_max * 2
    pools |= {whole_zone(pool.zone) for pool in pools} | {ON_DEMAND}
    kept = {
        where: backoff
        for where, backoff in ledger.backoffs.items()
        if backoff.generation == generation
        and (where is None or where in pools)
        and backoff.until - now <= (shared if _may_be_shared(backoff) else longest)
    }
    if len(kept) == len(ledger.backoffs):
        return ledger
    result = ledger
    for where in ledger.backoffs.keys() - kept.keys():
        result = result.without_backoff(where)
    return result


def is_held_back(ledger: Ledger, intent: Intent, now: datetime) -> bool:
    """True when an open launch is not to be sent again: what it asks for, or the whole environment, backs off."""
    where = ON_DEMAND if intent.on_demand else intent.pool
    return is_backing_off(ledger, None, now) or is_backing_off(ledger, where, now)


def end_of_backoffs(ledger: Ledger, where: Iterable[Pool | None], now: datetime) -> datetime | None:
    """Returns when the last of these backoffs is over. Returns None when none of them is in force."""
    found = (ledger.backoffs.get(one) for one in where)
    return max((one.until for one in found if one is not None and now < one.until), default=None)


def is_backing_off(ledger: Ledger, pool: Pool | None, now: datetime) -> bool:
    """True when `pool`, or with None the whole environment, may not be asked."""
    backoff = ledger.backoffs.get(pool)
    return backoff is not None and now < backoff.until
