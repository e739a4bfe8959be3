"""Says which zones are closed for launches, and what should close one and cannot be read.

Apart from `conclusion`, because an environment may be ready while a zone is closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from spotcompute.api.conditions import Condition, ConditionType, Reason
from spotcompute.api.times import to_text
from spotcompute.model.desired import Cordon, Desired
from spotcompute.plan.cordon import in_force
from spotcompute.plan.situation import Situation


def cordon_condition(situation: Situation) -> list[Condition]:
    """Returns one condition more while a zone is closed for launches, or what should close one cannot be read."""
    desired, unread = situation.desired, situation.desired.cordons.unread
    closed = in_force(desired, situation.now)
    if desired.deleting or not (closed or unread):
        return []
    said = _said_of_cordons(closed, desired) if closed else []
    if unread:
        said.append(
            f"not understood: {', '.join(unread)}. Write a zone, or ZONE@2026-12-24T18:00:00Z, with commas between"
        )
    reason = Reason.CORDON_UNREADABLE if unread else Reason.CORDONED
    return [Condition(ConditionType.CORDONED, "True" if closed else "False", reason, ". ".join(said))]


def _said_of_cordons(closed: Sequence[Cordon], desired: Desired) -> list[str]:
    named = [f"{one.zone} until {to_text(one.until)}" if one.until else one.zone for one in closed]
    used = {pool.zone for pool, _ in desired.pools} | {one.zone for one in desired.placements}
    strange = [one.zone for one in closed if one.zone not in used]
    said = [f"nothing is launched in {', '.join(named)}; what runs there stays"]
    return [*said, f"no placement is in {', '.join(strange)}"] if strange else said
