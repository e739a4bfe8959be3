"""Decides how many more instances the limits on number and vCPU allow. Money has its own room: `budget`.

A limit is kept when something is launched. It ends nothing that runs.
"""

from __future__ import annotations

from dataclasses import replace

from spotcompute.model.desired import CapacityUnit, Desired
from spotcompute.model.ledger import Ledger, TypeSize
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.budget import NOT_TAKEN_OVER, Room
from spotcompute.plan.capacity import occupying, taken, to_be_taken_over


def room_in_number(desired: Desired, ledger: Ledger) -> int | None:
    """Returns how much more `limits.maxReplicas` allows, counted as `replicas` is. None without such a limit."""
    limit = desired.limits.count
    return None if limit is None else max(0, limit - taken(ledger, desired))


def room_for_size(desired: Desired, ledger: Ledger, pool: Pool) -> Room:
    """Returns how many more instances of that size `limits.maxReplicas` allows where it counts vCPU; elsewhere any.

    Where instances are counted, how many are asked for is cut to the limit, and no pool is rejected for it.
    """
    if desired.unit is CapacityUnit.INSTANCE:
        return Room()
    units, number = desired.units(pool), room_in_number(desired, ledger)
    if units == 0:
        return Room(obstacle="how many vCPU its type has is not known, and replicas counts vCPU")
    return Room(None if number is None else number // units)


def with_sizes(desired: Desired, ledger: Ledger, market: Market) -> Desired:
    """Returns what is desired with the vCPU of each type it may use or has; unchanged where instances are counted."""
    if desired.unit is CapacityUnit.INSTANCE:
        return desired
    known = {one.instance_type: one.vcpu for one in ledger.type_sizes}
    known |= {pool.instance_type: offering.vcpu for pool, offering in market.offerings.items() if offering.vcpu > 0}
    return replace(desired, vcpu_of_type=known)


def room_in_vcpu(desired: Desired, ledger: Ledger, market: Market, instance_type: str) -> Room:
    """Returns how many more instances of that type `limits.maxVcpu` allows, or why that is not known."""
    limit = desired.limits.vcpu
    if limit is None:
        return Room()
    if to_be_taken_over(ledger):
        return Room(obstacle=f"limits.maxVcpu cannot be kept yet: {NOT_TAKEN_OVER}")
    size, held = vcpu_of(instance_type, ledger, market), vcpu_held(ledger, market)
    if size is None or held is None:
        return Room(obstacle="not every type has a known size, and limits.maxVcpu cannot be kept without it")
    return Room(max(0, (limit - held) // size))


def is_within_limits(desired: Desired, ledger: Ledger, market: Market) -> bool:
    """True when everything that exists or is on its way is within both limits."""
    count, vcpu = taken(ledger, desired), desired.limits.vcpu
    if desired.limits.count is not None and count > desired.limits.count:
        return False
    held = vcpu_held(ledger, market) if vcpu is not None else None
    return vcpu is None or (held is not None and held <= vcpu)


def vcpu_of(instance_type: str, ledger: Ledger, market: Market) -> int | None:
    """Returns the vCPU of a type: as the market describes it in any zone, or as it once did. None when it never did."""
    for pool, offering in market.offerings.items():
        if pool.instance_type == instance_type and offering.vcpu > 0:
            return offering.vcpu
    return next((one.vcpu for one in ledger.type_sizes if one.instance_type == instance_type), None)


def vcpu_held(ledger: Ledger, market: Market) -> int | None:
    """Returns the vCPU of everything that exists or is on its way. Returns None when a size is not known."""
    counts: dict[str, int] = {}
    for member in occupying(ledger):
        counts[member.pool.instance_type] = counts.get(member.pool.instance_type, 0) + 1
    for intent in ledger.intents:
        counts[intent.pool.instance_type] = counts.get(intent.pool.instance_type, 0) + intent.missing
    sizes = {name: vcpu_of(name, ledger, market) for name, count in counts.items() if count}
    known = {name: size for name, size in sizes.items() if size is not None}
    return sum(known[name] * counts[name] for name in sizes) if len(known) == len(sizes) else None


def with_sizes_noted(desired: Desired, ledger: Ledger, market: Market) -> Ledger:
    """Returns the ledger with the size of each type whose vCPU are counted, in case it is quoted no more."""
    counts_vcpu = desired.unit is CapacityUnit.VCPU
    pools = [member.pool for member in occupying(ledger)] + [intent.pool for intent in ledger.intents]
    names = {pool.instance_type for pool in pools} if counts_vcpu or desired.limits.vcpu is not None else set()
    known = ((name, vcpu_of(name, ledger, market)) for name in sorted(names))
    sizes = tuple(TypeSize(name, size) for name, size in known if size is not None)
    if (sizes, counts_vcpu) == (ledger.type_sizes, ledger.counts_vcpu):
        return ledger
    return replace(ledger, type_sizes=sizes, counts_vcpu=counts_vcpu)
