"""Defines `Desired`: what the spec asks for, typed and resolved. Every decision compares it with what is observed.

Apart from `api.spec`, which is the spec as users write it, because decisions need neither its JSON nor its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from spotcompute.model.claim import CapacityWishes
from spotcompute.model.instance import Ownership
from spotcompute.model.launch import Template
from spotcompute.model.offering import Offering, Pool


class AllocationStrategy(StrEnum):
    """`AllocationStrategy` names the order in which pools are tried.

    PRIORITIZED: as the spec lists them. LOWEST_PRICE: cheapest first. CAPACITY_OPTIMIZED: by stock and by how the pool
    has treated our instances. PRICE_CAPACITY_OPTIMIZED: by price, stock and treatment together.
    """

    PRIORITIZED = "Prioritized"
    LOWEST_PRICE = "LowestPrice"
    CAPACITY_OPTIMIZED = "CapacityOptimized"
    PRICE_CAPACITY_OPTIMIZED = "PriceCapacityOptimized"


class ZonePolicy(StrEnum):
    """`ZonePolicy` says how zones are filled: in the order of their ranks alone, or evenly."""

    RANKED = "Ranked"
    BALANCED = "Balanced"


class ScaleInOrder(StrEnum):
    """`ScaleInOrder` says which of equally useful instances goes first when some are too many."""

    COSTLIEST_FIRST = "CostliestFirst"
    OLDEST_FIRST = "OldestFirst"
    NEWEST_FIRST = "NewestFirst"


class CapacityUnit(StrEnum):
    """`CapacityUnit` says what `replicas` counts: instances, each as one, or the vCPU that they have."""

    INSTANCE = "Instance"
    VCPU = "vCPU"


@dataclass(frozen=True, slots=True)
class Placement:
    """`Placement` says where instances may run: a zone and a network in it.

    Network None: the account's default network.
    """

    zone: str
    vpc_id: str | None = None
    subnet_id: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """`Span` is a range of whole numbers from `minimum` to `maximum`, both included. None means no bound."""

    minimum: int | None = None
    maximum: int | None = None

    def holds(self, value: int) -> bool:
        """True when `value` lies in the range."""
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)


@dataclass(frozen=True, slots=True)
class Requirements:
    """`Requirements` describe which instance types may be used, in place of a list of types.

    Memory is in GiB. Empty `families` allows every family.
    """

    vcpu: Span = Span()
    memory_gib: Span = Span()
    gpus: Span = Span()
    families: frozenset[str] = frozenset()
    excluded_types: frozenset[str] = frozenset()

    def fits(self, offering: Offering) -> bool:
        """True when the offering's type meets all requirements, as the market describes it."""
        return (
            self.vcpu.holds(offering.vcpu)
            and self.memory_gib.holds(offering.memory_gib)
            and self.gpus.holds(offering.gpus)
            and (not self.families or offering.family in self.families)
            and offering.pool.instance_type not in self.excluded_types
        )


@dataclass(frozen=True, slots=True)
class Caps:
    """`Caps` are the highest prices that may be paid per hour, in the account's currency. None means no cap.

    `by_type` replaces `per_instance` for the types it lists. `percent_of_on_demand` applies in addition. `in_total`
    limits all instances of the environment together.
    """

    per_instance: Decimal | None = None
    by_type: tuple[tuple[str, Decimal], ...] = ()
    percent_of_on_demand: int | None = None
    in_total: Decimal | None = None

    def explicit(self, instance_type: str) -> Decimal | None:
        """Returns the price per instance that the spec states for `instance_type`. None when it states no price."""
        return dict(self.by_type).get(instance_type, self.per_instance)

    @property
    def need_quotes(self) -> bool:
        """True when current prices must be known before the caps can be applied."""
        return self.percent_of_on_demand is not None or self.in_total is not None


@dataclass(frozen=True, slots=True)
class Fallback:
    """`Fallback` says when and how many on-demand instances may replace missing spot instances.

    `hourly` is the most that they may cost per hour together. With `interruptions`, so many of them `within` a time
    make it begin as well.
    """

    after: timedelta
    count_max: int
    hourly: Decimal | None
    stable_for: timedelta
    deadline: datetime | None = None
    interruptions: int | None = None
    within: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OnDemandShare:
    """`OnDemandShare` says how many instances are always bought on demand: `base`, and a percentage of all others."""

    base: int = 0
    percentage_above_base: int = 0

    def of(self, replicas: int) -> int:
        """Returns how many of `replicas` are on demand. The percentage is rounded up."""
        base = min(self.base, replicas)
        return base - (base - replicas) * self.percentage_above_base // 100


@dataclass(frozen=True, slots=True)
class Limits:
    """`Limits` are the most instances and the most vCPU that launches may bring about. None means no limit."""

    count: int | None = None
    vcpu: int | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """`Runs` says that `count` machines each work until they power themselves off, and are then done.

    A machine that is lost before is asked for again, until each of the `count` has been tried `attempts_max` times on
    average.
    """

    count: int
    attempts_max: int


@dataclass(frozen=True, slots=True)
class Gang:
    """`Gang` says that fewer than `count_min` instances are of no use.

    An incomplete gang is kept for `hold` and then released.
    """

    count_min: int
    hold: timedelta


@dataclass(frozen=True, slots=True)
class Cordon:
    """`Cordon` closes a zone for launches until a time, None: until it is taken away."""

    zone: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cordons:
    """`Cordons` holds the zones that a person has closed for launches, and what was written and cannot be read."""

    closed: tuple[Cordon, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollout:
    """`Rollout` says how instances that are not as the spec asks for are replaced, one after the other.

    `surge_max` more than `replicas` may live meanwhile, and `unavailable_max` of `replicas` need not run. After each
    one is a `pause`. With `only_aged` those that are too old are replaced, and no others.
    """

    surge_max: int
    unavailable_max: int
    pause: timedelta = timedelta(0)
    only_aged: bool = False


@dataclass(frozen=True, slots=True)
class Adopt:
    """`Adopt` names instances to be taken over: by id, and by a tag (key and value) that they bear."""

    ids: tuple[str, ...] = ()
    tag: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """`Desired` is what one environment asks for.

    `replicas` is 0 while the environment is being deleted; with `retaining` its instances are left running then.
    `pools` holds every zone with every instance type in the
    order in which they are tried: all types of the first zone, then all of the second. `placements` may give a zone
    several times, each time with another subnet; `pools` then holds the first, and `within` gives the others. With
    `requirements` the pools come from the market (`plan.selection`), and `unmet` says why there are none. `share` is
    the highest percentage of `replicas` in one pool. With `capacity`, claims decide `replicas`. `surge` of `replicas`
    are there while others are replaced, and `surge_on_demand` of them on demand. With `one_time` each pool is asked
    once, and then not again until the spec changes, as the cloud's own API does. `expired` is true once `expires_at`
    has passed: then `replicas` is 0. Older instances than `max_age` are replaced. `unit` is what `replicas` counts, and
    every other number of instances with it; `vcpu_of_type` holds the vCPU of the types that are known. `drain_limit` is
    how long a node's pods have to leave before its instance is released, and None without nodes. With `runs` an
    instance that powers itself off is not replaced: its work is done. `orphan_after` is how long instances
    outlive the operator at most, and None when they do so for ever.
    """

    ownership: Ownership
    owner: str
    generation: int
    replicas: int
    pools: tuple[tuple[Pool, Placement], ...]
    template: Template
    name_prefix: str
    unit: CapacityUnit = CapacityUnit.INSTANCE
    vcpu_of_type: Mapping[str, int] = field(default_factory=dict)
    caps: Caps = Caps()
    user_data_digest: str | None = None
    strategy: AllocationStrategy = AllocationStrategy.PRIORITIZED
    zone_policy: ZonePolicy = ZonePolicy.RANKED
    share: int = 100
    placements: tuple[Placement, ...] = ()
    requirements: Requirements | None = None
    unmet: str | None = None
    fallback: Fallback | None = None
    on_demand: OnDemandShare = OnDemandShare()
    limits: Limits = Limits()
    gang: Gang | None = None
    adopt: Adopt = Adopt()
    scale_in: ScaleInOrder = ScaleInOrder.COSTLIEST_FIRST
    capacity: CapacityWishes | None = None
    cordons: Cordons = Cordons()
    rollout: Rollout | None = None
    max_age: timedelta | None = None
    surge: int = 0
    surge_on_demand: int = 0
    one_time: bool = False
    runs: Runs | None = None
    paused: bool = False
    instance_objects: bool = True
    deleting: bool = False
    retaining: bool = False
    expires_at: datetime | None = None
    expired: bool = False
    drain_limit: timedelta | None = None
    orphan_after: timedelta | None = None

    @property
    def has_nodes(self) -> bool:
        """True when instances join the cluster as nodes."""
        return self.drain_limit is not None

    @property
    def limits_costs(self) -> bool:
        """True when the spec limits the cost per hour, disks included."""
        return self.caps.in_total is not None or (self.fallback is not None and self.fallback.hourly is not None)

    def subnets(self, zone: str) -> tuple[str, ...]:
        """Returns the subnets of `zone` in the order of the spec.

        Empty unless the spec gives the zone several times.
        """
        placements = [placement for placement in self.placements if placement.zone == zone]
        return tuple(one.subnet_id for one in placements if one.subnet_id) if len(placements) > 1 else ()

    def within(self, zone: str, subnet_id: str | None) -> Desired:
        """Returns the same with the pools of `zone` in that one of its subnets.

        None changes nothing. A subnet that the spec does not give, or no longer does, leaves the zone without pools.
        """
        if subnet_id is None:
            return self
        placement = next((one for one in self.placements if (one.zone, one.subnet_id) == (zone, subnet_id)), None)
        pools = ((pool, placement if pool.zone == zone else former) for pool, former in self.pools)
        return replace(self, pools=tuple((pool, there) for pool, there in pools if there is not None))

    @property
    def zones(self) -> tuple[Placement, ...]:
        """Returns the first placement of each zone, in the order of the spec."""
        return first_of_each_zone(self.placements)

    @property
    def allows_on_demand(self) -> bool:
        """True when the spec lets some instances be bought at the list price."""
        return self.fallback is not None or self.on_demand_wanted > 0

    @property
    def on_demand_wanted(self) -> int:
        """Returns how many instances are to be on demand, whatever spot has."""
        return self.on_demand.of(self.replicas - self.surge) + self.surge_on_demand

    def units(self, pool: Pool) -> int:
        """Returns how much an instance of `pool` counts towards `replicas`. Returns 0 when its vCPU is not known."""
        return 1 if self.unit is CapacityUnit.INSTANCE else self.vcpu_of_type.get(pool.instance_type, 0)

    def placement(self, pool: Pool) -> Placement | None:
        """Returns the placement of `pool`. None when the spec does not list the pool, or no longer does."""
        return next((placement for candidate, placement in self.pools if candidate == pool), None)


def first_of_each_zone(placements: Iterable[Placement]) -> tuple[Placement, ...]:
    """Returns the placements without those whose zone another one has named before."""
    by_zone: dict[str, Placement] = {}
    for placement in placements:
        by_zone.setdefault(placement.zone, placement)
    return tuple(by_zone.values())
