"""What an environment says whose bid was refused: both prices, and none that contradicts the refusal."""

from __future__ import annotations

from decimal import Decimal

import pytest

from plan.given import A, backoff_of, desired_of, ledger_of, market_of, observed_of, situation_of
from spotcompute.model.desired import Caps
from spotcompute.model.ledger import Trouble
from spotcompute.report.conclusion import conclude


def message(quote: str | None, bid: str | None) -> str:
    desired = desired_of(1, [A], caps=Caps(Decimal(bid) if bid else None))
    refused = ledger_of(backoff_of(A, Trouble.PRICE_TOO_LOW, code="InsufficientPrice", message="too low"))
    return conclude(situation_of(desired, refused, observed_of(market=market_of({A: quote})))).message


def test_both_prices_are_named() -> None:
    assert "the market asks 0.0950 per hour, maxPrice is 0.0500" in message("0.0950", "0.0500")


@pytest.mark.parametrize("quote", [None, "0.0226", "0.0500"], ids=["no quote", "older quote", "quote equal to the bid"])
def test_a_quote_that_would_deny_the_refusal_is_left_out(quote: str | None) -> None:
    text = message(quote, "0.0500")
    assert "maxPrice is 0.0500" in text
    assert "the market asks" not in text


def test_without_a_bid_the_clouds_words_stand_alone() -> None:
    text = message("0.0226", None)
    assert "InsufficientPrice" in text
    assert "maxPrice" not in text
