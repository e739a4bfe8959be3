"""Decides whether an environment has expired: then it wants no instance, and the object stays.

Apart from `planner`, because it depends on the spec and the time alone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from spotcompute.model.desired import Desired
from spotcompute.plan.situation import Situation


def with_expiry(desired: Desired, now: datetime) -> Desired:
    """Returns what is desired at `now`: no instance once the environment has expired, otherwise the same."""
    if desired.expires_at is None or now < desired.expires_at or desired.deleting:
        return desired
    return replace(desired, replicas=0, expired=True, fallback=None, gang=None, rollout=None)


def expires_next(situation: Situation) -> datetime | None:
    """Returns when the environment will expire. None when it has expired, never does, or is being deleted."""
    desired = situation.desired
    return None if desired.expired or desired.deleting else desired.expires_at
