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


def was_shown(member: Member | None, absence: Absence) -> bool:
    """True when lists have shown the instance: to this process, or to one before, which has noted its tags.

    Otherwise a process that has just begun would count what ended before for as long as what no list has ever shown.
    """
    return absence.was_listed or (member is not None and member.verified)


def was_missed_often(member: Member | None, absence: Absence, policy: Policy) -> bool:
    """True when enough complete sweeps lack the id. For what no list has shown, only the look-ups beside each of them
    are evidence, and it takes twice as many.
    """
    return absence.sweeps >= policy.absence_sweeps * (1 if was_shown(member, absence) else 2)


def has_proof(member: Member | None, absence: Absence, policy: Policy) -> bool:
    """True when look-ups with witnesses suffice. Lists must have shown the instance, and a complete list lacks it."""
    return was_shown(member, absence) and absence.looks >= policy.absence_looks


def may_soon_be_proven(member: Member, absence: Absence | None, seen_at: datetime, policy: Policy) -> bool:
    """True when look-ups with witnesses bring the proof nearer, or may still begin to."""
    if absence is None or not was_shown(member, absence) or has_proof(member, absence, policy):
        return False
    return is_old_enough(member, seen_at, policy) and (absence.looks > 0 or absence.sweeps <= 1)


def is_proven_gone(absence: Absence | None, policy: Policy) -> bool:
    """True when an id of which nothing is remembered any more belongs to no instance that exists."""
    if absence is None or not absence.looked_up:
        return False
    return was_missed_often(None, absence, policy) or has_proof(None, absence, policy)
