"""What a pool has done to us: pools that take instances back soon after their launch are left alone for a while.

Apart from `backoff`, which is about refusals: a pool that sells and then takes back costs money and work, and its next
sale proves nothing. Only a machine that lasts does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

from spotcompute.model.ledger import Ledger, Member, PoolTrust
from spotcompute.model.offering import Pool
from spotcompute.plan.capacity import occupying
from spotcompute.plan.policy import Policy

#: Pools remembered at most; those whose last loss is longest ago go first.
POOL_TRUST_MAX = 100


def is_early(member: Member, now: datetime, policy: Policy) -> bool:
    """Whether the end of `member` now says something of its pool, and not only that everything ends some day."""
    return now - member.launched_at <= policy.early_loss


def after_loss(ledger: Ledger, member: Member, now: datetime, policy: Policy) -> Ledger:
    """The same ledger, which remembers that the pool of `member` has taken it back, or never started it.

    Only an early loss is weighed anew: whether a pool is avoided depends on what its losses weighed at the last one,
    and the end of an old instance must not make a bad pool look better. And what was launched before the last of them
    ended by the same stroke, as far as anybody can tell: a pool of which two instances are taken at once has failed
    once. Else an environment with one pool would wait half an hour for it.
    """
    before = ledger.pool_trust.get(member.pool) or PoolTrust(pool=member.pool, reclaims=0, early=0.0, as_of=now)
    noted = replace(before, reclaims=before.reclaims + 1)
    is_same_stroke = before.early > 0 and member.launched_at <= before.as_of <= now
    if is_early(member, now, policy) and not is_same_stroke:
        weight = early_loss_weight(before, now, policy) + 1.0
        noted = replace(noted, early=round(min(policy.early_limit, weight), 3), as_of=now)
    kept = {**ledger.pool_trust, member.pool: noted}
    while len(kept) > POOL_TRUST_MAX:
        del kept[min(kept, key=lambda one: (kept[one].as_of, one))]
    return replace(ledger, pool_trust=kept)


def early_loss_weight(reputation: PoolTrust, now: datetime, policy: Policy) -> float:
    """What its early losses weigh now. A time to come is as old as it is far: the clock has been set back since."""
    return reputation.early * float(0.5 ** (abs(now - reputation.as_of) / policy.half_life))


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether a pool is trusted: `avoided_until` then, and from then on `on_probation`: one instance at a time."""

    avoided_until: datetime | None = None
    on_probation: bool = False


TRUSTED = Trust()


def trust_of(ledger: Ledger, pool: Pool, now: datetime, policy: Policy) -> Trust:
    """How `pool` stands. Trusted again is one whose instance has outlived the early time since the last loss, and one
    that has lost nothing for long.
    """
    reputation = ledger.pool_trust.get(pool)
    if (
        reputation is None
        or reputation.early < policy.avoid_from
        or abs(now - reputation.as_of) > policy.forgiven_after * policy.half_life
        or _has_proven_itself(ledger, reputation, now, policy)
    ):
        return TRUSTED
    half_lives = math.log2(reputation.early / policy.probe_at)
    wait = half_lives * policy.half_life
    if abs(now - reputation.as_of) < wait:
        return Trust(avoided_until=min(reputation.as_of, now) + wait)
    return Trust(on_probation=True)


def _has_proven_itself(ledger: Ledger, reputation: PoolTrust, now: datetime, policy: Policy) -> bool:
    return any(
        member.pool == reputation.pool
        and not member.on_demand
        and member.arrived
        and member.launched_at > reputation.as_of
        and now - member.launched_at > policy.early_loss
        for member in occupying(ledger)
    )
