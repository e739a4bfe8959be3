"""Decides when to look again: at the next thing that can happen without news from a watch or a sweep.

Each kind of thing is a rule with a name. The name of the rule that decided stands in the log (`next_wake`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Member
from spotcompute.plan.absence import may_soon_be_proven
from spotcompute.plan.actions import Learned
from spotcompute.plan.adoption import next_adoption, searching_until
from spotcompute.plan.allocation import Obstacle
from spotcompute.plan.by_hand import kept_until
from spotcompute.plan.capacity import occupies, stuck_since
from spotcompute.plan.cordon import next_end
from spotcompute.plan.expiry import expires_next
from spotcompute.plan.fallback import next_fallback_check
from spotcompute.plan.gang import parts_allowed_at
from spotcompute.plan.launching import may_await_answer, may_launch
from spotcompute.plan.limits import room_in_number
from spotcompute.plan.notices import lives_on_at
from spotcompute.plan.retaining import next_marking
from spotcompute.plan.rollout import comes_of_age_next, outdated, pause_end, surging
from spotcompute.plan.situation import Situation
from spotcompute.plan.timers import next_change

#: Never sooner than this, so that no mistake becomes a hot loop.
SOONEST = timedelta(milliseconds=100)

#: What has been on its way for long is looked at more rarely: after this part of the time it has taken so far.
RARER = 8


@dataclass(frozen=True, slots=True)
class Wake:
    """`Wake` says when to look again at the latest, and why.

    A change that a sweep or a watch shows wakes a run earlier.
    """

    at: datetime
    reason: str


#: Most instances run within this time after their launch. Sweeps show soon enough what becomes of the others.
BOOTS_WITHIN = timedelta(minutes=2)

#: How much rarer a vanished instance is asked for while no look-up has had a witness.
UNWITNESSED = 2

#: A rule returns when something of its kind can happen, and None when nothing of its kind is to come.
Rule = Callable[[Situation], datetime | None]


def next_wake(situation: Situation) -> Wake:
    """Returns the soonest moment of all `RULES`; of equal ones that of the first rule."""
    wakes = [Wake(at, reason) for reason, rule in RULES if (at := rule(situation)) is not None]
    soonest = min(wakes, key=lambda wake: wake.at)
    return Wake(max(soonest.at, situation.now + SOONEST), soonest.reason)


# --- launches --------------------------------------------------------------------------------------------------------


def _next_attempt(situation: Situation) -> datetime | None:
    """Returns when the first pool may be asked again."""
    return situation.next_attempt if _is_asking(situation) and situation.desired.pools else None


def _blocked(situation: Situation) -> datetime | None:
    """Returns the end of a longest backoff from now, when only prices, shares or a budget keep pools from being asked.

    It is not known when those will change. A limit on number or size ends with the spec or an instance, which are news.
    """
    if not _is_asking(situation) or _next_attempt(situation) is not None or _is_at_a_limit(situation):
        return None
    return situation.now + situation.policy.backoff_max


def _is_at_a_limit(situation: Situation) -> bool:
    """True when a limit on number or size keeps every pool from being asked, whatever anything costs."""
    rejected = situation.ranking.rejected
    is_any_too_large = bool(rejected) and all(one.why is Obstacle.OVER_LIMIT for one in rejected)
    return room_in_number(situation.desired, situation.ledger) == 0 or is_any_too_large


def _is_asking(situation: Situation) -> bool:
    """True when something is missing, and it could be launched if a pool could be asked."""
    ledger, now, policy = situation.ledger, situation.now, situation.policy
    if searching_until(situation) is not None:
        return False
    if situation.observed.other_identities or any(may_await_answer(one, now, policy) for one in ledger.intents):
        return False
    return situation.missing > 0 and may_launch(situation.desired, ledger, Learned())


def _quote_refresh(situation: Situation) -> datetime | None:
    """Returns when the quote of a paused environment is due again. It follows the market."""
    is_quoted = situation.desired.paused and not situation.desired.deleting and situation.missing > 0
    return situation.now + situation.policy.backoff_max if is_quoted else None


def _open_launch(situation: Situation) -> datetime | None:
    """Returns when to look for an open launch: soon, but not while the whole account backs off."""
    ledger, now = situation.ledger, situation.now
    if not ledger.intents:
        return None
    backoff = ledger.backoffs.get(None)
    youngest = max(intent.created_at for intent in ledger.intents)
    return max(_next_look(youngest, situation), backoff.until if backoff else now)


# --- on demand and gangs ---------------------------------------------------------------------------------------------


def _change_over(situation: Situation) -> datetime | None:
    """Returns when spot may be replaced by on demand, or on demand by spot."""
    if _is_idle(situation):
        return None
    return next_fallback_check(situation)


def _gang_hold(situation: Situation) -> datetime | None:
    """Returns when the hold of an incomplete gang is over, and it is released."""
    gang, since = situation.desired.gang, situation.ledger.incomplete_since
    if _is_idle(situation) or gang is None or since is None:
        return None
    at = since + gang.hold
    return at if at > situation.now else situation.now + situation.policy.poll_interval


def _gang_parts(situation: Situation) -> datetime | None:
    """Returns when a gang that was given up may be built from parts again."""
    gang, broken_up_at = situation.desired.gang, situation.ledger.broken_up_at
    if _is_idle(situation) or gang is None or broken_up_at is None or situation.missing == 0:
        return None
    at = parts_allowed_at(gang, broken_up_at, situation.policy)
    return at if at > situation.now else None


def _expiry(situation: Situation) -> datetime | None:
    """Returns when the environment expires. While paused that releases nothing, but is still told."""
    return expires_next(situation)


def _is_idle(situation: Situation) -> bool:
    return situation.desired.deleting or situation.desired.paused


# --- replacements that are launched first ----------------------------------------------------------------------------


def _replacement(situation: Situation) -> datetime | None:
    """Returns when a pool may be asked for an instance that is to replace one which still lives."""
    wider = situation if _is_idle(situation) else surging(situation)
    if wider is situation or not _is_asking(wider):
        return None
    return wider.next_attempt or situation.now + situation.policy.backoff_max


def _roll_out(situation: Situation) -> datetime | None:
    """Returns when a roll-out may go on after its pause."""
    if _is_idle(situation) or not outdated(situation):
        return None
    at = pause_end(situation)
    return at if at is not None and at > situation.now else None


def _of_age(situation: Situation) -> datetime | None:
    """Returns when the next instance will be too old."""
    return None if _is_idle(situation) else comes_of_age_next(situation)


def _false_notice(situation: Situation) -> datetime | None:
    """Returns when an instance has outlived the notice of its interruption."""
    return lives_on_at(situation)


# --- cordons ---------------------------------------------------------------------------------------------------------


def _cordon_ends(situation: Situation) -> datetime | None:
    """Returns when a zone may be used again, so that the object stops saying that it may not."""
    return None if situation.desired.deleting else next_end(situation.desired, situation.now)


# --- what was lost or not believed -----------------------------------------------------------------------------------


def _other_identities(situation: Situation) -> datetime | None:
    """Returns when to look whether the instances under another identity of this object have gone."""
    return situation.now + situation.policy.poll_interval if situation.observed.other_identities else None


def _refusal_shown(situation: Situation) -> datetime | None:
    """Returns when a state refusal has been shown for long enough."""
    refused = situation.ledger.state_refused
    if refused is None:
        return None
    return max(situation.now + situation.policy.poll_interval, refused.refused_at + situation.policy.refusal_shown_for)


def _quarantine(situation: Situation) -> datetime | None:
    """Returns when the quarantine may end: with the sweeps that follow its last moment."""
    until = situation.ledger.quarantine_until
    return None if until is None else max(_next_look(until, situation), until)


# --- instances: those in the list of the last sweep bring their own news, only the others are looked after ------------


def _release_without_effect(situation: Situation) -> datetime | None:
    """Returns when a release that was accepted is asked for again, because its instance is still listed."""
    waits = any(_shows_no_effect(member, situation) for member in _leaving(situation))
    return situation.now + situation.policy.repeat_release if waits else None


def _release_under_way(situation: Situation) -> datetime | None:
    """Returns when to look at a release that waits to be sent or accepted, or for the proof of its end."""
    open_releases = (member for member in _leaving(situation) if not _shows_no_effect(member, situation))
    # What was refused for hours is close to its end once it is accepted.
    began = (one.termination.accepted_at or one.termination.recorded_at for one in open_releases if one.termination)
    return min((_next_look(since, situation) for since in began), default=None)


def _retaining(situation: Situation) -> datetime | None:
    """Returns when the tags of an instance that outlives its environment are changed again, or looked at."""
    if not situation.desired.retaining:
        return None
    members = [one for one in situation.ledger.members.values() if next_marking(one, situation) is not None]
    moments = [next_marking(one, situation) for one in members]
    sent = [one.marking.sent_at for one in members if one.marking is not None and one.marking.sent_at is not None]
    return min((*filter(None, moments), *(_next_look(at, situation) for at in sent)), default=None)


def _unlisted(situation: Situation) -> datetime | None:
    """Returns when to look for an instance that is not listed yet, or no longer."""
    soon, unlisted = situation.now + situation.policy.poll_interval, situation.observed.unlisted
    looks = (
        soon if instance is None else _next_look(unlisted[member.id], situation)
        for member, instance in _staying(situation)
        if instance is None or member.id in unlisted
    )
    return min(looks, default=None)


def _vanished(situation: Situation) -> datetime | None:
    """Returns when to ask again for an instance that has vanished: soon, while that can prove its end.

    Without a witness less soon: when everything vanishes at once, every environment asks.
    """
    observed, policy = situation.observed, situation.policy
    absences = [
        observed.absent.get(member.id)
        for member in situation.ledger.members.values()
        if occupies(member) and may_soon_be_proven(member, observed.absent.get(member.id), observed.observed_at, policy)
    ]
    if not absences:
        return None
    has_begun = any(absence is not None and absence.looks for absence in absences)
    return situation.now + policy.look_interval * (1 if has_begun else UNWITNESSED)


def _untagged(situation: Situation) -> datetime | None:
    """Returns when to look at an instance that has no tags yet, or no longer."""
    untagged = (one for _, one in _staying(situation) if one is not None and one.ownership is None)
    return min((_next_look(instance.created_at, situation) for instance in untagged), default=None)


def _starting(situation: Situation) -> datetime | None:
    """Returns when an instance that takes too long to leave a state between two others is released."""
    timeout, soon = situation.policy.launch_timeout, situation.now + situation.policy.poll_interval
    since = (stuck_since(member, instance) for member, instance in _tagged(situation))
    return min((max(soon, one + timeout) for one in since if one is not None), default=None)


def _kept(situation: Situation) -> datetime | None:
    """Returns when a failed instance has been kept for as long as its mark says."""
    ends = (kept_until(member, situation.wish(key)) for key, member in situation.ledger.members.items())
    return min((end for end in ends if end is not None and end > situation.now), default=None)


def _booting(situation: Situation) -> datetime | None:
    """Returns when to look at an instance that is likely to run by now. Sweeps of a large account are rarer."""
    pending = (one.created_at for _, one in _tagged(situation) if one.state is InstanceState.PENDING)
    young = (created_at for created_at in pending if situation.now - created_at < BOOTS_WITHIN)
    return min((_next_look(created_at, situation) for created_at in young), default=None)


def _unproven_loss(situation: Situation) -> datetime | None:
    """Returns when to look at a lost instance that is still listed."""
    lost = (
        member.lost is not None
        for member, instance in _tagged(situation)
        if instance.state is not InstanceState.PENDING
    )
    return situation.now + situation.policy.backoff_max if any(lost) else None


def _resync(situation: Situation) -> datetime:
    """Returns the time of the resync, which comes even when nothing changes."""
    return situation.now + situation.policy.resync


def _leaving(situation: Situation) -> Iterator[Member]:
    """Yields the members that are being released."""
    return (member for member in situation.ledger.members.values() if member.termination is not None)


def _shows_no_effect(member: Member, situation: Situation) -> bool:
    """True when the release was accepted and the instance is still in the list of the last sweep."""
    instance = situation.observed.instances.get(member.id)
    is_accepted = member.termination is not None and member.termination.accepted_at is not None
    return is_accepted and instance is not None and instance.ownership is not None


def _staying(situation: Situation) -> Iterator[tuple[Member, Instance | None]]:
    """Yields the members that are not being released, and the instance of each as it was seen."""
    members = (member for member in situation.ledger.members.values() if member.termination is None)
    return ((member, situation.observed.instances.get(member.id)) for member in members)


def _tagged(situation: Situation) -> Iterator[tuple[Member, Instance]]:
    """Yields those of them that are listed with their tags."""
    for member, instance in _staying(situation):
        if instance is not None and instance.ownership is not None:
            yield member, instance


def _next_look(since: datetime, situation: Situation) -> datetime:
    """Returns when to look again at what has been on its way since then: soon at first, once a minute in the end."""
    policy = situation.policy
    wait = max(policy.poll_interval, (situation.now - since) / RARER)
    return situation.now + min(policy.backoff_max, wait)


#: In the order in which a person would think of them.
RULES: tuple[tuple[str, Rule], ...] = (
    ("a pool may be asked again", _next_attempt),
    ("prices, shares or a budget keep every pool from being asked", _blocked),
    ("the quote of a paused environment is refreshed", _quote_refresh),
    ("a launch has no answer yet", _open_launch),
    ("spot and on demand may change places", _change_over),
    ("a gang has been incomplete for its hold", _gang_hold),
    ("a gang may be built from parts again", _gang_parts),
    ("a pool may be asked for a replacement", _replacement),
    ("a roll-out may go on", _roll_out),
    ("an instance is as old as it may become", _of_age),
    ("an instance has outlived its notice", _false_notice),
    ("a cordon ends", _cordon_ends),
    ("the environment expires", _expiry),
    ("instances live under another identity", _other_identities),
    ("a refused state has been shown long enough", _refusal_shown),
    ("the quarantine ends", _quarantine),
    ("an instance is to be left", _retaining),
    ("an instance is to be taken over", next_adoption),
    ("timers are to be renewed", next_change),
    ("a released instance is still listed", _release_without_effect),
    ("a release is under way", _release_under_way),
    ("an instance is not listed", _unlisted),
    ("an instance has vanished", _vanished),
    ("an instance has no tags", _untagged),
    ("an instance starts", _booting),
    ("an instance is still starting, or between two states", _starting),
    ("a failed instance has been kept long enough", _kept),
    ("a lost instance is still listed", _unproven_loss),
    ("the regular look", _resync),
)
