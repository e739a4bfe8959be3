"""Prints a quote as tables for people: one answer, then what speaks for it, item by item.

Apart from `report.quote`, which writes the same for programs and for `status.quote`: here only width and words count.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from spotcompute.commands.table import table
from spotcompute.plan.field_errors import Findings
from spotcompute.plan.quote import Line, Lot, Quote
from spotcompute.report.cost import money
from spotcompute.report.quote import MONTH_HOURS, Verdict, let_through, verdict_of


def quote_table(quote: Quote, findings: Findings, currency: str) -> str:
    """Returns the answer, every pool, what would be bought item by item, and what is wrong. It ends with a newline."""
    had = let_through(quote, {refusal.pool for refusal in findings.refusals})
    verdict = verdict_of(quote, findings)
    parts = [
        [f"  {_answer(verdict, had, findings)}"],
        list(_pools(quote, currency)),
        list(_bill(had, verdict, currency)),
        list(_found(findings)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _answer(verdict: Verdict, had: Quote, findings: Findings) -> str:
    """Returns the one sentence that everything below explains. It names a number only where that number is true."""
    instances = "vCPU" if had.in_vcpu else "instance" if had.missing == 1 else "instances"
    if verdict is Verdict.HAD:
        if not had.missing:
            return "Nothing is missing, so nothing would be bought."
        return f"Would be had now: {had.chosen} of {had.missing} {instances}. The cloud would accept it."
    if verdict is Verdict.WRONG:
        count = len(findings.field_errors)
        if not count:
            return f"Wrong: {had.unmet or 'the cloud refuses it'}. Correct the spec, and nothing is bought before."
        least = "at least " if findings.may_be_more else ""
        return f"Wrong: {least}{count} {'error' if count == 1 else 'errors'} to be corrected before anything is bought."
    if findings.unchecked is not None:
        return f"Not now: {findings.unchecked.rstrip('.')}."
    why = "the cloud would refuse the rest" if findings.refusals else "the market has too little now"
    return f"Not now: {had.chosen} of {had.missing} {instances}, {why}. The operator would ask again and again."


def _pools(quote: Quote, currency: str) -> Iterator[str]:
    if not quote.lines:
        return
    head = ("POOL", "SCORE", "STOCK", "SPOT/H", "ON-DEMAND/H", "BID/H", "ASKED", "")
    yield from table([head, *(_row(line) for line in quote.lines)])
    yield f"  Prices in {currency} per instance and hour, without disks and traffic."


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


def _bill(had: Quote, verdict: Verdict, currency: str) -> Iterator[str]:
    """Yields what is paid for, as a purchase page lists it: instances, then their disks, then the sum."""
    if not had.lots:
        return
    yield "  Once that is corrected, this would be bought:" if verdict is Verdict.WRONG else "  What would be bought:"
    rows = [("COUNT", "ITEM", "EACH/H", "TOGETHER/H", "")]
    for lot in had.lots:
        bid = "bid: the market's price" if lot.bid is None else f"bid: {_price(lot.bid)}"
        rows.append((str(lot.count), str(lot.pool), _price(lot.price), _price(_times(lot.price, lot)), bid))
        if lot.extra:
            rows.append((str(lot.count), "disks and bandwidth", _price(lot.extra), _price(_times(lot.extra, lot)), ""))
    rows.append(("", f"together, in {currency}", "", _price(had.per_hour), ""))
    yield from table(rows, indent="    ")
    yield from (f"    {line}" for line in _about_the_sum(had, currency))


def _about_the_sum(had: Quote, currency: str) -> Iterator[str]:
    if had.per_hour is None:
        yield "The sum is not known, because a price is not quoted."
        return
    month = (had.per_hour * MONTH_HOURS).quantize(Decimal("0.01"))
    yield f"{month} {currency} in a month of {MONTH_HOURS} h. Traffic by the gigabyte is not included."
    full, saved = had.on_demand_per_hour, had.saved_percent
    if full and saved is not None:
        yield f"On demand it would be {money(full)} {currency} per hour, so this is {saved}% less."
    if had.extras_per_hour is None:
        yield "Disks and bandwidth are not included, because their price is not known."


def _times(price: Decimal | None, lot: Lot) -> Decimal | None:
    return None if price is None else price * lot.count


def _found(findings: Findings) -> Iterator[str]:
    if findings.field_errors:
        yield "  To be corrected first:"
        yield from (
            f"    {': '.join(filter(None, (field_error.field, field_error.code, field_error.message)))}"
            for field_error in findings.field_errors
        )
    if findings.may_be_more:
        yield "    There may be more errors: correct these, and ask again."
    if findings.refusals:
        yield "  The cloud would refuse now. The operator would ask for fewer, or ask another pool:"
        yield from (f"    {one.count} x {one.pool}: {one.code}: {one.message}" for one in findings.refusals)
    if findings.unchecked is not None and findings.field_errors:  # otherwise it is the answer itself
        yield f"  Not checked: {findings.unchecked}"


def _price(price: Decimal | None) -> str:
    return "-" if price is None else money(price)
