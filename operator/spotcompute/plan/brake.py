"""Slows down the replacement of instances that end by themselves soon after their launch, whatever pool they are from.

Apart from `pool_trust`, which is about pools that take instances back. An instance that powers itself off, is stopped,
or fails to start says more about the template than about its pool, and no other pool would help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Cause, Ledger, Member, SelfEnds
from spotcompute.model.moments import age
from spotcompute.plan.policy import Policy
from spotcompute.plan.pool_trust import is_early

#: The causes of ends that an instance brings about itself, or seems to.
SELF_ENDS = frozenset({Cause.STOPPED_OUTSIDE, Cause.LAUNCH_FAILED})


def after_self_end(
    ledger: Ledger, member: Member, cause: Cause, desired: Desired, now: datetime, policy: Policy
) -> tuple[Ledger, tuple[Activity, ...]]:
    """Returns the ledger that remembers that `member` has ended by itself, and what is to be told of it.

    An end after a longer life says nothing, and is replaced at once. From the second end within a short time on, the
    place of each further one stays empty for a while. Ends of instances that were launched before the last counted end
    count as that same one: five machines that are stopped by one command are one end.
    """
    if cause not in SELF_ENDS or not is_early(member, now, policy):
        return ledger, ()
    before = of_generation(ledger, desired.generation, now, policy)
    if before is None:
        return replace(ledger, self_ends=SelfEnds(last_at=now, generation=desired.generation)), ()
    is_same_stroke = member.launched_at < before.last_at <= now
    is_braked = before.is_braked or (not is_same_stroke and age(before.last_at, now) <= policy.self_ends_within)
    after = SelfEnds(
        last_at=before.last_at if is_same_stroke else now,
        generation=desired.generation,
        is_braked=is_braked,
        held=(*before.held, *[now] * desired.units(member.pool)) if is_braked else (),
    )
    return replace(ledger, self_ends=after), _told(member, cause, now) if is_braked else ()


def _told(member: Member, cause: Cause, now: datetime) -> tuple[Activity, ...]:
    how = "failed to start" if cause is Cause.LAUNCH_FAILED else "stopped by itself, or was stopped,"
    message = f"{how} soon after the launch, as others before it: its place stays empty for a while. {REMEDY}"
    return (
        Activity(
            ActivityType.HOLD,
            ActivityState.SUCCEEDED,
            cause=str(cause),
            started_at=now,
            ended_at=now,
            pool=member.pool,
            instance_ids=(member.id,),
            message=message,
        ),
    )


#: What a person can do about it.
REMEDY = (
    "Take the shutdown out of the user data, correct the image, or use requestPolicy OneTime with onStop Release for"
    " work that ends"
)


def of_generation(ledger: Ledger, generation: int, now: datetime, policy: Policy) -> SelfEnds | None:
    """Returns what is remembered of ends under the present spec. Returns None once it has been quiet for long."""
    found = ledger.self_ends
    if found is None or found.generation != generation or age(found.last_at, now) > policy.self_ends_memory:
        return None
    return found


def with_brake_loosened(ledger: Ledger, generation: int, now: datetime, policy: Policy) -> Ledger:
    """Returns the ledger without ends that no longer hold a place, or without any once it has been quiet for long.

    A change of the spec looses the brake at once, because it may be the correction.
    """
    found = of_generation(ledger, generation, now, policy)
    if found is not None:
        found = replace(found, held=tuple(at for at in found.held if age(at, now) < policy.place_held))
    return ledger if found == ledger.self_ends else replace(ledger, self_ends=found)


def held_places(ledger: Ledger, now: datetime, policy: Policy) -> Sequence[datetime]:
    """Returns since when places stay empty, the earliest first: one moment for each place."""
    held = ledger.self_ends.held if ledger.self_ends is not None else ()
    return sorted(at for at in held if age(at, now) < policy.place_held)
