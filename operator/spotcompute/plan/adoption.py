"""Decides which of the instances that the spec names are taken over, one by one, and why others are not.

Apart from `ledger_sync`, which takes in what bears our marks already: here it is decided what gets them. A place is
kept for each that may come, so nothing is bought for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Adoption, Ledger, Member, TagSearch
from spotcompute.model.moments import age
from spotcompute.plan.actions import Mark
from spotcompute.plan.capacity import launching, occupying, places
from spotcompute.plan.drift import Asked, Drift
from spotcompute.plan.retaining import due_again, is_marking_due, may_still_arrive, sent
from spotcompute.plan.situation import Situation

#: States in which an instance may be taken over soon, and is waited for.
_NEARLY = frozenset({InstanceState.PENDING, InstanceState.STARTING, InstanceState.REBOOTING})

NO_PLACE = "there is no place for it: raise replicas, or release another one"


def to_look_for(desired: Desired, ledger: Ledger) -> tuple[str, ...]:
    """Returns the ids that must be looked up: those that the spec names and that are not settled, those under way."""
    under_way = [key for key, one in ledger.adoptions.items() if one.marking is not None]
    named = [one for one in desired.adopt.ids if _is_wanted(desired) and not _is_done(one, ledger)]
    return tuple(key for key in dict.fromkeys([*named, *under_way]) if key not in ledger.members)


def _is_wanted(desired: Desired) -> bool:
    """True when instances are taken over at all."""
    return not (desired.deleting or desired.expired or desired.paused)


def _is_done(instance_id: str, ledger: Ledger) -> bool:
    adoption = ledger.adoptions.get(instance_id)
    return adoption is not None and adoption.done


@dataclass(frozen=True, slots=True)
class _Verdict:
    """`_Verdict` says what becomes of a candidate: it `fits`, it is waited for, or it is `refused`."""

    fits: bool = False
    refused: str | None = None


def taking_over(situation: Situation) -> tuple[Ledger, Mark | None]:
    """Returns the change of tags that is due now, None when none is, and the ledger with places for the others."""
    situation = situation.with_ledger(_with_search(situation.with_ledger(_settled(situation))))
    desired, ledger = situation.desired, situation.ledger
    if not _is_wanted(desired) or ledger.quarantine_until is not None or situation.observed.other_identities:
        return ledger, None
    due = list[Instance]()
    for adoption, instance in _placed(situation):
        if instance is not None and is_marking_due(adoption.marking, situation):
            due.append(instance)
            adoption = replace(adoption, marking=sent(adoption.marking, situation.now))
        ledger = ledger.with_adoption(adoption)
    if not due:
        return ledger, None
    # As for a launch: an older ledger, restored from a backup, then shows that it is older.
    ledger = replace(ledger, sequence=max(ledger.sequence, int(situation.now.timestamp()) - 1) + 1)
    return ledger, Mark(tuple(due), desired.ownership, desired.owner, "the spec names it to be taken over")


def _placed(situation: Situation) -> Iterator[tuple[Adoption, Instance | None]]:
    """Yields every candidate, refused where it does not fit or has no place; with its instance if that is to be marked.

    What is under way has its place already.
    """
    desired, ledger, asked = situation.desired, situation.ledger, Asked(situation)
    under_way = sum(one.marking is not None and not one.done for one in ledger.adoptions.values())
    room = places(ledger, desired) - len(occupying(ledger)) - launching(ledger) - under_way
    for adoption in _candidates(situation):
        instance = situation.observed.candidates.get(adoption.id)
        verdict = _verdict(adoption, instance, asked, situation)
        if adoption.marking is None and verdict.refused is None:
            verdict = verdict if room > 0 else _Verdict(refused=NO_PLACE)
            room -= 1
        is_named = adoption.id in desired.adopt.ids or _has_tag(instance, desired)
        refused = verdict.refused if adoption.marking is None else None
        yield replace(adoption, refused=refused), instance if verdict.fits and is_named else None


def _with_search(situation: Situation) -> Ledger:
    """Returns the ledger with since when instances with the tag of the spec are searched for."""
    ledger, tag = situation.ledger, situation.desired.adopt.tag
    if tag is None:
        return ledger if ledger.tag_search is None else replace(ledger, tag_search=None)
    known, text = ledger.tag_search, "=".join(tag)
    if known is not None and known.tag == text and known.since <= situation.now:
        return ledger
    return replace(ledger, tag_search=TagSearch(text, situation.now)) if _is_wanted(situation.desired) else ledger


def searching_until(situation: Situation) -> datetime | None:
    """Returns until when nothing is bought, because lists may not show yet what bears the tag. None when that is over.

    What was left a moment ago may be missing from the lists for minutes. It would be bought a second time.
    """
    search = situation.ledger.tag_search
    if search is None or situation.desired.adopt.tag is None:
        return None
    until = search.since + situation.policy.listing_lag_max
    return until if situation.observed.observed_at < until else None


def _settled(situation: Situation) -> Ledger:
    """Returns the ledger with what was taken over marked as done, and without what is not asked for any more."""
    ledger, desired, observed = situation.ledger, situation.desired, situation.observed
    for key, adoption in ledger.adoptions.items():
        is_member = key in ledger.members
        has_tag = desired.adopt.tag is not None and (is_member or _has_tag(observed.candidates.get(key), desired))
        if adoption.marking is not None and not is_member:
            if not _may_still_come(adoption, situation):
                ledger = ledger.with_adoption(replace(adoption, marking=None))
        elif (key not in desired.adopt.ids and not has_tag) or _is_in_vain(adoption, situation):
            ledger = ledger.without_adoption(key)
        elif is_member and not adoption.done:
            ledger = ledger.with_adoption(replace(adoption, marking=None, refused=None, done=True))
    return ledger


def _is_in_vain(adoption: Adoption, situation: Situation) -> bool:
    """True when a place is kept for an instance by an environment that has expired, and takes over nothing any more."""
    return situation.desired.expired and adoption.is_open and adoption.id not in situation.ledger.members


def _may_still_come(adoption: Adoption, situation: Situation) -> bool:
    """True when the change of tags can still show, or it is still to be repeated."""
    instance, now, policy = situation.observed.candidates.get(adoption.id), situation.now, situation.policy
    marking = adoption.marking
    if marking is None or marking.sent_at is None:
        return False
    if may_still_arrive(marking, now, policy) or age(marking.sent_at, now) <= policy.listing_lag_max:
        return True
    # The spec may have changed since: what it does not ask for any more must not keep its place for ever.
    return (
        instance is not None
        and _is_wanted(situation.desired)
        and _why_not(instance, Asked(situation), situation) is None
    )


def _candidates(situation: Situation) -> Iterator[Adoption]:
    """Yields what is not settled yet: first what the spec names by id, in its order, then what bears its tag."""
    ledger, observed = situation.ledger, situation.observed
    desired, candidates = situation.desired, observed.candidates
    under_way = [key for key, one in ledger.adoptions.items() if one.marking is not None]
    tagged = [key for key in sorted(candidates) if _has_tag(candidates[key], desired)]
    for key in dict.fromkeys([*under_way, *desired.adopt.ids, *tagged]):
        adoption = ledger.adoptions.get(key) or Adoption(key, situation.now)
        if not adoption.done and key not in ledger.members:
            yield replace(adoption, since=min(adoption.since, situation.now))


def _has_tag(instance: Instance | None, desired: Desired) -> bool:
    """True when the instance bears the tag by which the spec names what is taken over."""
    if instance is None or desired.adopt.tag is None:
        return False
    key, value = desired.adopt.tag
    return instance.tags.get(key) == value


def _verdict(adoption: Adoption, instance: Instance | None, asked: Asked, situation: Situation) -> _Verdict:
    if instance is None:
        if age(adoption.since, situation.now) <= situation.policy.listing_lag_max:
            return _Verdict()
        return _Verdict(refused="it is not found in this account and region")
    refused = _why_not(instance, asked, situation)
    if refused is not None:
        return _Verdict(refused=refused)
    return _Verdict(fits=instance.state is InstanceState.RUNNING)


def _why_not(instance: Instance, asked: Asked, situation: Situation) -> str | None:
    """Returns why the instance cannot be taken over as it is. Returns None when it can, now or soon."""
    desired = situation.desired
    if instance.ownership not in (None, desired.ownership):
        owner = instance.owner or instance.ownership.environment_id if instance.ownership else ""
        return f"it belongs to environment {owner}: delete that one with deletionPolicy Retain first"
    if instance.has_ended:
        return f"it has ended ({instance.state})"
    if instance.charge_type is not None:
        return f"it is charged as {instance.charge_type}: only spot and on-demand instances can be taken over"
    if instance.state is not InstanceState.RUNNING and instance.state not in _NEARLY:
        return f"it is {instance.state}: start it first"
    return _why_unlike(instance, asked, desired)


def _why_unlike(instance: Instance, asked: Asked, desired: Desired) -> str | None:
    """Returns in what the instance is not as the spec asks for."""
    member = Member(instance.id, instance.pool, instance.created_at, on_demand=instance.on_demand)
    drift = asked.drift(member, instance)
    if Drift.ZONE in drift:
        return f"it is in {instance.pool.zone}: add a placement there"
    if Drift.INSTANCE_TYPE in drift:
        return f"it is of type {instance.pool.instance_type}, which the spec does not ask for: add the type"
    if Drift.SUBNET in drift:
        return f"it is in subnet {instance.subnet_id}: add a placement there"
    if Drift.CHARGE_TYPE in drift:
        return "it is on demand, and the spec asks for spot alone: set onDemand or onDemandFallback"
    if instance.image_id is not None and instance.image_id != desired.template.image_id:
        return f"it was made from {instance.image_id}, and template.imageId is another image"
    return None


def next_adoption(situation: Situation) -> datetime | None:
    """Returns when to look again at what may be taken over. None when only a person can change anything."""
    if not _is_wanted(situation.desired) and not situation.ledger.is_taking_over:
        return None
    policy, now = situation.policy, situation.now
    until = searching_until(situation)
    moments = [max(until, now + policy.poll_interval)] if until is not None else []
    for one in situation.ledger.adoptions.values():
        if one.done or (one.refused is not None and one.marking is None):
            continue
        if one.marking is None or one.marking.sent_at is None or one.marking.obstacle is None:
            moments.append(now + policy.poll_interval)
        else:
            moments.append(max(now, due_again(one.marking, one.marking.sent_at, now, policy)))
    return min(moments, default=None)
