"""Decides what a notice of interruption is worth, and when the instance that has one may go.

Apart from `nodes`, because a machine that is no node may have a notice too: by a mark on its object, or by a tag that
it sets on itself. A notice is a claim of others. It makes us buy one instance earlier, for a time, and never more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.plan.capacity import is_ready, units_of
from spotcompute.plan.retirement import is_protected, staying
from spotcompute.plan.situation import Situation

#: The tag by which a machine that is no node reports its notice, with the time as its value.
NOTICE_TAG = "spotcompute-interruption-notice"

#: A notice comes about two minutes before the end. One for a later time is not believed.
FARTHEST = timedelta(minutes=10)

#: The end may be this long ago when the notice is read: it travels by a node, a mark or a sweep.
LATEST = timedelta(minutes=2)

#: Time after which an instance that had a notice, and lives, is not taken for doomed any more.
LIVES_ON_AFTER = timedelta(minutes=10)

#: Clocks of the vendor's machines, and the times in a notice, are in this zone where they name none.
_VENDORS_ZONE = timezone(timedelta(hours=8))

#: What people write for a notice without a time.
_WITHOUT_TIME = frozenset({"", "true", "yes", "now"})


def is_believable(text: str, now: datetime) -> bool:
    """True when the text is the notice of an end that is near: a time within ten minutes, or no time at all."""
    end = _end_in(text)
    if end is None:
        return text.strip().lower() in _WITHOUT_TIME
    return -LATEST <= end - now <= FARTHEST


def with_notices(situation: Situation) -> tuple[Ledger, tuple[Activity, ...]]:
    """Returns the ledger with `notice_at` of each member that has its first notice, and what is told of it.

    One instance is believed once. After a false notice it would otherwise cost another machine again and again.
    """
    ledger, now, told = situation.ledger, situation.now, []
    for member in staying(ledger):
        if member.notice_at is not None or member.on_demand:
            continue
        text = next((each for each in _reported(member, situation) if is_believable(each, now)), None)
        if text is None:
            continue
        ledger = ledger.with_member(replace(member, notice_at=now))
        told.append(_activity(member, text, now))
    return ledger, tuple(told)


def noticed(situation: Situation) -> list[Member]:
    """Returns the members that had a notice and live, by id. Empty when nothing is wanted in their place.

    Work that lasts to the end of its machine is begun anew after that end, because it may be done before.
    """
    desired = situation.desired
    if desired.deleting or desired.paused or desired.one_time or desired.runs or desired.replicas == 0:
        return []
    return [member for member in staying(situation.ledger) if member.notice_at is not None]


def is_doomed(member: Member, now: datetime) -> bool:
    """Returns True while the instance is believed to end soon by itself. It works to the last: we do not end it."""
    return member.notice_at is not None and now < min(member.notice_at, now) + LIVES_ON_AFTER


def lives_on_at(situation: Situation) -> datetime | None:
    """Returns when the next notice has turned out to be false. None when nothing is under notice."""
    ends = [member.notice_at + LIVES_ON_AFTER for member in noticed(situation) if member.notice_at is not None]
    return min((end for end in ends if end > situation.now), default=None)


def to_let_go(situation: Situation) -> list[Member]:
    """Returns the instances whose notice was false and which may go, because enough others run, by id."""
    desired, instances = situation.desired, situation.observed.instances
    false = [one for one in noticed(situation) if not is_doomed(one, situation.now)]
    if not false:
        return []
    had_notice = {one.id for one in noticed(situation)}
    others = [one for one in staying(situation.ledger) if one.id not in had_notice]
    running = units_of((one for one in others if is_ready(one, instances.get(one.id))), desired)
    missing, let_go = desired.replicas - running, list[Member]()
    for member in (one for one in false if not is_protected(one, situation)):
        if missing > 0:
            missing -= desired.units(member.pool)
        else:
            let_go.append(member)
    return let_go


def _reported(member: Member, situation: Situation) -> Iterator[str]:
    """Yields each report of the instance's end: from its node, from the mark on its object, from its own tag."""
    node, instance = situation.nodes.get(member.id), situation.observed.instances.get(member.id)
    if node is not None and node.notice is not None:
        yield node.notice
    mark = situation.wish(member.id).notice
    if mark is not None:
        yield mark
    if instance is not None and NOTICE_TAG in instance.tags:
        yield instance.tags[NOTICE_TAG]


def _end_in(text: str) -> datetime | None:
    """Returns the time in a notice, aware UTC. None when there is none, or none that can be read."""
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=_VENDORS_ZONE)).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: so far away that another zone has no such time
        return None


def _activity(member: Member, text: str, now: datetime) -> Activity:
    when = f" at {text.strip()}" if _end_in(text) else ""
    return Activity(
        ActivityType.NOTICE,
        ActivityState.SUCCEEDED,
        cause=str(Cause.NOTICED),
        started_at=now,
        ended_at=now,
        instance_ids=(member.id,),
        pool=member.pool,
        message=f"will be taken back{when}; another one is asked for",
    )
