"""Instances that are older than the spec allows are replaced: launch first, spread over time, and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from plan.given import (
    NOW,
    A,
    B,
    ago,
    asked,
    backoff_of,
    desired_of,
    instance,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
)
from plan.playing import Play
from spotcompute.model.desired import Desired, Rollout
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause
from spotcompute.plan.drift import SPREAD, Asked, Drift, life_of
from spotcompute.plan.rollout import comes_of_age_next, outdated
from spotcompute.report.conclusion import conclude
from spotcompute.report.wake import next_wake

DAY = seconds(86_400)
OLD = "000000000000"
MARKET = market_of({A: "0.1", B: "0.2"})
ON_DELETE = Rollout(surge_max=1, unavailable_max=0, only_aged=True)
ROLLING = replace(ON_DELETE, only_aged=False)


def ageing(replicas: int = 2, rollout: Rollout | None = ON_DELETE, **other: Any) -> Desired:
    return desired_of(replicas, [A, B], rollout=rollout, **({"max_age": DAY} | other))


def aged(key: str, by: timedelta = DAY, **other: Any) -> Any:
    return member(key, launched_at=NOW - by, **other)


def seen(*members: Any, **other: Any) -> Any:
    """Everything runs since it was launched."""
    return observed_of(*(instance(one.id, created_at=one.launched_at) for one in members), market=MARKET, **other)


@pytest.mark.parametrize("key", [f"ins-{number:03}" for number in range(50)])
def test_each_instance_is_due_at_its_own_time_within_a_tenth_before_the_largest_age(key: str) -> None:
    assert DAY * (1 - SPREAD) <= life_of(key, DAY) <= DAY
    assert life_of(key, DAY) == life_of(key, DAY)


def test_the_times_are_spread_over_all_of_that_tenth() -> None:
    lives = [life_of(f"ins-{number:08x}", DAY) / DAY for number in range(1000)]
    parts = [sum(1 - (part + 1) / 100 <= one < 1 - part / 100 for one in lives) for part in range(10)]
    assert min(parts) > 60


@pytest.mark.parametrize(
    ("desired", "one", "due"),
    [
        pytest.param(ageing(), aged("ins-1"), True, id="as-old-as-may-be"),
        pytest.param(ageing(), aged("ins-1", DAY * 0.8), False, id="younger"),
        pytest.param(ageing(rollout=ROLLING), aged("ins-1"), True, id="with-a-roll-out-too"),
        pytest.param(ageing(), aged("ins-1", DAY * 0.5, template_digest=OLD), False, id="on-delete-replaces-no-other"),
        pytest.param(ageing(rollout=ROLLING), aged("ins-1", DAY / 2, template_digest=OLD), True, id="a-roll-out-does"),
        pytest.param(ageing(max_age=None, rollout=ROLLING), aged("ins-1", 99 * DAY), False, id="of-any-age"),
        pytest.param(ageing(paused=True), aged("ins-1"), False, id="paused"),
        pytest.param(ageing(0, deleting=True), aged("ins-1"), False, id="deleted"),
    ],
)
def test_who_is_replaced(desired: Desired, one: Any, due: bool) -> None:
    assert [old.id for old in outdated(situation_of(desired, ledger_of(one), seen(one)))] == ["ins-1"] * due


def test_the_time_of_the_cloud_counts_and_not_that_of_an_edited_ledger() -> None:
    one = aged("ins-1", DAY / 2)
    observed = observed_of(instance("ins-1", created_at=NOW - 2 * DAY), market=MARKET)
    assert outdated(situation_of(ageing(), ledger_of(one), observed)) == [one]


def test_its_replacement_comes_first_and_it_goes_when_that_runs() -> None:
    old, other, fresh = aged("ins-1"), aged("ins-2", seconds(60)), member("ins-3", launched_at=ago(30))
    plan = planned(ageing(), ledger_of(old, other), seen(old, other))
    assert asked(plan) == [(A, 1)]
    plan = planned(ageing(), ledger_of(old, other, fresh), seen(old, other, fresh))
    assert {key: one.termination.cause for key, one in plan.ledger.members.items() if one.termination} == {
        "ins-1": Cause.TOO_OLD
    }


def test_a_protected_one_may_become_older() -> None:
    one = aged("ins-1")
    observed = observed_of(instance("ins-1", created_at=one.launched_at, protected=True), market=MARKET)
    assert planned(ageing(1), ledger_of(one), observed).actions == ()


def test_an_aged_one_counts_as_up_to_date_and_keeps_nobody_from_being_ready() -> None:
    old, other = aged("ins-1"), aged("ins-2", seconds(60))
    situation = situation_of(ageing(), ledger_of(old, other), seen(old, other))
    concluded = conclude(situation)
    assert concluded.ready
    assert concluded.message == "2 of 2 instances run; 1 instance to replace for age"


def test_the_object_says_what_the_next_replacement_waits_for() -> None:
    old = aged("ins-1")
    ledger = ledger_of(old, backoff_of(A), backoff_of(B))
    concluded = conclude(situation_of(ageing(1), ledger, seen(old)))
    assert concluded.ready
    assert "1 instance to replace for age. The next waits: " in concluded.message


def test_the_next_look_is_when_the_next_one_comes_of_age() -> None:
    one = aged("ins-1", DAY - seconds(100))
    due = one.launched_at + life_of("ins-1", DAY)
    soon = replace(one, launched_at=NOW + seconds(60) - life_of("ins-1", DAY))
    assert due < NOW
    wake = next_wake(situation_of(ageing(1), ledger_of(soon), seen(soon)))
    assert (wake.at, wake.reason) == (NOW + seconds(60), "an instance is as old as it may become")


class Watched(Play):
    """A play in which as many run as are wanted, once they all did, and no more than one beside them lives."""

    filled = False
    oldest = timedelta(0)

    def on_planned(self, before: Any, plan: Any) -> None:
        living = [one for one in self.machines.values() if one.ended_at is None]
        running = [one for one in living if self._state(one) is InstanceState.RUNNING]
        self.filled = self.filled or len(running) >= self.desired.replicas
        assert not self.filled or len(running) >= self.desired.replicas
        assert len(living) <= self.desired.replicas + 1
        self.oldest = max([self.oldest, *(self.now - one.born for one in running)])


def test_for_three_days_none_becomes_older_and_none_goes_before_its_time() -> None:
    play = Watched(ageing(10), market=lambda now: MARKET, starts_in=seconds(40))
    play.run(3 * DAY)
    lives = [one.ended_at - one.born for one in play.machines.values() if one.ended_at is not None]
    assert len(lives) >= 20
    assert min(lives) >= DAY * (1 - SPREAD)
    assert play.oldest <= DAY + seconds(600)
    first = sorted(play.ends())[:10]
    assert first[-1] - first[0] > DAY * SPREAD / 3  # spread, although all were launched together


def test_a_market_without_stock_ends_nothing_however_old_it_becomes() -> None:
    play = Watched(ageing(3), market=lambda now: MARKET, starts_in=seconds(40))
    play.run(seconds(600))
    play.room = lambda pool, now: 0
    play.run(2 * DAY)
    assert (play.live(), play.ends()) == (3, [])
    play.room = lambda pool, now: 1000
    play.run(seconds(1800))
    assert len(play.ends()) == 3


def test_age_is_no_difference_that_the_user_made() -> None:
    one = aged("ins-1")
    situation = situation_of(ageing(), ledger_of(one), seen(one))
    found = Asked(situation)
    assert found.drift_of(one) == {Drift.AGE}
    assert found.is_updated(one)


def test_the_next_to_be_too_old_is_the_first_of_those_to_come() -> None:
    young, older, due = aged("ins-1", DAY * 0.2), aged("ins-2", DAY * 0.5), aged("ins-3", 2 * DAY)
    ledger = ledger_of(young, older, due)
    of_it = situation_of(ageing(3), ledger, seen(young, older, due))
    assert comes_of_age_next(of_it) == older.launched_at + life_of("ins-2", DAY)
    assert comes_of_age_next(situation_of(ageing(1), ledger_of(due), seen(due))) is None
    for other in (ageing(3, max_age=None), ageing(3, rollout=None)):
        assert comes_of_age_next(situation_of(other, ledger, seen(young, older, due))) is None
