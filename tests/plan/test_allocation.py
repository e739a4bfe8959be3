"""Where: the order of the pools, which of them may be asked now, and for how many."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    C,
    ago,
    backoff_of,
    desired_of,
    intent,
    ledger_of,
    market_of,
    member,
    pool_trust_of,
    released,
    seconds,
)
from plan.worlds import situations
from spotcompute.model.desired import AllocationStrategy, Desired, Gang, ZonePolicy
from spotcompute.model.ledger import Backoff, Ledger, Trouble
from spotcompute.model.offering import Market, Pool, Stock, whole_zone
from spotcompute.plan.actions import Learned
from spotcompute.plan.allocation import Offer, how_many, next_attempt, next_offer, rank, scores
from spotcompute.plan.situation import Situation

CHEAPEST = {"strategy": AllocationStrategy.LOWEST_PRICE}


@pytest.mark.parametrize(
    ("strategy", "prices", "order"),
    [
        pytest.param("Prioritized", {A: "3", B: "2", C: "1"}, [A, B, C], id="prioritized-ignores-prices"),
        pytest.param("LowestPrice", {A: "3", B: "2", C: "1"}, [C, B, A], id="cheapest-first"),
        pytest.param("LowestPrice", {A: "2", B: "1", C: "1"}, [B, C, A], id="ties-keep-the-order-of-the-spec"),
        pytest.param("LowestPrice", {C: "9"}, [C, A, B], id="no-quote-comes-last-but-comes"),
        pytest.param("LowestPrice", {B: None, C: "9"}, [C, A, B], id="a-quote-without-a-price-is-no-quote"),
        pytest.param("LowestPrice", {A: "10.5", B: "9.75", C: "100"}, [B, A, C], id="prices-are-numbers-not-text"),
        pytest.param("LowestPrice", {}, [A, B, C], id="without-a-market-as-written"),
    ],
)
def test_pools_are_ranked(strategy: str, prices: dict[Pool, str | None], order: list[Pool]) -> None:
    assert ranked(desired_of(strategy=AllocationStrategy(strategy)), market_of(prices)) == order


def ranked(desired: Desired, market: Market, ledger: Ledger | None = None) -> list[Pool]:
    """The pools that may be asked, best first."""
    return [offer.pool for offer in rank(desired, ledger or ledger_of(), market, NOW, POLICY).kept]


def test_ranking_does_not_depend_on_the_order_of_the_quotes() -> None:
    prices = {A: "2", B: "1", C: "2"}
    orders = {
        tuple(ranked(desired_of(**CHEAPEST), market_of(dict(items))))
        for items in itertools.permutations(prices.items())
    }
    assert orders == {(B, A, C)}


@pytest.mark.parametrize(
    ("rests", "learned", "expected"),
    [
        pytest.param([], Learned(), A, id="the-first"),
        pytest.param([backoff_of(A)], Learned(), B, id="not-the-one-that-rests"),
        pytest.param([backoff_of(A), backoff_of(B)], Learned(), C, id="the-last-resort"),
        pytest.param([backoff_of(A), backoff_of(B), backoff_of(C)], Learned(), None, id="all-rest"),
        pytest.param([backoff_of(A, until=NOW)], Learned(), A, id="a-rest-ends-at-its-very-moment"),
        pytest.param([backoff_of(A, until=ago(1))], Learned(), A, id="a-rest-that-is-over"),
        pytest.param([backoff_of(None, Trouble.RATE_LIMITED)], Learned(), None, id="the-whole-environment-rests"),
        pytest.param([], Learned(room_below={A: 1}), B, id="sold-its-last-one-in-this-run"),
        pytest.param([], Learned(room_below={A: 2}), A, id="may-have-one-more"),
        pytest.param([backoff_of(B)], Learned(room_below={A: 0, C: 1}), None, id="dry-or-resting-all"),
    ],
)
def test_the_next_pool_neither_rests_nor_has_run_dry(rests: list, learned: Learned, expected: Pool | None) -> None:
    assert next_pool(desired_of(), ledger_of(*rests), Market(), learned) == expected


def next_pool(desired: Desired, ledger: Ledger, market: Market, learned: Learned) -> Pool | None:
    """The pool that is asked next."""
    offer = next_offer(rank(desired, ledger, market, NOW, POLICY), ledger, learned, NOW)
    return offer.pool if offer else None


@pytest.mark.parametrize(
    ("doubts", "expected"),
    [
        pytest.param({A: 60}, B, id="the-others-first"),
        pytest.param({A: 900, B: 60}, C, id="two-do-not-take-turns-for-ever"),
        pytest.param({A: 900, B: 1500, C: 60}, B, id="then-the-one-that-has-waited-longest"),
        pytest.param({A: 3000}, A, id="the-best-again-once-each-has-had-its-turn"),
    ],
)
def test_a_pool_that_left_a_launch_in_doubt_lets_the_others_have_their_turn(
    doubts: dict[Pool, float], expected: Pool
) -> None:
    rests = [
        backoff_of(pool, Trouble.CLOUD_UNREACHABLE, failed_at=ago(since), until=ago(1))
        for pool, since in doubts.items()
    ]
    assert next_pool(desired_of(pools=[A, B, C]), ledger_of(*rests), Market(), Learned()) == expected


def test_a_quote_of_sold_out_never_vetoes_a_pool() -> None:
    market = market_of({A: "1"}, sold_out=[A])
    assert next_pool(desired_of(pools=[A], **CHEAPEST), ledger_of(), market, Learned()) == A


@pytest.mark.parametrize(
    ("wanted", "learned", "sold_out", "count"),
    [
        pytest.param(8, Learned(), [], 8, id="all-at-once"),
        pytest.param(8, Learned(room_below={A: 8}), [], 4, id="half-of-what-was-refused"),
        pytest.param(8, Learned(room_below={A: 3}), [], 1, id="half-rounds-down"),
        pytest.param(8, Learned(room_below={A: 1}), [], 1, id="at-least-one"),
        pytest.param(2, Learned(room_below={A: 100}), [], 2, id="never-more-than-wanted"),
        pytest.param(8, Learned(room_below={B: 2}), [], 8, id="what-another-pool-refused-says-nothing"),
        pytest.param(8, Learned(), [A], 1, id="one-to-try-when-quoted-sold-out"),
        pytest.param(8, Learned(sells=frozenset({A})), [A], 8, id="a-sale-beats-the-quote"),
        pytest.param(8, Learned(), [B], 8, id="another-pool-sold-out"),
    ],
)
def test_how_many_are_asked_for(wanted: int, learned: Learned, sold_out: list[Pool], count: int) -> None:
    offer = Offer(A, 1.0, None, 100)
    assert how_many(wanted, offer, ledger_of(), market_of({A: "1", B: "1"}, sold_out), learned) == count


@pytest.mark.parametrize(
    ("backoff", "sells", "count"),
    [
        pytest.param(backoff_of(A, until=ago(1)), [], 1, id="one-where-it-was-sold-out-last"),
        pytest.param(backoff_of(A, until=ago(1)), [A], 8, id="all-once-it-sells"),
        pytest.param(backoff_of(B, until=ago(1)), [], 8, id="all-where-another-was-sold-out"),
        pytest.param(backoff_of(A, Trouble.PRICE_TOO_LOW, until=ago(1)), [], 8, id="all-after-another-trouble"),
    ],
)
def test_a_pool_that_was_sold_out_is_asked_for_one(backoff: Backoff, sells: list[Pool], count: int) -> None:
    offer, market = Offer(A, 1.0, None, 100), market_of({A: "1", B: "1"})
    assert how_many(8, offer, ledger_of(backoff), market, Learned(sells=frozenset(sells))) == count


# --- the market ------------------------------------------------------------------------------------------------------

D = Pool(A.zone, "S5.LARGE8")


def offers(desired: Desired, ledger: Ledger, market: Market | None = None) -> list[tuple[Pool, int]]:
    """Who may be asked, for how many at most."""
    return [(one.pool, one.count_max) for one in rank(desired, ledger, market or Market(), NOW, POLICY).kept]


@pytest.mark.parametrize(
    ("strategy", "entries", "order"),
    [
        pytest.param("CapacityOptimized", [], [B, A, C], id="the-most-stock-first"),
        pytest.param("CapacityOptimized", [pool_trust_of(B, 1.4)], [A, B, C], id="what-was-lost-early-counts"),
        pytest.param("PriceCapacityOptimized", [], [A, B, C], id="both-multiplied"),
        pytest.param("PriceCapacityOptimized", [pool_trust_of(A, 1.4)], [B, A, C], id="both-and-what-was-lost"),
    ],
)
def test_pools_are_ranked_by_stock_and_memory(strategy: str, entries: list, order: list[Pool]) -> None:
    market = market_of({A: "0.1", B: "0.12", C: "0.3"}, [C])
    stocked = {
        pool: replace(one, stock={A: Stock.LOW, B: Stock.NORMAL, C: Stock.ENOUGH}[pool])
        for pool, one in market.offerings.items()
    }
    market = replace(market, offerings=stocked)
    desired = desired_of(strategy=AllocationStrategy(strategy))
    assert ranked(desired, market, ledger_of(*entries)) == order
    assert all(0 <= score <= 1 for score in scores(desired, ledger_of(*entries), market, NOW, POLICY).values())


@pytest.mark.parametrize(
    ("replicas", "entries", "expected"),
    [
        pytest.param(6, [], [(A, 2), (B, 2), (C, 2)], id="evenly"),
        pytest.param(6, [member("i-1"), member("i-2", pool=B)], [(C, 2), (A, 1), (B, 1)], id="the-emptiest-first"),
        pytest.param(5, [member(f"i-{n}") for n in range(4)], [(B, 2), (C, 2), (A, 1)], id="never-none-at-all"),
        pytest.param(6, [member("i-1", on_demand=True)], [(B, 2), (C, 2), (A, 1)], id="on-demand-counts-in-its-zone"),
        pytest.param(6, [intent(desired_of(6), 2)], [(B, 2), (C, 2), (A, 1)], id="what-is-on-its-way-counts"),
        pytest.param(6, [backoff_of(B)], [(A, 2), (C, 2)], id="without-the-one-that-rests"),
    ],
)
def test_zones_are_filled_evenly(replicas: int, entries: list, expected: list) -> None:
    assert offers(desired_of(replicas, zone_policy=ZonePolicy.BALANCED), ledger_of(*entries)) == expected


@pytest.mark.parametrize(
    ("share", "entries", "expected"),
    [
        pytest.param(100, [], [(A, 6), (B, 6), (C, 6)], id="no-share"),
        pytest.param(50, [], [(A, 3), (B, 3), (C, 3)], id="half"),
        pytest.param(1, [], [(A, 1), (B, 1), (C, 1)], id="one-at-least"),
        pytest.param(50, [member(f"i-{n}") for n in range(3)], [(B, 3), (C, 3)], id="full"),
        pytest.param(50, [member(f"i-{n}", on_demand=True) for n in range(3)], [(A, 3), (B, 3), (C, 3)], id="as-spot"),
        pytest.param(50, [intent(desired_of(6), 2)], [(A, 1), (B, 3), (C, 3)], id="what-is-on-its-way-counts"),
    ],
)
def test_no_pool_gets_more_than_its_share(share: int, entries: list, expected: list) -> None:
    assert offers(desired_of(6, share=share), ledger_of(*entries)) == expected


@pytest.mark.parametrize(
    ("other", "held", "kept"),
    [
        pytest.param({}, 0, [C], id="all-types-of-the-zone"),
        pytest.param({"vcpu": 4}, 0, [A, C], id="not-the-smaller-ones"),
        pytest.param({"vcpu": 2}, 0, [C], id="not-the-same-size-either"),
        pytest.param({"in_use": 2}, 2, [C], id="as-long-as-as-much-is-used"),
        pytest.param({"in_use": 2}, 1, [D, A, C], id="until-a-place-is-free"),
        pytest.param({"until": NOW}, 0, [D, A, C], id="until-its-moment"),
    ],
)
def test_a_zone_rests_for_whom_it_concerns(other: dict, held: int, kept: list[Pool]) -> None:
    market = market_of({A: "1", C: "1", D: "1"})
    market = replace(market, offerings={**market.offerings, D: replace(market.offerings[D], vcpu=4)})
    members = [member(f"i-{number}") for number in range(held)]
    ledger = ledger_of(*members, backoff_of(whole_zone(A.zone), Trouble.QUOTA_EXCEEDED, **other))
    assert ranked(desired_of(3, [D, A, C]), market, ledger) == kept


def test_a_whole_waits_until_there_is_room_for_it() -> None:
    """Otherwise it would be bought while others are still leaving, beyond replicas."""
    desired = desired_of(3, one_time=True)
    ledger = ledger_of(member("i-1", termination=released()))
    assert rank(desired, ledger, Market(), NOW, POLICY).count_min == 2
    assert offers(desired, ledger)[0] == (A, 2)
    gang = desired_of(3, gang=Gang(3, seconds(60)))
    assert rank(gang, ledger, Market(), NOW, POLICY).count_min == 3
    assert offers(gang, ledger) == []


@settings(max_examples=400, deadline=None)
@given(situations, st.randoms(use_true_random=False))
def test_ranking_is_total_and_the_same_in_any_order(case: tuple[Situation, Learned], order: random.Random) -> None:
    desired, ledger, observed = case[0].desired, case[0].ledger, case[0].observed
    ranking = rank(desired, ledger, observed.market, NOW, POLICY)
    assert sorted(one.pool for one in (*ranking.kept, *ranking.rejected)) == sorted(pool for pool, _ in desired.pools)
    mixed = [list(entries.items()) for entries in (ledger.members, ledger.backoffs, ledger.pool_trust)]
    for items in mixed:
        order.shuffle(items)
    members, rests, reputations = map(dict, mixed)
    other = replace(ledger, members=members, backoffs=rests, pool_trust=reputations)
    offerings = list(observed.market.offerings.items())
    order.shuffle(offerings)
    assert rank(desired, other, replace(observed.market, offerings=dict(offerings)), NOW, POLICY) == ranking
    at = next_attempt(ranking, ledger, NOW)
    assert at is None or at >= NOW
