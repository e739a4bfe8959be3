"""Writes a quote as `status.quote`, and as JSON for programs. The table for people is in `commands.quote_table`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from spotcompute.api.status import FieldErrorStatus, LotStatus, QuoteStatus, RefusalStatus
from spotcompute.model.offering import Pool
from spotcompute.plan.field_errors import DryRunRefusal, FieldError, Findings
from spotcompute.plan.quote import Line, Lot, Quote
from spotcompute.report.conclusion import Conclusion
from spotcompute.report.cost import money, optional_money

#: Hours of a month, as clouds count them.
MONTH_HOURS = 730

#: What `status.quote` keeps of the last dry runs while the generation stays.
_OF_THE_CHECK = ("checkedGeneration", "errors", "moreErrors", "refusals")


def quoted(quote: Quote, findings: Findings, generation: int, currency: str) -> dict[str, Any]:
    """Returns `status.quote` after the cloud was asked about `generation`, or could not be asked."""
    return _written(
        quote, let_through(quote, {refusal.pool for refusal in findings.refusals}), findings, generation, currency
    )


def let_through(quote: Quote, refused: Collection[Pool]) -> Quote:
    """Returns the quote without the lots that a dry run refused: they would not be had now."""
    return replace(quote, lots=tuple(lot for lot in quote.lots if lot.pool not in refused))


def _written(quote: Quote, had: Quote, findings: Findings, generation: int, currency: str) -> dict[str, Any]:
    """Writes which pools would be asked (`quote`), and how many instances would be had and at what cost (`had`)."""
    return QuoteStatus(
        checked_generation=generation if findings.unchecked is None else None,
        missing=quote.missing,
        chosen=had.chosen,
        per_hour=optional_money(had.per_hour),
        extras_per_hour=optional_money(had.extras_per_hour) if had.lots else None,
        on_demand_per_hour=optional_money(had.on_demand_per_hour),
        saved_percent=had.saved_percent,
        currency=currency,
        pools=[_lot(lot) for lot in quote.lots] or None,
        errors=[_field_error(field_error) for field_error in findings.field_errors] or None,
        more_errors=findings.may_be_more or None,
        refusals=[_refusal(refusal) for refusal in findings.refusals] or None,
        unchecked=findings.unchecked,
    ).to_json()


def requoted(quote: Quote, previous: Mapping[str, Any], currency: str) -> dict[str, Any]:
    """Returns `status.quote` at the present prices, with what `previous` says of the dry runs."""
    kept = {key: previous[key] for key in _OF_THE_CHECK if key in previous}
    refused = {Pool(one["zone"], one["instanceType"]) for one in previous.get("refusals") or ()}
    return {**_written(quote, let_through(quote, refused), Findings(), -1, currency), **kept}


def with_first_error(conclusion: Conclusion, quote: Mapping[str, Any] | None) -> Conclusion:
    """Returns the conclusion with the first field to be corrected before the pause ends."""
    errors = (quote or {}).get("errors") or ()
    if not errors:
        return conclusion
    first = errors[0]
    where = f"{first['field']}: " if first.get("field") else ""
    more = f", and {len(errors) - 1} more in status.quote.errors" if len(errors) > 1 else ""
    text = f"{conclusion.message}. To be corrected first: {where}{first['code']}: {first['message']}{more}"
    return replace(conclusion, message=text)


def _lot(lot: Lot) -> LotStatus:
    return LotStatus(
        zone=lot.pool.zone,
        instance_type=lot.pool.instance_type,
        count=lot.count,
        price_per_hour=optional_money(lot.price),
        bid=optional_money(lot.bid),
    )


def _field_error(field_error: FieldError) -> FieldErrorStatus:
    return FieldErrorStatus(field=field_error.field, code=field_error.code, message=field_error.message)


def _refusal(refusal: DryRunRefusal) -> RefusalStatus:
    return RefusalStatus(
        zone=refusal.pool.zone,
        instance_type=refusal.pool.instance_type,
        count=refusal.count,
        reason=str(refusal.trouble),
        code=refusal.code,
        message=refusal.message,
    )


# --- for the command line --------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """`Verdict` is the one answer of a quote."""

    HAD = "Had"  # all that is missing would be had now
    NOT_NOW = "NotNow"  # the market, the account or the cloud stands in the way, and may not do so later
    WRONG = "Wrong"  # a person must correct something first


def verdict_of(quote: Quote, findings: Findings) -> Verdict:
    """Returns the one answer, as far as it can be known."""
    if findings.field_errors or findings.may_be_more or (quote.unmet and findings.unchecked is None):
        return Verdict.WRONG
    if findings.refusals or findings.unchecked is not None or quote.chosen < quote.missing:
        return Verdict.NOT_NOW
    return Verdict.HAD


def to_json(quote: Quote, findings: Findings, currency: str) -> dict[str, Any]:
    """Returns a quote for programs: `status.quote` without a generation, every pool, and the cost of a month."""
    whole = quoted(quote, findings, -1, currency)
    whole.pop("checkedGeneration", None)
    had = let_through(quote, {refusal.pool for refusal in findings.refusals})
    per_month = None if had.per_hour is None else money(had.per_hour * MONTH_HOURS)
    verdict = verdict_of(quote, findings)
    return {
        "verdict": str(verdict),
        "launchable": verdict is Verdict.HAD,
        **{key: value for key, value in whole.items() if key != "pools"},
        **({"perMonth": per_month} if per_month is not None else {}),
        **({"note": quote.unmet} if quote.unmet else {}),
        "choice": whole.get("pools", []),
        "errors": whole.get("errors", []),
        "pools": [_line(line) for line in quote.lines],
    }


def _line(line: Line) -> dict[str, Any]:
    shown = {
        "zone": line.pool.zone,
        "instanceType": line.pool.instance_type,
        "score": f"{line.score:.2f}",
        "stock": str(line.stock),
        "pricePerHour": optional_money(line.price),
        "onDemandPricePerHour": optional_money(line.list_price),
        "bid": optional_money(line.bid),
        "asked": line.is_asked,
        "why": line.why,
    }
    return {key: value for key, value in shown.items() if value is not None}
