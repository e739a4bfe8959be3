"""Defines the spec as users write it: pydantic models from which the CRD's schema and `Desired` are made.

Checks that the API server can do (bounds, patterns, CEL) are written here once and generated into `crds/`. Every
message names the remedy, because a user of `kubectl apply` sees nothing else. Users read the descriptions with `kubectl
explain`. Each states meaning, unit, what applies when the field is left out, and the vendor's own names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from spotcompute.api.adopt import AdoptSpec
from spotcompute.api.capacity_spec import CAPACITY_RULES, CapacitySpec
from spotcompute.api.gang import GangSpec
from spotcompute.api.lifetime import STOP_RULES, Lifetime, Moment
from spotcompute.api.nodes_spec import NodesSpec
from spotcompute.api.on_demand import OnDemandSpec
from spotcompute.api.orphan_protection import ORPHAN_RULE
from spotcompute.api.pools import PlacementSpec, RequirementsSpec
from spotcompute.api.scale_in import ScaleInSpec
from spotcompute.api.schema import MAX_REPLICAS, Price, SpecPart, checked, rule
from spotcompute.api.signing import RoleArn, SecretRef
from spotcompute.api.strategy import REPLACEMENT_RULES, StrategySpec
from spotcompute.api.template import TemplateSpec
from spotcompute.api.times import from_text
from spotcompute.api.unit import UNIT_RULE
from spotcompute.model.desired import (
    AllocationStrategy,
    CapacityUnit,
    Caps,
    Fallback,
    Limits,
    Placement,
    ZonePolicy,
    first_of_each_zone,
)
from spotcompute.model.offering import Pool

_REGION, _REGION_MESSAGE = "[a-z]{2,12}-[a-z]+(-[a-z0-9]+)*", "must be a region name such as ap-guangzhou"


def region_name(text: str) -> str:
    """Returns `text` when it is a region's name. Raises ValueError otherwise.

    The check is repeated here because the region decides where requests are sent.
    """
    if not re.fullmatch(_REGION, text):
        raise ValueError(_REGION_MESSAGE)
    return text


class OverrideSpec(SpecPart):
    """`OverrideSpec` sets another highest price for one instance type."""

    instance_type: str = Field(
        max_length=32, description="Instance type that the price is for, such as S5.LARGE8. CVM: InstanceType."
    )
    max_price: Price = Field(
        description="Highest price of this type per instance and hour, used instead of market.maxPrice and written like"
        " it. CVM: InstanceMarketOptions.SpotOptions.MaxPrice."
    )


class MarketSpec(SpecPart):
    """`MarketSpec` says what may be paid, and how pools are ranked."""

    max_price: Price | None = Field(
        default=None,
        description='Highest price per instance and hour, without disks and traffic: a decimal string such as "0.0923"'
        " in the account's currency (CNY on the mainland site, USD on the international one). CVM charges"
        " the market price, not this one. Left out: any market price is paid. BatchCompute:"
        " EnvData.InstanceMarketOptions.SpotOptions.MaxPrice; CVM:"
        " InstanceMarketOptions.SpotOptions.MaxPrice.",
    )
    max_price_percent_of_on_demand: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Highest price as a percentage of the type's on-demand price in its zone, computed anew for every"
        " launch. When maxPrice or an override is set too, the lower price applies. Left out: no such limit."
        " CVM: InstanceMarketOptions.SpotOptions.MaxPrice, as an amount.",
    )
    overrides: list[OverrideSpec] = Field(
        default=[],
        max_length=20,
        description="Highest prices of single instance types, used instead of maxPrice; one per type, at most 20. Left"
        " out: maxPrice applies to all types.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["instanceType"]},
    )
    allocation_strategy: AllocationStrategy = Field(
        default=AllocationStrategy.PRIORITIZED,
        description="Which pool (an instance type in a zone) is asked first. Prioritized, the default: placements and"
        " types in the order in which they are written. LowestPrice: the cheapest by the market's quotes."
        " CapacityOptimized: the one with the most stock, where pools that took instances back early come"
        " later. PriceCapacityOptimized: the best by price and stock together.",
    )
    zone_policy: ZonePolicy = Field(
        default=ZonePolicy.RANKED,
        description="How zones are filled. Ranked, the default: the best pool first, in any zone. Balanced: the zone"
        " with the fewest instances first, and when replicas are lowered, the one with the most.",
    )
    max_share_per_pool: int = Field(
        default=100,
        ge=1,
        le=100,
        description="Highest percentage of replicas in one pool, rounded up to a whole instance. It limits how much one"
        " reclaim can take. When replicas are lowered, what is above it goes first. Default 100: no such limit.",
    )

    @property
    def caps(self) -> Caps:
        """Returns what may be paid for one instance."""
        return Caps(
            per_instance=_amount(self.max_price),
            by_type=tuple((one.instance_type, Decimal(one.max_price)) for one in self.overrides),
            percent_of_on_demand=self.max_price_percent_of_on_demand,
        )


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


class LimitsSpec(SpecPart):
    """`LimitsSpec` sets limits for the whole environment."""

    max_hourly_cost: Price | None = Field(
        default=None,
        description="Highest cost per hour of all instances together, disks included; written like market.maxPrice. It"
        " is checked before each launch: nothing is launched that would exceed it or whose price is not"
        " quoted. When prices rise later, this is reported, but no instance is released. Left out: no limit.",
    )
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REPLICAS,
        description="Most instances that launches may bring about, whatever replicas says, so that a wrong number there"
        " buys nothing. Like all limits it releases no instance. Left out: replicas is the limit.",
    )
    max_vcpu: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most vCPU of all instances together, checked before each launch. Left out: no limit.",
    )

    def resolved(self) -> Limits:
        """Returns the limits on number and size as the operator's `Limits`."""
        return Limits(self.max_replicas, self.max_vcpu)


class InterruptionsSpec(SpecPart):
    """`InterruptionsSpec` says how many interruptions make on demand stand in."""

    count: int = Field(ge=1, le=100, description="Number of spot instances that the cloud takes back.")
    within_seconds: int = Field(
        default=3600, ge=60, le=86_400, description="Time within which so many are too many, in seconds. Default 3600."
    )


class FallbackSpec(SpecPart):
    """`FallbackSpec` allows on-demand instances, at the list price, when spot instances have been missing for long."""

    after_seconds: int = Field(
        default=600,
        ge=0,
        le=86_400,
        description="How long spot instances must have been missing before anything is bought on demand, in seconds."
        " Default 600.",
    )
    max_replicas: int = Field(
        ge=0,
        le=MAX_REPLICAS,
        description="Highest number of on-demand instances at a time. They count towards replicas; 0 buys none.",
    )
    max_hourly_cost: Price | None = Field(
        default=None,
        description="Highest cost per hour of all on-demand instances together, written like market.maxPrice. Left out:"
        " only maxReplicas limits them.",
    )
    stable_for_seconds: int = Field(
        default=900,
        ge=60,
        le=86_400,
        description="How long spot must look available before it replaces on-demand instances, in seconds: one first,"
        " then the others; launch first where strategy.maxSurge allows it. Two changes between spot and on demand are"
        " at least half an hour apart. Default 900.",
    )
    deadline: Moment | None = Field(
        default=None,
        description="From this moment on, such as 2026-12-24T18:00:00Z, missing instances are bought on demand without"
        " delay, and no on-demand instance is replaced by spot. Left out: never.",
    )

    after_interruptions: InterruptionsSpec | None = Field(
        default=None,
        description="Number of interruptions after which what is missing is bought on demand without waiting for"
        " afterSeconds; spot is not tried again before there are fewer. Left out: only a shortage counts.",
    )

    def resolved(self) -> Fallback:
        """Returns the fallback as the operator's `Fallback`."""
        return Fallback(
            after=timedelta(seconds=self.after_seconds),
            count_max=self.max_replicas,
            hourly=_amount(self.max_hourly_cost),
            stable_for=timedelta(seconds=self.stable_for_seconds),
            deadline=from_text(self.deadline) if self.deadline is not None else None,
            interruptions=many.count if (many := self.after_interruptions) else None,
            within=timedelta(seconds=many.within_seconds) if many else timedelta(hours=1),
        )


class Spec(Lifetime):
    """`Spec` says what is asked for: how many instances, where, of which types, at what price, and what each looks
    like.
    """

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
                "!has(self.template.privateIpAddresses) || size(self.template.privateIpAddresses) == 0"
                " || !has(self.replicas) || self.replicas <= 1",
                "template.privateIpAddresses names the address of one instance, but replicas is above 1: remove it, or"
                " set replicas to 1",
            ),
            *REPLACEMENT_RULES,
            UNIT_RULE,
            *STOP_RULES,
            ORPHAN_RULE,
            rule(
                "!(has(self.expiresAt) && has(self.ttlSeconds))",
                "expiresAt and ttlSeconds both say when the environment expires: remove one of the two",
            ),
            *CAPACITY_RULES,
            rule(
                "!(has(self.gang) && has(self.onDemandFallback))",
                "gang and onDemandFallback exclude each other: to go back to spot, one instance is released first, and"
                " the gang would be incomplete: remove one of the two",
            ),
            rule(
                "!has(self.gang) || !has(self.limits) || !has(self.limits.maxReplicas)"
                " || self.gang.minAvailable <= self.limits.maxReplicas",
                "gang.minAvailable is above limits.maxReplicas, so the gang can never be complete: lower it, or raise"
                " the limit",
            ),
            rule(
                # Not `has(self.onDemand)` alone: its defaults put it into every object.
                "!has(self.onDemand) || (self.onDemand.base == 0 && self.onDemand.percentageAboveBase == 0)"
                " || (!has(self.gang) && (!has(self.requestPolicy) || self.requestPolicy != 'OneTime'))",
                "onDemand makes several launches, and a gang or requestPolicy OneTime is one: remove onDemand, or the"
                " other",
            ),
            rule(
                "!has(self.requestPolicy) || self.requestPolicy != 'OneTime'"
                " || (!has(self.onDemandFallback) && !has(self.gang)"
                " && (!has(self.market) || !has(self.market.maxSharePerPool) || self.market.maxSharePerPool == 100))",
                "requestPolicy OneTime makes a single attempt: remove onDemandFallback, gang and"
                " market.maxSharePerPool, or use Persistent",
            ),
            rule(
                "!has(self.roleArn) || has(self.credentialsSecretRef)",
                "a role is taken with the key of a Secret: set credentialsSecretRef, or remove roleArn",
            ),
        )
    )

    region: Annotated[str, AfterValidator(region_name)] = Field(
        max_length=64,
        description="Region of all instances, such as ap-guangzhou. It cannot change: create a new environment in the"
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
        description="Number of instances to keep alive, at most 2000, or of their vCPU by capacityUnit. Leave it out"
        " when an autoscaler sets it: applying the object again then does not change the number. Default 0."
        " BatchCompute: DesiredComputeNodeCount; CVM: InstanceCount, at most 100 in one request.",
    )
    capacity_unit: CapacityUnit = Field(
        default=CapacityUnit.INSTANCE,
        description="What replicas counts. Instance, the default: each instance as one. vCPU: the vCPU of each, so that"
        " types of several sizes take each other's places; together they may bring some more, but none is there that"
        " could go without leaving fewer than replicas. Every other number of instances counts the same.",
    )
    paused: bool = Field(
        default=False,
        description="When true, the operator reports the state and says in status.quote what it would buy, but launches"
        " and releases nothing. Deleting the object still releases its instances. Default false.",
    )
    instance_objects: bool = Field(
        default=True,
        description="When true, each instance is shown as an object of kind SpotInstance, on which wishes can be"
        " marked. When false, there are none, and the marks on them are lost. Default true.",
    )
    deletion_policy: Literal["Delete", "Retain"] = Field(
        default="Delete",
        description="What becomes of the instances when this object is deleted. Delete, the default: they are ended,"
        " and the object stays until the cloud confirms it. Retain: they run on and cost money. Their tags say then"
        " that they belong to no environment, and the operator never ends them.",
    )
    request_policy: Literal["Persistent", "OneTime"] = Field(
        default="Persistent",
        description="Persistent, the default: asks again and again, without end, and replaces lost instances. OneTime:"
        " makes one attempt, then shows phase Failed with the cloud's code, as the plain API does; a change"
        " of the spec starts a new attempt. With onStop Release: until the work is done. BatchCompute:"
        " ActionIfComputeNodeInactive, where RECREATE ends"
        " after ResourceMaxRetryCount.",
    )
    placements: list[PlacementSpec] = Field(
        min_length=1,
        max_length=20,
        description="Where instances may run: zones, each with its subnet, at most 20. A zone may be given"
        " several times with different subnets: the next one is used when the one before has no free address. With"
        " allocationStrategy Prioritized, all types are tried in the first zone, then in the next. BatchCompute:"
        " EnvData.Zones; CVM: Placement and VirtualPrivateCloud.",
        # Atomic: applied server-side, the list is as its manifest says, and keeps no zone that somebody else has added.
        json_schema_extra={"x-kubernetes-list-type": "atomic"}
        | checked(
            rule(
                "self.all(p, self.exists_one(q, q.zone == p.zone) || (has(p.subnetId) && self.exists_one(q,"
                " q.zone == p.zone && has(q.subnetId) && q.subnetId == p.subnetId)))",
                "placements of one zone need different subnets: give each its own subnetId, or name the zone once",
            )
        ),
    )
    instance_types: list[Annotated[str, Field(max_length=32)]] = Field(
        default=[],
        max_length=10,
        description="Instance types such as S5.MEDIUM4, at most 10. With allocationStrategy Prioritized they are tried"
        " in this order. Left out: give instanceRequirements instead. BatchCompute: EnvData.InstanceTypes;"
        " CVM: InstanceType, one in a request.",
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
        description="Describes instance types, in place of instanceTypes: every spot type in the placements that meets"
        " it is a pool, at most 60 pools in all. Left out: give instanceTypes instead. BatchCompute:"
        " EnvData.InstanceTypeOptions.",
    )
    market: MarketSpec = Field(
        default=MarketSpec(),
        description="What may be paid for one instance, and which pool is asked first. BatchCompute:"
        " EnvData.InstanceMarketOptions; CVM: InstanceMarketOptions.",
    )
    limits: LimitsSpec = Field(
        default=LimitsSpec(), description="Limits of the whole environment. Left out: replicas is the only limit."
    )
    on_demand_fallback: FallbackSpec | None = Field(
        default=None,
        description="On-demand instances, at the list price, when spot instances have been missing for long. Left out:"
        " nothing is ever bought at the list price. BatchCompute: EnvData.InstanceChargeType; CVM:"
        " InstanceChargeType POSTPAID_BY_HOUR.",
    )
    adopt: AdoptSpec = Field(
        default=AdoptSpec(),
        description="Instances that exist already and are taken over, as far as replicas has places for them: spot and"
        " on-demand ones that are as the spec asks for. Nothing is bought for their places meanwhile. Left out: none.",
    )
    scale_in: ScaleInSpec = Field(
        default=ScaleInSpec(),
        description="Which instances go first when replicas are lowered. Left out: the costliest of equals.",
    )
    on_demand: OnDemandSpec = Field(
        default=OnDemandSpec(),
        description="Instances that are always on demand, at the list price, beside those that are spot. Left out:"
        " none. BatchCompute: EnvData.InstanceChargeType; CVM: InstanceChargeType POSTPAID_BY_HOUR.",
    )
    gang: GangSpec | None = Field(
        default=None,
        description="All or nothing: fewer than minAvailable instances are not kept for long. Left out: every instance"
        " is useful alone.",
    )
    nodes: NodesSpec | None = Field(
        default=None,
        description="Instances join this cluster as nodes, by their user data. The installation must have the rights"
        " of the overlay nodes, and SPOTCOMPUTE_NODES must be true. Left out: plain machines.",
    )
    capacity: CapacitySpec | None = Field(
        default=None,
        description="Work decides how many instances there are: jobs that wait for them. It needs nodes, the rights of"
        " the overlay jobs, and SPOTCOMPUTE_CLAIMS. Left out: replicas says how many.",
    )
    strategy: StrategySpec = Field(
        default=StrategySpec(),
        description="What becomes of running instances that are not as the spec asks for now. Left out: they stay.",
    )
    template: TemplateSpec = Field(
        description="What one instance looks like. A change applies to instances launched from then on; running"
        " instances stay as they are, unless strategy says otherwise. BatchCompute: EnvData; CVM: the parameters of"
        " RunInstances."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret in this namespace with the account's key: secretId, secretKey and optionally token. Left"
        " out: the operator's own key, if the installation allows it.",
    )
    role_arn: RoleArn | None = Field(
        default=None,
        description="CAM role, in the same or another account, that the key in the Secret takes. All calls are then"
        " signed with the role's keys, which last two hours and are renewed. Left out: the key itself signs.",
    )

    @model_validator(mode="after")
    def _names_types_in_one_way(self) -> Self:
        """Checks again that types are given in exactly one way.

        Without types nothing could be launched, without any message.
        """
        if bool(self.instance_types) == (self.instance_requirements is not None):
            raise ValueError("give either instanceTypes or instanceRequirements")
        return self

    @property
    def places(self) -> tuple[Placement, ...]:
        """Returns the placements as the operator's `Placement`, in order."""
        return tuple(Placement(one.zone, one.vpc_id, one.subnet_id) for one in self.placements)

    @property
    def pools(self) -> tuple[tuple[Pool, Placement], ...]:
        """Returns every pool the spec names, with its placement, in the order in which they are tried.

        Empty for requirements.
        """
        return tuple(
            (Pool(placement.zone, instance_type), placement)
            for placement in first_of_each_zone(self.places)
            for instance_type in self.instance_types
        )

    @property
    def caps(self) -> Caps:
        """Returns what may be paid for one instance and for all instances."""
        return replace(self.market.caps, in_total=_amount(self.limits.max_hourly_cost))
