"""Defines the types and reasons of conditions, and carries a list of conditions from one status to the next.

Reasons are few and stable because people write alerts on them. docs/reference/conditions.md explains them to users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from spotcompute.api.times import from_text, to_text


class ConditionType(StrEnum):
    """`ConditionType` names the conditions we write.

    READY is our own. RECONCILING and STALLED are the pair that kstatus reads (Flux, kubectl wait, Argo CD).
    STATE_REFUSED is present only while part of the stored state was refused lately, GANG_READY only for gangs,
    CORDONED only while a zone is closed for launches, NODES_KEPT only while nodes cannot be looked after, ADOPTED only
    while the spec names instances to be taken over, COMPLETE only where instances are to work to an end,
    ORPHAN_PROTECTED only while instances have timers, or are to.
    """

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    STATE_REFUSED = "StateRefused"
    GANG_READY = "GangReady"
    CORDONED = "ZonesCordoned"
    NODES_KEPT = "NodesKept"
    ADOPTED = "InstancesAdopted"
    COMPLETE = "Complete"
    ORPHAN_PROTECTED = "OrphanProtected"


class Reason(StrEnum):
    """`Reason` says why a condition has its status.

    The values of `model.ledger.Trouble`, `model.ledger.StateRefusalKind` and `plan.allocation.Obstacle` are reasons
    too.
    """

    ALL_REPLICAS_READY = "AllReplicasReady"
    PROVISIONING = "Provisioning"
    SETTLING = "SettlingLaunch"
    SCALING_DOWN = "ScalingDown"
    PROTECTED = "InstancesProtected"
    RELEASE_REFUSED = "ReleaseRefused"
    STUCK = "InstancesStuck"
    STOPPING = "InstancesStopping"
    PAUSED = "Paused"
    EXPIRED = "Expired"
    DELETING = "Deleting"
    LOST = "InstancesLost"
    IDENTITY_CONFLICT = "IdentityConflict"
    INVALID_SPEC = "InvalidSpec"
    ANOTHER_ACCOUNT = "AnotherAccount"
    ACCOUNT_UNKNOWN = "AccountUnknown"
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"
    USER_DATA_UNAVAILABLE = "UserDataUnavailable"
    WRITE_REFUSED = "WriteRefused"
    RECOVERING = "RecoveringLedger"
    MARKET_UNREADABLE = "MarketUnreadable"
    NO_MATCHING_TYPE = "NoMatchingType"
    GANG_INCOMPLETE = "GangIncomplete"
    GANG_COMPLETE = "GangComplete"
    ROLLING_OUT = "RollingOut"
    ADOPTING = "Adopting"
    ADOPTED = "AllAdopted"
    ADOPTION_REFUSED = "AdoptionRefused"
    TIMERS_SET = "TimersSet"
    SETTING_TIMERS = "SettingTimers"
    TIMERS_REFUSED = "TimersRefused"
    REMOVING_TIMERS = "RemovingTimers"
    CORDONED = "CordonInForce"
    CORDON_UNREADABLE = "CordonUnreadable"
    NODES_NOT_KEPT = "NodesNotKept"
    WORK_DONE = "WorkDone"
    WORK_GOES_ON = "WorkGoesOn"
    ATTEMPTS_USED = "AttemptsUsed"
    SUCCEEDED = "AsDesired"
    NOT_STALLED = "NothingForAPersonToDo"


@dataclass(frozen=True, slots=True)
class Condition:
    """`Condition` is one condition as decided now. `carry_over` finds out when it last changed."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def carry_over(
    previous: Sequence[Any], conditions: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Returns the conditions as status shows them. `lastTransitionTime` changes only when `status` changes."""
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
    """Returns for how many seconds a condition was not True that has just become True.

    None when it has not just become True, when it was not known before, or when the earlier time is not known.
    """
    before, after = (
        {item.get("type"): item for item in each if isinstance(item, dict)} for each in (previous, present)
    )
    old = before.get(type_, {})
    if old.get("status") in ("True", "Unknown") or after.get(type_, {}).get("status") != "True":
        return None
    try:
        return max(0.0, (now - from_text(old["lastTransitionTime"])).total_seconds())
    except (LookupError, TypeError, ValueError, AttributeError):  # others can edit status
        return None


#: Longest message in characters. The API conventions allow 32 KiB, but people read only a few lines.
MESSAGE_LIMIT = 1024
