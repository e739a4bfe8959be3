"""How long machines can be expected to stay, judged by what the market has said so far."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from plan.given import NOW, POLICY, A, B, C, desired_of, ledger_of, market_of
from spotcompute.model.desired import AllocationStrategy
from spotcompute.model.market_readings import HALF_LIFE, expected_stay_hours, relative, with_expected_stays
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.allocation import rank, scores

HOUR = timedelta(hours=1)
PRICES: dict[Pool, str | None] = {A: "0.10", B: "0.10", C: "0.11"}


def watched(*readings: tuple[float, list[Pool]], prices: dict[Pool, str | None] = PRICES) -> Market:
    """What is known after readings at so many hours, in each of which some pools were sold out."""
    known = Market()
    for hours, sold_out in readings:
        known = with_expected_stays(replace(market_of(prices, sold_out), observed_at=NOW + hours * HOUR), known)
    return known


def test_nothing_is_known_at_first_and_all_pools_are_alike() -> None:
    assert set(relative([A, B, C], Market()).values()) == {1.0}
    assert len(set(relative([A, B, C], watched((0, []))).values())) == 1


def test_a_pool_that_closes_often_is_expected_to_close_soon() -> None:
    flapping = watched(*[(hour, [A] if hour % 2 else []) for hour in range(48)])
    assert expected_stay_hours(flapping.expected_stays[A]) < 2
    assert expected_stay_hours(flapping.expected_stays[B]) > 40
    assert relative([A, B], flapping)[B] == 1.0


def test_the_longer_a_pool_is_open_the_longer_it_is_expected_to_stay() -> None:
    young = watched((0, []), (10, [A]), (11, []), (12, []))
    old = watched((0, []), (10, [A]), (11, []), (30, []))
    assert expected_stay_hours(old.expected_stays[A]) > expected_stay_hours(young.expected_stays[A])


def test_what_was_long_ago_counts_less() -> None:
    before = watched((0, []), (10, [A]), (11, [])).expected_stays[A]
    late = watched((0, []), (10, [A]), (11, []), (11 + HALF_LIFE / HOUR, [])).expected_stays[A]
    assert late.closings == pytest.approx(before.closings / 2)


def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    back = watched((5, []), (0, [A]), (6, []))
    assert all(expected_stay_hours(one) > 0 for one in back.expected_stays.values())


@pytest.mark.parametrize(
    ("strategy", "first"),
    [
        pytest.param("LowestPrice", A, id="the-price-alone"),
        pytest.param("CapacityOptimized", C, id="the-stay-alone"),
        pytest.param("PriceCapacityOptimized", C, id="a-tenth-more-for-twenty-times-the-stay"),
    ],
)
def test_strategies_weigh_stay_and_price(strategy: str, first: Pool) -> None:
    known = watched(*[(hour, [A, B] if hour % 2 else []) for hour in range(49)])
    desired = desired_of(strategy=AllocationStrategy(strategy))
    assert rank(desired, ledger_of(), known, NOW, POLICY).kept[0].pool == first


def test_a_much_lower_price_beats_a_little_longer_stay() -> None:
    known = watched((0, []), (1, [A]), (2, []), (30, []), prices={A: "0.05", B: "0.10"})
    desired = desired_of(pools=[A, B], strategy=AllocationStrategy.PRICE_CAPACITY_OPTIMIZED)
    assert rank(desired, ledger_of(), known, NOW, POLICY).kept[0].pool == A


@pytest.mark.parametrize("strategy", list(AllocationStrategy))
def test_every_score_is_between_nothing_and_one(strategy: AllocationStrategy) -> None:
    known = watched(*[(hour, [A] if hour % 3 else [B]) for hour in range(20)])
    found = scores(desired_of(strategy=strategy), ledger_of(), known, NOW, POLICY)
    assert all(0 <= score <= 1 for score in found.values())
    assert max(found.values()) > 0
