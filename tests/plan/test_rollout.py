"""A roll-out launches first and retires then: what runs and what lives stay within what it promises."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from functools import partial
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
    instance,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
    terminated_ids,
)
from plan.playing import Play
from spotcompute.model.desired import Desired, Rollout
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause
from spotcompute.model.offering import Pool
from spotcompute.plan.drift import Asked
from spotcompute.report.conclusion import conclude
from spotcompute.report.wake import next_wake

OLD = "000000000000"  # a template that nobody asks for any more
ONE_MORE = Rollout(surge_max=1, unavailable_max=0)
MARKET = market_of({A: "0.1", B: "0.2"})


def rolling(replicas: int = 3, rollout: Rollout = ONE_MORE, **other: Any) -> Desired:
    return desired_of(replicas, [A, B], rollout=rollout, **other)


def old(*ids: str) -> list[Any]:
    return [member(one, template_digest=OLD) for one in ids]


def test_the_replacement_is_launched_before_anything_goes() -> None:
    ledger = ledger_of(*old("ins-1", "ins-2", "ins-3"))
    plan = planned(rolling(), ledger, all_running(ledger, MARKET))
    assert asked(plan) == [(A, 1)]
    assert terminated_ids(plan.actions) == []


def test_one_goes_when_its_replacement_runs() -> None:
    ledger = ledger_of(*old("ins-1", "ins-2", "ins-3"), member("ins-4"))
    plan = planned(rolling(), ledger, all_running(ledger, MARKET))
    assert len(terminated_ids(plan.actions)) == 1
    assert "ins-4" not in terminated_ids(plan.actions)


def test_none_goes_while_the_replacement_does_not_run() -> None:
    ledger = ledger_of(*old("ins-1", "ins-2", "ins-3"), member("ins-4", launched_at=ago(20)))
    starting = instance("ins-4", InstanceState.PENDING, created_at=ago(20))
    observed = observed_of(*(instance(f"ins-{n}") for n in (1, 2, 3)), starting, market=MARKET)
    assert planned(rolling(), ledger, observed).actions == ()


def test_where_some_may_be_missing_they_go_first() -> None:
    ledger = ledger_of(*old("ins-1", "ins-2", "ins-3"))
    plan = planned(rolling(rollout=Rollout(0, 2)), ledger, all_running(ledger, MARKET))
    assert len(terminated_ids(plan.actions)) == 2


def test_what_does_not_run_goes_at_once() -> None:
    ledger = ledger_of(
        *old("ins-1", "ins-2"),
        member("ins-3", template_digest=OLD, launched_at=ago(20), arrived=False),
        member("ins-4"),
    )
    starting = instance("ins-3", InstanceState.PENDING, created_at=ago(20))
    observed = observed_of(*(instance(f"ins-{n}") for n in (1, 2, 4)), starting, market=MARKET)
    plan = planned(rolling(), ledger, observed)
    assert plan.ledger.members["ins-3"].termination is not None
    assert plan.ledger.members["ins-1"].termination is None


def test_a_list_that_is_older_than_what_was_seen_ends_nothing() -> None:
    """All three ran when they were seen last, and an old list shows them starting again, or not at all."""
    ledger = ledger_of(*old("ins-1", "ins-2", "ins-3"))
    starting = [instance(key, InstanceState.PENDING, created_at=ago(60)) for key in ("ins-1", "ins-2")]
    plan = planned(rolling(), ledger, observed_of(*starting, market=MARKET))
    assert [key for key, one in plan.ledger.members.items() if one.termination] == []


@pytest.mark.parametrize(
    ("desired", "why"),
    [
        (rolling(rollout=None), "OnDelete"),  # type: ignore[arg-type]  # what the spec means by it
        (rolling(paused=True), "paused"),
    ],
)
def test_nothing_is_replaced(desired: Desired, why: str) -> None:
    ledger = ledger_of(*old("ins-1", "ins-2", "ins-3"))
    assert planned(desired, ledger, all_running(ledger, MARKET)).actions == (), why


def test_a_protected_one_is_neither_replaced_nor_waited_for() -> None:
    ledger = ledger_of(*old("ins-1"), member("ins-2"), member("ins-3"))
    observed = observed_of(instance("ins-1", protected=True), instance("ins-2"), instance("ins-3"), market=MARKET)
    assert planned(rolling(), ledger, observed).actions == ()
    concluded = conclude(situation_of(rolling(), ledger, observed))
    assert concluded.ready
    assert "1 protected instance not as the spec asks for" in concluded.message


def test_a_pause_is_kept_between_two() -> None:
    patient = rolling(rollout=Rollout(1, 0, seconds(600)))
    ledger = ledger_of(*old("ins-1", "ins-2"), member("ins-3"), member("ins-4"), rolled_at=ago(60))
    observed = all_running(ledger, MARKET)
    assert terminated_ids(planned(patient, ledger, observed).actions) == []
    situation = situation_of(patient, ledger, observed)
    assert next_wake(situation).at <= ago(60) + seconds(600)
    assert "the next after the pause" in conclude(situation).message
    assert len(terminated_ids(planned(patient, replace(ledger, rolled_at=ago(601)), observed).actions)) == 1


def test_while_no_stock_is_to_be_had_nothing_ends_and_the_object_says_why() -> None:
    play = Play(rolling(), market=lambda now: MARKET)
    play.run(seconds(60))
    play.desired = changed(play.desired)
    play.room = lambda pool, now: 0
    play.run(seconds(3600))
    assert play.live() == 3
    assert play.ends() == []
    concluded = conclude(play._situation())
    assert (concluded.reason, concluded.ready) == ("RollingOut", False)
    assert "sold out" in concluded.message.lower() or "Next attempt" in concluded.message
    play.room = lambda pool, now: 1000
    play.run(seconds(600))
    assert old_ones(play) == 0
    assert len(play.ends()) == 3


def stock_of(room: int, pool: Pool, now: datetime) -> int:
    return room


def changed(desired: Desired) -> Desired:
    """The same with another image."""
    template = replace(desired.template, image_id=f"{desired.template.image_id}x")
    return replace(desired, template=template, generation=desired.generation + 1)


def old_ones(play: Play) -> int:
    """Living machines that are not as the spec asks for now."""
    want = Asked(play._situation())
    living = {key for key, one in play.machines.items() if one.ended_at is None}
    return sum(not want.is_updated(one) for key, one in play.ledger.members.items() if key in living)


class Watched(Play):
    """A play that looks at every step whether as many run, and no more live, as the roll-out promises."""

    filled = False

    def on_planned(self, before: Any, plan: Any) -> None:
        states = [self._state(one) for one in self.machines.values() if one.ended_at is None]
        running = states.count(InstanceState.RUNNING)
        rollout = self.desired.rollout
        assert rollout is not None
        self.filled = self.filled or running >= self.desired.replicas
        for key in terminated_ids(plan.actions):
            cause = plan.ledger.members[key].termination.cause
            if cause is Cause.ROLLED_OUT and self._state(self.machines[key]) is InstanceState.RUNNING:
                running -= 1
                assert running >= self.desired.replicas - rollout.unavailable_max
        assert len(states) <= self.desired.replicas + rollout.surge_max


@pytest.mark.parametrize("batch", range(4))
def test_rolls_with_droughts_and_reverts_keep_what_they_promise_and_end(batch: int) -> None:
    for seed in range(batch * 15, (batch + 1) * 15):
        dice = random.Random(seed)
        surge, unavailable = dice.choice([(1, 0), (2, 1), (0, 1), (5, 0), (3, 3)])
        first = rolling(dice.choice([1, 5, 20]), Rollout(surge, unavailable, seconds(dice.choice([0, 0, 30]))))
        play = Watched(first, market=lambda now: MARKET, starts_in=seconds(dice.choice([0, 20, 60])))
        play.run(seconds(600))
        for _ in range(dice.randint(1, 3)):
            play.desired = replace(dice.choice([first, changed(play.desired)]), generation=play.desired.generation + 1)
            play.room = partial(stock_of, dice.choice([0, 1, 1000]))
            play.run(seconds(dice.choice([30, 300, 1200])))
        play.room = lambda pool, now: 1000
        play.run(seconds(7200))
        assert play.live() == play.desired.replicas, f"seed {seed}"
        assert old_ones(play) == 0, f"seed {seed}"


def test_a_revert_keeps_the_old_ones_that_still_run() -> None:
    first = rolling(6)
    play = Watched(first, market=lambda now: MARKET, starts_in=seconds(20))
    play.run(seconds(300))
    play.desired = changed(first)
    play.run(seconds(50))
    assert 0 < old_ones(play) < 6
    survivors = {key for key, one in play.machines.items() if one.ended_at is None and one.born < NOW + seconds(300)}
    play.desired = replace(first, generation=9)
    play.run(seconds(1200))
    assert all(play.machines[key].ended_at is None for key in survivors)
    assert old_ones(play) == 0


def test_the_object_is_not_current_before_all_are_as_asked_for() -> None:
    ledger = ledger_of(*old("ins-1"), member("ins-2"), member("ins-3"))
    concluded = conclude(situation_of(rolling(), ledger, all_running(ledger, MARKET)))
    conditions = {one.type: one.status for one in concluded.conditions()}
    assert (conditions["Ready"], conditions["Reconciling"], conditions["Stalled"]) == ("False", "True", "False")


def test_without_a_roll_out_the_object_says_that_they_stay() -> None:
    ledger = ledger_of(*old("ins-1"), member("ins-2"), member("ins-3"))
    concluded = conclude(situation_of(replace(rolling(), rollout=None), ledger, all_running(ledger, MARKET)))
    assert concluded.ready
    assert "1 instance not as the spec asks for now, kept until lost or released" in concluded.message
