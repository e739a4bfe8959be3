"""Tells in what an instance differs from what the spec asks for now.

Apart from `retirement`, which chooses among instances, because a difference is only a fact: who replaces what differs,
and when, is decided elsewhere.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta
from enum import StrEnum

from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance
from spotcompute.model.launch import template_digest
from spotcompute.model.ledger import Member
from spotcompute.plan.situation import Situation


class Drift(StrEnum):
    """`Drift` names a part of the spec that an instance does not meet any more. User data belongs to the template."""

    TEMPLATE = "template"
    ZONE = "zone"
    SUBNET = "subnet"
    INSTANCE_TYPE = "instance type"
    CHARGE_TYPE = "charge type"
    AGE = "age"


#: Instances of one launch do not all come of age together: each is due up to this part of the largest age sooner.
SPREAD = 0.1

#: What places an instance outside the spec's pools: whatever else it is like, no launch would bring it now.
OUTSIDE = frozenset({Drift.ZONE, Drift.SUBNET, Drift.INSTANCE_TYPE})


class Asked:
    """`Asked` is what the spec asks of every instance, worked out once, to compare many instances with it.

    What is not known is no difference: the template of an instance that was found and not launched, the subnet of one
    that is not listed yet, and the type where requirements cannot be checked without a quote.
    """

    def __init__(self, situation: Situation) -> None:
        desired = self._desired = situation.desired
        self._instances, self._market, self._now = situation.observed.instances, situation.market, situation.now
        self._template = template_digest(desired.template, desired.user_data_digest)
        self._zones = {one.zone for one in desired.placements} | {pool.zone for pool, _ in desired.pools}
        self._types = {pool.instance_type for pool, _ in desired.pools}
        #: By zone. Without those in which a placement names no subnet, so that any is right.
        self._subnets = {zone: _subnets_of(zone, desired) for zone in self._zones}

    def drift_of(self, member: Member) -> frozenset[Drift]:
        """Returns in what the instance differs from the spec; empty when a launch of now would make it so."""
        return self.drift(member, self._instances.get(member.id))

    def drift(self, member: Member, instance: Instance | None) -> frozenset[Drift]:
        """Returns the same of an instance as it is given here."""
        due_at = self._of_age_at(member, instance)
        differs = {
            Drift.TEMPLATE: member.template_digest not in (None, self._template),
            Drift.ZONE: bool(self._zones) and member.pool.zone not in self._zones,
            Drift.SUBNET: self._is_in_another_subnet(instance),
            Drift.INSTANCE_TYPE: self._is_of_another_type(member),
            Drift.CHARGE_TYPE: member.on_demand and not self._desired.allows_on_demand,
            Drift.AGE: due_at is not None and due_at <= self._now,
        }
        return frozenset(part for part, holds in differs.items() if holds)

    def is_updated(self, member: Member) -> bool:
        """True when the instance is as the spec asks for now, however old it is."""
        return self.drift_of(member) <= {Drift.AGE}

    def of_age_at(self, member: Member) -> datetime | None:
        """Returns when the instance is too old. None when it may be of any age."""
        return self._of_age_at(member, self._instances.get(member.id))

    def _of_age_at(self, member: Member, instance: Instance | None) -> datetime | None:
        if self._desired.max_age is None:
            return None
        born = member.launched_at if instance is None else instance.created_at
        return born + life_of(member.id, self._desired.max_age)

    def _is_in_another_subnet(self, instance: Instance | None) -> bool:
        if instance is None or instance.subnet_id is None:
            return False
        named = self._subnets.get(instance.pool.zone, frozenset())
        return bool(named) and instance.subnet_id not in named

    def _is_of_another_type(self, member: Member) -> bool:
        requirements = self._desired.requirements
        if requirements is None:
            return bool(self._types) and member.pool.instance_type not in self._types
        if member.pool.instance_type in requirements.excluded_types:
            return True
        # Not by the pools: they are cut to the cheapest ones, which change with the market.
        offering = self._market.offerings.get(member.pool)
        return offering is not None and not requirements.fits(offering)


def _subnets_of(zone: str, desired: Desired) -> frozenset[str]:
    """Returns the subnets that placements name for the zone. Empty when any is right, because one names none."""
    named = [one.subnet_id for one in desired.placements if one.zone == zone]
    return frozenset(one for one in named if one) if all(named) else frozenset()


def life_of(instance_id: str, max_age: timedelta) -> timedelta:
    """Returns how old that instance may become: `max_age`, less up to a tenth of it by its id."""
    part = zlib.crc32(instance_id.encode()) / 2**32  # alike in every process, and no secret
    return max_age * (1 - SPREAD * part)
