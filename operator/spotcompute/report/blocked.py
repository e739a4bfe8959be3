"""Says which instances the cloud does not let go, why, since when, and what a person could do about it.

Apart from `why`, which explains what is missing: here something is there that should go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spotcompute.api.conditions import Reason
from spotcompute.api.times import to_text
from spotcompute.model.instance import Instance
from spotcompute.model.ledger import Member
from spotcompute.plan.capacity import is_stuck, stuck_since
from spotcompute.plan.release import REMEDIES
from spotcompute.plan.situation import Situation
from spotcompute.report.why import Why

#: Instances written out in one sentence.
IDS_SHOWN = 5


def why_not_released(situation: Situation) -> Why | None:
    """Says why instances that are to go stay. Returns None while the cloud is only slow about it."""
    kinds: dict[Reason, list[Member]] = {}
    for key in sorted(situation.ledger.members):
        member = situation.ledger.members[key]
        reason = _reason(member, situation.observed.instances.get(key), situation)
        if reason is not None:
            kinds.setdefault(reason, []).append(member)
    if not kinds:
        return None
    said = [_SAID[reason](kinds[reason], situation) for reason in _SAID if reason in kinds]
    return Why(next(reason for reason in _SAID if reason in kinds), ". ".join(said), stalled=True)


def _reason(member: Member, instance: Instance | None, situation: Situation) -> Reason | None:
    termination = member.termination
    if termination is None or termination.accepted_at is not None or instance is None or instance.has_ended:
        return None
    if termination.obstacle in REMEDIES:
        return Reason.PROTECTED
    if termination.refused_in is None:
        return None
    is_late = is_stuck(member, instance, situation.now, situation.policy.launch_timeout)
    return Reason.STUCK if is_late else Reason.RELEASE_REFUSED


def _of_protected(members: Sequence[Member], situation: Situation) -> str:
    said = []
    for why, remedy in REMEDIES.items():
        found = [one for one in members if one.termination and one.termination.obstacle == why]
        if found:
            said.append(f"{_ids(found)}: {why}, so no release is asked for. {remedy}; the release follows at once")
    return ". ".join(said)


def _of_refused(members: Sequence[Member], situation: Situation) -> str:
    return (
        f"the cloud refuses to release {_ids(members)}: {_words(members)}. {_again(situation)}. Do what the refusal"
        " asks, or release them in the console"
    )


def _of_stuck(members: Sequence[Member], situation: Situation) -> str:
    instances = situation.observed.instances
    since = min(filter(None, (stuck_since(one, instances[one.id]) for one in members)), default=situation.now)
    states = ", ".join(sorted({str(instances[one.id].state) for one in members}))
    instead = "" if situation.desired.deleting else " Nothing is bought instead, because they may still start."
    return (
        f"{_ids(members)} stuck in {states} since {to_text(since)}; the cloud refuses the release: {_words(members)}."
        f" {_again(situation)}.{instead} End them in the console, or ask the cloud's support"
    )


def _again(situation: Situation) -> str:
    minutes = situation.policy.repeat_refused.total_seconds() / 60
    return f"It is asked again every {minutes:g} minutes, and when their state changes"


def _ids(members: Sequence[Member]) -> str:
    more = f" and {len(members) - IDS_SHOWN} more" if len(members) > IDS_SHOWN else ""
    return ", ".join(member.id for member in members[:IDS_SHOWN]) + more


def _words(members: Sequence[Member]) -> str:
    """Returns the cloud's words about the first of them."""
    return next((one.termination.obstacle for one in members if one.termination and one.termination.obstacle), "")


#: The sentence of each reason. The first reason that applies is the reason of the condition.
_SAID: dict[Reason, Callable[[Sequence[Member], Situation], str]] = {
    Reason.PROTECTED: _of_protected,
    Reason.RELEASE_REFUSED: _of_refused,
    Reason.STUCK: _of_stuck,
}
