"""The quote chooses what the planner would choose, and says why a pool is not asked or not counted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from plan.given import POLICY, A, B, C, backoff_of, desired_of, ledger_of, market_of, member, observed_of, situation_of
from spotcompute.model.desired import AllocationStrategy, Caps, Desired, Gang, ZonePolicy
from spotcompute.model.ledger import Ledger
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.quote import Quote, make_quote

MARKET = market_of({A: "0.02", B: "0.03", C: "0.04"})


def quote(desired: Desired, ledger: Ledger | None = None, market: Market = MARKET) -> Quote:
    return make_quote(situation_of(desired, ledger, observed_of(market=market)))


def lots(found: Quote) -> dict[Pool, int]:
    return {lot.pool: lot.count for lot in found.lots}


CHEAP = {"strategy": AllocationStrategy.LOWEST_PRICE}
EVEN = {"zone_policy": ZonePolicy.BALANCED}


@pytest.mark.parametrize(
    ("replicas", "other", "expected"),
    [
        pytest.param(9, {}, {A: 9}, id="all-in-the-first"),
        pytest.param(0, {}, {}, id="nothing-wanted"),
        pytest.param(9, {"paused": True}, {A: 9}, id="a-pause-is-no-obstacle"),
        pytest.param(9, {"pools": (C, B, A), **CHEAP}, {A: 9}, id="the-cheapest"),
        pytest.param(9, {"share": 40}, {A: 4, B: 4, C: 1}, id="shares"),
        pytest.param(9, {"share": 60}, {A: 6, B: 3}, id="shares-of-two"),
        pytest.param(9, EVEN, {A: 3, B: 3, C: 3}, id="zones-evenly"),
        pytest.param(250, {}, {A: 250}, id="more-than-one-call-takes"),
        pytest.param(9, {"caps": Caps(in_total=Decimal("0.05"))}, {A: 2}, id="limit-of-the-whole"),
        pytest.param(9, {"caps": Caps(in_total=Decimal("0.01"))}, {}, id="limit-below-any-price"),
        pytest.param(9, {"caps": Caps(Decimal("0.01"))}, {}, id="bid-below-every-price"),
        pytest.param(9, {"pools": (C, A), "caps": Caps(Decimal("0.03"))}, {A: 9}, id="bid-below-one-price"),
        pytest.param(9, {"gang": Gang(4, POLICY.blocked_recheck)}, {A: 9}, id="a-gang"),
        pytest.param(9, {"one_time": True}, {A: 9}, id="one-time"),
        pytest.param(3, {"gang": Gang(4, POLICY.blocked_recheck)}, {}, id="a-gang-that-cannot-be"),
    ],
)
def test_what_would_be_chosen(replicas: int, other: dict[str, Any], expected: Mapping[Pool, int]) -> None:
    found = quote(desired_of(replicas, **other))
    assert lots(found) == expected
    assert (found.missing, found.chosen) == (replicas, sum(expected.values()))


@pytest.mark.parametrize("policy", list(ZonePolicy))
def test_thousands_are_chosen_soon(policy: ZonePolicy) -> None:
    pools = [Pool(zone, f"S5.X{number}") for zone in ("ap-guangzhou-3", "ap-guangzhou-4") for number in range(30)]
    pools = pools[29:]  # one in the first zone, thirty in the other
    found = quote(desired_of(2000, pools, share=30, zone_policy=policy), market=market_of(dict.fromkeys(pools, "0.02")))
    assert found.chosen == 2000
    assert max(lots(found).values()) <= 600


def test_only_what_is_missing_is_quoted_and_what_is_there_counts_for_shares() -> None:
    ledger = ledger_of(member("ins-1", pool=A), member("ins-2", pool=A))
    found = quote(desired_of(6, share=50), ledger)
    assert (found.missing, lots(found)) == (4, {A: 1, B: 3})


def test_rests_end_with_a_pause_so_they_do_not_count() -> None:
    assert lots(quote(desired_of(2), ledger_of(backoff_of(A), backoff_of(None)))) == {A: 2}


def test_the_costs_are_of_what_is_chosen() -> None:
    found = quote(desired_of(9, share=60))
    assert found.per_hour == Decimal("0.21")
    assert found.on_demand_per_hour == Decimal("2.1")
    assert found.saved_percent == 90


def test_a_price_nobody_quotes_makes_the_sum_unknown() -> None:
    found = quote(desired_of(2), market=market_of({A: None}))
    assert (lots(found), found.per_hour, found.saved_percent) == ({A: 2}, None, None)


def test_without_any_quotes_it_chooses_and_knows_no_price() -> None:
    found = quote(desired_of(2), market=Market())
    assert (lots(found), found.per_hour) == ({A: 2}, None)
    assert all(line.why is None for line in found.lines)


@pytest.mark.parametrize(
    ("desired", "market", "is_asked", "why"),
    [
        pytest.param(desired_of(1, [A]), MARKET, True, None, id="fine"),
        pytest.param(desired_of(1, [A]), market_of({A: "0.02"}, [A]), True, "sold out", id="sold-out"),
        pytest.param(desired_of(1, [A]), market_of({B: "0.02"}), True, "not sold as spot there", id="not-sold"),
        pytest.param(desired_of(1, [A], caps=Caps(Decimal("0.01"))), MARKET, True, "above the bid", id="dear"),
        pytest.param(
            desired_of(1, [A], caps=Caps(in_total=Decimal("0.01"))), MARKET, False, "OverBudget", id="over-budget"
        ),
        pytest.param(
            desired_of(1, [A], caps=Caps(percent_of_on_demand=50)),
            market_of({A: None}),
            False,
            "MarketUnreadable",
            id="no-price-to-take-a-part-of",
        ),
    ],
)
def test_every_pool_says_why(desired: Desired, market: Market, is_asked: bool, why: str | None) -> None:
    (line,) = quote(desired, market=market).lines
    assert line.is_asked is is_asked
    assert (line.why is None) if why is None else why in (line.why or "")


def test_without_pools_it_says_why() -> None:
    assert (
        quote(replace(desired_of(1, []), unmet="the quotes are not known yet")).unmet == "the quotes are not known yet"
    )
    assert quote(desired_of(1, [])).unmet


def test_a_line_shows_what_spot_and_on_demand_cost() -> None:
    (line,) = quote(desired_of(1, [A])).lines
    assert (line.price, line.list_price) == (Decimal("0.02"), Decimal("0.20"))
