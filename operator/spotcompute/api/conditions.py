"""Condition types and reasons, and how a list of conditions is carried from one status to the next.

Reasons are few and stable: people write alerts on them. Documented for users in docs/reference/conditions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from spotcompute.api.times import from_text, to_text


class ConditionType(StrEnum):
    """Ready is ours; Reconciling and Stalled are the pair that kstatus (Flux, kubectl wait, Argo CD) reads.

    StateRefused is there only while something in status or annotations was not believed lately, GangReady only for a
    gang.
    """

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    STATE_REFUSED = "StateRefused"
    GANG_READY = "GangReady"


class Reason(StrEnum):
    """Why a condition is as it is. The values of `model.ledger.Trouble` and `Doubt` are reasons too, and those of
    `plan.allocation.Obstacle`.
    """

    ALL_REPLICAS_READY = "AllReplicasReady"
    PROVISIONING = "Provisioning"
    SETTLING = "SettlingLaunch"
    SCALING_DOWN = "ScalingDown"
    PAUSED = "Paused"
    DELETING = "Deleting"
    LOST = "InstancesLost"
    IDENTITY_CONFLICT = "IdentityConflict"
    INVALID_SPEC = "InvalidSpec"
    ANOTHER_ACCOUNT = "AnotherAccount"
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"
    USER_DATA_UNAVAILABLE = "UserDataUnavailable"
    RECOVERING = "RecoveringLedger"
    MARKET_UNREADABLE = "MarketUnreadable"
    NO_MATCHING_TYPE = "NoMatchingType"
    GANG_INCOMPLETE = "GangIncomplete"
    GANG_COMPLETE = "GangComplete"
    SUCCEEDED = "AsDesired"
    NOT_STALLED = "NothingForAPersonToDo"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as decided now; when it last changed is found out by `carry_over`."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def carry_over(
    previous: Sequence[Any], conditions: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions as status shows them; `lastTransitionTime` moves only when `status` changes."""
    before = {item.get("type"): item for item in previous if isinstance(item, dict)}
    result = []
    for condition in conditions:
        old = before.get(condition.type, {})
        unchanged = old.get("status") == condition.status and isinstance(old.get("lastTransitionTime"), str)
        result.append(
            {
                "type": str(condition.type),
                "status": condition.status,
                "reason": str(condition.reason),
                "message": condition.message[:MESSAGE_LIMIT],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if unchanged else to_text(now),
            }
        )
    return result


def seconds_until_true(
    type_: ConditionType, previous: Sequence[Any], present: Sequence[Any], now: datetime
) -> float | None:
    """How long a condition was not True that has just become so; None when it has not, or nothing says since when."""
    before, after = (
        {item.get("type"): item for item in each if isinstance(item, dict)} for each in (previous, present)
    )
    old = before.get(type_, {})
    if old.get("status") == "True" or after.get(type_, {}).get("status") != "True":
        return None
    try:
        return max(0.0, (now - from_text(old["lastTransitionTime"])).total_seconds())
    except (LookupError, TypeError, ValueError, AttributeError):  # somebody else has written there
        return None


#: The API conventions allow 32 KiB; a person reads a few lines.
MESSAGE_LIMIT = 1024
