"""Prints a quote as a table for people.

Apart from `report.quote`, which writes the same for programs and for `status.quote`: here only width and words count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from spotcompute.plan.field_errors import Findings
from spotcompute.plan.quote import Line, Lot, Quote
from spotcompute.report.cost import money
from spotcompute.report.quote import MONTH_HOURS, is_launchable, let_through


def quote_table(quote: Quote, findings: Findings, currency: str) -> str:
    """Returns every pool, what would be chosen, its cost, and what is wrong. The text ends with a newline."""
    had = let_through(quote, {refusal.pool for refusal in findings.refusals})
    return "\n".join([*_pools(quote, currency), *_choice(had, currency), *_found(quote, findings)]) + "\n"


def _pools(quote: Quote, currency: str) -> Iterator[str]:
    if quote.unmet:
        yield f"No pool: {quote.unmet}"
        return
    head = ("POOL", "SCORE", "STOCK", "SPOT/H", "ON-DEMAND/H", "BID/H", "ASKED", "")
    yield from _table([head, *(_row(line) for line in quote.lines)])
    yield f"Prices in {currency} per instance and hour, without disks and traffic."
    yield ""


def _row(line: Line) -> tuple[str, ...]:
    return (
        str(line.pool),
        f"{line.score:.2f}",
        str(line.stock),
        _price(line.price),
        _price(line.list_price),
        _price(line.bid) if line.bid is not None else "market",
        "yes" if line.is_asked else "no",
        line.why or "",
    )


def _choice(quote: Quote, currency: str) -> Iterator[str]:
    yield f"{quote.chosen} of {quote.missing} instances would be launched:"
    yield from _table([("COUNT", "POOL", "SPOT/H", "BID/H"), *(_lot_row(lot) for lot in quote.lots)])
    if not quote.lots or quote.per_hour is None:
        yield "  none" if not quote.lots else "  The cost is unknown, because a price is not quoted"
        return
    full, saved = quote.on_demand_per_hour, quote.saved_percent
    compared = f"; on demand {money(full)}, so {saved}% less" if full and saved is not None else ""
    yield f"  {money(quote.per_hour)} {currency} per hour{compared}"
    if quote.extras_per_hour is None:
        yield "  without disks and bandwidth, because their price is unknown"
    elif quote.extras_per_hour:
        extras = money(quote.extras_per_hour)
        yield f"  of that {extras} for disks and bandwidth; traffic by the gigabyte is not included"
    month = (quote.per_hour * MONTH_HOURS).quantize(Decimal("0.01"))
    yield f"  {month} {currency} in a month of {MONTH_HOURS} h"


def _lot_row(lot: Lot) -> tuple[str, ...]:
    return str(lot.count), str(lot.pool), _price(lot.price), _price(lot.bid) if lot.bid is not None else "market"


def _found(quote: Quote, findings: Findings) -> Iterator[str]:
    if findings.refusals:
        yield "\nThe cloud would refuse now. The operator would ask for fewer, or ask another pool:"
        yield from (f"  {one.count} x {one.pool}: {one.code}: {one.message}" for one in findings.refusals)
    if findings.field_errors:
        yield "\nTo be corrected first:"
        yield from (
            f"  {field_error.field or '(no field)'}: {field_error.code}: {field_error.message}"
            for field_error in findings.field_errors
        )
    if findings.may_be_more:
        yield "  There may be more errors: correct these, and ask again."
    if findings.unchecked is not None:
        yield f"\nNot checked: {findings.unchecked}"
    yield from _verdict(quote, findings)


def _verdict(quote: Quote, findings: Findings) -> Iterator[str]:
    if is_launchable(quote, findings) and quote.missing:
        yield "\nThe cloud would accept it."
    elif findings == Findings() and quote.chosen < quote.missing and not quote.unmet:
        yield "\nThe spec is right, but the market has too little now. The operator would ask again and again."


def _price(price: Decimal | None) -> str:
    return "-" if price is None else money(price)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
