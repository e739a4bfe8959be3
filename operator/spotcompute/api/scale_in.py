"""Defines what the spec says of leaving: which instance goes first when some are too many.

Apart from `spec`, which says what is wanted, because this chooses only among what is there already.
"""

from __future__ import annotations

from pydantic import Field

from spotcompute.api.schema import SpecPart
from spotcompute.model.desired import ScaleInOrder


class ScaleInSpec(SpecPart):
    """`ScaleInSpec` says which instances go first."""

    order: ScaleInOrder = Field(
        default=ScaleInOrder.COSTLIEST_FIRST,
        description="Which of equally useful instances goes first: CostliestFirst, the default, by the price of now;"
        " OldestFirst or NewestFirst, by the time of the launch. Before that, these go first: what does not run, what"
        " is outside the placements and types, what is marked spotcompute.dev/delete-first, what is not up to date,"
        " what keeps zones and shares uneven, what has the lowest spotcompute.dev/deletion-cost. Protected instances"
        " never go.",
    )
