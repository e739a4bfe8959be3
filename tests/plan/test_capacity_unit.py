"""Where replicas counts vCPU: never less than wanted, and never a machine that could go without leaving less.

Small, medium and large machines have two, four and eight vCPU. A machine cannot be bought in parts, so the last one may
bring more than is missing; every decision counts the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from plan.given import (
    NOW,
    POLICY,
    Pool,
    ago,
    all_running,
    asked,
    backoff_of,
    desired_of,
    fallback,
    instance,
    ledger_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
    synced,
)
from plan.judge import complaints
from plan.playing import Play
from plan.worlds import Dice
from spotcompute.api.ledger import decode, encode
from spotcompute.model.desired import (
    AllocationStrategy,
    CapacityUnit,
    Desired,
    Limits,
    OnDemandShare,
    Rollout,
    ZonePolicy,
)
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, TypeSize
from spotcompute.model.offering import Market, Offering
from spotcompute.model.wishes import Wish
from spotcompute.plan.actions import Learned
from spotcompute.plan.limits import with_sizes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.quote import make_quote
from spotcompute.plan.situation import Situation
from spotcompute.report.conclusion import conclude
from spotcompute.report.status import StatusExtras, full_status, problem_status

SIZES = {"S5.MEDIUM4": 2, "S5.LARGE8": 4, "S5.2XLARGE16": 8}
SMALL, MEDIUM, LARGE = (Pool("ap-guangzhou-3", name) for name in SIZES)
ELSEWHERE = Pool("ap-guangzhou-4", "S5.LARGE8")
ALL = (SMALL, MEDIUM, LARGE, ELSEWHERE)


def quotes(prices: Mapping[Pool, str], now: Any = NOW) -> Market:
    """A price per hour for each pool, ten times that on demand."""
    offerings = {
        pool: Offering(pool, Decimal(price), Decimal(price) * 10, SIZES[pool.instance_type], 4)
        for pool, price in prices.items()
    }
    return Market(offerings, now, extras={pool.zone: Decimal(0) for pool in prices})


MARKET = quotes({SMALL: "0.1", MEDIUM: "0.2", LARGE: "0.4", ELSEWHERE: "0.2"})


def wanting(replicas: int, pools: tuple[Pool, ...] = ALL, **other: Any) -> Desired:
    return desired_of(replicas, pools, **({"unit": CapacityUnit.VCPU, "vcpu_of_type": SIZES} | other))


def held(*pools: Pool, **other: Any) -> list[Any]:
    return [member(f"ins-{number:02}", pool=pool, **other) for number, pool in enumerate(pools)]


def filled(desired: Desired, *entries: Any) -> list[Pool]:
    """What is bought from nothing, or beside `entries`, when every pool has all that it is asked for."""
    play = Play(desired, lambda now: MARKET)
    play.ledger = ledger_of(*entries)
    play.run(seconds(300))
    return sorted(one.launch.intent.pool for one in play.machines.values() if one.ended_at is None)


@pytest.mark.parametrize(
    ("replicas", "pools", "bought"),
    [
        pytest.param(8, (LARGE, SMALL), [LARGE], id="what-fits"),
        pytest.param(10, (LARGE, SMALL), [LARGE, SMALL], id="the-rest-by-a-smaller-type"),
        pytest.param(9, (LARGE, SMALL), [LARGE, SMALL], id="one-more-than-wanted-because-none-is-smaller"),
        pytest.param(9, (LARGE,), [LARGE, LARGE], id="seven-more-where-only-large-ones-are-to-be-had"),
        pytest.param(3, (LARGE, SMALL), [SMALL, SMALL], id="not-a-large-one-for-three"),
        pytest.param(10, (MEDIUM, LARGE), [MEDIUM] * 3, id="the-first-pool-for-all-it-can-do"),
        pytest.param(0, (LARGE, SMALL), [], id="nothing"),
    ],
)
def test_what_is_bought(replicas: int, pools: tuple[Pool, ...], bought: list[Pool]) -> None:
    assert filled(wanting(replicas, pools)) == sorted(bought)


def test_where_the_small_ones_are_sold_out_a_large_one_brings_more() -> None:
    ledger = ledger_of(backoff_of(SMALL), *held(LARGE))
    plan = planned(wanting(10, (SMALL, LARGE)), ledger, all_running(ledger, MARKET))
    assert asked(plan) == [(LARGE, 1)]


def test_what_is_on_its_way_counts_with_its_size() -> None:
    desired = wanting(12, (LARGE, MEDIUM))
    first = planned(desired, ledger_of(*held(MEDIUM)), all_running(ledger_of(*held(MEDIUM)), MARKET))
    assert asked(first) == [(LARGE, 1)]
    assert planned(desired, first.ledger, all_running(ledger_of(*held(MEDIUM)), MARKET)).actions == ()


@pytest.mark.parametrize(
    ("replicas", "before", "left"),
    [
        pytest.param(8, (LARGE, SMALL, SMALL), [LARGE], id="the-small-ones-that-are-too-many"),
        pytest.param(12, (MEDIUM,) * 3, [MEDIUM] * 3, id="exactly"),
        pytest.param(10, (MEDIUM,) * 3, [MEDIUM] * 3, id="none-can-go-without-leaving-less"),
        pytest.param(8, (MEDIUM,) * 3, [MEDIUM] * 2, id="one-can"),
        pytest.param(9, (LARGE, SMALL, SMALL), [LARGE, SMALL], id="only-one-of-the-two"),
        pytest.param(2, (LARGE, SMALL), [SMALL], id="the-large-one"),
        pytest.param(0, (LARGE, SMALL), [], id="all"),
    ],
)
def test_what_stays_when_less_is_wanted(replicas: int, before: tuple[Pool, ...], left: list[Pool]) -> None:
    ledger = ledger_of(*held(*before))
    plan = planned(wanting(replicas), ledger, all_running(ledger, MARKET))
    assert sorted(one.pool for one in plan.ledger.members.values() if one.termination is None) == sorted(left)


def test_the_rule_holds_in_three_thousand_situations() -> None:
    """Nothing is bought while as much is there as is wanted, and nobody stays who could go."""
    met: Counter[str] = Counter()
    for seed in range(3000):
        dice = Dice(f"{seed} units")
        entries = held(*(dice.choice(ALL) for _ in range(dice.randint(0, 8))))
        entries = [replace(one, on_demand=dice.chance(6)) for one in entries]
        desired = wanting(
            dice.randint(0, 40),
            tuple(dice.sample(ALL, dice.randint(1, 4))),
            zone_policy=dice.choice(list(ZonePolicy)),
            share=dice.choice([100, 100, 60]),
            strategy=dice.choice(list(AllocationStrategy)),
            on_demand=dice.choice([OnDemandShare(), OnDemandShare(3, 25)]),
            rollout=dice.choice([None, Rollout(1, 0)]),
        )
        ledger = ledger_of(*entries)
        wishes = {one.id: Wish(protect=dice.chance(3)) for one in entries if dice.chance(4)}
        situation = replace(situation_of(desired, ledger, all_running(ledger, MARKET)), wishes=wishes)
        plan = make_plan(situation, Learned())
        assert complaints(situation, plan) == [], seed
        members = plan.ledger.members.values()
        there = sum(SIZES[one.pool.instance_type] for one in members if one.termination is None)
        before = sum(SIZES[one.pool.instance_type] for one in entries)
        gone = [one for one in members if one.termination and one.termination.cause is Cause.SCALED_DOWN]
        assert not gone or there >= desired.replicas, seed
        if desired.rollout is None and not any(one.termination for one in members if one not in gone):
            free = [one for one in members if one.termination is None and not situation.wish(one.id).protect]
            assert all(there - SIZES[one.pool.instance_type] < desired.replicas for one in free) or not gone, seed
            met["gone"] += bool(gone)
            met["kept though too many"] += there > desired.replicas and not gone and before > desired.replicas
        met["bought"] += bool(plan.actions) and before < desired.replicas
    assert all(met[each] > 30 for each in ("gone", "bought", "kept though too many")), met


def test_the_cheapest_is_that_of_the_lowest_price_for_each_vcpu() -> None:
    market = quotes({SMALL: "0.1", LARGE: "0.3"})
    desired = wanting(8, (SMALL, LARGE), strategy=AllocationStrategy.LOWEST_PRICE)
    assert asked(planned(desired, ledger_of(), observed_of(market=market))) == [(LARGE, 1)]


def test_a_share_and_an_even_spread_are_counted_in_vcpu() -> None:
    halves = wanting(16, (MEDIUM, ELSEWHERE), share=50)
    assert Counter(filled(halves)) == {MEDIUM: 2, ELSEWHERE: 2}
    even = wanting(16, (LARGE, ELSEWHERE), zone_policy=ZonePolicy.BALANCED)
    assert Counter(filled(even)) == {LARGE: 1, ELSEWHERE: 2}


def test_limits_are_kept_by_every_machine() -> None:
    assert filled(wanting(16, (LARGE,), limits=Limits(count=10))) == [LARGE]
    assert sorted(filled(wanting(16, (LARGE, SMALL), limits=Limits(count=10)))) == sorted([LARGE, SMALL])
    assert filled(wanting(16, (LARGE,), limits=Limits(vcpu=10))) == [LARGE]


def test_the_part_on_demand_and_the_fallback_are_counted_in_vcpu() -> None:
    play = Play(wanting(12, (MEDIUM,), on_demand=OnDemandShare(base=4)), lambda now: MARKET)
    play.run(seconds(300))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (1, 2)
    stands_in = wanting(12, (MEDIUM,), fallback=fallback(after=seconds(1), count_max=7))
    play = Play(stands_in, lambda now: MARKET, room=lambda *_: 0)
    play.run(seconds(300))
    assert play.live(on_demand=True) == 1  # two would be eight vCPU


class Watched(Play):
    """A play that looks at every step whether as much runs as the roll-out promises."""

    filled = False

    def on_planned(self, before: Any, plan: Any) -> None:
        living = [one for one in self.machines.values() if one.ended_at is None]
        states = [(self._state(one), SIZES[one.launch.intent.pool.instance_type]) for one in living]
        running = sum(units for state, units in states if state is InstanceState.RUNNING)
        self.filled = self.filled or running >= self.desired.replicas
        assert not self.filled or running >= self.desired.replicas
        # One machine beside what is wanted, and what the last one brings.
        assert sum(units for _, units in states) < self.desired.replicas + 8 + 8


@pytest.mark.parametrize("types", [(LARGE,), (SMALL,), (SMALL, LARGE)])
def test_a_roll_out_from_one_size_to_another_keeps_what_runs_and_ends(types: tuple[Pool, ...]) -> None:
    play = Watched(wanting(16, (MEDIUM,), rollout=Rollout(1, 0)), market=lambda now: MARKET, starts_in=seconds(20))
    play.run(seconds(300))
    changed = wanting(16, types, rollout=Rollout(1, 0), generation=2)
    play.desired = changed
    play.run(seconds(7200))
    living = [one.launch.intent.pool for one in play.machines.values() if one.ended_at is None]
    assert set(living) <= set(types)
    assert sum(SIZES[pool.instance_type] for pool in living) == 16


def test_spot_takes_the_place_of_on_demand_by_size() -> None:
    """A large one on demand gives way to small ones on spot, which run first."""
    play = Watched(
        wanting(8, (SMALL,), rollout=Rollout(1, 0), fallback=fallback(after=seconds(1), stable_for=seconds(60))),
        market=lambda now: MARKET,
        starts_in=seconds(20),
    )
    play.ledger = ledger_of()
    play.desired = replace(play.desired, fallback=fallback(after=seconds(1), count_max=8, stable_for=seconds(60)))
    play.room = lambda pool, now: 0
    play.run(seconds(300))
    assert play.live(on_demand=True) == 4
    play.room = lambda pool, now: 1000
    play.run(seconds(6 * 3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (0, 4)


# --- what is told -----------------------------------------------------------------------------------------------------


def situation(desired: Desired, *entries: Any) -> Situation:
    ledger = ledger_of(*entries)
    return situation_of(desired, ledger, all_running(ledger, MARKET))


def test_status_counts_vcpu_everywhere() -> None:
    entries = [*held(LARGE, MEDIUM), member("ins-99", pool=SMALL, template_digest="0" * 12)]
    told = full_status({}, situation(wanting(14), *entries), (), StatusExtras("selector", "CNY"))
    assert (told["replicas"], told["readyReplicas"], told["updatedReplicas"]) == (14, 14, 12)
    assert told["phase"] == "Ready"
    assert told["conditions"][0]["message"].startswith("14 of 14 vCPU run")


def test_more_than_wanted_is_ready() -> None:
    concluded = conclude(situation(wanting(9, (LARGE,)), *held(LARGE, LARGE)))
    assert (concluded.ready, concluded.message) == (True, "16 of 9 vCPU run")


def test_in_an_outage_the_last_sizes_count() -> None:
    desired = wanting(14)
    ledger = synced(ledger_of(*held(LARGE, MEDIUM)), desired, situation(desired, *held(LARGE, MEDIUM)).observed).ledger
    assert ledger.counts_vcpu
    assert decode(encode(ledger)) == ledger
    away = conclude(situation(wanting(14), *held(LARGE)))
    assert problem_status({"replicas": 3}, away, ledger, 1, NOW)["replicas"] == 12
    assert problem_status({"replicas": 3}, away, replace(ledger, type_sizes=()), 1, NOW)["replicas"] == 3


def test_sizes_come_from_the_market_and_from_memory() -> None:
    plain = replace(wanting(8), vcpu_of_type={})
    ledger = ledger_of(type_sizes=(TypeSize("S9.OLD", 16),))
    assert with_sizes(plain, ledger, MARKET).vcpu_of_type == {**SIZES, "S9.OLD": 16}
    counted = desired_of(3)
    assert with_sizes(counted, ledger, MARKET) is counted


def test_while_a_size_is_not_known_nothing_is_bought_or_ended_and_the_object_says_so() -> None:
    strange = Pool("ap-guangzhou-3", "S9.OLD")
    for replicas in (2, 40):
        unclear = situation(wanting(replicas), *held(LARGE, strange))
        assert make_plan(unclear, Learned()).actions == ()
        concluded = conclude(unclear)
        assert (concluded.ready, concluded.reason) == (False, "MarketUnreadable")
        assert "how many an instance has is not known" in concluded.message


def test_a_pool_of_unknown_size_is_not_asked() -> None:
    desired = replace(wanting(8, (SMALL, LARGE)), vcpu_of_type={"S5.2XLARGE16": 8})
    assert asked(planned(desired, ledger_of(), observed_of(market=MARKET))) == [(LARGE, 1)]


def test_a_quote_counts_vcpu() -> None:
    quote = make_quote(
        situation_of(replace(wanting(9, (LARGE, SMALL)), paused=True), ledger_of(), observed_of(market=MARKET))
    )
    assert (quote.missing, quote.chosen, quote.in_vcpu) == (9, 9, True)
    assert [(lot.pool, lot.count) for lot in quote.lots] == [(LARGE, 1), (SMALL, 1)]


def test_a_place_that_stays_empty_is_as_large_as_its_machine() -> None:
    desired = wanting(8, (MEDIUM,))
    play = Play(desired, lambda now: MARKET, stops_after=lambda now: seconds(30))
    play.run(seconds(600))
    ends = play.ledger.self_ends
    assert ends is not None
    assert len(ends.held) % 4 == 0
    assert play.live() <= 2
    assert ago(0) == NOW
    assert POLICY.place_held > seconds(600)


def test_a_protected_one_stays_and_another_of_its_size_goes() -> None:
    ledger = ledger_of(*held(MEDIUM, MEDIUM, MEDIUM))
    seen = observed_of(
        *(instance(f"ins-{number:02}", pool=MEDIUM, protected=number < 2) for number in range(3)), market=MARKET
    )
    plan = planned(wanting(8), ledger, seen)
    assert [key for key, one in plan.ledger.members.items() if one.termination] == ["ins-02"]
