"""The spec as users write it: pydantic models from which both the CRD's schema and `Desired` are made.

What the API server can check (bounds, patterns, CEL) is written here once, and generated into `crds/`.
Every message names the remedy, because it is all a user of `kubectl apply` gets to see. Every description says what
`kubectl explain` has to tell: meaning, unit, what holds when the field is left out, and the vendor's own words for it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from spotcompute.api.schema import (
    ObjectName,
    Price,
    SpecPart,
    SubnetId,
    VpcId,
    checked,
    rule,
)
from spotcompute.api.template import TemplateSpec
from spotcompute.api.times import from_text
from spotcompute.model.desired import (
    AllocationStrategy,
    Caps,
    Fallback,
    Gang,
    Placement,
    Requirements,
    Span,
    ZonePolicy,
)
from spotcompute.model.offering import Pool

#: BatchCompute's limit of nodes per compute environment.
MAX_REPLICAS = 2000


class PlacementSpec(SpecPart):
    """A zone, and the subnet in it."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "has(self.vpcId) == has(self.subnetId)",
                "vpcId and subnetId go together: give both, or neither for the account's default network",
            )
        )
    )

    zone: str = Field(
        max_length=64,
        description="Availability zone of the region, such as ap-guangzhou-3. BatchCompute: EnvData.Zones; CVM:"
        " Placement.Zone.",
    )
    vpc_id: VpcId | None = Field(
        default=None,
        description="VPC that the subnet belongs to; goes with subnetId. Left out: the account's default network."
        " BatchCompute: EnvData.VirtualPrivateClouds.VpcId; CVM: VirtualPrivateCloud.VpcId.",
    )
    subnet_id: SubnetId | None = Field(
        default=None,
        description="Subnet of that VPC in this zone; goes with vpcId. Left out: the account's default network."
        " BatchCompute: EnvData.VirtualPrivateClouds.SubnetId; CVM: VirtualPrivateCloud.SubnetId.",
    )


class SpanSpec(SpecPart):
    """From `min` to `max`, both included."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be above max")
        )
    )

    min: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="The least that will do, in the unit of the field it stands in. Left out: no lower bound.",
    )
    max: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="The most that will do, in the unit of the field it stands in. Left out: no upper bound.",
    )

    def resolved(self) -> Span:
        """The same in the operator's nouns."""
        return Span(self.min, self.max)


class RequirementsSpec(SpecPart):
    """What an instance type must be, in place of a list: every type sold as spot that meets all of it is a pool."""

    cpu: SpanSpec | None = Field(
        default=None,
        description="Number of vCPUs of the type. Left out: any. BatchCompute: EnvData.InstanceTypeOptions.CPU; CVM:"
        " InstanceTypeQuotaItem.Cpu.",
    )
    memory_gi_b: SpanSpec | None = Field(
        default=None,
        alias="memoryGiB",
        description="Memory of the type, in GiB. Left out: any. BatchCompute: EnvData.InstanceTypeOptions.Memory; CVM:"
        " InstanceTypeQuotaItem.Memory.",
    )
    gpu: SpanSpec | None = Field(
        default=None,
        description="Number of GPUs of the type; {max: 0} leaves out types that have some. Left out: any, none too."
        " CVM: InstanceTypeQuotaItem.GpuCount.",
    )
    families: list[Annotated[str, Field(max_length=16)]] = Field(
        default=[],
        max_length=20,
        description="Families of types, such as S5 or SA2; at most 20. Left out: all. CVM:"
        " InstanceTypeQuotaItem.InstanceFamily.",
    )
    excluded_types: list[Annotated[str, Field(max_length=32)]] = Field(
        default=[],
        max_length=50,
        description="Types that meet all the rest and are not wanted, such as S2.MEDIUM4; at most 50. Left out: none."
        " CVM: InstanceTypeQuotaItem.InstanceType.",
    )

    def resolved(self) -> Requirements:
        """The same in the operator's nouns."""
        anything = Span()
        return Requirements(
            vcpu=self.cpu.resolved() if self.cpu else anything,
            memory_gib=self.memory_gi_b.resolved() if self.memory_gi_b else anything,
            gpus=self.gpu.resolved() if self.gpu else anything,
            families=frozenset(self.families),
            excluded_types=frozenset(self.excluded_types),
        )


_REGION, _REGION_MESSAGE = "[a-z]{2,12}-[a-z]+(-[a-z0-9]+)*", "must be a region name such as ap-guangzhou"


def region_name(text: str) -> str:
    """`text`, if it is one. Checked again here, because it decides where requests go. Raises ValueError."""
    if not re.fullmatch(_REGION, text):
        raise ValueError(_REGION_MESSAGE)
    return text


class OverrideSpec(SpecPart):
    """Another highest price for one instance type."""

    instance_type: str = Field(
        max_length=32, description="Instance type that the price is for, such as S5.LARGE8. CVM: InstanceType."
    )
    max_price: Price = Field(
        description="Highest price of this type per instance and hour, in place of market.maxPrice and written like"
        " it. CVM: InstanceMarketOptions.SpotOptions.MaxPrice."
    )


class MarketSpec(SpecPart):
    """What may be paid, and how pools are ranked."""

    max_price: Price | None = Field(
        default=None,
        description='Highest price per instance and hour, without disks and traffic: a decimal string such as "0.0923"'
        " in the account's currency (CNY on the mainland site, USD on the international one). What is charged is the"
        " market's price, not this. Left out: any price the market asks. BatchCompute:"
        " EnvData.InstanceMarketOptions.SpotOptions.MaxPrice; CVM: InstanceMarketOptions.SpotOptions.MaxPrice.",
    )
    max_price_percent_of_on_demand: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Highest price as a percentage of the type's on-demand price in its zone, reckoned anew for every"
        " launch. With maxPrice or an override too, the lower counts. Left out: no such limit. CVM:"
        " InstanceMarketOptions.SpotOptions.MaxPrice, as an amount.",
    )
    overrides: list[OverrideSpec] = Field(
        default=[],
        max_length=20,
        description="Highest prices of single types in place of maxPrice, one for a type, at most 20. Left out:"
        " maxPrice counts for all.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["instanceType"]},
    )
    allocation_strategy: AllocationStrategy = Field(
        default=AllocationStrategy.PRIORITIZED,
        description="Which pool (an instance type in a zone) is asked first. Prioritized, the default: placements and"
        " types as written. LowestPrice: the cheapest by the market's quotes. CapacityOptimized: the one with the most"
        " stock that has not taken instances back soon. PriceCapacityOptimized: price and that together.",
    )
    zone_policy: ZonePolicy = Field(
        default=ZonePolicy.RANKED,
        description="How zones are filled. Ranked, the default: the best pool first, whatever its zone. Balanced: the"
        " zone with the fewest instances first.",
    )
    max_share_per_pool: int = Field(
        default=100,
        ge=1,
        le=100,
        description="Highest percentage of replicas in one pool, so that one reclaim takes no more; at least one"
        " instance. Default 100: no such limit.",
    )

    @property
    def caps(self) -> Caps:
        """What may be paid for one instance."""
        return Caps(
            per_instance=_amount(self.max_price),
            by_type=tuple((one.instance_type, Decimal(one.max_price)) for one in self.overrides),
            percent_of_on_demand=self.max_price_percent_of_on_demand,
        )


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


class LimitsSpec(SpecPart):
    """Limits of the whole environment."""

    max_hourly_cost: Price | None = Field(
        default=None,
        description="Most that all instances together, with their disks, may cost per hour when one more is launched;"
        " written like market.maxPrice. A price that rises afterwards is reported, and ends nothing. Where a price is"
        " not quoted nothing is launched. Left out: no limit.",
    )


def _moment(text: str) -> str:
    """Checked again here, for the same reason as prices."""
    try:
        from_text(text)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-12-24T18:00:00Z") from None
    return text


class FallbackSpec(SpecPart):
    """On-demand instances in place of spot, at the list price, when spot falls short for long."""

    after_seconds: int = Field(
        default=600,
        ge=0,
        le=86_400,
        description="How long spot must have fallen short before anything is bought on demand, in seconds. Default"
        " 600.",
    )
    max_replicas: int = Field(
        ge=0,
        le=MAX_REPLICAS,
        description="Most on-demand instances at a time; they count in replicas, and 0 buys none.",
    )
    max_hourly_cost: Price | None = Field(
        default=None,
        description="Most that the on-demand instances together may cost per hour, written like market.maxPrice. Left"
        " out: no limit but maxReplicas.",
    )
    stable_for_seconds: int = Field(
        default=900,
        ge=60,
        le=86_400,
        description="How long spot must look well before on-demand instances give way to it, in seconds: one first,"
        " then the rest. Changes from one to the other are half an hour apart at least. Default 900.",
    )
    deadline: (
        Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_moment)] | None
    ) = Field(
        default=None,
        description="From this moment on, such as 2026-12-24T18:00:00Z, what is missing is bought on demand without"
        " delay, and nothing gives way. Left out: never.",
    )

    def resolved(self) -> Fallback:
        """The same in the operator's nouns."""
        return Fallback(
            after=timedelta(seconds=self.after_seconds),
            count_max=self.max_replicas,
            hourly=_amount(self.max_hourly_cost),
            stable_for=timedelta(seconds=self.stable_for_seconds),
            deadline=from_text(self.deadline) if self.deadline is not None else None,
        )


class GangSpec(SpecPart):
    """All or nothing: fewer than `minAvailable` instances are not kept."""

    min_available: int = Field(
        ge=1, le=MAX_REPLICAS, description="Number of instances that are of use together; fewer than this are let go."
    )
    hold_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="How long a part is held while the rest is asked for, in seconds. Then it is let go, and put"
        " together from parts again after ten times as long, five minutes at least; a whole is taken at any time."
        " Default 300.",
    )

    def resolved(self) -> Gang:
        """The same in the operator's nouns."""
        return Gang(self.min_available, timedelta(seconds=self.hold_seconds))


class SecretRef(SpecPart):
    """A Secret in the object's own namespace: there is deliberately no namespace field."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of this object.")


class Spec(SpecPart):
    """What is asked for: how many instances, where, of which types, at what price, and what each looks like."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "self.placements.all(p, p.zone.startsWith(self.region + '-'))",
                "every placement's zone must belong to the region: ap-guangzhou-3 goes with ap-guangzhou",
            ),
            rule(
                "has(self.instanceRequirements) != (has(self.instanceTypes) && size(self.instanceTypes) > 0)",
                "give either instanceTypes or instanceRequirements",
            ),
            rule(
                "!has(self.instanceRequirements) || !has(self.market) || !has(self.market.allocationStrategy)"
                " || self.market.allocationStrategy != 'Prioritized'",
                "instanceRequirements name no order to prioritize by: set market.allocationStrategy to LowestPrice,"
                " CapacityOptimized or PriceCapacityOptimized",
            ),
            rule(
                "!has(self.market) || !has(self.market.maxSharePerPool) || !has(self.instanceTypes)"
                " || size(self.instanceTypes) == 0"
                " || self.market.maxSharePerPool * size(self.placements) * size(self.instanceTypes) >= 100",
                "market.maxSharePerPool times the number of pools is below 100 percent, so replicas cannot be reached:"
                " raise it, or add placements or types",
            ),
            rule(
                "!has(self.gang) || !has(self.replicas) || self.replicas == 0"
                " || self.gang.minAvailable <= self.replicas",
                "gang.minAvailable is above replicas, so the gang can never be complete: lower it, or raise replicas",
            ),
            rule(
                "!(has(self.gang) && has(self.onDemandFallback))",
                "gang and onDemandFallback exclude each other: to go back to spot, one instance is let go first, and"
                " the gang would not be whole: remove one",
            ),
            rule(
                "!has(self.requestPolicy) || self.requestPolicy != 'OneTime'"
                " || (!has(self.onDemandFallback) && !has(self.gang)"
                " && (!has(self.market) || !has(self.market.maxSharePerPool) || self.market.maxSharePerPool == 100))",
                "requestPolicy OneTime makes one attempt for all: remove onDemandFallback, gang and"
                " market.maxSharePerPool, or use Persistent",
            ),
        )
    )

    region: Annotated[str, AfterValidator(region_name)] = Field(
        max_length=64,
        description="Region of all instances, such as ap-guangzhou. It cannot change: make a new environment in the"
        " other region instead. BatchCompute: Region; CVM: Region.",
        json_schema_extra=checked(
            rule("self == oldSelf", "region cannot change: create a new environment in the other region"),
            rule(f"self.matches('^{_REGION}$')", _REGION_MESSAGE),
        ),
    )
    replicas: int = Field(
        default=0,
        ge=0,
        le=MAX_REPLICAS,
        description="Number of instances to keep alive, at most 2000. Leave it out where an autoscaler decides: to"
        " apply the object again then leaves the number alone. Default 0. BatchCompute: DesiredComputeNodeCount; CVM:"
        " InstanceCount, of which one request takes 100.",
    )
    paused: bool = Field(
        default=False,
        description="Look and report, and say in status.quote what would be bought, but neither launch nor release"
        " anything until the object is deleted. Default false.",
    )
    request_policy: Literal["Persistent", "OneTime"] = Field(
        default="Persistent",
        description="Persistent, the default: ask again and again, without end, and replace what is lost. OneTime: one"
        " attempt, then phase Failed with the cloud's code, as the plain API does; a change of the spec is a new"
        " attempt. BatchCompute: ActionIfComputeNodeInactive, where RECREATE ends after ResourceMaxRetryCount.",
    )
    placements: list[PlacementSpec] = Field(
        min_length=1,
        max_length=20,
        description="Where instances may run: zones, each with its subnet, at most 20. When the order counts"
        " (allocationStrategy Prioritized) all types are tried in the first, then in the next. BatchCompute:"
        " EnvData.Zones; CVM: Placement and VirtualPrivateCloud.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["zone"]},
    )
    instance_types: list[Annotated[str, Field(max_length=32)]] = Field(
        default=[],
        max_length=10,
        description="Instance types such as S5.MEDIUM4, at most 10, in the order they are tried when it counts"
        " (allocationStrategy Prioritized). Left out: instanceRequirements is given. BatchCompute:"
        " EnvData.InstanceTypes; CVM: InstanceType, one in a request.",
        json_schema_extra=checked(
            rule(
                "self.all(t, t.matches('^[A-Z0-9]+[.][A-Z0-9]+$'))",
                "every instance type must look like S5.MEDIUM4",
            ),
            rule("self.all(t, self.exists_one(u, u == t))", "instance types must not repeat: remove the duplicate"),
            **{"x-kubernetes-list-type": "atomic"},
        ),
    )
    instance_requirements: RequirementsSpec | None = Field(
        default=None,
        description="What a type must be, in place of instanceTypes: every spot type of the placements that meets it"
        " is a pool, at most 60 in all. Left out: instanceTypes is given. BatchCompute: EnvData.InstanceTypeOptions.",
    )
    market: MarketSpec = Field(
        default=MarketSpec(),
        description="What may be paid for one instance, and which pool goes first. BatchCompute:"
        " EnvData.InstanceMarketOptions; CVM: InstanceMarketOptions.",
    )
    limits: LimitsSpec = Field(
        default=LimitsSpec(), description="Limits of the whole environment. Left out: there are none but replicas."
    )
    on_demand_fallback: FallbackSpec | None = Field(
        default=None,
        description="On-demand instances in place of spot, at the list price, when spot falls short for long. Left"
        " out: nothing is ever bought at the list price. BatchCompute: EnvData.InstanceChargeType; CVM:"
        " InstanceChargeType POSTPAID_BY_HOUR.",
    )
    gang: GangSpec | None = Field(
        default=None,
        description="All or nothing: fewer than minAvailable instances are not kept for long. Left out: every instance"
        " is of use by itself.",
    )
    template: TemplateSpec = Field(
        description="What one instance looks like. A change applies to instances launched from then on; those that run"
        " stay as they are. BatchCompute: EnvData; CVM: the parameters of RunInstances."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret of this namespace with the account's key: secretId, secretKey and optionally token. Left"
        " out: the operator's own key, if the install allows that.",
    )

    @model_validator(mode="after")
    def _names_types_in_one_way(self) -> Self:
        """Checked again here, because without types there would be nothing to launch, and nobody would be told."""
        if bool(self.instance_types) == (self.instance_requirements is not None):
            raise ValueError("give either instanceTypes or instanceRequirements")
        return self

    @property
    def places(self) -> tuple[Placement, ...]:
        """The placements in the operator's nouns, in order."""
        return tuple(Placement(one.zone, one.vpc_id, one.subnet_id) for one in self.placements)

    @property
    def pools(self) -> tuple[tuple[Pool, Placement], ...]:
        """Every pool the spec names, with its placement, in the order they are tried; none for requirements."""
        return tuple(
            (Pool(placement.zone, instance_type), placement)
            for placement in self.places
            for instance_type in self.instance_types
        )

    @property
    def caps(self) -> Caps:
        """What may be paid, for one instance and for all."""
        return replace(self.market.caps, in_total=_amount(self.limits.max_hourly_cost))
