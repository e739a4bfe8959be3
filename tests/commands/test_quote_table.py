"""The table of a quote says in words what cannot be read from its numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from plan.given import A, B
from spotcompute.commands.quote_table import quote_table
from spotcompute.model.ledger import Trouble
from spotcompute.plan.field_errors import DryRunRefusal, FieldError, Findings
from spotcompute.plan.quote import Lot, Quote


def lot(price: str | None) -> Lot:
    return Lot(A, 2, Decimal(price) if price else None, Decimal("0.1"), Decimal("0.05"))


QUOTE = Quote(2, (), (lot("0.02"),))
FIELD_ERROR = FieldError("spec.template.imageId", "InvalidImageId.NotFound", "no such image")
REFUSAL = DryRunRefusal(B, 2, Trouble.QUOTA_EXCEEDED, "LimitExceeded.UserSpotQuota", "too many")


@pytest.mark.parametrize(
    ("quote", "findings", "sentence"),
    [
        pytest.param(QUOTE, Findings(), "The cloud would accept it.", id="accepted"),
        pytest.param(Quote(3, (), (lot("0.02"),)), Findings(), "the market has too little now", id="too-few"),
        pytest.param(
            QUOTE, Findings((FIELD_ERROR,)), "spec.template.imageId: InvalidImageId.NotFound", id="a-field-error"
        ),
        pytest.param(QUOTE, Findings((FieldError(None, "X", "y"),)), "\n    X: y", id="an-error-of-no-field"),
        pytest.param(QUOTE, Findings(refusals=(REFUSAL,)), "LimitExceeded.UserSpotQuota: too many", id="a-refusal"),
        pytest.param(QUOTE, Findings((FIELD_ERROR,), may_be_more=True), "There may be more", id="more"),
        pytest.param(QUOTE, Findings(unchecked="no route"), "Not now: no route.", id="unchecked"),
        pytest.param(Quote(2, (), (lot(None),)), Findings(), "The sum is not known", id="no-price"),
        pytest.param(Quote(2, (), (), "no type fits"), Findings(), "Wrong: no type fits.", id="no-pool"),
    ],
)
def test_the_table_says_it(quote: Quote, findings: Findings, sentence: str) -> None:
    table = quote_table(quote, findings, "CNY")
    assert sentence in table
    assert table.endswith("\n")


def test_the_table_counts_no_instance_that_the_cloud_would_refuse() -> None:
    refused = DryRunRefusal(A, 2, Trouble.QUOTA_EXCEEDED, "LimitExceeded.UserSpotQuota", "too many")
    table = quote_table(QUOTE, Findings(refusals=(refused,)), "USD")
    assert "Not now: 0 of 2 instances, the cloud would refuse the rest" in table
    assert "2 of 2" not in table
    assert "would refuse now" in table


@pytest.mark.parametrize(
    "findings",
    [
        pytest.param(Findings((FIELD_ERROR,)), id="a-field-error"),
        pytest.param(Findings(refusals=(REFUSAL,)), id="a-refusal"),
        pytest.param(Findings(may_be_more=True), id="more"),
        pytest.param(Findings(unchecked="no route"), id="unchecked"),
    ],
)
def test_the_table_promises_nothing_while_something_is_wrong(findings: Findings) -> None:
    assert "The cloud would accept it." not in quote_table(QUOTE, findings, "CNY")


@pytest.mark.parametrize(
    ("findings", "sentence"),
    [
        pytest.param((FIELD_ERROR,), "Wrong: 1 error to be corrected", id="one"),
        pytest.param((FIELD_ERROR, FieldError(None, "X", "y")), "Wrong: 2 errors to be corrected", id="two"),
    ],
)
def test_what_would_be_bought_stands_under_a_condition_while_something_is_wrong(
    findings: tuple[FieldError, ...], sentence: str
) -> None:
    table = quote_table(QUOTE, Findings(findings), "CNY")
    assert sentence in table
    assert "Once that is corrected, this would be bought:" in table
    assert "had now" not in table


def test_nothing_missing_is_no_riddle() -> None:
    assert "Nothing is missing" in quote_table(Quote(0, (), ()), Findings(), "CNY")
    assert "1 of 1 instance." in quote_table(Quote(1, (), (Lot(A, 1, None, None, None),)), Findings(), "CNY")
