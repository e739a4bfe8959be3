"""Limits on the number and size of what launches may bring about: a wrong number is held, and ends nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plan.given import (
    NOW,
    A,
    B,
    ago,
    all_running,
    asked,
    desired_of,
    fallback,
    intent,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
    synced,
)
from plan.playing import Play
from spotcompute.model.desired import Desired, Gang, Limits, OnDemandShare
from spotcompute.model.ledger import Ledger, TypeSize
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.budget import Room
from spotcompute.plan.limits import room_for_size
from spotcompute.report.conclusion import conclude
from spotcompute.report.wake import next_wake

BIG = Pool(B.zone, "S5.8XLARGE64")
#: Everything has 2 vCPU, but for the big type.
MARKET = market_of({A: "0.1", B: "0.2", BIG: "0.3"})
MARKET = replace(MARKET, offerings={**MARKET.offerings, BIG: replace(MARKET.offerings[BIG], vcpu=32)})


def limited(replicas: int = 1000, count: int | None = None, vcpu: int | None = None, **other: Any) -> Desired:
    return desired_of(replicas, **({"pools": [A]} | other), limits=Limits(count, vcpu))


def running(count: int) -> Ledger:
    return ledger_of(*(member(f"ins-{number}") for number in range(count)))


@pytest.mark.parametrize(
    ("desired", "held", "expected"),
    [
        pytest.param(limited(count=20), 0, [(A, 20)], id="no-more-than-the-number"),
        pytest.param(limited(count=20), 18, [(A, 2)], id="what-is-there-counts"),
        pytest.param(limited(count=20), 20, [], id="full"),
        pytest.param(limited(count=20), 30, [], id="more-than-the-limit-is-there"),
        pytest.param(limited(3, count=20), 0, [(A, 3)], id="replicas-are-the-smaller-number"),
        pytest.param(limited(vcpu=21), 0, [(A, 10)], id="no-more-than-the-vcpu"),
        pytest.param(limited(vcpu=21), 9, [(A, 1)], id="what-is-there-has-vcpu"),
        pytest.param(limited(vcpu=21), 10, [], id="one-left-over-is-too-little"),
        pytest.param(limited(vcpu=33, pools=[BIG, A]), 0, [(BIG, 1)], id="a-big-one-fits-once"),
        pytest.param(limited(vcpu=31, pools=[BIG, A]), 0, [(A, 15)], id="a-big-one-does-not-fit-so-smaller-ones"),
        pytest.param(limited(5, count=3, one_time=True), 0, [], id="one-request-for-all-does-not-fit"),
        pytest.param(limited(8, count=3, gang=Gang(4, seconds(60))), 0, [], id="nor-does-a-gang"),
    ],
)
def test_what_is_asked_for_within_limits(desired: Desired, held: int, expected: list[Any]) -> None:
    ledger = running(held)
    plan = planned(desired, ledger, all_running(ledger, MARKET))
    assert asked(plan) == expected
    assert not any(one.termination for one in plan.ledger.members.values())


def test_launches_on_their_way_count() -> None:
    desired = limited(9, count=5)
    ledger = ledger_of(intent(desired, 4))
    assert sum(one.count for one in planned(desired, ledger, observed_of(market=MARKET)).ledger.intents) == 5


@pytest.mark.parametrize("limits", [Limits(count=1), Limits(vcpu=3)], ids=["number", "vcpu"])
def test_an_open_launch_is_not_repeated_beyond_a_limit_that_was_lowered(limits: Limits) -> None:
    desired = desired_of(3, [A])
    ledger = ledger_of(intent(desired, 3, sent_at=ago(20), answer_lost=True))
    assert planned(desired, ledger, observed_of(market=MARKET)).actions
    assert not planned(replace(desired, limits=limits), ledger, observed_of(market=MARKET)).actions


def test_on_demand_is_bought_within_the_limits() -> None:
    desired = limited(9, vcpu=7, fallback=fallback(count_max=9, after=seconds(60)))
    play = Play(desired, lambda _: replace(MARKET, offerings={A: replace(MARKET.offerings[A], sold_out=True)}))
    play.room = lambda *_: 0
    play.run(seconds(900))
    assert play.live() == 3
    always = limited(9, count=2, on_demand=OnDemandShare(base=4))
    assert asked(planned(always, ledger_of(), observed_of(market=MARKET)), on_demand=True) == [(A, 2)]


# --- a type that is quoted no more ------------------------------------------------------------------------------------


def test_the_size_of_a_type_is_remembered_while_it_counts() -> None:
    desired = limited(9, vcpu=10)
    ledger = synced(running(2), desired, all_running(running(2), MARKET)).ledger
    assert ledger.type_sizes == (TypeSize(A.instance_type, 2),)
    unquoted = Market({BIG: MARKET.offerings[BIG]}, NOW)
    again = synced(ledger, desired, all_running(ledger, unquoted)).ledger
    assert again.type_sizes == ledger.type_sizes
    assert asked(planned(desired, again, all_running(again, unquoted))) == [(A, 3)]
    assert synced(ledger, limited(9), all_running(ledger, MARKET)).ledger.type_sizes == ()


def test_any_zone_tells_the_size_of_a_type() -> None:
    assert asked(planned(limited(9, vcpu=10), ledger_of(), observed_of(market=market_of({B: "1"})))) == [(A, 5)]


def test_without_a_size_nothing_is_bought_and_the_object_says_why() -> None:
    situation = situation_of(limited(9, vcpu=10), ledger_of(), observed_of(market=market_of({BIG: "1"})))
    assert planned(situation.desired, situation.ledger, situation.observed).actions == ()
    assert "limits.maxVcpu cannot be kept without it" in conclude(situation).message


# --- what the object says ---------------------------------------------------------------------------------------------


def test_what_a_limit_holds_is_told_with_its_remedy() -> None:
    ledger = running(20)
    situation = situation_of(limited(count=20), ledger, all_running(ledger, MARKET))
    found = conclude(situation)
    assert (found.reason, found.stalled) == ("OverLimit", True)
    assert found.message == (
        "20 of 1000 instances run; 980 missing. limits.maxReplicas 20 holds what replicas 1000 asks for."
        " Lower replicas, or raise it"
    )
    assert next_wake(situation).reason == "the regular look"  # time changes nothing


def test_vcpu_that_a_limit_holds_is_told_with_its_remedy() -> None:
    ledger = running(5)
    found = conclude(situation_of(limited(vcpu=11), ledger, all_running(ledger, MARKET)))
    assert (found.reason, found.stalled) == ("OverLimit", True)
    assert "one more S5.MEDIUM4 would have more vCPU than limits.maxVcpu 11. Raise limits.maxVcpu" in found.message


def test_where_instances_are_counted_no_size_holds_one() -> None:
    assert room_for_size(limited(count=1), running(1), A) == Room()
