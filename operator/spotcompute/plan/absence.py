"""Decides what proves that an instance which is not shown any more has ended.

Apart from `ledger_sync`, which draws the conclusion, because `report.wake` asks too: what is nearly proven is looked at
again at once.
"""

from __future__ import annotations

from datetime import datetime

from spotcompute.model.ledger import Member
from spotcompute.model.observation import Absence
from spotcompute.plan.policy import Policy


def is_old_enough(member: Member, seen_at: datetime, policy: Policy) -> bool:
    """True when no list and no look-up of `seen_at` can still lag so far behind that the instance was not there yet."""
    return seen_at - member.launched_at > policy.listing_lag_max


def has_proof(absence: Absence, policy: Policy) -> bool:
    """True when look-ups with witnesses suffice. Lists must have shown the instance, and a complete list lacks it."""
    return absence.was_listed and absence.looks >= policy.absence_looks


def may_soon_be_proven(member: Member, absence: Absence | None, seen_at: datetime, policy: Policy) -> bool:
    """True when look-ups with witnesses bring the proof nearer, or may still begin to."""
    if absence is None or not absence.was_listed or has_proof(absence, policy):
        return False
    return is_old_enough(member, seen_at, policy) and (absence.looks > 0 or absence.sweeps <= 1)


def is_proven_gone(absence: Absence | None, policy: Policy) -> bool:
    """True when an id of which nothing is remembered any more belongs to no instance that exists."""
    if absence is None or not absence.looked_up:
        return False
    return absence.sweeps >= policy.absence_sweeps or has_proof(absence, policy)
