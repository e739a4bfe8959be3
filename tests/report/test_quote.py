"""A quote in status: what the dry runs said is kept for the generation, what the market says is always of now."""

from __future__ import annotations

from decimal import Decimal

import pytest

from plan.given import NOW, A, B, ledger_of
from spotcompute.api.conditions import Reason
from spotcompute.model.ledger import Trouble
from spotcompute.plan.field_errors import DryRunRefusal, FieldError, Findings
from spotcompute.plan.quote import Lot, Quote
from spotcompute.report.conclusion import Conclusion
from spotcompute.report.quote import Verdict, quoted, requoted, to_json, verdict_of, with_first_error
from spotcompute.report.status import intent_status, problem_status


def lot(price: str | None = "0.02", count: int = 2) -> Lot:
    return Lot(A, count, Decimal(price) if price else None, Decimal("0.1"), Decimal("0.05"))


QUOTE = Quote(2, (), (lot(),))
FIELD_ERROR = FieldError("spec.template.imageId", "InvalidImageId.NotFound", "no such image")
REFUSAL = DryRunRefusal(B, 2, Trouble.QUOTA_EXCEEDED, "LimitExceeded.UserSpotQuota", "too many")


def test_a_price_that_moves_changes_the_quote_and_not_what_was_checked() -> None:
    before = quoted(QUOTE, Findings((FIELD_ERROR,), (REFUSAL,), None, True), 7, "CNY")
    after = requoted(Quote(2, (), (lot("0.03"),)), before, "CNY")
    assert (before["perHour"], after["perHour"]) == ("0.04", "0.06")
    for key in ("checkedGeneration", "errors", "moreErrors", "refusals"):
        assert after[key] == before[key]


def test_the_same_market_gives_the_same_words() -> None:
    before = quoted(QUOTE, Findings((FIELD_ERROR,)), 7, "CNY")
    assert requoted(QUOTE, before, "CNY") == before


def test_what_could_not_be_checked_is_not_called_checked() -> None:
    shown = quoted(QUOTE, Findings(unchecked="ClientNetworkError: no route"), 7, "CNY")
    assert "checkedGeneration" not in shown
    assert shown["unchecked"] == "ClientNetworkError: no route"


PAUSED = Conclusion("Paused", Reason.PAUSED, "0 of 2 instances run")


@pytest.mark.parametrize(
    ("field_errors", "words"),
    [
        pytest.param([], "0 of 2 instances run", id="none"),
        pytest.param([FIELD_ERROR], "spec.template.imageId: InvalidImageId.NotFound: no such image", id="one"),
        pytest.param(
            [FIELD_ERROR, FieldError(None, "X", "y")], "no such image, and 1 more in status.quote.errors", id="two"
        ),
        pytest.param([FieldError(None, "X", "y")], "To be corrected first: X: y", id="without-a-field"),
    ],
)
def test_the_message_names_the_first_error(field_errors: list[FieldError], words: str) -> None:
    quote = quoted(QUOTE, Findings(tuple(field_errors)), 7, "CNY")
    assert with_first_error(PAUSED, quote).message.endswith(words)
    assert with_first_error(PAUSED, quote).phase == "Paused"


def test_without_a_quote_the_message_stays() -> None:
    assert with_first_error(PAUSED, None) == PAUSED


def test_no_quote_stands_beside_a_purchase_or_another_generation() -> None:
    previous = {"quote": {"chosen": 2}, "observedGeneration": 7}
    assert "quote" not in intent_status(previous, ledger_of(), ())
    for generation in (7, 8):
        assert "quote" not in problem_status(previous, PAUSED, None, generation, NOW)


@pytest.mark.parametrize(
    ("quote", "findings", "expected"),
    [
        pytest.param(QUOTE, Findings(), Verdict.HAD, id="all"),
        pytest.param(Quote(0, (), ()), Findings(), Verdict.HAD, id="nothing-missing"),
        pytest.param(Quote(3, (), (lot(),)), Findings(), Verdict.NOT_NOW, id="too-few"),
        pytest.param(QUOTE, Findings((FIELD_ERROR,)), Verdict.WRONG, id="a-field-error"),
        pytest.param(QUOTE, Findings(refusals=(REFUSAL,)), Verdict.NOT_NOW, id="a-refusal"),
        pytest.param(QUOTE, Findings((FIELD_ERROR,), (REFUSAL,)), Verdict.WRONG, id="both"),
        pytest.param(QUOTE, Findings(unchecked="x"), Verdict.NOT_NOW, id="unchecked"),
        pytest.param(QUOTE, Findings(may_be_more=True), Verdict.WRONG, id="more"),
        pytest.param(Quote(2, (), (), "no type fits"), Findings(), Verdict.WRONG, id="no-type"),
        pytest.param(Quote(2, (), (), "not read"), Findings(unchecked="not read"), Verdict.NOT_NOW, id="no-market"),
    ],
)
def test_there_is_one_answer(quote: Quote, findings: Findings, expected: Verdict) -> None:
    assert verdict_of(quote, findings) is expected
    told = to_json(quote, findings, "CNY")
    assert (told["verdict"], told["launchable"]) == (str(expected), expected is Verdict.HAD)


def test_what_a_dry_run_refuses_is_neither_counted_nor_paid_for() -> None:
    refused = DryRunRefusal(A, 2, Trouble.INSUFFICIENT_CAPACITY, "ResourceInsufficient", "sold out")
    other = Lot(B, 1, Decimal("0.03"), Decimal("0.1"), None)
    quote, findings = Quote(3, (), (lot(), other)), Findings(refusals=(refused,))
    first = quoted(quote, findings, 7, "USD")
    assert (first["missing"], first["chosen"], first["perHour"]) == (3, 1, "0.03")
    assert [one["count"] for one in first["pools"]] == [2, 1]
    assert requoted(quote, first, "USD") == first
    assert to_json(quote, findings, "USD")["perMonth"] == "21.9"


def test_an_unknown_price_is_left_out() -> None:
    assert "perHour" not in to_json(Quote(2, (), (lot(None),)), Findings(), "CNY")
