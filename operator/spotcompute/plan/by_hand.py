"""Decides which instances are to be replaced: those of no use any more, and those that people want to be rid of.

Apart from `retirement`, which chooses among those that are too many: here nothing is chosen. An instance is named by
what it has come to, or by a mark, and a mark may also keep it for a while.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.model.wishes import Wish
from spotcompute.plan.retirement import why_replace
from spotcompute.plan.situation import Situation

#: What `Wish.keep_for` delays. A person who deletes an object has looked at the instance already.
_FAILURES = frozenset({Cause.STOPPED_OUTSIDE, Cause.STUCK_PENDING, Cause.STUCK, Cause.UNHEALTHY})


def to_replace(situation: Situation) -> dict[str, tuple[Member, Cause]]:
    """Returns the instances that are to go although they are not too many, and why, by id."""
    leaving: dict[str, tuple[Member, Cause]] = {}
    for key, member in situation.ledger.members.items():
        cause = _why(member, situation)
        if cause is not None and not _is_held(member, cause, situation):
            leaving[key] = (member, cause)
    return leaving


def with_kept_clocks(situation: Situation) -> Ledger:
    """Returns the ledger with `kept_since` of each failed instance that is kept, and of no other."""
    ledger = situation.ledger
    for key, member in situation.ledger.members.items():
        if member.kept_since is None and key not in situation.wishes:
            continue
        is_kept = situation.wish(key).keep_for is not None and _why(member, situation) in _FAILURES
        since = min(member.kept_since or situation.now, situation.now) if is_kept else None
        if since != member.kept_since:
            ledger = ledger.with_member(replace(member, kept_since=since))
    return ledger


def kept_until(member: Member, wish: Wish) -> datetime | None:
    """Returns until when a failed instance is kept to be looked at. None when it has not failed, or is not kept."""
    if member.kept_since is None or wish.keep_for is None:
        return None
    return member.kept_since + wish.keep_for


def _why(member: Member, situation: Situation) -> Cause | None:
    """Returns why the instance is to go. None while it is to stay, and when it is going or gone already."""
    if member.termination is not None:
        return None
    seen_at, timeout = min(situation.now, situation.observed.observed_at), situation.policy.launch_timeout
    cause = why_replace(member, situation.observed.instances.get(member.id), seen_at, timeout)
    if cause is Cause.STOPPED_OUTSIDE and _has_ended_its_work(member, situation):
        cause = Cause.WORK_ENDED
    wish = situation.wish(member.id)
    if cause is Cause.RECYCLE_BIN or member.lost is not None:
        return cause
    if wish.ended:
        return Cause.DELETED_BY_HAND
    return cause or (Cause.UNHEALTHY if wish.unhealthy else None)


def _has_ended_its_work(member: Member, situation: Situation) -> bool:
    """True when the machine was to work until it powers itself off, and no person or program has stopped it."""
    instance = situation.observed.instances.get(member.id)
    return situation.desired.runs is not None and instance is not None and not instance.was_stopped


def _is_held(member: Member, cause: Cause, situation: Situation) -> bool:
    """True when a mark keeps the instance. What the recycle bin holds is destroyed already."""
    wish = situation.wish(member.id)
    if cause is Cause.RECYCLE_BIN:
        return False
    if wish.protect:
        return True
    until = kept_until(member, wish) if cause in _FAILURES else None
    return until is not None and situation.now < until
