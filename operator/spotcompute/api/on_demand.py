"""Defines what the spec says of buying at the list price: instances that are always on demand.

Apart from `spec` and its fallback, which buys on demand only while spot is missing.
"""

from __future__ import annotations

from pydantic import Field

from spotcompute.api.schema import SpecPart
from spotcompute.model.desired import OnDemandShare

#: As many as there can be replicas.
_BASE_MAX = 2000


class OnDemandSpec(SpecPart):
    """`OnDemandSpec` says how many instances are always bought on demand, at the list price."""

    base: int = Field(
        default=0,
        ge=0,
        le=_BASE_MAX,
        description="Number of replicas that are on demand before any are spot. Default 0.",
    )
    percentage_above_base: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Percentage of the replicas above base that are on demand too, rounded up. Default 0. When the"
        " number on demand falls, the surplus gives way to spot, one instance at a time; when it rises, it holds for"
        " instances launched from then on.",
    )

    def resolved(self) -> OnDemandShare:
        """Returns the share as the operator's `OnDemandShare`."""
        return OnDemandShare(self.base, self.percentage_above_base)
