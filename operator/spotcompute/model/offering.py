"""Defines `Offering` and `Market`: what the market sells, an instance type in a zone at a price.

Apart from `instance` because an offering is only what the market says (it may be stale or wrong), while an instance is
a machine that costs money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class Pool(NamedTuple):
    """`Pool` is one instance type in one zone: the unit that is bought, sold out or backed off from."""

    zone: str
    instance_type: str

    def __str__(self) -> str:
        """Returns the pool as people write it: ``S5.MEDIUM4@ap-guangzhou-3``."""
        return f"{self.instance_type}@{self.zone}"


class Stock(StrEnum):
    """`Stock` says how much of a pool is left, as far as the market says. It lags and gives no numbers."""

    ENOUGH = "Enough"
    NORMAL = "Normal"
    LOW = "Low"
    NONE = "None"
    UNKNOWN = "Unknown"


#: Stands for every instance type of a zone.
_ANY_TYPE = "*"


def whole_zone(zone: str) -> Pool:
    """Returns the pool that stands for all pools of `zone`, for facts about the zone and not about one type."""
    return Pool(zone, _ANY_TYPE)


def whole_subnet(zone: str, subnet_id: str) -> Pool:
    """Returns the pool that stands for all pools of `zone` in one of its subnets, where the spec gives several."""
    return Pool(zone, f"{_ANY_TYPE}{subnet_id}")


#: The pool that stands for buying on demand in any zone.
ON_DEMAND = Pool(_ANY_TYPE, "on-demand")


@dataclass(frozen=True, slots=True)
class Offering:
    """`Offering` is a pool as the market quotes it. Prices are per instance and hour, in the account's currency.

    `price_per_hour` is the spot price, `on_demand_price_per_hour` the list price. Both are None when not quoted.
    `sold_out` is what the market says, not a promise: quotes lag behind stock.
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
    """`ExpectedStay` records for how long the market has offered a pool, and how often that ended.

    Both figures lose weight with time.
    """

    open_seconds: float
    closings: float
    open_since: datetime | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Market:
    """`Market` holds all offerings of one account and region, as read at `observed_at`. It is empty until the first
    reading.

    `unreliable_because` says why the latest reading is not believed, and is None when it is. `expected_stays` come from
    all readings so far. `extras` is the hourly price of the disks and bandwidth of one instance, by zone, for zones
    whose price is known. They belong to the environment that asks, because each has its own template.
    """

    offerings: Mapping[Pool, Offering] = field(default_factory=dict)
    observed_at: datetime | None = None
    unreliable_because: str | None = None
    expected_stays: Mapping[Pool, ExpectedStay] = field(default_factory=dict)
    extras: Mapping[str, Decimal] = field(default_factory=dict)
    #: When a launch of any environment of the account was last accepted in a pool.
    sold_at: Mapping[Pool, datetime] = field(default_factory=dict)

    def price(self, pool: Pool) -> Decimal | None:
        """Returns the spot price per hour of one instance of `pool`. None when the market does not quote it."""
        offering = self.offerings.get(pool)
        return offering.price_per_hour if offering else None

    def list_price(self, pool: Pool) -> Decimal | None:
        """Returns the on-demand price per hour of one instance of `pool`. None when the market does not quote it."""
        offering = self.offerings.get(pool)
        return offering.on_demand_price_per_hour if offering else None

    def extra_of(self, pool: Pool) -> Decimal | None:
        """Returns the price per hour of the disks and bandwidth of one instance of `pool`.

        None when it is not known.
        """
        return self.extras.get(pool.zone)

    def vcpu(self, pool: Pool) -> int | None:
        """Returns the vCPU of one instance of `pool`. None when the market does not say."""
        offering = self.offerings.get(pool)
        return offering.vcpu if offering else None
