"""Judges how far a pool is trusted: one that takes instances back soon after their launch is avoided for a while.

Apart from `backoff`, which is about refusals. A pool that sells and then takes back costs money and work, and its next
sale proves nothing. Only an instance that lasts proves something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

from spotcompute.model.ledger import Ledger, Member, PoolTrust
from spotcompute.model.moments import age
from spotcompute.model.offering import Pool
from spotcompute.plan.capacity import occupying
from spotcompute.plan.policy import Policy

#: Most pools that are remembered. Those whose last loss is longest ago are forgotten first.
POOL_TRUST_MAX = 100


def is_early(member: Member, now: datetime, policy: Policy) -> bool:
    """True when an end of `member` now would be early, so that it says something about its pool."""
    return now - member.launched_at <= policy.early_loss


def after_loss(ledger: Ledger, member: Member, now: datetime, policy: Policy) -> Ledger:
    """Returns the ledger that remembers that the pool of `member` has taken it back, or never started it.

    Only an early loss is weighed anew, because the end of an old instance must not make a bad pool look better. Losses
    of instances launched before the last counted loss count as that same loss: a reclaim of five instances is one
    failure. Otherwise an environment with one pool would wait half an hour after it.
    """
    before = ledger.pool_trust.get(member.pool) or PoolTrust(pool=member.pool, reclaims=0, early=0.0, as_of=now)
    counted = replace(before, reclaims=before.reclaims + 1)
    is_same_reclaim = before.early > 0 and member.launched_at <= before.as_of <= now
    if is_early(member, now, policy) and not is_same_reclaim:
        weight = early_loss_weight(before, now, policy) + 1.0
        counted = replace(counted, early=round(min(policy.early_limit, weight), 3), as_of=now)
    kept = {**ledger.pool_trust, member.pool: counted}
    while len(kept) > POOL_TRUST_MAX:
        del kept[min(kept, key=lambda one: (kept[one].as_of, one))]
    return replace(ledger, pool_trust=kept)


def early_loss_weight(trust: PoolTrust, now: datetime, policy: Policy) -> float:
    """Returns what the early losses of a pool weigh now."""
    return trust.early * float(0.5 ** (age(trust.as_of, now) / policy.half_life))


@dataclass(frozen=True, slots=True)
class Trust:
    """`Trust` says how far a pool is trusted: avoided until a time, or on probation.

    Probation means one instance at a time, or one gang.
    """

    avoided_until: datetime | None = None
    on_probation: bool = False


TRUSTED = Trust()


def trust_of(ledger: Ledger, pool: Pool, now: datetime, policy: Policy) -> Trust:
    """Returns how far `pool` is trusted. A pool is trusted again when an instance has outlived an early loss since the
    last loss, or when it has lost no instance for long.
    """
    trust = ledger.pool_trust.get(pool)
    if (
        trust is None
        or trust.early < policy.avoid_from
        or age(trust.as_of, now) > policy.forgiven_after * policy.half_life
        or _has_proven_itself(ledger, trust, now, policy)
    ):
        return TRUSTED
    half_lives = math.log2(trust.early / policy.probe_at)
    wait = half_lives * policy.half_life
    if age(trust.as_of, now) < wait:
        return Trust(avoided_until=min(trust.as_of, now) + wait)
    return Trust(on_probation=True)


def _has_proven_itself(ledger: Ledger, trust: PoolTrust, now: datetime, policy: Policy) -> bool:
    return any(
        member.pool == trust.pool
        and not member.on_demand
        and member.arrived
        and member.launched_at > trust.as_of
        and now - member.launched_at > policy.early_loss
        for member in occupying(ledger)
    )
