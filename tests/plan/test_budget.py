"""What may be paid: bids within every cap, and as many as the limit of the whole environment has room for."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    POLICY,
    A,
    B,
    C,
    ago,
    all_running,
    asked,
    desired_of,
    instance,
    intent,
    launches,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    situation_of,
    terminated_ids,
)
from spotcompute.model.desired import Caps, Desired
from spotcompute.model.ledger import Cause
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.actions import Launch
from spotcompute.plan.allocation import Obstacle, rank
from spotcompute.plan.budget import bid_for, hourly_cost, hourly_cost_on_demand, room_under, with_prices_noted
from spotcompute.plan.planner import make_plan
from spotcompute.plan.policy import Policy

#: 2.00 an hour on demand.
MARKET = market_of({A: "0.2", B: "0.1", C: None})
BIG = Pool(A.zone, "S5.LARGE8")


def money(text: str) -> Decimal:
    return Decimal(text)


@pytest.mark.parametrize(
    ("caps", "limit"),
    [
        pytest.param(Caps(), None, id="the-price-of-the-moment"),
        pytest.param(Caps(money("0.3")), "0.3", id="max-price"),
        pytest.param(Caps(money("0.3"), ((A.instance_type, money("0.4")),)), "0.4", id="an-override-goes-above-it"),
        pytest.param(Caps(money("0.3"), ((BIG.instance_type, money("0.4")),)), "0.3", id="of-another-type"),
        pytest.param(Caps(None, ((A.instance_type, money("0.4")),)), "0.4", id="an-override-alone"),
        pytest.param(Caps(percent_of_on_demand=30), "0.6", id="a-part-of-the-list-price"),
        pytest.param(Caps(money("0.5"), percent_of_on_demand=30), "0.5", id="the-lower-of-both"),
        pytest.param(Caps(money("0.7"), percent_of_on_demand=30), "0.6", id="the-lower-of-both-the-other-way"),
        pytest.param(Caps(in_total=money("9")), "0.2", id="the-quote-by-which-the-limit-is-reckoned"),
        pytest.param(Caps(money("0.1"), in_total=money("9")), "0.1", id="never-above-max-price"),
    ],
)
def test_the_bid_is_within_every_cap(caps: Caps, limit: str | None) -> None:
    bid = bid_for(caps, A, MARKET)
    assert (bid.limit, bid.obstacle) == (None if limit is None else money(limit), None)


@pytest.mark.parametrize(
    ("caps", "limit"),
    [
        pytest.param(Caps(), "2.00", id="the-list-price-of-what-has-no-cap"),
        pytest.param(Caps(money("0.3")), "0.3", id="max-price"),
        pytest.param(Caps(percent_of_on_demand=30), "0.6", id="a-part-of-the-list-price"),
        pytest.param(Caps(in_total=money("9")), "0.2", id="the-quote-by-which-the-limit-is-reckoned"),
        pytest.param(Caps(None, ((BIG.instance_type, money("0.4")),)), "2.00", id="an-override-of-another-type"),
    ],
)
def test_where_each_request_states_a_price_the_bid_is_an_amount_within_every_cap(caps: Caps, limit: str) -> None:
    assert bid_for(caps, A, MARKET, is_stated=True).limit == money(limit)


def test_a_price_that_must_be_stated_and_is_not_known_buys_nothing() -> None:
    policy = replace(POLICY, states_bids=True)

    def bought(market: Market, policy: Policy) -> list[Decimal | None]:
        situation = situation_of(desired_of(3, [A]), ledger_of(), observed_of(market=market))
        plan = make_plan(replace(situation, policy=policy), NOTHING_LEARNED)
        return [one.intent.bid for one in launches(plan.actions)]

    for market in (Market(), market_of({A: None})):
        assert "set market.maxPrice" in str(bid_for(Caps(), A, market, is_stated=True).obstacle)
        assert (bought(market, policy), bought(market, POLICY)) == ([], [None])
    assert bought(MARKET, policy) == [money("2.00")]


@pytest.mark.parametrize("caps", [Caps(percent_of_on_demand=30), Caps(in_total=money("9"))])
@pytest.mark.parametrize(
    "market",
    [
        pytest.param(Market(), id="never-read"),
        pytest.param(market_of({A: None}), id="not-quoted"),
        pytest.param(market_of({A: "0"}), id="quoted-as-nothing"),
        pytest.param(replace(MARKET, unreliable_because="they are empty"), id="not-believed"),
    ],
)
def test_without_a_price_nothing_is_bought_where_one_is_needed(caps: Caps, market: Market) -> None:
    assert bid_for(caps, A, market).obstacle
    plan = planned(desired_of(3, [A], caps=caps), ledger_of(), observed_of(market=market))
    assert plan.actions == ()
    assert bid_for(Caps(money("0.3")), A, market).limit == money("0.3")


@given(st.decimals("0.00000001", "1000", places=8), st.integers(1, 100))
def test_a_percentage_is_never_rounded_up(price: Decimal, percent: int) -> None:
    limit = bid_for(Caps(percent_of_on_demand=percent), A, market_of({A: str(price)})).limit
    assert limit is not None
    assert limit <= price * 10 * percent / 100


@pytest.mark.parametrize(
    ("limit", "spent", "unit", "count"),
    [
        pytest.param(None, None, None, None, id="no-limit-no-question"),
        pytest.param("1", "0", "0.2", 5, id="exactly-so-many"),
        pytest.param("0.99", "0", "0.2", 4, id="not-one-more"),
        pytest.param("1", "0.9", "0.2", 0, id="none"),
        pytest.param("1", "5", "0.2", 0, id="far-above-since-prices-rose"),
    ],
)
def test_how_many_fit_under_a_limit(limit: str | None, spent: str | None, unit: str | None, count: int | None) -> None:
    numbers = [None if text is None else money(text) for text in (limit, spent, unit)]
    room = room_under(*numbers)
    assert (room.count, room.obstacle) == (count, None)


def test_everything_that_may_exist_costs_something() -> None:
    ledger = ledger_of(
        member("ins-1"),
        member("ins-2", pool=B, on_demand=True),
        member("ins-3", lost=Cause.RECLAIMED),
        intent(desired_of(), 2),
        intent(desired_of(), 3, 701, B, on_demand=True),
    )
    assert hourly_cost(ledger, MARKET) == money("0.2") + 1 + 2 * money("0.2") + 3
    assert hourly_cost_on_demand(ledger, MARKET) == 4


@pytest.mark.parametrize("price", [None, "0"])
def test_what_has_no_price_is_not_free(price: str | None) -> None:
    assert hourly_cost(ledger_of(member("ins-1")), market_of({A: price})) is None


LIMITED = desired_of(3, [A, B], caps=Caps(in_total=Decimal(2)))


def test_a_type_that_is_quoted_no_more_counts_at_its_last_price_and_keeps_no_other_from_being_asked() -> None:
    ledger = with_prices_noted(LIMITED, ledger_of(member("ins-1"), member("ins-2")), market_of({A: "0.5", B: "0.4"}))
    later = market_of({B: "0.4"})
    assert hourly_cost(with_prices_noted(LIMITED, ledger, later), later) == 1
    plan = planned(LIMITED, ledger, all_running(ledger, later))
    assert asked(plan) == [(B, 1)]
    ranking = rank(LIMITED, ledger, later, NOW, POLICY)
    assert [(one.pool, one.why) for one in ranking.rejected] == [(A, Obstacle.NOT_QUOTED)]


def test_a_price_that_nobody_has_seen_is_named_with_its_instance_and_what_to_do() -> None:
    ledger, market = ledger_of(member("ins-1")), market_of({B: "0.4"})
    ranking = rank(LIMITED, with_prices_noted(LIMITED, ledger, market), market, NOW, POLICY)
    (other,) = (one for one in ranking.rejected if one.pool == B)
    assert other.why is Obstacle.NOT_QUOTED
    assert f"ins-1 in {A}" in other.detail
    assert "End what runs there" in other.detail


@pytest.mark.parametrize(
    ("desired", "entries", "noted"),
    [
        pytest.param(LIMITED, [member("ins-1"), member("ins-2")], [(A, False, "0.5")], id="once-for-each-pool"),
        pytest.param(LIMITED, [member("ins-1", on_demand=True)], [(A, True, "5.0")], id="list-price-on-demand"),
        pytest.param(LIMITED, [intent(LIMITED, 1, pool=B)], [(B, False, "0.4")], id="what-is-on-its-way"),
        pytest.param(LIMITED, [], [], id="nothing-held"),
        pytest.param(desired_of(3, [A]), [member("ins-1")], [], id="no-limit"),
    ],
)
def test_prices_are_noted_for_what_counts_against_a_limit(desired: Desired, entries: list, noted: list) -> None:
    market = market_of({A: "0.5", B: "0.4"})
    found = with_prices_noted(desired, ledger_of(*entries), market)
    assert [(one.pool, one.on_demand, one.price) for one in found.last_prices] == [
        (pool, on_demand, money(price)) for pool, on_demand, price in noted
    ]
    assert with_prices_noted(desired, found, market) is found


@pytest.mark.parametrize(
    ("in_total", "held", "expected"),
    [
        pytest.param("1", 0, [(B, 5)], id="all"),
        pytest.param("0.3", 0, [(B, 3)], id="as-many-as-fit"),
        pytest.param("0.5", 2, [(B, 1)], id="beside-what-is-there"),
        pytest.param("0.45", 2, [], id="none-fits"),
        pytest.param("0.05", 0, [], id="not-even-one"),
    ],
)
def test_the_limit_of_the_whole_is_kept(in_total: str, held: int, expected: list) -> None:
    members = [member(f"ins-{number}") for number in range(held)]
    desired = desired_of(5, [B, C, A], caps=Caps(in_total=money(in_total)))
    observed = observed_of(*(instance(one.id) for one in members), market=MARKET)
    plan = planned(desired, ledger_of(*members), observed)
    assert [(launch.intent.pool, launch.intent.count) for launch in launches(plan.actions)] == expected


@pytest.mark.parametrize(
    ("in_total", "extra", "count"),
    [
        pytest.param("0.45", "0.05", 3, id="three-with-their-disks"),
        pytest.param("0.44", "0.05", 2, id="not-a-third"),
        pytest.param("0.14", "0.05", 0, id="the-machine-fits-and-its-disk-does-not"),
        pytest.param("9", None, 0, id="nobody-says-what-disks-cost"),
    ],
)
def test_the_limit_of_the_whole_holds_disks_too(in_total: str, extra: str | None, count: int) -> None:
    desired, market = desired_of(5, [A], caps=Caps(in_total=money(in_total))), market_of({A: "0.1"}, extra=extra)
    plan = planned(desired, ledger_of(), observed_of(market=market))
    assert sum(launch.intent.count for launch in launches(plan.actions)) == count


@pytest.mark.parametrize(
    ("caps", "is_repeated"),
    [
        pytest.param(Caps(money("0.2")), True, id="as-it-was"),
        pytest.param(Caps(money("0.3")), True, id="raised"),
        pytest.param(Caps(), True, id="taken-away"),
        pytest.param(Caps(money("0.19")), False, id="lowered"),
        pytest.param(Caps(money("0.2"), ((A.instance_type, money("0.1")),)), False, id="lowered-for-the-type"),
        pytest.param(Caps(percent_of_on_demand=10), True, id="a-percentage-that-holds-it"),
        pytest.param(Caps(percent_of_on_demand=9), False, id="a-percentage-that-does-not"),
        pytest.param(Caps(in_total=money("0.6")), True, id="a-limit-of-all-that-holds-it"),
        pytest.param(Caps(in_total=money("0.59")), False, id="a-limit-of-all-that-does-not"),
    ],
)
def test_a_launch_in_doubt_is_repeated_only_within_the_caps_of_now(caps: Caps, is_repeated: bool) -> None:
    open_one = intent(desired_of(3, caps=Caps(money("0.2"))), 2, answer_lost=True, sent_at=ago(20))
    desired = desired_of(3, caps=caps)
    observed = observed_of(instance("ins-1"), market=MARKET)
    plan = planned(desired, ledger_of(member("ins-1"), open_one), observed)
    replays = [action for action in plan.actions if isinstance(action, Launch) and action.replay]
    assert bool(replays) is is_repeated
    assert all(replay.request.max_price == money("0.2") for replay in replays)


@pytest.mark.parametrize(
    "caps", [Caps(money("0.001")), Caps(percent_of_on_demand=1), Caps(in_total=money("0.001")), Caps()]
)
def test_an_edit_of_a_cap_ends_nothing(caps: Caps) -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2", pool=B))
    observed = observed_of(instance("ins-1"), instance("ins-2", pool=B), market=MARKET)
    plan = planned(desired_of(2, caps=caps, generation=2), ledger, observed)
    assert terminated_ids(plan.actions) == []


def test_each_pool_says_why_it_is_too_dear_or_has_no_price() -> None:
    ranking = rank(desired_of(3, caps=Caps(in_total=money("0.15"))), ledger_of(), MARKET, NOW, POLICY)
    assert [offer.pool for offer in ranking.kept] == [B]
    assert {one.pool: one.why for one in ranking.rejected} == {A: Obstacle.OVER_BUDGET, C: Obstacle.NOT_QUOTED}


@pytest.mark.parametrize("on_demand", [False, True])
def test_without_new_fields_a_request_is_what_it_always_was(on_demand: bool) -> None:
    """Its digest stands in ledgers and tokens: 12 digits that were written before there was a market."""
    request = launches(planned(desired_of(2, caps=Caps(money("0.25"))), ledger_of(), observed_of()).actions)[0].request
    assert "on_demand" not in request.to_json()
    assert (replace(request, on_demand=on_demand).digest == request.digest) is not on_demand
