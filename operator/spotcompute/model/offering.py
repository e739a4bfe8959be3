"""What the market sells: an instance type in a zone at a price.

Separate from `instance`, because an offering is a claim of the market (it may be stale or wrong),
while an instance is a machine that costs money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class Pool(NamedTuple):
    """One place machines can come from: an instance type in a zone."""

    zone: str
    instance_type: str

    def __str__(self) -> str:
        """Read as people write it: ``S5.MEDIUM4@ap-guangzhou-3``."""
        return f"{self.instance_type}@{self.zone}"


class Stock(StrEnum):
    """How much of a pool there is, as far as the market says; it lags, and no numbers are told."""

    ENOUGH = "Enough"
    NORMAL = "Normal"
    LOW = "Low"
    NONE = "None"
    UNKNOWN = "Unknown"


#: In place of an instance type: every type of the zone.
_ANY_TYPE = "*"


def whole_zone(zone: str) -> Pool:
    """What stands for all pools of a zone, where something is known of the zone and not of one type."""
    return Pool(zone, _ANY_TYPE)


#: What stands for buying on demand, anywhere, where something is known of that.
ON_DEMAND = Pool(_ANY_TYPE, "on-demand")


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
    stock: Stock = Stock.UNKNOWN
    gpus: int = 0
    family: str = ""


@dataclass(frozen=True, slots=True)
class ExpectedStay:
    """For how long the market has offered a pool, and how often that came to an end; both count less with time."""

    open_seconds: float
    closings: float
    open_since: datetime | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Market:
    """All offerings of one account and region, as read at `observed_at`; empty when never read.

    `unreliable_because` says why what was read since then is not believed; None when the last reading was.
    `expected_stays` are what all readings so far say together. `extras` are what disks and bandwidth of one instance
    cost per hour, by zone where that is known: those of the environment that looks, since each equips its machines as
    it likes.
    """

    offerings: Mapping[Pool, Offering] = field(default_factory=dict)
    observed_at: datetime | None = None
    unreliable_because: str | None = None
    expected_stays: Mapping[Pool, ExpectedStay] = field(default_factory=dict)
    extras: Mapping[str, Decimal] = field(default_factory=dict)

    def price(self, pool: Pool) -> Decimal | None:
        """Spot price per hour of one instance of `pool`, or None when the market does not quote it."""
        offering = self.offerings.get(pool)
        return offering.price_per_hour if offering else None

    def list_price(self, pool: Pool) -> Decimal | None:
        """On-demand price per hour of one instance of `pool`, or None when the market does not quote it."""
        offering = self.offerings.get(pool)
        return offering.on_demand_price_per_hour if offering else None

    def extra_of(self, pool: Pool) -> Decimal | None:
        """Price per hour of what comes with one instance of `pool`, or None when it is not known."""
        return self.extras.get(pool.zone)

    def vcpu(self, pool: Pool) -> int | None:
        """vCPU of one instance of `pool`, or None when the market does not say."""
        offering = self.offerings.get(pool)
        return offering.vcpu if offering else None
