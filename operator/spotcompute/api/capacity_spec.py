"""Defines the part of the spec that lets work decide how many instances there are.

Apart from `spec`, where a person or an autoscaler says the number.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from spotcompute.api.schema import MAX_REPLICAS, SpecPart, rule
from spotcompute.model.claim import CapacityWishes

_MIB = 1024**2

#: What cannot be asked for beside it. They are checked on the whole spec.
CAPACITY_RULES = (
    rule(
        "!has(self.capacity) || has(self.nodes)",
        "capacity counts the nodes that instances become: add nodes, or remove capacity",
    ),
    rule(
        "!has(self.capacity) || !has(self.gang)",
        "capacity makes each claim wait for its own machines: set capacity.minAvailable, and remove gang",
    ),
    rule(
        "!has(self.capacity) || !has(self.requestPolicy) || self.requestPolicy != 'OneTime'",
        "requestPolicy OneTime asks once, and claims come at any time: use Persistent, or remove capacity",
    ),
    rule(
        "!has(self.capacity) || !has(self.limits) || !has(self.limits.maxReplicas)"
        " || self.capacity.maxReplicas <= self.limits.maxReplicas",
        "capacity.maxReplicas is above limits.maxReplicas, so claims could wait for ever: lower it, or raise the limit",
    ),
    rule(
        "!has(self.capacity) || self.capacity.maxReplicas == 1 || !has(self.template.privateIpAddresses)"
        " || size(self.template.privateIpAddresses) == 0",
        "template.privateIpAddresses names the address of one instance, but capacity.maxReplicas is above 1:"
        " remove it, or set capacity.maxReplicas to 1",
    ),
)


class ReservedSpec(SpecPart):
    """`ReservedSpec` says how much of each machine is not for the pods of claims."""

    cpu_millis: int = Field(
        default=200,
        ge=0,
        le=1_000_000,
        description="Thousandths of a core, for the system and for the pods of DaemonSets. Default 200.",
    )
    memory_mib: int = Field(
        default=600,
        alias="memoryMiB",
        ge=0,
        le=10_000_000,
        description="Memory in MiB, for the system and for the pods of DaemonSets. Default 600.",
    )


class CapacitySpec(SpecPart):
    """`CapacitySpec` says that claims decide how many instances there are. The operator then sets `replicas` itself.

    A claim is a Workload of Kueue with reserved quota whose admission check names this environment, or a Job of this
    namespace with the label spotcompute.dev/environment.
    """

    from_: Literal["Claims"] = Field(
        alias="from",
        description="Where the number of instances comes from. Claims: from Workloads of Kueue, and from Jobs that are"
        " marked with the label spotcompute.dev/environment. The operator sets replicas then: leave it out.",
    )
    max_replicas: int = Field(
        ge=1,
        le=MAX_REPLICAS,
        description="Most instances that claims may bring about. A claim that needs more by itself is told so, and gets"
        " none.",
    )
    min_available: Literal["All", "Any"] = Field(
        default="All",
        description="When a claim may begin. All, the default: when instances are ready for all of its pods. Any: when"
        " they are ready for one.",
    )
    idle_seconds: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="How long instances that no claim needs any more are kept for the next one, in seconds. A machine"
        " with running pods is kept in any case. Default 60.",
    )
    reserved: ReservedSpec = Field(
        default=ReservedSpec(),
        description="Part of each machine that pods of claims cannot have. Left out: 200 thousandths of a core and 600"
        " MiB. Pods never get more than the node itself says is allocatable.",
    )

    def resolved(self) -> CapacityWishes:
        """Returns it as the operator's `CapacityWishes`."""
        return CapacityWishes(
            count_max=self.max_replicas,
            idle=timedelta(seconds=self.idle_seconds),
            any_is_enough=self.min_available == "Any",
            reserved={"cpu": self.reserved.cpu_millis, "memory": self.reserved.memory_mib * _MIB * 1000},
        )
