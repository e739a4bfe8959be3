"""Keeps what the cloud sells: stock and price per (zone, type), what it quotes of them, and what an hour has cost.

Apart from `world`, because quotes may be wrong about stock: a stale quote is read from the history kept here.
"""

from bisect import bisect_right
from collections import deque
from decimal import Decimal
from typing import NamedTuple

from cvmsim.catalog import InstanceType, Opening

HOUR = Decimal(3600)
YUAN_PER_DOLLAR = Decimal("7.2")
FLAT = (Decimal(1), Decimal(1))
FALLING = (Decimal("0.6"), Decimal("0.5"))  # of the list price, after STEP_SECONDS
STEP_SECONDS = (Decimal(96 * 3600), Decimal(360 * 3600))
ON_DEMAND_STOCK = 1000
QUOTE_MEMORY_SECONDS = 3600.0  # a quote can lag this far; older moments are dropped
PINNED = ("EnoughStock", "NormalStock", "UnderStock", "WithoutStock")


class Quote(NamedTuple):
    """`Quote` is stock and price as they were at `time`."""

    time: float
    stock: int
    price: Decimal


class Offering:
    """`Offering` is one instance type in one zone. Prices are dollars per hour and instance, stock is a number of
    instances.

    `stock` is sold as spot. On demand has a stock of its own, which is large unless a request to the control port sets
    it.
    """

    def __init__(self, opening: Opening, type: InstanceType, region: str, now: float) -> None:
        self.zone, self.type, self.region = opening.zone, type, region
        self.stock, self.price, self.list_price = opening.stock, opening.spot, opening.list
        self.on_demand_stock = ON_DEMAND_STOCK
        self.pinned: str | None = None  # a StatusCategory that is quoted for any stock
        self._quotes = deque([Quote(now, self.stock, self.price)])
        self._prices = [(now, self.price)]

    def left(self, is_spot: bool) -> int:
        """Returns how many may still be bought."""
        return self.stock if is_spot else self.on_demand_stock

    def add(self, count: int, is_spot: bool, now: float) -> None:
        """Adds `count` to the stock. A negative count takes from it."""
        if is_spot:
            self.set_stock(self.stock + count, now)
        else:
            self.on_demand_stock += count

    def set_stock(self, stock: int, now: float) -> None:
        """Sets the spot stock."""
        self.stock = stock
        self._remember(now)

    def set_price(self, price: Decimal, now: float) -> None:
        """Sets the spot price."""
        self.price = price
        self._prices.append((now, price))
        self._remember(now)

    def quote(self, moment: float) -> Quote:
        """Returns what was true at `moment`, or the oldest quote that is still known."""
        for quote in reversed(self._quotes):
            if quote.time <= moment:
                return quote
        return self._quotes[0]

    def prices_since(self, moment: float) -> list[Decimal]:
        """Returns every spot price that was in force at `moment` or later, the present one last."""
        first = max(0, bisect_right(self._prices, moment, key=lambda entry: entry[0]) - 1)
        return [price for _, price in self._prices[first:]]

    def category(self, moment: float, is_spot: bool) -> str:
        """Returns the vendor's StatusCategory of the quote at `moment`.

        Its thresholds are not published; these are ours.
        """
        if self.pinned and is_spot:
            return self.pinned
        stock = self.quote(moment).stock if is_spot else self.on_demand_stock
        return (
            "EnoughStock" if stock >= 20 else "NormalStock" if stock >= 5 else "UnderStock" if stock else "WithoutStock"
        )

    def cost(self, start: float, end: float, is_spot: bool, steps: tuple[Decimal, Decimal] = FLAT) -> Decimal:
        """Returns dollars for one instance from `start` to `end` (world seconds), at the prices in force, not at the
        bid. On demand the price falls by `steps` after 96 and 360 hours.
        """
        if not is_spot:
            return self.list_price * stepped(Decimal(str(end - start)), steps) / HOUR
        first = max(0, bisect_right(self._prices, start, key=lambda entry: entry[0]) - 1)
        total = Decimal(0)
        for index in range(first, len(self._prices)):
            begin, price = self._prices[index]
            until = self._prices[index + 1][0] if index + 1 < len(self._prices) else end
            seconds = min(until, end) - max(begin, start)
            if seconds > 0:
                total += price * Decimal(str(seconds)) / HOUR
        return total

    def _remember(self, now: float) -> None:
        self._quotes.append(Quote(now, self.stock, self.price))
        while len(self._quotes) > 1 and self._quotes[1].time <= now - QUOTE_MEMORY_SECONDS:
            self._quotes.popleft()


def stepped(seconds: Decimal, steps: tuple[Decimal, Decimal]) -> Decimal:
    """Returns how many seconds of the first price are paid for `seconds`."""
    second, third = (max(Decimal(0), seconds - start) for start in STEP_SECONDS)
    return seconds - second + (second - third) * steps[0] + third * steps[1]
