"""Defines `Activity`, one line of an environment's history: an attempt, or an event.

Apart from `ledger` because the history is only shown. No decision reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from spotcompute.model.offering import Pool


class ActivityType(StrEnum):
    """`ActivityType` names what a line of the history is about."""

    LAUNCH = "Launch"
    TERMINATE = "Terminate"
    LOSS = "Loss"
    ADOPT = "Adopt"
    RETAIN = "Retain"
    DISOWN = "Disown"
    REFUSE = "Refuse"
    HOLD = "Hold"
    NOTICE = "Notice"


class ActivityState(StrEnum):
    """`ActivityState` tells how far an activity has come.

    SUBMITTED: requested, no usable answer yet. PROCESSING: accepted and under way. SUCCEEDED: done. FAILED: in vain.
    The vendor's BatchCompute shows these four states. Source: Batch API 2017-03-12, data type Activity.
    """

    SUBMITTED = "Submitted"
    PROCESSING = "Processing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Activity:
    """`Activity` describes one attempt or event in an environment's history.

    `cause` says why it was done or happened. `reason`, `code` and `message` say why it failed, in the cloud's words.
    `price` is the market price per instance and hour at the launch. `count` merges repeats: when the same failure comes
    again, only `ended_at` and `count` change.
    """

    type: ActivityType
    state: ActivityState
    cause: str
    started_at: datetime
    ended_at: datetime | None = None
    pool: Pool | None = None
    instance_ids: tuple[str, ...] = ()
    reason: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    sequence: int | None = None
    price: Decimal | None = None
    count: int = 1
