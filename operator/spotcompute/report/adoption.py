"""Says which of the instances that the spec names were taken over, and why others were not.

Apart from `conclusion`, because an environment may be ready although an instance could not be taken over.
"""

from __future__ import annotations

from typing import Any

from spotcompute.api.conditions import Condition, ConditionType, Reason
from spotcompute.api.status import AdoptionStatus
from spotcompute.model.ledger import Adoption
from spotcompute.plan.situation import Situation

#: Adoptions written out in the condition, and in status.
IN_CONDITION, IN_STATUS = 5, 100


def adoption_condition(situation: Situation) -> list[Condition]:
    """Returns one condition more while the spec names instances to be taken over; none otherwise."""
    adopt = situation.desired.adopt
    if situation.desired.deleting or not (adopt.ids or adopt.tag):
        return []
    rows, total = _unsettled(situation), len(situation.ledger.adoptions)
    refused = [one for one in rows if one.refused is not None]
    if refused:
        named = "; ".join(f"{one.id}: {one.refused}" for one in refused[:IN_CONDITION])
        more = f"; and {len(refused) - IN_CONDITION} more, see status.adoptions" if len(refused) > IN_CONDITION else ""
        message = f"{len(refused)} of {total} cannot be taken over. {named}{more}"
        return [Condition(ConditionType.ADOPTED, "False", Reason.ADOPTION_REFUSED, message)]
    if rows or not total:
        message = f"{total - len(rows)} of {total} taken over"
        return [Condition(ConditionType.ADOPTED, "False", Reason.ADOPTING, message)]
    return [Condition(ConditionType.ADOPTED, "True", Reason.ADOPTED, f"{total} of {total} taken over")]


def adoption_rows(situation: Situation) -> list[dict[str, Any]]:
    """Returns what is not taken over yet, those that were refused first."""
    rows = sorted(_unsettled(situation), key=lambda one: (one.refused is None, one.id))
    return [_row(one) for one in rows[:IN_STATUS]]


def _unsettled(situation: Situation) -> list[Adoption]:
    adoptions = situation.ledger.adoptions
    return [adoptions[key] for key in sorted(adoptions) if not adoptions[key].done]


def _row(adoption: Adoption) -> dict[str, Any]:
    obstacle = adoption.marking.obstacle if adoption.marking else None
    state = "Refused" if adoption.refused is not None else "Waiting"
    return AdoptionStatus(id=adoption.id, state=state, message=adoption.refused or obstacle).to_json()
