"""Instances that are always on demand beside those that are spot, and those that nobody asks for any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    A,
    B,
    ago,
    all_running,
    asked,
    backoff_of,
    desired_of,
    fallback,
    intent,
    launches,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
)
from plan.playing import Play
from spotcompute.model.desired import Caps, Desired, OnDemandShare
from spotcompute.model.ledger import Member
from spotcompute.model.offering import ON_DEMAND, Market, Pool
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.conclusion import conclude
from spotcompute.report.wake import next_wake

MARKET = market_of({A: "0.1", B: "0.2"})


@pytest.mark.parametrize(
    ("base", "percentage", "replicas", "expected"),
    [
        (0, 0, 10, 0),
        (2, 0, 10, 2),
        (2, 0, 1, 1),
        (0, 50, 10, 5),
        (2, 50, 10, 6),
        (2, 25, 9, 4),
        (0, 1, 3, 1),
        (0, 100, 7, 7),
        (99, 100, 0, 0),
    ],
)
def test_how_many_are_always_on_demand(base: int, percentage: int, replicas: int, expected: int) -> None:
    assert OnDemandShare(base, percentage).of(replicas) == expected


def mixed(replicas: int = 4, base: int = 1, percentage: int = 0, **other: Any) -> Desired:
    return desired_of(replicas, [A, B], on_demand=OnDemandShare(base, percentage), **other)


def members(spot: int, on_demand: int) -> list[Member]:
    kinds = [False] * spot + [True] * on_demand
    return [member(f"ins-{number}", on_demand=kind) for number, kind in enumerate(kinds)]


def bought(desired: Desired, *entries: Any, market: Market = MARKET) -> list[tuple[Pool, int, bool]]:
    """What one plan asks for: pool, number, and whether it is on demand."""
    ledger = ledger_of(*entries)
    plan = planned(desired, ledger, all_running(ledger, market))
    fresh = [one.intent for one in launches(plan.actions) if not one.replay]
    return [(one.pool, one.count, one.on_demand) for one in fresh]


@pytest.mark.parametrize(
    ("desired", "entries", "expected"),
    [
        pytest.param(mixed(), [], [(A, 1, True)], id="the-base-first"),
        pytest.param(mixed(), members(0, 1), [(A, 3, False)], id="then-the-rest-as-spot"),
        pytest.param(mixed(), members(2, 1), [(A, 1, False)], id="a-lost-spot-instance-is-spot-again"),
        pytest.param(mixed(), members(3, 0), [(A, 1, True)], id="a-lost-base-is-on-demand-again"),
        pytest.param(mixed(6, 2, 50), members(1, 2), [(A, 2, True)], id="a-part-of-those-above-the-base"),
        pytest.param(mixed(2, 9), [], [(A, 2, True)], id="a-base-above-replicas-is-all-of-them"),
        pytest.param(mixed(), [backoff_of(ON_DEMAND)], [(A, 3, False)], id="on-demand-refused-keeps-no-spot-waiting"),
        pytest.param(mixed(), [*members(3, 0), backoff_of(ON_DEMAND)], [], id="and-spot-takes-no-place-of-it"),
        pytest.param(mixed(), [intent(mixed(), 1, on_demand=True)], [(A, 3, False)], id="what-is-on-its-way-counts"),
    ],
)
def test_what_is_bought(desired: Desired, entries: list[Any], expected: list[Any]) -> None:
    assert bought(desired, *entries) == expected


def test_the_base_is_bought_within_the_limit_of_the_whole() -> None:
    limited = mixed(4, 3, caps=Caps(in_total=Decimal("2.5")))
    assert bought(limited) == [(A, 2, True)]


def test_a_fallback_comes_on_top_of_the_base() -> None:
    """Of four, one is always on demand; spot has none, so at most two more stand in."""
    desired = mixed(fallback=fallback(count_max=2, after=seconds(60)))
    play = Play(desired, lambda _: market_of({A: "0.1"}, [A]), room=lambda *_: 0)
    play.run(seconds(600))
    assert (play.live(on_demand=True), play.live()) == (3, 3)


def test_no_more_than_the_base_stays_when_spot_is_back() -> None:
    def room(_: Pool, now: datetime) -> int:
        return 0 if now < NOW + seconds(1200) else 1000

    desired = mixed(fallback=fallback(count_max=3, after=seconds(60), stable_for=seconds(60)))
    play = Play(
        desired, lambda now: market_of({A: "0.1"}, [] if room(A, now) else [A]), room=room, starts_in=seconds(9)
    )
    play.run(seconds(1000))
    assert play.live(on_demand=True) == 4
    play.run(seconds(4 * 3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (1, 3)


# --- what nobody asks for any more ------------------------------------------------------------------------------------


def test_without_its_fallback_on_demand_gives_way_one_at_a_time() -> None:
    """Never more than one place is empty, and never one is filled twice."""
    is_sold_out = True
    play = Play(
        desired_of(3, [A], fallback=fallback(after=seconds(1))),
        lambda _: market_of({A: "0.1"}, [A] if is_sold_out else []),
        room=lambda *_: 0 if is_sold_out else 1000,
        starts_in=seconds(20),
    )
    play.run(seconds(120))
    assert play.live(on_demand=True) == 3
    play.desired = replace(play.desired, fallback=None, generation=2)
    play.run(seconds(600))
    assert play.live(on_demand=True) == 3  # spot is sold out: nothing is ended
    is_sold_out = False
    lowest = 3
    for _ in range(60):
        play.run(seconds(5))
        lowest = min(lowest, play.live())
    assert (play.live(on_demand=True), play.live()) == (0, 3)
    assert lowest >= 2
    assert [len(release.instance_ids) for _, release in play.released] == [1, 1, 1]


def leaving(desired: Desired, *entries: Any, market: Market = MARKET) -> list[str]:
    ledger = ledger_of(*entries)
    plan = planned(desired, ledger, all_running(ledger, market))
    return [key for key, one in plan.ledger.members.items() if one.termination is not None]


@pytest.mark.parametrize(
    ("desired", "entries", "market", "expected"),
    [
        pytest.param(desired_of(2), members(0, 2), MARKET, ["ins-0"], id="one"),
        pytest.param(mixed(2, 1), members(0, 2), MARKET, ["ins-0"], id="above-a-lowered-base"),
        pytest.param(mixed(2, 2), members(0, 2), MARKET, [], id="not-what-the-base-wants"),
        pytest.param(mixed(2, 2), members(2, 0), MARKET, [], id="spot-never-goes-for-a-raised-base"),
        pytest.param(desired_of(2), members(0, 2), market_of({A: "1"}, [A]), [], id="not-while-spot-is-sold-out"),
        pytest.param(desired_of(2), members(0, 2), market_of({}), [], id="not-while-nothing-is-quoted"),
        pytest.param(desired_of(3), members(0, 2), MARKET, [], id="not-while-one-is-missing"),
        pytest.param(
            desired_of(2), [*members(0, 1), member("ins-9", arrived=False)], MARKET, [], id="not-while-one-starts"
        ),
    ],
)
def test_what_gives_way_without_a_fallback(
    desired: Desired, entries: list[Any], market: Market, expected: list[str]
) -> None:
    assert leaving(desired, *entries, market=market) == expected


def test_what_gives_way_goes_in_the_order_of_leaving_and_never_protected() -> None:
    ledger = ledger_of(*members(0, 2))
    seen = all_running(ledger, MARKET)
    shielded = replace(seen, instances={**seen.instances, "ins-0": replace(seen.instances["ins-0"], protected=True)})
    plan = planned(desired_of(2), ledger, shielded)
    assert [key for key, one in plan.ledger.members.items() if one.termination] == ["ins-1"]


@pytest.mark.parametrize(
    ("replicas", "left"),
    [(3, (1, 2)), (2, (1, 1)), (1, (1, 0)), (0, (0, 0))],
)
def test_scaling_down_keeps_the_mix(replicas: int, left: tuple[int, int]) -> None:
    """From six on demand and four spot, of a spec that wants one and half of the others."""
    gone = leaving(mixed(replicas, 1, 50), *members(4, 6))
    kinds = {one.id: one.on_demand for one in members(4, 6)}
    stay = [kinds[key] for key in kinds if key not in gone]
    wanted = OnDemandShare(1, 50).of(replicas)
    assert (stay.count(True), stay.count(False)) == (wanted, replicas - wanted)
    assert left[0] <= wanted


# --- what the object says, and when it is looked at again -------------------------------------------------------------


def only_the_base_is_missing(*entries: Any, market: Market = MARKET) -> Situation:
    ledger = ledger_of(*members(3, 0), *entries)
    return situation_of(mixed(), ledger, all_running(ledger, market))


@pytest.mark.parametrize(
    ("desired", "said"),
    [
        pytest.param(desired_of(2), "2 of them on demand, which give way when spot is to be had", id="all"),
        pytest.param(mixed(2, 1), "2 of them on demand, of which 1 give way when spot is to be had", id="some"),
        pytest.param(mixed(2, 2), "2 of 2 instances run, 2 of them on demand", id="none"),
        pytest.param(desired_of(2, fallback=fallback()), "2 of 2 instances run, 2 of them on demand", id="a-fallback"),
    ],
)
def test_the_object_says_what_waits_to_give_way(desired: Desired, said: str) -> None:
    ledger = ledger_of(*members(0, 2))
    sold_out = market_of({A: "1", B: "1"}, [A, B])
    assert conclude(situation_of(desired, ledger, all_running(ledger, sold_out))).message.endswith(said)


def test_a_refused_base_is_told_and_looked_at_in_its_time() -> None:
    situation = only_the_base_is_missing(backoff_of(ON_DEMAND, until=NOW + seconds(40)))
    found = conclude(situation)
    assert (found.phase, found.reason) == ("Waiting", "InsufficientCapacity")
    assert "On demand refused too: ResourcesSoldOut" in found.message
    assert next_wake(situation).at == NOW + seconds(40)


def test_a_base_without_a_price_is_told_and_looked_at_once_a_minute() -> None:
    situation = only_the_base_is_missing(market=market_of({}))
    assert make_plan(situation, NOTHING_LEARNED).actions == ()
    assert conclude(situation).reason == "MarketUnreadable"
    assert next_wake(situation).at == NOW + seconds(60)


def test_what_waits_to_give_way_is_looked_at_soon_and_then_more_rarely() -> None:
    def next_look(age: float) -> float:
        ledger = ledger_of(member("ins-0", on_demand=True, launched_at=ago(age)))
        observed = all_running(ledger, market_of({A: "1"}, [A]))
        return (next_wake(situation_of(desired_of(1), ledger, observed)).at - NOW).total_seconds()

    assert [next_look(age) for age in (5, 160, 99_999)] == [10, 20, 60]


def test_nothing_is_asked_for_twice_in_one_plan() -> None:
    assert asked(planned(mixed(), ledger_of(), observed_of(market=MARKET)), on_demand=True) == [(A, 1)]
