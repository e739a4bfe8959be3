"""Defines the part of the spec that asks for all or nothing.

Apart from `spec`, which asks for instances of which each is useful alone.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from spotcompute.api.schema import MAX_REPLICAS, SpecPart
from spotcompute.model.desired import Gang

#: How long the other pools are asked at least before a part is released: each has ten seconds for its answer.
ASKED_SECONDS = 15


class GangSpec(SpecPart):
    """`GangSpec` asks for all or nothing: fewer than `minAvailable` instances are not kept."""

    min_available: int = Field(
        ge=1,
        le=MAX_REPLICAS,
        description="Number of instances that are of use only together. Fewer of them are released after holdSeconds.",
    )
    hold_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="How long part of a gang is kept while the other instances are asked for, in seconds. Then the part"
        " is released. A gang may be built from parts again after ten times as long, and after at least five"
        " minutes; a launch of the whole gang is tried at any time. Below 15, the other pools are asked for 15 seconds"
        " nevertheless: where market.maxSharePerPool allows no pool the whole gang, it is always built from parts."
        " Default 300.",
    )

    def resolved(self) -> Gang:
        """Returns the gang as the operator's `Gang`."""
        return Gang(self.min_available, timedelta(seconds=max(ASKED_SECONDS, self.hold_seconds)))
