"""Counts what exists, what is missing and what is too many: in instances, or in vCPU where `replicas` counts these.

A machine cannot be bought in parts. So where vCPU are counted, machines may bring some more than are wanted; but no
machine is there without which as many would be left as are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from spotcompute.model.desired import CapacityUnit, Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member


def occupies(member: Member) -> bool:
    """True when the member takes one of the wanted places: it exists, or nothing proves that it does not.

    A release counts from the moment the cloud shows its effect, not from when it was asked for or accepted.
    """
    return member.end_unconfirmed or not member.claims_end


def occupying(ledger: Ledger) -> list[Member]:
    """Returns every member that takes a place, in a stable order."""
    return [ledger.members[key] for key in sorted(ledger.members) if occupies(ledger.members[key])]


def held_in_zone(ledger: Ledger, zone: str) -> int:
    """Returns how many spot instances exist in a zone."""
    return sum(member.pool.zone == zone and not member.on_demand for member in occupying(ledger))


def launching(ledger: Ledger) -> int:
    """Returns how many places are taken by launches whose outcome is not known yet."""
    return sum(intent.missing for intent in ledger.intents)


def in_flight(ledger: Ledger) -> int:
    """Returns how many places are taken by what is on its way: launched, or about to be taken over."""
    return launching(ledger) + to_be_taken_over(ledger)


def to_be_taken_over(ledger: Ledger) -> int:
    """Returns how many instances are about to be taken over. What they are like is not known before."""
    return sum(one.is_open and one.id not in ledger.members for one in ledger.adoptions.values())


def units_of(members: Iterable[Member], desired: Desired) -> int:
    """Returns how much these members count together towards `replicas`."""
    return sum(desired.units(member.pool) for member in members)


def taken(ledger: Ledger, desired: Desired) -> int:
    """Returns how much everything that exists or is on its way counts towards `replicas`."""
    on_its_way = sum(desired.units(intent.pool) * intent.missing for intent in ledger.intents)
    return units_of(occupying(ledger), desired) + on_its_way + to_be_taken_over(ledger)


def is_countable(ledger: Ledger, desired: Desired) -> bool:
    """True when the size of everything that exists or is on its way is known."""
    if desired.unit is CapacityUnit.INSTANCE:
        return True
    pools = [member.pool for member in occupying(ledger)] + [intent.pool for intent in ledger.intents]
    return all(desired.units(pool) for pool in pools) and not to_be_taken_over(ledger)


def held_on_demand(ledger: Ledger, desired: Desired) -> int:
    """Returns how much on-demand instances that exist or are on their way count towards `replicas`."""
    held = units_of((member for member in occupying(ledger) if member.on_demand), desired)
    return held + sum(desired.units(intent.pool) * intent.missing for intent in ledger.intents if intent.on_demand)


def has_worked(member: Member) -> bool:
    """True when the machine goes because its work is done."""
    return member.termination is not None and member.termination.cause is Cause.WORK_ENDED


def finished(ledger: Ledger, desired: Desired) -> int:
    """Returns how many machines have done their work; 0 where machines are not to work to an end."""
    if desired.runs is None:
        return 0
    return (ledger.work.ended if ledger.work else 0) + sum(map(has_worked, ledger.members.values()))


def places(ledger: Ledger, desired: Desired) -> int:
    """Returns how much may exist or be on its way: `replicas`, without those that have done their work and are gone."""
    there = sum(has_worked(member) for member in occupying(ledger))
    return max(0, desired.replicas - max(0, finished(ledger, desired) - there))


def shortfall(ledger: Ledger, desired: Desired) -> int:
    """Returns how much is missing; launches in flight count as present. Nothing is while a size is not known."""
    return max(0, places(ledger, desired) - taken(ledger, desired)) if is_countable(ledger, desired) else 0


def surplus(ledger: Ledger, desired: Desired) -> int:
    """Returns how much is too much, without what is already being released. Nothing is while a size is not known."""
    if not is_countable(ledger, desired):
        return 0
    staying = (one for one in occupying(ledger) if one.termination is None and one.lost is None)
    return max(0, units_of(staying, desired) - desired.replicas)


def in_machines(wanted: int, units: int) -> int:
    """Returns how many machines of that size to ask for: as many as fit, and one when the next would bring too much."""
    return max(1, wanted // units) if wanted > 0 and units > 0 else 0


def is_ready(member: Member, instance: Instance | None) -> bool:
    """True when the instance runs and is meant to stay: it is not released, and the cloud has not announced its end."""
    return (
        occupies(member)
        and member.termination is None
        and member.notice_at is None
        and instance is not None
        and instance.state is InstanceState.RUNNING
    )


def stuck_since(member: Member, instance: Instance) -> datetime | None:
    """Returns since when the instance has been in a state that should not last. Returns None in all other states."""
    if instance.state is InstanceState.PENDING:
        return instance.created_at
    return member.transient_since if member.transient == instance.state else None


def is_stuck(member: Member, instance: Instance, now: datetime, timeout: timedelta) -> bool:
    """True when the instance has been in such a state for longer than it ever takes to leave it."""
    since = stuck_since(member, instance)
    return since is not None and now - since > timeout


def ready_count(ledger: Ledger, instances: Mapping[str, Instance], desired: Desired) -> int:
    """Returns how much the members that run count towards `replicas`."""
    return units_of((one for one in ledger.members.values() if is_ready(one, instances.get(one.id))), desired)
