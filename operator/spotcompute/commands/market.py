"""Shows what the market sells as spot in a region, before there is a manifest: prices, discount, stock and zones.

Apart from `quote`, which needs a manifest and asks what one environment would get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from spotcompute.api.spec import region_name
from spotcompute.cloud.credentials import AnyKey, ProviderFactory
from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import CloudError
from spotcompute.commands.advice import Advice, advice_on
from spotcompute.commands.table import table
from spotcompute.model.offering import Offering, Stock
from spotcompute.report.cost import money, optional_money

#: Stands where the market does not say.
_UNKNOWN = "-"


class Unreadable(Exception):
    """`Unreadable` means that the market could not be read. `advice` says why, and what to change."""

    def __init__(self, advice: Advice) -> None:
        super().__init__(advice.text)
        self.advice = advice


async def read_market(
    providers: ProviderFactory, credentials: AnyKey, region: str, endpoint: Endpoint
) -> tuple[Offering, ...]:
    """Returns all that `region` sells as spot now. Raises Unreadable."""
    try:
        return await providers(credentials, region_name(region)).list_offerings()
    except ValueError as error:
        raise Unreadable(Advice(f"--region {region}: {error}", is_wrong=True)) from None
    except CloudError as error:
        raise Unreadable(advice_on(error, endpoint)) from None


class Order(StrEnum):
    """`Order` says what comes first in the list. Pools of which it is not known come last."""

    PRICE = "price"
    VCPU_PRICE = "vcpu-price"
    DISCOUNT = "discount"
    TYPE = "type"
    ZONE = "zone"
    VCPU = "vcpu"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`Wanted` says which pools to show. What is empty or None excludes none.

    `zones` and `types` are patterns as in a shell, without regard to case; one of each must match.
    """

    zones: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    min_vcpu: int | None = None
    max_vcpu: int | None = None
    min_memory: int | None = None
    max_memory: int | None = None
    min_gpus: int | None = None
    max_gpus: int | None = None
    max_price: Decimal | None = None
    in_stock: bool = False

    def has(self, offering: Offering) -> bool:
        """True when the pool is to be shown. A pool without a quote is below no price."""
        price = offering.price_per_hour
        return (
            _matches(offering.pool.zone, self.zones)
            and _matches(offering.pool.instance_type, self.types)
            and _is_within(offering.vcpu, self.min_vcpu, self.max_vcpu)
            and _is_within(offering.memory_gib, self.min_memory, self.max_memory)
            and _is_within(offering.gpus, self.min_gpus, self.max_gpus)
            and (self.max_price is None or (price is not None and price <= self.max_price))
            and (not self.in_stock or not _is_sold_out(offering))
        )


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text.lower(), pattern.lower()) for pattern in patterns)


def _is_within(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _is_sold_out(offering: Offering) -> bool:
    return offering.sold_out or offering.stock is Stock.NONE


def on_sale(offerings: Iterable[Offering], wanted: Wanted, order: Order) -> list[Offering]:
    """Returns what is wanted, in that order; within it by price, type and zone."""
    shown = [one for one in offerings if wanted.has(one)]
    return sorted(shown, key=lambda one: (_ORDERS[order](one), _by_price(one.price_per_hour), one.pool[::-1]))


def _by_price(price: Decimal | None) -> tuple[bool, Decimal]:
    return price is None, price or Decimal(0)


def _vcpu_price(offering: Offering) -> Decimal | None:
    price = offering.price_per_hour
    return price / offering.vcpu if price is not None and offering.vcpu else None


_ORDERS: dict[Order, Callable[[Offering], Any]] = {
    Order.PRICE: lambda one: _by_price(one.price_per_hour),
    Order.VCPU_PRICE: lambda one: _by_price(_vcpu_price(one)),
    Order.DISCOUNT: lambda one: -(saved if (saved := discount(one)) is not None else -1000),
    Order.TYPE: lambda one: one.pool.instance_type,
    Order.ZONE: lambda one: one.pool.zone,
    Order.VCPU: lambda one: one.vcpu,
    Order.MEMORY: lambda one: one.memory_gib,
}


def discount(offering: Offering) -> int | None:
    """Returns by how many percent spot is cheaper than the list price. None when one of the two is not quoted."""
    price, full = offering.price_per_hour, offering.on_demand_price_per_hour
    return int((1 - price / full) * 100) if price is not None and full else None


def stock_of(offering: Offering) -> Stock:
    """Returns the stock as the market states it, which lags: only an attempt knows."""
    return Stock.NONE if offering.sold_out else offering.stock


def market_table(shown: Sequence[Offering], region: str, total: int, currency: str) -> str:
    """Returns the pools as text for people. It ends with a newline. `total` is how many the region sells."""
    if not shown:
        return f"{_nothing(region, total)}\n"
    head = ("TYPE", "ZONE", "VCPU", "MEMORY", "GPUS", "SPOT/H", "LIST/H", "DISCOUNT", "STOCK")
    rows = [head, *map(_row, shown)]
    foot = (
        f"Prices in {currency} per instance and hour, without disks and traffic. {len(shown)} of {total} pools shown."
    )
    return "\n".join([*table(rows, indent=""), foot]) + "\n"


def _nothing(region: str, total: int) -> str:
    if not total:
        return f"{region} sells nothing as spot now. Try another --region."
    return f"None of the {total} pools that {region} sells as spot is what you ask for. Leave out an option."


def _row(one: Offering) -> tuple[str, ...]:
    saved = discount(one)
    return (
        one.pool.instance_type,
        one.pool.zone,
        str(one.vcpu),
        f"{one.memory_gib}Gi",
        str(one.gpus or _UNKNOWN),
        _price(one.price_per_hour),
        _price(one.on_demand_price_per_hour),
        _UNKNOWN if saved is None else f"{saved}%",
        str(stock_of(one)),
    )


def _price(price: Decimal | None) -> str:
    return _UNKNOWN if price is None else money(price)


def market_json(shown: Sequence[Offering], region: str, currency: str) -> dict[str, Any]:
    """Returns the pools as JSON values, for programs. What is not quoted is absent."""
    return {"region": region, "currency": currency, "pools": [_line(one) for one in shown]}


def _line(one: Offering) -> dict[str, Any]:
    line = {
        "zone": one.pool.zone,
        "instanceType": one.pool.instance_type,
        "family": one.family or None,
        "vcpu": one.vcpu,
        "memoryGiB": one.memory_gib,
        "gpus": one.gpus,
        "pricePerHour": optional_money(one.price_per_hour),
        "onDemandPricePerHour": optional_money(one.on_demand_price_per_hour),
        "discountPercent": discount(one),
        "stock": str(stock_of(one)),
    }
    return {key: value for key, value in line.items() if value is not None}
