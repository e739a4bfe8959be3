"""What the spec asks for, typed and resolved: the left-hand side of every decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from spotcompute.model.instance import Ownership
from spotcompute.model.launch import Template
from spotcompute.model.offering import Offering, Pool


class AllocationStrategy(StrEnum):
    """How pools are ranked: as written, by price, by stock and what the pool has done to us, or by all of that."""

    PRIORITIZED = "Prioritized"
    LOWEST_PRICE = "LowestPrice"
    CAPACITY_OPTIMIZED = "CapacityOptimized"
    PRICE_CAPACITY_OPTIMIZED = "PriceCapacityOptimized"


class ZonePolicy(StrEnum):
    """Whether zones are filled by rank alone, or evenly."""

    RANKED = "Ranked"
    BALANCED = "Balanced"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where instances may run: a zone, and the network in it (None: the account's default network)."""

    zone: str
    vpc_id: str | None = None
    subnet_id: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """From `least` to `most`, both included; None is no bound."""

    least: int | None = None
    most: int | None = None

    def holds(self, value: int) -> bool:
        """True when `value` lies within."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True, slots=True)
class Requirements:
    """What an instance type must be, in place of a list of types. Memory in GiB; no families: any."""

    vcpu: Span = Span()
    memory_gib: Span = Span()
    gpus: Span = Span()
    families: frozenset[str] = frozenset()
    excluded_types: frozenset[str] = frozenset()

    def fits(self, offering: Offering) -> bool:
        """True when what the market says of the type is within all of it."""
        return (
            self.vcpu.holds(offering.vcpu)
            and self.memory_gib.holds(offering.memory_gib)
            and self.gpus.holds(offering.gpus)
            and (not self.families or offering.family in self.families)
            and offering.pool.instance_type not in self.excluded_types
        )


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be paid per hour, in the account's currency; None is no cap.

    `per_instance` and, for some types in its place, `by_type`; `percent_of_on_demand` besides; `in_total` for all
    instances of the environment together.
    """

    per_instance: Decimal | None = None
    by_type: tuple[tuple[str, Decimal], ...] = ()
    percent_of_on_demand: int | None = None
    in_total: Decimal | None = None

    def explicit(self, instance_type: str) -> Decimal | None:
        """The cap that stands in the spec for that type."""
        return dict(self.by_type).get(instance_type, self.per_instance)

    @property
    def need_quotes(self) -> bool:
        """True when what may be paid can only be known from what the market asks."""
        return self.percent_of_on_demand is not None or self.in_total is not None


@dataclass(frozen=True, slots=True)
class Fallback:
    """When and how far on-demand instances may stand in for spot; `hourly` is the most they may cost together."""

    after: timedelta
    count_max: int
    hourly: Decimal | None
    stable_for: timedelta
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gang:
    """Fewer than `least` instances are of no use: they are held for `hold`, and then let go."""

    count_min: int
    hold: timedelta


@dataclass(frozen=True, slots=True)
class Desired:
    """One environment's wishes.

    `replicas` is 0 while deleting. `pools` is every placement with every instance type in the order
    they are tried: all types of the first placement, then all of the second. With `requirements` they are filled in
    from the market (`plan.selection`), and `unmet` says why there are none.
    `share` is the highest percentage of `replicas` in one pool.
    `one_time` asks each pool once and then gives up until the spec changes, as the plain API does.
    """

    ownership: Ownership
    owner: str
    generation: int
    replicas: int
    pools: tuple[tuple[Pool, Placement], ...]
    template: Template
    name_prefix: str
    caps: Caps = Caps()
    user_data_digest: str | None = None
    strategy: AllocationStrategy = AllocationStrategy.PRIORITIZED
    zone_policy: ZonePolicy = ZonePolicy.RANKED
    share: int = 100
    placements: tuple[Placement, ...] = ()
    requirements: Requirements | None = None
    unmet: str | None = None
    fallback: Fallback | None = None
    gang: Gang | None = None
    one_time: bool = False
    paused: bool = False
    deleting: bool = False

    @property
    def limits_costs(self) -> bool:
        """True for a limit on all that an hour costs, disks included."""
        return self.caps.in_total is not None or (self.fallback is not None and self.fallback.hourly is not None)

    def placement(self, pool: Pool) -> Placement | None:
        """Where `pool` is placed, or None when the spec does not name it (any more)."""
        return next((placement for candidate, placement in self.pools if candidate == pool), None)
