"""Defines a plan: its steps, each with its reason, and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.activity import Activity
from spotcompute.model.instance import Instance, Ownership
from spotcompute.model.launch import LaunchRequest
from spotcompute.model.ledger import Cause, Intent, Ledger
from spotcompute.model.offering import Pool


@dataclass(frozen=True, slots=True)
class Launch:
    """`Launch` sends a launch whose intent is in the plan's ledger; with `replay` it may have been sent before.

    `vcpu` is what one of its instances has and `price` what it costs per hour, None when the market does not say.
    `count_min` is the smallest number of instances that is of any use.
    """

    intent: Intent
    request: LaunchRequest
    because: str
    replay: bool = False
    vcpu: int | None = None
    price: Decimal | None = None
    count_min: int = 1


@dataclass(frozen=True, slots=True)
class Terminate:
    """`Terminate` releases instances for one cause. Their terminations are recorded in the plan's ledger.

    `together` is how many of them one call may release at most, when calls for more were refused.
    """

    instance_ids: tuple[str, ...]
    cause: Cause
    because: str
    together: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """`Mark` changes the tags of instances, which say whose they are. Their markings are recorded in the plan's ledger.

    With `ownership` they are taken over, with None they are let go. `owner` is the environment's name in tags.
    """

    instances: tuple[Instance, ...]
    ownership: Ownership | None
    owner: str
    because: str


@dataclass(frozen=True, slots=True)
class SetTimers:
    """`SetTimers` has the cloud end instances at `ends_at` by itself, whatever timers they had; None: not at all.

    That it is sent is recorded in the plan's ledger.
    """

    instance_ids: tuple[str, ...]
    ends_at: datetime | None


Action = Launch | Terminate | Mark | SetTimers


@dataclass(frozen=True, slots=True)
class Plan:
    """`Plan` holds the next steps, and the ledger that is committed before them: no committed intent, no call.

    Without actions there is nothing to do. `activities` tell what was found that keeps a step from being taken.
    """

    ledger: Ledger
    actions: tuple[Action, ...] = ()
    activities: tuple[Activity, ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """`Learned` holds what one run has learned about stock; it is forgotten when the run ends.

    `room_below[pool]` is a count that the pool has refused, less what it has sold since: ask for fewer. `sells` are
    pools that have just sold, whatever the market quotes. `not_on_demand` are pools that have refused to sell at the
    list price. `one_time_started` lets the one attempt of a OneTime environment go on to the next pool.
    """

    room_below: Mapping[Pool, int] = field(default_factory=dict)
    sells: frozenset[Pool] = frozenset()
    not_on_demand: frozenset[Pool] = frozenset()
    one_time_started: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    """`Launched` is what became of a launch: a receipt, an error, or None when it was not sent after all."""

    launch: Launch
    result: LaunchReceipt | CloudError | None


@dataclass(frozen=True, slots=True)
class Postponed:
    """`Postponed` says that something was left for the next run, because this one had no more time for it.

    `together` is set when a call for more was refused because of one of them: then a call may hold so many at most.
    """

    together: int | None = None


@dataclass(frozen=True, slots=True)
class Terminated:
    """`Terminated` is what became of the release of some instances: the request id, or the error they all share."""

    instance_ids: tuple[str, ...]
    cause: Cause
    because: str
    result: str | CloudError | Postponed


@dataclass(frozen=True, slots=True)
class Marked:
    """`Marked` is what became of changed tags: the id of a request, or the error that these instances share."""

    instance_ids: tuple[str, ...]
    mark: Mark
    result: str | CloudError | Postponed


@dataclass(frozen=True, slots=True)
class TimersSet:
    """`TimersSet` is what became of timers: the instances that have the one asked for, and the last error, if any.

    What is in neither was left for the next run.
    """

    instance_ids: tuple[str, ...]
    ends_at: datetime | None
    error: CloudError | None = None


Outcome = Launched | Terminated | Marked | TimersSet
