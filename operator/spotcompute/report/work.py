"""Says how far work is that is done once, by machines that power themselves off when they are done.

Apart from `conclusion`, which says how the environment stands: an environment can be Ready in the midst of its work.
"""

from __future__ import annotations

from spotcompute.api.conditions import Condition, ConditionType, Reason
from spotcompute.plan.capacity import finished
from spotcompute.plan.situation import Situation
from spotcompute.plan.work import attempts_left, is_over, lost


def done(situation: Situation) -> str | None:
    """Returns `3 of 5 machines have done their work`. None where machines do not work to an end."""
    runs = situation.desired.runs
    if runs is None:
        return None
    count = finished(situation.ledger, situation.desired)
    verb = "has done its work" if runs.count == 1 else "have done their work"
    return f"{count} of {runs.count} {'machine' if runs.count == 1 else 'machines'} {verb}"


def all_lost(situation: Situation) -> str | None:
    """Says that all attempts were made, and work is left. None where that is not the case."""
    desired, ledger = situation.desired, situation.ledger
    if desired.runs is None or situation.missing == 0 or attempts_left(ledger, desired) != 0:
        return None
    ways = f"spec.maxAttempts {desired.runs.attempts_max} allows no more"
    return f"{lost(ledger, desired)} lost before their work was done, and {ways}. Raise it, or change the spec"


def complete_condition(situation: Situation) -> list[Condition]:
    """Returns one condition more where machines work to an end: whether all have; none for other environments."""
    message = done(situation)
    if message is None or situation.desired.deleting:
        return []
    if is_over(situation.ledger, situation.desired):
        return [Condition(ConditionType.COMPLETE, "True", Reason.WORK_DONE, message)]
    failed = all_lost(situation)
    if failed is not None:
        return [Condition(ConditionType.COMPLETE, "False", Reason.ATTEMPTS_USED, f"{message}; {failed}")]
    return [Condition(ConditionType.COMPLETE, "False", Reason.WORK_GOES_ON, message)]
