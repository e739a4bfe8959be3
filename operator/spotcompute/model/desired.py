"""What the spec asks for, typed and resolved: the left-hand side of every decision."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from spotcompute.model.instance import Ownership
from spotcompute.model.launch import Template
from spotcompute.model.offering import Pool


class AllocationStrategy(StrEnum):
    """How pools are ranked: as written in the spec, or by the price the market quotes."""

    PRIORITIZED = "Prioritized"
    LOWEST_PRICE = "LowestPrice"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where instances may run: a zone, and the network in it (None: the account's default network)."""

    zone: str
    vpc_id: str | None = None
    subnet_id: str | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """One environment's wishes.

    `replicas` is 0 while deleting. `pools` is every placement with every instance type in the order
    they are tried: all types of the first placement, then all of the second.
    `one_time` asks each pool once and then gives up until the spec changes, as the plain API does.
    """

    ownership: Ownership
    owner: str
    generation: int
    replicas: int
    pools: tuple[tuple[Pool, Placement], ...]
    template: Template
    name_prefix: str
    max_price: Decimal | None = None
    user_data_digest: str | None = None
    strategy: AllocationStrategy = AllocationStrategy.PRIORITIZED
    one_time: bool = False
    paused: bool = False
    deleting: bool = False

    def placement(self, pool: Pool) -> Placement | None:
        """Where `pool` is placed, or None when the spec does not name it (any more)."""
        return next((placement for candidate, placement in self.pools if candidate == pool), None)
