"""Counts instances: what counts as existing, how many are missing, and how many are too many."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Ledger, Member


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
    taken_over = (one for one in ledger.adoptions.values() if one.is_open and one.id not in ledger.members)
    return launching(ledger) + sum(1 for _ in taken_over)


def held_on_demand(ledger: Ledger) -> int:
    """Returns how many on-demand instances exist or are on their way."""
    held = sum(member.on_demand for member in occupying(ledger))
    return held + sum(intent.missing for intent in ledger.intents if intent.on_demand)


def shortfall(ledger: Ledger, replicas: int) -> int:
    """Returns how many instances are missing; what is on its way counts as present."""
    return max(0, replicas - len(occupying(ledger)) - in_flight(ledger))


def surplus(ledger: Ledger, replicas: int) -> int:
    """Returns how many instances are too many, without those that are already being released."""
    staying = sum(member.termination is None and member.lost is None for member in occupying(ledger))
    return max(0, staying - replicas)


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


def ready_count(ledger: Ledger, instances: Mapping[str, Instance]) -> int:
    """Returns how many members run."""
    return sum(is_ready(member, instances.get(member.id)) for member in ledger.members.values())
