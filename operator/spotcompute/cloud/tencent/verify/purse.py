"""Keeps a verification within its budget: what is spent, what is promised, and whether one more instance fits.

Apart from the requests, because it is pure. It counts the bid and not the price, from the request on, so that a bill is
never higher than what was counted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

HOUR = Decimal(3600)


@dataclass(slots=True)
class Item:
    """`Item` is one instance that is paid: its price per hour, since when, for how long it was promised, its end."""

    per_hour: Decimal
    since: float
    promised: float
    until: float | None = None

    def cost(self, now: float, *, is_promise: bool) -> Decimal:
        """Returns its cost up to `now`, or up to the end that was promised when that is later."""
        end = now if self.until is None else self.until
        if is_promise and self.until is None:
            end = max(end, self.since + self.promised)
        return self.per_hour * Decimal(str(max(0.0, end - self.since))) / HOUR


class Purse:
    """`Purse` is the budget of a verification, in the currency of the quotes."""

    def __init__(self, limit: Decimal) -> None:
        """Takes the most that may be spent."""
        self.limit = limit
        self._items: dict[str, Item] = {}

    def spent(self, now: float) -> Decimal:
        """Returns what has been spent until `now`, at most."""
        return sum((one.cost(now, is_promise=False) for one in self._items.values()), Decimal(0))

    def fits(self, per_hour: Decimal, seconds: float, now: float) -> bool:
        """True when an instance at `per_hour` may live for `seconds`, besides everything that was promised."""
        promised = sum((one.cost(now, is_promise=True) for one in self._items.values()), Decimal(0))
        return promised + per_hour * Decimal(str(seconds)) / HOUR <= self.limit

    def open(self, name: str, per_hour: Decimal, seconds: float, now: float) -> None:
        """Begins to count an instance. Nothing changes when it is counted already."""
        self._items.setdefault(name, Item(per_hour, now, seconds))

    def close(self, name: str, now: float) -> None:
        """Ends the count of an instance, because its end was accepted, or because it was never bought."""
        item = self._items.get(name)
        if item is not None and item.until is None:
            item.until = now

    def drop(self, name: str) -> None:
        """Forgets an instance that was refused."""
        self._items.pop(name, None)

    def is_used_up(self, now: float) -> bool:
        """True when everything must end now."""
        return self.spent(now) >= self.limit
