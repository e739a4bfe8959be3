"""What the market sells: an instance type in a zone at a price.

Separate from `instance`, because an offering is a claim of the market (it may be stale or wrong),
while an instance is a machine that costs money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple


class Pool(NamedTuple):
    """One place machines can come from: an instance type in a zone."""

    zone: str
    instance_type: str

    def __str__(self) -> str:
        """Read as people write it: ``S5.MEDIUM4@ap-guangzhou-3``."""
        return f"{self.instance_type}@{self.zone}"


@dataclass(frozen=True, slots=True)
class Offering:
    """A pool as the market quotes it. Prices are per instance and hour, in the account's currency.

    `price_per_hour` is the spot price, `on_demand_price_per_hour` the list price; None when not quoted.
    `sold_out` is the market's word and not a promise: quotes lag behind stock.
    """

    pool: Pool
    price_per_hour: Decimal | None
    on_demand_price_per_hour: Decimal | None
    vcpu: int
    memory_gib: int
    sold_out: bool = False


@dataclass(frozen=True, slots=True)
class Market:
    """All offerings of one account and region, as read at `observed_at`; empty when never read."""

    offerings: Mapping[Pool, Offering] = field(default_factory=dict)
    observed_at: datetime | None = None

    def price(self, pool: Pool) -> Decimal | None:
        """Spot price per hour of one instance of `pool`, or None when the market does not quote it."""
        offering = self.offerings.get(pool)
        return offering.price_per_hour if offering else None
