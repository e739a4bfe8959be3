"""Computes what the instances cost now, what they have cost so far, and what spot has saved.

Apart from `status`, because money is computed and not only shown: what was spent goes on from the ledger's sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

from spotcompute.api.status import CostStatus
from spotcompute.api.times import to_text
from spotcompute.model.ledger import Ledger, Member, Spending
from spotcompute.model.offering import Market
from spotcompute.plan.budget import price_of
from spotcompute.plan.capacity import occupying

_HOUR = timedelta(hours=1)


def with_spending(ledger: Ledger, market: Market, now: datetime) -> Ledger:
    """Returns the ledger with what was spent summed up, if an hour costs something else from now on.

    It is summed up only then, so that nothing is written while nothing changes. While a price is not known, the last
    sum per hour goes on.
    """
    before, members = ledger.spending, occupying(ledger)
    per_hour = _per_hour(members, market)
    if per_hour is None:
        return ledger
    saved = _saved_per_hour(members, market, per_hour)
    if before is None or _is_being_found_again(ledger, per_hour):
        return _begun(ledger, market, now, per_hour, saved or Decimal(0))
    saved = before.saved_per_hour if saved is None else saved
    if before.until > now + _HOUR:
        # No clock is set back that far: status was edited. Count from now on. Otherwise nothing would count for years.
        return replace(ledger, spending=replace(before, per_hour=per_hour, saved_per_hour=saved, until=now))
    if (per_hour, saved) == (before.per_hour, before.saved_per_hour):
        return ledger
    return replace(ledger, spending=replace(_until(before, now), per_hour=per_hour, saved_per_hour=saved))


def _is_being_found_again(ledger: Ledger, per_hour: Decimal) -> bool:
    """True when an instance has shown up after the ledger was lost, while others may still do so."""
    before = ledger.spending
    is_rebuilt = before is not None and before.lost_at is not None and ledger.quarantine_until is not None
    return is_rebuilt and before is not None and per_hour > before.per_hour


def _begun(ledger: Ledger, market: Market, now: datetime, per_hour: Decimal, saved: Decimal) -> Ledger:
    """Returns the ledger with a sum that begins now.

    After a loss of the ledger it holds what the instances that still exist have cost since their launch, at the prices
    of now. What had ended before is known no more, and status says so, even when nothing exists any more.
    """
    if ledger.quarantine_until is None:
        begun = Spending(Decimal(0), per_hour, now, saved_per_hour=saved)
        return replace(ledger, spending=begun) if per_hour else ledger
    total = spared = Decimal(0)
    for member in occupying(ledger):
        cost = _per_hour([member], market) or Decimal(0)
        hours = _hours(now - min(member.launched_at, now))
        total += cost * hours
        spared += (_saved_per_hour([member], market, cost) or Decimal(0)) * hours
    lost_at = ledger.spending.lost_at if ledger.spending else now
    return replace(ledger, spending=Spending(_rounded(total), per_hour, now, _rounded(spared), saved, lost_at))


def summed_up(ledger: Ledger, now: datetime) -> Ledger:
    """Returns the ledger with what was spent until now, for a status that is written anyway."""
    return replace(ledger, spending=_until(ledger.spending, now)) if ledger.spending else ledger


def _until(spending: Spending, now: datetime) -> Spending:
    if now <= spending.until:
        return spending
    hours = _hours(now - spending.until)
    total = _rounded(spending.total + spending.per_hour * hours)
    saved = _rounded(spending.saved + spending.saved_per_hour * hours)
    return replace(spending, total=total, saved=saved, until=now)


def _hours(duration: timedelta) -> Decimal:
    """Returns a duration in hours. Whole microseconds: a float of hours would not add up the same way twice."""
    return Decimal(duration // timedelta(microseconds=1)) / Decimal(_HOUR // timedelta(microseconds=1))


def _rounded(amount: Decimal) -> Decimal:
    return min(amount, _MOST).quantize(_FINEST, ROUND_HALF_UP)


_FINEST = Decimal("0.0000000001")

#: A higher sum is not believed when it is read back.
_MOST = Decimal(10**12 - 1)


def cost_status(ledger: Ledger, market: Market, currency: str) -> dict[str, Any] | None:
    """Returns `status.cost`. Returns None while nothing was spent and no price is known."""
    members, spending = occupying(ledger), ledger.spending
    spot = _per_hour(members, market)
    if spending is None and (spot is None or not members):
        return None
    full = _sum([market.list_price(member.pool) for member in members])
    extras = _sum([market.extra_of(member.pool) for member in members])
    full = None if full is None else full + (extras or 0)
    return CostStatus(
        per_hour=money(_last_known(spot, spending)),
        extras_per_hour=optional_money(extras),
        on_demand_per_hour=optional_money(full),
        saved_percent=_saved_percent(spot, full),
        currency=currency,
        **_so_far(spending),
    ).to_json()


def _so_far(spending: Spending | None) -> dict[str, str | None]:
    """Returns the part of `status.cost` that is past. Nothing while nothing was spent."""
    if spending is None:
        return {}
    return {
        "accrued": money(spending.total),
        "saved": money(spending.saved),
        "incomplete_since": to_text(spending.lost_at) if spending.lost_at else None,
        "accrued_at": to_text(spending.until),
    }


def _last_known(per_hour: Decimal | None, spending: Spending | None) -> Decimal:
    """Returns the cost per hour now, or the one last written when a price is not known now."""
    if per_hour is not None:
        return per_hour
    return spending.per_hour if spending else Decimal(0)


def _saved_percent(per_hour: Decimal | None, on_demand_per_hour: Decimal | None) -> int | None:
    if per_hour is None or not on_demand_per_hour:
        return None
    return int((1 - per_hour / on_demand_per_hour) * 100)


def _saved_per_hour(members: Sequence[Member], market: Market, per_hour: Decimal) -> Decimal | None:
    """Returns by how much members cost less per hour than on demand. Returns None when a list price is not known."""
    full = _sum([market.list_price(member.pool) for member in members])
    extras = _sum([market.extra_of(member.pool) for member in members])
    return None if full is None else max(Decimal(0), full + (extras or 0) - per_hour)


def _per_hour(members: Sequence[Member], market: Market) -> Decimal | None:
    """Returns what all members cost per hour: with disks and bandwidth if the price of all of them is known."""
    machines = _sum([price_of(member.pool, member.on_demand, market) for member in members])
    extras = _sum([market.extra_of(member.pool) for member in members])
    return None if machines is None else machines + (extras or 0)


def _sum(prices: Sequence[Decimal | None]) -> Decimal | None:
    """Returns the sum. Returns None when one of the prices is not known."""
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) if len(known) == len(prices) else None


@lru_cache(4096)
def money(amount: Decimal) -> str:
    """Returns an amount with at most six decimals, no exponent and no trailing zeros: `0.0923`."""
    text = format(amount.quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP), "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def optional_money(amount: Decimal | None) -> str | None:
    """Returns the text of an amount as `money` does, None for None."""
    return None if amount is None else money(amount)
