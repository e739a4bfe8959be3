"""Says whether instances end by themselves when the operator is gone, and what to do when the cloud refuses that.

Apart from `conclusion`, because an environment may be ready while its instances have no timers.
"""

from __future__ import annotations

from spotcompute.api.conditions import Condition, ConditionType, Reason
from spotcompute.model.ledger import Timers
from spotcompute.plan.situation import Situation
from spotcompute.plan.timers import with_rights

#: What the key needs.
RIGHTS = "cvm:ImportInstancesActionTimer, cvm:DeleteInstancesActionTimer and cvm:DescribeInstancesActionTimer"


def timers_condition(situation: Situation) -> list[Condition]:
    """Returns one condition more while instances have timers, or are to have them; none otherwise."""
    timers, after = situation.ledger.timers, situation.desired.orphan_after
    if after is None:
        if timers is None or (situation.desired.deleting and not situation.desired.retaining):
            return []
        return [_removing(timers)]
    if timers is not None and timers.obstacle is not None and _is_lasting(timers):
        message = f"the cloud refuses timers: {timers.obstacle}. {_remedy(timers)}"
        return [Condition(ConditionType.ORPHAN_PROTECTED, "False", Reason.TIMERS_REFUSED, message)]
    bare = [one.id for one in with_rights(situation) if one.ends_at is None]
    seconds = int(after.total_seconds())
    if bare:
        message = f"{len(bare)} without a timer yet; the others end {seconds} s after the operator at the latest"
        return [Condition(ConditionType.ORPHAN_PROTECTED, "False", Reason.SETTING_TIMERS, message)]
    message = f"instances end by themselves, {seconds} s after the operator at the latest"
    return [Condition(ConditionType.ORPHAN_PROTECTED, "True", Reason.TIMERS_SET, message)]


def _is_lasting(timers: Timers) -> bool:
    """True when the cloud has refused, or could not be asked several times in a row: one failure is soon over."""
    return timers.attempts > 2 or timers.lasting


def _removing(timers: Timers) -> Condition:
    message = "timers are being taken off, since the spec asks for none"
    if timers.obstacle is None:
        return Condition(ConditionType.ORPHAN_PROTECTED, "False", Reason.REMOVING_TIMERS, message)
    message += f"; until that has succeeded instances may end by themselves: {timers.obstacle}. {_remedy(timers)}"
    reason = Reason.TIMERS_REFUSED if timers.lasting else Reason.REMOVING_TIMERS
    return Condition(ConditionType.ORPHAN_PROTECTED, "False", reason, message)


def _remedy(timers: Timers) -> str:
    if timers.forbidden:
        return f"Allow {RIGHTS} to the key; it is tried again every five minutes, and nothing else waits for it"
    return "It is tried again, and nothing else waits for it"
