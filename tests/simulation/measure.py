"""Counts what a spec asks for, and what a machine counts towards it: one, or its vCPU where `replicas` counts these.

Apart from the judges, which all count so, and apart from the operator: nothing of its own counting is used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cvmsim.instance import Instance

Spec = Mapping[str, Any]

#: The vCPU of the largest type that histories ask for, and of all others.
LARGEST, USUAL = 4, 2


def counts_vcpu(spec: Spec) -> bool:
    """True when `replicas` counts vCPU."""
    return spec.get("capacityUnit") == "vCPU"


def units(instance: Instance, spec: Spec) -> int:
    """How much a machine counts towards `replicas`."""
    return instance.order.type.cpu if counts_vcpu(spec) else 1


def units_of(instances: Iterable[Instance], spec: Spec) -> int:
    """How much these machines count together."""
    return sum(units(one, spec) for one in instances)


def granted(spec: Spec) -> int:
    """How many of `replicas` the limits on number and size let through; they are drawn where instances are counted."""
    limits, wanted = spec.get("limits", {}), spec.get("replicas", 0)
    return min(wanted, limits.get("maxReplicas", wanted), limits.get("maxVcpu", USUAL * wanted) // USUAL)


def most_of(instances: Iterable[Instance], spec: Spec) -> int:
    """How many machines may be bought for a number of them: as many, or twice as many where a large one is replaced."""
    return len(list(instances)) * (LARGEST // USUAL if counts_vcpu(spec) else 1)
