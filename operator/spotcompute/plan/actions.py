"""What a plan consists of, and what becomes of it: steps that each say why, and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.launch import LaunchRequest
from spotcompute.model.ledger import Cause, Intent, Ledger
from spotcompute.model.offering import Pool


@dataclass(frozen=True, slots=True)
class Launch:
    """Send a launch whose intent is in the plan's ledger; `replay` when it may have been sent before.

    `vcpu` is what one of its instances has and `price` what it costs per hour, None when the market does not say.
    `least` is the smallest number that is of any use.
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
    """Release instances whose terminations are recorded in the plan's ledger, all for the same cause."""

    instance_ids: tuple[str, ...]
    cause: Cause
    because: str


Action = Launch | Terminate


@dataclass(frozen=True, slots=True)
class Plan:
    """The next steps. `ledger` is committed first: no committed intent, no call. Empty means nothing to do."""

    ledger: Ledger
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """What this run has learned about stock so far; forgotten when the run ends.

    `room_below[pool]` is a count the pool has refused (or what is left of it): ask for fewer. `sells` are pools
    that have just sold, whatever the market quotes. `not_on_demand` are pools that have refused to sell at the list
    price. `one_time_started` lets the one attempt of a OneTime
    environment go on to the next pool.
    """

    room_below: Mapping[Pool, int] = field(default_factory=dict)
    sells: frozenset[Pool] = frozenset()
    not_on_demand: frozenset[Pool] = frozenset()
    one_time_started: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    """What became of a Launch: a receipt, an error, or None when it was not sent after all."""

    launch: Launch
    result: LaunchReceipt | CloudError | None


@dataclass(frozen=True, slots=True)
class Terminated:
    """What became of the release of some instances: the request id, or the error they all share."""

    instance_ids: tuple[str, ...]
    cause: Cause
    because: str
    result: str | CloudError


Outcome = Launched | Terminated
