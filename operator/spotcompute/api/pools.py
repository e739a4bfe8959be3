"""Defines the parts of the spec that say where instances may run, and on which types: what makes the pools.

Apart from `spec`, which says how many are wanted and at what price.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from spotcompute.api.schema import SpecPart, SubnetId, VpcId, checked, rule
from spotcompute.model.desired import Requirements, Span


class PlacementSpec(SpecPart):
    """`PlacementSpec` names a zone and the subnet in it."""

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
    """`SpanSpec` is a range from `min` to `max`, both included."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be above max")
        )
    )

    min: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Lowest number allowed, in the unit of the field above it. Left out: no lower bound.",
    )
    max: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Highest number allowed, in the unit of the field above it. Left out: no upper bound.",
    )

    def resolved(self) -> Span:
        """Returns the range as the operator's `Span`."""
        return Span(self.min, self.max)


class RequirementsSpec(SpecPart):
    """`RequirementsSpec` describes instance types in place of a list. Every spot type that meets it all is a pool."""

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
        description="Number of GPUs of the type; {max: 0} excludes types with GPUs. Left out: any number, also none."
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
        description="Instance types that must not be used although they meet the requirements, such as S2.MEDIUM4; at"
        " most 50. Left out: none. CVM: InstanceTypeQuotaItem.InstanceType.",
    )

    def resolved(self) -> Requirements:
        """Returns the requirements as the operator's `Requirements`."""
        anything = Span()
        return Requirements(
            vcpu=self.cpu.resolved() if self.cpu else anything,
            memory_gib=self.memory_gi_b.resolved() if self.memory_gi_b else anything,
            gpus=self.gpu.resolved() if self.gpu else anything,
            families=frozenset(self.families),
            excluded_types=frozenset(self.excluded_types),
        )
