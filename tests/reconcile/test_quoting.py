"""A quote is made only while a pause keeps back what it would buy."""

from __future__ import annotations

from typing import Any, cast

import pytest

from plan.given import A, desired_of, ledger_of, market_of, member, observed_of, situation_of
from spotcompute.model.desired import Desired
from spotcompute.reconcile.quoting import quote_while_paused
from spotcompute.reconcile.target import Target

CHECKED: dict[str, Any] = {"checkedGeneration": 1}


@pytest.mark.parametrize(
    ("desired", "is_quoted"),
    [
        pytest.param(desired_of(2, [A], paused=True), True, id="paused-and-one-is-missing"),
        pytest.param(desired_of(2, [A]), False, id="it-buys-anyway"),
        pytest.param(desired_of(1, [A], paused=True), False, id="nothing-is-missing"),
        pytest.param(desired_of(2, [A], paused=True, deleting=True), False, id="it-ends"),
    ],
)
async def test_when_there_is_a_quote(desired: Desired, is_quoted: bool) -> None:
    situation = situation_of(desired, ledger_of(member("ins-1")), observed_of(market=market_of({A: "0.1"})))
    quote = await quote_while_paused(cast(Target, None), situation, CHECKED, "USD")
    assert (quote is not None) is is_quoted


async def test_what_was_found_wrong_in_this_generation_is_not_asked_again_and_prices_are_new() -> None:
    situation = situation_of(desired_of(2, [A], paused=True), observed=observed_of(market=market_of({A: "0.1"})))
    before = CHECKED | {"errors": [{"field": "spec.template.imageId", "code": "X", "message": "wrong"}]}
    quote = await quote_while_paused(cast(Target, None), situation, before, "USD")
    assert quote is not None
    assert (quote["errors"], quote["checkedGeneration"]) == (before["errors"], 1)
    assert (quote["chosen"], quote["perHour"], quote["currency"]) == (2, "0.2", "USD")
